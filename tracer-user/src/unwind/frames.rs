//! From one frame to its caller, by the rules of `.eh_frame`.

use gimli::{CfaRule, Register, RegisterRule, UnwindContext, X86_64};

use super::expression::{ExpressionError, Surroundings, evaluate};
use super::modules::{CodeModule, CodeModules};
use super::prologue::{ends_in_call, frame_pointer_distance};
use super::registers::Registers;
use super::tables::Rules;
use crate::address::{Address, LinkAddress};
use crate::memory::Memory;

/// At most so many frames of one stack.
const DEPTH: usize = 1024;

/// One activation of a function (a physical frame: what was inlined is part of it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where the thread is in it: for all but the innermost the return address.
    pub pc: Address,
    /// The module of `pc`, a position in [`CodeModules`].
    pub module: usize,
    /// The link address to look things up by. A return address may already belong to the next
    /// function or scope, so for a caller this is the address of the call's last byte.
    pub link: LinkAddress,
    /// The canonical frame address: the stack pointer before the call that entered this frame.
    pub frame_address: Address,
    /// The registers in this frame, as far as they are known.
    pub registers: Registers,
}

/// Why there is no further frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StackEnd {
    /// The outermost function: its description says that it returns to nobody.
    #[error("the thread's first function")]
    Outermost,
    /// The program counter is in no module: generated code, the vDSO, or a damaged stack.
    #[error("no module at {0}")]
    NoModule(Address),
    /// The module has no call frame information for the address.
    #[error("no call frame information for {address} in {module}")]
    NoRules {
        /// The module's path.
        module: String,
        /// The address in it.
        address: LinkAddress,
    },
    /// The frame's address or the return address is not to be had.
    #[error("at {address} of its module: {source}")]
    NoFrame {
        /// Its module, a position in [`CodeModules`].
        module: usize,
        /// The link address of the frame.
        address: LinkAddress,
        /// What is missing.
        source: ExpressionError,
    },
    /// A caller's frame is not above its callee's: a damaged stack or damaged tables.
    #[error("the stack does not go on upwards at {0}")]
    NotUpwards(Address),
    /// More frames than we follow.
    #[error("deeper than {DEPTH} frames")]
    TooDeep,
}

/// The frames of a thread, the innermost first, and why they end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The frames, innermost first.
    pub frames: Vec<Frame>,
    /// Why there is no further one.
    pub end: StackEnd,
}

/// Unwinds from `registers`, which hold at least stack pointer and program counter.
///
/// The program counter is taken for where the thread is, not for a return address: true for a
/// blocked thread. Ends after at most 1,024 frames; every frame is above the one before.
#[must_use]
pub fn unwind(registers: Registers, memory: &dyn Memory, modules: &CodeModules<'_>) -> Stack {
    let mut frames = Vec::new();
    let mut context = UnwindContext::new();
    let mut registers = registers;
    let mut is_return_address = false;
    let end = loop {
        if frames.len() == DEPTH {
            break StackEnd::TooDeep;
        }
        let Some(pc) = registers.program_counter() else {
            break StackEnd::Outermost;
        };
        if pc.is_null() {
            break StackEnd::Outermost;
        }
        let lookup = Address(pc.0.wrapping_sub(u64::from(is_return_address)));
        let Some((index, module)) = modules.find(lookup) else {
            break StackEnd::NoModule(pc);
        };
        let link = module.link(lookup);
        let Some(rules) = module.tables.rules(link) else {
            break StackEnd::NoRules {
                module: module.name.clone(),
                address: link,
            };
        };
        let stepped = step(
            &Place {
                module,
                registers: &registers,
                memory,
            },
            &rules,
            link,
            &mut context,
        );
        let stepped = match stepped {
            Err(ExpressionError::UnknownRegister(X86_64::RBP)) => {
                with_frame_pointer(&registers, &rules, link, index, modules, memory)
                    .inspect(|with| registers = *with)
                    .ok_or(ExpressionError::UnknownRegister(X86_64::RBP))
                    .and_then(|registers| {
                        let place = Place {
                            module,
                            registers: &registers,
                            memory,
                        };
                        step(&place, &rules, link, &mut context)
                    })
            }
            other => other,
        };
        let (frame_address, caller) = match stepped {
            Ok(step) => step,
            Err(source) => {
                break StackEnd::NoFrame {
                    module: index,
                    address: link,
                    source,
                };
            }
        };
        frames.push(Frame {
            pc,
            module: index,
            link,
            frame_address,
            registers,
        });
        if registers
            .stack_pointer()
            .is_none_or(|below| frame_address <= below)
        {
            break StackEnd::NotUpwards(frame_address);
        }
        // Behind a signal's trampoline the program counter is where the signal hit.
        is_return_address = !rules.is_signal_trampoline();
        registers = caller;
    };
    Stack { frames, end }
}

/// Where rules are applied.
struct Place<'a, 'data> {
    module: &'a CodeModule<'data>,
    registers: &'a Registers,
    memory: &'a dyn Memory,
}

