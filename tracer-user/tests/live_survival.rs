//! The target survives us: it gives the same answer with the same exit code as when nobody traces
//! it, whatever it does, whatever becomes of it or of us; and afterwards no probe is left. That is
//! read from the kernel: its list of links, and the target's code compared with its file, byte by
//! byte (`support/kernel.rs`).
//!
//! What is tried in `live_attach.rs` (a thousand panics, exit and exec seen by a session) is not
//! repeated here: these are runs of the real command.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::Build;
use support::command::{self, signal};
use support::fixture::Fixture;
use support::kernel::{
    changed_code, expect_no_probe, holder_of, is_at_probes, leaks_in_kernel_log, wait_for_probes,
};
use tracer_user::attach::{Session, SessionOptions};
use tracer_user::export::recording::{Item, Reader};
use tracer_user::locate::{Process, TargetError, TargetSelector};
use tracer_user::object::{Binary, DebugSource};
use tracer_user::plan::{Names, Plan, Request, Rules, make};
use tracer_user::rebuild::event::EventKind;

fn patience() -> Duration {
    support::patience(60)
}

/// What `survivor` exits with when every chapter had the same answer.
const GOOD: Option<i32> = Some(42);

fn permitted() -> bool {
    match tracer_user::attach::permission::check() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("SKIPPED, this machine cannot attach: {error}");
            false
        }
    }
}

/// The fixture `survivor` in one of its modes.
struct Survivor {
    fixture: Fixture,
}

impl Survivor {
    fn start(mode: &str) -> Self {
        Self::start_with(mode, "0")
    }

    fn start_with(mode: &str, backtrace: &str) -> Self {
        let mut program = Command::new(Build::Release.folder().join("survivor"));
        program
            .args(["--mode", mode])
            .env("RUST_BACKTRACE", backtrace)
            // What panics say.
            .stderr(Stdio::null());
        Self {
            fixture: Fixture::of(&mut program),
        }
    }

    fn pid(&self) -> i32 {
        self.fixture.pid()
    }

    /// Waits until it has said something.
    fn wait_for(&self, word: &str) -> Value {
        let begin = Instant::now();
        loop {
            let line = self
                .fixture
                .next_line(patience().saturating_sub(begin.elapsed()));
            if line.get(word).is_some() {
                return line;
            }
        }
    }

    /// Tells it to end, which it must do with [`GOOD`]; its answer.
    fn end(mut self) -> u64 {
        let answer = self.answer();
        assert_eq!(self.fixture.wait(patience()), GOOD);
        answer
    }

    /// Tells it to end what it does now; its answer.
    fn answer(&mut self) -> u64 {
        self.fixture.tell("");
        let told = self.wait_for("answer");
        assert_eq!(told["same"], true, "{told}");
        told["answer"].as_u64().unwrap()
    }
}

/// The answer of a mode when nobody traces it.
fn untraced(mode: &str) -> u64 {
    let survivor = Survivor::start(mode);
    std::thread::sleep(Duration::from_millis(100));
    survivor.end()
}

/// `asynctrace` on a process, while it runs. Killed when dropped.
struct Tracer {
    child: Child,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Tracer {
    /// Starts `asynctrace record`, and does not wait for it. Without pauses: most tests want to see
    /// probes.
    fn start(pid: i32, arguments: &[&str]) -> Self {
        Self::with_budget(pid, "none", arguments)
    }

    fn with_budget(pid: i32, budget: &str, arguments: &[&str]) -> Self {
        Self::of(
            &mut command::asynctrace(&["record"]),
            pid,
            budget,
            arguments,
        )
    }

    fn of(program: &mut Command, pid: i32, budget: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace");
        let child = program
            .args(["--pid", &pid.to_string(), "--output"])
            .arg(&file)
            .args(["--max-overhead", budget])
            .args(arguments)
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            child,
            file,
            _folder: folder,
        }
    }

