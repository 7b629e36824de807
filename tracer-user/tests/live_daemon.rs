//! The daemon with real services: they come, go and come again; it is asked, scraped, reloaded with
//! nonsense, fed garbage, and ended.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use support::Build;
use support::command::{run, signal};
use support::daemon::Daemon;
use support::fixture::Fixture;
use support::kernel::{expect_no_probe, wait_for_probes};
use tempfile::TempDir;

/// `nobody`.
const NOBODY: u32 = 65534;

fn permitted() -> bool {
    match tracer_user::attach::permission::check() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("SKIPPED, this machine cannot attach: {error}");
            false
        }
    }
}

/// A service under a path that only this test has.
fn service(folder: &Path) -> Fixture {
    let program = folder.join("service-of-test");
    if !program.exists() {
        fs::copy(Build::Release.folder().join("busy"), &program).unwrap();
    }
    Fixture::of(Command::new(program).args(["--rate", "50"]))
}

fn target(folder: &Path) -> String {
    let exe = folder.join("service-of-test");
    format!("[[target]]\nlabel = \"svc\"\nexe = \"{}\"\n", exe.display())
}

/// The value of a series whose name and labels begin so; every line must be one.
fn series(text: &str, name: &str) -> Vec<f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut names = HashSet::new();
    let mut values = Vec::new();
    for line in lines {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(names.insert(series), "twice: {series}");
        let value: f64 = value.parse().unwrap();
        if series.starts_with(name) {
            values.push(value);
        }
    }
    values
}

#[test]
fn live_a_service_is_followed_as_it_comes_and_goes() {
    if !permitted() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let targets = target(folder.path());
    let services = folder.path().to_owned();
    let first = service(&services);
    let mut daemon = Daemon::start(folder, &targets);
    daemon.wait_for_following(&[first.pid()]);
    // Two at once; then the first is restarted.
    let second = service(&services);
    daemon.wait_for_following(&[first.pid(), second.pid()]);
    drop(first);
    let third = service(&services);
    daemon.wait_for_following(&[second.pid(), third.pid()]);
    wait_for_probes(third.pid());
    let pid = third.pid().to_string();

    // Two are meant by the label.
    let run_ = daemon.ask(&["dump", "svc"]);
    assert_eq!(run_.code, Some(3), "{run_:?}");
    assert!(run_.stderr.contains("--pid"), "{run_:?}");
    let dump = daemon.json(&["dump", "svc", "--pid", &pid]);
    assert_eq!(dump["process"]["pid"], third.pid());
    let tasks = dump["tasks"].as_array().unwrap();
    assert!(tasks.len() >= 14, "{}", tasks.len());
    assert!(tasks.iter().any(|task| task["tree"].is_object()));
    let text = daemon.ask(&["dump", "--pid", &pid]);
    assert!(text.stdout.contains("busy::ping"), "{text:?}");
    let check = daemon.json(&["check", "--pid", &pid]);
    assert_eq!(
        (&check["schema"], &check["source"]["kind"]),
        (&1.into(), &"live".into())
    );
    let found = check["findings"].as_array().unwrap().len();
    let text = daemon.ask(&["check", "--pid", &pid]);
    assert!(
        matches!(text.code, Some(0 | 10)),
        "{found} findings, then {text:?}"
    );

    // A recording: made by the daemon, in its folder, for us.
    let made = daemon.json(&["record", "--pid", &pid, "-d", "1"]);
    let path = Path::new(made["path"].as_str().unwrap());
    assert_eq!(path.parent().unwrap(), daemon.path("recordings"));
    let about = fs::metadata(path).unwrap();
    assert_eq!(about.mode() & 0o777, 0o600);
    assert_eq!(about.uid(), rustix::process::geteuid().as_raw());
    let report = run(&["report", &path.display().to_string(), "--json"]);
    assert_eq!(report.code, Some(0), "{report:?}");
    daemon.wait_for_following(&[second.pid(), third.pid()]);

    let scrape = daemon.wait_for("polls are counted", |daemon| {
        let answer = daemon.http(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(body.ends_with("# EOF\n"));
        let tasks: f64 = series(body, "asynctrace_tasks{").iter().sum();
        (tasks >= 28.0).then(|| body.to_owned())
    });
    let one = |name: &str| series(&scrape, name)[0];
    assert!(one("asynctrace_polls_total{target=\"svc\"}") > 100.0);
    let polls: f64 = series(&scrape, "asynctrace_poll_seconds_count")
        .iter()
        .sum();
    assert!(polls > 100.0);
    assert!(
        series(&scrape, "asynctrace_wake_to_poll_seconds_count")
            .iter()
            .sum::<f64>()
            > 100.0
    );
    // Three types, and the others.
    assert_eq!(series(&scrape, "asynctrace_poll_seconds_count").len(), 4);
    assert!(one("asynctrace_processes{target=\"svc\",state=\"following\"}") >= 1.0);
    assert!(one("asynctrace_daemon_resident_bytes") > 1e6);
    assert!(one("asynctrace_overhead_cpus") > 0.0);
    assert_eq!(
        one("asynctrace_events_lost_total{target=\"svc\",by=\"daemon\"}"),
        0.0
    );

    // Nonsense is refused with file, line and reason; everything goes on.
    let good = daemon.configuration(&targets);
    daemon.reload(&format!("{good}label = \"again\"\n"));
    daemon.wait_for("the reload is refused", |daemon| {
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains("stays as it was"))?;
        assert!(line.contains("daemon.toml: line 13: "), "{line}");
        Some(())
    });
    assert_eq!(daemon.in_state("following").len(), 2);
    // A good one that has another target is taken.
    daemon.reload(&daemon.configuration("[[target]]\nlabel = \"none\"\nname = \"no-such-name\"\n"));
    daemon.wait_for_following(&[]);
    expect_no_probe(third.pid());
    daemon.reload(&good);
    daemon.wait_for_following(&[second.pid(), third.pid()]);

    assert_eq!(daemon.stop(), Some(0), "{}", daemon.log());
    for service in [second, third] {
        expect_no_probe(service.pid());
    }
    assert!(!daemon.path("c.sock").exists());
    // Every line of its log is an object.
    for line in daemon.log().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("{line}"));
    }
}

