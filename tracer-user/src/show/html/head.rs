//! What the page says of the recording as a whole.

use serde::Serialize;

use super::strings::shown;
use crate::analyse::findings::Finding;
use crate::show::findings::{Clock, Span, Told};
use crate::show::report::Report;

/// What is said at the top of the page. Text is made safe to show when the page is written.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Head {
    /// What wrote the recording.
    pub tool: String,
    /// The recording's file name.
    pub file: String,
    /// Bytes of it.
    pub bytes: u64,
    /// Why the recording was ended.
    pub ended_because: Option<String>,
    /// The traced executable.
    pub exe: String,
    /// Its process id.
    pub pid: i32,
    /// Its build-id.
    pub build_id: Option<String>,
    /// The runtime and the machine, in words.
    pub host: String,
    /// The trace's id.
    pub trace_id: String,
    /// When the trace started, microseconds since 1970-01-01 UTC.
    pub started_unix_us: Option<u64>,
    /// Events in the recording.
    pub events: u64,
    /// What the reader must know before believing the numbers, in sentences: what is missing.
    pub warnings: Vec<String>,
    /// Nothing was lost.
    pub lossless: bool,
    /// What could not be seen, with the reason.
    pub unseen: Vec<(String, String)>,
    /// What was taken for a request, in a sentence.
    pub requests: String,
    /// What is wrong, the surest and gravest first.
    #[serde(skip)]
    pub findings: Vec<Finding>,
    /// The time that the recording is about.
    #[serde(skip)]
    pub span: Option<Span>,
}

/// What the page has of it.
#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    head: Head,
    /// Findings in words.
    told: Vec<Told>,
    /// Findings that are not in the page.
    told_left_out: usize,
}

/// Findings in the page at most.
const MAX_FINDINGS: usize = 500;

impl Head {
    /// What a report says.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let activity = &report.activity;
        let missing = &activity.missing;
        let mut warnings: Vec<String> = report.file.note.iter().cloned().collect();
        let mut warn = |count: u64, text: &str| {
            if count > 0 {
                warnings.push(format!("{count} {text}"));
            }
        };
        warn(
            missing.records,
            "records were lost in the kernel: counts and times are too low",
        );
        warn(
            missing.events_dropped,
            "events did not get into the file, as it could not be written fast enough",
        );
        warn(missing.gaps, "or more events of tasks are missing");
        warn(
            missing.not_followed,
            "tasks or threads were not followed: too many at once",
        );
        warn(
            report.file.skipped_packets,
            "packets of a later format version were left out",
        );
        warnings.extend(report.incomplete.not_watched(activity.duration_ns));
        let host = &report.host;
        Self {
            tool: report.tool.clone(),
            file: report.file.path.clone(),
            bytes: report.file.bytes,
            ended_because: report.file.ended_because.clone(),
            exe: report.process.exe.clone(),
            pid: report.process.pid,
            build_id: report.process.build_id.clone(),
            host: format!(
                "{} on Linux {} {}, {} CPUs",
                report.runtime, host.kernel, host.architecture, host.cpus
            ),
            trace_id: report.trace_id.clone(),
            started_unix_us: report.started_unix_ns.map(|ns| ns / 1_000),
            events: activity.events,
            lossless: missing.records == 0 && missing.events_dropped == 0 && missing.gaps == 0,
            warnings,
            unseen: report
                .unseen
                .iter()
                .map(|unseen| (unseen.what.clone(), unseen.reason.clone()))
                .collect(),
            requests: String::new(),
            findings: report.findings.clone(),
            span: None,
        }
    }

    /// The same with all text made safe to show.
    pub(super) fn shown(&self) -> Shown {
        let clock = Clock::new(self.span.unwrap_or(Span {
            began_ns: 0,
            ended_ns: 0,
            began_unix_ns: None,
        }));
        let findings = self.findings.iter().take(MAX_FINDINGS);
        Shown {
            head: self.safe(),
            told: findings.map(|finding| Told::of(finding, clock)).collect(),
            told_left_out: self.findings.len().saturating_sub(MAX_FINDINGS),
        }
    }

    fn safe(&self) -> Self {
        let optional = |text: &Option<String>| text.as_deref().map(shown);
        Self {
            tool: shown(&self.tool),
            file: shown(&self.file),
            bytes: self.bytes,
            ended_because: optional(&self.ended_because),
            exe: shown(&self.exe),
            pid: self.pid,
            build_id: optional(&self.build_id),
            host: shown(&self.host),
            trace_id: shown(&self.trace_id),
            started_unix_us: self.started_unix_us,
            events: self.events,
            warnings: self.warnings.iter().map(|text| shown(text)).collect(),
            lossless: self.lossless,
            unseen: self
                .unseen
                .iter()
                .map(|(what, reason)| (shown(what), shown(reason)))
                .collect(),
            requests: shown(&self.requests),
            findings: Vec::new(),
            span: None,
        }
    }
}
