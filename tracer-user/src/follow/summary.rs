//! What is said at the end of a live session.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::budgeting::Kept;
use super::ending::Ending;
use crate::show::escape::escape;
use crate::show::live::format;

/// The file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSummary {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Events in it.
    pub events: u64,
    /// Events that are missing in it because writing was too slow.
    pub dropped: u64,
    /// Why it is not complete, where writing failed.
    pub failure: Option<String>,
    /// Whether it ended at its limit, before the session did or because of that.
    pub full: bool,
    /// What else there is to say of it and of other files, in lines.
    pub also: Vec<String>,
}

/// A session in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Why it ended.
    pub ending: Ending,
    /// How long it was attached.
    pub elapsed: Duration,
    /// Records that came from the kernel.
    pub records: u64,
    /// Records that the kernel lost, by CPU; CPUs without a loss may be left out.
    pub lost: Vec<(u32, u64)>,
    /// Polls that ended.
    pub polls: u64,
    /// Wake-ups.
    pub wakes: u64,
    /// Tasks live at the end.
    pub live: u64,
    /// Tasks that were seen to be spawned.
    pub spawned: u64,
    /// Tasks that ended.
    pub over: u64,
    /// Estimated cost to the target, as a share of one CPU.
    pub overhead: Option<f64>,
    /// What came of the budget, where there was one.
    pub budget: Option<Kept>,
    /// Nested futures that were polled most often (`--futures`), with the number of their polls.
    pub nested: Vec<(Arc<str>, u64)>,
    /// What else the user should know, in sentences.
    pub notes: Vec<String>,
    /// The recording, where there is one.
    pub file: Option<FileSummary>,
}

/// `1 window`, `2 windows`.
fn plural(count: u64, one: &str) -> String {
    let many = if count == 1 { "" } else { "s" };
    format!("{count} {one}{many}")
}

/// An estimated share; one that is too small to be told is not about anything.
fn about(share: f64) -> String {
    let percent = format::percent(share);
    if percent.starts_with('<') {
        percent
    } else {
        format!("about {percent}")
    }
}

