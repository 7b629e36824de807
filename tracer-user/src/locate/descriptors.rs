//! What a process's file descriptors are: sockets with both addresses, pipes, files.

use std::collections::HashMap;
use std::net::SocketAddr;

use procfs::process::FDTarget;

/// What a descriptor refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// A TCP or UDP socket.
    Internet {
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// Its own address.
        local: SocketAddr,
        /// The other end; `None` for a listening or unconnected socket.
        peer: Option<SocketAddr>,
        /// TCP state as the kernel names it, lower-case.
        state: Option<String>,
    },
    /// A Unix-domain socket, with its path where it has one.
    Unix {
        /// Path, `@name` for an abstract one.
        path: Option<String>,
    },
    /// Anything else, as `/proc/PID/fd` shows it (`pipe:[123]`, `/dev/null`).
    Other(String),
}

/// The sockets of a process's network namespace by inode, read once.
#[derive(Debug, Default)]
pub struct Sockets {
    by_inode: HashMap<u64, Descriptor>,
}

impl Sockets {
    /// Reads `/proc/PID/net/{tcp,tcp6,udp,udp6,unix}`; a table that cannot be read is left out.
    #[must_use]
    pub fn of_process(pid: i32) -> Self {
        let mut by_inode = HashMap::new();
        let Ok(process) = procfs::process::Process::new(pid) else {
            return Self::default();
        };
        let tcp = process.tcp().into_iter().chain(process.tcp6()).flatten();
        by_inode.extend(tcp.map(|entry| {
            let socket = Descriptor::Internet {
                protocol: "tcp",
                local: entry.local_address,
                peer: peer(entry.remote_address),
                state: Some(format!("{:?}", entry.state).to_lowercase()),
            };
            (entry.inode, socket)
        }));
        let udp = process.udp().into_iter().chain(process.udp6()).flatten();
        by_inode.extend(udp.map(|entry| {
            let socket = Descriptor::Internet {
                protocol: "udp",
                local: entry.local_address,
                peer: peer(entry.remote_address),
                state: None,
            };
            (entry.inode, socket)
        }));
        by_inode.extend(process.unix().into_iter().flatten().map(|entry| {
            let path = entry.path.map(|path| path.to_string_lossy().into_owned());
            (entry.inode, Descriptor::Unix { path })
        }));
        Self { by_inode }
    }

    /// What descriptor `fd` of the process is; `None` when it is not open (any more).
    #[must_use]
    pub fn describe(&self, pid: i32, fd: i32) -> Option<Descriptor> {
        let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
        let text = link.to_string_lossy().into_owned();
        match text.parse::<FDTarget>() {
            Ok(FDTarget::Socket(inode)) => Some(
                self.by_inode
                    .get(&inode)
                    .cloned()
                    .unwrap_or(Descriptor::Other(text)),
            ),
            _ => Some(Descriptor::Other(text)),
        }
    }
}

/// The kernel shows an unconnected socket's peer as port 0 of the unspecified address.
fn peer(address: SocketAddr) -> Option<SocketAddr> {
    (address.port() != 0).then_some(address)
}
