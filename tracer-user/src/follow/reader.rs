//! The thread that reads tasks from the target's memory: all of them at the start, then those on
//! the screen, and all of them again now and then and at the end. What it costs is bounded by
//! resting in proportion to the work.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::rebuild::snapshot::{Snapshot, TaskInfo};
use crate::rebuild::tracker::{TaskKey, key_of_listed};
use crate::show::live::exchange::Exchange;
use crate::show::live::model::TreeReading;
use crate::walk::flat::Told;

/// The tasks on the screen are read this often at most.
const SCREEN_PERIOD: Duration = Duration::from_millis(300);
/// It rests this many times as long as it worked.
const SCREEN_REST: u32 = 4;

/// Tasks in the target's memory: live, or made up by a test.
pub trait ReadTasks {
    /// All tasks.
    ///
    /// # Errors
    /// In words, when nothing can be read, for example because the target has ended.
    fn all(&mut self) -> Result<Snapshot, String>;

    /// These tasks, in their order; of one that is not there any more or cannot be read the reason.
    ///
    /// # Errors
    /// In words, when none can be read.
    fn some(&mut self, keys: &[TaskKey]) -> Result<Vec<Result<TaskInfo, String>>, String>;

    /// The same, with the reason for each where none can be read.
    fn each_of(&mut self, keys: &[TaskKey]) -> Vec<Result<TaskInfo, String>> {
        self.some(keys)
            .unwrap_or_else(|reason| keys.iter().map(|_| Err(reason.clone())).collect())
    }

    /// Those of these tasks that memory proves to be over; no list of the last [`ReadTasks::all`] had them.
    fn gone(&mut self, keys: &[TaskKey]) -> HashSet<TaskKey> {
        let _ = keys;
        HashSet::new()
    }

    /// Where the idle tasks of a snapshot that was just taken stand, told as the kernel's walk tells
    /// it.
    fn suspensions(&mut self, snapshot: &Snapshot) -> Vec<(TaskKey, Told)> {
        let _ = snapshot;
        Vec::new()
    }

    /// The same of one task.
    fn suspension(&mut self, key: TaskKey) -> Option<Told> {
        let _ = key;
        None
    }

    /// The threads with their names.
    fn threads(&mut self) -> Vec<(u32, Arc<str>)>;
}

/// What memory told of all tasks.
#[derive(Clone, Debug)]
pub struct Reading {
    /// When reading began: `CLOCK_MONOTONIC`, nanoseconds.
    pub time: u64,
    /// How long it took.
    pub took: Duration,
    /// What it told, or why not.
    pub snapshot: Result<Arc<Snapshot>, String>,
    /// Tasks that may have ended unseen, and have.
    pub gone: HashSet<TaskKey>,
    /// Where idle tasks stand, each read after `time`.
    pub suspensions: Vec<(TaskKey, Told)>,
    /// Which one it is.
    pub moment: Moment,
    /// Names of the target's threads.
    pub threads: Vec<(u32, Arc<str>)>,
}

/// When in a session all tasks were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Just after the probes were attached.
    Start,
    /// In between.
    Meanwhile,
    /// At the end.
    End,
}

/// How often all tasks are read, at most: it rests in proportion to what reading costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// This often at most.
    pub period: Duration,
    /// It rests this many times as long as it worked.
    pub rest: u32,
}

impl Default for Rhythm {
    /// For a session that goes on.
    fn default() -> Self {
        Self {
            period: Duration::from_secs(10),
            rest: 20,
        }
    }
}

impl Rhythm {
    /// For a session of this length, at the end of which the process is judged: five times, and not
    /// more often than twice a second.
    #[must_use]
    pub fn of(session: Duration) -> Self {
        let longest = Self::default().period;
        Self {
            period: (session / 5).clamp(Duration::from_millis(500), longest),
            rest: 4,
        }
    }
}

/// Reads until the session stops. `clock` is `CLOCK_MONOTONIC` in nanoseconds; `at_end` asks for
/// a last reading.
pub fn run(
    tasks: &mut impl ReadTasks,
    exchange: &Exchange,
    clock: impl Fn() -> u64,
    readings: UnboundedSender<Reading>,
    at_end: impl Fn() -> bool,
    rhythm: Rhythm,
) {
    let read_all = |tasks: &mut _, moment| {
        let reading = all(tasks, &exchange.missed(), &clock, moment);
        let took = reading.took;
        // A follower that has gone needs nothing any more.
        let _ = readings.send(reading);
        took
    };
    let mut cost = read_all(tasks, Moment::Start);
    let mut last_all = Instant::now();
    let mut pause = SCREEN_PERIOD;
    while !exchange.is_stopped() {
        let wanted = exchange.wait_for_wanted(pause);
        let start = Instant::now();
        let at = clock();
        let read = tasks.each_of(&wanted);
        for (place, (key, task)) in wanted.into_iter().zip(read).enumerate() {
            let task = task.map(Arc::new);
            let told = tasks.suspension(key);
            let reading = TreeReading {
                key,
                at,
                task,
                told,
            };
            exchange.put_reading(reading, place == 0);
        }
        pause = SCREEN_PERIOD.max(start.elapsed() * SCREEN_REST);
        let due = last_all.elapsed() > rhythm.period.max(cost * rhythm.rest);
        if !exchange.is_stopped() && (exchange.take_all_wanted() || due) {
            cost = read_all(tasks, Moment::Meanwhile);
            last_all = Instant::now();
        }
    }
    if at_end() {
        read_all(tasks, Moment::End);
    }
    // The follower waits for this: nothing more will come.
    drop(readings);
}

