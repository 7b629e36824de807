//! `--sample`: looks at memory at a rate, without probes. Nothing here uses BPF.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::command;
use support::fixture::Fixture;
use support::service::{self, Recorded};
use support::{Build, command::run};

/// Standard deviations of a count of samples that chance is given.
const CHANCE: f64 = 5.0;
/// Looks that are enough to even out what tasks do together. On a machine with no time for as many,
/// those that wait for one lock are all seen or none, and are one sample, not one each.
const MANY_LOOKS: f64 = 100.0;
/// Connections of the service.
const CONNECTIONS: u32 = 32;
/// The part that a busy machine is given: woken tasks that wait for a CPU do not wait in an await.
const BUSY: f64 = 0.25;

/// Nanoseconds of each measured await that lie between two times.
fn measured(recorded: &Recorded, from: u64, to: u64) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for request in &recorded.told.requests {
        for (name, (begin, end)) in &request.awaits {
            let inside = (*end).min(to).saturating_sub((*begin).max(from));
            *sums.entry(name.clone()).or_default() += inside as f64;
        }
    }
    sums
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

/// The time that tasks spend in each await, estimated from samples, is what the service measured.
#[test]
fn samples_are_where_the_time_goes() {
    let connections = CONNECTIONS.to_string();
    let recorded = service::sample("40", Build::Release, 8, &["--connections", &connections]);
    let report = recorded.report(&[]);
    assert_eq!(report["events_watched"], false);
    let looks = &report["sampled"]["looks"];
    let (first, last) = (&looks["first_ns"], &looks["last_ns"]);
    let (first, last) = (first.as_u64().unwrap(), last.as_u64().unwrap());
    let between = (last - first) as f64 / (number(&looks["count"]) - 1.0);
    let together = if number(&looks["count"]) < MANY_LOOKS {
        f64::from(CONNECTIONS)
    } else {
        1.0
    };
    let truth = measured(&recorded, first, last);
    let markers = service::markers();
    let awaits = report["sampled"]["awaits"].as_array().unwrap();
    let mut compared = 0;
    let mut sums = (0.0, 0.0);
    for (name, nanoseconds) in &truth {
        let (file, line) = &markers[name];
        let estimated: f64 = awaits
            .iter()
            .filter(|row| {
                row["by"].as_str().is_some_and(|by| by.contains("handle"))
                    && row["file"]
                        .as_str()
                        .is_some_and(|path| path.ends_with(file))
                    && row["line"].as_u64() == Some(*line)
            })
            .map(|row| number(&row["time_ns"]))
            .sum();
        let samples = nanoseconds / between;
        let chance = CHANCE * (samples * together).sqrt().max(1.0) * between;
        let error = (estimated - nanoseconds).abs();
        assert!(
            error <= chance + BUSY * nanoseconds,
            "{name}: {:.0} ms estimated, {:.0} ms measured, {samples:.0} samples expected",
            estimated / 1e6,
            nanoseconds / 1e6
        );
        // Enough of them that a wrong share would not pass.
        compared += u32::from(samples > 20.0);
        sums.0 += estimated;
        sums.1 += nanoseconds;
    }
    assert!(compared >= 1, "too few samples: {looks}, {truth:?}");
    // Each connection is in one of them nearly always, so that chance has no part in their sum.
    let (estimated, measured) = sums;
    assert!(
        (estimated - measured).abs() < BUSY * measured,
        "{:.0} ms estimated in all, {:.0} ms measured",
        estimated / 1e6,
        measured / 1e6
    );

    // A recording of looks has no events, and says so wherever they are asked for.
    for arguments in [
        vec!["report", recorded.path(), "--task", "1"],
        vec!["report", recorded.path(), "--requests"],
        vec![
            "export",
            recorded.path(),
            "-f",
            "perfetto",
            "-o",
            "/dev/null",
        ],
        vec!["export", recorded.path(), "-f", "json", "-o", "/dev/null"],
        vec![
            "export",
            recorded.path(),
            "-f",
            "folded",
            "--value",
            "polled",
        ],
    ] {
        let run = run(&arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {}", run.stderr);
        assert!(
            run.stderr.contains("no event was watched"),
            "{}",
            run.stderr
        );
    }
    let folded = run(&["export", recorded.path(), "-f", "folded"]);
    assert_eq!(folded.code, Some(0), "{}", folded.stderr);
    let (file, line) = &markers["look_up"];
    let at = format!("{file}:{line}");
    assert!(folded.stdout.lines().any(|stack| stack.contains(&at)));
    assert!(
        folded.stderr.contains("times are estimates"),
        "{}",
        folded.stderr
    );
    for format in ["svg", "pprof"] {
        let out = recorded.folder.path().join(format);
        let out = out.to_str().unwrap();
        let run = run(&["export", recorded.path(), "-f", format, "-o", out]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
    let text = run(&["report", recorded.path()]);
    assert!(text.stdout.contains("Where tasks wait"), "{}", text.stdout);
    let page = recorded.folder.path().join("page.html");
    let html = run(&["report", recorded.path(), "--html", page.to_str().unwrap()]);
    assert_eq!(html.code, Some(0), "{}", html.stderr);
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains(&at) && page.contains("default-src 'none'"));
}

/// Tasks that wait for ever stand still in every look, each at the place that the source tells.
#[test]
fn what_stands_still_is_told_to_stand_still() {
    let fixture = Fixture::start(Build::Release, "shapes", &[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("still.astrace");
    let (pid, path) = (fixture.pid().to_string(), file.to_str().unwrap());
    let record = run(&["record", "-p", &pid, "-o", path, "--sample", "5", "-d", "2"]);
    assert_eq!(record.code, Some(0), "{}", record.stderr);
    let report = run(&["report", path, "--json"]);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    let sampled = &report["sampled"];
    let (changes, looks) = (&sampled["changes"], &sampled["looks"]["count"]);
    let tasks = sampled["by_look"][0]["tasks"].as_u64().unwrap();
    assert!(tasks as usize >= fixture.tasks.len());
    assert_eq!(changes["came"], 0, "{changes}");
    assert_eq!(changes["went"], 0, "{changes}");
    assert_eq!(changes["moved"], 0, "{changes}");
    let looks = looks.as_u64().unwrap();
    assert!(looks >= 2, "{looks} looks: {}", record.stderr);
    assert_eq!(changes["still"], tasks * (looks - 1), "{changes}");
    let check = run(&["check", path, "--json"]);
    let check: Value = serde_json::from_str(&check.stdout).unwrap();
    assert_eq!(check["coverage"]["events_watched"], false);
    assert_eq!(check["coverage"]["looks"], looks);
    let kinds: Vec<_> = check["coverage"]["not_judged"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| kind["kind"].as_str().unwrap())
        .collect();
    assert!(kinds.contains(&"slow_to_run"), "{kinds:?}");
}

/// A rate that looks cannot be taken at for what they may cost is lowered, and that is said.
#[test]
fn a_rate_that_costs_too_much_is_lowered_and_that_is_said() {
    let fixture = Fixture::start(Build::Release, "shapes", &[]);
    let pid = fixture.pid().to_string();
    let attach = run(&["attach", "-p", &pid, "--sample", "1000", "-d", "8"]);
    assert_eq!(attach.code, Some(0), "{}", attach.stderr);
    assert!(
        attach.stderr.contains("the rate was lowered from 1000"),
        "{}",
        attach.stderr
    );
    assert!(attach.stdout.contains("STILL"), "{}", attach.stdout);
}

/// The end of the target ends the session in order.
#[test]
fn the_targets_end_is_a_normal_end() {
    let mut child = Command::new(Build::Release.folder().join("shapes"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    let sampling = command::asynctrace(&["attach", "-p", &pid, "--sample", "10"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    child.kill().unwrap();
    child.wait().unwrap();
    let output = sampling.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("the target has exited"), "{said}");
}

/// Nobody's id on Debian, and on most systems.
const NOBODY: u32 = 65_534;

/// As `nobody` where we may become that, else as ourselves.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new(program);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.stdin(Stdio::null());
    command
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A user without any right looks at a process of their own: started by asynctrace itself, which is
/// permitted under every setting of `ptrace_scope` that permits anything.
#[test]
fn a_user_without_rights_can_sample_a_process_of_theirs() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let tool = folder.path().join("asynctrace");
    let program = folder.path().join("shapes");
    fs::copy(env!("CARGO_BIN_EXE_asynctrace"), &tool).unwrap();
    fs::copy(Build::Release.folder().join("shapes"), &program).unwrap();
    for path in [&tool, &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let target = Killed(
        unprivileged(&program)
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    std::thread::sleep(Duration::from_secs(1));
    let file = folder.path().join("own.astrace");
    let Output { status, stderr, .. } = unprivileged(&tool)
        .args(["record", "--sample", "4", "-d", "2", "-p"])
        .arg(target.0.id().to_string())
        .arg("-o")
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(0), "{said}");
    let report = run(&["report", file.to_str().unwrap(), "--json"]);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    let samples = report["sampled"]["samples"]["idle"].as_u64().unwrap();
    assert!(samples > 20, "{samples} samples: {said}");
    let placed = report["sampled"]["awaits"].as_array().unwrap();
    assert!(placed.iter().any(|row| row["line"].is_u64()), "{said}");
}
