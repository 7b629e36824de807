//! The files of a process's modules, opened for unwinding.

use std::sync::Arc;

use super::modules::{CodeModule, CodeModules};
use crate::locate::{Module, Process, TargetError};
use crate::object::Binary;

/// Modules of a process with their files.
#[derive(Debug)]
pub struct LoadedFiles {
    files: Vec<(Module, Arc<Binary>)>,
    /// Modules whose file could not be opened: stacks end where they reach one.
    pub unreadable: Vec<String>,
}

impl LoadedFiles {
    /// Opens the files of all modules that `process` has now.
    ///
    /// # Errors
    /// [`TargetError`] when the modules cannot be listed.
    pub fn open(process: &Process) -> Result<Self, TargetError> {
        let mut this = Self {
            files: Vec::new(),
            unreadable: Vec::new(),
        };
        for module in process.modules()? {
            match Binary::of_module(&module) {
                Ok(binary) => this.files.push((module, Arc::new(binary))),
                Err(error) => this.unreadable.push(format!("{}: {error}", module.path)),
            }
        }
        // The order in which `CodeModules` keeps them, so that positions agree.
        this.files.sort_by_key(|(module, _)| module.range.start);
        Ok(this)
    }

    /// The tables for unwinding.
    #[must_use]
    pub fn modules(&self) -> CodeModules<'_> {
        CodeModules::new(
            self.files
                .iter()
                .map(|(module, binary)| CodeModule::new(module, binary))
                .collect(),
        )
    }

    /// The position of the executable among the modules.
    #[must_use]
    pub fn executable(&self) -> Option<usize> {
        self.files
            .iter()
            .position(|(module, _)| module.is_executable_of_process)
    }

    /// The file at a position.
    #[must_use]
    pub fn binary(&self, index: usize) -> Option<&Arc<Binary>> {
        self.files.get(index).map(|(_, binary)| binary)
    }
}
