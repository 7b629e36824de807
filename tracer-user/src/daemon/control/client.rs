//! The other side of the socket: asks a daemon and takes its answer.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::message::{Refusal, Request, answer};
use crate::error::{Advice, ExitCode, Result};
use crate::show::escape::escape;

/// Bytes of an answer at most: 100,000 tasks with their trees fit.
const MAX_ANSWER: u64 = 1 << 30;
/// How long a daemon may take beside what was asked for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers.
    #[error("no daemon answers at {}", path.display())]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It may not be used.
    #[error("the socket {} may not be used", path.display())]
    NotPermitted {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The daemon refuses.
    #[error("{}", escape(&.0.message))]
    Refused(Refusal),
}

impl Advice for ClientError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoDaemon { .. } => ExitCode::NoTarget,
            Self::NotPermitted { .. } => ExitCode::NotPermitted,
            Self::Refused(refusal) => ExitCode::from_number(refusal.exit),
        }
    }

    fn next_step(&self) -> Option<String> {
        match self {
            Self::NoDaemon { .. } => Some(
                "start one with `asynctrace daemon --config FILE`, or name its socket with --socket"
                    .to_owned(),
            ),
            Self::NotPermitted { .. } => {
                Some("only root and the daemon's own user may ask it".to_owned())
            }
            Self::Refused(refusal) => refusal.next_step.clone(),
        }
    }
}

/// Asks the daemon at this socket.
///
/// # Errors
/// [`ClientError`].
pub fn ask(path: &Path, request: &Request) -> Result<Value> {
    let failed = |source: io::Error| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::PermissionDenied {
            ClientError::NotPermitted { path, source }
        } else {
            ClientError::NoDaemon { path, source }
        }
    };
    let time = match request {
        Request::Record(_, time) => *time + PATIENCE,
        _ => PATIENCE,
    };
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_read_timeout(Some(time)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    // A daemon that refuses may have said so and gone before it read this.
    let sent = stream.write_all(&request.line());
    let mut line = Vec::new();
    let mut bounded = BufReader::new(stream).take(MAX_ANSWER);
    let read = bounded.read_until(b'\n', &mut line);
    if line.pop_if(|byte| *byte == b'\n').is_none() {
        sent.map_err(failed)?;
        read.map_err(failed)?;
        return Err(failed(io::ErrorKind::UnexpectedEof.into()).into());
    }
    Ok(answer(&line).map_err(ClientError::Refused)?)
}
