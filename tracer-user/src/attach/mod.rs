//! Attaches a plan to a process: loads the BPF object, links the probes, and takes everything out
//! again when the session ends, however it ends.
//!
//! In: a [`Plan`] and a process id. Out: a [`Session`] that yields records and counts.
//! What it does not do: decide what to probe (`plan`) or what records mean (`rebuild`).
//!
//! Nothing outlives the process that attached, but for the moments in which its [`holder`] takes the
//! probes out: programs, maps and links are file descriptors, none is pinned. There is no return
//! probe anywhere: it would make a panic in the target fatal.

mod batches;
mod calibrate;
mod configure;
mod cost;
mod counts;
mod error;
pub mod floor;
pub mod holder;
mod kernel_types;
mod links;
mod logs;
mod object;
mod options;
pub mod permission;
mod probes;
mod programs;
mod scheduler;
mod sites;
mod syscall;
mod window;

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use aya_log::EbpfLogger;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tracer_common::{Counters, Record};

pub use cost::{Overhead, ProbeHits, RunTime, TrapCosts};
pub use error::{AttachError, VerifierLog};
pub use links::LinkKind;
pub use options::SessionOptions;
pub use window::{Measured, Placed};

use crate::plan::{Plan, ProbeSet, Unseen};
use crate::stream::{PanicTold, Rings, Tree, monotonic_ns};
use batches::Batches;
use configure::{configure, ring_bytes, settings};
use counts::counters;
use object::{Loaded, Sizes};
use programs::{
    FLUSH_PROGRAM, OF_EXECUTIONS, OF_SWITCHES, SWITCH_PROGRAM, load_probe_program, unseen,
    watch_executions,
};

/// How long the kernel measures the programs at the start of a session. Measuring costs about
/// 40 ns a run, for every BPF program of the machine, so it ends when the mean is known.
const MEASURED: Duration = Duration::from_secs(2);

/// Probes that are in place, and the stream of what they see. Dropping it detaches.
pub struct Session {
    // Dropped in this order: first what makes programs run.
    probes: probes::Probes,
    executions: Option<OwnedFd>,
    probe_program: OwnedFd,
    switch_program: Option<OwnedFd>,
    measuring: Option<OwnedFd>,
    /// What a switch costs, once that has been measured, ns.
    switch_ns: Option<u64>,
    logger: Option<EbpfLogger<logs::ToTracing>>,
    rings: Rings,
    batches: Batches,
    loaded: Loaded,
    target: OwnedFd,
    model: cost::Model,
    /// The last window that was opened.
    window: u32,
    /// When the first one was, `CLOCK_MONOTONIC`, ns.
    watching_since: u64,
    pid: i32,
    started: Instant,
    attach_time: Duration,
    /// What the kernel refused to probe, with its reason.
    pub refused: Vec<Unseen>,
    /// What this session does without, with the reason.
    pub without: Vec<Unseen>,
    /// Why the links are in this process although they were to be in one of their own.
    pub not_apart: Option<String>,
}

/// The end of a session.
#[derive(Debug)]
pub struct Finished {
    /// The last records, in order.
    pub records: Vec<Record>,
    /// Trees that they name, as far as they are new.
    pub trees: Vec<Tree>,
    /// What the records of panics among them say.
    pub panics: Vec<PanicTold>,
    /// Final counts for each CPU.
    pub counters: Vec<Counters>,
    /// Final cost.
    pub overhead: Overhead,
    /// How long it took to take the probes out.
    pub detach_time: Duration,
    /// Records that came after later ones had been passed on.
    pub late: u64,
}

