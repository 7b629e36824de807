//! The rows of a history in the order that is promised: polls by begin, wake-ups by time, awaits
//! with parents before children. Events come almost so; a poll whose begin was lost, and a future
//! that moved under a younger parent, do not.

use super::{AwaitIndex, Doer, History, PollCause, PollIndex, UnitKind, WakeIndex};

/// Where each row goes.
struct Places {
    polls: Vec<u32>,
    awaits: Vec<u32>,
    wakes: Vec<u32>,
}

pub(super) fn settle(history: &mut History) {
    let places = Places {
        polls: by_key(history.polls.len(), |at| history.polls[at].begin),
        awaits: parents_first(history),
        wakes: by_key(history.wakes.len(), |at| history.wakes[at].time),
    };
    if !places.is_identity() {
        places.renumber(history);
        place(&mut history.polls, &places.polls);
        place(&mut history.last_inside, &places.polls);
        place(&mut history.awaits, &places.awaits);
        place(&mut history.wakers.awaits, &places.awaits);
        place(&mut history.wakes, &places.wakes);
    }
    history.panics.sort_by_key(|panic| panic.time);
    history.off_cpu.sort_by_key(|off| (off.poll, off.from));
    let awaits = &history.awaits;
    let polls = &history.polls;
    for unit in &mut history.units {
        unit.polls
            .sort_by_key(|poll| (polls[poll.0 as usize].begin, poll.0));
        unit.awaits
            .sort_by_key(|row| (awaits[row.0 as usize].start, row.0));
        unit.woken.sort_unstable();
    }
}

/// New places of rows that are sorted by a key, in order of their old places otherwise.
fn by_key(count: usize, key: impl Fn(usize) -> u64) -> Vec<u32> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&at| key(at));
    inverse(&order)
}

/// New places of awaits such that each follows its parent, and otherwise in the old order.
fn parents_first(history: &History) -> Vec<u32> {
    let awaits = &history.awaits;
    let mut placed = vec![false; awaits.len()];
    let mut order = Vec::with_capacity(awaits.len());
    let mut way = Vec::new();
    for at in 0..awaits.len() {
        let mut next = Some(at);
        while let Some(here) = next
            && !placed[here]
        {
            placed[here] = true;
            way.push(here);
            next = awaits[here].parent.map(|parent| parent.0 as usize);
        }
        order.extend(way.drain(..).rev());
    }
    inverse(&order)
}

/// `order` says what stands at each place; this says for each where it stands.
fn inverse(order: &[usize]) -> Vec<u32> {
    let mut places = vec![0; order.len()];
    for (place, &at) in order.iter().enumerate() {
        // There are fewer than 2^32 rows, or they would have no index.
        places[at] = u32::try_from(place).unwrap_or(u32::MAX);
    }
    places
}

/// Puts each row where it goes.
fn place<T>(rows: &mut Vec<T>, places: &[u32]) {
    if places.is_sorted() {
        return;
    }
    let mut placed: Vec<(u32, T)> = places.iter().copied().zip(rows.drain(..)).collect();
    placed.sort_unstable_by_key(|(place, _)| *place);
    rows.extend(placed.into_iter().map(|(_, row)| row));
}

impl Places {
    fn is_identity(&self) -> bool {
        [&self.polls, &self.awaits, &self.wakes]
            .into_iter()
            .all(|places| places.is_sorted())
    }

    fn poll(&self, poll: &mut PollIndex) {
        poll.0 = self.polls[poll.0 as usize];
    }

    fn row(&self, row: &mut AwaitIndex) {
        row.0 = self.awaits[row.0 as usize];
    }

    fn wake(&self, wake: &mut WakeIndex) {
        wake.0 = self.wakes[wake.0 as usize];
    }

    fn doer(&self, doer: &mut Doer) {
        doer.poll.iter_mut().for_each(|poll| self.poll(poll));
        doer.within.iter_mut().for_each(|row| self.row(row));
    }

    fn renumber(&self, history: &mut History) {
        for poll in &mut history.polls {
            if let Some(PollCause::Wake(wake)) = &mut poll.cause {
                self.wake(wake);
            }
            poll.waited_in.iter_mut().for_each(|row| self.row(row));
        }
        for panic in &mut history.panics {
            panic.poll.iter_mut().for_each(|poll| self.poll(poll));
        }
        for off in &mut history.off_cpu {
            self.poll(&mut off.poll);
        }
        for row in &mut history.awaits {
            row.parent.iter_mut().for_each(|parent| self.row(parent));
            row.former_parents
                .iter_mut()
                .for_each(|parent| self.row(parent));
        }
        for wake in &mut history.wakes {
            self.doer(&mut wake.by);
            wake.poll.iter_mut().for_each(|poll| self.poll(poll));
        }
        for unit in &mut history.units {
            unit.polls.iter_mut().for_each(|poll| self.poll(poll));
            unit.awaits.iter_mut().for_each(|row| self.row(row));
            unit.woken.iter_mut().for_each(|wake| self.wake(wake));
            if let UnitKind::Task(task) = &mut unit.kind {
                if let Some(spawned) = &mut task.spawned {
                    self.doer(&mut spawned.by);
                }
                if let Some(by) = task.end.as_mut().and_then(|end| end.aborted.as_mut()) {
                    self.doer(by);
                }
            }
        }
    }
}
