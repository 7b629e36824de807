//! Durations, causes and critical paths of a service that measures itself, in a build without
//! optimisation and in the hardest one; and with tracing's spans inside, as a witness that neither
//! of the two wrote.
//!
//! Other work on the machine delays the service and the tests alike: what is compared is what the
//! service measured in that very run, await by await; and while the machine was late, the two may
//! differ by as much.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::Value;
use support::expect::Complaints;
use support::lateness::Lateness;
use support::service::{Measured, Recorded, Span, markers, record};
use support::{Build, command};
use tracer_user::analyse::history::{Await, AwaitIndex, History};
use tracer_user::export::recording::{Reader, Window, builder, join};

const MS: u64 = 1_000_000;

/// How much two durations may differ: a millisecond, or a twentieth.
fn tolerance(duration: u64) -> u64 {
    MS.max(duration / 20)
}

fn length(span: Span) -> u64 {
    span.1 - span.0
}

fn history(path: &Path) -> History {
    let mut reader = Reader::open(path).expect("a recording");
    let mut joined = builder(reader.header(), Window::default());
    while let Some(item) = reader.next_item().expect("readable") {
        join(&item, &mut joined);
    }
    joined.finish()
}

/// The instances of a request in a history: itself, and what it awaits, by line.
struct Found<'h> {
    handle: &'h Await,
    awaits: HashMap<u64, &'h Await>,
}

/// Finds each request by its task and its time.
fn find<'h>(history: &'h History, requests: &[Measured]) -> Vec<Option<Found<'h>>> {
    let mut handles: HashMap<&str, Vec<AwaitIndex>> = HashMap::new();
    let mut children: HashMap<AwaitIndex, Vec<&Await>> = HashMap::new();
    for (at, instance) in (0..).zip(&history.awaits) {
        let task = history[instance.task].task().expect("awaits are of tasks");
        if instance.awaited.future.ends_with("::requests::handle") {
            let of_task = handles.entry(&*task.name).or_default();
            of_task.push(AwaitIndex(at));
        }
        if let Some(parent) = instance.parent {
            children.entry(parent).or_default().push(instance);
        }
    }
    let one = |request: &Measured| {
        let near = handles.get(&*request.task)?.iter();
        let index = *near.min_by_key(|index| history[**index].start.abs_diff(request.span.0))?;
        let handle = &history[index];
        if handle.start > request.span.1 || handle.end.is_some_and(|end| end < request.span.0) {
            return None;
        }
        let awaits = children.get(&index).into_iter().flatten();
        Some(Found {
            handle,
            awaits: awaits
                .filter_map(|child| Some((u64::from(child.awaited.line?), *child)))
                .collect(),
        })
    };
    requests.iter().map(one).collect()
}

/// Differences of durations, by what they are of.
struct Differences<'l> {
    late: &'l Lateness,
    all: BTreeMap<String, Vec<Difference>>,
}

struct Difference {
    request: u64,
    measured: u64,
    ours: u64,
    /// Ours may be longer by this.
    longer: u64,
    /// The machine was late for this long meanwhile.
    late: u64,
}

impl Difference {
    fn apart(&self) -> u64 {
        let closest = self
            .measured
            .clamp(self.ours.saturating_sub(self.longer), self.ours);
        self.measured.abs_diff(closest)
    }

    fn is_wrong(&self) -> bool {
        self.apart() > tolerance(self.measured) + self.late
    }
}

impl<'l> Differences<'l> {
    fn new(late: &'l Lateness) -> Self {
        let all = BTreeMap::new();
        Self { late, all }
    }

    /// Adds what was measured in `span`, for `measured` of it, and is said to be `ours`, or less by
    /// up to `longer`.
    fn add(
        &mut self,
        what: &str,
        request: u64,
        span: Span,
        measured: u64,
        (ours, longer): (u64, u64),
    ) {
        let end = span.1.max(span.0 + ours);
        // What comes before and after it is its begin and end as traps see them.
        let late = self.late.between(span.0.saturating_sub(MS), end + MS);
        let of = self.all.entry(what.to_owned()).or_default();
        of.push(Difference {
            request,
            measured,
            ours,
            longer,
            late,
        });
    }

