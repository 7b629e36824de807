//! The tables of futures and suspensions: where tasks stand is written once and referred to by
//! number.
//!
//! What goes into the tables depends on the program's code and not on its data, so that it does not
//! grow with the load: addresses and marks stand with the events (see [`super::awaits`]).

use foldhash::{HashMap, HashMapExt as _};
use std::sync::Arc;

use prost::Message as _;

use super::kinds::{node_kind, node_kind_number, node_state, node_state_number};
use super::strings::{Interner as StringInterner, Strings};
use crate::address::Address;
use crate::proto;
use crate::rebuild::suspension::{FutureState, Place, SuspendedFuture, Suspension};

/// Futures of one suspension at most; more are left out, and the suspension says so.
pub(super) const MAX_FUTURES: usize = 1024;

const MAX_STATES: usize = 200_000;
const MAX_SUSPENSIONS: usize = 200_000;
/// Futures of all suspensions in the table: some 40 MB.
const MAX_TABLED: usize = 1_000_000;

const TOO_MANY: &str = "it has more futures than a recording keeps";

/// Finds again what is shared without looking into it. Holds what it knows, so that an address is
/// not another's later; forgets everything now and then.
#[derive(Debug)]
struct ByPointer<T>(HashMap<usize, (Arc<T>, u32)>);

impl<T> Default for ByPointer<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> ByPointer<T> {
    const MOST: usize = 32_768;

    fn get(&self, of: &Arc<T>) -> Option<u32> {
        self.0.get(&Arc::as_ptr(of).addr()).map(|(_, id)| *id)
    }

    fn insert(&mut self, of: &Arc<T>, id: u32) {
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        self.0.insert(Arc::as_ptr(of).addr(), (Arc::clone(of), id));
    }
}

/// The writer's side.
#[derive(Debug, Default)]
pub(super) struct Interner {
    states: HashMap<Arc<FutureState>, u32>,
    suspensions: HashMap<proto::Suspension, u32>,
    seen_states: ByPointer<FutureState>,
    seen: ByPointer<Suspension>,
    tabled: usize,
    pub(super) fresh_states: Vec<proto::FutureState>,
    pub(super) fresh_suspensions: Vec<proto::Suspension>,
    pub(super) fresh_bytes: usize,
}

impl Interner {
    /// The id of a suspension, without its addresses.
    pub(super) fn id(&mut self, of: &Arc<Suspension>, strings: &mut StringInterner) -> u32 {
        if let Some(id) = self.seen.get(of) {
            return id;
        }
        let message = self.message(of, strings);
        let next = next_id(self.suspensions.len());
        let id = *self.suspensions.entry(message).or_insert_with_key(|new| {
            self.tabled += new.depths.len();
            self.fresh_bytes += new.encoded_len() + 8;
            self.fresh_suspensions.push(new.clone());
            next
        });
        self.seen.insert(of, id);
        id
    }

    fn message(&mut self, of: &Suspension, strings: &mut StringInterner) -> proto::Suspension {
        let mut message = proto::Suspension::default();
        let mut deepest = 0;
        for future in of.futures.iter().take(MAX_FUTURES) {
            // A preorder has no leaps; what is none is not written as one.
            let depth = u32::from(future.depth).min(deepest);
            deepest = depth + 1;
            message.depths.push(depth);
            message.states.push(self.state(&future.state, strings));
            message.places.push(match future.place {
                Place::Inside(offset) => offset.saturating_add(1),
                Place::Outside(_) => 0,
            });
            message
                .marks
                .push(future.mark.map_or(0, |mark| u32::from(mark) + 1));
        }
        let left_out = of.futures.len() > MAX_FUTURES;
        message.missing = match &of.missing {
            Some(missing) => strings.id(Some(missing)),
            None if left_out => strings.id_of(TOO_MANY),
            None => 0,
        };
        message
    }

    fn state(&mut self, of: &Arc<FutureState>, strings: &mut StringInterner) -> u32 {
        if let Some(id) = self.seen_states.get(of) {
            return id;
        }
        let next = next_id(self.states.len());
        let id = *self.states.entry(Arc::clone(of)).or_insert_with(|| {
            let new = proto::FutureState {
                future: strings.id(Some(&of.future)),
                file: strings.id(of.file.as_ref()),
                line: of.line.unwrap_or(0),
                kind: node_kind_number(of.kind),
                state: node_state_number(of.state),
                waits_for: strings.id(of.waits_for.as_ref()),
            };
            self.fresh_bytes += new.encoded_len() + 8;
            self.fresh_states.push(new);
            next
        });
        self.seen_states.insert(of, id);
        id
    }

