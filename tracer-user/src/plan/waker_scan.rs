//! tokio's waker functions in a stripped binary, by what their code does.
//!
//! A `RawWakerVTable` is four functions in a row: clone, wake, wake by reference, drop. tokio's
//! task waker points at a `Header` whose first word is the state, with the reference count from
//! bit 6 on (`REF_ONE` = 64, tokio 1.0 to 1.54): its clone adds 64 to `[rdi]` and its drop takes
//! 64 from it, each atomically. No other runtime's does (async-task counts from bit 8, `Arc`
//! counts in ones, at negative offsets). In unoptimised builds both call out of line and are not
//! recognised.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use crate::address::LinkAddress;
use crate::object::Binary;

/// One reference in the state word.
const REF_ONE: i64 = 64;
/// Instructions in which the change of the count must come.
const LOOK_AHEAD: usize = 12;

/// The functions of the task waker's vtable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakerFunctions {
    /// `clone_waker`.
    pub clone: LinkAddress,
    /// `wake_by_val`.
    pub wake_by_value: LinkAddress,
    /// `wake_by_ref`.
    pub wake_by_reference: LinkAddress,
    /// `drop_waker`.
    pub drop: LinkAddress,
}

/// The task waker vtables of a binary: one for each tokio linked in.
#[must_use]
pub fn waker_functions(binary: &Binary) -> Vec<WakerFunctions> {
    let mut found = Vec::new();
    for section in binary.constant_data() {
        let words: Vec<(LinkAddress, u64)> = section.words().collect();
        for window in words.windows(4) {
            let &[(_, clone), (_, value), (_, reference), (_, drop)] = window else {
                continue;
            };
            let functions = WakerFunctions {
                clone: LinkAddress(clone),
                wake_by_value: LinkAddress(value),
                wake_by_reference: LinkAddress(reference),
                drop: LinkAddress(drop),
            };
            if binary.is_code(functions.clone)
                && binary.is_code(functions.wake_by_value)
                && binary.is_code(functions.wake_by_reference)
                && binary.is_code(functions.drop)
                && adds(binary, functions.clone, REF_ONE)
                && adds(binary, functions.drop, -REF_ONE)
                && !found.contains(&functions)
            {
                found.push(functions);
            }
        }
    }
    found
}

fn adds(binary: &Binary, function: LinkAddress, amount: i64) -> bool {
    let bytes = (16..=64)
        .rev()
        .step_by(16)
        .find_map(|len| binary.bytes_at(function, len));
    bytes.is_some_and(|bytes| adds_to_first_word(bytes, amount))
}

/// Whether code adds `amount` atomically to the word at rdi before its first branch or call.
fn adds_to_first_word(code: &[u8], amount: i64) -> bool {
    // Registers that hold a constant.
    let mut constants: Vec<(Register, i64)> = Vec::new();
    for decoded in Decoder::new(64, code, DecoderOptions::NONE)
        .iter()
        .take(LOOK_AHEAD)
    {
        if decoded.has_lock_prefix() && addresses_first_word(&decoded) {
            return added(&decoded, &constants) == Some(amount);
        }
        if decoded.mnemonic() == Mnemonic::Mov
            && decoded.op0_kind() == OpKind::Register
            && let Some(value) = immediate(&decoded)
        {
            constants.push((decoded.op0_register().full_register(), value));
        }
        if decoded.flow_control() != iced_x86::FlowControl::Next {
            return false;
        }
    }
    false
}

/// Whether the first operand is the 64-bit word at `[rdi]`.
fn addresses_first_word(decoded: &Instruction) -> bool {
    decoded.op0_kind() == OpKind::Memory
        && decoded.memory_base() == Register::RDI
        && decoded.memory_index() == Register::None
        && decoded.memory_displacement64() == 0
        && decoded.memory_size().size() == 8
}

/// What a locked instruction adds to its first operand, where that is a constant.
fn added(decoded: &Instruction, constants: &[(Register, i64)]) -> Option<i64> {
    let operand = if decoded.op1_kind() == OpKind::Register {
        let register = decoded.op1_register().full_register();
        constants
            .iter()
            .rev()
            .find(|(holder, _)| *holder == register)
            .map(|(_, value)| *value)
    } else {
        immediate(decoded)
    }?;
    match decoded.mnemonic() {
        Mnemonic::Xadd | Mnemonic::Add => Some(operand),
        Mnemonic::Sub => operand.checked_neg(),
        _ => None,
    }
}

fn immediate(decoded: &Instruction) -> Option<i64> {
    matches!(
        decoded.op1_kind(),
        OpKind::Immediate8to64
            | OpKind::Immediate32to64
            | OpKind::Immediate64
            | OpKind::Immediate32
    )
    .then(|| decoded.immediate(1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokio_counts_in_sixty_fours() {
        // mov eax, 64; lock xadd [rdi], rax (rustc 1.95, release)
        let clone = [0xb8, 0x40, 0, 0, 0, 0xf0, 0x48, 0x0f, 0xc1, 0x07];
        assert!(adds_to_first_word(&clone, 64));
        assert!(!adds_to_first_word(&clone, -64));
        // mov rax, -64; lock xadd [rdi], rax
        let drop = [
            0x48, 0xc7, 0xc0, 0xc0, 0xff, 0xff, 0xff, 0xf0, 0x48, 0x0f, 0xc1, 0x07,
        ];
        assert!(adds_to_first_word(&drop, -64));
        // lock add qword [rdi], 64
        assert!(adds_to_first_word(&[0xf0, 0x48, 0x83, 0x07, 0x40], 64));
        // lock add qword [rdi], 256: async-task
        assert!(!adds_to_first_word(
            &[0xf0, 0x48, 0x81, 0x07, 0, 1, 0, 0],
            64
        ));
        // lock add qword [rdi - 16], 64
        assert!(!adds_to_first_word(
            &[0xf0, 0x48, 0x83, 0x47, 0xf0, 0x40],
            64
        ));
        // lock inc qword [rdi]: Arc
        assert!(!adds_to_first_word(&[0xf0, 0x48, 0xff, 0x07], 64));
        // add qword [rdi], 64: not atomic
        assert!(!adds_to_first_word(&[0x48, 0x83, 0x07, 0x40], 64));
        // call; lock add qword [rdi], 64
        assert!(!adds_to_first_word(
            &[0xe8, 0, 0, 0, 0, 0xf0, 0x48, 0x83, 0x07, 0x40],
            64
        ));
    }
}