#[test]
fn live_what_cannot_be_traced_is_told_and_tried_again() {
    if !permitted() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("no-async-here");
    fs::copy("/bin/sleep", &program).unwrap();
    let targets = "[[target]]\nlabel = \"plain\"\nname = \"no-async-here\"\n".to_owned()
        + &target(folder.path());
    let mut plain = Command::new(&program).arg("100").spawn().unwrap();
    let service = service(folder.path());
    let mut daemon = Daemon::start(folder, &targets);
    daemon.wait_for_following(&[service.pid()]);
    daemon.wait_for("it was tried twice", |daemon| {
        let list = daemon.json(&["list"]);
        let process = &list["targets"][0]["processes"][0];
        let reason = process["reason"]["message"].as_str()?;
        assert!(reason.contains("no async runtime"), "{list}");
        assert_eq!(process["reason"]["exit"], 6);
        (process["failures"].as_u64()? >= 2).then_some(())
    });
    let refused = daemon.ask(&["check", "plain"]);
    assert_eq!(refused.code, Some(6), "{refused:?}");
    plain.kill().unwrap();
    plain.wait().unwrap();
    daemon.wait_for("the one that ended is not listed", |daemon| {
        let list = daemon.json(&["list"]);
        list["targets"][0]["processes"]
            .as_array()?
            .is_empty()
            .then_some(())
    });
    // Killed, it leaves its socket, which the next one replaces, and no probe.
    signal(daemon.pid(), Signal::KILL);
    expect_no_probe(service.pid());
    assert!(daemon.path("c.sock").exists());
    assert_eq!(daemon.stop(), None);
}

