//! Drop flags: where rustc keeps whether a local that may have been moved out still is there.
//!
//! A flag is a `bool` that is saved with the local. It has no name: the debug information calls it
//! `__N` by its place in the variant, and does not say whose it is (rustc 1.65 to 1.95). So a flag
//! that is off is a doubt about every local that it may belong to. A local that is never moved has
//! no flag; with `panic = "abort"` some that are moved have none either.
//!
//! Which it cannot belong to is told by where it lies. Locals that live across several awaits are
//! laid out before those of one await, sorted by alignment with the state's tag before the flags
//! (`rustc_abi::layout::coroutine`), and never overlap with anything. Such a flag that was there at
//! an earlier await already, where the local was not yet, is not the local's.

use crate::address::Address;
use crate::dwarf::{DebugInfo, Kind, Member, Type};
use crate::memory::Memory;

/// Whether a member is a `bool` without a name: a flag, or a temporary.
pub(super) fn is_flag(info: &DebugInfo<'_>, member: &Member<'_>) -> bool {
    let number = member.name.strip_prefix("__");
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        && info.type_at(member.type_die).is_some_and(|this| {
            this.name == "bool" && this.size == 1 && matches!(this.kind, Kind::Scalar)
        })
}

/// The variant of one await, with what stands before its members.
pub(super) struct Variant<'t, 'a> {
    /// Its structure.
    pub(super) this: &'t Type<'a>,
    /// Where the structure begins in the coroutine.
    pub(super) offset: u64,
}

impl<'t, 'a> Variant<'t, 'a> {
    /// Members with their offsets in the coroutine.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'t Member<'a>, u64)> {
        let start = self.offset;
        let members = self.this.members().iter();
        members.map(move |member| (member, start.wrapping_add(member.offset)))
    }

    fn has(&self, name: &str, offset: u64) -> bool {
        self.members()
            .any(|(member, at)| member.name == name && at == offset)
    }
}

/// Offsets of the flags in `variant` that may belong to the local `name` at `offset`. `earlier` are
/// the awaits before, `tag` is where the coroutine's state lies.
pub(super) fn of_local(
    info: &DebugInfo<'_>,
    variant: &Variant<'_, '_>,
    earlier: &[Variant<'_, '_>],
    tag: u64,
    (name, offset): (&str, u64),
) -> Vec<u64> {
    let flags = variant
        .members()
        .filter(|(member, _)| is_flag(info, member))
        .map(|(_, at)| at);
    flags
        .filter(|flag| {
            // With words before it, the tag and the flags beside it share a word of the part that
            // is laid out once for all awaits.
            let is_shared = tag >= 8 && *flag / 8 == tag / 8;
            let was_before = || {
                earlier.iter().any(|other| {
                    let has_flag = other
                        .members()
                        .any(|(member, at)| at == *flag && is_flag(info, member));
                    has_flag && !other.has(name, offset)
                })
            };
            !(is_shared && was_before())
        })
        .collect()
}

/// How many of the flags of a body at `base` are off; one that cannot be read counts as off.
pub(super) fn off(flags: &[u64], base: Address, memory: &dyn Memory) -> usize {
    let is_on = |flag: u64| memory.u8(base.add(flag)) == Ok(1);
    flags.iter().filter(|flag| !is_on(**flag)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::FakeMemory;

    #[test]
    fn a_flag_is_on_when_it_reads_one() {
        let mut memory = FakeMemory::default();
        memory.map(Address(0x1000), [0, 1, 7]);
        let at = |flags: &[u64]| off(flags, Address(0x1000), &memory);
        assert_eq!(at(&[]), 0);
        assert_eq!(at(&[1]), 0);
        assert_eq!(at(&[0, 1]), 1);
        // What no `bool` can be, and what is not mapped.
        assert_eq!(at(&[2, 3]), 2);
    }
}
