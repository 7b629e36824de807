//! Builds the programs that the tests and the demo trace, into `target/fixtures`.
//!
//! In few builds: each profile builds only the programs that are traced in it, and `stripped` is
//! made of `plain` without building anything. `cargo build` decides what is up to date, so that
//! this can be called before every test.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::bpf::Folders;
use crate::shell::{cargo, run, say};

/// A profile of `fixtures/Cargo.toml` and what is built in it; nothing named means all.
struct Build {
    profile: &'static str,
    folder: &'static str,
    programs: &'static [&'static str],
}

const BUILDS: &[Build] = &[
    Build {
        profile: "dev",
        folder: "debug",
        programs: &[],
    },
    Build {
        profile: "release",
        folder: "release",
        programs: &[],
    },
    Build {
        profile: "lto",
        folder: "lto",
        programs: &[
            "shapes",
            "leaves",
            "kept",
            "runtimes",
            "roots",
            "busy",
            "service",
            "faults",
            "panics",
            "grace",
            "single_flight",
            "shared_window",
            "ready",
        ],
    },
    Build {
        profile: "lines",
        folder: "lines",
        programs: &["leaves"],
    },
    Build {
        profile: "plain",
        folder: "plain",
        programs: &["leaves", "busy", "stuck"],
    },
];

/// Programs that are traced without their symbols.
const STRIPPED: &[&str] = &["leaves", "busy", "stuck"];

/// Programs that carry a witness: tokio's own task dump, which needs a tokio of its own.
const WITNESSES: &[&str] = &["shapes", "leaves"];

/// Builds all fixtures in all their profiles.
///
/// # Errors
/// When a build fails.
pub(crate) fn build(folders: &Folders) -> Result<()> {
    let target = folders.target.join("fixtures");
    for build in BUILDS {
        say(&format!(
            "fixtures: profile {} into {}",
            build.profile,
            target.join(build.folder).display()
        ));
        run(compile(folders, build.profile, build.programs).env("CARGO_TARGET_DIR", &target))?;
    }
    strip(&target)?;
    build_http(folders)?;
    build_apart(folders, "past", "tasks of an older tokio")?;
    let witness = target.join("taskdump");
    say(&format!(
        "fixtures: dev with tokio's own task dump into {}",
        witness.join("debug").display()
    ));
    // Not optimised: where the root is inlined into tokio's poll, the witness omits it.
    run(compile(folders, "dev", WITNESSES)
        .args(["--features", "taskdump"])
        .env("RUSTFLAGS", "--cfg tokio_unstable")
        .env("CARGO_TARGET_DIR", &witness))
}

/// Builds one program in profile release, for the demo.
///
/// # Errors
/// When the build fails.
pub(crate) fn build_one(folders: &Folders, program: &str) -> Result<()> {
    let target = folders.target.join("fixtures");
    run(compile(folders, "release", &[program]).env("CARGO_TARGET_DIR", target))
}

/// Builds the axum service, in profile release: a workspace of its own, for what it needs.
///
/// # Errors
/// When the build fails.
pub(crate) fn build_http(folders: &Folders) -> Result<()> {
    build_apart(folders, "http", "the axum service")
}

/// Builds a program that is a workspace of its own.
fn build_apart(folders: &Folders, name: &str, what: &str) -> Result<()> {
    let target = folders.target.join("fixtures");
    say(&format!(
        "fixtures: {what} into {}",
        target.join("release").join(name).display()
    ));
    let folder = folders.workspace.join("fixtures").join(name);
    run(cargo(&folder)
        .args(["build", "--locked", "--quiet", "--release"])
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("CARGO_TARGET_DIR", target))
}

fn compile(folders: &Folders, profile: &str, programs: &[&str]) -> Command {
    let mut command = cargo(&folders.workspace.join("fixtures"));
    command
        .args(["build", "--locked", "--quiet", "--profile", profile])
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    for program in programs {
        command.args(["--bin", program]);
    }
    command
}

fn strip(target: &Path) -> Result<()> {
    let folder = target.join("stripped");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for program in STRIPPED {
        let (from, to) = (target.join("plain").join(program), folder.join(program));
        // A test may be running it: never written again for nothing, and never there by half.
        if is_newer(&to, &from) {
            continue;
        }
        let part = to.with_extension(format!("{}.part", std::process::id()));
        run(Command::new("strip")
            .arg("--strip-all")
            .arg("-o")
            .args([&part, &from]))
        .context("`strip` comes with the linker, in Debian's binutils")?;
        std::fs::rename(&part, &to).with_context(|| to.display().to_string())?;
    }
    Ok(())
}

/// Whether a file is there and was written after another one.
fn is_newer(file: &Path, than: &Path) -> bool {
    let written = |path: &Path| path.metadata().and_then(|there| there.modified()).ok();
    written(file)
        .zip(written(than))
        .is_some_and(|(file, than)| file > than)
}
