//! The truth that stands in the fixtures' sources.
//!
//! ```text
//! //# task NAME              begins the tree of the task announced as NAME
//! //#   path::of::future @marker [xN]
//! //#     future path        a hand-written future that must be there
//! //#       -> kind          what is waited for in the end
//! .await //@ marker          this line is `marker`
//! ```
//! Depth is indentation, two blanks a level. `*` in a path stands for anything. A path that ends
//! in a block or closure (`{async_block#0}`) is an async block, any other an async fn.
//! `//# block_on NAME` begins the tree of a root that has no task.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::tree::Tree;
use super::workspace;

/// A place in a source: the path below `fixtures/`, and the 1-based line.
pub(crate) type Place = (String, u32);

/// What the sources of one fixture promise.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Expected trees of tasks by name.
    pub tasks: BTreeMap<String, Tree>,
    /// Expected trees of `block_on` roots by name.
    pub roots: BTreeMap<String, Tree>,
}

/// A line of a directive before its marker is known.
struct Raw {
    level: usize,
    what: String,
    marker: Option<String>,
    times: usize,
}

/// Where a marker stands in the sources of the fixture `name`.
///
/// # Panics
/// If it is nowhere.
pub(crate) fn marker(name: &str, marker: &str) -> Place {
    let base = workspace().join("fixtures");
    for path in sources(&base.join("src/bin"), name) {
        let text = fs::read_to_string(&path).expect("a source");
        let wanted = format!("//@ {marker}");
        let mut lines = text.lines().zip(1_u32..);
        if let Some((_, line)) = lines.find(|(line, _)| line.trim_end().ends_with(&wanted)) {
            let file = path.strip_prefix(&base).expect("below").to_string_lossy();
            return (file.to_string(), line);
        }
    }
    panic!("{name} has no marker {marker}");
}

impl Truth {
    /// Reads the sources of the fixture `name`.
    ///
    /// # Panics
    /// If a directive makes no sense, or a marker is unknown or there twice.
    pub(crate) fn of(name: &str) -> Self {
        let base = workspace().join("fixtures");
        let sources = sources(&base.join("src/bin"), name);
        assert!(!sources.is_empty(), "no source of fixture {name}");
        let mut markers = BTreeMap::new();
        let mut raw = Vec::new();
        for path in sources {
            let text = fs::read_to_string(&path).expect("a source");
            let file = path.strip_prefix(&base).expect("below").to_string_lossy();
            for (line, number) in text.lines().zip(1_u32..) {
                if let Some(directive) = line.trim_start().strip_prefix("//#") {
                    raw.push(directive.to_owned());
                } else if let Some((_, marker)) = line.split_once("//@ ") {
                    let place = (file.to_string(), number);
                    let before = markers.insert(marker.trim().to_owned(), place);
                    assert!(before.is_none(), "marker {marker} is there twice");
                }
            }
        }
        Self::build(&raw, &markers)
    }

    fn build(directives: &[String], markers: &BTreeMap<String, Place>) -> Self {
        let mut truth = Self::default();
        let mut rest = directives;
        while let Some((head, after)) = rest.split_first() {
            let end = after
                .iter()
                .position(|line| level_of(line) == 0)
                .unwrap_or(after.len());
            let (body, next) = after.split_at(end);
            let lines: Vec<Raw> = body.iter().map(|line| raw(line)).collect();
            let mut trees = trees(&lines, 1, markers);
            assert_eq!(trees.len(), 1, "{head}: one root");
            let tree = trees.remove(0);
            let (kind, name) = head.trim().split_once(' ').expect("a kind and a name");
            let before = match kind {
                "task" => truth.tasks.insert(name.trim().to_owned(), tree),
                "block_on" => truth.roots.insert(name.trim().to_owned(), tree),
                other => panic!("directive {other:?} is unknown"),
            };
            assert!(before.is_none(), "{name} has two truths");
            rest = next;
        }
        truth
    }
}

/// `NAME.rs` or all of `NAME/`, in a stable order.
fn sources(folder: &Path, name: &str) -> Vec<PathBuf> {
    let file = folder.join(format!("{name}.rs"));
    if file.is_file() {
        return vec![file];
    }
    let entries = fs::read_dir(folder.join(name)).expect("a folder of sources");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

fn level_of(line: &str) -> usize {
    (line.len() - line.trim_start().len()) / 2
}

fn raw(line: &str) -> Raw {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let times = words
        .last()
        .and_then(|word| word.strip_prefix('x')?.parse().ok());
    if times.is_some() {
        words.pop();
    }
    let marker = words.last().and_then(|word| word.strip_prefix('@'));
    if marker.is_some() {
        words.pop();
    }
    Raw {
        level: level_of(line),
        what: words.join(" "),
        marker: marker.map(str::to_owned),
        times: times.unwrap_or(1),
    }
}

fn trees(lines: &[Raw], level: usize, markers: &BTreeMap<String, Place>) -> Vec<Tree> {
    let mut result = Vec::new();
    let mut rest = lines;
    while let Some((first, after)) = rest.split_first() {
        assert_eq!(first.level, level, "{}: indentation", first.what);
        let end = after
            .iter()
            .position(|line| line.level <= level)
            .unwrap_or(after.len());
        let (below, next) = after.split_at(end);
        let place = first.marker.as_ref().map(|marker| {
            let place = markers.get(marker);
            place
                .unwrap_or_else(|| panic!("no line has the marker {marker}"))
                .clone()
        });
        let tree = Tree {
            what: first.what.clone(),
            place,
            children: trees(below, level + 1, markers),
        };
        result.extend(std::iter::repeat_n(tree, first.times));
        rest = next;
    }
    result
}
