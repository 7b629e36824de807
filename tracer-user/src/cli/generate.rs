//! `asynctrace completions` and `asynctrace man`: generated from the argument definitions.

use std::io::{self, Write};

use clap::{Args, CommandFactory};

use super::output::print;
use crate::error::{ExitCode, Result};

/// Arguments of `completions`.
#[derive(Clone, Debug, Args)]
pub(super) struct CompletionArguments {
    /// The shell
    shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Clone, Debug, Args)]
pub(super) struct ManArguments {
    /// A subcommand; without one, the page of asynctrace itself
    subcommand: Option<String>,
}

/// Prints the completion script.
pub(super) fn completions(arguments: &CompletionArguments) -> Result<ExitCode> {
    let mut script = Vec::new();
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "asynctrace", &mut script);
    print(|out| out.write_all(&script))?;
    Ok(ExitCode::Done)
}

/// Prints a manual page in roff.
pub(super) fn man(arguments: &ManArguments) -> Result<ExitCode> {
    let mut command = super::Arguments::command();
    command.build();
    let page = match &arguments.subcommand {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            Some(found) => found.clone(),
            None => {
                print_unknown(name);
                return Ok(ExitCode::Usage);
            }
        },
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(|error| crate::error::Error::Bug(error.into()))?;
    print(|out| out.write_all(&text))?;
    Ok(ExitCode::Done)
}

fn print_unknown(name: &str) {
    // Nowhere left to say that standard error is closed.
    let _ = writeln!(
        io::stderr(),
        "error: no page for `{name}`: asynctrace has no such subcommand\nsee `asynctrace --help`"
    );
}
