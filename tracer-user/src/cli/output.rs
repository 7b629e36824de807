//! Writing results to standard output.

use std::io::{self, BufWriter, Write};

use crate::error::{Advice, Error, ExitCode, Result};
use crate::show::visible_json::to_visible_json;

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("could not write standard output")]
struct OutputError(#[source] io::Error);

impl Advice for OutputError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::BadFile
    }

    fn next_step(&self) -> Option<String> {
        Some(
            match self.0.kind() {
                io::ErrorKind::StorageFull => {
                    "the disk is full: make room, or send the output elsewhere"
                }
                _ => "send the output elsewhere",
            }
            .to_owned(),
        )
    }
}

/// Calls `write` with standard output; colours are kept or dropped as the user chose.
///
/// # Errors
/// What `write` returns. A closed standard output is told from other failures by [`is_closed`].
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut stdout = BufWriter::new(anstream::AutoStream::auto(io::stdout().lock()));
    write(&mut stdout)
        .and_then(|()| stdout.flush())
        .map_err(not_written)
}

/// A reader who has gone is no failure of the output.
fn not_written(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => {
            Error::Bug(anyhow::Error::new(error).context("standard output"))
        }
        _ => OutputError(error).into(),
    }
}

/// Prints a value as one line of JSON without anything that a terminal acts upon: it may be one.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = to_visible_json(value).map_err(|error| Error::Bug(error.into()))?;
    print(|out| writeln!(out, "{text}"))
}

/// What came of printing, for who has something to say with the exit code whether or not all of it
/// was read.
///
/// # Errors
/// What `printed` is, but for a closed standard output.
pub(super) fn unless_closed(printed: Result<()>) -> Result<()> {
    match printed {
        Err(error) if is_closed(&error) => Ok(()),
        printed => printed,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_and_a_reader_who_has_gone_is_not() {
        let full = not_written(io::ErrorKind::StorageFull.into());
        assert_eq!(full.exit_code(), ExitCode::BadFile);
        assert!(!is_closed(&full));
        let Error::Failure(failure) = &full else {
            panic!("{full}")
        };
        assert!(failure.next_step().unwrap().contains("the disk is full"));
        assert!(is_closed(&not_written(io::ErrorKind::BrokenPipe.into())));
    }

    #[test]
    fn a_result_is_there_whether_or_not_it_was_read() {
        assert!(unless_closed(Ok(())).is_ok());
        let closed = not_written(io::ErrorKind::BrokenPipe.into());
        assert!(unless_closed(Err(closed)).is_ok());
        let full = not_written(io::ErrorKind::StorageFull.into());
        assert!(unless_closed(Err(full)).is_err());
    }
}