/// What a control socket answers to these bytes, after which nothing more is sent.
fn answer_to(daemon: &Daemon, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(daemon.path("c.sock")).unwrap();
    // It may refuse before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn hostile_words_are_refused_and_the_daemon_goes_on() {
    let mut daemon = Daemon::start(TempDir::new().unwrap(), "");
    let long = [b"{\"version\":1,".as_slice(), &vec![b' '; 1 << 20], b"\n"].concat();
    let deep = "[".repeat(15_000) + "\n";
    for (bytes, word) in [
        (b"\n".as_slice(), "bad_request"),
        (b"\x00\xff\xfe\n", "bad_request"),
        (b"list\n", "bad_request"),
        (b"{\"version\":1,\"command\":\"list\"}", "newline"),
        (b"{\"version\":7,\"command\":\"list\"}\n", "version 7"),
        (
            b"{\"version\":1,\"command\":\"dump\",\"target\":\"\\u001b[2J\"}\n",
            "no_target",
        ),
        (
            b"{\"version\":1,\"command\":\"record\",\"pid\":1,\"seconds\":1}\n",
            "no_target",
        ),
        (deep.as_bytes(), "bad_request"),
    ] {
        let answer = answer_to(&daemon, bytes);
        assert!(
            answer.contains(word) && answer.contains("\"error\""),
            "{bytes:?}: {answer}"
        );
        assert!(!answer.contains('\u{1b}'));
    }
    // Its answer may be lost with the connection that is closed on what was not read.
    let answer = answer_to(&daemon, &long);
    assert!(answer.is_empty() || answer.contains("at most"), "{answer}");
    let twice = b"nonsense\n{\"version\":1,\"command\":\"list\"}\n";
    let answer = answer_to(&daemon, twice);
    assert_eq!(answer.lines().count(), 2, "{answer}");
    assert!(
        answer.lines().nth(1).unwrap().contains("\"result\""),
        "{answer}"
    );
    // More connections than are served at once, which say nothing.
    let silent: Vec<_> = (0..40)
        .map(|_| UnixStream::connect(daemon.path("c.sock")).unwrap())
        .collect();
    let busy = daemon.ask(&["list"]);
    assert_eq!(busy.code, Some(4), "{busy:?}");
    drop(silent);
    daemon.wait_for("it answers again", |daemon| {
        (daemon.ask(&["list"]).code == Some(0)).then_some(())
    });
    for (request, status) in [
        (b"GET / HTTP/1.1\r\n\r\n".as_slice(), "404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
        (b"\x16\x03\x01\r\n\r\n", "400"),
    ] {
        let answer = daemon.http(request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    let _ = daemon.http(&vec![b'x'; 1 << 20]);
    assert!(
        daemon
            .http(b"GET /metrics HTTP/1.1\r\n\r\n")
            .contains("# EOF")
    );
    assert_eq!(daemon.stop(), Some(0), "{}", daemon.log());
}

#[test]
fn systemd_is_told_how_the_daemon_is() {
    let mut daemon = Daemon::start(TempDir::new().unwrap(), "");
    assert_eq!(daemon.notified(), ["READY=1\n"]);
    for (text, word) in [("nonsense", "stays as it was"), ("", "was reloaded")] {
        let text = format!("{}{text}\n", daemon.configuration(""));
        daemon.reload(&text);
        let told = RefCell::new(String::new());
        daemon.wait_for("it is ready again", |daemon| {
            told.borrow_mut().push_str(&daemon.notified().concat());
            told.borrow().contains("READY=1\n").then_some(())
        });
        let told = told.into_inner();
        assert!(told.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{told}");
        assert!(daemon.log().contains(word), "{}", daemon.log());
    }
    assert_eq!(daemon.stop(), Some(0));
    assert!(daemon.notified().contains(&"STOPPING=1\n".to_owned()));
}

#[test]
fn a_stranger_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED, needs root");
        return;
    }
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("asynctrace");
    fs::copy(env!("CARGO_BIN_EXE_asynctrace"), &program).unwrap();
    let mut daemon = Daemon::start(folder, "");
    let socket = daemon.path("c.sock");
    let ask = || {
        let mut command = Command::new(&program);
        command.args(["ctl", "list", "--socket"]).arg(&socket);
        command.uid(NOBODY).gid(NOBODY).output().unwrap()
    };
    // The file system says no.
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
    let refused = ask();
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(!daemon.log().contains("a stranger"));
    // And the daemon does, whatever the file system says.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let refused = ask();
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("only root"), "{said}");
    assert!(daemon.log().contains("\"uid\":65534"), "{}", daemon.log());
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("daemon.toml");
    let path = config.display().to_string();
    let missing = run(&["daemon", "--config", &path]);
    assert_eq!(missing.code, Some(7), "{missing:?}");
    for (text, code, word) in [
        (
            "[metrics]\nlisten = \"0.0.0.0:9\"\n",
            2,
            "line 2: not an address of the loopback",
        ),
        (
            "[[target]]\nlabel = \"a\"\n",
            2,
            "line 1: target a needs one of",
        ),
        (
            "[control]\nsocket = \"/no/such/folder/c.sock\"\n",
            2,
            "/no/such/folder",
        ),
        (
            "[recordings]\ndirectory = \"/tmp\"\n",
            2,
            "may be written by others",
        ),
    ] {
        fs::write(&config, text).unwrap();
        let run = run(&["daemon", "--config", &path]);
        assert_eq!(run.code, Some(code), "{text}: {run:?}");
        assert!(run.stderr.contains(word), "{text}: {run:?}");
    }
    let none = run(&["ctl", "list", "--socket", "/no/such/socket"]);
    assert_eq!(none.code, Some(3), "{none:?}");
    fs::write(&config, "[[target]]\nlabel = \"a\"\nname = \"b\"\n").unwrap();
    let good = run(&["daemon", "--check", "--config", &path]);
    assert_eq!(
        (good.code, &*good.stdout),
        (Some(0), "The configuration is good: 1 targets.\n")
    );
}
