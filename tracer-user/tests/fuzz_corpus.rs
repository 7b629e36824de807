//! The corpus of the fuzz targets, replayed: what was found once stays mended, and seeds are read as
//! they were. `cargo xtask fuzz` looks for more.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a test fails by panicking; the drivers belong to the crate fuzz/"
)]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/config.rs"]
mod config;
#[path = "../../fuzz/src/control.rs"]
mod control;
#[path = "../../fuzz/src/elf.rs"]
mod elf;
#[path = "../../fuzz/src/hostile_memory.rs"]
mod hostile_memory;
#[path = "../../fuzz/src/outlets.rs"]
mod outlets;
#[path = "../../fuzz/src/program.rs"]
mod program;
#[path = "../../fuzz/src/recording.rs"]
mod recording;
#[path = "../../fuzz/src/records.rs"]
mod records;
#[path = "../../fuzz/src/walk.rs"]
mod walk;

/// The committed corpus may have this many bytes.
const MOST: u64 = 2_000_000;

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut files: Vec<PathBuf> = fs::read_dir(folder.join(target))
        .expect("a corpus")
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn replay(target: &str, run: fn(&[u8])) {
    let files = corpus(target);
    assert!(!files.is_empty(), "no corpus for {target}");
    for file in files {
        // Named, so that a failure says which.
        println!("{}", file.display());
        run(&fs::read(&file).unwrap());
    }
}

#[test]
fn binaries() {
    replay("elf", elf::run);
}

#[test]
fn walks() {
    replay("walk", walk::run);
}

#[test]
fn entries_of_rings() {
    replay("records", records::run);
}

#[test]
fn recordings() {
    replay("recording", recording::run);
}

#[test]
fn configurations() {
    replay("config", config::run);
}

#[test]
fn messages_on_sockets() {
    replay("control", control::run);
}

#[test]
fn the_corpus_is_small() {
    let targets = ["elf", "walk", "records", "recording", "config", "control"];
    let files = targets.map(corpus).concat();
    let bytes: u64 = files
        .iter()
        .map(|file| fs::metadata(file).unwrap().len())
        .sum();
    assert!(bytes < MOST, "{bytes} bytes");
}
