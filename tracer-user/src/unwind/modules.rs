//! The modules of a process as the unwinder needs them.

use std::ops::Range;

use super::tables::UnwindTables;
use crate::address::{Address, LinkAddress, LoadBias};
use crate::locate::Module;
use crate::object::Binary;

/// One loaded file.
#[derive(Clone, Debug)]
pub struct CodeModule<'data> {
    /// Its path, for messages.
    pub name: String,
    /// What the loader added to its link addresses.
    pub bias: LoadBias,
    /// Where it is in the process.
    pub range: Range<Address>,
    /// Its unwind tables; empty ones where it has none.
    pub tables: UnwindTables<'data>,
}

impl<'data> CodeModule<'data> {
    /// A module of a process with the tables of its file.
    #[must_use]
    pub fn new(module: &Module, binary: &'data Binary) -> Self {
        Self {
            name: module.path.clone(),
            bias: module.bias,
            range: module.range.clone(),
            tables: UnwindTables::from_sections(binary.loaded_sections()),
        }
    }

    /// The link address of an address in this module.
    #[must_use]
    pub fn link(&self, address: Address) -> LinkAddress {
        self.bias.to_link(address)
    }
}

/// The loaded files of a process.
#[derive(Clone, Debug, Default)]
pub struct CodeModules<'data>(Vec<CodeModule<'data>>);

impl<'data> CodeModules<'data> {
    /// A table of these modules, in any order.
    #[must_use]
    pub fn new(mut modules: Vec<CodeModule<'data>>) -> Self {
        modules.sort_by_key(|module| module.range.start);
        Self(modules)
    }

    /// The module that holds `address` and its position in [`Self::get`].
    #[must_use]
    pub fn find(&self, address: Address) -> Option<(usize, &CodeModule<'data>)> {
        let after = self
            .0
            .partition_point(|module| module.range.start <= address);
        let index = after.checked_sub(1)?;
        let module = self.0.get(index)?;
        module.range.contains(&address).then_some((index, module))
    }

    /// The module at a position that [`Self::find`] gave.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&CodeModule<'data>> {
        self.0.get(index)
    }
}
