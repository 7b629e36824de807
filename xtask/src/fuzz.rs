//! `cargo xtask fuzz`: libFuzzer on everything that reads foreign bytes, with the committed corpus.
//!
//! The targets are in `fuzz/`, a workspace of its own in cargo-fuzz's layout; cargo-fuzz itself is
//! not needed. They build on the stable toolchain ([`WRAPPER`] says how). What is found new goes to
//! `fuzz/target/corpus`, what fails to `fuzz/target/artifacts`; `--merge` takes what covers more into
//! the committed corpus.

mod seeds;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::bpf::Folders;
use crate::shell::{cargo, run, say};

/// Compiles what is fuzzed with coverage counters.
const WRAPPER: &str = "fuzz/instrument.sh";

/// Longest input that is committed by `--merge`, in bytes: the corpus is to stay small.
const LONGEST: u64 = 16 << 10;

/// A fuzz target.
struct Target {
    name: &'static str,
    /// What it reads.
    about: &'static str,
    /// Longest input in bytes.
    most: u32,
}

/// What there is.
const TARGETS: &[Target] = &[
    Target {
        name: "elf",
        about: "ELF files: sections, symbols, debug information, probe sites",
        most: 160_000,
    },
    Target {
        name: "walk",
        about: "walks over hostile memory, and words of the kernel's walk",
        most: 8_192,
    },
    Target {
        name: "records",
        about: "entries of the ring buffers: order, tracker, events, recording",
        most: 16_384,
    },
    Target {
        name: "recording",
        about: "recordings: the reader, report, check, page, exports",
        most: 32_768,
    },
    Target {
        name: "config",
        about: "configurations of the daemon",
        most: 8_192,
    },
    Target {
        name: "control",
        about: "requests and answers of the control socket, requests for metrics",
        most: 20_000,
    },
];

/// Options of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which [default: all]: elf, walk, records, recording, config, control.
    targets: Vec<String>,
    /// How long each runs, in seconds.
    #[arg(long, default_value_t = 60)]
    time: u64,
    /// The longest that one input may take, in seconds.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    /// The most memory that one target may take, in MiB.
    #[arg(long, default_value_t = 2048)]
    memory: u64,
    /// Without the address sanitizer: twice as fast.
    #[arg(long)]
    no_asan: bool,
    /// Only build.
    #[arg(long)]
    build: bool,
    /// Run this input once instead: what a failure says to repeat it.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Take what covers more than the committed corpus into it, instead of running.
    #[arg(long)]
    merge: bool,
    /// Make the seeds anew from their sources and the fixtures, instead of running.
    #[arg(long)]
    seeds: bool,
}

