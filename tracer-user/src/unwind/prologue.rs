//! The frame pointer of a function that has one, from its prologue.
//!
//! A blocked thread's rbp is not readable, and the standard library (built with frame pointers
//! since Rust 1.79) finds its frames by it: `futex_wait` under every `Condvar` and `park` is such
//! a function, called before anyone has saved rbp. But between `mov rbp, rsp` and the body the
//! compiler moves the stack pointer by constants only, and in the body it stays: so the distance
//! between the two registers stands in the prologue's instructions. What comes out is checked by
//! the caller: there must be a return address behind it.

use iced_x86::{
    Code, Decoder, DecoderError, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind,
    Register,
};

/// A prologue is no longer than this; 6 pushes and a stack probe are a dozen.
const INSTRUCTIONS: usize = 40;

/// The distance rbp - rsp in the body of a function, in bytes.
///
/// `code` starts behind `mov rbp, rsp`, where both are equal, and ends at or before the
/// instruction where the thread is. `None` when the stack pointer is moved in another way than by
/// constants: aligned, or by a variable amount.
pub(super) fn frame_pointer_distance(code: &[u8]) -> Option<u64> {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    let mut distance: u64 = 0;
    // `lea r11, [rsp-N]` opens a loop that probes N bytes page by page.
    let mut probed: Option<u64> = None;
    // `mov eax, N` before a call of `__rust_probestack` and `sub rsp, rax`.
    let mut in_eax: Option<u64> = None;
    let mut instruction = Instruction::default();
    for _ in 0..INSTRUCTIONS {
        if !decoder.can_decode() {
            break;
        }
        decoder.decode_out(&mut instruction);
        match (instruction.mnemonic(), instruction.op0_register()) {
            // The call in which the thread is, cut off.
            (Mnemonic::INVALID, _) if decoder.last_error() == DecoderError::NoMoreBytes => break,
            (Mnemonic::INVALID, _) => return None,
            (Mnemonic::Push, _) => distance = distance.checked_add(8)?,
            (Mnemonic::Sub, Register::RSP) => {
                let by = match instruction.op1_kind() {
                    OpKind::Register if instruction.op1_register() == Register::RAX => in_eax?,
                    OpKind::Register | OpKind::Memory => return None,
                    _ => instruction.immediate(1),
                };
                distance = distance.checked_add(by)?;
            }
            (Mnemonic::Lea, Register::R11)
                if instruction.memory_base() == Register::RSP
                    && instruction.memory_index() == Register::None =>
            {
                let below = instruction.memory_displacement64().wrapping_neg();
                probed = Some(distance.checked_add(below)?);
            }
            // The end of the probing loop: the stack pointer has come down to r11.
            (Mnemonic::Jne, _) if probed.is_some() => distance = probed.take()?,
            (Mnemonic::Mov, Register::EAX) if instruction.code() == Code::Mov_r32_imm32 => {
                in_eax = Some(instruction.immediate(1));
            }
            (Mnemonic::Call, _)
                if in_eax.is_some()
                    && code
                        .get(decoder.position()..)
                        .is_some_and(starts_with_sub_rax) => {}
            (Mnemonic::Cmp | Mnemonic::Test, _) => {}
            (_, Register::RSP | Register::ESP | Register::RBP | Register::EBP) => return None,
            _ if instruction.flow_control() != FlowControl::Next => break,
            _ => {}
        }
    }
    Some(distance)
}

fn starts_with_sub_rax(code: &[u8]) -> bool {
    let instruction = Decoder::new(64, code, DecoderOptions::NONE).decode();
    instruction.mnemonic() == Mnemonic::Sub
        && instruction.op0_register() == Register::RSP
        && instruction.op1_register() == Register::RAX
}

/// Whether `before`, the bytes up to a return address, ends in a call.
pub(super) fn ends_in_call(before: &[u8]) -> bool {
    // call rel32 is 5 bytes; call r/m64 is 2 to 8.
    (2..=8).any(|len| {
        let Some(start) = before.len().checked_sub(len) else {
            return false;
        };
        let Some(bytes) = before.get(start..) else {
            return false;
        };
        let mut decoder = Decoder::new(64, bytes, DecoderOptions::NONE);
        let instruction = decoder.decode();
        instruction.len() == len && instruction.mnemonic() == Mnemonic::Call
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_and_subtractions_add_up() {
        // push r15; push r14; push rbx; sub rsp, 0x48; mov rbx, rdi; call ..
        let code = [
            0x41, 0x57, 0x41, 0x56, 0x53, 0x48, 0x83, 0xec, 0x48, 0x48, 0x89, 0xfb, 0xe8, 0, 0, 0,
            0,
        ];
        assert_eq!(frame_pointer_distance(&code), Some(0x18 + 0x48));
        assert_eq!(frame_pointer_distance(&[]), Some(0));
        // A branch ends the prologue: what follows it does not count.
        // push rbx; je +0; push rbx
        assert_eq!(frame_pointer_distance(&[0x53, 0x74, 0x00, 0x53]), Some(8));
    }

    #[test]
    fn stack_probes_are_understood() {
        // mov eax, 0x5000; call ..; sub rsp, rax
        let call = [
            0xb8, 0x00, 0x50, 0, 0, 0xe8, 0, 0, 0, 0, 0x48, 0x29, 0xc4, 0xc3,
        ];
        assert_eq!(frame_pointer_distance(&call), Some(0x5000));
        // lea r11, [rsp-0x3000]; l: sub rsp, 0x1000; mov qword [rsp], 0; cmp rsp, r11; jne l;
        // sub rsp, 0x10; ret
        let inline = [
            0x4c, 0x8d, 0x9c, 0x24, 0x00, 0xd0, 0xff, 0xff, 0x48, 0x81, 0xec, 0x00, 0x10, 0, 0,
            0x48, 0xc7, 0x04, 0x24, 0, 0, 0, 0, 0x4c, 0x39, 0xdc, 0x75, 0xec, 0x48, 0x83, 0xec,
            0x10, 0xc3,
        ];
        assert_eq!(frame_pointer_distance(&inline), Some(0x3010));
    }

    #[test]
    fn other_changes_of_the_stack_pointer_are_refused() {
        assert_eq!(
            frame_pointer_distance(&[0x48, 0x83, 0xe4, 0xe0]),
            None,
            "and rsp, -32"
        );
        assert_eq!(
            frame_pointer_distance(&[0x48, 0x29, 0xc4]),
            None,
            "sub rsp, rax"
        );
        assert_eq!(
            frame_pointer_distance(&[0x48, 0x89, 0xcd]),
            None,
            "mov rbp, rcx"
        );
        assert_eq!(
            frame_pointer_distance(&[0x06, 0x90, 0x90]),
            None,
            "no instruction"
        );
    }

    #[test]
    fn calls_are_seen_from_behind() {
        assert!(ends_in_call(&[0x90, 0xe8, 1, 2, 3, 4]));
        assert!(ends_in_call(&[0xff, 0xd0]));
        assert!(ends_in_call(&[0x41, 0xff, 0x94, 0x24, 0, 1, 0, 0]));
        assert!(ends_in_call(&[0xff, 0x15, 0, 0, 0, 0]));
        assert!(!ends_in_call(&[0x90, 0x90, 0x90]));
        assert!(!ends_in_call(&[]));
    }
}
