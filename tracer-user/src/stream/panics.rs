//! What the records of panics say beyond their fixed part: where one began, and its message. Both
//! are the target's bytes: bounded, checked for being text, otherwise not known.

use std::collections::HashMap;
use std::sync::Arc;

use tracer_common::panic::{Payload, Site};

use crate::address::Address;
use crate::memory::Memory;

/// Names of source files that are remembered.
const MAX_NAMES: usize = 10_000;

/// What the record of a panic with this thread and time says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicTold {
    /// The record's thread.
    pub tid: u32,
    /// The record's time.
    pub time: u64,
    /// Where it began, for a begin.
    pub site: Option<SiteTold>,
    /// What it says, for one on its way.
    pub message: Option<Arc<str>>,
}

/// Where a panic began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteTold {
    name_at: Address,
    name_bytes: usize,
    /// The source file as the compiler was called with it; `None` when its name was not readable.
    pub file: Option<Arc<str>>,
    /// The line, 1-based.
    pub line: u32,
    /// The column, 1-based.
    pub column: u32,
}

impl SiteTold {
    /// From what was read; `None` when that is no name of a file.
    pub(super) fn of(site: &Site<'_>) -> Option<Self> {
        let name_bytes = usize::try_from(site.name_bytes).ok()?;
        let file = if site.name.is_empty() {
            None
        } else {
            Some(file_name(site.name, site.name.len() < name_bytes)?)
        };
        Some(Self {
            name_at: Address(site.name_at),
            name_bytes,
            file,
            line: site.line,
            column: site.column,
        })
    }
}

/// The message, as far as it was copied; `None` when it is no text.
pub(super) fn message(payload: &Payload<'_>) -> Option<Arc<str>> {
    let whole = u64::try_from(payload.text.len()) == Ok(payload.bytes);
    let text = match std::str::from_utf8(payload.text) {
        Ok(text) => text,
        // The copy may end inside a character.
        Err(error) if !whole && error.error_len().is_none() => {
            std::str::from_utf8(payload.text.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t' | '\r' | '\u{1b}');
    if text.is_empty() || !text.chars().all(plain) {
        return None;
    }
    Some(if whole {
        text.into()
    } else {
        format!("{text}…").into()
    })
}

/// The name of a source file: text without control characters.
fn file_name(mut bytes: &[u8], is_end: bool) -> Option<Arc<str>> {
    if is_end {
        // The copy may begin inside a character, three bytes of which are left at most.
        while bytes.first().is_some_and(|byte| byte & 0xc0 == 0x80) {
            bytes = bytes.get(1..)?;
        }
    }
    let text = std::str::from_utf8(bytes).ok()?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return None;
    }
    Some(if is_end {
        format!("…{text}").into()
    } else {
        text.into()
    })
}

/// Names of source files that the program could not read because their page was not resident:
/// read here, from the target's memory, while it lives.
#[derive(Debug, Default)]
pub struct FileNames {
    known: HashMap<(Address, usize), Option<Arc<str>>>,
}

impl FileNames {
    /// Completes what has no name; where that is not possible, there is no place either.
    pub fn complete(&mut self, told: &mut [PanicTold], memory: &dyn Memory) {
        for panic in told {
            let Some(site) = &mut panic.site else {
                continue;
            };
            if site.file.is_none() {
                let key = (site.name_at, site.name_bytes);
                if self.known.len() >= MAX_NAMES && !self.known.contains_key(&key) {
                    self.known.clear();
                }
                let name = self.known.entry(key).or_insert_with(|| read(key, memory));
                site.file.clone_from(name);
            }
            if site.file.is_none() {
                panic.site = None;
            }
        }
    }
}

/// Lengths above 4,096 bytes are no site, see [`tracer_common::panic::is_location`].
fn read((at, length): (Address, usize), memory: &dyn Memory) -> Option<Arc<str>> {
    let mut bytes = vec![0; length.min(4096)];
    memory.read(at, &mut bytes).ok()?;
    file_name(&bytes, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::FakeMemory;

    fn site(name: &[u8], name_bytes: u64) -> Site<'_> {
        Site {
            name_at: 0x1000,
            name_bytes,
            line: 7,
            column: 9,
            name,
        }
    }

    #[test]
    fn names_of_files_are_text_or_not_known() {
        let file = |name: &[u8], bytes| SiteTold::of(&site(name, bytes)).map(|told| told.file);
        assert_eq!(file(b"src/a.rs", 8), Some(Some("src/a.rs".into())));
        assert_eq!(file(b"\x9f/a.rs", 300), Some(Some("…/a.rs".into())));
        assert_eq!(file(b"", 8), Some(None), "not readable");
        assert_eq!(file(b"\xff\xfe", 2), None);
        assert_eq!(file(b"a\nb", 3), None);
    }

    #[test]
    fn what_was_not_resident_is_read_from_memory_or_not_known() {
        let told = || PanicTold {
            tid: 1,
            time: 2,
            site: SiteTold::of(&site(b"", 8)),
            message: None,
        };
        let mut memory = FakeMemory::default();
        memory.map(Address(0x1000), b"src/a.rs".to_vec());
        let mut panics = [told(), told()];
        let mut names = FileNames::default();
        names.complete(&mut panics, &memory);
        let file = panics[0].site.as_ref().and_then(|site| site.file.clone());
        assert_eq!(file, Some("src/a.rs".into()));
        let mut panics = [told()];
        FileNames::default().complete(&mut panics, &FakeMemory::default());
        assert_eq!(panics[0].site, None, "a line without its file is no place");
    }

    #[test]
    fn messages_are_text_or_not_known() {
        let says = |text, bytes| message(&Payload { text, bytes });
        assert_eq!(says(b"left\nright", 10), Some("left\nright".into()));
        assert_eq!(
            says("ab\u{e4}".as_bytes().get(..3).unwrap(), 4),
            Some("ab…".into())
        );
        assert_eq!(says(b"a\xc3", 2), None, "it should end here");
        assert_eq!(says(b"\x00\x01\x02", 3), None);
    }
}