    /// The same, and waits until the probes are in the target's code.
    fn attached(pid: i32, arguments: &[&str]) -> Self {
        let tracer = Self::start(pid, arguments);
        wait_for_probes(pid);
        tracer
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    fn interrupt(&self) {
        signal(self.pid(), Signal::INT);
    }

    /// Waits for its end: exit code (`None`: a signal) and what it said.
    fn wait(&mut self) -> (Option<i32>, String) {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begin.elapsed() < patience(), "asynctrace does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut said = String::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        std::io::Read::read_to_string(stderr, &mut said).unwrap();
        (status.code(), said)
    }

    /// Waits for its end, which must be a good one; the number of polls that it recorded.
    fn polls(mut self) -> usize {
        let (code, said) = self.wait();
        assert_eq!(code, Some(0), "{said}");
        let mut reader = Reader::open(&self.file).unwrap();
        let mut polls = 0;
        while let Some(item) = reader.next_item().unwrap() {
            if let Item::Events(events) = item {
                let begins = |kind: &EventKind| matches!(kind, EventKind::PollBegin { .. });
                polls += events.iter().filter(|event| begins(&event.kind)).count();
            }
        }
        polls
    }

    /// Ends it by Ctrl-C; the number of polls that it recorded.
    fn stop(self) -> usize {
        self.interrupt();
        self.polls()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Traces a mode for a while; its answer must be that of an untraced run.
fn survives(mode: &str, backtrace: &str, arguments: &[&str]) {
    let expected = untraced(mode);
    let survivor = Survivor::start_with(mode, backtrace);
    let pid = survivor.pid();
    let tracer = Tracer::attached(pid, arguments);
    std::thread::sleep(Duration::from_millis(700));
    assert!(changed_code(pid).unwrap() > 0, "the check sees probes");
    let polls = tracer.stop();
    expect_no_probe(pid);
    assert_eq!(survivor.end(), expected, "mode {mode}");
    assert!(polls > 100, "{mode}: {polls}");
}

#[test]
fn live_panics_that_are_caught_at_any_depth_are_caught() {
    if permitted() {
        for backtrace in ["0", "1"] {
            survives("panics", backtrace, &["--exact-polls"]);
        }
    }
}

#[test]
fn live_a_forked_child_goes_on_without_us() {
    if !permitted() {
        return;
    }
    // Children that end before their parent.
    survives("fork", "0", &[]);
    // One that goes on after it: with the code that it got from its parent, probes and all.
    let expected = untraced("plain");
    let survivor = Survivor::start("forked");
    let child = i32::try_from(survivor.wait_for("child")["child"].as_i64().unwrap()).unwrap();
    let first = Tracer::attached(survivor.pid(), &[]);
    assert!(first.stop() > 0);
    assert_eq!(changed_code(child), Some(0));
    let mut survivor = survivor;
    assert_eq!(survivor.answer(), expected);
    let told = survivor.wait_for("child_answer");
    assert_eq!(told["child_answer"].as_u64(), Some(expected), "{told}");
    assert_eq!(told["same"], true);
    assert_eq!(survivor.fixture.wait(patience()), GOOD);
    expect_no_probe(child);
}

#[test]
fn live_a_program_that_executes_itself_goes_on() {
    if !permitted() {
        return;
    }
    let expected = untraced("plain");
    let mut survivor = Survivor::start("exec");
    let pid = survivor.pid();
    let mut tracer = Tracer::attached(pid, &[]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(survivor.answer(), expected);
    survivor.wait_for("ready");
    // The same file is now another program: everything known of its tasks is void.
    let (code, said) = tracer.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("replaced its program"), "{said}");
    expect_no_probe(pid);
    assert_eq!(survivor.end(), expected);
}

#[test]
fn live_threads_come_and_go() {
    if permitted() {
        survives("threads", "0", &[]);
    }
}

#[test]
fn live_a_library_with_futures_is_loaded_and_unloaded() {
    if permitted() {
        survives("library", "0", &["--exact-polls"]);
    }
}

#[test]
fn live_a_target_that_gives_up_root_or_system_calls_goes_on() {
    if !permitted() {
        return;
    }
    for (mode, word) in [("setuid", "nobody"), ("seccomp", "filtered")] {
        let expected = untraced(mode);
        // Attached before it does so, while it does, and after.
        let survivor = Survivor::start(mode);
        let pid = survivor.pid();
        let tracer = Tracer::start(pid, &["--exact-polls"]);
        survivor.wait_for(word);
        wait_for_probes(pid);
        assert!(tracer.stop() > 0);
        expect_no_probe(pid);
        let tracer = Tracer::attached(pid, &["--exact-polls"]);
        // Its tasks end and others begin.
        let begin = Instant::now();
        while command::dump(pid)["tasks"].as_array().unwrap().is_empty() {
            assert!(begin.elapsed() < patience(), "{mode}: no task is ever seen");
        }
        assert_eq!(survivor.end(), expected, "{mode}");
        assert!(tracer.polls() > 0);
        expect_no_probe(pid);
    }
}

/// Every probe that there can be.
fn plan_of(process: &Process, binary: &Arc<Binary>) -> Plan {
    let plan = make(Request {
        module: &process.executable().unwrap(),
        source: &DebugSource::find(Arc::clone(binary), process, None).unwrap(),
        names: &Names::default(),
        futures: &["*".to_owned()],
        exact_polls: true,
        rules: Rules::of_this_kernel(),
    })
    .unwrap();
    assert!(plan.probes.len() > 20, "{}", plan.probes.len());
    plan
}

#[test]
fn live_we_may_panic() {
    if !permitted() {
        return;
    }
    let expected = untraced("plain");
    let survivor = Survivor::start("plain");
    let pid = survivor.pid();
    let process = Process::find(&TargetSelector::Pid(pid)).unwrap();
    let binary = Arc::new(Binary::of_module(&process.executable().unwrap()).unwrap());
    let plan = plan_of(&process, &binary);
    let ours = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let mut session = Session::start(&plan, pid, &SessionOptions::default()).unwrap();
            let seen = session.next_batch().await.len();
            panic!("with {seen} records and {} probes", session.probes());
        });
    });
    assert!(ours.join().is_err());
    expect_no_probe(pid);
    assert_eq!(survivor.end(), expected);
}

