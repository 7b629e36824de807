//! Names of source files from the line tables' headers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::units::Units;

/// A place in the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceLine {
    /// The file as the compiler named it: relative to the package or workspace for the user's own
    /// code, absolute for dependencies.
    pub file: Arc<str>,
    /// Line, 1-based.
    pub line: u32,
}

/// A unit and a file index in its line table.
type FileIndex = (u32, u64);

/// File names by unit and index, resolved once.
#[derive(Debug, Default)]
pub(super) struct Lines {
    files: RefCell<HashMap<FileIndex, Option<Arc<str>>>>,
}

impl Lines {
    pub(super) fn resolve(
        &self,
        units: &Units<'_>,
        unit: u32,
        file: u64,
        line: u64,
    ) -> Option<SourceLine> {
        // 0 is "no line" always, and "no file" where the attribute is absent.
        let line = u32::try_from(line).ok().filter(|line| *line != 0)?;
        let file = self
            .files
            .borrow_mut()
            .entry((unit, file))
            .or_insert_with(|| file_name(units, unit, file).map(Arc::from))
            .clone()?;
        Some(SourceLine { file, line })
    }
}

/// rustc writes the compilation directory as the directory of a crate's own files, and the file
/// name relative to it; a path outside comes with its own absolute directory.
fn file_name(units: &Units<'_>, number: u32, index: u64) -> Option<String> {
    let unit = units.unit(number).ok()?;
    let dwarf = units.dwarf(number)?;
    let program = unit.line_program.as_ref()?;
    let header = program.header();
    let file = header.file(index)?;
    let text = |value| -> Option<String> {
        let slice: super::Slice<'_> = dwarf.attr_string(&unit, value).ok()?;
        Some(String::from_utf8_lossy(slice.slice()).into_owned())
    };
    let name = text(file.path_name())?;
    if name.starts_with('/') {
        return Some(name);
    }
    let working = unit
        .comp_dir
        .map(|dir| String::from_utf8_lossy(dir.slice()).into_owned());
    let directory = file.directory(header).and_then(text).unwrap_or_default();
    let full = if directory.is_empty() {
        name
    } else {
        format!("{directory}/{name}")
    };
    let Some(working) = working else {
        return Some(full);
    };
    // A dependency is compiled in its own folder; without it, its `src/lib.rs` would pass for the
    // user's.
    let is_dependency = ["/registry/src/", "/git/checkouts/", "/rustc/"]
        .iter()
        .any(|part| working.contains(part));
    Some(match (is_dependency, full.strip_prefix(&working)) {
        (false, Some(rest)) => rest.trim_start_matches('/').to_owned(),
        (true, None) if !full.starts_with('/') => format!("{working}/{full}"),
        _ => full,
    })
}
