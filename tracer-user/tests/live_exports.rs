//! Every export of a recording of a real program, read by programs that we did not write. The
//! service under test has concurrent branches, channels, locks, spawned tasks and timeouts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

#[allow(dead_code, reason = "each test binary uses its own part")]
mod attach_support;
mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use attach_support::Fixture;
use serde_json::Value;
use support::command::run;

fn reader(script: &str, arguments: &[&str]) {
    let readers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers");
    let said = tool(
        Command::new(support::target().join("tools/venv/bin/python3"))
            .arg(readers.join(script))
            .args(arguments),
    );
    println!("{script}: {said}");
}

fn tool(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; run cargo xtask setup"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waiting time of the futures that never await anything, by future, as the history has it.
fn leaves(history: &Value) -> HashMap<String, u64> {
    let awaits = history["awaits"].as_array().unwrap();
    let name = |instance: &Value| {
        let awaited = instance["awaited"].as_u64().unwrap() as usize;
        history["awaited"][awaited]["future"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let mut sums: HashMap<String, u64> = HashMap::new();
    for instance in awaits {
        *sums.entry(name(instance)).or_default() += instance["waiting_ns"].as_u64().unwrap();
    }
    for instance in awaits {
        let former = instance["former_parents"].as_array().unwrap().iter();
        for parent in former.chain([&instance["parent"]]) {
            if let Some(parent) = parent.as_u64() {
                sums.remove(&name(&awaits[parent as usize]));
            }
        }
    }
    sums
}

#[test]
fn live_published_schema_go_pprof_graphviz_read_a_real_recording() {
    let target = Fixture::start("demo", &[]);
    let folder = tempfile::TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let recording = path("t.astrace");
    let pid = target.pid().to_string();
    let recorded = run(&["record", "-p", &pid, "-d", "3", "-o", &recording]);
    assert_eq!(recorded.code, Some(0), "{}", recorded.stderr);
    drop(target);

    for (format, level) in [
        ("json", None),
        ("perfetto", Some("polls")),
        ("otlp", Some("awaits")),
        ("pprof", None),
        ("folded", None),
        ("svg", None),
        ("dot", Some("awaits")),
    ] {
        let out = path(format);
        let mut arguments = vec!["export", &recording, "-f", format, "-o", &out];
        if let Some(level) = level {
            arguments.extend(["--level", level]);
        }
        let begin = Instant::now();
        let exported = run(&arguments);
        assert_eq!(exported.code, Some(0), "{format}: {}", exported.stderr);
        let bytes = std::fs::metadata(&out).unwrap().len();
        println!("{format}: {bytes} bytes in {:?}", begin.elapsed());
    }
    let history: Value = serde_json::from_slice(&std::fs::read(path("json")).unwrap()).unwrap();
    let count = |list: &str| history[list].as_array().unwrap().len();
    assert!(count("awaits") > 500 && count("polls") > 500 && count("wakes") > 500);

    reader(
        "perfetto_trace.py",
        &[&path("perfetto"), &path("json"), "polls"],
    );
    reader("otlp_request.py", &[&path("otlp"), &path("json"), "awaits"]);
    reader("svg_texts.py", &[&path("svg")]);
    let drawn = path("drawn.svg");
    tool(Command::new("dot").args(["-Tsvg", "-o", &drawn, &path("dot")]));
    reader("svg_texts.py", &[&drawn]);

    // The same sums from three sides.
    let leaves = leaves(&history);
    assert!(leaves.len() >= 3, "{leaves:?}");
    let mut folded: HashMap<String, u64> = HashMap::new();
    for line in std::fs::read_to_string(path("folded")).unwrap().lines() {
        let (stack, time) = line.rsplit_once(' ').unwrap();
        let leaf = stack.rsplit(';').next().unwrap();
        let future = leaf.split(" at ").next().unwrap();
        *folded.entry(future.to_owned()).or_default() += time.parse::<u64>().unwrap();
    }
    for (future, waiting) in &leaves {
        let found = folded.get(&future.replace(';', ",")).copied().unwrap_or(0);
        assert_eq!(found, *waiting, "{future}");
    }
    let raw = tool(Command::new("go").args(["tool", "pprof", "-raw", &path("pprof")]));
    let (_, samples) = raw.split_once("Samples:\n").unwrap();
    let (samples, _) = samples.split_once("Locations\n").unwrap();
    let waiting: u64 = samples
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    assert_eq!(waiting, folded.values().sum::<u64>());
}
