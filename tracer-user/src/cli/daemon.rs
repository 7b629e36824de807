//! `asynctrace daemon`.

use std::path::PathBuf;

use clap::Args;

use super::output;
use crate::daemon::{self, config};
use crate::error::{ExitCode, Result};

const NOTES: &str = "\
Signals: HUP reads the configuration again (one that is wrong changes nothing), TERM and INT end the
daemon, with all probes taken out.

docs/daemon.md has the options of the configuration, the metrics, and a unit for systemd.";

/// Arguments of `daemon`.
#[derive(Clone, Debug, Args)]
#[command(after_help = NOTES)]
pub(super) struct Arguments {
    /// The configuration, in TOML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Only read the configuration, and say what is wrong with it
    #[arg(long)]
    check: bool,
}

/// Runs `daemon` until a signal ends it.
///
/// # Errors
/// A configuration that cannot be used, and what the system refuses.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.check {
        let config = config::load(&arguments.config)?;
        let targets = config.targets.len();
        output::print(|out| writeln!(out, "The configuration is good: {targets} targets."))?;
    } else {
        daemon::run(&arguments.config)?;
    }
    Ok(ExitCode::Done)
}
