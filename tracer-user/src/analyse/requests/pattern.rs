//! Patterns that name async functions: `*` stands for anything, `?` for one character.
//!
//! A pattern is held against a path as trees show it (`app::Server<T>::handle`), with and without
//! its generic arguments, and against its last segments, so that `handle`, `Server::handle` and
//! `*::handle` all name it. A body inside a function (`app::handle::{async_block#0}`, which is what
//! `#[async_trait]` and functions that return futures have) is named after it; it counts as the
//! function only where the pattern names nothing else.

use wildmatch::WildMatch;

/// Patterns in the order they were given.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    list: Vec<(String, WildMatch)>,
}

impl Patterns {
    /// Patterns from their text.
    #[must_use]
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Self {
        Self {
            list: patterns
                .iter()
                .map(|pattern| {
                    let pattern = pattern.as_ref();
                    (pattern.to_owned(), WildMatch::new(pattern))
                })
                .collect(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Their text.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|(text, _)| text.as_str())
    }

    /// Whether one of them names `path`, or the function that the body at `path` is in.
    #[must_use]
    pub fn names(&self, path: &str) -> bool {
        !self.naming(path).is_empty() || !self.naming_the_function_around(path).is_empty()
    }

    /// Indexes of the patterns that name `path` itself.
    pub(super) fn naming(&self, path: &str) -> Vec<usize> {
        let forms = forms(path);
        self.matching(&forms)
    }

    /// Indexes of the patterns that name the function that the body at `path` is in; none when
    /// `path` is no such body.
    pub(super) fn naming_the_function_around(&self, path: &str) -> Vec<usize> {
        match function_around(path) {
            Some(function) => self.matching(&forms(function)),
            None => Vec::new(),
        }
    }

    fn matching(&self, forms: &[String]) -> Vec<usize> {
        let named = |glob: &WildMatch| forms.iter().any(|form| glob.matches(form));
        (0..self.list.len())
            .filter(|&index| named(&self.list[index].1))
            .collect()
    }
}

/// What a pattern may match: the path, its last segments, and both without generic arguments.
fn forms(path: &str) -> Vec<String> {
    let plain = without_generics(path);
    let mut forms: Vec<String> = Vec::new();
    for whole in [path, &plain] {
        for start in segments(whole) {
            let form = &whole[start..];
            if !forms.iter().any(|known| known == form) {
                forms.push(form.to_owned());
            }
        }
    }
    forms
}

/// The path without what stands in angle brackets. A qualified path (`<app::S as Trait>::f`) keeps
/// its type: `app::S::f`.
fn without_generics(path: &str) -> String {
    if let Some(rest) = path.strip_prefix('<')
        && let Some(end) = closing(rest)
    {
        let (inside, after) = rest.split_at(end);
        let own_type = inside.split(" as ").next().unwrap_or(inside);
        return format!(
            "{}{}",
            without_generics(own_type),
            without_generics(after.get(1..).unwrap_or(""))
        );
    }
    let mut plain = String::with_capacity(path.len());
    let mut depth = 0_usize;
    let mut before = ' ';
    for character in path.chars() {
        match character {
            '<' => depth += 1,
            // The `>` of `->` closes nothing.
            '>' if before != '-' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(character),
            _ => {}
        }
        before = character;
    }
    // `f::<T>` leaves `f::`.
    plain.truncate(plain.trim_end_matches(':').len());
    plain.replace("::::", "::")
}

/// Where the bracket that was opened before `text` is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1_usize;
    let mut before = ' ';
    for (at, character) in text.char_indices() {
        match character {
            '<' => depth += 1,
            '>' if before != '-' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
        before = character;
    }
    None
}

/// Where the segments of a path begin; what stands in brackets is not taken apart.
fn segments(path: &str) -> Vec<usize> {
    let mut starts = vec![0];
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, character) in path.char_indices() {
        match character {
            '<' | '(' | '{' | '[' => depth += 1,
            '>' if before == '-' => {}
            '>' | ')' | '}' | ']' => depth = depth.saturating_sub(1),
            ':' if depth == 0 && before == ':' => starts.push(at + 1),
            _ => {}
        }
        before = character;
    }
    starts
}

/// `app::handle` of `app::handle::{async_block#0}`, however many bodies are inside each other.
fn function_around(path: &str) -> Option<&str> {
    let mut function = path;
    while function.ends_with('}') {
        function = &function[..function.rfind("::{")?];
    }
    (function.len() < path.len() && !function.is_empty()).then_some(function)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str, path: &str) -> bool {
        !Patterns::new(&[pattern]).naming(path).is_empty()
    }

    #[test]
    fn a_function_is_named_by_its_path_or_the_end_of_it() {
        let path = "app::api::Server<alloc::vec::Vec<u8>>::handle<T>";
        for pattern in [
            "handle",
            "handle<T>",
            "Server::handle",
            "api::Server::handle",
            "app::api::Server::handle",
            "*::handle",
            "app::*",
            "hand?e",
            path,
        ] {
            assert!(names(pattern, path), "{pattern}");
        }
        for pattern in [
            "",
            "andle",
            "handle::x",
            "vec",
            "app",
            "Vec<u8>>::handle<T>",
        ] {
            assert!(!names(pattern, path), "{pattern}");
        }
        assert!(names(
            "Svc::call",
            "<app::Svc<T> as tower::Service<R>>::call"
        ));
        assert!(names(
            "app::Svc::call",
            "<app::Svc<T> as tower::Service<R>>::call"
        ));
        assert!(names("run", "app::run::<fn(u8) -> u8>"));
        assert_eq!(without_generics("a<fn() -> b<c>>::d"), "a::d");
    }

    #[test]
    fn a_body_in_a_function_is_named_after_it_in_second_place_only() {
        let patterns = Patterns::new(&["handle"]);
        let body = "app::handle::{async_block#0}::{async_block#1}";
        assert!(patterns.naming(body).is_empty());
        assert_eq!(patterns.naming_the_function_around(body), [0]);
        assert!(
            patterns
                .naming_the_function_around("app::handle")
                .is_empty()
        );
        assert!(names("{async_block#1}", body));
    }

    #[test]
    fn foreign_names_do_no_harm() {
        for path in [
            "",
            "<",
            ">>",
            "}",
            "a::{",
            "é::}",
            "<é",
            "a::::b",
            "<<>>::{x}",
        ] {
            let patterns = Patterns::new(&["*", "?"]);
            let _ = patterns.naming(path);
            let _ = patterns.naming_the_function_around(path);
        }
    }
}
