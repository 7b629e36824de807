//! The string table: names and paths are written once and referred to by number.
//!
//! Both sides keep it bounded: a writer that comes near the limits empties its tables and begins a
//! segment, a reader refuses a file that goes beyond them.

use foldhash::HashMap;
use std::sync::Arc;

/// Bytes of a string at most; the rest is cut off. Names of deeply generic futures can be longer.
pub(super) const MAX_STRING: usize = 8 * 1024;

/// What ends a string that was cut.
const CUT: &str = "…";

const MAX_STRINGS: usize = 200_000;
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The writer's side.
#[derive(Debug, Default)]
pub(super) struct Interner {
    ids: HashMap<Arc<str>, u32>,
    bytes: usize,
    /// To be written with the next packet.
    fresh: Vec<String>,
    fresh_bytes: usize,
}

impl Interner {
    /// The id of a string; 0 for none.
    pub(super) fn id(&mut self, text: Option<&Arc<str>>) -> u32 {
        let Some(text) = text else { return 0 };
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let kept = cut(text);
        let Ok(id) = u32::try_from(self.ids.len() + 1) else {
            return 0;
        };
        self.bytes += kept.len();
        self.fresh_bytes += kept.len() + 8;
        self.fresh.push(kept.into_owned());
        // Kept under its full text: the same long name has the same id.
        self.ids.insert(Arc::clone(text), id);
        id
    }

    /// As [`Interner::id`] for text that is not shared.
    pub(super) fn id_of(&mut self, text: &str) -> u32 {
        match self.ids.get(text) {
            Some(id) => *id,
            None => self.id(Some(&text.into())),
        }
    }

    /// About how many bytes the strings take that the next packet will carry.
    pub(super) fn fresh_bytes(&self) -> usize {
        self.fresh_bytes
    }

    /// Takes the strings for a packet.
    pub(super) fn take(&mut self) -> Vec<String> {
        self.fresh_bytes = 0;
        std::mem::take(&mut self.fresh)
    }

    /// Whether the table has come near its limits.
    pub(super) fn is_full(&self) -> bool {
        self.ids.len() > MAX_STRINGS / 2 || self.bytes > MAX_BYTES / 2
    }

    /// Whether the table is beyond its limits: a reader would refuse it.
    pub(super) fn is_over(&self) -> bool {
        self.ids.len() > MAX_STRINGS || self.bytes > MAX_BYTES
    }
}

/// The longest beginning that may be written, and is shown.
pub(crate) fn cut(text: &str) -> std::borrow::Cow<'_, str> {
    if text.len() <= MAX_STRING {
        return text.into();
    }
    let mut end = MAX_STRING - CUT.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT}", &text[..end]).into()
}

/// The reader's side.
#[derive(Debug, Default)]
pub(super) struct Strings {
    table: Vec<Arc<str>>,
    bytes: usize,
}

impl Strings {
    /// Takes over a packet's strings.
    pub(super) fn extend(&mut self, fresh: Vec<String>) -> Result<(), &'static str> {
        for text in fresh {
            self.bytes += text.len();
            if self.table.len() >= MAX_STRINGS || self.bytes > MAX_BYTES {
                return Err("there are more strings than there may be");
            }
            self.table.push(text.into());
        }
        Ok(())
    }

    /// The string with this id; `None` for 0.
    pub(super) fn get(&self, id: u64) -> Result<Option<Arc<str>>, &'static str> {
        let Some(index) = id.checked_sub(1) else {
            return Ok(None);
        };
        usize::try_from(index)
            .ok()
            .and_then(|index| self.table.get(index))
            .map(|text| Some(Arc::clone(text)))
            .ok_or("a string is referred to that is not there")
    }

    /// As [`Strings::get`] where there must be one; the empty string for 0.
    pub(super) fn text(&self, id: u32) -> Result<Arc<str>, &'static str> {
        Ok(self.get(id.into())?.unwrap_or_else(|| "".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_string_is_cut_at_a_character() {
        let mut interner = Interner::default();
        let long = "ä".repeat(MAX_STRING);
        assert_eq!(interner.id_of(&long), 1);
        assert_eq!(interner.id_of(&long), 1);
        let fresh = interner.take();
        assert_eq!(fresh.len(), 1);
        assert!(fresh[0].len() <= MAX_STRING && fresh[0].ends_with("ä…"));
    }

    #[test]
    fn a_table_says_that_it_is_full_long_before_a_reader_refuses() {
        let mut interner = Interner::default();
        let mut strings = Strings::default();
        let mut count = 0;
        while !interner.is_full() {
            count += 1;
            assert_eq!(interner.id_of(&format!("name {count}")), count);
        }
        strings.extend(interner.take()).unwrap();
        assert_eq!(
            strings.text(count).unwrap().as_ref(),
            format!("name {count}")
        );
        assert!(strings.get(u64::from(count) + 1).is_err());
        let many: Vec<String> = (0..MAX_STRINGS).map(|at| at.to_string()).collect();
        assert!(strings.extend(many).is_err());
    }
}
