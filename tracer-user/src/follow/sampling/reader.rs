//! The thread that looks at memory at a rate, and at the tasks on the screen in between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;

use super::pace::Pace;
use crate::follow::reader::{Moment, ReadTasks};
use crate::rebuild::snapshot::Snapshot;
use crate::show::live::exchange::Exchange;
use crate::show::live::model::TreeReading;

/// The tasks on the screen are read this often at most.
const SCREEN_PERIOD: Duration = Duration::from_millis(300);
/// It rests this many times as long as that took.
const SCREEN_REST: u32 = 19;

/// A look at all tasks.
#[derive(Clone, Debug)]
pub struct Taken {
    /// When it began: CLOCK_MONOTONIC, nanoseconds.
    pub time: u64,
    /// What it told, or why nothing more can be read.
    pub snapshot: Result<Arc<Snapshot>, String>,
    /// Which one it is.
    pub moment: Moment,
    /// The rate as it was kept until then.
    pub pace: Pace,
}

/// What the reader asks for beside memory.
#[derive(Clone, Copy)]
pub struct Clocks {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub now: fn() -> u64,
    /// CPU time of this process.
    pub cpu: fn() -> Duration,
}

/// Looks until the session stops or there is nothing more to be read. A session that is stopped gets
/// a last look when the one before is older than half of the time between two.
pub fn run(
    tasks: &mut impl ReadTasks,
    exchange: &Exchange,
    clocks: Clocks,
    mut pace: Pace,
    looks: &Sender<Taken>,
) {
    let mut moment = Moment::Start;
    loop {
        let begin = Instant::now();
        let used = (clocks.cpu)();
        if !look(tasks, clocks, moment, pace, looks) {
            return;
        }
        moment = Moment::Meanwhile;
        // What is made of the look goes on beside the first part of the rest, and counts.
        let mut counted = false;
        let mut screen = Instant::now();
        loop {
            let rest = pace.period().saturating_sub(begin.elapsed());
            let wanted = exchange.wait_for_wanted(rest.min(SCREEN_PERIOD));
            if exchange.is_stopped() {
                if begin.elapsed() > pace.period() / 2 {
                    look(tasks, clocks, Moment::End, pace, looks);
                }
                return;
            }
            if !counted {
                counted = true;
                pace.looked((clocks.cpu)().saturating_sub(used));
            }
            if begin.elapsed() >= pace.period() {
                break;
            }
            if screen <= Instant::now() {
                let start = Instant::now();
                read_screen(tasks, exchange, clocks, wanted);
                screen = Instant::now() + SCREEN_PERIOD.max(start.elapsed() * SCREEN_REST);
            }
        }
    }
}

/// Takes a look; false when it was the last.
fn look(
    tasks: &mut impl ReadTasks,
    clocks: Clocks,
    moment: Moment,
    pace: Pace,
    looks: &Sender<Taken>,
) -> bool {
    let time = (clocks.now)();
    let snapshot = tasks.all().map(|mut snapshot| {
        // One look has one time, wherever it is told.
        snapshot.time = time;
        Arc::new(snapshot)
    });
    let goes_on = snapshot.is_ok();
    let taken = Taken {
        time,
        snapshot,
        moment,
        pace,
    };
    looks.blocking_send(taken).is_ok() && goes_on
}

fn read_screen(
    tasks: &mut impl ReadTasks,
    exchange: &Exchange,
    clocks: Clocks,
    wanted: Vec<crate::rebuild::tracker::TaskKey>,
) {
    let at = (clocks.now)();
    let read = tasks.each_of(&wanted);
    for (place, (key, task)) in wanted.into_iter().zip(read).enumerate() {
        let reading = TreeReading {
            key,
            at,
            task: task.map(Arc::new),
            told: None,
        };
        exchange.put_reading(reading, place == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rebuild::snapshot::TaskInfo;
    use crate::rebuild::tracker::TaskKey;
    use tokio::sync::mpsc::channel;

    /// A target that ends after some looks.
    struct Ends(u32);

    impl ReadTasks for Ends {
        fn all(&mut self) -> Result<Snapshot, String> {
            self.0 = self.0.checked_sub(1).ok_or("the process has ended")?;
            Ok(Snapshot::empty(0))
        }

        fn some(&mut self, _: &[TaskKey]) -> Result<Vec<Result<TaskInfo, String>>, String> {
            Err("not asked for".to_owned())
        }

        fn threads(&mut self) -> Vec<(u32, Arc<str>)> {
            Vec::new()
        }
    }

    #[test]
    fn it_looks_at_its_pace_until_the_target_ends() {
        let (sender, mut receiver) = channel(64);
        let start = Instant::now();
        run(
            &mut Ends(5),
            &Exchange::default(),
            Clocks {
                now: || 7,
                cpu: || Duration::ZERO,
            },
            Pace::new("100".parse().unwrap()),
            &sender,
        );
        assert!(start.elapsed() >= Duration::from_millis(50));
        let mut moments = Vec::new();
        while let Ok(taken) = receiver.try_recv() {
            assert_eq!(taken.time, 7);
            moments.push((taken.moment, taken.snapshot.is_ok()));
        }
        assert_eq!(moments.len(), 6);
        assert_eq!(moments[0], (Moment::Start, true));
        assert_eq!(moments[5], (Moment::Meanwhile, false));
    }

    #[test]
    fn a_session_that_is_stopped_late_gets_a_last_look() {
        let exchange = Exchange::default();
        let (sender, mut receiver) = channel(64);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let clocks = Clocks {
                    now: || 7,
                    cpu: || Duration::ZERO,
                };
                let pace = Pace::new("5".parse().unwrap());
                run(&mut Ends(9), &exchange, clocks, pace, &sender);
            });
            std::thread::sleep(Duration::from_millis(130));
            exchange.stop();
        });
        let first = receiver.try_recv().unwrap();
        assert_eq!(first.moment, Moment::Start);
        let mut last = first.moment;
        while let Ok(taken) = receiver.try_recv() {
            last = taken.moment;
        }
        assert_eq!(last, Moment::End);
    }
}
