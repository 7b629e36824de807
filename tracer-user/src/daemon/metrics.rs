//! The metrics in OpenMetrics' text form. Pure: [`Scrape`] in, text out. Names and labels are
//! listed in docs/daemon.md. The number of series is bounded by the configuration: processes have
//! none of their own, and of each target only so many types of tasks are told apart.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::totals::{BOUNDS, Histogram, OTHER, Totals, TypeCounts};

/// The type of the answer.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that one scrape tells.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    /// The targets.
    pub targets: Vec<TargetScrape>,
    /// What the daemon costs; absent where the kernel does not tell.
    pub own: Option<OwnCost>,
    /// Reloads that were done, and that were refused.
    pub reloads: (u64, u64),
}

/// What the daemon costs.
#[derive(Clone, Copy, Debug)]
pub struct OwnCost {
    /// CPU time since its start, seconds.
    pub cpu_seconds: f64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
}

/// A target in a scrape.
#[derive(Clone, Debug)]
pub struct TargetScrape {
    /// Its name.
    pub label: String,
    /// What was counted since the daemon started.
    pub totals: Totals,
    /// Live tasks by type (as [`Totals::label`] has it) and state.
    pub tasks: BTreeMap<(String, &'static str), u64>,
    /// Live tasks that are in no table because there are too many.
    pub tasks_left_out: u64,
    /// Findings that are open by kind and certainty.
    pub findings: BTreeMap<(&'static str, String), u64>,
    /// Processes by state.
    pub processes: BTreeMap<&'static str, u64>,
    /// Estimated cost to its processes in CPUs; absent where nothing is known.
    pub overhead: Option<f64>,
    /// Its budget, as a share of its CPU time.
    pub budget: f64,
}

/// The text.
///
/// # Errors
/// Only when memory for the text cannot be had.
pub fn text(scrape: Scrape) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("asynctrace");
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

type Labels = Vec<(&'static str, String)>;

/// A family that is being written.
struct Family<'a>(MetricEncoder<'a>);

impl Family<'_> {
    fn counter(&mut self, labels: &Labels, value: u64) -> fmt::Result {
        let mut one = self.0.encode_family(labels)?;
        one.encode_counter::<Labels, u64, f64>(&value, None)
    }

    fn seconds(&mut self, labels: &Labels, value: f64) -> fmt::Result {
        let mut one = self.0.encode_family(labels)?;
        one.encode_counter::<Labels, f64, f64>(&value, None)
    }

    fn gauge(&mut self, labels: &Labels, value: f64) -> fmt::Result {
        self.0.encode_family(labels)?.encode_gauge(&value)
    }

    fn histogram(&mut self, labels: &Labels, of: &Histogram) -> fmt::Result {
        let bounds = BOUNDS.iter().map(|bound| seconds(*bound));
        let bounds = bounds.chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(of.buckets).collect();
        let mut one = self.0.encode_family(labels)?;
        one.encode_histogram::<Labels>(seconds(of.sum), of.count, &buckets, None)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers"
)]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers"
)]
const fn number(count: u64) -> f64 {
    count as f64
}

fn family<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
    of: MetricType,
) -> Result<Family<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, of).map(Family)
}

impl Scrape {
    /// Each target with its types, the others last.
    fn types(&self) -> impl Iterator<Item = (Labels, &TypeCounts)> {
        self.targets.iter().flat_map(|target| {
            let others = [(OTHER, &target.totals.other)];
            let types = target.totals.types().into_iter().chain(others);
            types.map(|(name, counts)| (target.with("type", name), counts))
        })
    }

