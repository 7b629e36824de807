//! Puts the records of several rings into the order of time: pure.
//!
//! Each CPU has its ring, read at another moment than the next one's, so records arrive out of
//! order across CPUs; on one CPU they are nearly in order (a program can be preempted between
//! reading the clock and sending). A record is held back until its time is so long ago that
//! nothing earlier can still be on its way: the *watermark*, which the reader of the rings knows.
//!
//! What comes later than that all the same is passed on at once and counted, never dropped.

use tracer_common::Record;

/// Holds records back until they are in order.
#[derive(Debug, Default)]
pub struct Order {
    /// In the order of arrival, except for a sorted beginning.
    pending: Vec<Record>,
    /// Nothing below this is held back any more.
    released: u64,
    late: u64,
}

impl Order {
    /// Takes a record that has arrived.
    pub fn push(&mut self, record: Record) {
        if record.time < self.released {
            self.late += 1;
        }
        self.pending.push(record);
    }

    /// Moves every record of a time before the watermark (`CLOCK_MONOTONIC`, ns) to `out`, in order
    /// of time; records of one time keep the order in which they arrived.
    pub fn release(&mut self, watermark: u64, out: &mut Vec<Record>) {
        // Stable, and linear on what is a handful of runs in order.
        self.pending.sort_by_key(|record| record.time);
        let ready = self
            .pending
            .partition_point(|record| record.time < watermark);
        out.extend(self.pending.drain(..ready));
        self.released = self.released.max(watermark);
    }

    /// Moves everything to `out`: nothing more will arrive.
    pub fn finish(&mut self, out: &mut Vec<Record>) {
        self.release(u64::MAX, out);
        out.append(&mut self.pending);
    }

    /// Everything from before this time has been passed on (`CLOCK_MONOTONIC`, ns), but for what comes
    /// late.
    #[must_use]
    pub fn released(&self) -> u64 {
        self.released
    }

    /// Number of records that are held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.pending.len()
    }

    /// Number of records that came after later ones had been passed on.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(time: u64, tid: u32) -> Record {
        Record {
            time,
            tid,
            kind: 1,
            ..Record::default()
        }
    }

    #[test]
    fn records_of_one_time_keep_their_order() {
        let mut order = Order::default();
        for tid in 0..5 {
            order.push(record(7, tid));
        }
        let mut out = Vec::new();
        order.release(8, &mut out);
        let tids: Vec<u32> = out.iter().map(|record| record.tid).collect();
        assert_eq!(tids, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_late_record_is_counted_and_passed_on() {
        let mut order = Order::default();
        order.push(record(10, 0));
        let mut out = Vec::new();
        order.release(20, &mut out);
        order.push(record(15, 1));
        order.push(record(20, 2));
        order.release(21, &mut out);
        let times: Vec<u64> = out.iter().map(|record| record.time).collect();
        assert_eq!(times, [10, 15, 20]);
        assert_eq!(order.late(), 1);
        assert_eq!(order.held(), 0);
    }

    #[test]
    fn the_largest_time_comes_out_at_the_end() {
        let mut order = Order::default();
        order.push(record(u64::MAX, 0));
        let mut out = Vec::new();
        order.finish(&mut out);
        assert_eq!(out.len(), 1);
    }

    /// Rings as the kernel fills them: each record has a time and arrives up to `SLACK` later; each
    /// ring is in order of arrival.
    const SLACK: u64 = 50;

    fn arrivals() -> impl Strategy<Value = Vec<(u64, u64, u32)>> {
        prop::collection::vec((0u64..2000, 0u64..SLACK, 0u32..4), 0..300).prop_map(|mut all| {
            for (time, delay, _) in &mut all {
                *delay += *time;
            }
            all.sort_by_key(|(_, arrival, _)| *arrival);
            all
        })
    }

    proptest! {
        /// Whatever the rings and whenever they are read: with a watermark that trails the reading
        /// by the slack, everything comes out once and in order, and nothing is late.
        #[test]
        fn everything_comes_out_once_and_in_order(
            all in arrivals(),
            mut reads in prop::collection::vec(0u64..2200, 0..40),
        ) {
            reads.sort_unstable();
            let mut order = Order::default();
            let mut out = Vec::new();
            let mut next = 0;
            for now in reads {
                // The rings are read one after the other: order of arrival within a ring only.
                let until = next + all[next..].iter().take_while(|(_, at, _)| *at <= now).count();
                for ring in 0..4 {
                    for (time, _, cpu) in all[next..until].iter().filter(|(_, _, cpu)| *cpu == ring) {
                        order.push(record(*time, *cpu));
                    }
                }
                next = until;
                order.release(now.saturating_sub(SLACK), &mut out);
            }
            for (time, _, cpu) in &all[next..] {
                order.push(record(*time, *cpu));
            }
            prop_assert_eq!(order.late(), 0);
            order.finish(&mut out);
            prop_assert!(out.is_sorted_by_key(|record| record.time));
            let mut came: Vec<_> = out.iter().map(|record| (record.time, record.tid)).collect();
            let mut went: Vec<_> = all.iter().map(|(time, _, cpu)| (*time, *cpu)).collect();
            came.sort_unstable();
            went.sort_unstable();
            prop_assert_eq!(came, went);
        }
    }
}
