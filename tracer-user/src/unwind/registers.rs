//! The registers of one frame, each known or not.

use gimli::{Register, X86_64};

use crate::address::Address;

/// The registers that DWARF numbers 0 to 16 on x86-64: the sixteen general ones and the return
/// address, which is the program counter of the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers([Option<u64>; 17]);

impl Registers {
    /// What a callee keeps for its caller (System V psABI, figure 3.4), the stack pointer aside.
    pub const CALLEE_SAVED: [Register; 6] = [
        X86_64::RBX,
        X86_64::RBP,
        X86_64::R12,
        X86_64::R13,
        X86_64::R14,
        X86_64::R15,
    ];

    /// Only stack pointer and program counter, as for a thread that is not stopped.
    #[must_use]
    pub fn blocked(stack_pointer: Address, program_counter: Address) -> Self {
        let mut registers = Self::default();
        registers.set(X86_64::RSP, Some(stack_pointer.0));
        registers.set(X86_64::RA, Some(program_counter.0));
        registers
    }

    /// The value of a register, where it is known.
    #[must_use]
    pub fn get(&self, register: Register) -> Option<u64> {
        self.0.get(usize::from(register.0)).copied().flatten()
    }

    /// Sets a register or, with `None`, forgets it. Registers beyond these 17 are not kept.
    pub fn set(&mut self, register: Register, value: Option<u64>) {
        if let Some(slot) = self.0.get_mut(usize::from(register.0)) {
            *slot = value;
        }
    }

    /// The stack pointer.
    #[must_use]
    pub fn stack_pointer(&self) -> Option<Address> {
        self.get(X86_64::RSP).map(Address)
    }

    /// The program counter.
    #[must_use]
    pub fn program_counter(&self) -> Option<Address> {
        self.get(X86_64::RA).map(Address)
    }
}
