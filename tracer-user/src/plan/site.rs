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
#[path = "site_tests.rs"]
mod tests;
