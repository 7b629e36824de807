//! Names of futures as a user would write them, from the names that rustc gives their types.

use crate::rebuild::tree::NodeKind;

/// The kind of a coroutine by its type's name (`{async_fn_env#0}<T>`).
pub(super) fn coroutine_kind(name: &str) -> NodeKind {
    if name.starts_with("{async_fn_env") {
        NodeKind::AsyncFn
    } else if name.starts_with("{async_block_env") || name.starts_with("{async_closure_env") {
        NodeKind::AsyncBlock
    } else {
        NodeKind::Future
    }
}

/// Rewrites a type's path: `app::mid::{async_fn_env#0}<u8>` -> `app::mid<u8>`, and
/// `app::run::{async_block_env#1}` -> `app::run::{async_block#1}`, inside generic arguments too;
/// drops the default allocator.
pub fn readable(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find(['{', ',']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = from.strip_prefix(", alloc::alloc::Global") {
            rest = after;
        } else if let Some((token, after)) = braced(from) {
            if token.starts_with("{async_fn_env#") && out.ends_with("::") {
                out.truncate(out.len() - 2);
            } else {
                out.push_str(&token.replacen("_env#", "#", 1));
            }
            rest = after;
        } else {
            let width = from.chars().next().map_or(0, char::len_utf8);
            let (first, after) = from.split_at(width);
            out.push_str(first);
            rest = after;
        }
    }
    out.push_str(rest);
    // A body inside an async fn is named after the fn, not after the fn's own body.
    out.replace("::{async_fn#0}", "")
}

/// The name of an async body in an impl block: the function from its demangled symbol (`app::S::f`
/// of `app::S::f::{{closure}}::{{closure}}`), what is inside the function from its type's path.
pub(super) fn of_body(demangled: &str, path: &str) -> Option<String> {
    let (function, _) = demangled.split_once("::{{closure}}")?;
    let readable = readable(path);
    let inside = readable
        .rsplit("::")
        .take_while(|part| part.starts_with('{'))
        .count();
    let mut name = function.to_owned();
    let parts: Vec<&str> = readable.rsplit("::").take(inside).collect();
    for part in parts.iter().rev() {
        name.push_str("::");
        name.push_str(part);
    }
    Some(name)
}

/// Splits `{token}rest`.
fn braced(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('{')?;
    let end = inner.find('}')?;
    Some(text.split_at(end + 2))
}

/// A path for a reader: generic arguments as `<..>`, as they may be pages long.
#[must_use]
pub fn without_arguments(path: &str) -> String {
    let mut text = String::new();
    let (mut depth, mut before) = (0_usize, ' ');
    for character in path.chars() {
        match character {
            // One that begins a path (`<app::S as Trait>::f`) is a part of it.
            '<' if depth > 0 || before.is_alphanumeric() || matches!(before, '_' | ':') => {
                if depth == 0 {
                    text.push_str("<..>");
                }
                depth += 1;
            }
            // The `>` of `->` closes nothing.
            '>' if depth > 0 => depth -= usize::from(before != '-'),
            _ if depth == 0 => text.push(character),
            _ => {}
        }
        before = character;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_arguments_are_left_out() {
        for (path, expected) in [
            ("app::f", "app::f"),
            (
                "a::Buffered<b::Map<c::Iter<u64>, app::f::{closure#0}>>",
                "a::Buffered<..>",
            ),
            ("a::f::<T>::{async_fn#0}", "a::f::<..>::{async_fn#0}"),
            ("<app::S as T<u8>>::f", "<app::S as T<..>>::f"),
            ("a::Map<fn(u8) -> Vec<u8>>::g", "a::Map<..>::g"),
            ("a::Open<b::C", "a::Open<..>"),
        ] {
            assert_eq!(without_arguments(path), expected, "{path}");
        }
    }

    #[test]
    fn environments_become_what_the_user_wrote() {
        for (from, to) in [
            ("app::mid::{async_fn_env#0}", "app::mid"),
            ("app::mid::{async_fn_env#0}<u8>", "app::mid<u8>"),
            ("app::run::{async_block_env#1}", "app::run::{async_block#1}"),
            (
                "app::run::{async_fn#0}::{async_block_env#1}",
                "app::run::{async_block#1}",
            ),
            ("Timeout<app::mid::{async_fn_env#0}>", "Timeout<app::mid>"),
            ("Box<app::X, alloc::alloc::Global>", "Box<app::X>"),
            ("app::f::{closure_env#0}", "app::f::{closure#0}"),
            ("{unfinished", "{unfinished"),
            ("é, {x", "é, {x"),
        ] {
            assert_eq!(readable(from), to);
        }
        assert_eq!(
            coroutine_kind("{async_block_env#3}<T>"),
            NodeKind::AsyncBlock
        );
    }
}
