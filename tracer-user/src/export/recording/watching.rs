//! What is watched, to the format and back.

use std::sync::Arc;

use super::strings::Strings;
use super::tables::Interner;
use crate::proto;
use crate::rebuild::watching::Watching;

pub(super) fn watching_to_proto(watching: &Watching, tables: &mut Interner) -> proto::Watching {
    proto::Watching {
        time: watching.time,
        without_polls: !watching.polls,
        without_waker_counts: !watching.waker_counts,
        without_nested: !watching.nested,
        without_ends: !watching.ends,
        without_wakes: !watching.wakes,
        left_out: watching
            .left_out
            .iter()
            .map(|future| tables.strings.id(Some(future)))
            .collect(),
    }
}

pub(super) fn watching_from_proto(
    from: &proto::Watching,
    strings: &Strings,
) -> Result<Watching, &'static str> {
    let left_out: Result<Vec<Arc<str>>, _> =
        from.left_out.iter().map(|id| strings.text(*id)).collect();
    Ok(Watching {
        time: from.time,
        polls: !from.without_polls,
        wakes: !from.without_wakes,
        waker_counts: !from.without_waker_counts,
        nested: !from.without_nested,
        ends: !from.without_ends,
        left_out: left_out?,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::samples::{end, events, header, read};
    use super::super::{Item, Window, Writer, builder, join};
    use super::*;

    #[test]
    fn what_is_watched_is_read_as_it_was_written_and_the_history_has_its_pauses() {
        let last = events().last().unwrap().time;
        let pause = Watching {
            polls: false,
            waker_counts: false,
            ..Watching::everything(last + 10)
        };
        let again = Watching {
            left_out: vec!["app::hot".into(), "app::hotter".into()],
            waker_counts: false,
            wakes: false,
            ends: false,
            ..Watching::everything(last + 110)
        };
        let mut bytes = Vec::new();
        let mut writer = Writer::new(Path::new("sample"), &mut bytes, &header()).unwrap();
        writer.events(&events()).unwrap();
        writer.watching(&pause).unwrap();
        writer.watching(&again).unwrap();
        writer.finish(&end()).unwrap();

        let items = read(&bytes).unwrap().items;
        let told: Vec<&Watching> = items
            .iter()
            .filter_map(|item| match item {
                Item::Watching(watching) => Some(watching),
                _ => None,
            })
            .collect();
        assert_eq!(told, [&pause, &again]);

        let mut builder = builder(&header(), Window::default());
        for item in &items {
            join(item, &mut builder);
        }
        let history = builder.finish();
        assert_eq!(
            (history.missing.pauses, history.missing.unwatched_ns),
            (1, 100)
        );
        assert_eq!(history.missing.left_out, again.left_out);
        assert!(history.missing.wakes_left_out);
        assert_eq!(history.wakers.probed.clones, Some(false));
    }
}
