//! The string table: names and paths are written once and referred to by number.
//!
//! Both sides keep it bounded. A writer that comes to its limits empties the table and begins
//! anew; a reader refuses a file that goes beyond them.

use std::collections::HashMap;
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
    restart: bool,
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

    /// Takes the strings for a packet, and whether the table begins anew with it.
    pub(super) fn take(&mut self) -> (bool, Vec<String>) {
        self.fresh_bytes = 0;
        (
            std::mem::take(&mut self.restart),
            std::mem::take(&mut self.fresh),
        )
    }

    /// Empties the table if it has come near its limits. Only between packets.
    pub(super) fn restart_if_full(&mut self) {
        if self.ids.len() > MAX_STRINGS / 2 || self.bytes > MAX_BYTES / 2 {
            self.ids.clear();
            self.bytes = 0;
            self.restart = true;
        }
    }
}

/// The longest beginning that may be written.
fn cut(text: &str) -> std::borrow::Cow<'_, str> {
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
    pub(super) fn extend(&mut self, restart: bool, fresh: Vec<String>) -> Result<(), &'static str> {
        if restart {
            self.table.clear();
            self.bytes = 0;
        }
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
        let (restart, fresh) = interner.take();
        assert!(!restart && fresh.len() == 1);
        assert!(fresh[0].len() <= MAX_STRING && fresh[0].ends_with("ä…"));
    }

    #[test]
    fn a_full_table_begins_anew_on_both_sides() {
        let mut interner = Interner::default();
        let mut strings = Strings::default();
        let mut restarts = 0;
        for round in 0..3 {
            for at in 0..=MAX_STRINGS / 2 {
                interner.id_of(&format!("{round} {at}"));
            }
            let (restart, fresh) = interner.take();
            restarts += usize::from(restart);
            strings.extend(restart, fresh).unwrap();
            interner.restart_if_full();
        }
        assert_eq!(restarts, 2);
        assert_eq!(strings.text(1).unwrap().as_ref(), "2 0");
        assert!(strings.get(MAX_STRINGS as u64).is_err());
    }
}
