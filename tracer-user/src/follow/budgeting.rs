//! Keeps a session within its budget: measures, asks the controller, sets the probes.

use std::sync::Arc;
use std::time::Duration;

use crate::attach::{AttachError, Measured, Session};
use crate::budget::{Change, Controller, Observed, Share, Shed};
use crate::plan::{Plan, ProbeClass};
use crate::rebuild::watching::Watching;
use crate::show::live::format;

/// What the budget is kept of.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Of the target's own CPU time: 0.05 is five percent.
    pub share: f64,
    /// What each probe of the plan is for.
    pub classes: Vec<ProbeClass>,
    /// The future whose task a probe sees polled, by index of the probe.
    pub futures: Vec<Option<Arc<str>>>,
}

impl Budget {
    /// This share, for the probes of a plan.
    #[must_use]
    pub fn new(share: f64, plan: &Plan, futures: Vec<Option<Arc<str>>>) -> Self {
        let classes = plan.probes.iter().map(|probe| ProbeClass::of(probe.kind));
        Self {
            share,
            classes: classes.collect(),
            futures,
        }
    }
}

/// What came of a budget.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The share of the target's own CPU time that tracing might take.
    pub share: f64,
    /// What it took by our estimate; `None` when the target's CPU time is not known.
    pub taken: Option<f64>,
    /// The same as a share of one CPU.
    pub of_one_cpu: f64,
    /// How much of the time polls were watched.
    pub watched: Share,
    /// Live tasks that were seen polled.
    pub tasks_seen: u64,
    /// Live tasks.
    pub tasks: u64,
    /// What was left out at the end.
    pub left_out: Vec<String>,
}

/// Keeps the budget of one session.
#[derive(Debug)]
pub(super) struct Budgeting {
    budget: Budget,
    controller: Controller,
    observed: Observed,
    last: Measured,
    start: Measured,
    shed: Shed,
}

/// What is watched after a change, and that in words.
pub(super) struct Changed {
    pub(super) watching: Vec<Watching>,
    pub(super) words: Option<String>,
    /// To be told once: what is left out has changed.
    pub(super) note: Option<String>,
}

impl Budgeting {
    pub(super) fn new(budget: Budget, session: &Session) -> Self {
        let mut observed = Observed::new(session.measure());
        let start = observed.take(session.measure());
        Self {
            controller: Controller::new(budget.share, budget.classes.clone(), start.clone()),
            budget,
            observed,
            last: start.clone(),
            start,
            shed: Shed::default(),
        }
    }

    pub(super) fn next_look(&self) -> Duration {
        self.controller.next_look()
    }

    /// Measures; the answer is what to change.
    pub(super) fn look(&mut self, session: &Session) -> Option<Change> {
        let measured = if self.controller.is_silent() {
            session.measure_target(self.observed.estimated())
        } else {
            session.measure()
        };
        self.last = self.observed.take(measured);
        let change = self.controller.look(&self.last)?;
        self.observed.decided(&change);
        Some(change)
    }

    /// Makes a change. Blocks while the kernel does.
    ///
    /// # Errors
    /// As [`Session::place`].
    pub(super) fn change(
        &mut self,
        session: &mut Session,
        change: &Change,
    ) -> Result<Changed, AttachError> {
        let placed = if change.beside {
            session.place_beside(&change.probes)?
        } else {
            session.place(&change.probes, change.polls)?
        };
        self.last = self.observed.take(session.measure());
        self.observed.changed(change);
        self.controller.changed(self.last.clone(), placed.from);
        let shed = &change.shed;
        let watching = |time: u64, polls: bool| Watching {
            time,
            polls,
            wakes: polls && (change.full || !shed.wakes),
            waker_counts: !shed.waker_counts,
            nested: !shed.nested,
            ends: !shed.ends,
            left_out: if change.full {
                Vec::new()
            } else {
                self.futures(shed)
            },
        };
        let mut told = Vec::new();
        if change.beside {
            // What comes is watched once it is all there, and what goes until it begins to go.
            let time = if change.full {
                placed.until
            } else {
                placed.from
            };
            told.push(watching(time, true));
        } else {
            told.push(watching(placed.from, false));
            if change.polls {
                told.push(watching(placed.until, true));
            }
        }
        // Windows come and go: only what stays is worth a line.
        let note = (*shed != self.shed).then(|| {
            let words = self.words(shed);
            words.unwrap_or_else(|| "everything is watched again".to_owned())
        });
        self.shed = shed.clone();
        Ok(Changed {
            watching: told,
            words: self.words(&change.shed),
            note,
        })
    }

    /// What tracing has taken until now, as a share of one CPU.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub(super) fn of_one_cpu(&self) -> f64 {
        let elapsed = self.last.at.saturating_sub(self.start.at);
        self.cost() as f64 / (elapsed as f64).max(1.0)
    }

    /// What tracing has taken until now, nanoseconds.
    fn cost(&self) -> u64 {
        self.last.cost().saturating_sub(self.start.cost())
    }

    /// What came of it until now.
    pub(super) fn kept(&self, tasks: u64, tasks_seen: u64) -> Kept {
        let cost = self.cost();
        let used = match (self.start.target_cpu, self.last.target_cpu) {
            (Some(start), Some(last)) => Some(last.saturating_sub(start)),
            _ => None,
        };
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let taken = used
            .map(|used| used.saturating_sub(cost))
            .filter(|own| *own > 0)
            .map(|own| cost as f64 / own as f64);
        Kept {
            share: self.budget.share,
            taken,
            of_one_cpu: self.of_one_cpu(),
            watched: self.controller.share(),
            tasks_seen,
            tasks,
            left_out: self.left_out(&self.shed),
        }
    }

    /// The futures of the types that are left out between windows.
    fn futures(&self, shed: &Shed) -> Vec<Arc<str>> {
        let futures = shed.types.iter().map(|probe| {
            let known = self.budget.futures.get(*probe as usize).cloned().flatten();
            known.unwrap_or_else(|| "?".into())
        });
        futures.collect()
    }

    fn left_out(&self, shed: &Shed) -> Vec<String> {
        let mut left_out = Vec::new();
        if shed.waker_counts {
            left_out.push("clones and drops of wakers".to_owned());
        }
        if shed.nested {
            left_out.push("polls of nested futures".to_owned());
        }
        if shed.ends {
            left_out.push("exact ends of polls".to_owned());
        }
        for future in self.futures(shed) {
            left_out.push(format!("polls of {future} outside windows"));
        }
        if shed.wakes {
            left_out.push("wake-ups outside windows".to_owned());
        }
        if shed.all {
            left_out.push("everything but panics outside windows".to_owned());
        }
        left_out
    }

    /// For the line of the view that says what the user should know.
    fn words(&self, shed: &Shed) -> Option<String> {
        let left_out = self.left_out(shed);
        if left_out.is_empty() {
            return None;
        }
        let watched = self.controller.share();
        let windows = if watched.windows > 0 {
            format!(" (watched {} of the time)", format::percent(watched.part()))
        } else {
            String::new()
        };
        Some(format!(
            "to cost at most {}, not watched: {}{windows}",
            format::percent(self.budget.share),
            left_out.join(", ")
        ))
    }
}