    /// Half of the differences are far within the tolerance, and nearly all are within it. (The
    /// end of a poll is an upper bound: the next thing on its thread.)
    fn check(&self, complaints: &mut Complaints) {
        for (what, all) in &self.all {
            let mut sorted: Vec<u64> = all.iter().map(Difference::apart).collect();
            sorted.sort_unstable();
            let half = sorted[sorted.len() / 2];
            let worst = sorted[sorted.len() - 1];
            let wrong: Vec<&Difference> = all.iter().filter(|one| one.is_wrong()).collect();
            let late = all.iter().filter(|one| one.late > 0).count();
            println!(
                "{what}: {} compared, {late} of them while the machine was late; {} apart by more \
                 than that and 1 ms or 5 %; half by at most {} us, the worst by {} us",
                all.len(),
                wrong.len(),
                half / 1_000,
                worst / 1_000
            );
            complaints.unless(half < MS / 2, format!("{what}: half differ by {half} ns"));
            let examples: Vec<String> = wrong
                .iter()
                .take(5)
                .map(|one| format!("{}: {} not {}", one.request, one.ours, one.measured))
                .collect();
            // Of few, one delay that nobody saw is more than two in a hundred.
            complaints.unless(
                wrong.len() <= 2.max(all.len() / 50),
                format!("{what}: {} of {}: {examples:?}", wrong.len(), all.len()),
            );
        }
    }
}

/// Every request is there, and every await of it that took time, with the right durations.
fn check_durations(recorded: &Recorded, complaints: &mut Complaints) {
    let history = history(&recorded.file);
    let markers = markers();
    let mut differences = Differences::new(&recorded.late);
    let mut missing = Vec::new();
    let requests = &recorded.told.requests;
    for (request, found) in requests.iter().zip(find(&history, requests)) {
        let Some(found) = found else {
            missing.push(format!("request {}", request.id));
            continue;
        };
        let ours = found.handle.duration(history.span.end);
        let (id, span) = (request.id, request.span);
        differences.add("request", id, span, length(span), (ours, 0));
        for (name, span) in &request.awaits {
            let line = markers[name].1;
            match found.awaits.get(&line) {
                Some(instance) => {
                    let ours = instance.duration(history.span.end);
                    differences.add(name, id, *span, length(*span), (ours, 0));
                }
                // A lock that was free was not waited for.
                None if name == "locked" && length(*span) < 5 * MS => {}
                None => missing.push(format!("{name} of request {}", request.id)),
            }
        }
    }
    let expected = requests.len() * 7;
    complaints.unless(
        missing.len() * 200 <= expected,
        format!("{} of {expected} are missing: {missing:?}", missing.len()),
    );
    differences.check(complaints);
}

/// For each request, the await that took longest beyond its median, and how long beyond.
fn excesses(requests: &[Measured]) -> HashMap<u64, (String, u64, u64)> {
    let mut by_name: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (name, span) in requests.iter().flat_map(|request| &request.awaits) {
        by_name.entry(name).or_default().push(length(*span));
    }
    let medians: BTreeMap<&str, u64> = by_name
        .into_iter()
        .map(|(name, mut lengths)| {
            lengths.sort_unstable();
            (name, lengths[lengths.len() / 2])
        })
        .collect();
    let excess = |request: &Measured| {
        let mut beyond: Vec<(u64, &String)> = request
            .awaits
            .iter()
            .map(|(name, span)| (length(*span).saturating_sub(medians[&**name]), name))
            .collect();
        beyond.sort_unstable();
        let [.., (second, _), (first, name)] = &beyond[..] else {
            panic!("seven awaits");
        };
        (request.id, ((*name).clone(), *first, *second))
    };
    requests.iter().map(excess).collect()
}

/// Where the innermost await of a measured one stands, by marker.
const INNERMOST: [(&str, &str); 2] = [("look_up", "sleeps"), ("locked", "waits_for_lock")];

fn is_at(awaited: &Value, place: &(String, u64)) -> bool {
    let file = awaited["file"].as_str().unwrap_or_default();
    file.ends_with(&format!("/{}", place.0)) && awaited["line"].as_u64() == Some(place.1)
}

