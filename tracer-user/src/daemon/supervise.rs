//! Which processes are followed, by what was found and what is configured.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde::Serialize;

use super::config::{Config, Target};
use super::control::message::{Chosen, Refusal};
use super::discover::Found as Process;
use super::followed::{Followed, Status};
use super::observer::lock;
use super::totals::Totals;
use crate::error::ExitCode;
use crate::show::escape::escape;

/// Processes that are followed at once, of all targets together: each takes threads and memory.
pub const MAX_PROCESSES: usize = 64;
/// Types told apart where there are no metrics that tell them.
const NO_METRICS: usize = 0;

#[derive(Debug)]
struct Entry {
    followed: Arc<Followed>,
    thread: JoinHandle<()>,
}

/// Follows processes.
#[derive(Debug)]
pub struct Supervisor {
    config: Config,
    entries: BTreeMap<i32, Entry>,
    totals: HashMap<String, Arc<Mutex<Totals>>>,
    /// Processes that match and are not followed because there are too many, by label.
    left_out: HashMap<String, usize>,
    stopping: bool,
}

impl Supervisor {
    /// Of nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            entries: BTreeMap::new(),
            totals: HashMap::new(),
            left_out: HashMap::new(),
            stopping: false,
        }
    }

    /// What is configured.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Takes another configuration: what it has unchanged goes on, the rest ends.
    pub fn reload(&mut self, config: Config) {
        for entry in self.entries.values() {
            let followed = &entry.followed;
            if !config.targets.contains(&followed.target) {
                followed.stop();
            }
        }
        let most = most_types(&config);
        if most != most_types(&self.config) {
            // Sessions that go on count into what they were given.
            for entry in self.entries.values() {
                entry.followed.stop();
            }
            self.totals.clear();
        }
        let has = |label: &String| config.targets.iter().any(|target| target.label == *label);
        self.totals.retain(|label, _| has(label));
        self.config = config;
    }

    /// Follows what was found, and nothing else. `targets` are those that were looked for.
    pub fn sync(&mut self, found: Vec<Process>, targets: &[Target]) {
        let over: Vec<i32> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.thread.is_finished())
            .map(|(pid, _)| *pid)
            .collect();
        for pid in over {
            if let Some(entry) = self.entries.remove(&pid)
                && entry.thread.join().is_err()
            {
                tracing::error!(pid, "following it panicked: a bug of asynctrace");
            }
        }
        for entry in self.entries.values() {
            if !found.iter().any(|one| entry.is_of(one, targets)) {
                entry.followed.stop();
            }
        }
        self.left_out.clear();
        if self.stopping {
            return;
        }
        for process in found {
            let Some(target) = targets.get(process.target) else {
                continue;
            };
            // One that is being stopped has to go first.
            if self.entries.contains_key(&process.identity.pid) {
                continue;
            }
            let of_target = self.entries.values();
            let there = of_target.filter(|entry| entry.followed.target.label == target.label);
            if there.count() >= target.max_processes || self.entries.len() >= MAX_PROCESSES {
                *self.left_out.entry(target.label.clone()).or_default() += 1;
                continue;
            }
            self.start(process, target);
        }
    }

    fn start(&mut self, process: Process, target: &Target) {
        let pid = process.identity.pid;
        let followed = Arc::new(Followed::new(
            process,
            target.clone(),
            self.totals(&target.label),
        ));
        let thread = std::thread::Builder::new().name("asynctrace-target".to_owned());
        let running = Arc::clone(&followed);
        match thread.spawn(move || running.run()) {
            Ok(thread) => {
                self.entries.insert(pid, Entry { followed, thread });
            }
            Err(error) => tracing::error!(pid, "cannot follow it: no thread: {error}"),
        }
    }

    fn totals(&mut self, label: &str) -> Arc<Mutex<Totals>> {
        let most = most_types(&self.config);
        let totals = self.totals.entry(label.to_owned());
        Arc::clone(totals.or_insert_with(|| Arc::new(Mutex::new(Totals::new(most)))))
    }

    /// What is counted of a target.
    #[must_use]
    pub fn totals_of(&self, label: &str) -> Option<Totals> {
        self.totals.get(label).map(|totals| lock(totals).clone())
    }

    /// All processes of a target.
    pub fn of_target<'a>(&'a self, label: &'a str) -> impl Iterator<Item = &'a Arc<Followed>> {
        self.entries
            .values()
            .map(|entry| &entry.followed)
            .filter(move |followed| followed.target.label == label)
    }

    /// Processes of a target that are not followed because there are too many.
    #[must_use]
    pub fn left_out(&self, label: &str) -> usize {
        self.left_out.get(label).copied().unwrap_or(0)
    }

    /// Takes what sessions told since the last call.
    pub fn refresh(&self) {
        for entry in self.entries.values() {
            let _ = entry.followed.view();
        }
    }

    /// Ends everything; [`Supervisor::is_over`] tells when that is done.
    pub fn stop(&mut self) {
        self.stopping = true;
        for entry in self.entries.values() {
            entry.followed.stop();
        }
    }

    /// Whether nothing is followed any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.entries
            .values()
            .all(|entry| entry.thread.is_finished())
    }

    /// The one process that is meant.
    ///
    /// # Errors
    /// A refusal when there is none, or more than one.
    pub fn choose(&self, chosen: &Chosen) -> Result<Arc<Followed>, Refusal> {
        let fits = |followed: &Followed| {
            let label = chosen.target.as_ref();
            label.is_none_or(|label| followed.target.label == *label)
                && chosen.pid.is_none_or(|pid| followed.pid() == pid)
        };
        let all = self.entries.values().map(|entry| &entry.followed);
        let found: Vec<_> = all.filter(|followed| fits(followed)).collect();
        let no_target = |message| Refusal::new("no_target", ExitCode::NoTarget, message);
        match found.as_slice() {
            [one] => Ok(Arc::clone(one)),
            [] => {
                let words = match (&chosen.target, chosen.pid) {
                    (Some(label), Some(pid)) => format!("{} with pid {pid}", escape(label)),
                    (Some(label), None) => escape(label).into_owned(),
                    (None, Some(pid)) => format!("pid {pid}"),
                    (None, None) => "nothing".to_owned(),
                };
                Err(
                    no_target(format!("the daemon follows no process of {words}"))
                        .advising("`asynctrace ctl list` shows what it follows"),
                )
            }
            many => {
                let pids: Vec<String> = many.iter().map(|one| one.pid().to_string()).collect();
                let message = format!("{} processes are meant: {}", many.len(), pids.join(", "));
                Err(no_target(message).advising("choose one with --pid"))
            }
        }
    }

    /// What `ctl list` shows.
    #[must_use]
    pub fn list(&self) -> List {
        let targets = self.config.targets.iter().map(|target| ListedTarget {
            label: target.label.clone(),
            max_overhead_percent: target.max_overhead.get(),
            not_followed: self.left_out(&target.label),
            processes: self
                .of_target(&target.label)
                .map(|one| listed(one))
                .collect(),
        });
        List {
            daemon: ListedDaemon {
                version: env!("CARGO_PKG_VERSION"),
                pid: std::process::id(),
            },
            targets: targets.collect(),
        }
    }
}

