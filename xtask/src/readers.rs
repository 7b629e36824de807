//! The programs of others with which the tests read what asynctrace exports: the schemas that
//! Perfetto and OpenTelemetry publish, for Python's protobuf; Go's pprof; graphviz.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::bpf::Folders;
use crate::shell::{apt_install, run, say, which};

/// Packages of PyPI, in the versions that the tests were written with.
const SCHEMAS: [&str; 2] = ["perfetto==0.59.1", "opentelemetry-proto==1.45.2"];

/// Which tests need a reader, by their names.
pub(crate) const PYTHON_TESTS: &str = "test(/published_schema|graphviz/)";
/// See there.
pub(crate) const PROTOBUF_TESTS: &str = "test(/python_reads/)";
/// See there.
pub(crate) const GO_TESTS: &str = "test(/go_pprof/)";
/// See there.
pub(crate) const GRAPHVIZ_TESTS: &str = "test(/graphviz/)";

fn folder(folders: &Folders) -> PathBuf {
    folders.target.join("tools/venv")
}

/// Whether Python has the schemas.
pub(crate) fn has_schemas(folders: &Folders) -> bool {
    let script = "import perfetto.protos.perfetto.trace.perfetto_trace_pb2, \
                  opentelemetry.proto.collector.trace.v1.trace_service_pb2";
    Command::new(folder(folders).join("bin/python3"))
        .args(["-c", script])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Whether Debian's Python and protoc can read our own schema.
pub(crate) fn has_protobuf() -> bool {
    which("protoc").is_some()
        && Command::new("/usr/bin/python3")
            .args(["-c", "import google.protobuf"])
            .output()
            .is_ok_and(|output| output.status.success())
}

/// Installs what `docs/read_recording.py` needs.
///
/// # Errors
/// When it cannot be installed.
pub(crate) fn protobuf() -> Result<()> {
    if has_protobuf() {
        return Ok(());
    }
    say("protoc and Python's protobuf: missing, installing Debian's");
    apt_install(&["protobuf-compiler", "python3-protobuf"]).context(
        "run `apt-get install --no-install-recommends protobuf-compiler python3-protobuf` as root",
    )
}

/// Whether Go has pprof.
pub(crate) fn has_go_pprof() -> bool {
    Command::new("go")
        .args(["tool", "-n", "pprof"])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Makes a virtual environment of Python in `target/tools/venv` with the schemas.
///
/// # Errors
/// When there is no Python, or PyPI cannot be reached.
pub(crate) fn schemas(folders: &Folders) -> Result<()> {
    if has_schemas(folders) {
        return Ok(());
    }
    say("schemas of Perfetto and OpenTelemetry: installing from PyPI into target/tools/venv");
    let venv = folder(folders);
    let make = || {
        let mut command = Command::new("python3");
        command.args(["-m", "venv", "--clear"]).arg(&venv);
        run(command.stdout(std::io::stderr()))
    };
    make().or_else(|_| {
        say("python3 with venv: missing, installing Debian's python3-venv");
        apt_install(&["python3-venv"])?;
        make()
    })?;
    run(Command::new(venv.join("bin/python3"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(SCHEMAS)
        .stdout(std::io::stderr()))?;
    ensure!(has_schemas(folders), "they are installed and do not load");
    Ok(())
}

/// Installs Debian's Go, which has pprof.
///
/// # Errors
/// When it cannot be installed.
pub(crate) fn go_pprof() -> Result<()> {
    if has_go_pprof() {
        return Ok(());
    }
    say("go tool pprof: missing, installing Debian's golang-go (about 300 MB)");
    apt_install(&["golang-go"])
        .context("run `apt-get install --no-install-recommends golang-go` as root")
}

/// Installs Debian's graphviz.
///
/// # Errors
/// When it cannot be installed.
pub(crate) fn graphviz() -> Result<()> {
    if which("dot").is_some() {
        return Ok(());
    }
    say("graphviz: missing, installing Debian's");
    apt_install(&["graphviz"])
        .context("run `apt-get install --no-install-recommends graphviz` as root")
}

/// Tests that are left out here, with the reason.
pub(crate) fn left_out(folders: &Folders) -> Vec<(&'static str, String)> {
    let missing = |tests, what: &str| {
        let reason = format!("tests that read exports with {what}: missing (cargo xtask setup)");
        (tests, reason)
    };
    let mut left_out = Vec::new();
    if !has_schemas(folders) {
        left_out.push(missing(
            PYTHON_TESTS,
            "the schemas of Perfetto and OpenTelemetry",
        ));
    }
    if !has_protobuf() {
        left_out.push((
            PROTOBUF_TESTS,
            "the reader of recordings in Python: no protoc, or no python3-protobuf (cargo xtask \
             setup)"
                .to_owned(),
        ));
    }
    if !has_go_pprof() {
        left_out.push(missing(GO_TESTS, "go tool pprof"));
    }
    if which("dot").is_none() {
        left_out.push(missing(GRAPHVIZ_TESTS, "graphviz"));
    }
    left_out
}
