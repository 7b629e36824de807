//! `cargo xtask bench`: builds the target of a measurement and runs it.

use anyhow::Result;

use crate::bpf::Folders;
use crate::shell::{cargo, run, say};
use crate::{fixtures, overhead};

/// Runs a bench of `tracer-user/benches`, optimised, for so many rounds.
///
/// # Errors
/// When something does not build, or tracing is not permitted here.
pub(crate) fn bench(
    folders: &Folders,
    what: &str,
    rounds: u32,
    as_built: bool,
    only: Option<&str>,
) -> Result<()> {
    if what == "overhead" {
        return overhead::overhead(folders, rounds, as_built, only);
    }
    say("bench: measure alone: nothing else should run on this machine now");
    fixtures::build_one(folders, "polls")?;
    let rounds = rounds.to_string();
    run(cargo(&folders.workspace)
        .args([
            "bench",
            "--locked",
            "--package",
            "tracer-user",
            "--bench",
            what,
        ])
        .args(["--", &rounds]))
}