impl<'data> Surroundings<'data> for Place<'_, 'data> {
    fn register(&self, register: Register) -> Option<u64> {
        self.registers.get(register)
    }

    fn memory(&self) -> &dyn Memory {
        self.memory
    }

    fn relocate(&self, link: u64) -> u64 {
        self.module.bias.to_address(LinkAddress(link)).0
    }
}

/// The registers of a frame with a frame pointer, as its prologue tells it. The frame that it
/// makes must hold a return address, one behind a call in a known function.
fn with_frame_pointer(
    registers: &Registers,
    rules: &Rules<'_>,
    link: LinkAddress,
    module: usize,
    modules: &CodeModules<'_>,
    memory: &dyn Memory,
) -> Option<Registers> {
    let tables = &modules.get(module)?.tables;
    let section = tables.section();
    let mut context = UnwindContext::new();
    let mut rows = rules.rows(&section, tables.bases(), &mut context).ok()?;
    // `mov rbp, rsp` ends where the frame's address is first relative to rbp.
    let body = loop {
        let row = rows.next_row().ok()??;
        if let CfaRule::RegisterAndOffset {
            register: X86_64::RBP,
            offset: 16,
        } = row.cfa()
        {
            break LinkAddress(row.start_address());
        }
    };
    let code = tables.code(body, link)?;
    let frame_pointer = registers
        .stack_pointer()?
        .add(frame_pointer_distance(code)?);
    let return_address = memory.pointer(frame_pointer.add(8)).ok()?;
    let (_, caller) = modules.find(return_address)?;
    let returns_to = caller.link(return_address);
    caller
        .tables
        .rules(LinkAddress(returns_to.0.checked_sub(1)?))?;
    let before = caller
        .tables
        .code(LinkAddress(returns_to.0.checked_sub(8)?), returns_to)?;
    if !ends_in_call(before) {
        return None;
    }
    let mut with = *registers;
    with.set(X86_64::RBP, Some(frame_pointer.0));
    Some(with)
}

/// The frame's address, and the registers of its caller.
fn step(
    place: &Place<'_, '_>,
    rules: &Rules<'_>,
    link: LinkAddress,
    context: &mut UnwindContext<usize>,
) -> Result<(Address, Registers), ExpressionError> {
    let tables = &place.module.tables;
    let section = tables.section();
    let row = rules.unwind_info_for_address(&section, tables.bases(), context, link.0)?;
    let encoding = rules.cie().encoding();
    let value_of = |expression: &gimli::UnwindExpression<usize>, initial| {
        let expression = expression.get(&section)?;
        let pieces = evaluate(expression, encoding, initial, place)?;
        match pieces.as_slice() {
            [
                gimli::Piece {
                    location: gimli::Location::Address { address },
                    ..
                },
            ] => Ok(*address),
            _ => Err(ExpressionError::Unsupported("a location of pieces")),
        }
    };

    let frame_address = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => place
            .registers
            .get(*register)
            .ok_or(ExpressionError::UnknownRegister(*register))?
            .wrapping_add_signed(*offset),
        CfaRule::Expression(expression) => value_of(expression, None)?,
    };

    let at = |address: u64| place.memory.u64(Address(address));
    let recover = |register: Register| -> Result<Option<u64>, ExpressionError> {
        Ok(match row.register(register) {
            Some(RegisterRule::Undefined) => None,
            Some(RegisterRule::Offset(offset)) => {
                Some(at(frame_address.wrapping_add_signed(offset))?)
            }
            Some(RegisterRule::ValOffset(offset)) => {
                Some(frame_address.wrapping_add_signed(offset))
            }
            Some(RegisterRule::Register(other)) => place.registers.get(other),
            Some(RegisterRule::Expression(expression)) => {
                Some(at(value_of(&expression, Some(frame_address))?)?)
            }
            Some(RegisterRule::ValExpression(expression)) => {
                Some(value_of(&expression, Some(frame_address))?)
            }
            Some(RegisterRule::Constant(value)) => Some(value),
            Some(RegisterRule::SameValue) | None => place.registers.get(register),
            Some(RegisterRule::Architectural) => None,
        })
    };

    let mut caller = Registers::default();
    for register in Registers::CALLEE_SAVED {
        // A register that cannot be recovered is unknown; that alone does not end the stack.
        caller.set(register, recover(register).unwrap_or(None));
    }
    // Without a rule the caller's stack pointer is the frame address (psABI, 3.4).
    let stack_pointer = match row.register(X86_64::RSP) {
        None => Some(frame_address),
        Some(_) => recover(X86_64::RSP)?,
    };
    caller.set(X86_64::RSP, stack_pointer);
    let return_address = rules.cie().return_address_register();
    if row.register(return_address).is_some() {
        caller.set(X86_64::RA, recover(return_address)?);
    }
    Ok((Address(frame_address), caller))
}

#[cfg(test)]
mod tests;
