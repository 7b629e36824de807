//! What a process's file descriptors are (sockets with both addresses, pipes, files), and what
//! waits in the kernel for them.
//!
//! TCP sockets and the queues of Unix sockets are asked for by `sock_diag`; where the kernel does not
//! answer, `/proc/PID/net` has the first without the times of connections. It has UDP sockets too; an
//! eventfd's count is in `/proc/PID/fdinfo`. What waits in a pipe the kernel tells nobody but who has
//! it open.
//!
//! The links of `/proc/PID/fd` are for the process's user and `CAP_DAC_READ_SEARCH`; who may trace the
//! process without that (`CAP_SYS_PTRACE`) still reads `/proc/PID/fdinfo`, which has a socket's inode.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::OnceLock;

use procfs::process::FDTarget;

use super::sock_diag::{self, Tcp, UnixQueues};

/// What a descriptor refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// A TCP or UDP socket.
    Internet(Internet),
    /// A Unix-domain socket.
    Unix(Unix),
    /// An eventfd with its counter, where that can be read.
    Event {
        /// What a read would give; 0 blocks.
        count: Option<u64>,
    },
    /// Anything else, as `/proc/PID/fd` shows it (`pipe:[123]`, `/dev/null`).
    Other(String),
    /// It is open, but what it is may not be looked at.
    Hidden,
}

/// A TCP or UDP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Internet {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Its own address.
    pub local: SocketAddr,
    /// The other end; `None` for a listening or unconnected socket.
    pub peer: Option<SocketAddr>,
    /// TCP state as the kernel names it, lower-case: `established`, `close_wait`.
    pub state: Option<String>,
    /// Bytes in the kernel that wait to be received (for UDP with their overhead); of a listening
    /// socket, connections that wait to be accepted.
    pub receive_queue: u64,
    /// Bytes in the kernel that were sent and not acknowledged; 0 for a listening socket.
    pub send_queue: u64,
    /// Milliseconds since data was received, or since the connection was made; TCP only, where the
    /// kernel answers.
    pub last_received_ms: Option<u64>,
    /// Milliseconds since data was sent.
    pub last_sent_ms: Option<u64>,
}

impl Internet {
    /// Whether it is a TCP socket that listens.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.state.as_deref() == Some("listen")
    }
}

/// A Unix-domain socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unix {
    /// Path, `@name` for an abstract one.
    pub path: Option<String>,
    /// Bytes that wait to be received; of a listening socket, connections that wait to be accepted.
    /// `None` where the kernel does not answer.
    pub receive_queue: Option<u64>,
    /// Bytes of kernel memory in what was sent and not received yet.
    pub send_queue: Option<u64>,
    /// It listens.
    pub listens: bool,
    /// The other end has closed, or will send no more.
    pub peer_closed: bool,
}

/// The sockets of a process's network namespace by inode, each table read once.
#[derive(Debug, Default)]
pub struct Sockets {
    pid: i32,
    by_inode: HashMap<u64, Descriptor>,
    unix_queues: OnceLock<HashMap<u64, UnixQueues>>,
    mounts: OnceLock<Option<HashSet<i32>>>,
}

