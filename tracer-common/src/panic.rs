//! What follows the records of a panic in the ring: where it began, and what it says.
//!
//! Mirror types, checked on rustc 1.95 and 1.96 (library/std/src/panicking.rs,
//! library/core/src/panic/location.rs): `Location { filename: &str, line: u32, col: u32 }`, 24
//! bytes in this order; a payload is `StaticStrPayload(&'static str)`, or begins with an
//! `Option<String>` (capacity, pointer, length), or has it behind a pointer. What has another shape
//! is not known: nothing here guesses beyond that.

use crate::walk::MAX_WORDS;

/// Bytes of a file's name, or of a message, that are copied.
pub const TEXT_BYTES: usize = 256;
/// Words before the text: see [`Site`] and [`Payload`].
pub const SITE_WORDS: usize = 5;
/// See [`SITE_WORDS`].
pub const PAYLOAD_WORDS: usize = 8;
/// Bytes in the ring behind a [`RecordKind::PanicBegin`](crate::RecordKind::PanicBegin): the words
/// of the tree, all of their room, and where it began.
pub const SITE_BYTES: usize = SITE_WORDS * 8 + TEXT_BYTES;
/// Bytes in the ring behind a [`RecordKind::Panic`](crate::RecordKind::Panic) with its message.
pub const PAYLOAD_BYTES: usize = PAYLOAD_WORDS * 8 + TEXT_BYTES;
/// Room of a tree's words, in bytes.
pub const TREE_BYTES: usize = MAX_WORDS * 4;

/// Longest name of a source file, longest message and most capacity that is believed, in bytes.
const LONGEST_NAME: u64 = 4096;
const LONGEST_MESSAGE: u64 = 1 << 20;
const MOST_CAPACITY: u64 = 1 << 40;
/// Highest line and column that is believed.
const HIGHEST: u32 = 10_000_000;

/// Where a panic began, as the program read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site<'a> {
    /// Where the name of the file lies in the target.
    pub name_at: u64,
    /// Length of the name.
    pub name_bytes: u64,
    /// The line, 1-based.
    pub line: u32,
    /// The column, 1-based.
    pub column: u32,
    /// The end of the name, at most [`TEXT_BYTES`]; empty when it could not be read (a page that
    /// is not resident).
    pub name: &'a [u8],
}

/// What a panic says, as the program read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// Length of the message in bytes.
    pub bytes: u64,
    /// Its beginning, at most [`TEXT_BYTES`].
    pub text: &'a [u8],
}

/// Whether an address may be one of a program (x86-64, four levels of pages).
#[inline(always)]
#[must_use]
pub const fn is_pointer(address: u64) -> bool {
    address >= 0x1_0000 && address < 1 << 47
}

/// Whether three words may be a `Location`.
#[inline(always)]
#[must_use]
pub const fn is_location(name_at: u64, name_bytes: u64, place: u64) -> bool {
    let line = place as u32;
    let column = (place >> 32) as u32;
    is_pointer(name_at)
        && name_bytes > 0
        && name_bytes <= LONGEST_NAME
        && line > 0
        && line <= HIGHEST
        && column > 0
        && column <= HIGHEST
}

/// Where the message of a payload lies, and its length: by the payload's size, which its vtable
/// tells, and its first words.
#[inline(always)]
#[must_use]
pub const fn message(size: u64, words: [u64; 4]) -> Option<(u64, u64)> {
    let [first, second, third, fourth] = words;
    if size == 16 {
        return if is_pointer(first) && second > 0 && second <= LONGEST_MESSAGE {
            Some((first, second))
        } else {
            None
        };
    }
    if size != 24 && size != 32 {
        return None;
    }
    if is_string(first, second, third) {
        return Some((second, third));
    }
    if size == 32 && is_string(second, third, fourth) {
        return Some((third, fourth));
    }
    None
}

/// Whether three words may be a `String` that is not empty.
#[inline(always)]
const fn is_string(capacity: u64, pointer: u64, bytes: u64) -> bool {
    bytes > 0
        && bytes <= LONGEST_MESSAGE
        && capacity >= bytes
        && capacity < MOST_CAPACITY
        && is_pointer(pointer)
}

