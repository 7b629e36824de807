//! Await trees in a recording.
//!
//! A tree is written in preorder with depths instead of nested messages: protobuf readers limit
//! nesting to about 100, and await trees can be deeper. Futures that a node keeps and does not await
//! are trees of their own beside it, which older readers pass over.

use std::collections::VecDeque;
use std::sync::Arc;

use super::kinds::{node_kind, node_kind_number, node_state, node_state_number};
use super::names::lasting;
use super::strings::{self, Strings};
use crate::address::Address;
use crate::proto;
use crate::rebuild::tree::{AwaitNode, Held, SourcePlace, WaitsFor};

/// Depth of a tree at most, both ways.
const MAX_DEPTH: usize = 512;

/// Bytes of the names in a tree at most: they must fit into the table of strings.
const MAX_NAMES: usize = 8 * 1024 * 1024;

/// Bytes of a note, a warning or a detail at most.
pub(super) const MAX_TEXT: usize = 1024;

/// Things that one node holds, at most.
const MAX_HOLDS: usize = 64;

const NO_TREE: &str = "an await tree is not a tree";

/// Text of our own making, as long as it may be.
pub(super) fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT / 4).collect()
}

/// Notes, as many and as long as they may be.
pub(super) fn notes(notes: &[String]) -> Vec<String> {
    notes.iter().take(16).map(|note| short(note)).collect()
}

/// A tree as a recording has it.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) tree: Vec<proto::Node>,
    pub(super) asides: Vec<proto::Aside>,
    /// Its names are too long: it is not all there.
    pub(super) is_too_large: bool,
}

/// What was put aside while a tree was written: the number of the node, the depth, the future.
type PutAside<'a> = VecDeque<(usize, usize, &'a AwaitNode)>;

/// Writes a tree.
pub(super) fn write(root: &AwaitNode, strings: &mut strings::Interner) -> Written {
    let mut room = MAX_NAMES;
    let mut put_aside = PutAside::new();
    let mut tree = Vec::new();
    nodes(root, (0, 0), strings, &mut tree, &mut put_aside, &mut room);
    let mut written = tree.len();
    let mut asides = Vec::new();
    while let Some((number, depth, node)) = put_aside.pop_front() {
        let mut tree = Vec::new();
        let at = (written, depth);
        nodes(node, at, strings, &mut tree, &mut put_aside, &mut room);
        if tree.is_empty() {
            break;
        }
        written += tree.len();
        asides.push(proto::Aside {
            node: u32::try_from(number).unwrap_or(u32::MAX),
            tree,
        });
    }
    Written {
        tree,
        asides,
        is_too_large: room == 0,
    }
}

/// Appends a node and what it waits for; `at` is the number of nodes before `into`, and its depth.
fn nodes<'a>(
    node: &'a AwaitNode,
    at: (usize, usize),
    strings: &mut strings::Interner,
    into: &mut Vec<proto::Node>,
    put_aside: &mut PutAside<'a>,
    room: &mut usize,
) {
    let (before, depth) = at;
    *room = room.saturating_sub(names_of(node));
    if *room == 0 {
        return;
    }
    let mut told = notes(&node.notes);
    let deeper = depth + 1 < MAX_DEPTH;
    if !(deeper || node.children.is_empty() && node.not_awaited.is_empty()) {
        told.push("what it waits for is nested too deep for a recording".to_owned());
    }
    let number = before + into.len();
    let defined = node.defined.as_ref();
    into.push(proto::Node {
        depth: depth as u32,
        future: strings.id(Some(&node.future)),
        file: strings.id(node.file.as_ref()),
        line: node.line.unwrap_or(0),
        kind: node_kind_number(node.kind),
        state: node_state_number(node.state),
        waits_for: node.waits_for.as_ref().map(|wait| wait_of(wait, strings)),
        notes: told,
        address: node.address.map(|address| address.0),
        defined_file: strings.id(defined.map(|place| &place.file)),
        defined_line: defined.map_or(0, |place| place.line),
        holds: node
            .holds
            .iter()
            .take(MAX_HOLDS)
            .map(|held| proto::Held {
                local: strings.id(Some(&held.local)),
                what: Some(wait_of(&held.what, strings)),
                doubt: held
                    .doubt
                    .as_deref()
                    .map_or(0, |doubt| strings.id_of(doubt)),
            })
            .collect(),
        in_doubt: node.in_doubt,
        own_wakers: node.own_wakers,
    });
    if deeper {
        let aside = node.not_awaited.iter();
        put_aside.extend(aside.map(|kept| (number, depth + 1, kept)));
        for child in &node.children {
            nodes(child, (before, depth + 1), strings, into, put_aside, room);
        }
    }
}

/// Bytes of the names that a node brings.
fn names_of(node: &AwaitNode) -> usize {
    let length = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
    let held = node.holds.iter();
    let held = held.map(|held| held.local.len() + held.doubt.as_ref().map_or(0, String::len));
    let defined = node.defined.as_ref().map_or(0, |place| place.file.len());
    node.future.len() + length(&node.file) + defined + held.sum::<usize>()
}

