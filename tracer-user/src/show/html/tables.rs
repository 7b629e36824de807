//! From a history and what was chosen of it to the tables of the page.

use super::Page;
use super::code::{self, LEFT_OUT, NONE, SPAWN, WORDS};
use super::columns::{
    AwaitColumns, Data, PieceColumns, PollColumns, RequestColumns, Totals, UnitColumns, WakeColumns,
};
use super::common::common;
use super::profile::{self, Places, nanoseconds};
use super::select::{Graph, Selection, select};
use super::strings::Strings;
use crate::analyse::critical_path::{Piece, PieceKind};
use crate::analyse::history::{Doer, History, Poll, PollCause, TaskHistory, UnitHistory, UnitKind};
use crate::analyse::requests::Request;
use crate::rebuild::event::Origin;

/// Old indexes of what is kept, new numbers of old indexes.
type Numbers = (Vec<u32>, Vec<u32>);

struct Maker<'a> {
    history: &'a History,
    strings: Strings,
    places: Places,
    units: Numbers,
    awaits: Numbers,
    polls: Numbers,
    wakes: Numbers,
}

impl Data {
    /// The data of a page.
    pub(super) fn of(page: &Page<'_>) -> Self {
        let history = page.history;
        let mut selection = select(history, page.nesting, page.requests, page.limits);
        let mut maker = Maker {
            history,
            strings: Strings::default(),
            places: Places::default(),
            units: selection.units.numbers(),
            awaits: selection.awaits.numbers(),
            polls: selection.polls.numbers(),
            wakes: selection.wakes.numbers(),
        };
        let chosen = std::mem::take(&mut selection.requests);
        let (requests, pieces, paths_left_out) = maker.requests(page, &chosen);
        let profile = profile::profile(history, &mut maker.places);
        let flame = profile::flame(history, &mut maker.places, page.limits.flame);
        let common = common(page.kinds, history.span.start, &mut maker.strings);
        let (units, awaits) = (maker.units(), maker.awaits());
        let (polls, wakes) = (maker.polls(), maker.wakes());
        let places = maker.places.columns(&mut maker.strings);
        Self {
            version: 1,
            head: page.head.shown(),
            span: nanoseconds(history.span.end.saturating_sub(history.span.start)),
            missing: history.missing.clone(),
            totals: Totals {
                requests: page.requests.len(),
                units: history.units.len(),
                awaits: history.awaits.len(),
                polls: history.polls.len(),
                wakes: history.wakes.len(),
                paths: 0,
            },
            left_out: left_out(page, &selection, chosen.len(), paths_left_out),
            words: WORDS,
            strings: maker.strings.into_list(),
            places,
            units,
            awaits,
            polls,
            wakes,
            requests,
            pieces,
            common,
            profile,
            flame,
        }
    }
}

fn left_out(page: &Page<'_>, selection: &Selection, listed: usize, paths: usize) -> Totals {
    Totals {
        requests: page.requests.len() - listed,
        units: selection.units.left_out(),
        awaits: selection.awaits.left_out(),
        polls: selection.polls.left_out(),
        wakes: selection.wakes.left_out(),
        paths,
    }
}

/// Differences between neighbours.
fn differences(values: &mut [i64]) {
    let mut before = 0;
    for value in values {
        (before, *value) = (*value, *value - before);
    }
}

fn renumbered(numbers: &Numbers, index: Option<u32>) -> i64 {
    match index {
        None => NONE,
        Some(index) => match numbers.1.get(index as usize) {
            None | Some(&u32::MAX) => LEFT_OUT,
            Some(new) => i64::from(*new),
        },
    }
}

