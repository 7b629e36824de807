//! Set-up, builds, tests and checks of asynctrace.

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod bench_own;
mod bpf;
mod demo;
mod false_alarms;
mod fixtures;
mod fuzz;
mod lint;
mod overhead;
mod permission;
mod readers;
mod setup;
mod shell;
mod systemd;
mod test;
mod vm;

/// Set-up, builds, tests and checks of asynctrace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install or find what the build and the tests need, or say what is missing.
    Setup,
    /// Build asynctrace, optimised.
    Build {
        /// Build the programs that the tests trace instead, in all their profiles.
        #[arg(long)]
        fixtures: bool,
    },
    /// Build the BPF object alone, for a quick look at its errors.
    BuildBpf,
    /// Do the main job on a small service: dump, attach with a recording, report.
    Demo {
        /// How long to attach, in seconds.
        #[arg(short, long, default_value_t = 5)]
        duration: u64,
    },
    /// Build the fixtures and run every test that can run here.
    Test {
        /// Further arguments for `cargo nextest run`, such as a filter.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        further: Vec<String>,
    },
    /// Measure against a floor, in one run.
    Bench {
        /// What to measure: `walk`, the cost of a poll with its await path; `overhead`, what tracing
        /// costs a program, beside other tools (installs wrk and bpftrace, builds fixtures/peers);
        /// `own`, what asynctrace itself needs.
        #[arg(value_parser = ["walk", "overhead", "own"])]
        what: String,
        /// Rounds; more take longer and vary less.
        #[arg(short, long, default_value_t = 5)]
        rounds: u32,
        /// For `overhead`: build nothing, measure what was built before.
        #[arg(long)]
        as_built: bool,
        /// For `overhead`: only what has this in its name, such as "budget".
        #[arg(long, value_name = "PART")]
        only: Option<String>,
    },
    /// Check healthy programs under load, for a minute each: no finding may be sure.
    FalseAlarms(false_alarms::Arguments),
    /// Feed what reads foreign bytes with mutations of the committed corpus (libFuzzer).
    Fuzz(fuzz::Arguments),
    /// Run the live tests on Debian's 6.1 kernel, in an emulated machine.
    Vm(vm::Arguments),
    /// Try the shipped unit under a real systemd, in a container (installs systemd-container).
    Systemd,
    /// Check formatting, lints and documentation.
    Lint,
}

fn main() -> Result<()> {
    let folders = bpf::Folders::find()?;
    match Arguments::parse().task {
        Task::Setup => setup::setup(&folders),
        Task::Build { fixtures: true } => fixtures::build(&folders),
        Task::Build { fixtures: false } => demo::build(&folders).map(drop),
        Task::BuildBpf => {
            let toolchain = bpf::chosen(&folders)?;
            println!("{}", bpf::build(&folders, &toolchain)?.display());
            Ok(())
        }
        Task::Demo { duration } => demo::demo(&folders, duration),
        Task::Test { further } => test::test(&folders, &further),
        Task::Bench { what, .. } if what == "own" => bench_own::run(&folders),
        Task::Bench {
            what,
            rounds,
            as_built,
            only,
        } => bench::bench(&folders, &what, rounds, as_built, only.as_deref()),
        Task::FalseAlarms(arguments) => false_alarms::run(&folders, &arguments),
        Task::Fuzz(arguments) => fuzz::fuzz(&folders, &arguments),
        Task::Vm(arguments) => vm::run(&folders, &arguments),
        Task::Systemd => systemd::run(&folders),
        Task::Lint => lint::lint(&folders),
    }
}
