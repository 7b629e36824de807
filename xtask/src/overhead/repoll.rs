//! The cost of a poll.

use anyhow::{Context as _, Result, ensure};

use super::figures::{Column, Table};
use super::prepare::Programs;
use super::system::monotonic_ns;
use super::target::{Target, Targets};
use super::variant::Variant;
use crate::shell::say;

/// Windows of 100 ms of one measurement.
const WINDOWS: u32 = 3;
/// The same, where tracing comes and goes every other second: in 3 s there may be one window of it or
/// three, and what is measured is that.
const MANY_WINDOWS: u32 = 150;

/// Measures with so many tasks.
///
/// # Errors
/// When a program fails.
pub(crate) fn measure(
    programs: &Programs,
    variants: &[(Variant, &'static str)],
    tasks: u32,
    rounds: u32,
) -> Result<Table> {
    let count = tasks.to_string();
    let mut targets = Targets::start(programs, &["repoll", "--tasks", &count], 6670)?;
    for &(variant, _) in variants {
        targets.of(variant).run(false);
    }
    let mut table = Table::new(
        format!("polling {tasks} task(s) of 8 futures as fast as it goes"),
        &[
            Column::ratio("CPU a poll"),
            Column::above("above untraced", "ns a poll"),
        ],
    );
    for round in 1..=rounds {
        say(&format!("{tasks} task(s): round {round} of {rounds}"));
        for &(variant, name) in variants {
            if !variant.possible(programs) {
                table.left_out(name);
                continue;
            }
            let (windows, untraced_windows) = if variant.is_in_windows() {
                (MANY_WINDOWS, MANY_WINDOWS / 5)
            } else {
                (WINDOWS, WINDOWS)
            };
            targets.plain.run(true);
            let untraced = window(&mut targets.plain, untraced_windows)?;
            targets.plain.run(false);
            let target = targets.of(variant);
            target.run(true);
            let attached = variant
                .attach(programs, target.pid())
                .with_context(|| name.to_owned())?;
            std::thread::sleep(variant.settles());
            let traced = window(target, windows)?;
            drop(attached);
            target.run(false);
            table.add(name, &[(traced, untraced), (traced, untraced)]);
        }
    }
    Ok(table)
}

/// Nanoseconds of CPU a poll, over so many windows that begin from now on.
fn window(target: &mut Target, windows: u32) -> Result<f64> {
    let now = monotonic_ns();
    let (mut cpu_ns, mut polls, mut seen) = (0.0, 0.0, 0);
    while seen < windows {
        let told = target.told()?;
        let number = |name: &str| told[name].as_f64().context("a number is missing");
        if number("begin_ns")? > now {
            cpu_ns += number("cpu_ns")?;
            polls += number("polls")?;
            seen += 1;
        }
    }
    ensure!(polls > 0.0, "nothing was polled");
    Ok(cpu_ns / polls)
}