    fn counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counter = MetricType::Counter;
        type Of = fn(&Totals) -> u64;
        let families: [(&str, &str, Of); 5] = [
            ("wakes", "Wake-ups of tasks", |totals| totals.wakes),
            ("events", "Events that were counted", |totals| totals.events),
            ("sessions", "Sessions that began", |totals| totals.sessions),
            ("session_failures", "Sessions that failed", |totals| {
                totals.failures
            }),
            ("polls", "Polls of tasks that ended", Totals::polls),
        ];
        for (name, help, of) in families {
            let mut family = family(encoder, name, help, counter)?;
            for target in &self.targets {
                family.counter(&target.labels(), of(&target.totals))?;
            }
        }
        let mut lost = family(
            encoder,
            "events_lost",
            "Events that are in no count",
            counter,
        )?;
        for target in &self.targets {
            lost.counter(&target.with("by", "kernel"), target.totals.lost)?;
            lost.counter(&target.with("by", "daemon"), target.totals.uncounted)?;
        }
        let help = "Time of sessions, and of that in which polls were watched";
        let mut time = family(encoder, "session_seconds", help, counter)?;
        for target in &self.targets {
            let totals = &target.totals;
            time.seconds(&target.with("what", "all"), seconds(totals.session_ns))?;
            time.seconds(&target.with("what", "watched"), seconds(totals.watched_ns))?;
        }
        let help = "Findings that were opened";
        let mut findings = family(encoder, "findings_opened", help, counter)?;
        for target in &self.targets {
            let sorted: BTreeMap<_, _> = target.totals.findings.iter().collect();
            for (kind, count) in sorted {
                findings.counter(&target.with("kind", kind), *count)?;
            }
        }
        let help = "Tasks that appeared, and that ended";
        let mut tasks = family(encoder, "tasks_seen", help, counter)?;
        for (labels, counts) in self.types() {
            for (what, count) in [("begun", counts.begun), ("over", counts.over)] {
                let mut labels = labels.clone();
                labels.push(("what", what.to_owned()));
                tasks.counter(&labels, count)?;
            }
        }
        Ok(())
    }

    fn histograms(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let histogram = MetricType::Histogram;
        let help = "Lengths of polls";
        let mut polls = family(encoder, "poll_seconds", help, histogram)?;
        for (labels, counts) in self.types() {
            polls.histogram(&labels, &counts.poll_time)?;
        }
        let help = "From the wake-up of a task to its poll";
        let mut delays = family(encoder, "wake_to_poll_seconds", help, histogram)?;
        for (labels, counts) in self.types() {
            delays.histogram(&labels, &counts.delay)?;
        }
        Ok(())
    }

    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauge = MetricType::Gauge;
        let mut tasks = family(encoder, "tasks", "Live tasks", gauge)?;
        for target in &self.targets {
            for ((name, state), count) in &target.tasks {
                let mut labels = target.with("type", name);
                labels.push(("state", (*state).to_owned()));
                tasks.gauge(&labels, number(*count))?;
            }
        }
        let help = "Live tasks that are not among those of asynctrace_tasks: there are too many";
        let mut left_out = family(encoder, "tasks_left_out", help, gauge)?;
        for target in &self.targets {
            left_out.gauge(&target.labels(), number(target.tasks_left_out))?;
        }
        let mut findings = family(encoder, "findings", "Findings that are open", gauge)?;
        for target in &self.targets {
            for ((kind, certainty), count) in &target.findings {
                let mut labels = target.with("kind", kind);
                labels.push(("certainty", certainty.clone()));
                findings.gauge(&labels, number(*count))?;
            }
        }
        let mut processes = family(encoder, "processes", "Processes of a target", gauge)?;
        for target in &self.targets {
            for (state, count) in &target.processes {
                processes.gauge(&target.with("state", state), number(*count))?;
            }
        }
        let help = "CPUs that tracing costs a target, estimated";
        let mut overhead = family(encoder, "overhead_cpus", help, gauge)?;
        for target in &self.targets {
            if let Some(share) = target.overhead {
                overhead.gauge(&target.labels(), share)?;
            }
        }
        let help = "The share of a target's CPU time that tracing may cost";
        let mut budget = family(encoder, "budget_ratio", help, gauge)?;
        for target in &self.targets {
            budget.gauge(&target.labels(), target.budget)?;
        }
        Ok(())
    }

    fn own(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let none = Labels::new();
        let (counter, gauge) = (MetricType::Counter, MetricType::Gauge);
        if let Some(own) = self.own {
            let help = "CPU time of the daemon";
            let mut cpu = family(encoder, "daemon_cpu_seconds", help, counter)?;
            cpu.seconds(&none, own.cpu_seconds)?;
            let help = "Resident memory of the daemon";
            let mut resident = family(encoder, "daemon_resident_bytes", help, gauge)?;
            resident.gauge(&none, number(own.resident_bytes))?;
        }
        let help = "Reloads of the configuration";
        let mut reloads = family(encoder, "daemon_reloads", help, counter)?;
        let labels = |result: &str| vec![("result", result.to_owned())];
        reloads.counter(&labels("done"), self.reloads.0)?;
        reloads.counter(&labels("refused"), self.reloads.1)?;
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        family(encoder, "daemon_version", "1, with the version", gauge)?.gauge(&version, 1.0)
    }
}

impl TargetScrape {
    fn labels(&self) -> Labels {
        vec![("target", self.label.clone())]
    }

    fn with(&self, key: &'static str, value: &str) -> Labels {
        let mut labels = self.labels();
        // The encoder escapes what its format needs.
        labels.push((key, value.to_owned()));
        labels
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.counters(&mut encoder)?;
        self.histograms(&mut encoder)?;
        self.gauges(&mut encoder)?;
        self.own(&mut encoder)
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
