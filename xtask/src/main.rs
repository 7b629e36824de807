//! Set-up, builds, tests and checks of asynctrace.

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bpf;

/// Set-up, builds, tests and checks of asynctrace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install or find what the build needs.
    Setup,
    /// Build the BPF object alone, for a quick look at its errors.
    BuildBpf,
}

fn main() -> Result<()> {
    let folders = bpf::Folders::find()?;
    match Arguments::parse().task {
        Task::Setup => {
            bpf::setup(&folders)?;
        }
        Task::BuildBpf => {
            let toolchain = bpf::chosen(&folders)?;
            println!("{}", bpf::build(&folders, &toolchain)?.display());
        }
    }
    Ok(())
}