impl Session {
    /// Attaches the plan to a process. Blocks for some milliseconds.
    ///
    /// # Errors
    /// See [`AttachError`]; then nothing is left in place.
    pub fn start(plan: &Plan, pid: i32, options: &SessionOptions) -> Result<Self, AttachError> {
        let begin = Instant::now();
        permission::check()?;
        let target = open_target(pid)?;
        permission::may_read(pid)?;
        if plan.probes.is_empty() {
            return Err(AttachError::NothingToProbe { why: None });
        }
        let ring = ring_bytes(options);
        let mut loaded = Loaded::new(Sizes {
            probes: count(plan.probes.len()),
            vtables: count(plan.task_id_offsets.len()),
            nodes: count(plan.walk.tables.nodes.len()),
            states: count(plan.walk.tables.states.len()),
            edges: count(plan.walk.tables.edges.len()),
            vtable_nodes: count(plan.walk.tables.vtables.len()),
            ring,
        })?;
        let mut without = Vec::new();
        let settings = settings(plan, pid, ring, &mut without)?;
        configure(&mut loaded, plan, settings)?;

        let mut switch_program = None;
        if options.scheduler {
            match loaded.load(SWITCH_PROGRAM, false) {
                Ok(program) => switch_program = Some(program),
                Err(error) => without.push(unseen(OF_SWITCHES, &error)),
            }
        }
        let executions = watch_executions(&loaded)
            .map_err(|error| without.push(unseen(OF_EXECUTIONS, &error)))
            .ok();

        let (probe_program, kind) = load_probe_program(&loaded, options.wanted_links())?;
        let duplicate = |descriptor: &OwnedFd| {
            let again = descriptor.try_clone();
            again.map_err(|error| AttachError::System {
                what: "could not duplicate a file descriptor",
                error,
            })
        };
        let owned = duplicate(&probe_program)?;
        let scheduler = switch_program.as_ref().map(duplicate).transpose()?;
        let traps = calibrate::traps(&loaded, kind);
        // Before the first record.
        let batches = loaded.fills.take().map(|fills| {
            let program = loaded.load(FLUSH_PROGRAM, false);
            Batches::new(fills, program.ok().filter(|_| options.batches))
        });
        let batches = batches
            .ok_or_else(|| AttachError::BadObject("its maps are used already".to_owned()))?;
        let (mut probes, not_apart) =
            probes::Probes::new(owned, scheduler, kind, plan, pid, options.apart);
        probes.place(&ProbeSet::all(plan), true).map_err(|error| {
            // Whatever it looked like: its files go with it.
            if has_ended(&target) {
                AttachError::TargetGone { pid }
            } else {
                error
            }
        })?;
        // It may have become somebody else's (a set-user-ID program) while we attached.
        permission::may_read(pid)?;
        if let Some(error) = probes.unwatched.take() {
            let what = "trace sched_switch".to_owned();
            let error = AttachError::KernelWithout { what, error };
            without.push(unseen(OF_SWITCHES, &error));
            switch_program = None;
        }
        let refused = probes.refused.clone();
        let rings =
            Rings::new(std::mem::take(&mut loaded.rings)).map_err(|error| AttachError::System {
                what: "could not wait for the ring buffers",
                error,
            })?;
        let mut session = Self {
            probes,
            executions,
            logger: logs::listen(object::facts(probe_program.as_fd()).id),
            probe_program,
            switch_program,
            measuring: aya::sys::enable_stats(aya::sys::Stats::RunTime).ok(),
            switch_ns: None,
            rings,
            batches,
            loaded,
            target,
            model: cost::Model::new(plan, traps),
            window: 1,
            watching_since: monotonic_ns(),
            pid,
            started: Instant::now(),
            attach_time: begin.elapsed(),
            refused,
            without,
            not_apart,
        };
        // Not before every probe is in place: a wake-up in a poll whose begin nobody saw would look
        // like one outside any.
        session.set_window(session.window)?;
        Ok(session)
    }

    /// Whether the kernel measures the programs, as it does in the first two seconds: each run costs more
    /// meanwhile. It ends when records are taken.
    #[must_use]
    pub const fn is_measuring(&self) -> bool {
        self.measuring.is_some()
    }

    /// From when on everything is watched: `CLOCK_MONOTONIC`, nanoseconds. Only panics are told from
    /// before.
    #[must_use]
    pub fn watching_since(&self) -> u64 {
        self.watching_since
    }

