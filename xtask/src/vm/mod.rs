//! `cargo xtask vm`: the live tests on Debian's 6.1 kernel, in an emulated machine.
//!
//! Linux 6.1 has no uprobe_multi, so every probe is a perf link of its own. The test binaries are
//! the same as on the host, with the fixtures that they trace; they lie at the same paths. Emulation
//! (`-accel tcg`) needs no rights and works where kvm does not, and is ten to twenty times slower:
//! [`suites`] says which tests run there, and why others cannot.

mod archive;
mod console;
mod guest;
mod image;
mod kernel;
mod suites;
mod tests;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::bpf::Folders;
use crate::fixtures;
use crate::shell::{apt_install, say, which};

/// Options of `cargo xtask vm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run only tests whose name (`suite::test`) contains one of these.
    filters: Vec<String>,
    /// List what would run and what is left out, and why; start nothing.
    #[arg(long)]
    list: bool,
    /// Take asynctrace and the test binaries in this folder (`target/debug`) as they are, without
    /// building them.
    #[arg(long, value_name = "FOLDER")]
    built: Option<std::path::PathBuf>,
    /// Take the fixtures as they are, without building them.
    #[arg(long)]
    no_fixtures: bool,
    /// The longest that a test may take, in seconds.
    #[arg(long, default_value_t = 900)]
    test_seconds: u64,
    /// The longest that all may take, in minutes.
    #[arg(long, default_value_t = 180)]
    minutes: u64,
    /// Memory of the machine in MiB, beside what the image takes.
    #[arg(long, default_value_t = 3072)]
    memory: u64,
    /// Processors of the machine.
    #[arg(long, default_value_t = 2)]
    cpus: u32,
}

/// Runs them.
///
/// # Errors
/// When something is missing, the machine does not start or does not end, or a test fails.
pub(crate) fn run(folders: &Folders, arguments: &Arguments) -> Result<()> {
    tools()?;
    let kernel = kernel::find(&folders.target.join("vm"))?;
    if !arguments.no_fixtures && !arguments.list {
        fixtures::build(folders)?;
    }
    let built = match &arguments.built {
        Some(folder) => tests::in_folder(&folders.workspace.join(folder))?,
        None => tests::build(folders)?,
    };
    let chosen = tests::choose(folders, &built, &arguments.filters)?;
    for left_out in &chosen.left_out {
        say(&format!(
            "vm: LEFT OUT {}: {}",
            left_out.name, left_out.reason
        ));
    }
    if arguments.list {
        for test in &chosen.run {
            println!("{}", test.name());
        }
        return Ok(());
    }
    if chosen.run.is_empty() {
        bail!("no test has a name with {:?}", arguments.filters);
    }
    let image = image::build(folders, &built, &chosen.run, arguments.test_seconds)?;
    let machine = guest::Machine {
        kernel: kernel.image,
        initial: image.path,
        memory: arguments.memory + 2 * (image.bytes >> 20),
        cpus: arguments.cpus,
        log: folders.target.join("vm/console.log"),
        limit: Duration::from_secs(arguments.minutes * 60),
    };
    say(&format!(
        "vm: {} tests on {}, emulated: some minutes each; the console goes to {}",
        chosen.run.len(),
        kernel.version,
        machine.log.display()
    ));
    let outcome = guest::run(&machine, chosen.run.len())?;
    outcome.tell(&chosen.left_out);
    outcome.judge(&chosen.run)
}

/// What this needs beside cargo.
fn tools() -> Result<()> {
    for (program, package) in [
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("busybox", "busybox-static"),
        ("dpkg", "dpkg"),
    ] {
        if which(program).is_none() {
            say(&format!("vm: no {program}, installing Debian's {package}"));
            apt_install(&[package]).with_context(|| {
                format!("run `apt-get install --no-install-recommends {package}` as root")
            })?;
        }
    }
    Ok(())
}
