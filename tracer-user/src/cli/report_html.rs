//! `asynctrace report --html`: a history -> one page for the browser.

use std::io::Write as _;
use std::path::Path;

use crate::analyse::history::History;
use crate::error::Result;
use crate::show::html::{self, Head, Limits, Page};
use crate::show::live::format;
use crate::show::report::Report;

/// Writes the page to `out` and says so.
///
/// # Errors
/// When it cannot be written.
pub(super) fn run(report: &Report, history: &History, out: &Path) -> Result<()> {
    let page = Page {
        head: Head::of(report),
        history,
        requests: &[],
        path: &|_| Vec::new(),
        limits: Limits::default(),
    };
    let bytes = html::save(&page, out)?;
    // Talk, not a result: there is nobody to tell when it cannot be said.
    let _ = writeln!(
        anstream::stderr(),
        "wrote {} ({}): open it in a browser",
        out.display(),
        format::bytes(bytes)
    );
    Ok(())
}
