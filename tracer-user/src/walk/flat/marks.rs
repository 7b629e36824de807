//! Which bytes of a future tell it from another one of its type at the same place.
//!
//! An async fn's arguments lie in its state from its making to its end: a body moves them into
//! locals of its own before it changes them (rustc 1.75 to 1.97). An async block may change what it captures in place,
//! so it has no mark.

use tracer_common::walk::{MARK_WORDS, NO_MARK, StateEntry};

use crate::dwarf::{DebugInfo, DieRef, Member};

/// Words with the bytes of each that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MarkWords(Vec<(u16, u8)>);

impl MarkWords {
    fn add(&mut self, offset: u64, bytes: u64) {
        let end = offset.saturating_add(bytes);
        let mut word = offset & !7;
        while word < end {
            let Ok(at) = u16::try_from(word) else { return };
            if at == NO_MARK {
                return;
            }
            let mut bits = 0;
            for byte in 0..8 {
                if (offset..end).contains(&(word + byte)) {
                    bits |= 1 << byte;
                }
            }
            if let Some((_, known)) = self.0.iter_mut().find(|(known, _)| *known == at) {
                *known |= bits;
            } else if self.0.len() < MARK_WORDS {
                self.0.push((at, bits));
            } else {
                return;
            }
            word += 8;
        }
    }

    /// Puts them into a state's entry.
    pub(super) fn put(&self, entry: &mut StateEntry) {
        let slots = entry.mark.iter_mut().zip(&mut entry.mark_bytes);
        for ((offset, bits), (to, to_bits)) in self.0.iter().zip(slots) {
            *to = *offset;
            *to_bits = *bits;
        }
    }
}

/// The arguments of an async fn, as far as this state leaves them where they were put.
///
/// They lie before everything else. For suspended states rustc describes them at offsets of saved
/// locals (seen: 1.95), so the states without locals, unresumed and returned, have to agree on
/// where they lie, and no local of the state may lie there.
pub(super) fn of_arguments(
    info: &DebugInfo<'_>,
    coroutine: DieRef,
    state: Option<u64>,
) -> MarkWords {
    let mut words = MarkWords::default();
    let Some(this) = info.type_at(coroutine) else {
        return words;
    };
    let Some(part) = this.variants() else {
        return words;
    };
    let inner = |value: Option<u64>| {
        let variant = part
            .variants
            .iter()
            .find(|variant| variant.value == value)?;
        if variant.member.offset != 0 {
            return None;
        }
        info.type_at(variant.member.type_die)
    };
    let (Some(unresumed), Some(returned), Some(suspended)) =
        (inner(Some(0)), inner(Some(1)), inner(state))
    else {
        return words;
    };
    let size = |member: &Member<'_>| info.type_at(member.type_die).map_or(0, |this| this.size);
    let stays = |argument: &Member<'_>| {
        let same =
            |member: &&Member<'_>| member.name == argument.name && member.offset == argument.offset;
        let end = argument.offset.saturating_add(size(argument));
        let overlaps = |member: &&Member<'_>| {
            member.offset < end && argument.offset < member.offset.saturating_add(size(member))
        };
        returned.members().iter().any(|member| same(&member))
            && !suspended
                .members()
                .iter()
                .any(|member| overlaps(&member) && !same(&member))
    };
    for argument in unresumed.members().iter().filter(|member| stays(member)) {
        words.add(argument.offset, size(argument));
    }
    words
}

/// The named fields of a type, as far as it has them.
pub(super) fn of_type(info: &DebugInfo<'_>, die: DieRef, fields: &[&str]) -> MarkWords {
    let mut words = MarkWords::default();
    for name in fields {
        if let Some(field) = info.field(die, name) {
            let size = info.type_at(field.type_die).map_or(0, |this| this.size);
            words.add(field.offset, size);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_neighbours_do_not_count() {
        let mut words = MarkWords::default();
        words.add(4, 4);
        words.add(8, 12);
        words.add(0, 2);
        assert_eq!(words.0, [(0, 0b1111_0011), (8, 0xff), (16, 0x0f)]);
        words.add(32, 64);
        assert_eq!(words.0.len(), MARK_WORDS);
    }
}
