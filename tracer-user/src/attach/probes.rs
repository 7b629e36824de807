//! The probes of a session: held by this process, or by one of their own.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::holder::Holder;
use super::links::{Answer, Failed, LinkKind, Links, Refusal};
use super::sites::sites;
use super::{AttachError, permission};
use crate::locate::{Capability, missing_capabilities};
use crate::plan::{Plan, ProbeSet, ProbedFile, Unseen};

/// Probes that can be set and taken out. Dropping it takes all of them out, and waits for that.
pub(super) struct Probes {
    held: Held,
    pub(super) kind: LinkKind,
    pid: i32,
    files: Vec<Arc<ProbedFile>>,
    /// For each probe of the plan, what it is called and where it goes.
    places: Vec<(Arc<str>, u64, Arc<ProbedFile>)>,
    count: usize,
    /// Probes that the kernel refused.
    pub(super) refused: Vec<Unseen>,
    /// Why switches of threads are not watched although they were to be.
    pub(super) unwatched: Option<io::Error>,
}

/// Who has the links.
enum Held {
    Here(Links),
    Apart(Holder),
}

impl Probes {
    /// The probes of a plan, and what watches the scheduler; none is in place yet. With `apart`, a process of their own holds them;
    /// where it cannot be started this one does, and the answer says why.
    pub(super) fn new(
        program: OwnedFd,
        scheduler: Option<OwnedFd>,
        kind: LinkKind,
        plan: &Plan,
        pid: i32,
        apart: bool,
    ) -> (Self, Option<String>) {
        let (sites, files) = sites(plan);
        let mut why = None;
        let mut held = None;
        if apart {
            match Holder::start(&program, kind, pid, &sites, &files, scheduler.as_ref()) {
                Ok(holder) => held = Some(Held::Apart(holder)),
                Err(error) => why = Some(error.to_string()),
            }
        }
        let held = held.unwrap_or_else(|| {
            let paths = files.iter().map(|file| file.to_open().to_owned());
            let paths = paths.collect();
            let pid = pid.unsigned_abs();
            Held::Here(Links::new(program, kind, pid, sites, paths, scheduler))
        });
        let places = plan.probes.iter().map(|probe| {
            let (name, file) = (Arc::clone(&probe.name), Arc::clone(&probe.file));
            (name, probe.file_offset.0, file)
        });
        let probes = Self {
            held,
            kind,
            pid,
            files,
            places: places.collect(),
            count: 0,
            refused: Vec::new(),
            unwatched: None,
        };
        (probes, why)
    }

    /// Probes that are in place.
    pub(super) fn count(&self) -> usize {
        if self.are_lost() { 0 } else { self.count }
    }

    /// Whether a process of its own holds them.
    pub(super) const fn is_apart(&self) -> bool {
        matches!(self.held, Held::Apart(_))
    }

    /// Whether the process that held them was ended by somebody else: then none is in place.
    pub(super) fn are_lost(&self) -> bool {
        match &self.held {
            Held::Here(_) => false,
            Held::Apart(holder) => holder.has_ended(),
        }
    }

    /// To be called before [`Probes::place`] while everything is still watched: what goes is gone
    /// sooner then. Blocks for some 15 ms.
    pub(super) fn prepare(&mut self, wanted: &ProbeSet) {
        match &mut self.held {
            Held::Here(links) => links.prepare(wanted),
            // That it has ended is told when something is placed.
            Held::Apart(holder) => drop(holder.prepare(wanted)),
        }
    }

    /// Takes out the probes that are not wanted and sets those that are. What the kernel refuses is
    /// left out and named. With multi links a probe that goes takes its group with it for a moment.
    /// Switches of threads are watched from then on where `switches` says so; when they cannot be, that
    /// is in `unwatched`.
    ///
    /// # Errors
    /// When nothing could be linked although something was wanted, or for a reason that concerns
    /// all probes.
    pub(super) fn place(&mut self, wanted: &ProbeSet, switches: bool) -> Result<(), AttachError> {
        let answer = match &mut self.held {
            Held::Here(links) => links.place(wanted, switches),
            Held::Apart(holder) => match holder.place(wanted, switches) {
                Ok(answer) => answer,
                Err(error) => {
                    self.count = 0;
                    return Err(AttachError::HolderEnded { error });
                }
            },
        };
        let Answer {
            count,
            refusals,
            failed,
            scheduler,
        } = answer;
        self.count = count;
        self.unwatched = scheduler.map(io::Error::from);
        if let Some(error) = &self.unwatched {
            tracing::warn!("switches of threads cannot be watched: {error}");
        }
        let first = refusals.first().map(|refusal| refusal.reason.clone());
        self.refused.extend(
            refusals
                .into_iter()
                .map(|refusal| refused(&self.places, refusal)),
        );
        if let Some(failed) = failed {
            return Err(self.error(failed));
        }
        if count == 0 && !wanted.is_empty() {
            let before = self.refused.first().map(|refused| refused.reason.clone());
            return Err(AttachError::NothingToProbe {
                why: first.or(before),
            });
        }
        Ok(())
    }

    fn forbidden(&self, error: io::Error) -> AttachError {
        // Linux 6.16, and older ones with the same correction.
        let missing = missing_capabilities(&[Capability::SysAdmin]);
        if self.kind == LinkKind::Perf && !missing.is_empty() {
            return AttachError::MissingCapabilities { missing };
        }
        permission::forbidden("linking probes", error)
    }

    fn error(&self, failed: Failed) -> AttachError {
        let (file, error) = match failed {
            Failed::NoUprobes { error } => {
                return AttachError::KernelWithout {
                    what: "probe user programs (CONFIG_UPROBE_EVENTS)".into(),
                    error: error.into(),
                };
            }
            Failed::Open { file, error } => (file, error.into()),
            Failed::Link { file, error } => {
                let error = io::Error::from(error);
                match error.raw_os_error() {
                    Some(libc::ESRCH) => return AttachError::TargetGone { pid: self.pid },
                    Some(libc::EPERM | libc::EACCES) => {
                        return self.forbidden(error);
                    }
                    _ => (file, error),
                }
            }
        };
        let file = self.files.get(file as usize);
        AttachError::File {
            file: file.map(|file| file.path().to_owned()).unwrap_or_default(),
            error,
        }
    }
}

fn refused(places: &[(Arc<str>, u64, Arc<ProbedFile>)], refusal: Refusal) -> Unseen {
    let what = match places.get(refusal.index as usize) {
        Some((name, offset, file)) => format!(
            "{name} at file offset {offset:#x} of {}",
            file.path().display()
        ),
        None => format!("probe {}", refusal.index),
    };
    Unseen {
        what,
        reason: refusal.reason,
        remedy: None,
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        if self.kind == LinkKind::Perf && self.count() > 10 {
            tracing::info!(
                "taking {} probes out; this kernel needs about 0.1 s for each",
                self.count()
            );
        }
    }
}
