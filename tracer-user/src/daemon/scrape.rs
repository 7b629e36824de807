//! What a scrape tells, gathered.

use std::collections::BTreeMap;
use std::sync::Mutex;

use procfs::process::Process;

use super::config::Target;
use super::followed::Status;
use super::metrics::{self, OwnCost, Scrape, TargetScrape};
use super::observer::lock;
use super::supervise::Supervisor;
use super::totals::Totals;
use crate::rebuild::snapshot::TaskState;

/// The metrics now.
pub(super) fn text(supervisor: &Mutex<Supervisor>, reloads: (u64, u64)) -> String {
    let targets = {
        let supervisor = lock(supervisor);
        let targets = &supervisor.config().targets;
        targets
            .iter()
            .map(|target| of_target(&supervisor, target))
            .collect()
    };
    let scrape = Scrape {
        targets,
        own: own_cost(),
        reloads,
    };
    metrics::text(scrape).unwrap_or_else(|error| {
        tracing::error!("no metrics: {error}");
        String::new()
    })
}

fn of_target(supervisor: &Supervisor, target: &Target) -> TargetScrape {
    let totals = supervisor.totals_of(&target.label);
    let mut scrape = TargetScrape {
        label: target.label.clone(),
        totals: totals.unwrap_or_else(|| Totals::new(0)),
        tasks: BTreeMap::new(),
        tasks_left_out: 0,
        findings: BTreeMap::new(),
        processes: BTreeMap::new(),
        overhead: None,
        budget: target.max_overhead.get() / 100.0,
    };
    for state in [
        "starting",
        "following",
        "recording",
        "waiting",
        "not_followed",
    ] {
        scrape.processes.insert(state, 0);
    }
    let left_out = supervisor.left_out(&target.label) as u64;
    scrape.processes.insert("not_followed", left_out);
    for followed in supervisor.of_target(&target.label) {
        let (status, _, recording) = followed.status();
        let state = match status {
            Status::Starting => "starting",
            Status::Following if recording => "recording",
            Status::Following => "following",
            Status::Waiting { .. } => "waiting",
            Status::Over => continue,
        };
        *scrape.processes.entry(state).or_default() += 1;
        let view = followed.view();
        if let Some(table) = view.table {
            for row in &table.rows {
                let label = scrape.totals.label(&row.future).into_owned();
                let key = (label, state_name(row.state));
                *scrape.tasks.entry(key).or_default() += 1;
            }
            scrape.tasks_left_out += table.rows_left_out as u64;
            if let Some(share) = table.status.overhead {
                *scrape.overhead.get_or_insert(0.0) += share;
            }
        }
        let found = view.found.iter().flat_map(|found| &found.episodes);
        for episode in found.filter(|one| one.closed.is_none()) {
            let finding = &episode.finding;
            let key = (finding.kind.name(), finding.certainty.to_string());
            *scrape.findings.entry(key).or_default() += 1;
        }
    }
    scrape
}

const fn state_name(state: TaskState) -> &'static str {
    match state {
        TaskState::Idle => "idle",
        TaskState::Scheduled => "scheduled",
        TaskState::Running => "running",
        TaskState::Complete => "complete",
        TaskState::Unknown => "unknown",
    }
}

fn own_cost() -> Option<OwnCost> {
    let stat = Process::myself().and_then(|own| own.stat()).ok()?;
    let ticks = stat.utime.saturating_add(stat.stime);
    #[expect(
        clippy::cast_precision_loss,
        reason = "Prometheus has no other numbers"
    )]
    let cpu_seconds = ticks as f64 / procfs::ticks_per_second().max(1) as f64;
    Some(OwnCost {
        cpu_seconds,
        resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
    })
}
