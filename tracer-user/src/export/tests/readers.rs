//! Each format read by someone else.

use std::collections::BTreeMap;
use std::process::Command;

use super::outside::{Files, What, bytes, python, run, text};
use crate::analyse::history::AwaitIndex;
use crate::export::samples::{HOSTILE, Sample, many, service};
use crate::export::{Level, Measure};

#[test]
fn published_schema_perfetto_reads_what_the_history_says() {
    for (sample, level, name) in [
        (service(), Level::Polls, "polls"),
        (service(), Level::Awaits, "awaits"),
        (service(), Level::Tasks, "tasks"),
        (service(), Level::Requests, "requests"),
        (many(300), Level::Polls, "polls"),
    ] {
        let files = Files::new();
        let trace = files.write("t.pftrace", &sample, &What::Perfetto(level));
        let history = files.write("t.json", &sample, &What::Json);
        let said = python("perfetto_trace.py", &[&trace, &history, name.as_ref()]);
        assert!(said.starts_with("ok "), "{said}");
    }
}

#[test]
fn published_schema_otlp_reads_what_the_history_says() {
    for (sample, level, name) in [
        (service(), Level::Awaits, "awaits"),
        (service(), Level::Tasks, "tasks"),
        (service(), Level::Requests, "requests"),
        (service(), Level::Polls, "polls"),
        (many(300), Level::Awaits, "awaits"),
    ] {
        let files = Files::new();
        let request = files.write("t.otlp", &sample, &What::Otlp(level));
        let history = files.write("t.json", &sample, &What::Json);
        let said = python("otlp_request.py", &[&request, &history, name.as_ref()]);
        assert!(said.starts_with("ok "), "{said}");
    }
}

/// Repeated numbers stand one by one in the file: Perfetto's own reader knows no other way, while
/// Python's takes both.
#[test]
fn perfetto_gets_lists_of_numbers_unpacked() {
    let trace = bytes(&service(), &What::Perfetto(Level::Polls));
    // Field 47 and field 48 as 64 bits each; field 3 as a number.
    for tag in [&[0xf9, 0x02][..], &[0x81, 0x03]] {
        let found = trace.windows(2).filter(|window| window == &tag).count();
        assert!(found >= 5, "{tag:x?}: {found}");
    }
    for packed in [&[0xfa, 0x02, 0x08][..], &[0x82, 0x03, 0x08]] {
        assert!(!trace.windows(3).any(|window| window == packed));
    }
}

/// Lines of `go tool pprof -raw`: values and labels of each sample, then its locations.
fn go_samples(sample: &Sample) -> Vec<([u64; 3], usize)> {
    let files = Files::new();
    let path = files.write("t.pb.gz", sample, &What::Pprof);
    let raw = run(Command::new("go").args(["tool", "pprof", "-raw"]).arg(path));
    let (_, rest) = raw.split_once("Samples:\n").unwrap();
    let (kinds, rest) = rest.split_once('\n').unwrap();
    assert_eq!(
        kinds.trim(),
        "waiting/nanoseconds[dflt] polled/nanoseconds awaits/count"
    );
    let (samples, locations) = rest.split_once("Locations\n").unwrap();
    assert!(locations.contains("src/main.rs:33"), "{locations}");
    let mut found = Vec::new();
    let mut labels = 0;
    for line in samples.lines() {
        if let Some((values, stack)) = line.split_once(": ")
            && values
                .trim()
                .starts_with(|first: char| first.is_ascii_digit())
        {
            let values: Vec<u64> = values
                .split_whitespace()
                .map(|value| value.parse().unwrap())
                .collect();
            found.push((values.try_into().unwrap(), stack.split_whitespace().count()));
        } else if line.contains("task:[app::") {
            labels += 1;
        }
    }
    assert_eq!(labels, found.len(), "{samples}");
    found
}

#[test]
fn go_pprof_reads_the_times_of_every_stack() {
    let sample = service();
    let samples = go_samples(&sample);
    let (mut waiting, mut polled) = (0, 0);
    for (number, instance) in (0..).zip(&sample.history.awaits) {
        let held = |other: &&crate::analyse::history::Await| {
            other.parent == Some(AwaitIndex(number))
                || other.former_parents.contains(&AwaitIndex(number))
        };
        if !sample.history.awaits.iter().any(|other| held(&other)) {
            waiting += instance.waiting;
            polled += instance.polled;
        }
    }
    let sum = |at: usize| samples.iter().map(|(values, _)| values[at]).sum::<u64>();
    // An async body does not wait but in what it awaits, so leaves have all the waiting; being
    // polled is what it does itself.
    assert_eq!(sum(0), waiting);
    assert!(sum(1) >= polled);
    assert_eq!(sum(2), sample.history.awaits.len() as u64);
    assert_eq!(samples.iter().map(|sample| sample.1).max(), Some(5));
}