impl Sockets {
    /// Asks for TCP sockets and reads `/proc/PID/net/{udp,udp6,unix}`; a table that cannot be read is
    /// left out.
    #[must_use]
    pub fn of_process(pid: i32) -> Self {
        let mut by_inode = HashMap::new();
        let asked = sock_diag::tcp(pid).ok();
        let by_proc = asked.is_none();
        let asked = asked.into_iter().flatten();
        by_inode.extend(asked.map(|(inode, tcp)| (inode, Descriptor::Internet(internet(&tcp)))));
        let Ok(process) = procfs::process::Process::new(pid) else {
            return Self::default();
        };
        // Made by the kernel in time that grows with the square of the number of sockets.
        let read = || process.tcp().into_iter().chain(process.tcp6()).flatten();
        let tcp = by_proc.then(read).into_iter().flatten();
        by_inode.extend(tcp.map(|entry| {
            let socket = Internet {
                protocol: "tcp",
                local: entry.local_address,
                peer: peer(entry.remote_address),
                state: Some(snake_case(&format!("{:?}", entry.state))),
                receive_queue: u64::from(entry.rx_queue),
                send_queue: u64::from(entry.tx_queue),
                last_received_ms: None,
                last_sent_ms: None,
            };
            (entry.inode, Descriptor::Internet(socket))
        }));
        let udp = process.udp().into_iter().chain(process.udp6()).flatten();
        by_inode.extend(udp.map(|entry| {
            let socket = Internet {
                protocol: "udp",
                local: entry.local_address,
                peer: peer(entry.remote_address),
                state: None,
                receive_queue: u64::from(entry.rx_queue),
                send_queue: u64::from(entry.tx_queue),
                last_received_ms: None,
                last_sent_ms: None,
            };
            (entry.inode, Descriptor::Internet(socket))
        }));
        by_inode.extend(process.unix().into_iter().flatten().map(|entry| {
            let path = entry.path.map(|path| path.to_string_lossy().into_owned());
            let socket = Unix {
                path,
                ..Unix::default()
            };
            (entry.inode, Descriptor::Unix(socket))
        }));
        Self {
            pid,
            by_inode,
            ..Self::default()
        }
    }

    /// What descriptor `fd` of the process is; `None` when it is not open (any more).
    #[must_use]
    pub fn describe(&self, fd: i32) -> Option<Descriptor> {
        let link = match std::fs::read_link(format!("/proc/{}/fd/{fd}", self.pid)) {
            Ok(link) => link,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return self.by_info(fd),
            Err(_) => return None,
        };
        let text = link.to_string_lossy().into_owned();
        Some(match text.parse::<FDTarget>() {
            Ok(FDTarget::Socket(inode)) => self.socket(inode).unwrap_or(Descriptor::Other(text)),
            _ if text.contains("[eventfd]") => Descriptor::Event {
                count: self.info(fd).ok().and_then(|info| event_count(&info)),
            },
            _ => Descriptor::Other(text),
        })
    }

    /// The same without the right to read links.
    fn by_info(&self, fd: i32) -> Option<Descriptor> {
        let info = match self.info(fd) {
            Ok(info) => info,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(_) => return Some(Descriptor::Hidden),
        };
        if let Some(count) = event_count(&info) {
            return Some(Descriptor::Event { count: Some(count) });
        }
        let found = self.inode_of_the_kernel(&info);
        Some(
            found
                .and_then(|inode| self.socket(inode))
                .unwrap_or(Descriptor::Hidden),
        )
    }

    /// The inode of a file on a file system of the kernel's own. Sockets and pipes share the numbers of
    /// theirs (`get_next_ino`); files elsewhere may have the same ones, but are on mounts that are told.
    fn inode_of_the_kernel(&self, info: &str) -> Option<u64> {
        let mount: i32 = field(info, "mnt_id:")?.parse().ok()?;
        let told = self.mounts.get_or_init(|| {
            let process = procfs::process::Process::new(self.pid).ok()?;
            let mounts = process.mountinfo().ok()?;
            Some(mounts.0.iter().map(|mount| mount.mnt_id).collect())
        });
        if told.as_ref()?.contains(&mount) {
            return None;
        }
        // Since Linux 5.14.
        field(info, "ino:")?.parse().ok()
    }

    fn info(&self, fd: i32) -> std::io::Result<String> {
        std::fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", self.pid))
    }

    fn socket(&self, inode: u64) -> Option<Descriptor> {
        let mut found = self.by_inode.get(&inode)?.clone();
        if let Descriptor::Unix(socket) = &mut found {
            let queues = self
                .unix_queues
                .get_or_init(|| sock_diag::unix_queues(self.pid).unwrap_or_default());
            if let Some(queues) = queues.get(&inode) {
                socket.receive_queue = queues.receive.map(u64::from);
                socket.send_queue = queues.send.map(u64::from);
                socket.listens = queues.listens;
                socket.peer_closed = queues.peer_closed;
            }
        }
        Some(found)
    }
}

/// `eventfd-count: HEX` (proc(5)).
fn event_count(info: &str) -> Option<u64> {
    u64::from_str_radix(field(info, "eventfd-count:")?, 16).ok()
}

