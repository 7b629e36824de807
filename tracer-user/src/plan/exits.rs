//! Where a task's poll returns, for exact ends of polls: every `ret` of its function.
//!
//! A probe on a `ret` changes nothing on the stack, so a panic may unwind past it, unlike a return
//! probe. It is single-stepped, a second trap, so such probes are set only when asked for.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic};

use super::functions::Functions;
use super::site::Code;
use crate::address::LinkAddress;

/// Exits of one function that are probed at most.
const MAX_EXITS: usize = 256;

/// Where a function is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exits {
    /// Entry of the function that has the returns: another one where the poll is only a jump.
    pub(super) function: LinkAddress,
    /// Link addresses of its `ret` instructions.
    pub(super) returns: Vec<LinkAddress>,
    /// Why some ends may not be seen.
    pub(super) incomplete: Option<&'static str>,
}

/// The exits of the function at `entry`; `None` where nothing can be said of them.
pub(super) fn find(functions: &Functions<'_>, entry: LinkAddress) -> Option<Exits> {
    let code = functions.code(entry)?;
    match lone_jump(code) {
        Some(target) => of(functions.code(target)?),
        None => of(code),
    }
}

/// Where a function leads that does nothing but jump (`raw::poll` in release builds).
pub(super) fn lone_jump(code: Code<'_>) -> Option<LinkAddress> {
    let first = Decoder::with_ip(64, code.bytes, code.entry.0, DecoderOptions::NONE)
        .iter()
        .next()?;
    (first.flow_control() == FlowControl::UnconditionalBranch)
        .then(|| LinkAddress(first.near_branch_target()))
        .filter(|target| !within(code, target.0))
}

fn within(code: Code<'_>, address: u64) -> bool {
    address
        .checked_sub(code.entry.0)
        .is_some_and(|offset| offset < code.bytes.len() as u64)
}

fn of(code: Code<'_>) -> Option<Exits> {
    if !code.whole {
        return None;
    }
    let mut exits = Exits {
        function: code.entry,
        ..Exits::default()
    };
    for decoded in Decoder::with_ip(64, code.bytes, code.entry.0, DecoderOptions::NONE) {
        if decoded.is_invalid() {
            exits.incomplete = Some("its code could not be decoded to its end");
            break;
        }
        match decoded.flow_control() {
            FlowControl::Return if decoded.mnemonic() == Mnemonic::Ret => {
                if exits.returns.len() == MAX_EXITS {
                    exits.incomplete = Some("it returns at too many places");
                    break;
                }
                exits.returns.push(LinkAddress(decoded.ip()));
            }
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
                if !within(code, decoded.near_branch_target()) =>
            {
                exits.incomplete = Some("it ends in a jump to another function at some places");
            }
            FlowControl::IndirectBranch => {
                exits.incomplete = Some("it may end in a computed jump to another function");
            }
            _ => {}
        }
    }
    Some(exits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exits(bytes: &[u8]) -> Exits {
        of(Code {
            bytes,
            entry: LinkAddress(0x1000),
            whole: true,
        })
        .unwrap()
    }

    #[test]
    fn every_return_is_found_and_tail_calls_are_said() {
        // test edi, edi; je +1; ret; push rax; pop rax; ret
        let found = exits(&[0x85, 0xff, 0x74, 0x01, 0xc3, 0x50, 0x58, 0xc3]);
        assert_eq!(found.returns, [LinkAddress(0x1004), LinkAddress(0x1007)]);
        assert_eq!(found.incomplete, None);
        // ret; jmp +0x100 out of it
        let found = exits(&[0xc3, 0xe9, 0x00, 0x01, 0x00, 0x00]);
        assert_eq!(found.returns.len(), 1);
        assert!(found.incomplete.unwrap().contains("another function"));
        // jmp [rax]
        assert!(exits(&[0xff, 0x20]).incomplete.is_some());
    }

    #[test]
    fn a_function_that_only_jumps_is_followed() {
        let jump = |bytes: &[u8]| {
            lone_jump(Code {
                bytes,
                entry: LinkAddress(0x1000),
                whole: true,
            })
        };
        assert_eq!(
            jump(&[0xe9, 0x00, 0x01, 0x00, 0x00]),
            Some(LinkAddress(0x1105))
        );
        assert_eq!(jump(&[0xeb, 0xfe]), None, "a loop stays inside");
        assert_eq!(jump(&[0x50, 0xc3]), None);
    }
}
