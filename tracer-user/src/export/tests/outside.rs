//! Running other programs on what was exported.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::export::samples::Sample;
use crate::export::{Level, Measure, dot, folded, json, otlp, perfetto, pprof, svg};

fn target() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => workspace.join(folder),
        None => workspace.join("target"),
    }
}

/// Runs a script of `tests/readers` with the schemas that `cargo xtask setup` installed.
pub(super) fn python(script: &str, files: &[&Path]) -> String {
    let python = target().join("tools/venv/bin/python3");
    assert!(
        python.is_file(),
        "no {}: run cargo xtask setup",
        python.display()
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/readers")
        .join(script);
    run(Command::new(python).arg(script).args(files))
}

/// Runs a program to its end and returns what it says; saying anything on standard error is
/// failing.
pub(super) fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; run cargo xtask setup"));
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.is_empty(),
        "{command:?} ended with {}: {said}{printed}",
        output.status
    );
    printed
}

/// What is exported in a test.
pub(super) enum What {
    Perfetto(Level),
    Otlp(Level),
    Pprof,
    Folded(Measure),
    Svg(Measure),
    Dot(Level),
    Json,
}

pub(super) fn bytes(sample: &Sample, what: &What) -> Vec<u8> {
    let source = sample.source();
    let mut bytes = Vec::new();
    let out = &mut bytes;
    match what {
        What::Perfetto(level) => drop(perfetto::write(&source, *level, out).unwrap()),
        What::Otlp(level) => drop(otlp::write(&source, *level, out).unwrap()),
        What::Pprof => drop(pprof::write(&source, out).unwrap()),
        What::Folded(measure) => drop(folded::write(&source, *measure, out).unwrap()),
        What::Svg(measure) => drop(svg::write(&source, *measure, out).unwrap()),
        What::Dot(level) => drop(dot::write(&source, *level, out).unwrap()),
        What::Json => json::write(&source, out).unwrap(),
    }
    bytes
}

pub(super) fn text(sample: &Sample, what: &What) -> String {
    String::from_utf8(bytes(sample, what)).unwrap()
}

/// Files in a folder that is removed in the end.
pub(super) struct Files(tempfile::TempDir);

impl Files {
    pub(super) fn new() -> Self {
        Self(tempfile::TempDir::new().unwrap())
    }

    pub(super) fn write(&self, name: &str, sample: &Sample, what: &What) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes(sample, what)).unwrap();
        path
    }
}
