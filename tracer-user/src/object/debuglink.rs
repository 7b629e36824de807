//! Where separate debug files may be: by build-id and by `.gnu_debuglink`.
//!
//! The places are those of GDB's manual, "Debugging Information in Separate Files".

use std::path::{Component, Path, PathBuf};

/// Where distributions put debug files.
const DEBUG_ROOT: &str = "/usr/lib/debug";

/// Candidates for the debug file of `build_id` under each root file system, best first.
pub(super) fn by_build_id(build_id: &str, roots: &[PathBuf]) -> Vec<PathBuf> {
    let Some((head, tail)) = build_id.split_at_checked(2) else {
        return Vec::new();
    };
    if tail.is_empty() {
        return Vec::new();
    }
    roots
        .iter()
        .map(|root| {
            below(root, Path::new(DEBUG_ROOT))
                .join(".build-id")
                .join(head)
                .join(format!("{tail}.debug"))
        })
        .collect()
}

/// Candidates for the file that `.gnu_debuglink` of the binary `binary` names, best first. The
/// name is foreign: one with a directory in it is refused.
pub(super) fn by_link(link: &str, binary: &Path, roots: &[PathBuf]) -> Vec<PathBuf> {
    let mut parts = Path::new(link).components();
    let (Some(Component::Normal(name)), None) = (parts.next(), parts.next()) else {
        return Vec::new();
    };
    let Some(directory) = binary.parent() else {
        return Vec::new();
    };
    roots
        .iter()
        .flat_map(|root| {
            [
                below(root, directory).join(name),
                below(root, directory).join(".debug").join(name),
                below(&below(root, Path::new(DEBUG_ROOT)), directory).join(name),
            ]
        })
        .collect()
}

/// `path`, taken as absolute, under `root`.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_gdb_under_each_root() {
        let roots = [PathBuf::from("/proc/7/root"), PathBuf::from("/")];
        assert_eq!(
            by_build_id("abcdef", &roots),
            [
                Path::new("/proc/7/root/usr/lib/debug/.build-id/ab/cdef.debug"),
                Path::new("/usr/lib/debug/.build-id/ab/cdef.debug"),
            ]
        );
        assert_eq!(
            by_link("app.debug", Path::new("/srv/app"), &roots[1..]),
            [
                Path::new("/srv/app.debug"),
                Path::new("/srv/.debug/app.debug"),
                Path::new("/usr/lib/debug/srv/app.debug"),
            ]
        );
    }

    #[test]
    fn a_hostile_name_leads_nowhere() {
        let root = [PathBuf::from("/")];
        let app = Path::new("/srv/app");
        for name in ["../../etc/shadow", "/etc/shadow", "", ".", ".."] {
            assert!(by_link(name, app, &root).is_empty(), "{name}");
        }
        for id in ["", "a", "ab", "ä"] {
            assert!(by_build_id(id, &root).is_empty(), "{id}");
        }
    }
}
