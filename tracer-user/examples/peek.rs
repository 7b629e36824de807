//! peek
use std::collections::HashMap;
use tracer_user::export::recording::{Item, Reader};
use tracer_user::rebuild::event::EventKind;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let mut reader = Reader::open(std::path::Path::new(&path)).unwrap();
    let mut seen: HashMap<String, u64> = HashMap::new();
    let (mut changed, mut begins, mut total) = (0, 0, 0);
    while let Some(item) = reader.next_item().unwrap() {
        if let Item::Events(events) = item {
            for event in events {
                total += 1;
                match &event.kind {
                    EventKind::PollBegin { .. } => begins += 1,
                    EventKind::AwaitChanged { suspension, marks } => {
                        changed += 1;
                        let mut text = format!(
                            "missing {:?} marks {:?}\n",
                            suspension.missing,
                            &marks.0[..0]
                        );
                        for f in &suspension.futures {
                            text += &format!(
                                "{}{:?} {:?} {} {:?}:{:?} {:?} {:?} m{:?}\n",
                                "  ".repeat(f.depth as usize + 1),
                                f.state.kind,
                                f.state.state,
                                f.state.future,
                                f.state.file.as_deref().map(|f| f
                                    .rsplit('/')
                                    .next()
                                    .unwrap()
                                    .to_owned()),
                                f.state.line,
                                f.state.waits_for,
                                f.place,
                                f.mark
                            );
                        }
                        *seen.entry(text).or_default() += 1;
                    }
                    _ => {}
                }
            }
        }
    }
    println!(
        "{total} events, {begins} begins, {changed} changed, {} shapes",
        seen.len()
    );
    let mut v: Vec<_> = seen.into_iter().collect();
    v.sort_by_key(|x| std::cmp::Reverse(x.1));
    for (t, n) in v.into_iter().take(12) {
        println!("{n} x {t}");
    }
}
