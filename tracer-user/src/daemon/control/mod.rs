//! The control socket: only its owner and root are answered, one line a request, one a answer.
//! Whatever comes, the daemon goes on.

pub mod client;
pub mod message;
mod work;

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use self::message::{MAX_REQUEST, Refusal, answer_line, request, too_long};
use super::supervise::Supervisor;
use crate::error::ExitCode;

/// Connections at once.
const MAX_CONNECTIONS: usize = 16;
/// How long a request may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer may take to be taken.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
/// Requests on one connection at most.
const MAX_REQUESTS: usize = 1_000;

/// The socket, which is removed with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: what is at the path later may be another's.
    identity: (u64, u64),
    door: Arc<Semaphore>,
}

impl Socket {
    /// Makes it at this path. One that nobody listens on any more is replaced. To be called inside
    /// a tokio runtime, in a process whose files are its owner's only (umask 0077).
    ///
    /// # Errors
    /// When there is something else, somebody listens there, or the folder may not be written.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Ok(about) = fs::symlink_metadata(path) {
            if !about.file_type().is_socket() {
                let text = "there is a file that is no socket";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            match std::os::unix::net::UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path)?;
                }
                Ok(_) => {
                    let text = "another daemon listens there";
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
                }
                Err(error) => return Err(error),
            }
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let about = fs::symlink_metadata(path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            identity: (about.dev(), about.ino()),
            door: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        })
    }

    /// The next connection. Cancel-safe.
    ///
    /// # Errors
    /// When the system is out of descriptors; the next call may succeed.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Answers a connection, on a task of its own.
    pub fn serve(&self, stream: UnixStream, supervisor: &Arc<Mutex<Supervisor>>) {
        let permit = Arc::clone(&self.door).try_acquire_owned();
        let supervisor = Arc::clone(supervisor);
        tokio::spawn(async move {
            let ended = match permit {
                Ok(_permit) => talk(stream, &supervisor).await,
                Err(_) => {
                    let busy = Refusal::new("busy", ExitCode::NotPermitted, "too many connections");
                    refuse(stream, busy).await
                }
            };
            if let Err(error) = ended {
                tracing::debug!("a control connection ended: {error}");
            }
        });
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|about| (about.dev(), about.ino()) == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("the socket {} stays: {error}", self.path.display());
        }
    }
}

/// Whether a peer may ask: the user of the daemon, and root.
#[must_use]
pub fn may_ask(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

async fn refuse(mut stream: UnixStream, refusal: Refusal) -> io::Result<()> {
    let line = answer_line(&Err::<(), _>(refusal));
    send(&mut stream, &line).await
}

async fn send(stream: &mut (impl tokio::io::AsyncWrite + Unpin), line: &[u8]) -> io::Result<()> {
    tokio::time::timeout(ANSWER_PATIENCE, stream.write_all(line))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
}

async fn talk(stream: UnixStream, supervisor: &Arc<Mutex<Supervisor>>) -> io::Result<()> {
    let peer: UCred = stream.peer_cred()?;
    if !may_ask(peer.uid(), rustix::process::geteuid().as_raw()) {
        tracing::warn!(uid = peer.uid(), pid = peer.pid(), "a stranger was refused");
        let text = "only root and the daemon's own user may ask";
        return refuse(
            stream,
            Refusal::new("not_permitted", ExitCode::NotPermitted, text),
        )
        .await;
    }
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    for _ in 0..MAX_REQUESTS {
        let mut line = Vec::new();
        // The newline, and one byte by which a longer one is told.
        let mut bounded = (&mut reading).take(MAX_REQUEST as u64 + 1);
        let read = tokio::time::timeout(PATIENCE, bounded.read_until(b'\n', &mut line));
        match read.await {
            Ok(Ok(0)) => return Ok(()),
            Ok(read) => read?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        let whole = line.pop_if(|byte| *byte == b'\n').is_some();
        if !whole {
            // Too long, or cut off: where the next one begins is not known.
            let refusal = if line.len() > MAX_REQUEST {
                too_long()
            } else {
                Refusal::bad_request("a request ends with a newline")
            };
            return send(&mut writing, &answer_line(&Err::<(), _>(refusal))).await;
        }
        let answer = match request(&line) {
            Ok(request) => {
                tracing::info!(uid = peer.uid(), request = ?request, "asked");
                work::answer(request, &peer, supervisor).await
            }
            Err(refusal) => answer_line(&Err::<(), _>(refusal)),
        };
        send(&mut writing, &answer).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_and_root_may_ask() {
        assert!(may_ask(0, 0) && may_ask(0, 990) && may_ask(990, 990));
        assert!(!may_ask(1_000, 990) && !may_ask(1_000, 0) && !may_ask(65_534, 0));
    }

    #[tokio::test]
    async fn an_old_socket_is_replaced_and_nothing_else_is() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("c.sock");
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let busy = Socket::bind(&path).unwrap_err();
        assert_eq!(busy.kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists());
        // Left behind by one that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = Socket::bind(&path).unwrap();
        // What another put there is another's.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        drop(socket);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        let error = Socket::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
}