fn field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    let line = info.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim())
}

/// A socket as `sock_diag` tells it.
fn internet(tcp: &Tcp) -> Internet {
    let state = tcp_state(tcp.state);
    let listens = state == Some("listen");
    let times = tcp.times.filter(|_| !listens);
    Internet {
        protocol: "tcp",
        local: tcp.local,
        peer: peer(tcp.peer),
        state: state.map(str::to_owned),
        receive_queue: u64::from(tcp.receive),
        // Of one that listens it is how many may wait.
        send_queue: if listens { 0 } else { u64::from(tcp.send) },
        last_received_ms: times.map(|times| u64::from(times.last_received_ms)),
        last_sent_ms: times.map(|times| u64::from(times.last_sent_ms)),
    }
}

/// The name of a state (`include/net/tcp_states.h`).
fn tcp_state(number: u8) -> Option<&'static str> {
    const NAMES: [&str; 12] = [
        "established",
        "syn_sent",
        "syn_recv",
        "fin_wait1",
        "fin_wait2",
        "time_wait",
        "close",
        "close_wait",
        "last_ack",
        "listen",
        "closing",
        "new_syn_recv",
    ];
    NAMES.get(usize::from(number).checked_sub(1)?).copied()
}

/// `CloseWait` as `close_wait`.
fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// The kernel shows an unconnected socket's peer as port 0 of the unspecified address.
fn peer(address: SocketAddr) -> Option<SocketAddr> {
    (address.port() != 0).then_some(address)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    fn seen(file: &impl AsRawFd) -> Descriptor {
        let me = i32::try_from(std::process::id()).unwrap();
        Sockets::of_process(me)
            .describe(file.as_raw_fd())
            .expect("open")
    }

    #[test]
    fn a_connection_shows_what_waits_at_each_stage() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let Descriptor::Internet(waiting) = seen(&listener) else {
            panic!("no internet socket");
        };
        assert!(waiting.listens() && waiting.receive_queue == 1 && waiting.peer.is_none());
        let (server, _) = listener.accept().unwrap();
        client.write_all(b"seventeen bytes!!").unwrap();
        let Descriptor::Internet(full) = seen(&server) else {
            panic!("no internet socket");
        };
        assert_eq!((full.protocol, full.receive_queue), ("tcp", 17));
        assert_eq!(full.peer, Some(client.local_addr().unwrap()));
        assert!(full.last_received_ms.is_some());
        drop(client);
        let Descriptor::Internet(half) = seen(&server) else {
            panic!("no internet socket");
        };
        assert_eq!(half.state.as_deref(), Some("close_wait"));
    }

    #[test]
    fn a_closed_descriptor_is_nothing() {
        let me = i32::try_from(std::process::id()).unwrap();
        let sockets = Sockets::of_process(me);
        assert_eq!(sockets.describe(1_000_000), None);
        assert_eq!(sockets.by_info(1_000_000), None);
    }

    #[test]
    fn sockets_are_known_without_their_links_and_files_are_no_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let file = tempfile::tempfile().unwrap();
        let flags = rustix::event::EventfdFlags::empty();
        let event = rustix::event::eventfd(7, flags).unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        let mut sockets = Sockets::of_process(me);
        let by_link = sockets.describe(listener.as_raw_fd()).unwrap();
        assert!(matches!(by_link, Descriptor::Internet(_)), "{by_link:?}");
        assert_eq!(sockets.by_info(listener.as_raw_fd()), Some(by_link));
        let counted = Some(Descriptor::Event { count: Some(7) });
        assert_eq!(sockets.by_info(event.as_raw_fd()), counted);
        // A file whose inode has the number of a socket.
        let info = sockets.info(file.as_raw_fd()).unwrap();
        let inode: u64 = field(&info, "ino:").unwrap().parse().unwrap();
        let unix = Descriptor::Unix(Unix::default());
        sockets.by_inode.insert(inode, unix);
        assert_eq!(sockets.by_info(file.as_raw_fd()), Some(Descriptor::Hidden));
    }
}
