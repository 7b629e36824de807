//! Writing results to standard output.

use std::io::{self, BufWriter, Write};

use crate::error::{Error, Result};
use crate::show::visible_json::to_visible_json;

/// Calls `write` with standard output; colours are kept or dropped as the user chose.
///
/// # Errors
/// What `write` returns. A closed standard output is told from other failures by [`is_closed`].
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut stdout = BufWriter::new(anstream::AutoStream::auto(io::stdout().lock()));
    write(&mut stdout)
        .and_then(|()| stdout.flush())
        .map_err(|error| Error::Bug(anyhow::Error::new(error).context("standard output")))
}

/// Prints a value as one line of JSON without anything that a terminal acts upon: it may be one.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = to_visible_json(value).map_err(|error| Error::Bug(error.into()))?;
    print(|out| writeln!(out, "{text}"))
}

/// Whether an error only says that the reader of our output has gone (`| head`).
pub(super) fn is_closed(error: &Error) -> bool {
    let Error::Bug(error) = error else {
        return false;
    };
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
