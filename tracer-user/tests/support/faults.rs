//! What `check` finds in a fixture against what the fixture knows to be wrong in it.
//!
//! A fault that it told (`fixtures/src/bin/faults/truth.rs`) must be found: its kind, as sure as it
//! says at least, with its tasks, the lines of its markers, the future at fault, and as often as it is
//! there. Whatever else is found with certainty `likely` or `proved` is a false alarm, unless it is
//! what such a fault leads to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::expect::Complaints;
use super::fixture::Fixture;
use super::tree::without_generics;
use super::{Build, command, workspace};

/// Lines of sources by their markers: the path below `fixtures/` and the number. `//@ name` after code
/// marks its line, alone it marks the next.
pub(crate) type Markers = BTreeMap<String, (String, u64)>;

/// The markers of some sources below `fixtures/`: files, or folders with all that is in them.
///
/// # Panics
/// If a source cannot be read, or a marker is there twice.
pub(crate) fn markers(sources: &[&str]) -> Markers {
    let base = workspace().join("fixtures");
    let mut markers = Markers::new();
    let mut open: Vec<PathBuf> = sources.iter().map(|source| base.join(source)).collect();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder");
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else {
            read_markers(&base, &path, &mut markers);
        }
    }
    markers
}

fn read_markers(base: &Path, path: &Path, markers: &mut Markers) {
    let text = fs::read_to_string(path).expect("a source");
    let file = path.strip_prefix(base).expect("below").to_string_lossy();
    for (line, number) in text.lines().zip(1_u64..) {
        // Not in documentation.
        let Some((before, marker)) = line.split_once("//@ ") else {
            continue;
        };
        let number = number + u64::from(before.trim().is_empty());
        let place = (file.to_string(), number);
        let other = markers.insert(marker.trim().to_owned(), place);
        assert!(other.is_none(), "marker {marker} is there twice");
    }
}

/// Asks `check` about a process: the whole answer. Its exit code has to fit the findings.
///
/// # Panics
/// If it fails.
pub(crate) fn check(arguments: &[&str]) -> Value {
    let arguments = [&["check", "--json"], arguments].concat();
    let run = command::run(&arguments);
    let answer: Value = serde_json::from_str(&run.stdout)
        .unwrap_or_else(|error| panic!("no JSON ({error}): {} {}", run.stdout, run.stderr));
    let is_empty = findings(&answer).is_empty();
    let expected = if is_empty { 0 } else { 10 };
    assert_eq!(run.code, Some(expected), "{}", run.stderr);
    answer
}

/// The findings of an answer.
///
/// # Panics
/// If there is no list of them.
pub(crate) fn findings(answer: &Value) -> &[Value] {
    answer["findings"].as_array().expect("findings")
}

/// Starts `faults ARGUMENTS`, and asks about its memory.
pub(crate) fn now(build: Build, arguments: &[&str]) -> (Fixture, Value) {
    let fixture = Fixture::start(build, "faults", arguments);
    // What is ready and unpolled for less than a second may be about to be.
    thread::sleep(Duration::from_millis(1_500));
    let answer = check(&["--pid", &fixture.pid().to_string(), "--now"]);
    (fixture, answer)
}

/// All that is wrong with an answer, given what is wrong with the program.
pub(crate) fn compare(truths: &[Value], answer: &Value, markers: &Markers) -> Complaints {
    compare_on(truths, answer, markers, true)
}

/// As [`compare`]; unless `surely`, on a machine that explains what was found as well as the fault
/// does: however sure the finding is.
pub(crate) fn compare_on(
    truths: &[Value],
    answer: &Value,
    markers: &Markers,
    surely: bool,
) -> Complaints {
    let mut complaints = Complaints::default();
    let findings = findings(answer);
    let by_memory = answer["source"]["kind"] == "memory";
    let mut explained = vec![false; findings.len()];
    for truth in truths {
        let name = truth["fault"].as_str().expect("a name");
        let found: Vec<usize> = (0..findings.len())
            .filter(|&index| is_about(&findings[index], truth, markers))
            .collect();
        for &index in &found {
            explained[index] = true;
        }
        // Memory alone may tell less of it, or nothing.
        if by_memory && truth["sight"] == "events" {
            continue;
        }
        match found.as_slice() {
            [] => complaints.add(format!("{name}: not found\n  {truth}")),
            [index] => {
                let wrong = check_one(truth, &findings[*index], markers, surely);
                complaints.unless(
                    wrong.is_empty(),
                    format!("{name}: {wrong}\n{}", in_words(&findings[*index])),
                );
            }
            many => complaints.add(format!("{name}: found {} times", many.len())),
        }
    }
    for (finding, _) in findings.iter().zip(explained).filter(|(_, known)| !known) {
        if rank(finding) >= rank_of("likely") && !follows(finding, truths, markers) {
            complaints.add(format!("a false alarm: {}", in_words(finding)));
        }
    }
    complaints
}

