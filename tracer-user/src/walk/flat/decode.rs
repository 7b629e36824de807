//! The words of a walk -> a [`Suspension`]: the walk replayed over the same tables.
//!
//! The words are the kernel's, about memory of the target: hostile input. Whatever they say, this
//! ends, and what does not fit the tables is told as not known.

use std::collections::HashMap;
use std::sync::Arc;

use tracer_common::walk::{
    EdgeKind, FIRST_MARKER, MARKS, MAX_ELEMENTS, NO_STATE, WORD_COUNT, WORD_CUT, WORD_END,
    WORD_INSIDE, WORD_NULL, WORD_OUTSIDE, WORD_UNKNOWN_STATE, WORD_UNKNOWN_VTABLE, WORD_UNREADABLE,
};

use super::{Conventions, Meaning, Tables};
use crate::address::Address;
use crate::rebuild::suspension::{FutureState, Place, SuspendedFuture, Suspension};
use crate::rebuild::tree::{NodeKind, NodeState};

/// Futures inside futures; words are 128 at most, so a tree is no deeper.
const MAX_DEPTH: u32 = 192;

/// Turns words into suspensions.
pub struct Decoder {
    tables: Arc<Tables>,
    states: HashMap<FutureState, Arc<FutureState>>,
    conventions: Arc<dyn Conventions + Send + Sync>,
}

/// A future on its way into a suspension.
struct Node {
    /// Index of its meaning; `None` for one that is not known.
    meaning: Option<u32>,
    place: Place,
    mark: Option<u8>,
    /// Its own state, or what its place in the tree tells.
    state: NodeState,
    waits_for: Option<&'static str>,
    unknown: Option<&'static str>,
    children: Vec<Node>,
}

/// Why the words do not go on.
enum Stop {
    /// The walk was ended here.
    Cut,
    /// They do not fit the tables.
    Misfit,
}

/// Where in the tree the replay is.
#[derive(Clone, Copy)]
struct Spot<'p> {
    place: Place,
    depth: u32,
    /// What is known of the state of a future here that has none of its own.
    state: NodeState,
    above: Option<&'p Above<'p>>,
}

/// The futures that hold the one at hand, the nearest first.
struct Above<'p> {
    path: &'p str,
    next: Option<&'p Above<'p>>,
}

struct Replay<'t> {
    tables: &'t Tables,
    conventions: &'t dyn Conventions,
    words: &'t [u32],
    marks: u8,
    missing: Option<&'static str>,
}

impl Decoder {
    /// For these tables.
    #[must_use]
    pub fn new(tables: Arc<Tables>, conventions: Arc<dyn Conventions + Send + Sync>) -> Self {
        Self {
            tables,
            states: HashMap::new(),
            conventions,
        }
    }

    /// What the words of a walk tell.
    pub fn decode(&mut self, words: &[u32]) -> Suspension {
        let tables = Arc::clone(&self.tables);
        let conventions = Arc::clone(&self.conventions);
        let mut replay = Replay {
            tables: &tables,
            conventions: &*conventions,
            words,
            marks: 0,
            missing: None,
        };
        let mut found = Vec::new();
        let spot = Spot {
            place: Place::Inside(0),
            depth: 0,
            state: NodeState::Unknown,
            above: None,
        };
        match replay.visit(None, spot, &mut found) {
            Ok(()) => {}
            Err(Stop::Cut) => replay.miss("more futures than are walked in the kernel"),
            Err(Stop::Misfit) => {
                return Suspension::unknown("the kernel's walk does not fit the tables");
            }
        }
        let mut suspension = Suspension {
            futures: Vec::new(),
            missing: replay.missing.map(Arc::from),
        };
        for node in found {
            self.flatten(&tables, node, 0, &mut suspension.futures);
        }
        suspension
    }

    fn flatten(&mut self, tables: &Tables, node: Node, depth: u16, out: &mut Vec<SuspendedFuture>) {
        let meaning = node
            .meaning
            .and_then(|index| tables.meanings.get(index as usize));
        let named = meaning.and_then(|meaning| meaning.future.as_ref());
        let is_body = named.is_some_and(|(_, kind)| is_body(*kind));
        let kind = match named {
            None => NodeKind::Unknown,
            Some(_) if node.unknown.is_some() => NodeKind::Unknown,
            Some(_) if node.children.is_empty() && !is_body => NodeKind::Leaf,
            Some((_, kind)) => *kind,
        };
        let location = meaning.and_then(|meaning| meaning.location.as_ref());
        let state = FutureState {
            future: named.map_or_else(|| "?".into(), |(path, _)| Arc::clone(path)),
            kind,
            state: node.state,
            file: location.map(|location| Arc::clone(&location.file)),
            line: location.map(|location| location.line),
            waits_for: node.waits_for.map(Arc::from),
        };
        let state = match self.states.get(&state) {
            Some(known) => Arc::clone(known),
            None => {
                let known = Arc::new(state.clone());
                self.states.insert(state, Arc::clone(&known));
                known
            }
        };
        out.push(SuspendedFuture {
            depth,
            place: node.place,
            mark: node.mark,
            state,
        });
        for child in node.children {
            self.flatten(tables, child, depth.saturating_add(1), out);
        }
    }
}

