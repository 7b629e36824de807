//! The instruction in a function at which a probe is set: pure.
//!
//! The instruction under a uprobe decides its cost: 0.5 us where the kernel emulates it, 10 us in
//! a virtual machine where it single-steps it (facts of [`super::emulation`]). So the probe goes
//! to the first emulated instruction that every call passes exactly once while the argument is
//! still in its register:
//!
//! - on the straight line from the entry, up to and with the first branch or call;
//! - before anything that writes the argument's register, or, where the task's state word is to be
//!   read as the function finds it, anything that writes memory through that register;
//! - where the distance of the stack pointer from its value at the entry is known;
//! - with no branch in the whole function that leads behind the entry and up to the site, as such
//!   a branch would hit it again. Where a branch is computed (a jump table), only `push` and `nop`
//!   are taken: a prologue is no jump's target, and padding stands before one, never at one.
//!
//! One loop is let pass where [`Wanted::attempts`] says so: the retry of a compare-exchange, a
//! branch right behind `lock cmpxchg`. tokio's `wake_by_ref` begins with such a loop. Its probe is
//! hit once more for each attempt that loses a race, each time with the state word of that
//! attempt; at the entry it would cost twenty times as much, and read the word long before.
//!
//! Otherwise it is the entry itself. Not excluded: a jump into the middle of the prologue from
//! another function; no compiler makes one.

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Formatter, Instruction as Decoded,
    InstructionInfoFactory, IntelFormatter, Mnemonic, OpAccess, OpKind, Register,
};
use tracer_common::{ArgumentRegister, ProbeKind};

use super::emulation::{Rules, Treatment};
use super::model::{Instruction, Method};
use crate::address::LinkAddress;

/// Largest distance of the stack pointer from the entry that a cookie holds, in bytes.
const MAX_PUSHED: i64 = 4095;
/// Instructions looked at from the entry.
const MAX_STRAIGHT: usize = 64;

/// Why a function cannot be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSite {
    /// The bytes at the entry are no instruction.
    #[error("its first bytes are not an instruction")]
    NotCode,
    /// No instruction on the straight line can be probed.
    #[error("the kernel refuses a probe on its first instructions")]
    Refused,
}

/// The code of a function.
#[derive(Clone, Copy, Debug)]
pub struct Code<'a> {
    /// Its bytes, from the entry.
    pub bytes: &'a [u8],
    /// Its entry.
    pub entry: LinkAddress,
    /// Whether `bytes` is the whole function. Where it may go on, a branch back may be unseen and
    /// only the entry is considered.
    pub whole: bool,
}

/// What is to be read at a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The register that must still hold its argument.
    pub argument: ArgumentRegister,
    /// Whether what it points to must still be as the function found it.
    pub untouched: bool,
    /// Whether attempts that lose a race may be hits of their own.
    pub attempts: bool,
}

impl Wanted {
    /// What is to be read in a function of this kind.
    #[must_use]
    pub const fn of(kind: ProbeKind, argument: ArgumentRegister) -> Self {
        Self {
            argument,
            // A waker's clone and drop only count; the rest tells by the state word what they do.
            untouched: !matches!(kind, ProbeKind::WakerClone | ProbeKind::WakerDrop),
            attempts: matches!(kind, ProbeKind::WakeByValue | ProbeKind::WakeByReference),
        }
    }
}

/// Chooses the instruction to be probed.
///
/// # Errors
/// [`NoSite`] when no instruction can be probed.
pub fn choose(code: Code<'_>, wanted: Wanted, rules: Rules) -> Result<Instruction, NoSite> {
    let mut candidates = straight_line(code, wanted, rules);
    let entry = candidates.first().copied().ok_or(NoSite::NotCode)?;
    if !code.whole {
        candidates.truncate(1);
    }
    let branches = Branches::of(code);
    let usable =
        |site: &&Site| site.offset == 0 || branches.allow(site, code.entry, wanted.attempts);
    let emulated = candidates
        .iter()
        .filter(|site| site.treatment == Treatment::Emulated)
        .find(usable);
    let chosen = match emulated {
        Some(site) => site,
        None if entry.treatment == Treatment::SingleStepped => &entry,
        None => candidates
            .iter()
            .filter(|site| site.treatment != Treatment::Refused)
            .find(usable)
            .ok_or(NoSite::Refused)?,
    };
    Ok(chosen.describe())
}

