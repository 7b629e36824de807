//! What only events tell, on real processes: exact ends of polls, panics, aborts and who did them,
//! what the kernel's drivers wake.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::Build;
use support::fixture::Fixture;
use tracer_user::export::recording::{Item, Reader};
use tracer_user::rebuild::event::{EndSeen, Event, EventKind, Origin, Outcome, Unit, UnitId};

const PATIENCE: Duration = Duration::from_secs(60);

/// `asynctrace record`, attached. Its file goes with it.
struct Recording {
    child: Child,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Recording {
    fn start(pid: i32, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace");
        let mut child = Command::new(env!("CARGO_BIN_EXE_asynctrace"))
            // What is watched is to be exact here, whatever it costs.
            .env("ASYNCTRACE_MAX_OVERHEAD", "none")
            .args(["record", "--pid", &pid.to_string(), "--output"])
            .arg(&file)
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The file is made when the probes are in place.
        let begin = Instant::now();
        while !file.exists() {
            assert!(begin.elapsed() < PATIENCE, "not attached in time");
            if let Some(status) = child.try_wait().unwrap() {
                panic!("asynctrace ended: {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            child,
            file,
            _folder: folder,
        }
    }

    /// Waits for its end, which is the target's.
    fn events(mut self) -> Vec<Event> {
        let begin = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(
                begin.elapsed() < PATIENCE,
                "it does not end with its target"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        read(&self.file)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(file: &Path) -> Vec<Event> {
    let mut reader = Reader::open(file).unwrap();
    let mut all = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        match item {
            Item::Events(events) => all.extend(events),
            Item::Losses(losses) => panic!("lost: {losses:?}"),
            _ => {}
        }
    }
    all
}

fn permitted() -> bool {
    match tracer_user::attach::permission::check() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("SKIPPED, this machine cannot attach: {error}");
            false
        }
    }
}

/// Events by the future of the task that did them.
fn futures(events: &[Event]) -> HashMap<UnitId, String> {
    let described = events.iter().filter_map(|event| match &event.kind {
        EventKind::Described(unit) => match &**unit {
            Unit::Task(task) => Some((event.id.unit, task.future.as_deref()?.to_owned())),
            _ => None,
        },
        _ => None,
    });
    described.collect()
}

#[test]
fn live_exact_polls_survive_a_thousand_panics_and_tell_them() {
    if !permitted() {
        return;
    }
    let mut fixture = Fixture::start(Build::Release, "panics", &["--pause-ms", &pause(6000)]);
    let recording = Recording::start(fixture.pid(), &["--exact-polls"]);
    let told = fixture.next_line(PATIENCE);
    assert_eq!(told["panics"]["reported"], 1000, "{told}");
    assert_eq!(fixture.wait(PATIENCE), Some(0));
    let events = recording.events();
    let mut seen: BTreeMap<EndSeen, usize> = BTreeMap::new();
    let mut outcomes: BTreeMap<Outcome, usize> = BTreeMap::new();
    for event in &events {
        match event.kind {
            EventKind::PollEnd { seen: how, .. } => *seen.entry(how).or_default() += 1,
            EventKind::Finished { outcome } => *outcomes.entry(outcome).or_default() += 1,
            _ => {}
        }
    }
    let all: usize = seen.values().sum();
    let exact = seen.get(&EndSeen::ExitProbe).copied().unwrap_or(0);
    assert!(all >= 1000 && exact * 10 >= all * 9, "{seen:?}");
    // The last record of the process may be missing; nothing is said to have returned.
    let panicked = outcomes.get(&Outcome::Panicked).copied().unwrap_or(0);
    assert!((995..=1000).contains(&panicked), "{outcomes:?}");
    assert_eq!(outcomes.get(&Outcome::Ready), None, "{outcomes:?}");
    let told = panics(&events);
    assert!((995..=1000).contains(&told.len()), "{}", told.len());
    let messages: HashSet<_> = told.iter().map(Told::number).collect();
    assert_eq!(messages.len(), told.len(), "each with its own message");
    for panic in &told {
        panic.is_planned(panic.number());
    }
}

/// Time to attach in, ms; an emulated machine (`ASYNCTRACE_SLOW`) needs more.
fn pause(usual: u64) -> String {
    let slow = std::env::var_os("ASYNCTRACE_SLOW").is_some();
    (if slow { usual * 8 } else { usual }).to_string()
}

/// A panic as the recording tells it.
#[derive(Debug)]
struct Told {
    place: String,
    futures: Vec<String>,
    /// What of them could not be told.
    missing: String,
    message: Option<String>,
}

impl Told {
    /// The number in its message.
    fn number(&self) -> u64 {
        let message = self.message.as_ref().expect("a message");
        message.strip_prefix("planned ").unwrap().parse().unwrap()
    }

    /// It is one of the fixture's: those with an even number were suspended before.
    fn is_planned(&self, number: u64) {
        let (file, line) = self.place.rsplit_once(':').unwrap();
        assert!(file.ends_with("src/bin/panics.rs"), "{self:?}");
        // Not by "..": on the old kernel's machine there is no folder of the crate.
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let source = workspace.join("fixtures/src/bin/panics.rs");
        let source = std::fs::read_to_string(source).unwrap();
        let at = source
            .lines()
            .nth(line.parse::<usize>().unwrap() - 1)
            .unwrap();
        assert!(at.contains("panic!(\"planned"), "{self:?}: {at}");
        let bodies: Vec<&str> = self
            .futures
            .iter()
            .filter_map(|future| future.strip_prefix("panics::"))
            .collect();
        if number.is_multiple_of(2) {
            let all = ["outermost", "middle", "innermost"];
            assert_eq!(bodies, all, "{self:?}: {}", self.missing);
        } else {
            assert_eq!(bodies, ["outermost"], "never suspended: {self:?}");
        }
    }
}

/// The panics that began and were on their way.
fn panics(events: &[Event]) -> Vec<Told> {
    let mut told = Vec::new();
    let mut begun: HashMap<UnitId, Told> = HashMap::new();
    for event in events {
        match &event.kind {
            EventKind::PanicBegan {
                location,
                suspension,
                ..
            } => {
                let at = location.as_ref().expect("a location");
                let futures = suspension.futures.iter();
                let one = Told {
                    place: format!("{}:{}", at.file, at.line),
                    futures: futures.map(|it| it.state.future.to_string()).collect(),
                    missing: format!("{:?}", suspension.missing),
                    message: None,
                };
                begun.insert(event.id.unit, one);
            }
            EventKind::PanicRaised { message } => {
                let mut one = begun.remove(&event.id.unit).expect("it began");
                one.message = message.as_ref().map(ToString::to_string);
                told.push(one);
            }
            _ => {}
        }
    }
    told
}

/// One panic: in a build that aborts it is the last thing that the process does.
fn one_panic(build: Build) -> (Option<i32>, Vec<Event>) {
    let pause = pause(4000);
    let arguments = ["--pause-ms", &pause, "--once", "8"];
    let mut fixture = Fixture::start(build, "panics", &arguments);
    let recording = Recording::start(fixture.pid(), &[]);
    let code = fixture.wait(PATIENCE);
    let events = recording.events();
    let told = panics(&events);
    assert_eq!(told.len(), 1, "{told:?}");
    told[0].is_planned(8);
    // With fat LTO and `panic = "abort"` the compiler leaves the unused payload out of the call.
    assert!(build == Build::Lto || told[0].number() == 8, "{told:?}");
    (code, events)
}

#[test]
fn live_the_panic_that_aborts_the_process_is_told() {
    if !permitted() {
        return;
    }
    let (code, events) = one_panic(Build::Lto);
    assert_eq!(code, None, "a signal ended it");
    let outcome = Outcome::Ready;
    let returned = |event: &Event| event.kind == EventKind::Finished { outcome };
    assert!(
        !events.iter().any(returned),
        "nothing is said to have returned"
    );
}

#[test]
fn live_a_panic_in_a_development_build_is_told() {
    if permitted() {
        let (code, events) = one_panic(Build::Dev);
        assert_eq!(code, Some(0), "the panic reached the JoinHandle");
        let outcome = Outcome::Panicked;
        let over = |event: &Event| event.kind == EventKind::Finished { outcome };
        assert_eq!(events.iter().filter(|event| over(event)).count(), 1);
    }
}

#[test]
fn live_an_abort_is_the_cause_of_the_cancelled_tasks_end() {
    if !permitted() {
        return;
    }
    let mut fixture = Fixture::start(Build::Release, "shapes", &["--abortable"]);
    let expected = fixture.tasks.len();
    let recording = Recording::start(fixture.pid(), &["--duration", "6"]);
    fixture.tell("abort");
    let told = fixture.next_line(PATIENCE);
    assert_eq!(told["aborted"], expected, "{told}");
    let events = recording.events();
    let aborts: HashSet<_> = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Aborted { .. }))
        .map(|event| event.id)
        .collect();
    let ended: Vec<&Event> = events
        .iter()
        .filter(|event| {
            let cancelled = EventKind::Finished {
                outcome: Outcome::Cancelled,
            };
            event.kind == cancelled
        })
        .collect();
    let caused = ended
        .iter()
        .filter(|event| event.cause.is_some_and(|cause| aborts.contains(&cause)))
        .count();
    assert!(
        ended.len() * 10 >= expected * 9,
        "{} of {expected}",
        ended.len()
    );
    assert_eq!(caused, ended.len(), "{} aborts", aborts.len());
}

#[test]
fn live_timers_and_sockets_are_what_wakes() {
    if !permitted() {
        return;
    }
    let fixture = Fixture::start(Build::Release, "demo", &[]);
    let recording = Recording::start(fixture.pid(), &["--duration", "3"]);
    let events = recording.events();
    let origins: HashMap<UnitId, Origin> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Described(unit) => match **unit {
                Unit::Origin(origin) => Some((event.id.unit, origin)),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let futures = futures(&events);
    let (mut timers, mut sockets, mut others) = (0, 0, 0);
    for event in &events {
        let EventKind::Wake { task, .. } = event.kind else {
            continue;
        };
        if !futures.contains_key(&task) {
            continue;
        }
        match event.cause.and_then(|cause| origins.get(&cause.unit)) {
            Some(Origin::Timer) => timers += 1,
            Some(Origin::Io { resource, .. }) => {
                assert!(resource.is_some());
                sockets += 1;
            }
            Some(Origin::Signal) => panic!("there are no signals"),
            None => others += 1,
        }
    }
    assert!(sockets > 100, "{sockets} by sockets");
    assert!(
        timers > 10,
        "{timers} by timers, {others} by tasks and threads"
    );
    assert!(others > 0, "tasks wake each other, too");
}

/// Pairs of tasks wake each other, a timer paces one of each, and nothing else wakes. On one thread the
/// runtime's loop parks, and wakes for its timer, deeper on the stack than where it polls from.
#[test]
fn live_whoever_wakes_is_told_on_both_schedulers() {
    if !permitted() {
        return;
    }
    let load = ["--pairs", "4", "--yielders", "0", "--rate", "100"];
    for scheduler in [&["--current-thread"][..], &[]] {
        let fixture = Fixture::start(Build::Release, "busy", &[&load[..], scheduler].concat());
        let events = Recording::start(fixture.pid(), &["--duration", "2"]).events();
        let mut units: HashMap<UnitId, String> = futures(&events);
        units.extend(events.iter().filter_map(|event| match &event.kind {
            EventKind::Described(unit) => match **unit {
                Unit::Origin(origin) => Some((event.id.unit, format!("{origin:?}"))),
                _ => None,
            },
            _ => None,
        }));
        let name = |unit: &UnitId| {
            let names = ["busy::ping", "busy::pong", "Timer"];
            let told = units.get(unit).map_or("nobody", String::as_str);
            names.into_iter().find(|name| told.contains(name))
        };
        let mut wakes: BTreeMap<_, u64> = BTreeMap::new();
        for event in &events {
            if let EventKind::Wake { task, .. } = event.kind {
                let by = event.cause.as_ref().and_then(|cause| name(&cause.unit));
                *wakes.entry((by, name(&task))).or_default() += 1;
            }
        }
        // What was done in a poll that began before the probes were there: one for each thread.
        wakes.retain(|(by, _), count| by.is_some() || *count > 2);
        let expected = [
            (Some("Timer"), Some("busy::ping")),
            (Some("busy::ping"), Some("busy::pong")),
            (Some("busy::pong"), Some("busy::ping")),
        ];
        assert!(wakes.keys().eq(&expected), "{scheduler:?}: {wakes:?}");
        assert!(wakes.values().all(|count| *count > 20), "{wakes:?}");
    }
}
