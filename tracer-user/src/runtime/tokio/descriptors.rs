//! What the descriptors are that tasks wait on: sockets with both addresses, pipes, files.

use std::collections::HashMap;

use crate::locate::{Descriptor, Sockets};
use crate::rebuild::snapshot::TaskInfo;
use crate::rebuild::tree::AwaitNode;

/// Adds to every I/O wait what its descriptor is.
pub(super) fn describe_descriptors(pid: i32, tasks: &mut [TaskInfo]) {
    let mut sockets = None;
    let mut is_fresh = true;
    let mut known: HashMap<i64, Option<Descriptor>> = HashMap::new();
    let mut describe = |fd: i64| {
        let fd = i32::try_from(fd).ok()?;
        let table = sockets.get_or_insert_with(|| Sockets::of_process(pid));
        let described = table.describe(pid, fd);
        let is_unknown_socket = matches!(
            &described,
            Some(Descriptor::Other(text)) if text.starts_with("socket:")
        );
        if is_unknown_socket && std::mem::take(&mut is_fresh) {
            // Younger than the table, perhaps: one more look.
            *table = Sockets::of_process(pid);
            return table.describe(pid, fd);
        }
        described
    };
    for tree in tasks.iter_mut().filter_map(|task| task.tree.as_mut()) {
        describe_tree(tree, &mut |fd| {
            known.entry(fd).or_insert_with(|| describe(fd)).clone()
        });
    }
}

fn describe_tree(node: &mut AwaitNode, describe: &mut impl FnMut(i64) -> Option<Descriptor>) {
    if let Some(waits_for) = node.waits_for.as_mut()
        && waits_for.kind == "io"
        && let Some(fd) = waits_for
            .details
            .get("fd")
            .and_then(serde_json::Value::as_i64)
    {
        let details = &mut waits_for.details;
        match describe(fd) {
            Some(Descriptor::Internet {
                protocol,
                local,
                peer,
                state,
            }) => {
                details.insert("resource".to_owned(), protocol.into());
                details.insert("local".to_owned(), local.to_string().into());
                details.insert("peer".to_owned(), peer.map(|peer| peer.to_string()).into());
                if let Some(state) = state {
                    details.insert("socket_state".to_owned(), state.into());
                }
            }
            Some(Descriptor::Unix { path }) => {
                details.insert("resource".to_owned(), "unix".into());
                details.insert("path".to_owned(), path.into());
            }
            Some(Descriptor::Other(text)) => {
                details.insert("resource".to_owned(), text.into());
            }
            None => node
                .notes
                .push(format!("descriptor {fd} is not open any more")),
        }
    }
    for child in &mut node.children {
        describe_tree(child, describe);
    }
}
