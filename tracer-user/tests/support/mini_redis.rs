//! `mini-redis` as set up by `cargo xtask setup`: a server of this test's own, and the load of
//! Debian's redis-benchmark.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::target;

const PATIENCE: Duration = Duration::from_secs(30);
/// `TCP_LISTEN` in the state column of `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Where the server's binary is.
///
/// # Panics
/// If it is not set up.
pub(crate) fn binary() -> PathBuf {
    let path = target().join("tools/bin/mini-redis-server");
    assert!(
        path.is_file(),
        "{} is missing: run `cargo xtask setup`",
        path.display()
    );
    path
}

/// A running server, killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens, on a port that the kernel chose.
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts one and waits until it listens.
    pub(crate) fn start() -> Self {
        let child = Command::new(binary())
            .args(["--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        // From here on it is killed when the test fails.
        let mut server = Self {
            child: child.expect("mini-redis starts"),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let begin = Instant::now();
        loop {
            if let Some(address) = listening(server.child.id()) {
                server.address = address;
                return server;
            }
            assert!(begin.elapsed() < PATIENCE, "mini-redis does not listen");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// A client that is connected and says nothing.
    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).expect("it listens")
    }

    /// redis-benchmark with this server: `requests` SETs and as many GETs by `clients`.
    pub(crate) fn benchmark(&self, requests: u32, clients: u32) -> Command {
        let mut command = Command::new("redis-benchmark");
        command
            .args(["-p", &self.address.port().to_string()])
            .args(["-n", &requests.to_string(), "-c", &clients.to_string()])
            .args(["-t", "set,get", "-q"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a process listens, from its sockets and the kernel's table.
fn listening(pid: u32) -> Option<SocketAddr> {
    let sockets: Vec<String> = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"))
        .ok()?
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let ours = sockets.iter().any(|inode| inode == columns[9]);
        if columns[3] != LISTEN || !ours {
            return None;
        }
        let (_, port) = columns[1].split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    })
}
