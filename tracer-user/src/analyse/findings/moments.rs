//! The looks at memory that are kept: a bounded number, of a bounded number of tasks.
//!
//! The first tells what was so from the beginning, the last two what is so now and did not change;
//! those in between are thinned out where too many tasks would have to be kept.

use super::case::Moment;

/// Looks that are kept at most.
const MAX_MOMENTS: usize = 64;
/// Tasks of all looks together: one with its tree takes 1 to 2 KB.
const MAX_TASKS: usize = 400_000;
/// As many are kept whatever their size: with one alone nothing can be said not to change.
const LEAST: usize = 2;

/// Looks at memory, in order of time.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    kept: Vec<Moment>,
    tasks: usize,
    taken: u64,
}

impl Moments {
    /// Takes the next look.
    pub fn take(&mut self, moment: Moment) {
        self.taken += 1;
        self.tasks += moment.snapshot.tasks.len();
        self.kept.push(moment);
        while self.kept.len() > MAX_MOMENTS || (self.tasks > MAX_TASKS && self.kept.len() > LEAST) {
            let left_out = self.kept.remove(self.least_missed());
            self.tasks -= left_out.snapshot.tasks.len();
        }
    }

    /// The one whose neighbours are nearest to each other; neither the first nor one of the last
    /// two, as long as there are others.
    fn least_missed(&self) -> usize {
        let gap = |at: &usize| {
            let time = |at: usize| self.kept.get(at).map_or(0, |moment| moment.time);
            time(at + 1).saturating_sub(time(at.saturating_sub(1)))
        };
        (1..self.kept.len().saturating_sub(2))
            .min_by_key(gap)
            .unwrap_or(1)
    }

    /// How many looks there were, those that are not kept included.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// Those that are kept.
    #[must_use]
    pub fn kept(&self) -> &[Moment] {
        &self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rebuild::snapshot::{Snapshot, TaskInfo};
    use std::sync::Arc;

    fn look(time: u64, tasks: usize) -> Moment {
        Moment {
            time,
            snapshot: Arc::new(Snapshot {
                tasks: vec![TaskInfo::default(); tasks],
                ..Snapshot::empty(time)
            }),
        }
    }

    fn times(moments: &Moments) -> Vec<u64> {
        moments.kept().iter().map(|moment| moment.time).collect()
    }

    #[test]
    fn the_first_and_the_last_two_are_kept_whatever_comes() {
        let mut moments = Moments::default();
        for time in 0..1_000 {
            moments.take(look(time, 1));
        }
        let kept = times(&moments);
        assert_eq!(kept.len(), MAX_MOMENTS);
        assert_eq!((kept[0], kept[62], kept[63]), (0, 998, 999));
        assert_eq!(moments.taken(), 1_000);
        // What is between is spread, not all from one end.
        let widest = kept.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest < Some(200), "{kept:?}");
    }

    #[test]
    fn many_tasks_leave_room_for_few_looks_but_for_two() {
        let mut moments = Moments::default();
        for time in 0..9 {
            moments.take(look(time, MAX_TASKS));
        }
        assert_eq!(times(&moments), [0, 8]);
        let mut moments = Moments::default();
        for time in 0..9 {
            moments.take(look(time, MAX_TASKS / 3));
        }
        assert_eq!(times(&moments), [0, 7, 8]);
    }
}