impl Entry {
    fn is_of(&self, process: &Process, targets: &[Target]) -> bool {
        let own = &self.followed.process;
        own.identity == process.identity
            && own.exe == process.exe
            && targets.get(process.target) == Some(&self.followed.target)
    }
}

fn most_types(config: &Config) -> usize {
    let metrics = config.metrics.as_ref();
    metrics.map_or(NO_METRICS, |metrics| metrics.max_types)
}

/// Answer of `list`.
#[derive(Clone, Debug, Serialize)]
pub struct List {
    /// The daemon.
    pub daemon: ListedDaemon,
    /// Its targets, as they are configured.
    pub targets: Vec<ListedTarget>,
}

/// The daemon itself.
#[derive(Clone, Debug, Serialize)]
pub struct ListedDaemon {
    /// Its version.
    pub version: &'static str,
    /// Its process id.
    pub pid: u32,
}

/// A target.
#[derive(Clone, Debug, Serialize)]
pub struct ListedTarget {
    /// Its name.
    pub label: String,
    /// Its budget.
    pub max_overhead_percent: f64,
    /// Processes that match and are not followed because there are too many.
    pub not_followed: usize,
    /// Those that are followed.
    pub processes: Vec<ListedProcess>,
}

/// A process.
#[derive(Clone, Debug, Serialize)]
pub struct ListedProcess {
    /// Its id.
    pub pid: i32,
    /// Path of its executable, as it sees it.
    pub exe: String,
    /// `starting`, `following`, `recording`, `waiting`, `over`.
    pub state: &'static str,
    /// Seconds in that state.
    pub seconds: f64,
    /// Live tasks; absent while that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<usize>,
    /// Events a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<f64>,
    /// Events that the kernel could not hand over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// What tracing costs it, estimated, in percent of one CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overhead_percent: Option<f64>,
    /// Findings that are open; absent while it was not judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<usize>,
    /// What should be known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// Why it is not followed now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Refusal>,
    /// Seconds until it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_seconds: Option<f64>,
    /// Failures one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
}

/// A rate a second as it is told: it fades for ever after the last event, which nobody needs to know.
fn told_rate(rate: f64) -> f64 {
    if rate < 0.05 { 0.0 } else { rate }
}

fn listed(followed: &Followed) -> ListedProcess {
    let (status, since, recording) = followed.status();
    let view = followed.view();
    let mut listed = ListedProcess {
        pid: followed.pid(),
        exe: followed.process.exe.display().to_string(),
        state: match status {
            Status::Starting => "starting",
            Status::Following if recording => "recording",
            Status::Following => "following",
            Status::Waiting { .. } => "waiting",
            Status::Over => "over",
        },
        seconds: since.elapsed().unwrap_or_default().as_secs_f64(),
        tasks: None,
        events_per_second: None,
        lost: None,
        overhead_percent: None,
        findings: view.found.map(|found| {
            let open = found.episodes.iter().filter(|one| one.closed.is_none());
            open.count()
        }),
        notice: None,
        reason: None,
        retry_seconds: None,
        failures: None,
    };
    if let Some(table) = view.table {
        let status = &table.status;
        listed.tasks = Some(table.rows.len() + table.rows_left_out);
        listed.events_per_second = Some(told_rate(status.events_per_second));
        listed.lost = Some(status.lost);
        listed.overhead_percent = status.overhead.map(|share| share * 100.0);
        listed.notice.clone_from(&status.notice);
    }
    if let Status::Waiting {
        reason,
        until,
        failures,
    } = status
    {
        let rest = until.saturating_duration_since(std::time::Instant::now());
        listed.reason = Some(reason);
        listed.retry_seconds = Some(rest.as_secs_f64());
        listed.failures = Some(failures);
    }
    listed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_has_faded_is_none() {
        let told: Vec<String> = [8.0e-17, 0.049, 0.05, 1_234.5]
            .iter()
            .map(|rate| told_rate(*rate).to_string())
            .collect();
        assert_eq!(told, ["0", "0", "0.05", "1234.5"]);
    }
}