/// An instruction on the straight line from the entry.
#[derive(Clone, Copy)]
struct Site {
    offset: u64,
    decoded: Decoded,
    treatment: Treatment,
    pushed: u16,
}

impl Site {
    fn describe(&self) -> Instruction {
        let mut text = String::new();
        let mut formatter = IntelFormatter::new();
        let options = formatter.options_mut();
        options.set_hex_prefix("0x");
        options.set_hex_suffix("");
        options.set_uppercase_hex(false);
        options.set_branch_leading_zeros(false);
        options.set_space_after_operand_separator(true);
        formatter.format(&self.decoded, &mut text);
        Instruction {
            offset_in_function: self.offset,
            text,
            method: match self.treatment {
                Treatment::Emulated => Method::Emulated,
                Treatment::SingleStepped | Treatment::Refused => Method::SingleStepped,
            },
            pushed: self.pushed,
        }
    }
}

fn straight_line(code: Code<'_>, wanted: Wanted, rules: Rules) -> Vec<Site> {
    let argument = match wanted.argument {
        ArgumentRegister::Rdi => Register::RDI,
        ArgumentRegister::Rsi => Register::RSI,
        ArgumentRegister::Rdx => Register::RDX,
    };
    let mut sites = Vec::new();
    let mut decoder = Decoder::with_ip(64, code.bytes, code.entry.0, DecoderOptions::NONE);
    let mut info = InstructionInfoFactory::new();
    let mut pushed = 0_i64;
    while sites.len() < MAX_STRAIGHT && decoder.can_decode() {
        let start = decoder.position();
        let decoded = decoder.decode();
        if decoded.is_invalid() {
            break;
        }
        let Some(bytes) = code.bytes.get(start..decoder.position()) else {
            break;
        };
        let Ok(distance) = u16::try_from(pushed) else {
            break;
        };
        sites.push(Site {
            offset: start as u64,
            decoded,
            treatment: rules.treatment(bytes, &decoded),
            pushed: distance,
        });
        if decoded.flow_control() != FlowControl::Next
            || writes(&mut info, &decoded, argument)
            || (wanted.untouched && writes_through(&mut info, &decoded, argument))
        {
            break;
        }
        match stack_change(&mut info, &decoded) {
            Some(change) => pushed = pushed.saturating_add(change),
            None => break,
        }
        if !(0..=MAX_PUSHED).contains(&pushed) {
            break;
        }
    }
    sites
}

/// Whether an instruction may change any part of `register`.
fn writes(info: &mut InstructionInfoFactory, decoded: &Decoded, register: Register) -> bool {
    info.info(decoded)
        .used_registers()
        .iter()
        .any(|used| used.register().full_register() == register && is_write(used.access()))
}

/// Whether an instruction may write memory at an address made from `register`.
fn writes_through(
    info: &mut InstructionInfoFactory,
    decoded: &Decoded,
    register: Register,
) -> bool {
    info.info(decoded).used_memory().iter().any(|used| {
        (used.base() == register || used.index() == register) && is_write(used.access())
    })
}

