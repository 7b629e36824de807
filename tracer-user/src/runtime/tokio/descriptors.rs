//! What the descriptors are that tasks wait on: sockets with both addresses and what waits in the
//! kernel for them, pipes, files; and whether that makes the wait ready.
//!
//! tokio's driver is told by the kernel of what arrives, and then wakes: a socket with bytes in its
//! receive queue under a task that waits to read is one whose wake-up is on its way, or lost. The
//! kernel's tables are read after the tasks, so under load some tasks look ready that are being woken.

use std::collections::HashMap;

use rayon::prelude::*;
use serde_json::Value as Json;

use crate::locate::{Descriptor, Internet, Sockets, Unix};
use crate::rebuild::details::Details;
use crate::rebuild::snapshot::TaskInfo;
use crate::rebuild::tree::{AwaitNode, WaitsFor};

/// What the kernel tells of the descriptors that tasks wait for.
#[derive(Debug, Default)]
pub(super) struct Described(HashMap<i32, Option<Descriptor>>);

impl Described {
    /// Asks the kernel for these.
    pub(super) fn ask(pid: i32, waited_for: &[i32]) -> Self {
        if waited_for.is_empty() {
            return Self::default();
        }
        let mut known = describe(&Sockets::of_process(pid), waited_for);
        let is_unknown = |found: &Option<Descriptor>| matches!(found, Some(Descriptor::Other(text)) if text.starts_with("socket:"));
        let unknown: Vec<i32> = known
            .iter()
            .filter(|(_, found)| is_unknown(found))
            .map(|(fd, _)| *fd)
            .collect();
        if !unknown.is_empty() {
            // Younger than the table, perhaps: one more look.
            known.extend(describe(&Sockets::of_process(pid), &unknown));
        }
        Self(known)
    }

    /// Adds to every I/O wait what its descriptor is.
    pub(super) fn tell(&self, tasks: &mut [TaskInfo]) {
        if self.0.is_empty() {
            return;
        }
        tasks
            .par_iter_mut()
            .with_min_len(TASKS_A_THREAD)
            .filter_map(|task| task.tree.as_mut())
            .for_each(|tree| describe_tree(tree, &self.0));
    }
}