impl<'a> Site<'a> {
    /// From the bytes behind the tree. `None` when no location was found.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() != SITE_BYTES || word(bytes, 0)? == 0 {
            return None;
        }
        let (name_at, name_bytes, place) = (word(bytes, 1)?, word(bytes, 2)?, word(bytes, 3)?);
        if !is_location(name_at, name_bytes, place) {
            return None;
        }
        let read = usize::try_from(word(bytes, 4)?).ok()?.min(TEXT_BYTES);
        Some(Self {
            name_at,
            name_bytes,
            line: place as u32,
            column: (place >> 32) as u32,
            name: bytes.get(SITE_WORDS * 8..)?.get(..read)?,
        })
    }
}

impl<'a> Payload<'a> {
    /// From the bytes behind the record. `None` when no message was found.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() != PAYLOAD_BYTES {
            return None;
        }
        let words = [
            word(bytes, 1)?,
            word(bytes, 2)?,
            word(bytes, 3)?,
            word(bytes, 4)?,
        ];
        let (_, length) = message(word(bytes, 0)?, words)?;
        let read = usize::try_from(word(bytes, 7)?).ok()?.min(TEXT_BYTES);
        let text = bytes.get(PAYLOAD_WORDS * 8..)?.get(..read)?;
        (read > 0).then_some(Self {
            bytes: length,
            text,
        })
    }
}

fn word(bytes: &[u8], index: usize) -> Option<u64> {
    let chunk = bytes.get(index * 8..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTER: u64 = 0x5555_0000_1000;

    #[test]
    fn what_is_no_location_is_none() {
        let place = 7 | 9 << 32;
        assert!(is_location(POINTER, 11, place));
        for (at, bytes, place) in [
            (0, 11, place),
            (u64::MAX, 11, place),
            (POINTER, 0, place),
            (POINTER, 1 << 20, place),
            (POINTER, 11, 7),
            (POINTER, 11, 9 << 32),
            // The upper half of an address is no column.
            (POINTER, 11, 0x7ffc_1234_5678_9abc),
        ] {
            assert!(!is_location(at, bytes, place), "{at:x} {bytes} {place:x}");
        }
        let mut bytes = [0; SITE_BYTES];
        assert_eq!(Site::decode(&bytes), None);
        for (index, word) in [1, POINTER, 3, place, 2].into_iter().enumerate() {
            bytes[index * 8..][..8].copy_from_slice(&word.to_ne_bytes());
        }
        bytes[SITE_WORDS * 8..][..2].copy_from_slice(b"rs");
        let site = Site::decode(&bytes).unwrap();
        assert_eq!((site.line, site.column, site.name), (7, 9, &b"rs"[..]));
        bytes[4 * 8..][..8].copy_from_slice(&u64::MAX.to_ne_bytes());
        assert_eq!(Site::decode(&bytes).unwrap().name.len(), TEXT_BYTES);
        assert_eq!(Site::decode(&bytes[1..]), None);
    }

    #[test]
    fn messages_are_known_by_their_shape() {
        let none = 1 << 63;
        assert_eq!(message(16, [POINTER, 5, 0, 0]), Some((POINTER, 5)));
        // A box with its vtable, as `resume_unwind` has it.
        assert_eq!(message(16, [POINTER, POINTER + 64, 0, 0]), None);
        assert_eq!(message(32, [8, POINTER, 5, POINTER]), Some((POINTER, 5)));
        assert_eq!(message(32, [POINTER, 8, POINTER, 5]), Some((POINTER, 5)));
        assert_eq!(message(24, [8, POINTER, 5, 0]), Some((POINTER, 5)));
        // Not formatted yet; a length beyond the capacity; another type.
        assert_eq!(message(32, [none, POINTER, 5, POINTER]), None);
        assert_eq!(message(32, [4, POINTER, 5, POINTER]), None);
        assert_eq!(message(40, [8, POINTER, 5, POINTER]), None);
    }
}
