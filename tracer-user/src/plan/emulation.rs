//! How the kernel carries out an instruction under a uprobe (x86-64).
//!
//! The rules are those of `arch/x86/kernel/uprobes.c`. Each was tried on Linux 6.18 by timing a
//! probed call: emulated 0.8 to 2 us, single-stepped 8 to 15 us, refused 3 ns (the probe is never
//! hit). What is emulated: `push r64` (also with REX.B alone; `push` with another REX prefix or of
//! an immediate is not), `jmp rel`, `call rel32`, conditional jumps (not `jrcxz`), `nop` with any
//! prefixes, and the multi-byte no-ops of up to 8 bytes exactly as the kernel itself writes them
//! (Linux 6.18; 9 bytes and more are single-stepped).
//!
//! **A no-op of 5 bytes is never probed.** Linux 6.18 replaces it by a `call` once it was hit (the
//! "optimised uprobe"), and a call writes below the stack pointer, where a function that calls
//! nothing keeps its values (the red zone of the System V ABI): tried on 6.18.44, such a function
//! computes with garbage. None is chosen: `site_tests.rs`.

use iced_x86::{Code, Instruction, Mnemonic};

/// What the kernel does with a probed instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Emulated in the trap.
    Emulated,
    /// Copied out of line and single-stepped.
    SingleStepped,
    /// Refused by the kernel, or not safe to probe.
    Refused,
}

/// The rules of one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether no-ops of 3 to 8 bytes are emulated (Linux 6.18).
    pub long_nops: bool,
}

impl Rules {
    /// The rules of the running kernel, by its release.
    #[must_use]
    pub fn of_this_kernel() -> Self {
        let release = rustix::system::uname();
        Self::of_release(&release.release().to_string_lossy())
    }

    /// The rules of a kernel release such as `6.18.44-generic`. One that cannot be read gets the
    /// rules of the oldest.
    #[must_use]
    pub fn of_release(release: &str) -> Self {
        let mut numbers = release
            .split(|c: char| !c.is_ascii_digit())
            .map(str::parse::<u32>);
        let version = match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
            _ => (0, 0),
        };
        Self {
            long_nops: version >= (6, 18),
        }
    }

    /// What the kernel does with `instruction`, whose encoding is `bytes`.
    #[must_use]
    pub fn treatment(self, bytes: &[u8], instruction: &Instruction) -> Treatment {
        let prefixes = Prefixes::of(bytes);
        let rest = bytes.get(prefixes.len..).unwrap_or_default();
        let (Some(&opcode), second) = (rest.first(), rest.get(1).copied()) else {
            return Treatment::Refused;
        };
        if instruction.code() == Code::INVALID || prefixes.refused {
            return Treatment::Refused;
        }
        if bytes.len() == 5 && instruction.mnemonic() == Mnemonic::Nop {
            return Treatment::Refused;
        }
        if self.long_nops && is_kernel_nop(bytes) {
            return Treatment::Emulated;
        }
        match (opcode, second) {
            // `xchg r8, rax`: the kernel takes it for a `nop` and would skip the exchange.
            (0x90, _) if prefixes.rex & 1 != 0 => Treatment::Refused,
            (0x90, _) => Treatment::Emulated,
            (0xeb | 0xe9 | 0xe8 | 0x70..=0x7f, _) | (0x0f, Some(0x80..=0x8f)) => {
                if prefixes.operand_size {
                    Treatment::Refused
                } else {
                    Treatment::Emulated
                }
            }
            (0x50..=0x57, _) if bytes.len() == 1 || (bytes.len() == 2 && prefixes.rex == 0x41) => {
                Treatment::Emulated
            }
            // `int3`, `int`, `into`, `iret`, port and flag instructions, `hlt`, `ud2`.
            (0x6c..=0x6f | 0xcc..=0xcf | 0xe4..=0xe7 | 0xec..=0xef, _)
            | (0xf1 | 0xf4 | 0xfa | 0xfb, _)
            | (0x0f, Some(0x0b)) => Treatment::Refused,
            _ => Treatment::SingleStepped,
        }
    }
}

/// Legacy and REX prefixes of an encoding.
struct Prefixes {
    len: usize,
    rex: u8,
    operand_size: bool,
    refused: bool,
}

impl Prefixes {
    fn of(bytes: &[u8]) -> Self {
        let mut prefixes = Self {
            len: 0,
            rex: 0,
            operand_size: false,
            refused: false,
        };
        for byte in bytes {
            match byte {
                // ES, CS, SS and DS overrides and LOCK: the kernel refuses them.
                0x26 | 0x2e | 0x36 | 0x3e | 0xf0 => prefixes.refused = true,
                0x66 => prefixes.operand_size = true,
                0x64 | 0x65 | 0x67 | 0xf2 | 0xf3 => {}
                // REX comes last.
                0x40..=0x4f => {
                    prefixes.rex = *byte;
                    prefixes.len += 1;
                    break;
                }
                _ => break,
            }
            prefixes.len += 1;
        }
        prefixes
    }
}