    /// Whether the tables have come near their limits.
    pub(super) fn is_full(&self) -> bool {
        self.states.len() > MAX_STATES / 2
            || self.suspensions.len() > MAX_SUSPENSIONS / 2
            || self.tabled > MAX_TABLED / 2
    }

    /// Whether they are beyond their limits: a reader would refuse them.
    pub(super) fn is_over(&self) -> bool {
        self.states.len() > MAX_STATES
            || self.suspensions.len() > MAX_SUSPENSIONS
            || self.tabled > MAX_TABLED
    }
}

fn next_id(entries: usize) -> u32 {
    u32::try_from(entries + 1).unwrap_or(u32::MAX)
}

/// Addresses of the futures that lie outside, as far as they are written.
pub(super) fn addresses(of: &Suspension) -> impl Iterator<Item = u64> + '_ {
    of.futures
        .iter()
        .take(MAX_FUTURES)
        .filter_map(|future| match future.place {
            Place::Inside(_) => None,
            Place::Outside(address) => Some(address.0),
        })
}

/// A suspension of the table.
#[derive(Debug)]
pub(super) struct Shape {
    /// Those outside are at address 0.
    suspension: Arc<Suspension>,
    /// How many lie outside.
    pub(super) outside: usize,
}

impl Shape {
    /// How many futures it has.
    pub(super) fn len(&self) -> usize {
        self.suspension.futures.len()
    }

    /// The suspension with these addresses of the futures outside.
    pub(super) fn at(&self, addresses: &[u64]) -> Arc<Suspension> {
        if self.outside == 0 {
            return Arc::clone(&self.suspension);
        }
        let mut addresses = addresses.iter();
        let mut suspension = Suspension::clone(&self.suspension);
        for future in &mut suspension.futures {
            if matches!(future.place, Place::Outside(_)) {
                future.place = Place::Outside(Address(addresses.next().copied().unwrap_or(0)));
            }
        }
        Arc::new(suspension)
    }
}

/// The reader's side.
#[derive(Debug, Default)]
pub(super) struct Suspensions {
    states: Vec<Arc<FutureState>>,
    table: Vec<Shape>,
    tabled: usize,
}