/// Runs them, one after the other.
///
/// # Errors
/// When something does not build, or an input fails; the input is kept and named.
pub(crate) fn fuzz(folders: &Folders, arguments: &Arguments) -> Result<()> {
    let folder = folders.workspace.join("fuzz");
    if arguments.seeds {
        return seeds::make(folders, &folder.join("corpus"));
    }
    let chosen = chosen(&arguments.targets)?;
    let program = build(folders, &folder, &chosen, !arguments.no_asan)?;
    if arguments.build {
        return Ok(());
    }
    for target in chosen {
        let binary = program.join(target.name);
        if let Some(input) = &arguments.input {
            run(limited(&binary, target, arguments).arg(input))?;
        } else if arguments.merge {
            merge(&folder, &binary, target, arguments)?;
        } else {
            one(&folder, &binary, target, arguments)?;
        }
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Target>> {
    if names.is_empty() {
        return Ok(TARGETS.iter().collect());
    }
    let find = |name: &String| {
        let known = || {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            format!("no fuzz target {name}; there are {}", names.join(", "))
        };
        let mut targets = TARGETS.iter();
        targets
            .find(|target| target.name == name)
            .with_context(known)
    };
    names.iter().map(find).collect()
}

/// Builds the targets; the folder of their programs.
fn build(folders: &Folders, folder: &Path, chosen: &[&Target], asan: bool) -> Result<PathBuf> {
    // Cargo does not see what the wrapper does: each way of compiling has its folder.
    let out = folder.join(if asan { "target" } else { "target/no-asan" });
    say(&format!(
        "fuzz: building {} targets, instrumented{}",
        chosen.len(),
        if asan {
            ", with the address sanitizer"
        } else {
            ""
        }
    ));
    let host = host()?;
    let mut command = cargo(folder);
    command
        .args(["build", "--release", "--locked", "--target", &host])
        .env("CARGO_TARGET_DIR", &out)
        .env("RUSTC_WRAPPER", folders.workspace.join(WRAPPER));
    for target in chosen {
        command.args(["--bin", target.name]);
    }
    if asan {
        command.env("ASYNCTRACE_FUZZ_ASAN", "1");
    }
    run(&mut command)?;
    Ok(out.join(host).join("release"))
}

/// The machine's own triple. Named, so that build scripts are told apart from what is fuzzed.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not tell its host")?.to_owned())
}

fn limited(binary: &Path, target: &Target, arguments: &Arguments) -> Command {
    let mut command = Command::new("nice");
    command
        .args(["-n", "19"])
        .arg(binary)
        .arg(format!("-rss_limit_mb={}", arguments.memory))
        .arg(format!("-malloc_limit_mb={}", arguments.memory / 2))
        .arg(format!("-timeout={}", arguments.timeout))
        .arg(format!("-max_len={}", target.most))
        // A leak is nothing that an input does: what is leaked on purpose lives as long as we. The
        // sanitizer looks for itself at the end.
        .arg("-detect_leaks=0")
        .env("ASAN_OPTIONS", "detect_leaks=0");
    command
}

fn one(folder: &Path, binary: &Path, target: &Target, arguments: &Arguments) -> Result<()> {
    let name = target.name;
    let found = folder.join("target/corpus").join(name);
    let artifacts = folder.join("target/artifacts").join(name);
    for folder in [&found, &artifacts] {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    say(&format!(
        "fuzz: {name} for {} s: {}",
        arguments.time, target.about
    ));
    let result = run(limited(binary, target, arguments)
        .arg(format!("-max_total_time={}", arguments.time))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-print_final_stats=1", "-use_value_profile=1"])
        .arg(&found)
        .arg(folder.join("corpus").join(name)));
    let Err(error) = result else {
        say(&format!(
            "fuzz: {name}: nothing found in {} s",
            arguments.time
        ));
        return Ok(());
    };
    let input = newest(&artifacts);
    let shown = input.as_deref().unwrap_or(&artifacts).display().to_string();
    say(&format!("fuzz: {name} FAILED on {shown}"));
    say(&format!(
        "fuzz: to repeat: cargo xtask fuzz {name} --input {shown}"
    ));
    say("fuzz: mend it, and put the input into the corpus: tests/fuzz_corpus.rs replays it");
    Err(error)
}

/// The last file that was written to a folder.
fn newest(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    entries
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .max()
        .map(|(_, path)| path)
}

/// Inputs that cover more than the committed ones, as long as they are short, become committed.
fn merge(folder: &Path, binary: &Path, target: &Target, arguments: &Arguments) -> Result<()> {
    let name = target.name;
    let committed = folder.join("corpus").join(name);
    let found = folder.join("target/corpus").join(name);
    let small = folder.join("target/small").join(name);
    if small.exists() {
        fs::remove_dir_all(&small)?;
    }
    fs::create_dir_all(&small)?;
    if !found.is_dir() {
        bail!("{name} has not run yet: nothing to merge");
    }
    for entry in fs::read_dir(&found)? {
        let entry = entry?;
        if entry.metadata()?.len() <= LONGEST {
            fs::copy(entry.path(), small.join(entry.file_name()))?;
        }
    }
    let before = fs::read_dir(&committed)?.count();
    run(limited(binary, target, arguments)
        .arg("-merge=1")
        .arg(&committed)
        .arg(&small))?;
    let after = fs::read_dir(&committed)?.count();
    say(&format!("fuzz: {name}: {before} inputs became {after}"));
    Ok(())
}
