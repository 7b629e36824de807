//! `asynctrace report --html`: a history -> one page for the browser.

use std::io::Write as _;
use std::path::Path;

use crate::analyse::critical_path::{Question, walk};
use crate::analyse::history::History;
use crate::analyse::levels::Nesting;
use crate::analyse::requests::{Patterns, Request, Requests, compare, find};
use crate::error::Result;
use crate::export::recording::Header;
use crate::show::escape::escape;
use crate::show::findings::Span;
use crate::show::html::{self, Head, Limits, Page};
use crate::show::live::format;
use crate::show::report::Report;
use crate::show::requests::{list::why, path::PIECES};

/// Writes the page to `out` and says so. `patterns` name the requests; without them those of the
/// recording do, and without any sensible ones are found.
///
/// # Errors
/// When it cannot be written.
pub(super) fn run(
    report: &Report,
    header: &Header,
    history: &History,
    patterns: &[String],
    out: &Path,
) -> Result<()> {
    let patterns = if patterns.is_empty() {
        &header.requests
    } else {
        patterns
    };
    let requests = find(history, &Patterns::new(patterns));
    let nesting = Nesting::new(history);
    let kinds = compare::kinds(history, &nesting, &requests.list);
    let mut head = Head::of(report);
    // With --from the history begins later than the recording.
    let began = header.realtime(history.span.start);
    head.started_unix_us = began.map(|nanoseconds| nanoseconds / 1_000);
    head.requests = told(&requests);
    head.span = Some(Span {
        began_ns: history.span.start,
        ended_ns: history.span.end,
        began_unix_ns: began,
    });
    let path = |request: &Request| {
        let question = Question {
            unit: request.task,
            within: Some(request.root),
            from: request.start,
            to: request.end.unwrap_or(history.span.end),
        };
        walk(history, question, PIECES).pieces
    };
    let page = Page {
        head,
        history,
        nesting: &nesting,
        requests: &requests.list,
        kinds: &kinds,
        path: &path,
        limits: Limits::default(),
    };
    let bytes = html::save(&page, out)?;
    // Talk, not a result: there is nobody to tell when it cannot be said.
    let _ = writeln!(
        anstream::stderr(),
        "wrote {} ({}, {} requests): open it in a browser",
        escape(&out.display().to_string()),
        format::bytes(bytes),
        requests.list.len()
    );
    Ok(())
}

/// What was taken for a request, in a sentence or two.
fn told(requests: &Requests) -> String {
    let chosen: Vec<String> = requests
        .chosen
        .iter()
        .map(|choice| {
            format!(
                "{} ({} of them, {})",
                choice.what,
                choice.instances,
                why(choice)
            )
        })
        .collect();
    let mut text = if chosen.is_empty() {
        String::new()
    } else {
        format!("Requests are instances of {}.", chosen.join(", "))
    };
    for pattern in &requests.unmatched {
        text.push_str(&format!(
            " --request {pattern} names no async function that waited in this recording."
        ));
    }
    if requests.list.is_empty() && !requests.candidates.is_empty() {
        let names: Vec<&str> = requests.candidates.iter().map(|one| &*one.what).collect();
        text.push_str(&format!(
            " Async functions that waited, to be named with --request: {}.",
            names.join(", ")
        ));
    }
    text
}