impl Suspensions {
    /// Takes over a packet's entries.
    pub(super) fn extend(
        &mut self,
        states: Vec<proto::FutureState>,
        suspensions: Vec<proto::Suspension>,
        strings: &Strings,
    ) -> Result<(), &'static str> {
        if self.states.len() + states.len() > MAX_STATES {
            return Err("there are more states of futures than there may be");
        }
        if self.table.len() + suspensions.len() > MAX_SUSPENSIONS {
            return Err("there are more suspensions than there may be");
        }
        for state in states {
            self.states.push(Arc::new(FutureState {
                future: strings.text(state.future)?,
                kind: node_kind(state.kind),
                state: node_state(state.state),
                file: strings.get(state.file.into())?,
                line: (state.line > 0).then_some(state.line),
                waits_for: strings.get(state.waits_for.into())?,
            }));
        }
        for suspension in suspensions {
            self.tabled += suspension.depths.len();
            if suspension.depths.len() > MAX_FUTURES || self.tabled > MAX_TABLED {
                return Err("suspensions have more futures than there may be");
            }
            let shape = self.shape(&suspension, strings)?;
            self.table.push(shape);
        }
        Ok(())
    }

    fn shape(&self, from: &proto::Suspension, strings: &Strings) -> Result<Shape, &'static str> {
        let count = from.depths.len();
        if from.states.len() != count || from.places.len() != count || from.marks.len() != count {
            return Err("a suspension's columns differ in length");
        }
        let mut futures = Vec::with_capacity(count);
        let mut deepest = 0;
        let columns = from.depths.iter().zip(&from.states);
        for ((depth, state), (place, mark)) in columns.zip(from.places.iter().zip(&from.marks)) {
            if *depth > deepest {
                return Err("a suspension is not a tree");
            }
            deepest = *depth + 1;
            futures.push(SuspendedFuture {
                depth: u16::try_from(*depth).map_err(|_| "a suspension is nested too deep")?,
                place: match place.checked_sub(1) {
                    Some(offset) => Place::Inside(offset),
                    None => Place::Outside(Address(0)),
                },
                mark: mark
                    .checked_sub(1)
                    .map(u8::try_from)
                    .transpose()
                    .map_err(|_| "a future's mark is out of range")?,
                state: self
                    .states
                    .get((*state as usize).wrapping_sub(1))
                    .map(Arc::clone)
                    .ok_or("a state of a future is referred to that is not there")?,
            });
        }
        let missing = strings.get(from.missing.into())?;
        Ok(Shape {
            outside: from.places.iter().filter(|place| **place == 0).count(),
            suspension: Arc::new(Suspension { futures, missing }),
        })
    }

    /// The suspension with this id.
    pub(super) fn get(&self, id: u32) -> Result<&Shape, &'static str> {
        self.table
            .get((id as usize).wrapping_sub(1))
            .ok_or("a suspension is referred to that is not there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rebuild::tree::{NodeKind, NodeState};

    fn suspension(futures: usize, address: u64) -> Arc<Suspension> {
        let state = |line| {
            Arc::new(FutureState {
                future: "app::serve".into(),
                kind: NodeKind::AsyncFn,
                state: NodeState::Suspended,
                file: Some("src/main.rs".into()),
                line: Some(line),
                waits_for: None,
            })
        };
        Arc::new(Suspension {
            futures: (0..futures)
                .map(|at| SuspendedFuture {
                    depth: u16::from(at > 0),
                    place: match at {
                        0 => Place::Inside(0),
                        _ => Place::Outside(Address(address)),
                    },
                    mark: None,
                    state: state(at as u32 % 3 + 1),
                })
                .collect(),
            missing: None,
        })
    }

    #[test]
    fn what_lies_on_the_heap_elsewhere_is_the_same_suspension() {
        let (mut interner, mut strings) = (Interner::default(), StringInterner::default());
        let first = suspension(4, 0x1000);
        assert_eq!(interner.id(&first, &mut strings), 1);
        assert_eq!(interner.id(&suspension(4, 0x2000), &mut strings), 1);
        assert_eq!(interner.id(&suspension(3, 0x1000), &mut strings), 2);
        assert_eq!(interner.id(&first, &mut strings), 1);
        assert_eq!(interner.fresh_states.len(), 3);
        assert_eq!(interner.fresh_suspensions.len(), 2);
    }

    #[test]
    fn one_that_is_too_large_says_so() {
        let (mut interner, mut strings) = (Interner::default(), StringInterner::default());
        let large = suspension(MAX_FUTURES + 1, 7);
        interner.id(&large, &mut strings);
        assert_eq!(addresses(&large).count(), MAX_FUTURES - 1);
        let mut table = Strings::default();
        table.extend(strings.take()).unwrap();
        let mut suspensions = Suspensions::default();
        suspensions
            .extend(interner.fresh_states, interner.fresh_suspensions, &table)
            .unwrap();
        let shape = suspensions.get(1).unwrap();
        let read = shape.at(&addresses(&large).collect::<Vec<_>>());
        assert_eq!(read.futures, large.futures[..MAX_FUTURES]);
        assert_eq!(read.missing.as_deref(), Some(TOO_MANY));
    }

    #[test]
    fn a_table_that_is_full_says_so_long_before_a_reader_refuses() {
        let (mut interner, mut strings) = (Interner::default(), StringInterner::default());
        let mut table = Suspensions::default();
        let mut known = Strings::default();
        let mut at = 0;
        while !interner.is_full() {
            at += 1;
            let mut new = Suspension::clone(&suspension(1_000, at));
            new.futures[0].place = Place::Inside(at);
            interner.id(&Arc::new(new), &mut strings);
        }
        assert!((400..600).contains(&at), "{at}");
        known.extend(strings.take()).unwrap();
        let (states, suspensions) = (interner.fresh_states, interner.fresh_suspensions);
        table.extend(states, suspensions.clone(), &known).unwrap();
        let error = table.extend(
            Vec::new(),
            [suspensions.clone(), suspensions].concat(),
            &known,
        );
        assert!(error.is_err());
    }
}
