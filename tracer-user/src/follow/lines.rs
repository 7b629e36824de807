//! A line a second, for `attach` without a terminal.

use std::io::{self, Write};

use crate::show::live::format;
use std::time::Duration;

use super::rates::Rate;

/// What a line tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live tasks.
    pub tasks: u64,
    /// Polls since the attach.
    pub polls: u64,
    /// Wake-ups since the attach.
    pub wakes: u64,
    /// Records lost since the attach.
    pub lost: u64,
}

/// Writes the lines.
#[derive(Debug)]
pub struct Lines<W> {
    out: W,
    last: Counts,
    at: Duration,
}

impl<W: Write> Lines<W> {
    /// Lines on `out`.
    #[must_use]
    pub const fn new(out: W) -> Self {
        Self {
            out,
            last: Counts {
                tasks: 0,
                polls: 0,
                wakes: 0,
                lost: 0,
            },
            at: Duration::ZERO,
        }
    }

    /// Writes the heading.
    ///
    /// # Errors
    /// When nobody reads them any more, or the disk is full.
    pub fn heading(&mut self) -> io::Result<()> {
        writeln!(
            self.out,
            "{:>8} {:>7} {:>9} {:>9} {:>7}",
            "TIME", "TASKS", "POLLS/S", "WAKES/S", "LOST"
        )?;
        self.out.flush()
    }

    /// Writes the line for the time since the last one, `at` after the attach.
    ///
    /// # Errors
    /// As [`Lines::heading`].
    pub fn line(&mut self, at: Duration, counts: Counts) -> io::Result<()> {
        let elapsed = at.saturating_sub(self.at);
        let rate = |now, last| {
            let mut rate = Rate::starting_at(last);
            rate.update(now, elapsed);
            format::rate(rate.per_second())
        };
        writeln!(
            self.out,
            "{:>7.1}s {:>7} {:>9} {:>9} {:>7}",
            at.as_secs_f64(),
            counts.tasks,
            rate(counts.polls, self.last.polls),
            rate(counts.wakes, self.last.wakes),
            counts.lost,
        )?;
        self.last = counts;
        self.at = at;
        self.out.flush()
    }
}

impl<W: Write> Lines<W> {
    /// Writes a line as it is.
    ///
    /// # Errors
    /// As [`Lines::heading`].
    pub fn text(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_about_its_own_second() {
        let mut lines = Lines::new(Vec::new());
        lines.heading().unwrap();
        let mut counts = Counts {
            tasks: 102,
            polls: 12_000,
            wakes: 900,
            lost: 0,
        };
        lines.line(Duration::from_secs(1), counts).unwrap();
        counts.polls += 500;
        counts.lost = 7;
        lines.line(Duration::from_secs(2), counts).unwrap();
        insta::assert_snapshot!(String::from_utf8(lines.out).unwrap());
    }
}