/// `report --requests` lists them all, and tells why each slow one was slow.
fn check_causes(recorded: &Recorded, complaints: &mut Complaints) -> Vec<(u64, Value)> {
    let report = recorded.report(&["--requests"]);
    let requests = &recorded.told.requests;
    let markers = markers();
    let chosen = report["chosen"].as_array().expect("chosen");
    let what = chosen[0]["what"].as_str().unwrap_or_default();
    complaints.unless(
        chosen.len() == 1 && what.ends_with("::requests::handle"),
        format!("requests were taken to be {chosen:?}"),
    );
    let listed = report["requests"].as_array().expect("requests");
    let differ = listed.len().abs_diff(requests.len());
    complaints.unless(
        differ * 200 <= requests.len(),
        format!("{} requests of {}", listed.len(), requests.len()),
    );
    // By task and begin: both sides know them.
    let by_task = |one: &Value, request: &Measured| {
        let begin = one["start_unix_ns"].as_u64().expect("a time");
        (one["task"] == *request.task).then_some(begin)
    };
    let offset = offset(recorded);
    let excesses = excesses(requests);
    let (mut right, mut wrong) = (0, Vec::new());
    let mut pairs = Vec::new();
    for one in listed {
        let near = requests.iter().min_by_key(|request| {
            by_task(one, request).map_or(u64::MAX, |begin| {
                begin.abs_diff(request.span.0.wrapping_add_signed(offset))
            })
        });
        let request = near.expect("requests");
        pairs.push((request.id, one.clone()));
        let (name, first, second) = &excesses[&request.id];
        // Where one await alone made it slow, that is what is to be named.
        let clear = *first > 15 * MS && *first > 4 * *second;
        let slow = report["kinds"][0]["slow"]["requests"]
            .as_array()
            .is_some_and(|slow| slow.contains(&one["id"]));
        let Some((_, marker)) = INNERMOST.iter().find(|(outer, _)| outer == name) else {
            continue;
        };
        if !clear || !slow {
            continue;
        }
        if is_at(&one["because"], &markers[*marker]) {
            right += 1;
        } else {
            wrong.push(format!("{}: {name}, not {}", request.id, one["because"]));
        }
    }
    println!("causes: {right} right, {} wrong", wrong.len());
    complaints.unless(
        right >= 10,
        format!("only {right} slow requests to explain"),
    );
    complaints.unless(
        wrong.len() * 20 <= right,
        format!(
            "{} of {right} are explained otherwise: {wrong:?}",
            wrong.len()
        ),
    );
    pairs
}

/// What to add to a time of CLOCK_MONOTONIC for the report's dates.
fn offset(recorded: &Recorded) -> i64 {
    let reader = Reader::open(&recorded.file).expect("a recording");
    let header = reader.header();
    let date = header.realtime(header.started).expect("in range");
    date.wrapping_sub(header.started).cast_signed()
}

/// Critical paths sum to the durations; those of requests that waited for the lock lead to what its
/// holder did meanwhile; those of the slow look-up to its sleep.
fn check_paths(recorded: &Recorded, pairs: &[(u64, Value)], complaints: &mut Complaints) {
    let markers = markers();
    let excesses = excesses(&recorded.told.requests);
    let by_id: HashMap<u64, &Measured> = recorded
        .told
        .requests
        .iter()
        .map(|request| (request.id, request))
        .collect();
    let holding = |span: Span| {
        let held = recorded.told.held.iter();
        held.map(|held| held.1.min(span.1).saturating_sub(held.0.max(span.0)))
            .sum::<u64>()
    };
    for (name, inner) in [("locked", "holds"), ("look_up", "sleeps")] {
        let slow = pairs.iter().filter(|(id, _)| {
            let (cause, first, second) = &excesses[id];
            cause == name && *first > 15 * MS && *first > 4 * *second
        });
        let mut checked = 0;
        let mut far = Vec::new();
        for (id, one) in slow.take(8) {
            let number = one["id"].to_string();
            let graph = recorded.report(&["--id", &number]);
            let path = &graph["critical_path"];
            let pieces = path["pieces"].as_array().expect("pieces");
            let sum: u64 = pieces
                .iter()
                .filter_map(|piece| piece["length_ns"].as_u64())
                .sum();
            let duration = graph["request"]["duration_ns"]
                .as_u64()
                .expect("a duration");
            complaints.unless(
                sum.abs_diff(duration) * 100 <= duration,
                format!("request {id}: its path has {sum} ns of {duration}"),
            );
            let there: u64 = pieces
                .iter()
                .filter(|piece| is_at(&piece["awaited"], &markers[inner]))
                .filter_map(|piece| piece["length_ns"].as_u64())
                .sum();
            let span = by_id[id].awaits[name];
            let expected = match name {
                "locked" => holding(span),
                _ => length(span),
            };
            checked += 1;
            if there.abs_diff(expected) > 2 * tolerance(expected) {
                far.push(format!("{id}: {there} ns of {expected} at {inner}"));
            }
        }
        println!(
            "critical paths of {name}: {checked} checked, {} far",
            far.len()
        );
        complaints.unless(checked > 3, format!("only {checked} slow by {name}"));
        complaints.unless(far.len() * 4 <= checked, format!("{name}: {far:?}"));
    }
}

