//! What is said at the end of a session without probes.

use std::fmt;
use std::time::Duration;

use super::pace::rate;
use crate::analyse::sampled::Sampled;
use crate::follow::ending::Ending;
use crate::follow::summary::FileSummary;
use crate::show::escape::escape;
use crate::show::live::format;

/// Awaits that are named.
const AWAITS: usize = 5;

/// A session in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Why it ended.
    pub ending: Ending,
    /// How long it took.
    pub elapsed: Duration,
    /// What looks told.
    pub sampled: Sampled,
    /// CPU time of ours.
    pub cpu: Duration,
    /// What else the user should know, in sentences.
    pub notes: Vec<String>,
    /// The recording, where there is one.
    pub file: Option<FileSummary>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = format::duration(self.elapsed);
        let Sampled { looks, changes, .. } = &self.sampled;
        writeln!(f, "Ended after {span}: {}.", self.ending)?;
        write!(f, "looks      {}", looks.count)?;
        if let Some(per_second) = looks.per_second {
            write!(f, ", {} a second", rate(per_second))?;
        }
        writeln!(f, " (no probes: no poll or wake-up was watched)")?;
        writeln!(
            f,
            "tasks      {} in the last look; {} came, {} went, {} times one had moved on, {} times \
             one stood still",
            self.sampled.by_look.last().map_or(0, |look| look.tasks),
            changes.came,
            changes.went,
            changes.moved,
            changes.still,
        )?;
        let share = self.cpu.as_secs_f64() / self.elapsed.as_secs_f64().max(1e-9);
        writeln!(
            f,
            "own cost   {} of one CPU; none to the target",
            format::percent(share)
        )?;
        let mut awaits: Vec<_> = self.sampled.awaits.iter().collect();
        awaits.retain(|row| row.innermost_samples > 0);
        awaits.sort_by_key(|row| std::cmp::Reverse(row.innermost_samples));
        for row in awaits.into_iter().take(AWAITS) {
            let place = match (&row.awaited.file, row.awaited.line) {
                (Some(file), Some(line)) => {
                    format!("{}:{line} ", escape(format::short_path(file)))
                }
                _ => String::new(),
            };
            let part = row.innermost_samples as f64 / self.sampled.samples.tasks.max(1) as f64;
            writeln!(
                f,
                "waits      {:>5}  {place}{}",
                format::percent(part),
                escape(&row.awaited.future)
            )?;
        }
        for note in &self.notes {
            writeln!(f, "note       {}", escape(note))?;
        }
        if let Some(file) = &self.file {
            let path = file.path.display().to_string();
            write!(
                f,
                "recording  {}: {}",
                escape(&path),
                format::bytes(file.bytes)
            )?;
            if file.full {
                write!(f, ", complete up to the limit of its size")?;
            }
            writeln!(f)?;
            if let Some(failure) = &file.failure {
                writeln!(f, "           incomplete: {}", escape(failure))?;
            }
        }
        Ok(())
    }
}
