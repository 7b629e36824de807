//! `cargo xtask false-alarms`: `asynctrace check` of healthy programs under load, for a minute each,
//! and many times from memory alone. What it finds there is false.
//!
//! Prints the table of docs/findings.md on stdout, each finding on stderr. Fails when any is `proved`
//! or `likely`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::bpf::Folders;
use crate::shell::{say, which};
use crate::{demo, fixtures, setup};

/// Programs and their arguments, in the order of the table.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("http", &[]),
    ("mini-redis", &[]),
    ("idle", &[]),
    ("demo", &[]),
    ("service", &["--seconds", "3600"]),
    ("busy", &["--rate", "200"]),
    ("runtimes", &[]),
    ("leaves", &[]),
];

/// Time for a program to warm up after it is ready.
const WARM_UP: Duration = Duration::from_secs(1);

/// What is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long to attach to each program, in seconds.
    #[arg(short, long, default_value_t = 60)]
    duration: u64,
    /// How often to judge each program from memory alone.
    #[arg(long, default_value_t = 20)]
    now: u64,
    /// Only this program [default: all].
    #[arg(long)]
    program: Option<String>,
    /// The `asynctrace` to use [default: it is built, optimised].
    #[arg(long)]
    asynctrace: Option<PathBuf>,
    /// Take the programs as they have been built.
    #[arg(long)]
    no_build: bool,
    /// Keep each judgement as JSON in this folder.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// What the judgements of one program have in common.
#[derive(Default)]
struct Row {
    judgements: u64,
    tasks: u64,
    polls: u64,
    seconds: f64,
    lost: u64,
    /// Findings by certainty; the same one in twenty judgements counts twenty times.
    findings: BTreeMap<String, u64>,
}

/// Runs everything.
///
/// # Errors
/// When something does not build or run, or a finding is `proved` or `likely`.
pub(crate) fn run(folders: &Folders, arguments: &Arguments) -> Result<()> {
    let asynctrace = match &arguments.asynctrace {
        Some(path) => path.clone(),
        None => demo::build(folders)?,
    };
    if !arguments.no_build {
        fixtures::build(folders)?;
    }
    if let Some(folder) = &arguments.keep {
        std::fs::create_dir_all(folder)?;
    }
    println!(
        "| program | looked | judgements | tasks | polls | seconds | events lost | possible | likely | proved |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut false_alarms = 0;
    for (name, extra) in PROGRAMS {
        if arguments
            .program
            .as_deref()
            .is_some_and(|only| only != *name)
        {
            continue;
        }
        let program = Program::start(folders, name, extra)?;
        thread::sleep(WARM_UP);
        let pid = program.child.id().to_string();
        let live = ["-d", &arguments.duration.to_string()].map(str::to_owned);
        let ways: [(&str, &[String], u64); 2] = [
            ("live", &live, 1),
            ("now", &["--now".to_owned()], arguments.now),
        ];
        for (way, options, times) in ways {
            let mut row = Row::default();
            for time in 0..times {
                let check = check(&asynctrace, &pid, options)?;
                if let Some(folder) = &arguments.keep {
                    let file = folder.join(format!("{name}-{way}-{time}.json"));
                    std::fs::write(file, serde_json::to_vec_pretty(&check)?)?;
                }
                row.add(name, &check);
            }
            row.print(name, way);
            false_alarms += row.count("likely") + row.count("proved");
        }
    }
    if false_alarms > 0 {
        bail!("{false_alarms} findings of certainty proved or likely in healthy programs");
    }
    Ok(())
}

fn check(asynctrace: &Path, pid: &str, options: &[String]) -> Result<Value> {
    let output = Command::new(asynctrace)
        .args(["check", "--json", "--pid", pid])
        .args(options)
        .stdin(Stdio::null())
        .output()
        .context("could not start asynctrace")?;
    let talk = String::from_utf8_lossy(&output.stderr);
    if !matches!(output.status.code(), Some(0 | 10)) {
        bail!("asynctrace check ended with {}: {talk}", output.status);
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("no JSON; it said {talk}"))
}

impl Row {
    fn add(&mut self, program: &str, check: &Value) {
        let coverage = &check["coverage"];
        let missing = &coverage["missing"];
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        self.judgements += 1;
        self.tasks = self.tasks.max(number(&coverage["tasks"]));
        self.polls += number(&coverage["polls"]);
        self.lost += number(&missing["records_lost"]) + number(&missing["events_dropped"]);
        let span = number(&check["span"]["ended_ns"]) - number(&check["span"]["began_ns"]);
        self.seconds += Duration::from_nanos(span).as_secs_f64();
        for finding in check["findings"].as_array().into_iter().flatten() {
            let certainty = finding["certainty"].as_str().unwrap_or("?").to_owned();
            eprintln!(
                "{program}: {certainty} {} x{}: {} {}",
                finding["key"], finding["count"], finding["summary"], finding["evidence"]
            );
            *self.findings.entry(certainty).or_default() += 1;
        }
    }

    fn count(&self, certainty: &str) -> u64 {
        self.findings.get(certainty).copied().unwrap_or_default()
    }

    fn print(&self, program: &str, way: &str) {
        println!(
            "| {program} | {way} | {} | {} | {} | {:.0} | {} | {} | {} | {} |",
            self.judgements,
            self.tasks,
            self.polls,
            self.seconds,
            self.lost,
            self.count("possible"),
            self.count("likely"),
            self.count("proved"),
        );
    }
}

/// A program that runs, with its load; both end with this value.
struct Program {
    child: Child,
    /// Some end when their stdin does.
    _stdin: Option<ChildStdin>,
    load: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some((over, thread)) = self.load.take() {
            over.store(true, Ordering::Relaxed);
            let _ = thread.join();
        }
    }
}

impl Program {
    fn start(folders: &Folders, name: &str, arguments: &[&str]) -> Result<Self> {
        if name == "mini-redis" {
            return Self::mini_redis(folders);
        }
        let path = folders.target.join("fixtures/release").join(name);
        let mut child = Command::new(&path)
            .args(arguments)
            .env("FIXTURE_SECONDS", "3600")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {}", path.display()))?;
        let stdout = child.stdout.take().context("no pipe")?;
        let stdin = child.stdin.take();
        let mut lines = BufReader::new(stdout).lines();
        let program = Self {
            child,
            _stdin: stdin,
            load: None,
        };
        loop {
            let line = lines.next().context("it ended before it was ready")??;
            if line.contains("\"ready\"") {
                break;
            }
        }
        // A full pipe must not stop it.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(program)
    }

    /// The server under redis-benchmark, again and again.
    fn mini_redis(folders: &Folders) -> Result<Self> {
        let benchmark =
            which("redis-benchmark").context("no redis-benchmark: cargo xtask setup")?;
        // It does not tell what the kernel chose: a port that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port()
            .to_string();
        let child = Command::new(setup::mini_redis_server(folders))
            .args(["--port", &port])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("no mini-redis: cargo xtask setup")?;
        thread::sleep(WARM_UP);
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let load = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let status = Command::new(&benchmark)
                    .args([
                        "-p", &port, "-c", "20", "-n", "20000", "-t", "set,get", "-q",
                    ])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status();
                if !status.is_ok_and(|status| status.success()) && !ended.load(Ordering::Relaxed) {
                    say("false-alarms: redis-benchmark failed");
                    thread::sleep(WARM_UP);
                }
            }
        });
        Ok(Self {
            child,
            _stdin: None,
            load: Some((over, load)),
        })
    }
}