    /// Waits for records and returns them in the order of time. An empty batch means that the
    /// target has ended, or [`Session::probes_are_lost`], and everything has been returned. Safe to cancel: nothing is lost.
    /// Must be called inside a tokio runtime with its timer and I/O drivers.
    pub async fn next_batch(&mut self) -> Vec<Record> {
        let mut out = Vec::new();
        loop {
            self.rings.wait().await;
            if let Some(logger) = &mut self.logger {
                logger.flush();
            }
            if self.measuring.is_some() && self.started.elapsed() > MEASURED {
                let switches = Counters::sum(&self.counters()).switches;
                self.switch_ns = Some(self.switch_ns(switches));
                self.measuring = None;
            }
            if self.target_has_ended() || self.probes_are_lost() {
                self.batches.ask_all();
                self.rings.drain(&mut out);
                return out;
            }
            self.rings.read(self.batches.ask(), &mut out);
            if !out.is_empty() {
                return out;
            }
        }
    }

    /// Records from before this time have been returned (CLOCK_MONOTONIC, nanoseconds), but for some
    /// that come late.
    #[must_use]
    pub fn released(&self) -> u64 {
        self.rings.released()
    }

    /// Takes the trees that records name by [`Record::path`], as far as they are new: to be called
    /// after [`Session::next_batch`], before its records are applied.
    #[must_use]
    pub fn take_trees(&mut self) -> Vec<Tree> {
        self.rings.take_trees()
    }

    /// Takes what the records of panics say, as [`Session::take_trees`].
    #[must_use]
    pub fn take_panics(&mut self) -> Vec<PanicTold> {
        self.rings.take_panics()
    }

    /// Takes the probes out and returns what is left. With perf links this blocks for about 0.1 s a
    /// probe.
    #[must_use]
    pub fn finish(mut self) -> Finished {
        // They go one after the other. If this is refused, what is seen meanwhile is told as before.
        let _ = self.set_window(0);
        let counters_before = self.overhead();
        let Self {
            probes,
            executions,
            mut rings,
            mut batches,
            loaded,
            ..
        } = self;
        let begin = Instant::now();
        drop(probes);
        let detach_time = begin.elapsed();
        drop(executions);
        batches.ask_all();
        let mut records = Vec::new();
        rings.drain(&mut records);
        Finished {
            records,
            trees: rings.take_trees(),
            panics: rings.take_panics(),
            counters: counters(&loaded),
            overhead: counters_before,
            detach_time,
            late: rings.late(),
        }
    }

    /// Whether the target has ended. It may still be a zombie.
    #[must_use]
    pub fn target_has_ended(&self) -> bool {
        has_ended(&self.target)
    }

    /// Whether a process of its own holds the links: then this one needs no right to set probes again.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.probes.is_apart()
    }

    /// Whether somebody has ended the process that held the probes: none is in place any more.
    #[must_use]
    pub fn probes_are_lost(&self) -> bool {
        self.probes.are_lost()
    }

    /// Whether the target has replaced its program (`execve`) since the start: what is known of its
    /// tasks is void then.
    #[must_use]
    pub fn target_has_executed(&self) -> bool {
        Counters::sum(&self.counters()).executions != 0
    }

    /// How the probes are linked.
    #[must_use]
    pub fn link_kind(&self) -> LinkKind {
        self.probes.kind
    }

    /// Number of probes in place.
    #[must_use]
    pub fn probes(&self) -> usize {
        self.probes.count()
    }

    /// How long attaching took, from loading to the last link.
    #[must_use]
    pub fn attach_time(&self) -> Duration {
        self.attach_time
    }

    /// Records read so far, those held back for order included.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.rings.records()
    }
}

/// A process that has ended makes its pidfd readable.
fn has_ended(target: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(target, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1..))
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn open_target(pid: i32) -> Result<OwnedFd, AttachError> {
    let process = Pid::from_raw(pid)
        .filter(|_| pid > 0)
        .ok_or(AttachError::TargetGone { pid })?;
    pidfd_open(process, PidfdFlags::empty()).map_err(|error| match error {
        rustix::io::Errno::SRCH => AttachError::TargetGone { pid },
        error => AttachError::System {
            what: "could not watch the target for its end",
            error: error.into(),
        },
    })
}