/// The descriptors that tasks wait for, each once.
pub(super) fn waited_for(tasks: &[TaskInfo]) -> Vec<i32> {
    let mut found: Vec<i32> = tasks
        .par_iter()
        .with_min_len(TASKS_A_THREAD)
        .filter_map(|task| task.tree.as_ref())
        .fold(Vec::new, |mut found, tree| {
            each_descriptor(tree, &mut |fd| found.push(fd));
            found
        })
        .flatten()
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Fewer tasks are not worth another thread.
const TASKS_A_THREAD: usize = 4096;
/// Nor are fewer descriptors.
const DESCRIPTORS_A_THREAD: usize = 512;

/// What these descriptors are: a call to the kernel for each.
fn describe(sockets: &Sockets, descriptors: &[i32]) -> HashMap<i32, Option<Descriptor>> {
    descriptors
        .par_iter()
        .with_min_len(DESCRIPTORS_A_THREAD)
        .map(|fd| (*fd, sockets.describe(*fd)))
        .collect()
}

/// The descriptor that an I/O wait names.
fn descriptor(node: &AwaitNode) -> Option<i32> {
    let waits_for = node.waits_for.as_ref().filter(|wait| wait.kind == "io")?;
    let fd = waits_for.details.get("fd").and_then(Json::as_i64)?;
    i32::try_from(fd).ok()
}

fn each_descriptor(node: &AwaitNode, visit: &mut impl FnMut(i32)) {
    descriptor(node).into_iter().for_each(&mut *visit);
    for child in node.children.iter().chain(&node.not_awaited) {
        each_descriptor(child, visit);
    }
}

fn describe_tree(node: &mut AwaitNode, known: &HashMap<i32, Option<Descriptor>>) {
    if let Some(fd) = descriptor(node)
        && let Some(waits_for) = node.waits_for.as_mut()
    {
        let guessed = waits_for.details.get("guessed") == Some(&Json::Bool(true));
        match known.get(&fd).and_then(Option::as_ref) {
            // A number that is called like a descriptor, and is one that can be waited for.
            Some(descriptor) if guessed && !can_be_waited_for(descriptor) => not_io(node),
            None if guessed => not_io(node),
            Some(Descriptor::Hidden) => node.notes.push(format!(
                "what descriptor {fd} is may not be read (its user and CAP_DAC_READ_SEARCH may)"
            )),
            Some(descriptor) => tell(waits_for, descriptor),
            None => node
                .notes
                .push(format!("descriptor {fd} is not open any more")),
        }
    }
    for child in node.children.iter_mut().chain(&mut node.not_awaited) {
        describe_tree(child, known);
    }
}

fn can_be_waited_for(descriptor: &Descriptor) -> bool {
    match descriptor {
        Descriptor::Internet(_) | Descriptor::Unix(_) | Descriptor::Event { .. } => true,
        // Nothing speaks against it.
        Descriptor::Hidden => true,
        Descriptor::Other(text) => ["socket:", "pipe:", "anon_inode:"]
            .iter()
            .any(|kind| text.starts_with(kind)),
    }
}

/// The guess was wrong: what is left is what is known of the future otherwise.
fn not_io(node: &mut AwaitNode) {
    let Some(mut waits_for) = node.waits_for.take() else {
        return;
    };
    waits_for.kind = "hand_written";
    waits_for.details.remove("fd");
    waits_for.details.remove("guessed");
    node.waits_for = waits_for.text("waker_kept").is_some().then_some(waits_for);
}

/// Adds what a descriptor is to a wait for it.
fn tell(waits_for: &mut WaitsFor, descriptor: &Descriptor) {
    let details = &mut waits_for.details;
    match descriptor {
        Descriptor::Internet(socket) => internet(details, socket),
        Descriptor::Unix(socket) => unix(details, socket),
        Descriptor::Event { .. } => put(details, "protocol", Some("eventfd")),
        Descriptor::Other(text) => put(details, "resource", Some(text.as_str())),
        Descriptor::Hidden => return,
    }
    if !details.contains_key("resource") {
        let protocol = details.get("protocol").cloned();
        put(details, "resource", protocol);
    }
    judge(waits_for, descriptor);
}

fn put(details: &mut Details, name: &'static str, value: Option<impl Into<Json>>) {
    if let Some(value) = value {
        details.insert(name, value.into());
    }
}

fn internet(details: &mut Details, socket: &Internet) {
    put(details, "protocol", Some(socket.protocol));
    put(details, "local", Some(socket.local.to_string()));
    let peer = socket.peer.map(|peer| peer.to_string());
    put(details, "peer", Some(peer));
    put(details, "socket_state", socket.state.clone());
    put(details, "receive_queue", Some(socket.receive_queue));
    put(details, "send_queue", Some(socket.send_queue));
    put(details, "last_received_ms", socket.last_received_ms);
    put(details, "last_sent_ms", socket.last_sent_ms);
}

fn unix(details: &mut Details, socket: &Unix) {
    put(details, "protocol", Some("unix"));
    put(details, "path", Some(socket.path.clone()));
    if socket.listens {
        put(details, "socket_state", Some("listen"));
    } else if socket.peer_closed {
        put(details, "socket_state", Some("peer_closed"));
    }
    put(details, "receive_queue", socket.receive_queue);
    put(details, "send_queue", socket.send_queue);
}

/// Whether the kernel has what is waited for. What tokio's driver has seen already stays.
fn judge(waits_for: &mut WaitsFor, descriptor: &Descriptor) {
    if waits_for.ready() == Some(true) {
        return;
    }
    let reads = match waits_for.text("interest") {
        Some(interest) => interest.starts_with("read"),
        // A hand-written future does not say: ready if it is both ways.
        None => can_be_written(descriptor),
    };
    let because = match descriptor {
        Descriptor::Internet(socket) if reads => readable(socket),
        Descriptor::Unix(socket) if reads => unix_readable(socket),
        Descriptor::Event { count } if reads => count.map(|count| {
            let has_count = || format!("the eventfd's counter is {count}");
            (count > 0).then(has_count)
        }),
        _ => None,
    };
    let knows = waits_for.details.contains_key("interest");
    match because {
        Some(None) if !knows => {}
        None => {}
        Some(None) if waits_for.details.contains_key("ready") => {}
        Some(None) => put(&mut waits_for.details, "ready", Some(false)),
        Some(Some(because)) => {
            put(&mut waits_for.details, "ready", Some(true));
            put(&mut waits_for.details, "ready_because", Some(because));
        }
    }
}

/// Whether the kernel would take more, whoever asks; an eventfd is only ever waited for to be read.
fn can_be_written(descriptor: &Descriptor) -> bool {
    match descriptor {
        Descriptor::Internet(socket) => {
            socket.state.as_deref() == Some("established") && socket.send_queue == 0
        }
        // A write to nobody is told at once.
        Descriptor::Unix(socket) => {
            !socket.listens && (socket.peer_closed || socket.send_queue == Some(0))
        }
        Descriptor::Event { .. } => true,
        Descriptor::Other(_) | Descriptor::Hidden => false,
    }
}

#[expect(
    clippy::option_option,
    reason = "not ready is not the same as not known"
)]
fn readable(socket: &Internet) -> Option<Option<String>> {
    let count = socket.receive_queue;
    Some(match socket.state.as_deref() {
        Some("listen") if count > 0 => Some(connections(count)),
        Some("listen") => None,
        _ if count > 0 => Some(bytes(count)),
        Some("close_wait" | "last_ack" | "closing" | "time_wait") => {
            Some("its peer has closed the connection".to_owned())
        }
        Some("close") => Some("it is not connected any more".to_owned()),
        _ => None,
    })
}

