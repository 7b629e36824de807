//! Paths of types and functions from the namespaces around them.

use super::index::Namespace;

/// The path of an entry at `offset` called `name`.
pub(super) fn join(namespaces: &[Namespace<'_>], offset: u32, name: &str) -> String {
    let mut parts = Vec::new();
    let mut current = innermost(namespaces, offset);
    // A parent always stands before its children, so this ends.
    while let Some(index) = current {
        let Some(namespace) = namespaces.get(index as usize) else {
            break;
        };
        parts.push(namespace.name);
        current = namespace.parent.filter(|parent| *parent < index);
    }
    let mut path = String::new();
    for part in parts.iter().rev() {
        path.push_str(part);
        path.push_str("::");
    }
    path.push_str(name);
    path
}

/// The innermost namespace that contains the entry at `offset`.
fn innermost(namespaces: &[Namespace<'_>], offset: u32) -> Option<u32> {
    let after = namespaces.partition_point(|namespace| namespace.start < offset);
    let mut current = u32::try_from(after.checked_sub(1)?).ok();
    while let Some(index) = current {
        let namespace = namespaces.get(index as usize)?;
        if namespace.end > offset {
            return Some(index);
        }
        current = namespace.parent.filter(|parent| *parent < index);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_belongs_to_the_innermost_namespace_around_it() {
        let namespaces = [
            Namespace {
                start: 10,
                end: 100,
                parent: None,
                name: "app",
            },
            Namespace {
                start: 20,
                end: 40,
                parent: Some(0),
                name: "serve",
            },
            Namespace {
                start: 50,
                end: 60,
                parent: Some(0),
                name: "mid",
            },
        ];
        assert_eq!(join(&namespaces, 30, "T"), "app::serve::T");
        assert_eq!(join(&namespaces, 45, "T"), "app::T");
        assert_eq!(join(&namespaces, 55, "T"), "app::mid::T");
        assert_eq!(join(&namespaces, 100, "T"), "T");
        assert_eq!(join(&namespaces, 5, "T"), "T");
    }
}
