//! What `sock_diag(7)` tells of sockets: TCP connections with the times when data last went over
//! them, and what waits in Unix sockets. `/proc/net/tcp` has connections too, but not these times, and
//! the kernel makes it in time that grows with the square of their number (Linux 6.18: half a second at
//! 20,000).
//!
//! The kernel answers for the network namespace of who asks. For a process in another one (a
//! container) a thread of ours enters that first, which needs `CAP_SYS_ADMIN`; the thread ends with the
//! answer. The kernel may be built without these modules. So every question may fail, and what it
//! would have told is absent then.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{self, ExtensionFlags, InetRequest, SocketId};
use netlink_packet_sock_diag::unix::{self, ShowFlags, UnixRequest};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The kernel fills at most 32 KiB for one receive (`netlink_dump`, Linux 6.18).
const BUFFER: usize = 64 * 1024;
/// The kernel answers at once; without an answer it never will.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// Bytes of answers that are read: 20,000 sockets take 8 MB.
const MAX_ANSWER: usize = 1 << 30;
/// In `struct tcp_info` (uapi/linux/tcp.h), which only ever grows at its end.
const LAST_DATA_SENT: usize = 44;
const LAST_DATA_RECEIVED: usize = 52;
/// `RCV_SHUTDOWN` in `UNIX_DIAG_SHUTDOWN`: nothing more will be received.
const RECEIVE_SHUTDOWN: u8 = 1;

/// A TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tcp {
    /// Its own address.
    pub local: std::net::SocketAddr,
    /// The other end; port 0 where there is none.
    pub peer: std::net::SocketAddr,
    /// Its state as the kernel numbers it.
    pub state: u8,
    /// Bytes to be received; for a listening socket, connections to be accepted.
    pub receive: u32,
    /// Bytes sent and not acknowledged; for a listening socket, connections that may wait.
    pub send: u32,
    /// When data last went over it.
    pub times: Option<TcpTimes>,
}

/// When data last went over a TCP connection. Milliseconds before the question; since the connection
/// was made when none did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TcpTimes {
    /// Data was received.
    pub last_received_ms: u32,
    /// Data was sent.
    pub last_sent_ms: u32,
}

/// What waits in a Unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UnixQueues {
    /// Bytes to be received; for a listening socket, connections to be accepted.
    pub receive: Option<u32>,
    /// Bytes of memory that what was sent and not received takes.
    pub send: Option<u32>,
    /// It listens.
    pub listens: bool,
    /// The other end has closed, or will send no more.
    pub peer_closed: bool,
}

/// TCP sockets by inode; those that no process has any more are left out.
///
/// # Errors
/// The kernel does not answer, or another network namespace may not be entered.
pub(super) fn tcp(pid: i32) -> io::Result<HashMap<u64, Tcp>> {
    in_network_of(pid, || {
        let mut found = HashMap::new();
        for (family, socket_id) in [
            (AF_INET, SocketId::new_v4()),
            (AF_INET6, SocketId::new_v6()),
        ] {
            let request = SockDiagMessage::InetRequest(InetRequest {
                family,
                protocol: IPPROTO_TCP,
                extensions: ExtensionFlags::INFO,
                states: inet::StateFlags::all(),
                socket_id,
            });
            ask(request, |answer| {
                let SockDiagMessage::InetResponse(socket) = answer else {
                    return;
                };
                let times = socket.nlas.iter().find_map(|part| match part {
                    inet::nlas::Nla::TcpInfo(info) => times(info),
                    _ => None,
                });
                let header = &socket.header;
                if header.inode == 0 {
                    return;
                }
                let id = &header.socket_id;
                let tcp = Tcp {
                    local: (id.source_address, id.source_port).into(),
                    peer: (id.destination_address, id.destination_port).into(),
                    state: header.state,
                    receive: header.recv_queue,
                    send: header.send_queue,
                    times,
                };
                found.insert(u64::from(header.inode), tcp);
            })?;
        }
        Ok(found)
    })
}