#[test]
fn go_pprof_reports_the_await_profile() {
    let sample = service();
    let files = Files::new();
    let path = files.write("t.pb.gz", &sample, &What::Pprof);
    let top = run(Command::new("go")
        .args(["tool", "pprof", "-top", "-unit=ns", "-nodefraction=0"])
        .args(["-sample_index=waiting", "-nodecount=1000"])
        .arg(path));
    let flat: BTreeMap<&str, u64> = top
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            let flat = columns.next()?.strip_suffix("ns")?.parse().ok()?;
            Some((columns.nth(4)?, flat))
        })
        .collect();
    for leaf in ["tokio::Sleep", "tokio::Recv", "tokio::Write", "tokio::Lock"] {
        let of_leaf = sample.history.awaits.iter();
        let waiting: u64 = of_leaf
            .filter(|instance| &*instance.awaited.future == leaf)
            .map(|instance| instance.waiting)
            .sum();
        assert_eq!(flat.get(leaf), Some(&waiting), "{leaf} in\n{top}");
    }
    assert!(top.contains("Type: waiting"), "{top}");
}

#[test]
fn graphviz_draws_the_graph() {
    let sample = service();
    for level in [Level::Tasks, Level::Awaits] {
        let files = Files::new();
        let path = files.write("t.dot", &sample, &What::Dot(level));
        let drawn = run(Command::new("dot").arg("-Tdot_json").arg(&path));
        let drawn: serde_json::Value = serde_json::from_str(&drawn).unwrap();
        let list = |name: &str| drawn[name].as_array().cloned().unwrap_or_default();
        let clusters = list("objects")
            .iter()
            .filter(|object| {
                let name = object["name"].as_str().unwrap();
                name.starts_with("cluster_")
            })
            .count();
        assert_eq!(clusters, 3);
        let mut wakes = 0;
        let mut spawns = 0;
        for edge in list("edges") {
            let label = edge["label"].as_str().unwrap_or("").to_owned();
            let count = |word: &str| label.strip_prefix(word).map(|n| n.parse::<u64>().unwrap());
            wakes += count("wakes ").unwrap_or(0);
            spawns += count("spawns ").unwrap_or(0);
        }
        // The fifth wake-up had no effect.
        assert_eq!((wakes, spawns), (4, 2), "{level:?}");

        let picture = run(Command::new("dot").arg("-Tsvg").arg(&path));
        let svg = path.with_extension("svg");
        std::fs::write(&svg, &picture).unwrap();
        let texts = python("svg_texts.py", &[&svg]);
        let wanted: &[&str] = if level == Level::Tasks {
            &["app::serve", "app::store", "app::idle", "timer"]
        } else {
            &[
                "tokio::Sleep",
                "at src/main.rs:33",
                "waits for sleep",
                "once, waiting 45.0 us, polled 0 ns, longest 45.0 us",
                "evil::<[u8; 4], \"q\\\">\\x1b[2J\\x0a<b>&amp;\\u{202e}{x}",
            ]
        };
        for text in wanted {
            assert!(texts.contains(text), "{text} is not in\n{texts}");
        }
    }
}

#[test]
fn published_schema_xml_reads_the_flame_graph() {
    let sample = service();
    for measure in [Measure::Waiting, Measure::Polled, Measure::Both] {
        let files = Files::new();
        let path = files.write("t.svg", &sample, &What::Svg(measure));
        let texts = python("svg_texts.py", &[&path]);
        assert!(texts.contains("app::handle at src/main.rs:10"), "{texts}");
        assert!(!texts.contains('\x1b'));
        if measure == Measure::Waiting {
            // Of the request, in microseconds.
            let sleep = "tokio::Sleep at src/main.rs:33 (45 us";
            assert!(texts.contains(sleep), "{texts}");
            assert!(texts.contains("evil::<[u8, 4]"), "{texts}");
        }
    }
}

#[test]
fn hostile_names_stay_names() {
    let sample = service();
    for what in [
        What::Folded(Measure::Both),
        What::Dot(Level::Awaits),
        What::Svg(Measure::Both),
        What::Json,
    ] {
        let text = text(&sample, &what);
        for character in ['\x1b', '\u{202e}'] {
            assert!(!text.contains(character));
        }
    }
    for what in [What::Perfetto(Level::Polls), What::Otlp(Level::Polls)] {
        let bytes = bytes(&sample, &what);
        assert!(!bytes.windows(4).any(|window| window == b"\x1b[2J"));
    }
    let json: serde_json::Value = serde_json::from_str(&text(&sample, &What::Json)).unwrap();
    assert_eq!(json["units"][1]["name"], HOSTILE);
}