/// Nothing is lost, nothing is missing, and the reader in Python counts what we count.
fn check_totals(recorded: &Recorded, complaints: &mut Complaints) {
    let report = recorded.report(&[]);
    let missing = &report["missing"];
    for what in ["records", "events_dropped", "gaps"] {
        let count = &missing[what];
        complaints.unless(
            *count == 0,
            format!("{what}: {count} are missing; {}", recorded.said),
        );
    }
    let bytes = report["file"]["bytes"].as_u64().expect("bytes");
    let events = report["events"].as_u64().expect("events");
    println!("{:.2} bytes an event", bytes as f64 / events as f64);
    complaints.unless(bytes <= events * 8, format!("{bytes} for {events} events"));
}

fn check(build: Build) {
    let recorded = record(build, "service", 10, &[]);
    let mut complaints = Complaints::default();
    check_totals(&recorded, &mut complaints);
    check_durations(&recorded, &mut complaints);
    let pairs = check_causes(&recorded, &mut complaints);
    check_paths(&recorded, &pairs, &mut complaints);
    complaints.settle("the service");
}

#[test]
fn live_durations_dev() {
    check(Build::Dev);
}

#[test]
fn live_durations_lto() {
    check(Build::Lto);
}

/// A duration as tracing-subscriber writes it: `6.11ms`.
fn spelled(text: &str) -> u64 {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let number: f64 = digits.parse().expect("a number");
    let unit = match &text[digits.len()..] {
        "ns" => 1.0,
        "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        other => panic!("{other:?}"),
    };
    (number * unit) as u64
}

/// What `tracing-subscriber` says of each await agrees with us: how long it took, and how long of
/// that it was polled.
#[test]
fn live_durations_agree_with_spans() {
    let spans = tempfile::NamedTempFile::new().expect("a file");
    let path = spans.path().to_str().expect("UTF-8");
    let recorded = record(Build::Dev, "service_spans", 6, &["--spans", path]);
    let history = history(&recorded.file);
    let requests = &recorded.told.requests;
    let found: HashMap<u64, Found<'_>> = requests
        .iter()
        .zip(find(&history, requests))
        .filter_map(|(request, found)| Some((request.id, found?)))
        .collect();
    let measured: HashMap<u64, &Measured> = requests.iter().map(|one| (one.id, one)).collect();
    let markers = markers();
    let mut complaints = Complaints::default();
    let mut differences = Differences::new(&recorded.late);
    let text = std::fs::read_to_string(path).expect("spans");
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let request = line["span"]["request"].as_u64().expect("a request");
        let name = line["span"]["name"].as_str().expect("a name");
        let time = |what: &str| spelled(line["fields"][what].as_str().expect("a duration"));
        let (busy, idle) = (time("time.busy"), time("time.idle"));
        let instance = found
            .get(&request)
            .and_then(|found| found.awaits.get(&markers[name].1));
        let span = measured
            .get(&request)
            .and_then(|request| request.awaits.get(name));
        if let (Some(instance), Some(span)) = (instance, span) {
            let ours = instance.duration(history.span.end);
            // An await's duration is told by polls: it began somewhere in the one that made it, and
            // ended somewhere in its last. In this program polls are long: they write lines.
            let within = (ours, instance.polled);
            differences.add(name, request, *span, busy + idle, within);
            let waiting = (instance.waiting, 0);
            differences.add(&format!("{name}, waiting"), request, *span, idle, waiting);
        }
    }
    let compared: usize = differences.all.values().map(Vec::len).sum();
    complaints.unless(
        compared >= requests.len() * 2 * 5,
        format!("{compared} compared of {} requests", requests.len()),
    );
    differences.check(&mut complaints);
    complaints.settle("the service with spans");
}

/// With `--max-size` the recording ends in order by itself, says so, and is whole.
#[test]
fn live_recording_ends_at_its_size() {
    let busy = support::fixture::Fixture::start(Build::Dev, "busy", &["--seconds", "60"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("busy.astrace");
    let file = file.to_str().expect("UTF-8");
    let pid = busy.pid().to_string();
    let run = command::run(&[
        "record",
        "-p",
        &pid,
        "--max-size",
        "1M",
        "-d",
        "60",
        "-o",
        file,
    ]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stderr.contains("the recording reached 1.0 MiB"),
        "{}",
        run.stderr
    );
    let size = std::fs::metadata(file).expect("a recording").len();
    assert!((900_000..=1 << 20).contains(&size), "{size}");
    let report = command::run(&["report", file, "--json"]);
    let report: Value = serde_json::from_str(&report.stdout).expect("JSON");
    assert_eq!(report["file"]["ending"], "complete");
    assert_eq!(report["file"]["ended_because"], "size");
    assert_eq!(report["missing"]["events_dropped"], 0);
}
