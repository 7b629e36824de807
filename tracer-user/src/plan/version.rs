//! Which runtime, in which version, is in a binary.
//!
//! rustc puts the path of each source file that can panic into `.rodata`, and cargo's registry
//! paths carry the version: `.../tokio-1.54.1/src/runtime/...`. They survive `strip`; they do not
//! survive `-Zlocation-detail=none` or a build of tokio from a checkout.

use std::collections::BTreeSet;

use crate::object::Binary;

/// Longest version that is believed.
const MAX_VERSION: usize = 40;

/// The versions of `crate_name` whose sources left paths in the binary's constants or its debug
/// strings, in order.
#[must_use]
pub fn versions_of(binary: &Binary, crate_name: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    for name in [".rodata", ".rodata.str", ".debug_line_str", ".debug_str"] {
        if found.is_empty()
            && let Some(section) = binary.section(name)
        {
            collect(section, crate_name, &mut found);
        }
    }
    found.into_iter().collect()
}

fn collect(section: &[u8], crate_name: &str, found: &mut BTreeSet<String>) {
    let needle = format!("{crate_name}-");
    for start in memchr::memmem::find_iter(section, &needle) {
        // The whole name of a directory: not `my-tokio-1.0`.
        let whole = start
            .checked_sub(1)
            .and_then(|before| section.get(before))
            .is_none_or(|byte| matches!(byte, b'/' | b'\\' | 0));
        let rest = section.get(start + needle.len()..).unwrap_or_default();
        if whole && let Some(version) = version(rest) {
            found.insert(version);
        }
    }
}

/// A version followed by the start of a source path.
fn version(text: &[u8]) -> Option<String> {
    let end = text
        .iter()
        .take(MAX_VERSION)
        .position(|byte| *byte == b'/')?;
    let (version, path) = text.split_at_checked(end)?;
    let numbers = version.split(|byte| *byte == b'.').take(3);
    let plausible = numbers.clone().count() == 3
        && numbers
            .clone()
            .all(|part| part.first().is_some_and(u8::is_ascii_digit))
        && version
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(byte));
    (plausible && path.starts_with(b"/src/")).then(|| String::from_utf8_lossy(version).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_registry_paths() {
        let mut found = BTreeSet::new();
        let section = b"/r/tokio-1.54.1/src/a.rs/r/tokio-1.54.1/src/b.rs\0tokio-1.20.6/src/lib.rs\
            /r/my-tokio-3.0.0/src/x.rs /tokio-util-0.7.1/src/x.rs /tokio-1.2/src/y /tokio-1.2.3/doc\
            /tokio-1.2.3";
        collect(section, "tokio", &mut found);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["1.20.6", "1.54.1"]);
    }
}
