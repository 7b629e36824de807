//! Names of source files from the line tables' headers.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use super::units::Units;

/// A place in the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceLine {
    /// The file as the compiler named it: relative to the package or workspace for the user's own
    /// code, absolute for dependencies. Of a program that `cargo install` built, relative to its
    /// package, too: its own code, in a folder like those of dependencies.
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
    installed_from: OnceCell<Option<String>>,
}

/// Where cargo keeps the sources of packages that it did not find in a folder of the user's: the
/// folder, and how many further names make one package or checkout (cargo 1.65 to 1.97).
const KEPT_BY_CARGO: [(&str, usize); 2] = [("/registry/src/", 2), ("/git/checkouts/", 2)];

/// The units of the program's own crate are among the first.
const FIRST_UNITS: usize = 64;

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
            .or_insert_with(|| file_name(units, unit, file, self.installed(units)).map(Arc::from))
            .clone()?;
        Some(SourceLine { file, line })
    }

    /// The package that the program was installed from, if `cargo install` built it.
    fn installed(&self, units: &Units<'_>) -> Option<&str> {
        let package = || {
            let numbers = (0..).take(units.entries().len().min(FIRST_UNITS));
            numbers
                .filter_map(|number| {
                    let name = units.unit(number).ok()?.name?;
                    root_of_program(&name.to_string_lossy()).map(str::to_owned)
                })
                .next()
                .and_then(|root| package_of(&root))
        };
        self.installed_from.get_or_init(package).as_deref()
    }
}

/// The root module of a program from the name that rustc gives its units: `src/main.rs` of
/// `src/main.rs/@/app.648559beac40699f-cgu.00`, also one of `src/bin`. `None` for libraries.
fn root_of_program(unit: &str) -> Option<&str> {
    let (root, _) = unit.split_once("/@/")?;
    let of_program = root.ends_with("main.rs") || root.contains("src/bin/");
    of_program.then_some(root)
}

/// The folder of the package or checkout that a file lies in, if cargo keeps it.
fn package_of(file: &str) -> Option<String> {
    KEPT_BY_CARGO.iter().find_map(|(folder, names)| {
        let start = file.find(folder)? + folder.len();
        let mut slashes = file.get(start..)?.match_indices('/').skip(names - 1);
        let (end, _) = slashes.next()?;
        file.get(..start + end).map(str::to_owned)
    })
}

/// A file of the package that the program was installed from, relative to that.
fn own(file: &str, package: Option<&str>) -> Option<String> {
    let rest = file.strip_prefix(package?)?.strip_prefix('/')?;
    Some(rest.to_owned())
}

/// rustc writes the compilation directory as the directory of a crate's own files, and the file
/// name relative to it; a path outside comes with its own absolute directory.
fn file_name(units: &Units<'_>, number: u32, index: u64, package: Option<&str>) -> Option<String> {
    let name = name_as_written(units, number, index)?;
    Some(own(&name, package).unwrap_or(name))
}

fn name_as_written(units: &Units<'_>, number: u32, index: u64) -> Option<String> {
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
    let kept = KEPT_BY_CARGO.iter().map(|(folder, _)| *folder);
    let is_dependency = kept.chain(["/rustc/"]).any(|part| working.contains(part));
    Some(match (is_dependency, full.strip_prefix(&working)) {
        (false, Some(rest)) => rest.trim_start_matches('/').to_owned(),
        (true, None) if !full.starts_with('/') => format!("{working}/{full}"),
        _ => full,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_that_a_program_was_installed_from() {
        let unit = "/root/.cargo/registry/src/index-1/app-0.4.0/src/main.rs/@/app.ce13-cgu.0";
        let package = package_of(root_of_program(unit).unwrap());
        let folder = "/root/.cargo/registry/src/index-1/app-0.4.0";
        assert_eq!(package.as_deref(), Some(folder));
        let named = |rest: &str| own(&format!("{folder}{rest}"), package.as_deref());
        assert_eq!(named("/src/a/b.rs").as_deref(), Some("src/a/b.rs"));
        assert_eq!(named("-macros-1.0.0/src/lib.rs"), None);
        assert_eq!(
            own("/rustc/0123/library/core/src/x.rs", package.as_deref()),
            None
        );
        let unit = "/home/u/.cargo/git/checkouts/app-12/ab34/crates/cli/src/bin/x.rs/@/x.1-cgu.0";
        assert_eq!(
            package_of(root_of_program(unit).unwrap()).as_deref(),
            Some("/home/u/.cargo/git/checkouts/app-12/ab34")
        );
        // Built in a folder of the user's; a library; no name of rustc's; hostile ones.
        assert_eq!(
            package_of(root_of_program("src/main.rs/@/a.1").unwrap()),
            None
        );
        assert_eq!(
            root_of_program("/x/registry/src/i/dep-1/src/lib.rs/@/d.1"),
            None
        );
        assert_eq!(root_of_program("main.c"), None);
        for path in [
            "/registry/src/",
            "/registry/src/a",
            "/registry/src/a/b",
            "/git/checkouts//",
        ] {
            assert_eq!(package_of(path), None, "{path}");
        }
    }
}
