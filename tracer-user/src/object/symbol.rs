//! Symbols of an ELF file.

use std::fmt;

use crate::address::LinkAddress;

/// What a symbol names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SymbolKind {
    /// Code.
    Function,
    /// Data; vtables and statics among them.
    Object,
    /// An offset into the thread-local block of the module, not an address.
    ThreadLocal,
}

/// A symbol that the file defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'data> {
    /// The mangled name.
    pub name: &'data str,
    /// Where it is; for [`SymbolKind::ThreadLocal`] its offset in the thread-local block.
    pub address: LinkAddress,
    /// Its size in bytes; 0 where the assembler did not say.
    pub size: u64,
    /// What it names.
    pub kind: SymbolKind,
}

impl Symbol<'_> {
    /// The demangled name without the hash of legacy mangling, or the name itself where it is not
    /// a Rust symbol.
    #[must_use]
    pub fn demangled(&self) -> String {
        demangle(self.name)
    }
}

/// Demangles a Rust symbol, legacy or v0, without its hash; other names come back as they are.
#[must_use]
pub(crate) fn demangle(mangled: &str) -> String {
    match rustc_demangle::try_demangle(mangled) {
        Ok(demangled) => Bounded::of(&demangled).unwrap_or_else(|| mangled.to_owned()),
        Err(_) => mangled.to_owned(),
    }
}

/// Longest demangled name that is built: v0 back references can blow a short hostile symbol up to
/// megabytes (rustc-demangle itself only bounds its recursion and at one million bytes).
const MAX_NAME: usize = 16 * 1024;

/// A string that refuses to grow above [`MAX_NAME`].
struct Bounded(String);

impl Bounded {
    fn of(demangled: &rustc_demangle::Demangle<'_>) -> Option<String> {
        use fmt::Write;
        let mut out = Self(String::new());
        write!(out, "{demangled:#}").ok()?;
        Some(out.0)
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.0.len() + part.len() > MAX_NAME {
            return Err(fmt::Error);
        }
        self.0.push_str(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_manglings_lose_their_hash() {
        assert_eq!(
            demangle("_ZN5tokio7runtime4task3raw4poll17h0123456789abcdefE"),
            "tokio::runtime::task::raw::poll"
        );
        assert_eq!(
            demangle("_RNvNtCsbmNqQUJIY6D_4core3str4trim"),
            "core::str::trim"
        );
        assert_eq!(demangle("malloc"), "malloc");
    }
}