/// What tracing was allowed, what it took, and what was not watched for that.
fn budget(f: &mut fmt::Formatter<'_>, kept: &Kept) -> fmt::Result {
    let share = format::percent(kept.share);
    match kept.taken {
        Some(taken) => {
            // Otherwise it looks like a promise that was broken.
            let credit = if taken > kept.share {
                ": there is credit for a second of one CPU to begin with"
            } else {
                ""
            };
            let taken = about(taken);
            writeln!(
                f,
                "budget     {share} of the target's CPU time, took {taken}{credit}"
            )?;
        }
        None => writeln!(f, "budget     {share} of the target's CPU time")?,
    }
    if kept.watched.windows > 0 {
        writeln!(
            f,
            "watched    {} of the time, in {}; {} of {} {} polled then",
            format::percent(kept.watched.part()),
            plural(kept.watched.windows, "window"),
            kept.tasks_seen,
            plural(kept.tasks, "live task"),
            if kept.tasks_seen == 1 { "was" } else { "were" }
        )?;
    }
    for left_out in &kept.left_out {
        writeln!(f, "left out   {}", escape(left_out))?;
    }
    Ok(())
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = format::duration(self.elapsed);
        writeln!(f, "Ended after {span}: {}.", self.ending)?;
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
        let rate = self.records as f64 / self.elapsed.as_secs_f64().max(1e-9);
        let lost: u64 = self.lost.iter().map(|(_, count)| count).sum();
        write!(
            f,
            "records    {} ({}/s), lost {lost}",
            self.records,
            format::rate(rate)
        )?;
        let by_cpu: Vec<_> = self
            .lost
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(cpu, count)| format!("{count} on CPU {cpu}"))
            .collect();
        if by_cpu.is_empty() {
            writeln!(f)?;
        } else {
            writeln!(f, " ({})", by_cpu.join(", "))?;
        }
        writeln!(f, "polls      {}, wake-ups {}", self.polls, self.wakes)?;
        // Without a function that spawns to probe, none is seen, and tasks come and go all the same.
        let spawned = match (self.spawned, self.over) {
            (0, 1..) => "no spawn seen".to_owned(),
            (spawned, over) if over > spawned => format!("{spawned} seen to be spawned"),
            (spawned, _) => format!("{spawned} spawned"),
        };
        writeln!(
            f,
            "tasks      {} live, {spawned}, {} ended",
            self.live, self.over
        )?;
        match self.overhead {
            Some(share) => {
                writeln!(f, "overhead   {} of one CPU (estimate)", about(share))?;
            }
            None => writeln!(f, "overhead   not known")?,
        }
        if let Some(kept) = &self.budget {
            budget(f, kept)?;
        }
        for (future, polls) in &self.nested {
            writeln!(f, "nested     {polls} polls of {}", escape(future))?;
        }
        for note in &self.notes {
            writeln!(f, "note       {}", escape(note))?;
        }
        if let Some(file) = &self.file {
            let path = file.path.display().to_string();
            write!(
                f,
                "recording  {}: {}, {} events",
                escape(&path),
                format::bytes(file.bytes),
                file.events
            )?;
            if file.dropped > 0 {
                write!(f, ", {} not written (writing was too slow)", file.dropped)?;
            }
            if file.full {
                write!(f, ", complete up to the limit of its size")?;
            }
            writeln!(f)?;
            if let Some(failure) = &file.failure {
                writeln!(f, "           incomplete: {}", escape(failure))?;
            }
            for line in &file.also {
                writeln!(f, "           {}", escape(line))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Share;

    fn summary() -> Summary {
        Summary {
            ending: Ending::Interrupted,
            elapsed: Duration::from_secs(10),
            records: 123_456,
            lost: vec![(0, 0), (1, 0)],
            polls: 50_000,
            wakes: 40_000,
            live: 102,
            spawned: 7,
            over: 5,
            overhead: Some(0.0123),
            budget: None,
            nested: Vec::new(),
            notes: Vec::new(),
            file: None,
        }
    }

    #[test]
    fn a_clean_end() {
        insta::assert_snapshot!(summary());
    }

    #[test]
    fn losses_are_told_by_cpu_and_cause() {
        let mut summary = summary();
        summary.ending = Ending::TargetExited(None);
        summary.lost = vec![(0, 3), (1, 40)];
        summary.overhead = None;
        summary.nested.push(("app::inner\x1b[1m".into(), 7));
        summary
            .notes
            .push("2 addresses were refused by the kernel".to_owned());
        summary.file = Some(FileSummary {
            path: "run\x1b[1m.atrace".into(),
            bytes: 3 << 20,
            events: 99,
            dropped: 5,
            failure: Some("no space left on device".to_owned()),
            full: false,
            also: Vec::new(),
        });
        insta::assert_snapshot!(summary);
    }

    #[test]
    fn tasks_that_were_not_seen_to_be_spawned_end_even_so() {
        let mut summary = summary();
        summary.spawned = 0;
        assert!(summary.to_string().contains("live, no spawn seen, 5 ended"));
        // Work of spawn_blocking is not seen to be spawned.
        summary.spawned = 2;
        let text = summary.to_string();
        assert!(
            text.contains("live, 2 seen to be spawned, 5 ended"),
            "{text}"
        );
        summary.spawned = 0;
        summary.over = 0;
        assert!(summary.to_string().contains("live, 0 spawned, 0 ended"));
    }

    #[test]
    fn what_the_first_credit_paid_for_is_no_broken_promise() {
        let line = |taken| {
            let mut summary = summary();
            summary.budget = Some(Kept {
                share: 0.05,
                taken: Some(taken),
                of_one_cpu: 0.01,
                watched: Share::default(),
                tasks_seen: 0,
                tasks: 0,
                left_out: Vec::new(),
            });
            let text = summary.to_string();
            let line = text.lines().find(|line| line.starts_with("budget"));
            line.unwrap().to_owned()
        };
        assert!(line(0.18).ends_with("to begin with"), "{}", line(0.18));
        assert!(line(0.048).ends_with("took about 4.8%"), "{}", line(0.048));
    }

    #[test]
    fn one_is_no_plural_and_next_to_nothing_is_not_about() {
        assert_eq!(plural(1, "window"), "1 window");
        assert_eq!(plural(0, "live task"), "0 live tasks");
        assert_eq!(about(0.000_2), "<0.1%");
        assert_eq!(about(0.02), "about 2.0%");
    }
}
