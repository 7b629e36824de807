//! Waiting for the end of a process through its pidfd.

#![expect(
    unsafe_code,
    reason = "tokio 1.53 deprecates the safe constructor of AsyncFd"
)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process whose end can be awaited.
#[derive(Debug)]
pub struct ProcessEnd(AsyncFd<OwnedFd>);

impl ProcessEnd {
    /// Of the process behind `pidfd`. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the descriptor cannot be registered.
    pub fn of(pidfd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` is an open descriptor that nobody else closes, and it is neither
        // replaced nor closed while the `AsyncFd` owns it.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
        Ok(Self(pidfd?))
    }

    /// Waits for the end. Cancel-safe; returns at once when the process has ended before.
    ///
    /// # Errors
    /// When the descriptor cannot be waited for.
    pub async fn wait(&self) -> io::Result<()> {
        // Readable means ended (pidfd_open(2)), and stays so.
        self.0.readable().await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    #[tokio::test]
    async fn the_end_of_a_child_is_seen() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let end = ProcessEnd::of(pidfd_open(pid, PidfdFlags::empty()).unwrap()).unwrap();
        let soon = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, end.wait()).await.is_err());
        drop(child.stdin.take());
        end.wait().await.unwrap();
        end.wait().await.unwrap();
        child.wait().unwrap();
    }
}