/// Between the analysis of a program and the links lie seconds where its debug information is
/// large. Probes at the offsets of the old program in the new one would be in the middle of its
/// instructions.
#[tokio::test(flavor = "multi_thread")]
async fn live_a_program_that_took_the_place_of_the_analysed_one_gets_no_probe() {
    if !permitted() {
        return;
    }
    let program = Build::Release.folder().join("survivor");
    let mut fixture =
        Fixture::of(Command::new(&program).args(["--mode", "exec", "--become", "leaves"]));
    let pid = fixture.pid();
    let process = Process::find(&TargetSelector::Pid(pid)).unwrap();
    let module = process.executable().unwrap();
    let binary = Arc::new(Binary::of_module(&module).unwrap());
    let plan = plan_of(&process, &binary);
    fixture.tell("");
    // The other program has said that all its tasks wait.
    let mut lines = std::iter::repeat_with(|| fixture.next_line(patience()));
    assert!(lines.any(|line| line.get("ready").is_some()));
    let session = Session::start(&plan, pid, &SessionOptions::default());
    assert_eq!(changed_code(pid), Some(0), "{:?}", session.err());
    let replaced = process.check_still_runs(&module, binary.file().map(AsRef::as_ref));
    assert!(
        matches!(replaced, Err(TargetError::Replaced { .. })),
        "{replaced:?}"
    );
    assert!(fixture.is_alive());
    drop(session);
    expect_no_probe(pid);
}

