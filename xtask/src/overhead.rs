//! `cargo xtask bench overhead`: what tracing costs the traced program, beside the kernel's own part
//! and beside the tools of others, in one run.
//!
//! Two programs of one thread (`fixtures/peers`): one polls tasks as fast as it goes, the other
//! serves HTTP under wrk. Variants take turns in short rounds, each beside an untraced measurement of
//! the same round, so that whatever else the machine does meets all of them; medians of the rounds'
//! ratios are shown, with the middle half of them.

mod figures;
mod http;
mod prepare;
mod repoll;
mod system;
mod target;
mod variant;

use anyhow::{Result, ensure};

use crate::bpf::Folders;
use crate::shell::say;

use figures::Table;
use http::Load;
use prepare::Programs;
use variant::VARIANTS;

/// Builds, unless all is to be taken `as_built`, installs and measures; `only` what has that in its
/// name.
///
/// # Errors
/// When something does not build or cannot be installed, or tracing is not permitted here.
pub(crate) fn overhead(
    folders: &Folders,
    rounds: u32,
    as_built: bool,
    only: Option<&str>,
) -> Result<()> {
    say("bench: measure alone: nothing else should run on this machine now");
    let variants: Vec<_> = VARIANTS
        .into_iter()
        .filter(|(_, name)| only.is_none_or(|part| name.contains(part)))
        .collect();
    ensure!(!variants.is_empty(), "nothing has that in its name");
    let programs = Programs::build(folders, as_built)?;
    let mut tables: Vec<Table> = Vec::new();
    for tasks in [1, 100] {
        tables.push(repoll::measure(&programs, &variants, tasks, rounds)?);
    }
    for load in [Load::Full, Load::Part] {
        tables.push(http::measure(&programs, &variants, rounds, load)?);
    }
    println!("{}", figures::circumstances(folders));
    for table in tables {
        println!("\n{table}");
    }
    Ok(())
}
