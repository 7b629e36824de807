//! `--futures GLOB`: nested polls and async bodies that the user names.
//!
//! With debug information each future is known with its functions, and those inlined everywhere
//! are known to be so. Without it, symbols name the surviving `Future::poll`s; an async body and a
//! plain closure are called the same there (`app::serve::{{closure}}`), and where the future is
//! passed depends on a return type that only debug information tells, so nothing is probed on
//! their word alone.

use std::collections::BTreeSet;

use tracer_common::ProbeKind;
use wildmatch::WildMatch;

use super::error::PlanError;
use super::model::Unseen;
use super::names::Names;
use super::tokio::Candidate;
use crate::object::{Binary, SymbolKind};

/// What the patterns match.
#[derive(Debug, Default)]
pub(super) struct Nested {
    pub(super) candidates: Vec<Candidate>,
    pub(super) unseen: Vec<Unseen>,
}

/// The futures whose names match any of `patterns`.
///
/// # Errors
/// [`PlanError::NoSuchFuture`] for a pattern that matches nothing.
pub(super) fn find(
    patterns: &[String],
    names: &Names,
    symbols: &Binary,
) -> Result<Nested, PlanError> {
    let mut nested = Nested::default();
    let mut seen = BTreeSet::new();
    for pattern in patterns {
        let matcher = WildMatch::new(pattern);
        let found = if names.futures.is_some() {
            by_debug_information(&matcher, names, &mut nested, &mut seen)
        } else {
            by_symbols(&matcher, symbols, &mut nested, &mut seen)
        };
        if !found {
            return Err(PlanError::NoSuchFuture {
                pattern: pattern.clone(),
            });
        }
    }
    Ok(nested)
}

fn by_debug_information(
    matcher: &WildMatch,
    names: &Names,
    nested: &mut Nested,
    seen: &mut BTreeSet<String>,
) -> bool {
    let mut found = false;
    for (name, functions) in names.futures_by_name() {
        if !matcher.matches(name) {
            continue;
        }
        found = true;
        if !seen.insert(name.to_owned()) {
            continue;
        }
        let entries: Vec<_> = functions
            .iter()
            .filter_map(|function| Some((function.entry?, function.argument)))
            .collect();
        if entries.is_empty() {
            nested.unseen.push(Unseen {
                what: name.to_owned(),
                reason: "it has no code of its own: inlined where it is polled, or never polled"
                    .to_owned(),
                remedy: None,
            });
        }
        for (entry, argument) in entries {
            nested.candidates.push(Candidate {
                entry,
                kind: ProbeKind::FuturePoll,
                argument,
                name: name.to_owned(),
                merged: Vec::new(),
            });
        }
    }
    found
}

fn by_symbols(
    matcher: &WildMatch,
    symbols: &Binary,
    nested: &mut Nested,
    seen: &mut BTreeSet<String>,
) -> bool {
    let mut found = false;
    for symbol in symbols.symbols() {
        if symbol.kind != SymbolKind::Function
            || !(symbol.name.contains("closure") || symbol.name.contains("poll"))
        {
            continue;
        }
        let name = symbol.demangled();
        let future = future_name(&name);
        if !future.is_some_and(|future| matcher.matches(future)) && !matcher.matches(&name) {
            continue;
        }
        let reason = if future.is_some() {
            "where it keeps its future is known only with debug information"
        } else if name.contains("closure") {
            "an async body or a plain closure: only debug information tells"
        } else {
            continue;
        };
        found = true;
        if seen.insert(name.clone()) {
            nested.unseen.push(Unseen {
                what: name,
                reason: reason.to_owned(),
                remedy: Some("debug = 2".to_owned()),
            });
        }
    }
    found
}

/// `T` of `<T as core::future::future::Future>::poll`.
fn future_name(symbol: &str) -> Option<&str> {
    symbol
        .strip_prefix('<')?
        .strip_suffix(" as core::future::future::Future>::poll")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::LinkAddress;
    use crate::plan::names::FutureFunction;
    use tracer_common::ArgumentRegister;

    fn names() -> Names {
        let function = |name: &str, entry: Option<u64>| FutureFunction {
            name: name.to_owned(),
            entry: entry.map(LinkAddress),
            argument: ArgumentRegister::Rsi,
        };
        Names {
            futures: Some(vec![
                function("app::serve::{async_fn#0}", Some(0x1000)),
                function("app::serve::{async_fn#0}", None),
                function("app::shut::{async_fn#0}", None),
                function("other::Thing", Some(0x2000)),
            ]),
            ..Names::default()
        }
    }

    fn matched(patterns: &[&str]) -> Result<Nested, PlanError> {
        let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
        let own = std::env::current_exe().unwrap();
        find(&patterns, &names(), &Binary::open(&own).unwrap())
    }

    #[test]
    fn what_is_inlined_is_said_and_the_rest_probed_once() {
        let nested = matched(&["app::*", "app::serve*"]).unwrap();
        assert_eq!(nested.candidates.len(), 1);
        assert_eq!(nested.candidates[0].entry, LinkAddress(0x1000));
        assert_eq!(nested.candidates[0].argument, ArgumentRegister::Rsi);
        assert_eq!(nested.unseen.len(), 1);
        assert_eq!(nested.unseen[0].what, "app::shut::{async_fn#0}");
        assert_eq!(matched(&["*"]).unwrap().candidates.len(), 2);
    }

    #[test]
    fn a_pattern_without_a_match_is_an_error() {
        assert!(matches!(
            matched(&["app::*", "nothing*"]),
            Err(PlanError::NoSuchFuture { pattern }) if pattern == "nothing*"
        ));
    }
}