#[expect(
    clippy::option_option,
    reason = "not ready is not the same as not known"
)]
fn unix_readable(socket: &Unix) -> Option<Option<String>> {
    let count = socket.receive_queue?;
    Some(if count > 0 && socket.listens {
        Some(connections(count))
    } else if count > 0 {
        Some(bytes(count))
    } else {
        let closed = socket.peer_closed && !socket.listens;
        closed.then(|| "its peer has closed the connection".to_owned())
    })
}

fn connections(count: u64) -> String {
    match count {
        1 => "1 connection waits to be accepted".to_owned(),
        count => format!("{count} connections wait to be accepted"),
    }
}

fn bytes(count: u64) -> String {
    match count {
        1 => "the receive queue has 1 byte".to_owned(),
        count => format!("the receive queue has {count} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(state: &str, receive_queue: u64) -> Descriptor {
        Descriptor::Internet(Internet {
            protocol: "tcp",
            local: "127.0.0.1:1".parse().unwrap(),
            peer: Some("127.0.0.1:2".parse().unwrap()),
            state: Some(state.to_owned()),
            receive_queue,
            send_queue: 3,
            last_received_ms: Some(4),
            last_sent_ms: None,
        })
    }

    fn told(interest: &str, descriptor: &Descriptor) -> WaitsFor {
        let mut waits_for = WaitsFor::new("io").with("interest", interest);
        tell(&mut waits_for, descriptor);
        waits_for
    }

    #[test]
    fn bytes_in_the_kernel_make_a_reader_ready_and_no_writer() {
        let full = told("read", &socket("established", 17));
        assert_eq!(full.ready(), Some(true));
        let because = full.text("ready_because");
        assert_eq!(because, Some("the receive queue has 17 bytes"));
        assert_eq!(full.text("resource"), Some("tcp"));
        assert_eq!(full.number("last_received_ms"), Some(4));
        assert_eq!(told("read", &socket("established", 0)).ready(), Some(false));
        assert_eq!(told("write", &socket("established", 17)).ready(), None);
        assert_eq!(told("read", &socket("close_wait", 0)).ready(), Some(true));
        assert_eq!(told("read", &socket("fin_wait1", 0)).ready(), Some(false));
        assert_eq!(told("read", &socket("listen", 2)).ready(), Some(true));
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_not_known() {
        let pipe = told("read", &Descriptor::Other("pipe:[1]".to_owned()));
        assert_eq!(
            (pipe.ready(), pipe.text("resource")),
            (None, Some("pipe:[1]"))
        );
        assert_eq!(
            told("read", &Descriptor::Unix(Unix::default())).ready(),
            None
        );
        let event = |count| told("read", &Descriptor::Event { count }).ready();
        assert_eq!(
            [event(None), event(Some(0)), event(Some(1))],
            [None, Some(false), Some(true)]
        );
    }

    #[test]
    fn what_the_driver_saw_stays() {
        let mut waits_for = WaitsFor::new("io")
            .with("interest", "read")
            .with("ready", true)
            .with("ready_because", "tokio's driver saw it ready");
        tell(&mut waits_for, &socket("established", 0));
        assert_eq!(waits_for.ready(), Some(true));
    }
}
