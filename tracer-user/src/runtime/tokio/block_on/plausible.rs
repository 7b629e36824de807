//! Whether bytes could be a value of a type at all: a stronger question than whether they decode.
//!
//! Used where a future is looked for and not referred to: garbage decodes to something often
//! enough. What a type demands is checked down to its leaves: discriminants that exist, booleans
//! of 0 or 1, references that can be followed, and below a suspended future only futures that
//! have been polled.

use crate::address::Address;
use crate::dwarf::{DebugInfo, DieRef, Kind, VariantPart};
use crate::memory::Memory;

/// Values looked at for one answer.
const BUDGET: usize = 2000;
const DEPTH: usize = 64;
/// Elements of an array that are looked at.
const ELEMENTS: u64 = 4;

/// One question.
pub(super) struct Plausible<'p, 'a> {
    info: &'p DebugInfo<'a>,
    memory: &'p dyn Memory,
    budget: usize,
}

impl<'p, 'a> Plausible<'p, 'a> {
    pub(super) fn new(info: &'p DebugInfo<'a>, memory: &'p dyn Memory) -> Self {
        Self {
            info,
            memory,
            budget: BUDGET,
        }
    }

    /// Whether a suspended future of this type can be at this address.
    pub(super) fn future(mut self, die: DieRef, address: Address) -> bool {
        self.value(die, address, DEPTH)
    }

    fn value(&mut self, die: DieRef, address: Address, depth: usize) -> bool {
        let (Some(budget), Some(depth)) = (self.budget.checked_sub(1), depth.checked_sub(1)) else {
            // As far as was looked it could be.
            return true;
        };
        self.budget = budget;
        let Some(found) = self.info.type_at(die) else {
            return true;
        };
        match &found.kind {
            Kind::Scalar if found.name == "bool" => {
                self.memory.u8(address).is_ok_and(|byte| byte <= 1)
            }
            Kind::Pointer { .. } => {
                let nullable = found.name.starts_with('*');
                self.memory
                    .pointer(address)
                    .is_ok_and(|to| nullable || self.can_refer_to(to))
            }
            Kind::Structure { .. } if found.base_name() == "NonNull" => self
                .memory
                .pointer(address)
                .is_ok_and(|to| self.can_refer_to(to)),
            Kind::Structure {
                members,
                variants: None,
            } => members
                .iter()
                .all(|member| self.value(member.type_die, address.add(member.offset), depth)),
            Kind::Structure {
                variants: Some(part),
                ..
            } => self.variant(part, address, depth),
            Kind::Array { element, count } => {
                let size = self
                    .info
                    .type_at(*element)
                    .map_or(0, |element| element.size);
                (0..(*count).min(ELEMENTS)).all(|index| {
                    let at = address.add(index.wrapping_mul(size));
                    self.value(*element, at, depth)
                })
            }
            Kind::Scalar | Kind::Union { .. } | Kind::Other => true,
        }
    }

    fn variant(&mut self, part: &VariantPart<'a>, address: Address, depth: usize) -> bool {
        let Some(discriminant) = part.discriminant else {
            return part.variants.iter().all(|variant| {
                let member = variant.member;
                self.value(member.type_die, address.add(member.offset), depth)
            });
        };
        let size = self
            .info
            .type_at(discriminant.type_die)
            .map_or(0, |discriminant| discriminant.size);
        let mut bytes = [0; 8];
        let Some(wanted) = usize::try_from(size)
            .ok()
            .and_then(|size| bytes.get_mut(..size))
        else {
            // A discriminant of 128 bits: nothing is known.
            return true;
        };
        if self
            .memory
            .read(address.add(discriminant.offset), wanted)
            .is_err()
        {
            return false;
        }
        let mask = match size {
            0 => 0,
            8.. => u64::MAX,
            size => (1 << (size * 8)) - 1,
        };
        let value = u64::from_le_bytes(bytes);
        let active = part
            .variants
            .iter()
            .find(|variant| variant.value.is_some_and(|own| own & mask == value))
            .or_else(|| part.variants.iter().find(|variant| variant.value.is_none()));
        let Some(active) = active else { return false };
        let at = address.add(active.member.offset);
        if discriminant.name != "__state" {
            return self.value(active.member.type_die, at, depth);
        }
        // Of an async body only what it awaits is alive for certain: a saved local may have been
        // moved out. States below 3 are those of a body that does not wait (rustc).
        let Some(state) = self.info.type_at(active.member.type_die) else {
            return true;
        };
        let awaitee = state.member("__awaitee").copied();
        value >= 3
            && awaitee
                .is_none_or(|awaitee| self.value(awaitee.type_die, at.add(awaitee.offset), depth))
    }

    /// Null never, something mapped, or one of the small dangling addresses of empty containers.
    fn can_refer_to(&self, to: Address) -> bool {
        !to.is_null() && (to.0 < 4096 || self.memory.u8(to).is_ok())
    }
}