/// Runs `asynctrace` with `arguments` and the target's pid to its end.
fn asynctrace(arguments: &[&str], pid: i32) -> Child {
    command::asynctrace(arguments)
        .args(["--pid", &pid.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The moments of a run of `asynctrace` that a test hits: from its start over the reading of debug
/// information and the attach into the session; how long this takes is measured.
fn moments(count: u32) -> Vec<Duration> {
    let survivor = Survivor::start("plain");
    let begin = Instant::now();
    let tracer = Tracer::attached(survivor.pid(), &[]);
    let attached = begin.elapsed();
    drop(tracer);
    // The last ones are behind it.
    (0..count)
        .map(|moment| attached * 5 / 4 * moment / (count - 1))
        .collect()
}

#[test]
fn live_the_target_may_end_or_become_another_program_at_any_moment() {
    if !permitted() {
        return;
    }
    let expected = untraced("plain");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let record = ["record", "--duration", "20", "-o", file.to_str().unwrap()];
    let moments = moments(4);
    for (arguments, every) in [(&record[..], 1), (&["check", "--now"], 2), (&["dump"], 2)] {
        for delay in moments.iter().copied().step_by(every) {
            for mode in ["plain", "exec"] {
                let mut survivor = Survivor::start(mode);
                let pid = survivor.pid();
                let tracer = asynctrace(arguments, pid);
                std::thread::sleep(delay);
                assert_eq!(survivor.answer(), expected);
                if mode == "exec" {
                    survivor.wait_for("ready");
                    assert_eq!(survivor.answer(), expected);
                }
                assert_eq!(survivor.fixture.wait(patience()), GOOD, "{arguments:?}");
                let run = tracer.wait_with_output().unwrap();
                let said = String::from_utf8_lossy(&run.stderr);
                // Done, findings, or gone before anything could be done.
                assert!(
                    matches!(run.status.code(), Some(0 | 3 | 6 | 10)),
                    "{arguments:?} after {delay:?}: {}: {said}",
                    run.status
                );
                expect_no_probe(pid);
            }
        }
    }
}

#[test]
fn live_we_may_be_killed_at_any_moment() {
    if !permitted() {
        return;
    }
    let expected = untraced("plain");
    let survivor = Survivor::start("plain");
    let pid = survivor.pid();
    // SIGABRT is how a panic ends a process that cannot unwind.
    for end in [Signal::KILL, Signal::ABORT] {
        for delay in moments(4) {
            let mut tracer = Tracer::start(pid, &["--exact-polls"]);
            std::thread::sleep(delay);
            signal(tracer.pid(), end);
            assert_eq!(tracer.wait().0, None, "a signal ended it");
            expect_no_probe(pid);
        }
    }
    // While it takes its probes out.
    for pause in [0, 2, 4, 6, 8, 10, 12, 15] {
        let mut tracer = Tracer::attached(pid, &["--exact-polls"]);
        tracer.interrupt();
        std::thread::sleep(Duration::from_millis(pause));
        signal(tracer.pid(), Signal::KILL);
        tracer.wait();
        expect_no_probe(pid);
    }
    assert_eq!(survivor.end(), expected);
}

/// Linux gives up when a thread is killed while it sets probes or takes them out, and leaks
/// breakpoints ("failed to unregister, leaking uprobe"). A budget does both many times a minute. So
/// a process of its own does it, which goes on for as long as that takes.
#[test]
fn live_we_may_be_killed_while_probes_are_set_and_taken_out() {
    if !permitted() {
        return;
    }
    // More of them by hand: `ASYNCTRACE_KILLS=200`.
    let kills = std::env::var("ASYNCTRACE_KILLS").map_or(8, |kills| kills.parse::<u32>().unwrap());
    let mut target = Fixture::start(Build::Release, "busy", &[]);
    let pid = target.pid();
    let leaks = leaks_in_kernel_log();
    let mut hits = 0;
    for kill in 0..kills {
        let mut tracer = Tracer::with_budget(pid, "5", &[]);
        wait_for_probes(pid);
        let holder = holder_of(tracer.pid()).expect("a process that holds the probes");
        // From the first window on, at no regular moment.
        std::thread::sleep(Duration::from_millis(u64::from(kill) * 37 % 400));
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(2) {
            if is_at_probes(tracer.pid()) || is_at_probes(holder) {
                hits += 1;
                break;
            }
        }
        if kill % 2 == 0 {
            signal(tracer.pid(), Signal::KILL);
        } else {
            let group = rustix::process::Pid::from_raw(tracer.pid()).unwrap();
            rustix::process::kill_process_group(group, Signal::KILL).unwrap();
        }
        assert_eq!(tracer.wait().0, None, "a signal ended it");
        expect_no_probe(pid);
        expect_gone(holder);
    }
    println!("{kills} kills, {hits} of them while probes were set or taken out");
    let new = leaks_in_kernel_log();
    // The log forgets its oldest lines.
    let new: Vec<_> = new.iter().filter(|line| !leaks.contains(line)).collect();
    assert!(new.is_empty(), "{new:?}");
    assert!(target.is_alive());
}

/// Waits until a process is gone, as a zombie too.
fn expect_gone(pid: i32) {
    let begin = Instant::now();
    let path = PathBuf::from(format!("/proc/{pid}/exe"));
    while path.read_link().is_ok() {
        assert!(begin.elapsed() < patience(), "process {pid} is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn live_with_perf_links_we_may_be_killed_too() {
    if !permitted() {
        return;
    }
    let mut target = Fixture::start(Build::Release, "busy", &[]);
    let pid = target.pid();
    let mut tracer = Tracer::of(
        command::asynctrace(&["record"]).env("ASYNCTRACE_LINKS", "perf"),
        pid,
        "none",
        &[],
    );
    wait_for_probes(pid);
    let holder = holder_of(tracer.pid()).expect("a process that holds the probes");
    // While it takes its probes out, which is 0.1 s for each.
    tracer.interrupt();
    std::thread::sleep(Duration::from_millis(300));
    signal(tracer.pid(), Signal::KILL);
    tracer.wait();
    expect_gone(holder);
    expect_no_probe(pid);
    assert!(target.is_alive());
}

#[test]
fn live_an_end_of_the_process_that_holds_the_probes_is_told() {
    if !permitted() {
        return;
    }
    let survivor = Survivor::start("plain");
    let pid = survivor.pid();
    // While nothing is done with the probes, and with windows.
    for budget in ["none", "0.5"] {
        let mut tracer = Tracer::with_budget(pid, budget, &[]);
        wait_for_probes(pid);
        let holder = holder_of(tracer.pid()).expect("a process that holds the probes");
        std::thread::sleep(Duration::from_millis(300));
        // What ends other programs does not end it.
        for other in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
            signal(holder, other);
        }
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(holder_of(tracer.pid()), Some(holder), "{budget}");
        while is_at_probes(holder) {
            std::thread::sleep(Duration::from_millis(1));
        }
        signal(holder, Signal::KILL);
        let (code, said) = tracer.wait();
        assert_eq!(code, Some(0), "{budget}: {said}");
        assert!(
            said.contains("the process that held the probes (probe-holder) was ended"),
            "{budget}: {said}"
        );
        expect_gone(holder);
        expect_no_probe(pid);
        // What was recorded is kept.
        let mut reader = Reader::open(&tracer.file).unwrap();
        let mut ending = None;
        while let Some(item) = reader.next_item().unwrap() {
            if let Item::End(end) = item {
                ending = Some(end.reason);
            }
        }
        assert_eq!(ending.as_deref(), Some("probes lost"), "{budget}");
    }
}

/// Handlers are there before probes are.
#[test]
fn live_a_signal_at_the_first_probe_is_an_orderly_end() {
    if !permitted() {
        return;
    }
    let survivor = Survivor::start("plain");
    let pid = survivor.pid();
    for end in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut tracer = Tracer::start(pid, &["--exact-polls"]);
        let begin = Instant::now();
        while changed_code(pid).expect("it runs") == 0 {
            assert!(begin.elapsed() < patience(), "nobody attached to {pid}");
        }
        signal(tracer.pid(), end);
        let (code, said) = tracer.wait();
        assert_eq!(code, Some(0), "{end:?}: {said}");
        assert!(said.contains("Ended after"), "{end:?}: {said}");
        expect_no_probe(pid);
    }
}

/// Address space for `asynctrace`, from "does not even start" to "nearly enough".
#[test]
fn live_we_may_run_out_of_memory() {
    if !permitted() {
        return;
    }
    let expected = untraced("plain");
    let survivor = Survivor::start("plain");
    let pid = survivor.pid();
    let mut ends = std::collections::BTreeSet::new();
    for megabytes in [20, 40, 80, 120, 160, 240, 400] {
        let limit = format!("--as={}", megabytes << 20);
        let run = Command::new("prlimit")
            .args([
                &limit,
                env!("CARGO_BIN_EXE_asynctrace"),
                "record",
                "-d",
                "0.3",
            ])
            .args(["-o", "/dev/null", "--pid", &pid.to_string()])
            // With a backtrace std can wait for ever for itself, when there is no memory for that either.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        expect_no_probe(pid);
        ends.insert(run.status.code());
        println!("{megabytes} MB: {}", run.status);
    }
    assert!(ends.len() > 1, "some were too little: {ends:?}");
    assert_eq!(survivor.end(), expected);
}

#[test]
fn live_twenty_rounds_under_load() {
    if !permitted() {
        return;
    }
    let expected = untraced("plain");
    let survivor = Survivor::start("plain");
    let pid = survivor.pid();
    for round in 0..20 {
        let tracer = Tracer::attached(pid, &["--duration", "0.1"]);
        assert!(tracer.polls() > 0, "round {round}");
        expect_no_probe(pid);
    }
    assert_eq!(survivor.end(), expected);
}

#[test]
fn live_two_at_once_do_not_disturb_each_other() {
    if !permitted() {
        return;
    }
    let expected = untraced("plain");
    let survivor = Survivor::start("plain");
    let pid = survivor.pid();
    let first = Tracer::attached(pid, &[]);
    let check = asynctrace(&["check", "--duration", "1"], pid);
    let second = Tracer::start(pid, &["--exact-polls"]);
    while !second.file.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    // One goes, the others stay: their probes are at the same places.
    assert!(first.stop() > 100);
    std::thread::sleep(Duration::from_millis(300));
    assert!(changed_code(pid).unwrap() > 0);
    assert!(second.stop() > 100);
    let run = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(matches!(run.status.code(), Some(0 | 10)), "{said}");
    expect_no_probe(pid);
    assert_eq!(survivor.end(), expected);
}

#[test]
fn live_a_stopped_target_is_attached_to_and_goes_on() {
    if !permitted() {
        return;
    }
    let expected = untraced("plain");
    let survivor = Survivor::start("plain");
    let pid = survivor.pid();
    let state = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status
            .lines()
            .find(|line| line.starts_with("State:"))
            .unwrap()
            .to_owned()
    };
    let stop = || {
        signal(pid, Signal::STOP);
        while !state().contains("stopped") {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    // Stopped while attached: we go on, it stays stopped, and goes on when it is told to.
    let tracer = Tracer::attached(pid, &[]);
    stop();
    std::thread::sleep(Duration::from_millis(300));
    assert!(state().contains("stopped"));
    signal(pid, Signal::CONT);
    std::thread::sleep(Duration::from_millis(300));
    // Attached, and left, while it is stopped.
    stop();
    assert!(tracer.stop() > 0);
    expect_no_probe(pid);
    let tracer = Tracer::attached(pid, &[]);
    assert!(state().contains("stopped"), "an attach lets nothing go on");
    let dump = command::dump(pid);
    assert!(!dump["tasks"].as_array().unwrap().is_empty());
    signal(pid, Signal::CONT);
    std::thread::sleep(Duration::from_millis(200));
    assert!(tracer.stop() > 0);
    expect_no_probe(pid);
    assert_eq!(survivor.end(), expected);
}

/// Probes that are single-stepped need a page in the target, whose address space may be full.
#[test]
fn live_a_target_without_room_for_more_memory_goes_on() {
    if !permitted() {
        return;
    }
    let expected = untraced("plain");
    let survivor = Survivor::start("plain");
    let pid = survivor.pid();
    // It has all that it needs by itself.
    survivor.wait_for("chapters");
    let status = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
    // The allocator's own ups and downs are not ours to break.
    let limit = format!("--as={}", pages * 4096 + (4 << 20));
    let limited = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &limit])
        .status()
        .unwrap();
    assert!(limited.success());
    let tracer = Tracer::attached(pid, &["--exact-polls"]);
    std::thread::sleep(Duration::from_millis(500));
    assert!(tracer.stop() > 100);
    expect_no_probe(pid);
    assert_eq!(survivor.end(), expected);
}