impl Replay<'_> {
    fn next(&mut self) -> Result<u32, Stop> {
        let (first, rest) = self.words.split_first().ok_or(Stop::Misfit)?;
        self.words = rest;
        if *first == WORD_CUT {
            return Err(Stop::Cut);
        }
        Ok(*first)
    }

    /// A number, which may look like a marker.
    fn raw(&mut self) -> Result<u32, Stop> {
        let (first, rest) = self.words.split_first().ok_or(Stop::Cut)?;
        self.words = rest;
        Ok(*first)
    }

    fn miss(&mut self, reason: &'static str) {
        self.missing.get_or_insert(reason);
    }

    /// A value of the node `expected`, or of any where the words tell which.
    fn visit(
        &mut self,
        expected: Option<u32>,
        spot: Spot<'_>,
        out: &mut Vec<Node>,
    ) -> Result<(), Stop> {
        if spot.depth > MAX_DEPTH {
            return Err(Stop::Misfit);
        }
        let word = self.next()?;
        if word >= FIRST_MARKER {
            let reason = match word {
                WORD_UNREADABLE => "its memory is not readable",
                WORD_UNKNOWN_STATE => "its state has none of the values that it may have",
                _ => return Err(Stop::Misfit),
            };
            self.unknown(expected, spot, reason, out);
            return Ok(());
        }
        let tables = self.tables;
        let meaning = tables.meanings.get(word as usize).ok_or(Stop::Misfit)?;
        let entry = tables.states.get(word as usize).ok_or(Stop::Misfit)?;
        if expected.is_some_and(|node| node != meaning.node) {
            return Err(Stop::Misfit);
        }
        let mut mark = None;
        if entry.mark_bytes[0] != 0 {
            mark = Some(self.marks).filter(|mark| usize::from(*mark) < MARKS);
            self.marks = self.marks.saturating_add(1);
        }
        let edges = entry.edges..entry.edges.saturating_add(entry.count);
        let Some((_, kind)) = &meaning.future else {
            if let Some(reason) = meaning.unknown {
                self.miss(reason);
            }
            for edge in edges {
                self.follow(edge, spot, out)?;
            }
            return Ok(());
        };
        let state = match meaning.state {
            NodeState::Unknown => spot.state,
            own => own,
        };
        let above = Above {
            path: &meaning.base_path,
            next: spot.above,
        };
        let below = Spot {
            depth: spot.depth + 1,
            // What an async body awaits has been polled by it at least once.
            state: if is_body(*kind) {
                NodeState::Suspended
            } else {
                state
            },
            above: Some(&above),
            ..spot
        };
        let mut children = Vec::new();
        let mut result = Ok(());
        for edge in edges {
            result = self.follow(edge, below, &mut children);
            if result.is_err() {
                break;
            }
        }
        self.leave_out_idle_streams(&mut children);
        if let Some(reason) = meaning.unknown {
            self.miss(reason);
        }
        let waits_for = if children.is_empty() && !is_body(*kind) && result.is_ok() {
            self.conventions
                .waits_for(&meaning.base_path, &mut Chain(spot.above))
        } else {
            None
        };
        out.push(Node {
            meaning: Some(word),
            place: spot.place,
            mark,
            state,
            waits_for,
            unknown: meaning.unknown,
            children,
        });
        result
    }

    fn follow(&mut self, edge: u32, spot: Spot<'_>, out: &mut Vec<Node>) -> Result<(), Stop> {
        let edge = *self.tables.edges.get(edge as usize).ok_or(Stop::Misfit)?;
        let at = plus(spot.place, edge.offset.into());
        let here = Spot { place: at, ..spot };
        match EdgeKind::from_u32(edge.kind).ok_or(Stop::Misfit)? {
            EdgeKind::Inline => self.visit(Some(edge.node), here, out),
            EdgeKind::Array => {
                self.elements(edge.node, edge.a.min(MAX_ELEMENTS), edge.b, here, out)?;
                if edge.a > MAX_ELEMENTS {
                    self.miss("more elements in a row than are walked");
                }
                Ok(())
            }
            EdgeKind::Pointer | EdgeKind::Dyn => {
                let expected = (edge.node != NO_STATE).then_some(edge.node);
                match self.arrival(expected, here, out)? {
                    Some(place) => self.visit(
                        expected,
                        Spot {
                            place,
                            depth: spot.depth + 1,
                            ..spot
                        },
                        out,
                    ),
                    None => Ok(()),
                }
            }
            EdgeKind::Sequence => {
                match self.next()? {
                    WORD_NULL => return Ok(()),
                    WORD_UNREADABLE => {
                        self.unknown(Some(edge.node), here, "its memory is not readable", out);
                        return Ok(());
                    }
                    WORD_COUNT => {}
                    _ => return Err(Stop::Misfit),
                }
                let count = self.raw()?;
                if count == 0 {
                    return Ok(());
                }
                if count > MAX_ELEMENTS {
                    self.miss("more elements in a row than are walked");
                }
                match self.arrival(Some(edge.node), here, out)? {
                    Some(place) => self.elements(
                        edge.node,
                        count.min(MAX_ELEMENTS),
                        edge.b,
                        Spot { place, ..spot },
                        out,
                    ),
                    None => Ok(()),
                }
            }
            EdgeKind::List => self.list(edge.node, here, out),
        }
    }

    fn list(&mut self, node: u32, spot: Spot<'_>, out: &mut Vec<Node>) -> Result<(), Stop> {
        for _ in 0..=MAX_ELEMENTS {
            match self.words.first().copied() {
                Some(WORD_NULL | WORD_END) => {
                    self.raw()?;
                    return Ok(());
                }
                Some(WORD_COUNT) => {
                    self.raw()?;
                    self.miss("more futures in a set than are walked");
                    return Ok(());
                }
                _ => {}
            }
            match self.arrival(Some(node), spot, out)? {
                Some(place) => self.visit(Some(node), Spot { place, ..spot }, out)?,
                None => return Ok(()),
            }
        }
        Err(Stop::Misfit)
    }

    fn elements(
        &mut self,
        node: u32,
        count: u32,
        stride: u32,
        spot: Spot<'_>,
        out: &mut Vec<Node>,
    ) -> Result<(), Stop> {
        for index in 0..count {
            let place = plus(spot.place, u64::from(index) * u64::from(stride));
            self.visit(Some(node), Spot { place, ..spot }, out)?;
        }
        Ok(())
    }

    /// Where a pointer leads; `None` when that is nowhere, or not known.
    fn arrival(
        &mut self,
        expected: Option<u32>,
        spot: Spot<'_>,
        out: &mut Vec<Node>,
    ) -> Result<Option<Place>, Stop> {
        Ok(match self.next()? {
            WORD_NULL => None,
            WORD_INSIDE => Some(Place::Inside(self.raw()?.into())),
            WORD_OUTSIDE => {
                let (low, high) = (self.raw()?, self.raw()?);
                Some(Place::Outside(Address(
                    u64::from(low) | u64::from(high) << 32,
                )))
            }
            WORD_UNKNOWN_VTABLE => {
                let reason = "there is no debug information for its vtable";
                self.unknown(expected, spot, reason, out);
                None
            }
            WORD_UNREADABLE => {
                self.unknown(expected, spot, "its memory is not readable", out);
                None
            }
            _ => return Err(Stop::Misfit),
        })
    }

    fn unknown(
        &mut self,
        expected: Option<u32>,
        spot: Spot<'_>,
        reason: &'static str,
        out: &mut Vec<Node>,
    ) {
        self.miss(reason);
        let meaning = expected.and_then(|node| {
            let state = self.tables.nodes.get(node as usize)?.selector.states;
            self.tables.meanings.get(state as usize)?.future.as_ref()?;
            Some(state)
        });
        out.push(Node {
            meaning,
            place: spot.place,
            mark: None,
            state: NodeState::Unknown,
            waits_for: None,
            unknown: Some(reason),
            children: Vec::new(),
        });
    }

    /// As the walk over memory has it: a source in which nothing waits is no branch of the tree.
    fn leave_out_idle_streams(&self, children: &mut Vec<Node>) {
        if children.iter().all(|child| self.is_idle_stream(child)) {
            return;
        }
        children.retain(|child| !self.is_idle_stream(child));
    }

    fn is_idle_stream(&self, node: &Node) -> bool {
        node.waits_for.is_none()
            && node.unknown.is_none()
            && node
                .meaning
                .and_then(|index| self.tables.meanings.get(index as usize))
                .is_some_and(|meaning: &Meaning| meaning.stream)
            && node.children.iter().all(|child| self.is_idle_stream(child))
    }
}

struct Chain<'p>(Option<&'p Above<'p>>);

impl<'p> Iterator for Chain<'p> {
    type Item = &'p str;

    fn next(&mut self) -> Option<&'p str> {
        let above = self.0?;
        self.0 = above.next;
        Some(above.path)
    }
}

fn plus(place: Place, offset: u64) -> Place {
    match place {
        Place::Inside(at) => Place::Inside(at.wrapping_add(offset)),
        Place::Outside(address) => Place::Outside(address.add(offset)),
    }
}

const fn is_body(kind: NodeKind) -> bool {
    matches!(kind, NodeKind::AsyncFn | NodeKind::AsyncBlock)
}
