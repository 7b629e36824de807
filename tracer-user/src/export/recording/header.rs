//! What a recording says of itself: at its start, now and then, and at its end.

use serde::Serialize;
use uuid::Uuid;

use super::kinds::{debug_info, debug_info_text};
use crate::plan::Unseen;
use crate::proto;
use crate::rebuild::snapshot::{DebugInfoLevel, ProcessInfo};
use crate::rebuild::tracker::Statistics;

/// The header of a recording.
#[derive(Clone, Debug)]
pub struct Header {
    /// The trace's name in the world: 128 bits that sort by time of creation (UUID version 7,
    /// RFC 9562).
    pub trace_id: Uuid,
    /// Name and version of the program that wrote it.
    pub tool: String,
    /// The traced process.
    pub process: ProcessInfo,
    /// CLOCK_MONOTONIC at some moment, in nanoseconds.
    pub clock_monotonic: u64,
    /// Nanoseconds since 1970-01-01 UTC at the same moment.
    pub clock_realtime: u64,
    /// The machine.
    pub host: Host,
    /// When the probes were attached, or from when on a kept stretch is told; CLOCK_MONOTONIC in
    /// nanoseconds.
    pub started: u64,
    /// The runtime whose tasks are traced.
    pub runtime: String,
    /// How much debug information the binary has, where that is known.
    pub debug_info: Option<DebugInfoLevel>,
    /// How many probes of each kind were attached.
    pub probes: Vec<ProbeCount>,
    /// What cannot be seen.
    pub unseen: Vec<Unseen>,
    /// Patterns of the async functions whose instances are requests, as the user gave them.
    pub requests: Vec<String>,
    /// Looks at memory a second that were asked for, in a recording of nothing but those: no events
    /// were watched.
    pub sampling: Option<f64>,
    /// Set when it is the last stretch of a session, kept in memory until something had it written.
    pub kept: Option<KeptStretch>,
}

/// Which stretch of a session a recording holds, and why it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptStretch {
    /// When the probes were attached, CLOCK_MONOTONIC in nanoseconds.
    pub attached: u64,
    /// Until when it goes, CLOCK_MONOTONIC in nanoseconds.
    pub until: u64,
    /// What had it written: `signal`, `request`, `await`, `finding`, `panic`, `asked`, `end`.
    pub trigger: String,
    /// The same in words.
    pub why: String,
    /// When that was, CLOCK_MONOTONIC in nanoseconds.
    pub at: u64,
}

/// A number of seconds in which a rate is told as an integer.
const MEGASECOND: f64 = 1e6;

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Release of its kernel.
    pub kernel: String,
    /// `x86_64`, ...
    pub architecture: String,
    /// CPUs online.
    pub cpus: u32,
}

/// How many probes of a kind were attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeCount {
    /// `task_poll`, `wake_by_value`, `wake_by_reference`, `waker_clone`, `waker_drop`, `spawn`,
    /// `future_poll`.
    pub kind: String,
    /// How many.
    pub count: u32,
}

/// Records that the kernel lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// On this CPU.
    pub cpu: u32,
    /// How many.
    pub count: u64,
    /// At or before this time, after that of the loss before; CLOCK_MONOTONIC, nanoseconds.
    pub until: u64,
}

/// The end of a recording that was ended in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time: u64,
    /// Why it ended: `interrupted`, `duration`, `target exited`, ...
    pub reason: String,
    /// Events in the file. The writer counts them itself.
    pub events: u64,
    /// Counts of the whole trace.
    pub statistics: Statistics,
}

impl Header {
    /// A header for a recording that begins now: reads both clocks, the kernel's name and the
    /// number of CPUs, and makes the trace's id. The caller adds what it knows of the probes.
    #[must_use]
    pub fn new(process: ProcessInfo, runtime: &str) -> Self {
        let uname = rustix::system::uname();
        let monotonic = nanoseconds(rustix::time::clock_gettime(
            rustix::time::ClockId::Monotonic,
        ));
        let realtime = nanoseconds(rustix::time::clock_gettime(rustix::time::ClockId::Realtime));
        Self {
            trace_id: Uuid::now_v7(),
            tool: format!("asynctrace {}", env!("CARGO_PKG_VERSION")),
            process,
            clock_monotonic: monotonic,
            clock_realtime: realtime,
            host: Host {
                kernel: uname.release().to_string_lossy().into_owned(),
                architecture: uname.machine().to_string_lossy().into_owned(),
                cpus: std::thread::available_parallelism()
                    .ok()
                    .and_then(|count| u32::try_from(count.get()).ok())
                    .unwrap_or(0),
            },
            started: monotonic,
            runtime: runtime.to_owned(),
            debug_info: None,
            probes: Vec::new(),
            unseen: Vec::new(),
            requests: Vec::new(),
            sampling: None,
            kept: None,
        }
    }

    /// When the probes were attached, CLOCK_MONOTONIC in nanoseconds. Nothing in the recording is
    /// from before that, and with [`Header::kept`] not everything since.
    #[must_use]
    pub fn attached(&self) -> u64 {
        let kept = self.kept.as_ref();
        kept.map_or(self.started, |kept| kept.attached.min(self.started))
    }