const fn is_write(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// By how many bytes an instruction lowers the stack pointer; `None` where that depends on more
/// than the instruction (`and rsp, -32`, `mov rsp, ..`).
fn stack_change(info: &mut InstructionInfoFactory, decoded: &Decoded) -> Option<i64> {
    if decoded.is_stack_instruction() {
        return Some(-i64::from(decoded.stack_pointer_increment()));
    }
    if !writes(info, decoded, Register::RSP) {
        return Some(0);
    }
    let immediate = match decoded.op1_kind() {
        OpKind::Immediate8to64 | OpKind::Immediate32to64 => decoded.immediate(1).cast_signed(),
        _ => return None,
    };
    match decoded.mnemonic() {
        Mnemonic::Sub => Some(immediate),
        Mnemonic::Add => immediate.checked_neg(),
        _ => None,
    }
}

/// Whether an indirect jump leaves the function for certain: through a field of an object
/// (`jmp [rax + 16]`, a vtable) or through the global offset table. A jump table is indexed, or its
/// entry was loaded and added up in a register.
fn is_tail_call(decoded: &Decoded) -> bool {
    decoded.op0_kind() == OpKind::Memory
        && decoded.memory_index() == Register::None
        && decoded.memory_base() != Register::None
}

/// The branches of a function.
struct Branches {
    targets: Vec<Target>,
    computed: bool,
}

/// Where a branch leads.
struct Target {
    address: u64,
    /// The branch is right behind a `lock cmpxchg`.
    is_retry: bool,
}

impl Branches {
    fn of(code: Code<'_>) -> Self {
        let mut branches = Self {
            targets: Vec::new(),
            computed: false,
        };
        let mut is_retry = false;
        for decoded in Decoder::with_ip(64, code.bytes, code.entry.0, DecoderOptions::NONE) {
            match decoded.flow_control() {
                FlowControl::UnconditionalBranch
                | FlowControl::ConditionalBranch
                | FlowControl::Call
                | FlowControl::XbeginXabortXend => branches.targets.push(Target {
                    address: decoded.near_branch_target(),
                    is_retry,
                }),
                FlowControl::IndirectBranch => branches.computed |= !is_tail_call(&decoded),
                _ => {}
            }
            is_retry = decoded.has_lock_prefix() && decoded.mnemonic() == Mnemonic::Cmpxchg;
        }
        branches
    }

    /// Whether no branch of the function can lead to `site` a second time; `attempts` lets the
    /// retry of a compare-exchange do so.
    fn allow(&self, site: &Site, entry: LinkAddress, attempts: bool) -> bool {
        let behind_entry = |target: &Target| {
            let offset = target.address.wrapping_sub(entry.0);
            offset > 0 && offset <= site.offset && !(attempts && target.is_retry)
        };
        let padding_or_prologue = matches!(site.decoded.mnemonic(), Mnemonic::Push | Mnemonic::Nop);
        !self.targets.iter().any(behind_entry) && (!self.computed || padding_or_prologue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { long_nops: true };

    fn at(parts: &[&[u8]]) -> Result<Instruction, NoSite> {
        choose_in(parts, ArgumentRegister::Rdi, true)
    }

    fn choose_in(
        parts: &[&[u8]],
        argument: ArgumentRegister,
        whole: bool,
    ) -> Result<Instruction, NoSite> {
        let bytes = parts.concat();
        let code = Code {
            bytes: &bytes,
            entry: LinkAddress(0x1000),
            whole,
        };
        choose(code, counted(argument), RULES)
    }

    /// As for a waker's clone: only the register matters.
    const fn counted(argument: ArgumentRegister) -> Wanted {
        Wanted::of(ProbeKind::WakerClone, argument)
    }

    fn wake(parts: &[&[u8]]) -> Instruction {
        let bytes = parts.concat();
        let code = Code {
            bytes: &bytes,
            entry: LinkAddress(0x1000),
            whole: true,
        };
        let wanted = Wanted::of(ProbeKind::WakeByReference, ArgumentRegister::Rdi);
        choose(code, wanted, RULES).unwrap()
    }

    const PUSH_RBX: &[u8] = &[0x53];
    const PUSH_R15: &[u8] = &[0x41, 0x57];
    const SUB_RSP_24: &[u8] = &[0x48, 0x83, 0xec, 0x18];
    const MOV_RBX_RDI: &[u8] = &[0x48, 0x89, 0xfb];
    const MOV_RDI_RSI: &[u8] = &[0x48, 0x89, 0xf7];
    const XOR_EDI_EDI: &[u8] = &[0x31, 0xff];
    const CALL: &[u8] = &[0xe8, 0, 1, 0, 0];
    const NOP5: &[u8] = &[0x0f, 0x1f, 0x44, 0, 0];
    const JNE_FAR: &[u8] = &[0x0f, 0x85, 0, 1, 0, 0];
    const LOCK_XADD: &[u8] = &[0xf0, 0x48, 0x0f, 0xc1, 0x07];
    const RET: &[u8] = &[0xc3];

    #[test]
    fn an_emulated_entry_is_taken() {
        for first in [PUSH_RBX, PUSH_R15, NOP5, CALL, &[0xe9, 0, 1, 0, 0]] {
            let site = at(&[first, RET]).unwrap();
            assert_eq!((site.offset_in_function, site.pushed), (0, 0));
            assert_eq!(site.method, Method::Emulated);
        }
        assert_eq!(at(&[PUSH_R15, RET]).unwrap().text, "push r15");
    }

    #[test]
    fn a_later_one_is_found_and_the_stack_is_counted() {
        let site = at(&[SUB_RSP_24, MOV_RBX_RDI, CALL, RET]).unwrap();
        assert_eq!((site.offset_in_function, site.pushed), (7, 24));
        assert_eq!(site.method, Method::Emulated);
        // A push counts for what comes after it.
        let mov = &[0xb8, 0x40, 0, 0, 0];
        let site = at(&[mov, PUSH_RBX, RET]).unwrap();
        assert_eq!((site.offset_in_function, site.pushed), (5, 0));
        // tokio's clone_waker: the instruction after the counted reference.
        let js = &[0x78, 0x10];
        let site = at(&[mov, LOCK_XADD, &[0x48, 0x85, 0xc0], js, RET]).unwrap();
        assert_eq!((site.offset_in_function, site.pushed), (13, 0));
        // Freed again before the site.
        let add = &[0x48, 0x83, 0xc4, 0x08];
        let site = at(&[SUB_RSP_24, add, NOP5, RET]).unwrap();
        assert_eq!((site.offset_in_function, site.pushed), (8, 16));
    }

    #[test]
    fn nothing_after_the_argument_is_gone() {
        for clobber in [
            MOV_RDI_RSI,
            XOR_EDI_EDI,
            &[0x40, 0xb7, 0x01],
            &[0x48, 0xff, 0xc7],
        ] {
            let site = at(&[clobber, PUSH_RBX, RET]).unwrap();
            assert_eq!(site.offset_in_function, 0, "{}", site.text);
            assert_eq!(site.method, Method::SingleStepped);
        }
        // The same bytes leave the second argument alone.
        let site = choose_in(&[XOR_EDI_EDI, PUSH_RBX, RET], ArgumentRegister::Rsi, true).unwrap();
        assert_eq!(site.offset_in_function, 2);
        // `rep movs` changes both.
        let site = choose_in(&[&[0xf3, 0xa4], NOP5, RET], ArgumentRegister::Rsi, true).unwrap();
        assert_eq!(site.offset_in_function, 0);
    }

    #[test]
    fn nothing_after_a_branch_or_call() {
        let site = at(&[SUB_RSP_24, JNE_FAR, PUSH_RBX, RET]).unwrap();
        assert_eq!(site.offset_in_function, 4, "the branch itself");
        let call_rax = &[0xff, 0xd0];
        let site = at(&[call_rax, PUSH_RBX, RET]).unwrap();
        assert_eq!(
            (site.offset_in_function, site.method),
            (0, Method::SingleStepped)
        );
        let site = at(&[RET, PUSH_RBX]).unwrap();
        assert_eq!(
            (site.offset_in_function, site.method),
            (0, Method::SingleStepped)
        );
        assert_eq!(site.text, "ret");
    }

    #[test]
    fn a_loop_back_is_not_taken_for_the_entry() {
        // 0: sub; 4: nop5; 9: jne -> 4.
        let back_to_4 = &[0x75, 0xf9];
        let site = at(&[SUB_RSP_24, NOP5, back_to_4, RET]).unwrap();
        assert_eq!(
            (site.offset_in_function, site.method),
            (0, Method::SingleStepped)
        );
        // To the instruction behind it: the padding before a loop is outside of it.
        let back_to_9 = &[0x75, 0xfe];
        let site = at(&[SUB_RSP_24, NOP5, back_to_9, RET]).unwrap();
        assert_eq!(site.offset_in_function, 4);
        // To the entry itself: a tail call of itself is a new call.
        let back_to_0 = &[0x75, 0xf5];
        let site = at(&[SUB_RSP_24, NOP5, back_to_0, RET]).unwrap();
        assert_eq!(site.offset_in_function, 4);
        let site = at(&[PUSH_RBX, back_to_0, RET]).unwrap();
        assert_eq!(site.offset_in_function, 0);
    }

    #[test]
    fn under_a_jump_table_only_prologue_and_padding() {
        let jmp_rax = &[0xff, 0xe0];
        let site = at(&[SUB_RSP_24, JNE_FAR, jmp_rax]).unwrap();
        assert_eq!(
            (site.offset_in_function, site.method),
            (0, Method::SingleStepped)
        );
        let site = at(&[MOV_RBX_RDI, PUSH_R15, jmp_rax]).unwrap();
        assert_eq!(site.offset_in_function, 3);
        let site = at(&[MOV_RBX_RDI, NOP5, jmp_rax]).unwrap();
        assert_eq!(site.offset_in_function, 3);
        let jmp_table = &[0xff, 0x24, 0xc5, 0, 0x10, 0, 0];
        let site = at(&[SUB_RSP_24, JNE_FAR, jmp_table]).unwrap();
        assert_eq!(site.offset_in_function, 0);
        // A call through a vtable at the end is no jump table.
        let jmp_field = &[0xff, 0x60, 0x10];
        let site = at(&[SUB_RSP_24, JNE_FAR, jmp_field]).unwrap();
        assert_eq!((site.offset_in_function, site.pushed), (4, 24));
    }

    #[test]
    fn the_stack_pointer_must_be_known() {
        let align = &[0x48, 0x83, 0xe4, 0xe0];
        let site = at(&[align, NOP5, RET]).unwrap();
        assert_eq!(site.offset_in_function, 0);
        let sub_4096 = &[0x48, 0x81, 0xec, 0, 0x10, 0, 0];
        let site = at(&[sub_4096, NOP5, RET]).unwrap();
        assert_eq!(site.offset_in_function, 0, "more than a cookie holds");
        let pop = &[0x5b];
        let site = at(&[pop, NOP5, RET]).unwrap();
        assert_eq!(site.offset_in_function, 0, "above the entry");
    }

    #[test]
    fn what_the_kernel_refuses_is_passed_over_or_said() {
        let site = at(&[LOCK_XADD, MOV_RBX_RDI, RET]).unwrap();
        assert_eq!(
            (site.offset_in_function, site.method),
            (5, Method::SingleStepped)
        );
        assert_eq!(
            choose_in(&[LOCK_XADD, RET], ArgumentRegister::Rdi, false),
            Err(NoSite::Refused)
        );
        assert_eq!(at(&[&[0x0f, 0x0b]]), Err(NoSite::Refused));
        assert_eq!(at(&[&[0x06]]), Err(NoSite::NotCode));
        assert_eq!(at(&[]), Err(NoSite::NotCode));
        assert_eq!(at(&[&[0x48]]), Err(NoSite::NotCode));
    }

    #[test]
    fn a_retry_of_a_compare_exchange_is_an_attempt() {
        let load: &[u8] = &[0x48, 0x8b, 0x07];
        let test: &[u8] = &[0xa8, 0x02];
        let out: &[u8] = &[0x75, 0x07];
        let cmpxchg: &[u8] = &[0xf0, 0x4c, 0x0f, 0xb1, 0x07];
        // 0: sub; 4: mov rax, [rdi]; 7: test al, 2; 9: jne out; 11: lock cmpxchg; 16: jne 7.
        let again: &[u8] = &[0x75, 0xf5];
        let loop_of_tokio = [SUB_RSP_24, load, test, out, cmpxchg, again, RET];
        let site = wake(&loop_of_tokio);
        assert_eq!((site.offset_in_function, site.pushed), (9, 24));
        // For who counts, it is a loop.
        assert_eq!(at(&loop_of_tokio).unwrap().offset_in_function, 0);
        // Any other branch back is one for everybody.
        let nop: &[u8] = &[0x0f, 0x1f, 0x40, 0, 0x90];
        let site = wake(&[SUB_RSP_24, load, test, out, nop, again, RET]);
        assert_eq!(site.offset_in_function, 0);
    }

    #[test]
    fn the_state_word_is_read_before_it_is_written() {
        let set_notified = &[0x48, 0x83, 0x0f, 0x04];
        let site = wake(&[set_notified, PUSH_RBX, RET]);
        assert_eq!(
            (site.offset_in_function, site.method),
            (0, Method::SingleStepped)
        );
        let site = at(&[set_notified, PUSH_RBX, RET]).unwrap();
        assert_eq!(
            site.offset_in_function, 4,
            "for who counts, it does not matter"
        );
        let through_another = &[0x48, 0x83, 0x0e, 0x04];
        let site = wake(&[through_another, PUSH_RBX, RET]);
        assert_eq!(site.offset_in_function, 4);
    }

    #[test]
    fn without_its_end_only_the_entry_of_a_function_is_known() {
        let site = choose_in(&[SUB_RSP_24, NOP5, RET], ArgumentRegister::Rdi, false).unwrap();
        assert_eq!(site.offset_in_function, 0);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(0_u8.., 0..64)) {
            for argument in [ArgumentRegister::Rdi, ArgumentRegister::Rsi, ArgumentRegister::Rdx] {
                let code = Code { bytes: &bytes, entry: LinkAddress(u64::MAX - 16), whole: true };
                if let Ok(site) = choose(code, counted(argument), RULES) {
                    proptest::prop_assert!(site.offset_in_function < bytes.len() as u64);
                    proptest::prop_assert!(i64::from(site.pushed) <= MAX_PUSHED);
                }
            }
        }
    }
}