/// The no-ops of `arch/x86/include/asm/nops.h`, 1 to 8 bytes but for 5.
fn is_kernel_nop(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x90]
            | [0x66, 0x90]
            | [0x0f, 0x1f, 0x00]
            | [0x0f, 0x1f, 0x40, 0]
            | [0x66, 0x0f, 0x1f, 0x44, 0, 0]
            | [0x0f, 0x1f, 0x80, 0, 0, 0, 0]
            | [0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use Treatment::{Emulated, Refused, SingleStepped};
    use iced_x86::{Decoder, DecoderOptions};

    fn treatment(rules: Rules, bytes: &[u8]) -> Treatment {
        let instruction = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
        assert_eq!(
            instruction.len(),
            bytes.len(),
            "one whole instruction: {bytes:x?}"
        );
        rules.treatment(bytes, &instruction)
    }

    /// As measured on 6.18, instruction by instruction.
    #[test]
    fn the_rules_of_6_18() {
        let new = Rules { long_nops: true };
        let cases: &[(&[u8], Treatment)] = &[
            (&[0x90], Emulated),
            (&[0x66, 0x90], Emulated),
            (&[0x66, 0x66, 0x90], Emulated),
            (&[0xf3, 0x90], Emulated),
            (&[0x0f, 0x1f, 0x00], Emulated),
            (&[0x0f, 0x1f, 0x40, 0], Emulated),
            (&[0x0f, 0x1f, 0x44, 0, 0], Refused),
            (&[0x66, 0x0f, 0x1f, 0x40, 0], Refused),
            (&[0x66, 0x66, 0x66, 0x66, 0x90], Refused),
            (&[0x66, 0x0f, 0x1f, 0x44, 0, 0], Emulated),
            (&[0x0f, 0x1f, 0x80, 0, 0, 0, 0], Emulated),
            (&[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0], Emulated),
            (&[0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0], SingleStepped),
            (
                &[0x66, 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
                SingleStepped,
            ),
            (&[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0], Refused),
            (&[0x0f, 0x1f, 0x40, 1], SingleStepped),
            (&[0xf3, 0x0f, 0x1e, 0xfa], SingleStepped),
            (&[0x55], Emulated),
            (&[0x41, 0x57], Emulated),
            (&[0x48, 0x55], SingleStepped),
            (&[0x6a, 0x01], SingleStepped),
            (&[0xff, 0x37], SingleStepped),
            (&[0xeb, 0x00], Emulated),
            (&[0xe9, 0, 0, 0, 0], Emulated),
            (&[0xf2, 0xe9, 0, 0, 0, 0], Emulated),
            (&[0xe8, 0, 0, 0, 0], Emulated),
            (&[0x75, 0x00], Emulated),
            (&[0x0f, 0x85, 0, 0, 0, 0], Emulated),
            (&[0xe3, 0x00], SingleStepped),
            (&[0xff, 0x25, 0, 0, 0, 0], SingleStepped),
            (&[0x48, 0x83, 0xec, 0x08], SingleStepped),
            (&[0x89, 0xf8], SingleStepped),
            (&[0xc3], SingleStepped),
            (&[0xf0, 0x48, 0x83, 0x0c, 0x24, 0x00], Refused),
            (&[0x49, 0x90], Refused),
            (&[0xcc], Refused),
            (&[0x0f, 0x0b], Refused),
            (&[0xf4], Refused),
        ];
        for (bytes, expected) in cases {
            assert_eq!(treatment(new, bytes), *expected, "{bytes:x?}");
        }
    }

    #[test]
    fn an_older_kernel_single_steps_long_nops() {
        let old = Rules::of_release("6.1.0-31-cloud-amd64");
        assert_eq!(old, Rules { long_nops: false });
        assert_eq!(treatment(old, &[0x0f, 0x1f, 0x40, 0]), SingleStepped);
        assert_eq!(treatment(old, &[0x0f, 0x1f, 0x44, 0, 0]), Refused);
        assert_eq!(treatment(old, &[0x66, 0x90]), Emulated);
        assert_eq!(treatment(old, &[0x41, 0x56]), Emulated);
        assert!(Rules::of_release("6.18.44-fc").long_nops);
        assert!(Rules::of_release("7.0").long_nops);
        assert!(!Rules::of_release("6.17.9").long_nops);
        assert!(!Rules::of_release("strange").long_nops);
    }
}
