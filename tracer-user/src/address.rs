//! Kinds of address. A bare `u64` does not leave the module that decoded it.
//!
//! Three numberings meet in a tracer: where things are in the running process ([`Address`]), where
//! the linker put them and DWARF and the symbol table say they are ([`LinkAddress`]), and where
//! they are in the file ([`FileOffset`], what uprobes take). [`LoadBias`] leads from the second to
//! the first.

use std::fmt;

use serde::Serialize;

macro_rules! address_kind {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl $name {
            /// The address `bytes` further on; wraps, as hostile input may ask for anything.
            #[must_use]
            pub const fn add(self, bytes: u64) -> Self {
                Self(self.0.wrapping_add(bytes))
            }

            /// Distance from `start` to here; wraps.
            #[must_use]
            pub const fn since(self, start: Self) -> u64 {
                self.0.wrapping_sub(start.0)
            }

            /// Whether this is address zero.
            #[must_use]
            pub const fn is_null(self) -> bool {
                self.0 == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

address_kind! {
    /// An address in the memory of the running process.
    Address
}
address_kind! {
    /// An address as the linker assigned it: symbol values, DWARF addresses, `p_vaddr`.
    LinkAddress
}
address_kind! {
    /// An offset into an executable file, as uprobes take it.
    FileOffset
}

/// What the loader added to link addresses of one module: 0 for a static, non-PIE executable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LoadBias(pub u64);

impl LoadBias {
    /// Where a link address is in the process.
    #[must_use]
    pub const fn to_address(self, link: LinkAddress) -> Address {
        Address(link.0.wrapping_add(self.0))
    }

    /// Where an address of the process was in the link; meaningful inside the module only.
    #[must_use]
    pub const fn to_link(self, address: Address) -> LinkAddress {
        LinkAddress(address.0.wrapping_sub(self.0))
    }
}