fn all(
    tasks: &mut impl ReadTasks,
    missed: &[TaskKey],
    clock: &impl Fn() -> u64,
    moment: Moment,
) -> Reading {
    let start = Instant::now();
    let time = clock();
    let snapshot = tasks.all().map(|mut snapshot| {
        // One look has one time, wherever it is told.
        snapshot.time = time;
        Arc::new(snapshot)
    });
    let (gone, suspensions) = match &snapshot {
        Ok(snapshot) => (
            tasks.gone(&unlisted(missed, snapshot)),
            tasks.suspensions(snapshot),
        ),
        Err(_) => Default::default(),
    };
    Reading {
        time,
        gone,
        suspensions,
        took: start.elapsed(),
        snapshot,
        moment,
        threads: tasks.threads(),
    }
}

/// Those that the snapshot does not list.
fn unlisted(keys: &[TaskKey], snapshot: &Snapshot) -> Vec<TaskKey> {
    if keys.is_empty() {
        return Vec::new();
    }
    let listed: HashSet<TaskKey> = snapshot.tasks.iter().map(key_of_listed).collect();
    let mut keys = keys.to_vec();
    keys.retain(|key| !listed.contains(key));
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::show::live::table::samples;
    use tokio::sync::mpsc::unbounded_channel;

    /// A target that has ended.
    #[derive(Default)]
    struct Gone {
        asked: Vec<TaskKey>,
    }

    impl ReadTasks for Gone {
        fn all(&mut self) -> Result<Snapshot, String> {
            Err("the process has ended".to_owned())
        }

        fn some(&mut self, keys: &[TaskKey]) -> Result<Vec<Result<TaskInfo, String>>, String> {
            self.asked.extend(keys);
            Err("the process has ended".to_owned())
        }

        fn threads(&mut self) -> Vec<(u32, Arc<str>)> {
            Vec::new()
        }
    }

    #[test]
    fn the_screen_is_read_and_the_start_and_end_are() {
        let exchange = Exchange::default();
        let (sender, mut receiver) = unbounded_channel();
        let key = samples::service().rows[0].key;
        exchange.put_wanted(vec![key]);
        let asked = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let mut tasks = Gone::default();
                run(
                    &mut tasks,
                    &exchange,
                    || 7,
                    sender,
                    || true,
                    Rhythm::default(),
                );
                tasks.asked
            });
            while exchange.take_selected().is_none() {
                std::thread::yield_now();
            }
            exchange.stop();
            thread.join().unwrap()
        });
        assert!(asked.iter().all(|asked| *asked == key));
        assert!(exchange.take_readings()[&key].task.is_err());
        let mut moments = Vec::new();
        while let Ok(reading) = receiver.try_recv() {
            assert_eq!(reading.time, 7);
            assert!(reading.snapshot.is_err());
            moments.push(reading.moment);
        }
        assert_eq!(moments, [Moment::Start, Moment::End]);
    }

    /// A target of which all tasks but one are listed.
    struct One;

    impl ReadTasks for One {
        fn all(&mut self) -> Result<Snapshot, String> {
            let mut snapshot = Snapshot::empty(1);
            snapshot.tasks.push(TaskInfo {
                id: "tokio/7".to_owned(),
                address: Address(0x1000),
                ..TaskInfo::default()
            });
            Ok(snapshot)
        }

        fn some(&mut self, _: &[TaskKey]) -> Result<Vec<Result<TaskInfo, String>>, String> {
            Err("not asked".to_owned())
        }

        fn gone(&mut self, keys: &[TaskKey]) -> HashSet<TaskKey> {
            keys.iter().copied().collect()
        }

        fn threads(&mut self) -> Vec<(u32, Arc<str>)> {
            Vec::new()
        }
    }

    #[test]
    fn tasks_that_may_have_ended_are_looked_after_where_they_are_not_listed() {
        let key = |address, id| TaskKey {
            address: Address(address),
            id: Some(id),
        };
        let exchange = Exchange::default();
        exchange.stop();
        exchange.put_missed(vec![key(0x1000, 7), key(0x1000, 6), key(0x2000, 8)]);
        let (sender, mut receiver) = unbounded_channel();
        run(
            &mut One,
            &exchange,
            || 7,
            sender,
            || false,
            Rhythm::default(),
        );
        let gone = receiver.try_recv().unwrap().gone;
        assert_eq!(gone, HashSet::from([key(0x1000, 6), key(0x2000, 8)]));
    }
}
