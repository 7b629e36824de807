//! Trees reduced to what the truth speaks of, and their comparison.
//!
//! Of what asynctrace says, these stay: async fns and blocks of the fixture itself, what leaves
//! wait for, and hand-written futures that the truth names. Library futures in between are
//! skipped (their children move up), as their names are not ours to promise. Futures that were
//! never polled or have finished are nothing that is waited for and must not look like it, so
//! they are left out only if their state says so. The order of siblings does not matter.

use std::fmt::{self, Write as _};

use serde_json::Value;

use super::directives::Place;

/// A reduced tree, expected or seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    /// A path, `future PATH`, or `-> KIND`.
    pub what: String,
    /// Where it waits.
    pub place: Option<Place>,
    /// What it waits for.
    pub children: Vec<Tree>,
}

/// Reduces a NODE of `dump --json`. `krate` is the fixture's crate; `named` are the patterns of
/// hand-written futures to keep.
pub(crate) fn reduce(node: &Value, krate: &str, named: &[String]) -> Vec<Tree> {
    if matches!(node["state"].as_str(), Some("unresumed" | "returned")) {
        return Vec::new();
    }
    let below: Vec<Tree> = node["children"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|child| reduce(child, krate, named))
        .collect();
    let path = node["future"].as_str().unwrap_or_default();
    let what = match node["kind"].as_str() {
        Some("async_fn" | "async_block") if is_of(path, krate) => Some(without_generics(path)),
        _ => named
            .iter()
            .find(|pattern| matches(pattern, &without_generics(path)))
            .map(|pattern| format!("future {pattern}")),
    };
    let leaf = node["waits_for"]["kind"].as_str().map(|kind| Tree {
        what: format!("-> {kind}"),
        place: None,
        children: Vec::new(),
    });
    let below = leaf.into_iter().chain(below).collect();
    match what {
        None => below,
        Some(what) => vec![Tree {
            place: place_of(node).filter(|_| !what.starts_with("future ")),
            what,
            children: below,
        }],
    }
}

/// The nodes of a tree of `dump --json`, in preorder.
pub(crate) fn nodes(node: &Value) -> Vec<&Value> {
    let mut all = vec![node];
    for child in node["children"].as_array().into_iter().flatten() {
        all.extend(nodes(child));
    }
    all
}

/// The patterns of hand-written futures in a truth.
pub(crate) fn named_futures(tree: &Tree) -> Vec<String> {
    let mut names: Vec<String> = tree.children.iter().flat_map(named_futures).collect();
    names.extend(tree.what.strip_prefix("future ").map(str::to_owned));
    names
}

/// Whether what was seen is what was expected.
pub(crate) fn agrees(expected: &Tree, seen: &Tree) -> bool {
    let place = match (&expected.place, &seen.place) {
        (None, _) => true,
        (Some((file, line)), Some((seen_file, seen_line))) => {
            line == seen_line && ends_with(seen_file, file)
        }
        (Some(_), None) => false,
    };
    place && matches(&expected.what, &seen.what) && all_agree(&expected.children, &seen.children)
}

/// Whether the two lists agree in some order. Without going back: a sibling fits one truth only,
/// or equal ones.
pub(crate) fn all_agree(expected: &[Tree], seen: &[Tree]) -> bool {
    let mut left: Vec<&Tree> = seen.iter().collect();
    expected.len() == seen.len()
        && expected.iter().all(|tree| {
            let found = left.iter().position(|other| agrees(tree, other));
            found.map(|index| left.remove(index)).is_some()
        })
}

fn place_of(node: &Value) -> Option<Place> {
    let line = u32::try_from(node["line"].as_u64()?).ok()?;
    Some((node["file"].as_str()?.to_owned(), line))
}

/// A path that was recorded absolute, or relative to some folder above.
fn ends_with(path: &str, end: &str) -> bool {
    path.strip_suffix(end)
        .is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

fn is_of(path: &str, krate: &str) -> bool {
    // `<shapes::X as Trait>::method` is of the crate, too.
    path.trim_start_matches('<')
        .strip_prefix(krate)
        .is_some_and(|rest| rest.starts_with("::"))
}

/// `a::b<c>::d` as `a::b::d`. A `<` at the beginning of a path is no list of generics.
pub(crate) fn without_generics(path: &str) -> String {
    let mut result = String::new();
    let mut depth = 0_usize;
    let mut previous = ' ';
    for (index, letter) in path.char_indices() {
        match letter {
            '<' if index > 0 => depth += 1,
            '>' if previous == '-' => {}
            '>' if depth > 0 => depth -= 1,
            _ if depth == 0 => result.push(letter),
            _ => {}
        }
        previous = letter;
    }
    result.replace("::::", "::")
}

/// Whether `text` is what `pattern` says, `*` standing for anything.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(head) else {
        return false;
    };
    rest.char_indices()
        .map(|(index, _)| index)
        .chain([rest.len()])
        .any(|index| matches(tail, &rest[index..]))
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_tree(self, f, 1)
    }
}

fn write_tree(tree: &Tree, f: &mut fmt::Formatter<'_>, level: usize) -> fmt::Result {
    write!(f, "{:1$}{2}", "", level * 2, tree.what)?;
    if let Some((file, line)) = &tree.place {
        write!(f, " at {file}:{line}")?;
    }
    f.write_char('\n')?;
    tree.children
        .iter()
        .try_for_each(|child| write_tree(child, f, level + 1))
}