fn times(info: &[u8]) -> Option<TcpTimes> {
    let word = |at: usize| {
        let bytes = info.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    Some(TcpTimes {
        last_received_ms: word(LAST_DATA_RECEIVED)?,
        last_sent_ms: word(LAST_DATA_SENT)?,
    })
}

/// Unix sockets by inode.
///
/// # Errors
/// As [`tcp`].
pub(super) fn unix_queues(pid: i32) -> io::Result<HashMap<u64, UnixQueues>> {
    in_network_of(pid, || {
        let mut found = HashMap::new();
        let request = SockDiagMessage::UnixRequest(UnixRequest {
            // All states: an unconnected datagram socket is in none that has a name.
            state_flags: unix::StateFlags::from_bits_retain(u32::MAX),
            inode: 0,
            show_flags: ShowFlags::RQLEN | ShowFlags::PEER,
            cookie: [0xff; 8],
        });
        ask(request, |answer| {
            let SockDiagMessage::UnixResponse(socket) = answer else {
                return;
            };
            found.insert(u64::from(socket.header.inode), queues(&socket));
        })?;
        Ok(found)
    })
}

fn queues(socket: &unix::UnixResponse) -> UnixQueues {
    let mut queues = UnixQueues {
        listens: socket.header.state == netlink_packet_sock_diag::constants::TCP_LISTEN,
        ..UnixQueues::default()
    };
    for part in &socket.nlas {
        match part {
            unix::nlas::Nla::ReceiveQueueLength(receive, send) => {
                queues.receive = Some(*receive);
                queues.send = (!queues.listens).then_some(*send);
            }
            // A peer without an inode has been closed.
            unix::nlas::Nla::Peer(0) => queues.peer_closed = true,
            unix::nlas::Nla::Shutdown(how) if how & RECEIVE_SHUTDOWN != 0 => {
                queues.peer_closed = true;
            }
            _ => {}
        }
    }
    queues
}

/// Sends one question for a list, and gives every answer to `take`.
fn ask(question: SockDiagMessage, mut take: impl FnMut(SockDiagMessage)) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_non_blocking(true)?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(question));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut buffer = vec![0; BUFFER];
    let mut read = 0;
    while read < MAX_ANSWER {
        let mut ready = [PollFd::new(&socket, PollFlags::IN)];
        if poll(&mut ready, Some(&PATIENCE))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let size = socket.recv(&mut buffer.as_mut_slice(), 0)?;
        read += size;
        if !parse(buffer.get(..size).unwrap_or(&[]), &mut take)? {
            return Ok(());
        }
    }
    Err(io::ErrorKind::FileTooLarge.into())
}

/// The messages of one receive; whether more will come.
fn parse(mut bytes: &[u8], take: &mut impl FnMut(SockDiagMessage)) -> io::Result<bool> {
    if bytes.is_empty() {
        return Ok(false);
    }
    while let Some(length) = bytes.first_chunk::<4>() {
        let length = u32::from_ne_bytes(*length) as usize;
        let Some(message) = bytes.get(..length).filter(|_| length >= 16) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        // One that cannot be parsed says nothing of the others.
        if let Ok(message) = NetlinkMessage::<SockDiagMessage>::deserialize(message) {
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => take(answer),
                NetlinkPayload::Done(_) => return Ok(false),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(true)
}

/// Runs `look` in the network namespace of a process.
fn in_network_of<T: Send>(pid: i32, look: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let path = format!("/proc/{pid}/ns/net");
    if std::fs::read_link("/proc/thread-self/ns/net")? == std::fs::read_link(&path)? {
        return look();
    }
    let namespace = std::fs::File::open(&path)?;
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            look()
        });
        inside
            .join()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    fn inode(file: &impl AsRawFd) -> u64 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        let text = link.to_string_lossy().into_owned();
        let digits = text.trim_start_matches("socket:[").trim_end_matches(']');
        digits.parse().unwrap()
    }

    fn me() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn the_kernel_tells_since_when_nothing_was_received() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (two, _) = listener.accept().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        one.write_all(b"x").unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let sockets = tcp(me()).unwrap();
        let times = |file| sockets[&inode(file)].times.unwrap();
        assert!(times(&one).last_received_ms >= 300);
        assert!(times(&one).last_sent_ms < 300);
        assert!(times(&two).last_received_ms < 300);
    }

    #[test]
    fn unix_sockets_have_bytes_and_a_peer_until_it_closes() {
        let (mut one, two) = UnixStream::pair().unwrap();
        one.write_all(b"four").unwrap();
        let queues = unix_queues(me()).unwrap();
        let seen = queues[&inode(&two)];
        assert!(seen.receive.unwrap() >= 4 && !seen.peer_closed && !seen.listens);
        assert_eq!(queues[&inode(&one)].receive, Some(0));
        drop(one);
        assert!(unix_queues(me()).unwrap()[&inode(&two)].peer_closed);
    }

    #[test]
    fn hostile_answers_are_errors_or_nothing() {
        let mut count = 0;
        let mut take = |_| count += 1;
        assert!(!parse(&[], &mut take).unwrap());
        assert!(parse(&[4, 0, 0, 0], &mut take).is_err());
        assert!(parse(&[255; 16], &mut take).is_err());
        let mut unknown = [0; 16];
        unknown[0] = 16;
        assert!(parse(&unknown, &mut take).unwrap());
        assert_eq!(count, 0);
    }
}