impl Maker<'_> {
    /// A time of the trace; one before its begin is negative.
    fn time(&self, time: u64) -> i64 {
        let start = self.history.span.start;
        if time >= start {
            nanoseconds(time - start)
        } else {
            -nanoseconds(start - time)
        }
    }

    fn optional_time(&self, time: Option<u64>) -> i64 {
        time.map_or(NONE, |time| self.time(time).max(0))
    }

    fn unit(&self, index: u32) -> i64 {
        renumbered(&self.units, Some(index))
    }

    fn doer(&self, doer: Option<&Doer>) -> (i64, i64) {
        (
            renumbered(&self.units, doer.map(|doer| doer.unit.0)),
            renumbered(
                &self.awaits,
                doer.and_then(|doer| doer.within).map(|at| at.0),
            ),
        )
    }

    fn units(&mut self) -> UnitColumns {
        let mut columns = UnitColumns::default();
        for index in std::mem::take(&mut self.units.0) {
            let Some(unit) = self.history.units.get(index as usize) else {
                continue;
            };
            self.add_unit(unit, &mut columns);
        }
        columns
    }

    fn add_unit(&mut self, unit: &UnitHistory, columns: &mut UnitColumns) {
        let task = match &unit.kind {
            UnitKind::Task(task) => Some(task),
            _ => None,
        };
        columns.kind.push(code::unit(&unit.kind));
        columns.number.push(unit.id.0);
        let name = name_of(&unit.kind);
        columns.name.push(self.strings.number(&name));
        let future = task.and_then(|task| task.future.as_deref());
        columns.future.push(self.strings.optional(future));
        columns.first.push(self.time(unit.first));
        columns.last.push(self.time(unit.last));
        let flag = |test: fn(&TaskHistory) -> bool| i64::from(task.is_some_and(test));
        columns.blocking.push(flag(|task| task.blocking));
        columns.existing.push(flag(|task| task.existing));
        let spawned = task.and_then(|task| task.spawned.as_ref());
        let (by, within) = self.doer(spawned.map(|spawn| &spawn.by));
        columns
            .spawn
            .push(self.optional_time(spawned.map(|spawn| spawn.time)));
        columns.spawn_by.push(by);
        columns.spawn_within.push(within);
        let end = task.and_then(|task| task.end.as_ref());
        columns
            .end
            .push(self.optional_time(end.map(|end| end.time)));
        columns
            .ended
            .push(end.map_or(NONE, |end| code::poll(end.outcome)));
        let aborted = end.and_then(|end| end.aborted.as_ref());
        columns.aborted_by.push(self.doer(aborted).0);
        columns.polls.push(unit.polls.len() as i64);
        columns.awaits.push(unit.awaits.len() as i64);
        columns.woken.push(unit.woken.len() as i64);
        columns.gaps.push(unit.gaps.len() as i64);
        let lengths = unit
            .polls
            .iter()
            .filter_map(|poll| self.history.polls.get(poll.0 as usize)?.length());
        let (sum, longest) = lengths.fold((0_u64, 0), |(sum, longest), length| {
            (sum.saturating_add(length), length.max(longest))
        });
        columns.polled.push(nanoseconds(sum));
        columns.longest_poll.push(nanoseconds(longest));
    }

    fn awaits(&mut self) -> AwaitColumns {
        let mut columns = AwaitColumns::default();
        for index in &self.awaits.0 {
            let Some(instance) = self.history.awaits.get(*index as usize) else {
                continue;
            };
            columns.task.push(self.unit(instance.task.0));
            let parent = instance.parent.map(|parent| parent.0);
            columns.parent.push(renumbered(&self.awaits, parent));
            columns
                .place
                .push(i64::from(self.places.number(&instance.awaited)));
            columns.start.push(self.time(instance.start));
            columns.length.push(length(instance.start, instance.end));
            columns.at_least.push(i64::from(instance.at_least));
            columns.ended.push(code::ended(instance.outcome));
            columns.waiting.push(nanoseconds(instance.waiting));
            columns.polled.push(nanoseconds(instance.polled));
            columns.polls.push(i64::from(instance.polls));
            columns.moved.push(instance.former_parents.len() as i64);
        }
        differences(&mut columns.start);
        columns
    }

    fn polls(&self) -> PollColumns {
        let mut columns = PollColumns::default();
        for index in &self.polls.0 {
            let Some(poll) = self.history.polls.get(*index as usize) else {
                continue;
            };
            columns.task.push(self.unit(poll.task.0));
            let thread = poll.thread.map(|thread| thread.0);
            columns.thread.push(renumbered(&self.units, thread));
            columns.begin.push(self.time(poll.begin));
            columns.length.push(poll.length().map_or(NONE, nanoseconds));
            columns.begin_known.push(i64::from(poll.begin_known));
            columns.exact.push(i64::from(poll.seen.is_exact()));
            columns.outcome.push(code::poll(poll.outcome));
            columns.blocked.push(nanoseconds(poll.blocked));
            columns.preempted.push(nanoseconds(poll.preempted));
            columns.cause.push(self.cause(poll));
            let leaf = match poll.waited_in.as_slice() {
                [leaf] => Some(leaf.0),
                _ => None,
            };
            columns.leaf.push(renumbered(&self.awaits, leaf));
        }
        differences(&mut columns.begin);
        columns
    }

    fn cause(&self, poll: &Poll) -> i64 {
        match poll.cause {
            None => NONE,
            Some(PollCause::Spawn) => SPAWN,
            Some(PollCause::Wake(wake)) => renumbered(&self.wakes, Some(wake.0)),
        }
    }

    fn wakes(&self) -> WakeColumns {
        let mut columns = WakeColumns::default();
        for index in &self.wakes.0 {
            let Some(wake) = self.history.wakes.get(*index as usize) else {
                continue;
            };
            let (by, within) = self.doer(Some(&wake.by));
            columns.time.push(self.time(wake.time));
            columns.task.push(self.unit(wake.task.0));
            columns.by.push(by);
            columns.within.push(within);
            let origin = wake.by.origin.map(|origin| origin.0);
            columns.origin.push(renumbered(&self.units, origin));
            columns.effect.push(code::effect(wake.effect));
            columns
                .poll
                .push(renumbered(&self.polls, wake.poll.map(|poll| poll.0)));
        }
        differences(&mut columns.time);
        columns
    }

    fn requests(
        &mut self,
        page: &Page<'_>,
        chosen: &[(usize, Graph)],
    ) -> (RequestColumns, PieceColumns, usize) {
        let mut columns = RequestColumns::default();
        let mut pieces = PieceColumns::default();
        let mut paths_left_out = 0;
        for (at, graph) in chosen {
            let request = &page.requests[*at];
            self.add_request(request, graph, &mut columns);
            let path = (page.path)(request);
            let (kind, place, most) = self.most(&path);
            columns.most_kind.push(kind);
            columns.most_place.push(place);
            columns.most.push(most);
            columns.pieces_from.push(pieces.from.len() as i64);
            let fits = pieces.from.len() + path.len() <= page.limits.pieces;
            if fits && graph.left_out.is_some() {
                columns.pieces.push(path.len() as i64);
                for piece in &path {
                    self.add_piece(piece, &mut pieces);
                }
            } else {
                columns.pieces.push(LEFT_OUT);
                paths_left_out += 1;
            }
        }
        differences(&mut columns.start);
        differences(&mut pieces.from);
        (columns, pieces, paths_left_out)
    }

    fn add_request(&mut self, request: &Request, graph: &Graph, columns: &mut RequestColumns) {
        columns.id.push(i64::from(request.id));
        columns.what.push(self.strings.number(&request.what));
        columns
            .root
            .push(renumbered(&self.awaits, Some(request.root.0)));
        columns.task.push(self.unit(request.task.0));
        columns.start.push(self.time(request.start));
        columns.length.push(length(request.start, request.end));
        columns.at_least.push(i64::from(request.at_least));
        columns.ended.push(code::ended(request.outcome));
        columns
            .cut
            .push(graph.left_out.map_or(LEFT_OUT, |count| count as i64));
        columns.spawned_from.push(columns.spawned.len() as i64);
        columns.wakers_from.push(columns.wakers.len() as i64);
        let wakers = graph.wakers.iter();
        columns
            .wakers
            .extend(wakers.map(|waker| renumbered(&self.awaits, Some(waker.0))));
        columns
            .spawned
            .extend(graph.spawned.iter().map(|task| self.unit(task.0)));
    }

    fn add_piece(&mut self, piece: &Piece, columns: &mut PieceColumns) {
        columns.from.push(self.time(piece.from));
        columns.length.push(length(piece.from, Some(piece.to)));
        columns.unit.push(self.unit(piece.unit.0));
        columns
            .within
            .push(renumbered(&self.awaits, piece.within.map(|at| at.0)));
        columns.place.push(self.place(piece));
        columns.kind.push(code::piece(piece.kind));
        let (wake, poll) = match piece.kind {
            PieceKind::Polled(poll) | PieceKind::Blocked(poll) | PieceKind::Preempted(poll) => {
                (None, Some(poll.0))
            }
            PieceKind::Scheduled(wake) | PieceKind::Waiting(wake) => (wake.map(|at| at.0), None),
            PieceKind::Unknown => (None, None),
        };
        columns.wake.push(renumbered(&self.wakes, wake));
        columns.poll.push(renumbered(&self.polls, poll));
    }

    fn place(&mut self, piece: &Piece) -> i64 {
        let within = piece
            .within
            .and_then(|at| self.history.awaits.get(at.0 as usize));
        within.map_or(NONE, |instance| {
            i64::from(self.places.number(&instance.awaited))
        })
    }

    /// What a path was most: the kind of time and the place with the greatest sum.
    fn most(&mut self, path: &[Piece]) -> (i64, i64, i64) {
        let mut sums: Vec<((i64, i64), u64)> = path
            .iter()
            .map(|piece| {
                let key = (code::piece(piece.kind), self.place(piece));
                (key, piece.to.saturating_sub(piece.from))
            })
            .collect();
        sums.sort_unstable_by_key(|(key, _)| *key);
        let mut most = ((NONE, NONE), 0);
        for group in sums.chunk_by(|a, b| a.0 == b.0) {
            let sum = group
                .iter()
                .fold(0_u64, |sum, (_, length)| sum.saturating_add(*length));
            if sum > most.1 {
                most = (group[0].0, sum);
            }
        }
        (most.0.0, most.0.1, nanoseconds(most.1))
    }
}

fn length(start: u64, end: Option<u64>) -> i64 {
    end.map_or(NONE, |end| nanoseconds(end.saturating_sub(start)))
}

/// What a unit is called.
fn name_of(kind: &UnitKind) -> String {
    match kind {
        UnitKind::Task(task) => task.name.to_string(),
        UnitKind::Thread { tid, name, .. } => match name {
            Some(name) => format!("{name} ({tid})"),
            None => format!("thread {tid}"),
        },
        UnitKind::Origin(Origin::Io { fd: Some(fd), .. }) => format!("I/O of fd {fd}"),
        UnitKind::Origin(Origin::Io {
            resource: Some(resource),
            ..
        }) => format!("I/O of resource {resource}"),
        UnitKind::Origin(Origin::Io { .. }) => "I/O".to_owned(),
        UnitKind::Origin(Origin::Timer) => "the timer".to_owned(),
        UnitKind::Origin(Origin::Signal) => "a signal".to_owned(),
        UnitKind::Unknown => "unknown".to_owned(),
    }
}
