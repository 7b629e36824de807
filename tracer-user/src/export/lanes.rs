//! Intervals that overlap, put on lanes on which they nest.
//!
//! A viewer draws a lane as boxes within boxes, so an interval may only stand inside another or
//! beside it. What does not fit gets a lane of its own below the lane of what it belongs to: one
//! lane for each concurrent branch, used again once it is free. n log n.
//!
//! In: intervals in order of their start. Out: begins and ends of each lane in the order in which
//! a reader has to see them, which for equal times no sorting could find again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Number of a lane, from 0, which is the one to begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Lane(pub(super) u32);

/// Where an interval wants to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// Directly inside the interval of this key, or beside its lane.
    Of(u32),
    /// On lane 0, inside whatever is there, or beside it.
    Anything,
    /// On a lane of its own, beside lane 0.
    Nothing,
}

/// What happens to a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A lane is new; it belongs below the other.
    Lane {
        /// The new one.
        lane: Lane,
        /// The one above.
        above: Lane,
    },
    /// The interval begins.
    Begin(Lane, u32),
    /// The interval that began last on the lane and has not ended ends.
    End {
        /// The lane.
        lane: Lane,
        /// When.
        time: u64,
    },
}

/// Lanes that are being filled.
#[derive(Debug)]
pub(super) struct Lanes {
    /// What goes on in each lane, the outermost first: key and end.
    going_on: Vec<Vec<(u32, u64)>>,
    /// For each lane the lanes below it, with the time from which on each is free.
    below: Vec<BinaryHeap<Reverse<(u64, Lane)>>>,
    placed: HashMap<u32, Lane>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            going_on: vec![Vec::new()],
            below: vec![BinaryHeap::new()],
            placed: HashMap::new(),
        }
    }
}

impl Lanes {
    /// Puts an interval somewhere. `key` names it, and no other; starts never decrease from call to
    /// call; `end` is not before `start`.
    pub(super) fn place(
        &mut self,
        key: u32,
        (start, end): (u64, u64),
        inside: Inside,
        step: &mut impl FnMut(Step),
    ) {
        let above = match inside {
            Inside::Of(parent) => self.placed.get(&parent).copied().unwrap_or_default(),
            Inside::Anything | Inside::Nothing => Lane(0),
        };
        let parent = match inside {
            Inside::Of(parent) => Some(parent),
            Inside::Anything | Inside::Nothing => None,
        };
        let fits = if inside == Inside::Nothing {
            false
        } else {
            self.end_until(above, start, parent, step);
            match self.going_on[above.0 as usize].last() {
                Some(&(top, until)) => {
                    (parent == Some(top) || inside == Inside::Anything) && until >= end
                }
                None => inside == Inside::Anything,
            }
        };
        let lane = if fits {
            above
        } else {
            self.branch(above, start, end, step)
        };
        self.going_on[lane.0 as usize].push((key, end));
        self.placed.insert(key, lane);
        step(Step::Begin(lane, key));
    }

    /// The lane for a moment at `time`: that of the interval it happened in, if that goes on,
    /// otherwise lane 0.
    pub(super) fn at(
        &mut self,
        time: u64,
        inside: Option<u32>,
        step: &mut impl FnMut(Step),
    ) -> Lane {
        let lane = inside.and_then(|key| self.placed.get(&key).copied());
        let lane = lane.unwrap_or_default();
        self.end_until(lane, time, inside, step);
        lane
    }

    /// Ends everything.
    pub(super) fn finish(mut self, step: &mut impl FnMut(Step)) {
        for (number, lane) in self.going_on.iter_mut().enumerate() {
            while let Some((_, time)) = lane.pop() {
                step(Step::End {
                    lane: Lane(u32::try_from(number).unwrap_or(u32::MAX)),
                    time,
                });
            }
        }
    }

    /// Ends what has ended on a lane by `time`; `keep` may have ended at that very time and is
    /// still wanted.
    fn end_until(&mut self, lane: Lane, time: u64, keep: Option<u32>, step: &mut impl FnMut(Step)) {
        let going_on = &mut self.going_on[lane.0 as usize];
        while let Some(&(key, end)) = going_on.last() {
            if end > time || (end == time && keep == Some(key)) {
                break;
            }
            going_on.pop();
            step(Step::End { lane, time: end });
        }
    }