    /// Nanoseconds since 1970-01-01 UTC of a time of the trace; `None` when it is out of range.
    #[must_use]
    pub fn realtime(&self, time: u64) -> Option<u64> {
        self.clock_realtime
            .checked_add(time)?
            .checked_sub(self.clock_monotonic)
    }

    pub(super) fn to_proto(&self) -> proto::Header {
        proto::Header {
            major: super::MAJOR,
            minor: super::MINOR,
            trace_id: self.trace_id.as_bytes().to_vec(),
            tool: self.tool.clone(),
            process: Some(proto::Process {
                pid: self.process.pid,
                exe: self.process.exe.clone(),
                build_id: self.process.build_id.clone().unwrap_or_default(),
            }),
            clock_monotonic: self.clock_monotonic,
            clock_realtime: self.clock_realtime,
            host: Some(proto::Host {
                kernel: self.host.kernel.clone(),
                architecture: self.host.architecture.clone(),
                cpus: self.host.cpus,
            }),
            started: self.started,
            runtime: self.runtime.clone(),
            debug_info: self.debug_info.map_or("", debug_info_text).to_owned(),
            probes: self
                .probes
                .iter()
                .map(|probes| proto::Probes {
                    kind: probes.kind.clone(),
                    count: probes.count,
                })
                .collect(),
            unseen: self
                .unseen
                .iter()
                .map(|unseen| proto::Unseen {
                    what: unseen.what.clone(),
                    reason: unseen.reason.clone(),
                    remedy: unseen.remedy.clone().unwrap_or_default(),
                })
                .collect(),
            requests: self.requests.clone(),
            sampling: self.sampling.map(|per_second| proto::Sampling {
                asked_per_megasecond: (per_second * MEGASECOND) as u64,
            }),
            kept: self.kept.as_ref().map(|kept| proto::Kept {
                attached: kept.attached,
                until: kept.until,
                trigger: kept.trigger.clone(),
                why: kept.why.clone(),
                at: kept.at,
            }),
        }
    }

    pub(super) fn from_proto(header: proto::Header) -> Result<Self, String> {
        let trace_id = Uuid::from_slice(&header.trace_id)
            .map_err(|_| format!("its trace id has {} bytes", header.trace_id.len()))?;
        let process = header.process.unwrap_or_default();
        let host = header.host.unwrap_or_default();
        Ok(Self {
            trace_id,
            tool: header.tool,
            process: ProcessInfo {
                pid: process.pid,
                exe: process.exe,
                build_id: Some(process.build_id).filter(|id| !id.is_empty()),
            },
            clock_monotonic: header.clock_monotonic,
            clock_realtime: header.clock_realtime,
            host: Host {
                kernel: host.kernel,
                architecture: host.architecture,
                cpus: host.cpus,
            },
            started: header.started,
            runtime: header.runtime,
            debug_info: debug_info(&header.debug_info),
            probes: header
                .probes
                .into_iter()
                .map(|probes| ProbeCount {
                    kind: probes.kind,
                    count: probes.count,
                })
                .collect(),
            unseen: header
                .unseen
                .into_iter()
                .map(|unseen| Unseen {
                    what: unseen.what,
                    reason: unseen.reason,
                    remedy: Some(unseen.remedy).filter(|remedy| !remedy.is_empty()),
                })
                .collect(),
            requests: header.requests,
            sampling: header
                .sampling
                .map(|sampling| sampling.asked_per_megasecond as f64 / MEGASECOND),
            kept: header.kept.map(|kept| KeptStretch {
                attached: kept.attached,
                until: kept.until,
                trigger: kept.trigger,
                why: kept.why,
                at: kept.at,
            }),
        })
    }
}

fn nanoseconds(time: rustix::time::Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// Counts as the format has them: losses as one number, the rest one by one.
pub(super) fn statistics_to_proto(time: u64, counts: &Statistics) -> proto::Statistics {
    proto::Statistics {
        time,
        records: counts.records,
        events: counts.events,
        duplicates: counts.duplicates,
        late: counts.late,
        undecodable: counts.undecodable,
        unmatched: counts.unmatched,
        lost: counts.lost.values().sum(),
        polls: counts.polls,
        wakes: counts.wakes,
        spawned: counts.spawned,
        over: counts.over,
        live: counts.live as u64,
        forgotten: counts.forgotten,
        threads: counts.threads as u64,
    }
}

/// The other way. The file's losses by CPU are in its own packets, so the map is left empty.
pub(super) fn statistics_from_proto(counts: &proto::Statistics) -> Statistics {
    Statistics {
        records: counts.records,
        events: counts.events,
        duplicates: counts.duplicates,
        late: counts.late,
        undecodable: counts.undecodable,
        unmatched: counts.unmatched,
        lost: std::collections::BTreeMap::new(),
        polls: counts.polls,
        wakes: counts.wakes,
        spawned: counts.spawned,
        over: counts.over,
        live: usize::try_from(counts.live).unwrap_or(usize::MAX),
        forgotten: counts.forgotten,
        threads: usize::try_from(counts.threads).unwrap_or(usize::MAX),
    }
}
