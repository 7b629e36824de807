//! Escape sequences where names are: none may reach a terminal, a page or a file as it is.
//!
//! The target is a fixture whose crate's name was replaced in its symbols and debug information, so
//! that functions, types, modules and source files are called by an escape sequence; its file has
//! one in its name, and so has every path to it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::Build;
use support::command::{Run, run};

/// As long as the crate's name that it replaces. ESC [ 2 J clears a screen; U+009B is ESC [ in one.
const SEQUENCE: &[u8; 6] = b"\x1b[2J\xc2\x9b";
/// The fixture, and its crate.
const FIXTURE: &str = "faults";
/// Its executable: BEL, a title, red. No line break: a program with one is not found (docs/limits.md).
const NAME: &str = "a\x07\x1b]0;pwned\x07\x1b[31mb";

/// A running copy of the fixture with such names. Killed when dropped.
struct Hostile {
    child: Child,
    folder: tempfile::TempDir,
}

impl Hostile {
    fn start() -> Self {
        Self::start_with(|bytes| {
            let mut replaced = 0;
            for range in sections(bytes) {
                replaced += replace(&mut bytes[range]);
            }
            assert!(replaced > 100, "{replaced} names were replaced");
        })
    }

    fn start_with(change: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = fs::read(Build::Release.folder().join(FIXTURE)).expect("the fixture");
        change(&mut bytes);
        let folder = tempfile::tempdir().unwrap();
        let exe = folder.path().join(NAME);
        fs::write(&exe, bytes).unwrap();
        fs::set_permissions(&exe, fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = Command::new(&exe)
            .args(["lost_wake/", "wait_cycle/", "panicked/nested"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("ready")));
        Self { child, folder }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the names are in the file.
fn sections(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    use object::{Object as _, ObjectSection as _};
    let file = object::File::parse(bytes).unwrap();
    [".strtab", ".debug_str", ".debug_line", ".debug_line_str"]
        .iter()
        .filter_map(|name| file.section_by_name(name)?.file_range())
        .map(|(start, length)| start as usize..(start + length) as usize)
        .collect()
}

/// Lets the first megabyte of a section of strings run together: what was the beginning of a name is
/// that of one of up to a megabyte.
fn join_names(bytes: &mut [u8], section: &str) -> usize {
    use object::{Object as _, ObjectSection as _};
    let file = object::File::parse(&*bytes).unwrap();
    let (start, length) = file
        .section_by_name(section)
        .and_then(|section| section.file_range())
        .unwrap();
    // The name at 0 is empty, and the last one ends.
    let range = start as usize + 1..(start + length.min(1_000_000) - 1) as usize;
    let ends = bytes[range].iter_mut().filter(|byte| **byte == 0);
    ends.map(|byte| *byte = b'_').count()
}

fn replace(bytes: &mut [u8]) -> usize {
    let mut count = 0;
    let mut at = 0;
    while let Some(found) = memchr::memmem::find(&bytes[at..], FIXTURE.as_bytes()) {
        at += found;
        bytes[at..at + SEQUENCE.len()].copy_from_slice(SEQUENCE);
        at += SEQUENCE.len();
        count += 1;
    }
    count
}

fn acts(character: char) -> bool {
    character != '\n' && (character.is_control() || ('\u{202a}'..='\u{202e}').contains(&character))
}

/// Asserts that nothing that acts is in it; line breaks are ours.
fn assert_harmless(what: &str, text: &str) {
    let found = text.find(acts).map(|at| {
        let from = text[..at]
            .char_indices()
            .rev()
            .nth(80)
            .map_or(0, |(at, _)| at);
        text[from..].chars().take(160).collect::<String>()
    });
    assert!(found.is_none(), "{what}: {found:?}");
}

fn harmless(arguments: &[&str]) -> Run {
    let run = run(arguments);
    let what = arguments.join(" ");
    assert_harmless(&what, &run.stdout);
    assert_harmless(&what, &run.stderr);
    run
}

/// It says the names, made visible.
fn assert_visible(what: &str, run: &Run) {
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(
        // In text, in JSON, in a quoted string of DOT.
        ["\\x1b[2J\\x9b", "\\u001b[2J\\u009b", "\\\\x1b[2J\\\\x9b"]
            .iter()
            .any(|name| said.contains(name)),
        "{what} ({:?}) does not tell the names: {said}",
        run.code
    );
}

#[test]
fn names_of_a_process_are_made_visible_by_every_command() {
    let target = Hostile::start();
    let pid = target.pid();
    for command in [
        &["dump"][..],
        &["dump", "--json"],
        &["check", "--now"],
        &["check", "--now", "--json"],
        &["check", "--now", "--graph", "dot"],
        &["check", "--now", "--graph", "json"],
        &["probes"],
        &["probes", "--json"],
    ] {
        let run = harmless(&[command, &["--pid", &pid]].concat());
        assert_visible(&command.join(" "), &run);
        assert!(
            matches!(run.code, Some(0 | 10)),
            "{command:?}: {}",
            run.stderr
        );
    }
    // The name is said, once for each of two processes, on a line of its own.
    let _other = Command::new(target.folder.path().join(NAME))
        .args(["lost_wake/"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map(Killed)
        .unwrap();
    let ambiguous = harmless(&["dump", "--name", NAME]);
    assert_eq!(ambiguous.code, Some(3), "{}", ambiguous.stderr);
    let none = harmless(&["dump", "--name", "no\x1b[31m\u{9b}such"]);
    assert_eq!(none.code, Some(3), "{}", none.stderr);
    assert!(none.stderr.contains("\\x1b[31m"), "{}", none.stderr);
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8(fs::read(path).unwrap()).unwrap()
}

#[test]
fn live_names_in_a_recording_are_made_visible_by_every_outlet() {
    if let Err(error) = tracer_user::attach::permission::check() {
        eprintln!("SKIPPED, this machine cannot attach: {error}");
        return;
    }
    let target = Hostile::start();
    let folder = target.folder.path();
    // Our own file's name is hostile, too.
    let file = folder.join("t\x1b[2J\u{9b}.astrace");
    let path = file.to_str().unwrap();
    let pid = target.pid();
    let recorded = harmless(&["record", "--pid", &pid, "-d", "2", "-o", path]);
    assert_eq!(recorded.code, Some(0), "{}", recorded.stderr);
    let attached = harmless(&["attach", "--pid", &pid, "-d", "1"]);
    assert_eq!(attached.code, Some(0), "{}", attached.stderr);
    for command in [
        &["report", path][..],
        &["report", path, "--json"],
        &[
            "report",
            path,
            "--requests",
            "--request",
            "*",
            "--level",
            "polls",
        ],
        &[
            "report",
            path,
            "--critical-path",
            "--request",
            "*",
            "--json",
        ],
        &["check", path],
        &["check", path, "--json"],
        &["check", path, "--graph", "dot"],
        &["export", path, "-f", "json"],
        &["export", path, "-f", "folded"],
        &["export", path, "-f", "svg"],
        &["export", path, "-f", "dot"],
    ] {
        let run = harmless(command);
        assert!(
            matches!(run.code, Some(0 | 10)),
            "{command:?}: {}",
            run.stderr
        );
        assert_visible(&command.join(" "), &run);
    }
    let page: PathBuf = folder.join("page.html");
    let made = harmless(&["report", path, "--html", page.to_str().unwrap()]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert_harmless("the page", &read(&page).replace('\t', ""));
    // Binary files keep what is in names escaped as well: ESC [ 2 J is in none of them.
    for format in ["perfetto", "otlp"] {
        let out = folder.join(format);
        let made = harmless(&["export", path, "-f", format, "-o", out.to_str().unwrap()]);
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        let bytes = fs::read(&out).unwrap();
        assert!(memchr::memmem::find(&bytes, SEQUENCE).is_none(), "{format}");
    }
    let none = harmless(&["report", folder.join("no\x1b[2J").to_str().unwrap()]);
    assert_eq!(none.code, Some(7), "{}", none.stderr);
}

/// Thousands of names of up to a megabyte: every command ends in order, and shows none whole.
#[test]
fn names_of_a_megabyte_are_bounded() {
    for section in [".debug_str", ".strtab"] {
        let target = Hostile::start_with(|bytes| {
            let joined = join_names(bytes, section);
            assert!(joined > 5_000, "{section}: {joined}");
        });
        let pid = target.pid();
        for (arguments, codes) in [
            (vec!["dump", "--pid", &*pid], &[0][..]),
            (vec!["check", "--pid", &*pid, "--now"], &[0, 10]),
        ] {
            let run = run(&arguments);
            assert!(codes.contains(&run.code.unwrap()), "{}", run.stderr);
            let longest = run.stdout.lines().map(str::len).max();
            assert!(longest.is_some_and(|length| length < 40_000), "{longest:?}");
        }
    }
}