    /// A lane below `above` that is free from `start` on.
    fn branch(&mut self, above: Lane, start: u64, end: u64, step: &mut impl FnMut(Step)) -> Lane {
        let below = &mut self.below[above.0 as usize];
        let free = below
            .peek()
            .filter(|Reverse((until, _))| *until <= start)
            .map(|Reverse((_, lane))| *lane);
        let lane = if let Some(lane) = free {
            below.pop();
            lane
        } else {
            Lane(u32::try_from(self.going_on.len()).unwrap_or(u32::MAX))
        };
        below.push(Reverse((end, lane)));
        if free.is_none() {
            self.going_on.push(Vec::new());
            self.below.push(BinaryHeap::new());
            step(Step::Lane { lane, above });
        }
        // Everything on it stands inside what was placed on it first, which has ended.
        self.end_until(lane, start, None, step);
        lane
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Steps as text: `+0:3` begins 3 on lane 0, `-0@5` ends there at 5, `/1<0` is a new lane.
    fn steps(intervals: &[(u64, u64, Inside)]) -> Vec<String> {
        let mut lanes = Lanes::default();
        let mut steps = Vec::new();
        let mut step = |step: Step| {
            steps.push(match step {
                Step::Lane { lane, above } => format!("/{}<{}", lane.0, above.0),
                Step::Begin(lane, key) => format!("+{}:{key}", lane.0),
                Step::End { lane, time } => format!("-{}@{time}", lane.0),
            });
        };
        for (key, &(start, end, inside)) in (0..).zip(intervals) {
            lanes.place(key, (start, end), inside, &mut step);
        }
        lanes.finish(&mut step);
        steps
    }

    #[test]
    fn one_after_the_other_shares_a_lane() {
        use Inside::{Anything, Of};
        assert_eq!(
            steps(&[(0, 10, Anything), (1, 4, Of(0)), (4, 9, Of(0))]),
            ["+0:0", "+0:1", "-0@4", "+0:2", "-0@9", "-0@10"]
        );
    }

    #[test]
    fn concurrent_branches_get_lanes_that_are_used_again() {
        use Inside::{Anything, Of};
        let all = [
            (0, 20, Anything),
            (1, 9, Of(0)),
            (1, 5, Of(0)),
            (2, 4, Of(2)),
            (6, 7, Of(0)),
        ];
        assert_eq!(
            steps(&all),
            [
                "+0:0", "+0:1", "/1<0", "+1:2", "+1:3", "-1@4", "-1@5", "+1:4", "-0@9", "-0@20",
                "-1@7"
            ]
        );
    }

    #[test]
    fn what_takes_no_time_still_nests() {
        use Inside::{Anything, Of};
        assert_eq!(
            steps(&[(3, 3, Anything), (3, 3, Of(0)), (3, 3, Of(1))]),
            ["+0:0", "+0:1", "+0:2", "-0@3", "-0@3", "-0@3"]
        );
    }

    proptest! {
        /// Whatever is put in: on each lane ends match begins like brackets, times never decrease,
        /// and each interval keeps its own begin and end.
        #[test]
        fn lanes_nest(raw in prop::collection::vec((0..40_u64, 0..20_u64, 0..40_u32, 0..4_u8), 0..60)) {
            let mut intervals: Vec<_> = raw
                .into_iter()
                .map(|(start, length, parent, kind)| {
                    let inside = match kind {
                        0 => Inside::Anything,
                        1 => Inside::Nothing,
                        _ => Inside::Of(parent),
                    };
                    (start, start + length, inside)
                })
                .collect();
            intervals.sort_by_key(|interval| interval.0);
            let mut open: HashMap<Lane, Vec<(u32, u64)>> = HashMap::new();
            let mut last: HashMap<Lane, u64> = HashMap::new();
            let mut known = vec![Lane(0)];
            let mut begun = 0;
            let mut step = |step: Step| match step {
                Step::Lane { lane, above } => {
                    assert!(known.contains(&above) && !known.contains(&lane));
                    known.push(lane);
                }
                Step::Begin(lane, key) => {
                    assert!(known.contains(&lane));
                    let (start, end, _) = intervals[key as usize];
                    assert!(last.insert(lane, start).unwrap_or(0) <= start);
                    let stack = open.entry(lane).or_default();
                    assert!(stack.last().is_none_or(|top| top.1 >= end));
                    stack.push((key, end));
                    begun += 1;
                }
                Step::End { lane, time } => {
                    assert!(last.insert(lane, time).unwrap_or(0) <= time);
                    let (_, end) = open.get_mut(&lane).unwrap().pop().unwrap();
                    assert_eq!(end, time);
                }
            };
            let mut lanes = Lanes::default();
            for (key, &(start, end, inside)) in (0..).zip(&intervals) {
                lanes.place(key, (start, end), inside, &mut step);
            }
            lanes.finish(&mut step);
            prop_assert_eq!(begun, intervals.len());
            prop_assert!(open.values().all(Vec::is_empty));
        }
    }
}