fn wait_of(wait: &WaitsFor, strings: &mut strings::Interner) -> proto::Wait {
    proto::Wait {
        kind: strings.id_of(wait.kind),
        details: wait
            .details
            .iter()
            .take(32)
            .map(|(name, value)| (name, value.to_string()))
            .filter(|(name, json)| name.len() <= MAX_TEXT && json.len() <= MAX_TEXT)
            .map(|(name, json)| proto::Detail {
                name: strings.id_of(name),
                json,
            })
            .collect(),
    }
}

/// Puts a tree back together.
///
/// # Errors
/// When it is none, or refers to strings that are not there.
pub(super) fn read(
    tree: Vec<proto::Node>,
    asides: Vec<proto::Aside>,
    strings: &Strings,
) -> Result<Option<AwaitNode>, &'static str> {
    // All nodes in a row, each with its depth; where each preorder begins, and the node it belongs
    // to.
    let mut row: Vec<(usize, AwaitNode)> = Vec::new();
    let mut begins: Vec<(usize, usize)> = Vec::new();
    append(tree, 0, strings, &mut row)?;
    for aside in asides {
        let owner = aside.node as usize;
        let (depth, _) = row.get(owner).ok_or(NO_TREE)?;
        let depth = depth + 1;
        if aside.tree.is_empty() {
            return Err(NO_TREE);
        }
        begins.push((row.len(), owner));
        append(aside.tree, depth, strings, &mut row)?;
    }
    // The last first: what belongs to a node stands after it.
    for (begin, owner) in begins.into_iter().rev() {
        let kept = fold(row.split_off(begin));
        if let (Some(kept), Some((_, owner))) = (kept, row.get_mut(owner)) {
            owner.not_awaited.push(kept);
        }
    }
    Ok(fold(row))
}

/// Appends a preorder whose first node is this deep.
fn append(
    tree: Vec<proto::Node>,
    root: usize,
    strings: &Strings,
    row: &mut Vec<(usize, AwaitNode)>,
) -> Result<(), &'static str> {
    let begin = row.len();
    for node in tree {
        let depth = node.depth as usize;
        let fits = match row.get(begin..).and_then(<[_]>::last) {
            None => depth == root,
            Some((before, _)) => depth > root && depth <= before + 1,
        };
        if !fits || depth >= MAX_DEPTH {
            return Err(NO_TREE);
        }
        row.push((depth, await_node(node, strings)?));
    }
    Ok(())
}

/// A preorder as a tree; whatever its nodes do not await is there.
fn fold(row: Vec<(usize, AwaitNode)>) -> Option<AwaitNode> {
    let root = row.first()?.0;
    // The path from the root to the last node.
    let mut path: Vec<AwaitNode> = Vec::new();
    for (depth, mut node) in row {
        // They came the last first.
        node.not_awaited.reverse();
        hand_over(&mut path, depth - root);
        path.push(node);
    }
    hand_over(&mut path, 1);
    path.pop()
}

/// Hands nodes from the end of the path to their parents until the path is this long.
fn hand_over(path: &mut Vec<AwaitNode>, length: usize) {
    while path.len() > length
        && let Some(child) = path.pop()
        && let Some(parent) = path.last_mut()
    {
        parent.children.push(child);
    }
}

fn await_node(node: proto::Node, strings: &Strings) -> Result<AwaitNode, &'static str> {
    let waits_for = node.waits_for.map(|wait| waits_for(wait, strings));
    let defined = strings.get(node.defined_file.into())?;
    let holds = node.holds.into_iter().map(|held| {
        Ok(Held {
            local: strings.text(held.local)?,
            what: waits_for_of(held.what, strings)?,
            doubt: strings
                .get(held.doubt.into())?
                .map(|doubt| (*doubt).to_owned()),
        })
    });
    Ok(AwaitNode {
        future: strings.text(node.future)?,
        kind: node_kind(node.kind),
        state: node_state(node.state),
        file: strings.get(node.file.into())?,
        line: (node.line > 0).then_some(node.line),
        waits_for: waits_for.transpose()?,
        notes: node.notes,
        address: node.address.map(Address),
        defined: defined.map(|file| SourcePlace {
            file,
            line: node.defined_line,
        }),
        holds: holds.collect::<Result<_, &'static str>>()?,
        not_awaited: Vec::new(),
        in_doubt: node.in_doubt,
        own_wakers: node.own_wakers,
        children: Vec::new(),
    })
}

fn waits_for_of(wait: Option<proto::Wait>, strings: &Strings) -> Result<WaitsFor, &'static str> {
    wait.map_or_else(
        || Ok(WaitsFor::new("other")),
        |wait| waits_for(wait, strings),
    )
}

fn waits_for(wait: proto::Wait, strings: &Strings) -> Result<WaitsFor, &'static str> {
    let mut waits_for = WaitsFor::new(lasting(&strings.text(wait.kind)?));
    for detail in wait.details {
        let name = strings.text(detail.name)?;
        let value: serde_json::Value =
            serde_json::from_str(&detail.json).map_err(|_| "a detail of a wait is not JSON")?;
        waits_for.details.insert(name.as_ref().to_owned(), value);
    }
    Ok(waits_for)
}