fn is_about(finding: &Value, truth: &Value, markers: &Markers) -> bool {
    if finding["kind"] != truth["kind"] {
        return false;
    }
    let tasks = strings(&truth["tasks"]);
    if tasks.is_empty() {
        let at = strings(&truth["at"]);
        return at.iter().all(|marker| has_site(finding, &markers[marker]));
    }
    ids(finding).iter().any(|id| tasks.contains(id))
}

/// Whether a finding is the consequence of a fault that was told: what holds a worker keeps others
/// waiting for one, on a machine that is late for long enough to be told too.
fn follows(finding: &Value, truths: &[Value], markers: &Markers) -> bool {
    let holders = truths
        .iter()
        .filter(|truth| truth["kind"] == "blocked_worker");
    let places = holders.flat_map(|truth| strings(&truth["at"]));
    let mut culprits = sites(finding)
        .iter()
        .filter(|site| site["role"] == "culprit")
        .peekable();
    let places: Vec<_> = places.map(|marker| &markers[&marker]).collect();
    finding["kind"] == "slow_to_run"
        && culprits.peek().is_some()
        && culprits.all(|site| places.iter().any(|place| is_at(site, place)))
}

/// What is wrong with a finding of a fault.
fn check_one(truth: &Value, finding: &Value, markers: &Markers, surely: bool) -> String {
    let mut wrong = Vec::new();
    let certainty = truth["certainty"].as_str().expect("a certainty");
    if surely && rank(finding) < rank_of(certainty) {
        wrong.push(format!("not {}", truth["certainty"]));
    }
    for marker in strings(&truth["at"]) {
        if !has_site(finding, &markers[&marker]) {
            wrong.push(format!("no site at {marker} {:?}", markers[&marker]));
        }
    }
    if let Some(marker) = truth["culprit"].as_str() {
        let future = truth["future"].as_str().unwrap_or_default();
        let named = sites(finding).iter().any(|site| {
            site["role"] == "culprit"
                && is_at(site, &markers[marker])
                && without_generics(site["future"].as_str().unwrap_or_default()) == future
        });
        if !named {
            wrong.push(format!("no culprit {future} at {:?}", markers[marker]));
        }
    }
    // A finding names sixteen tasks at most.
    let expected = strings(&truth["tasks"]);
    let named = ids(finding);
    if expected.len() <= 16 && expected.iter().any(|id| !named.contains(id)) {
        wrong.push(format!("not all of its tasks {expected:?}"));
    }
    if let Some(count) = truth["count"].as_u64()
        && finding["count"].as_u64() != Some(count)
    {
        wrong.push(format!("{} times, not {count}", finding["count"]));
    }
    wrong.join("; ")
}

/// Whether some site of a finding is there.
pub(crate) fn has_site(finding: &Value, place: &(String, u64)) -> bool {
    sites(finding).iter().any(|site| is_at(site, place))
}

fn is_at(site: &Value, (file, line): &(String, u64)) -> bool {
    let path = site["file"].as_str().unwrap_or_default();
    let is_file = path
        .strip_suffix(file.as_str())
        .is_some_and(|before| before.is_empty() || before.ends_with('/'));
    is_file && site["line"].as_u64() == Some(*line)
}

fn sites(finding: &Value) -> &[Value] {
    finding["sites"].as_array().map_or(&[], Vec::as_slice)
}

/// The ids of a finding's tasks.
pub(crate) fn ids(finding: &Value) -> Vec<String> {
    let tasks = finding["tasks"].as_array().into_iter().flatten();
    tasks
        .filter_map(|task| Some(task["id"].as_str()?.to_owned()))
        .collect()
}

/// A list of texts.
pub(crate) fn strings(list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten();
    texts
        .filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

fn rank(finding: &Value) -> usize {
    rank_of(finding["certainty"].as_str().unwrap_or_default())
}

fn rank_of(certainty: &str) -> usize {
    let ranks = ["possible", "likely", "proved"];
    let rank = ranks.iter().position(|name| *name == certainty);
    rank.unwrap_or_else(|| panic!("no certainty {certainty:?}"))
}

/// A finding for the eye.
pub(crate) fn in_words(finding: &Value) -> String {
    let mut text = format!(
        "  {} {} x{}: {}\n  tasks {}\n",
        finding["certainty"],
        finding["kind"],
        finding["count"],
        finding["summary"],
        ids(finding).join(" "),
    );
    for site in sites(finding) {
        let _ = writeln!(
            text,
            "  {} {} at {}:{}",
            site["role"], site["future"], site["file"], site["line"]
        );
    }
    for sentence in strings(&finding["evidence"]) {
        let _ = writeln!(text, "  | {sentence}");
    }
    text
}
