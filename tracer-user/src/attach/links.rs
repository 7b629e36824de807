//! Links: what makes probes fire. Dropping a link takes its probes out; a process that ends drops all
//! of its links, because they are nothing but file descriptors.
//!
//! The two kinds differ in one thing that matters: removing a perf link costs about 107 ms, one
//! after the other in the kernel (2,000 probes of one uprobe_multi link: 53 ms), so perf links are
//! for kernels before 6.6 only.
//!
//! A process that is killed *while* it makes or drops links leaves breakpoints behind (Linux 6.18:
//! "uprobe: failed to unregister, leaking uprobe"). So asynctrace has them made by a process that
//! nobody has a reason to kill, see [`super::holder`].

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use serde::{Deserialize, Serialize};

use super::scheduler::Scheduler;
use super::sites::Site;
use super::syscall;
use crate::plan::ProbeSet;

/// The kernel's own "not supported", which has no name outside of it.
const ENOTSUPP: i32 = 524;

/// How probes are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// One uprobe_multi link for all probes of a file (Linux 6.6).
    Multi,
    /// A perf event and a link for each probe.
    Perf,
}

/// The links of a session.
pub(super) struct Links {
    program: OwnedFd,
    pid: u32,
    kind: LinkKind,
    sites: Vec<Site>,
    /// Paths that lead this process to the files.
    files: Vec<PathBuf>,
    groups: Vec<Group>,
    scheduler: Option<Scheduler>,
    /// What [`Links::prepare`] made.
    prepared: Option<OwnedFd>,
    /// Probes that the kernel refused.
    refused: HashSet<u32>,
    /// Those that were not told yet.
    refusals: Vec<Refusal>,
}

/// Probes that come and go together.
struct Group {
    probes: Vec<u32>,
    /// Perf events stay open as long as their links.
    _fds: Vec<OwnedFd>,
}

impl Group {
    fn is_in(&self, wanted: &ProbeSet) -> bool {
        self.probes.iter().all(|probe| wanted.contains(*probe))
    }
}

/// What became of a wish.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Probes that are in place now.
    pub(super) count: usize,
    /// Those that the kernel refused, as far as they were not told before.
    pub(super) refusals: Vec<Refusal>,
    /// Why the others are not in place.
    pub(super) failed: Option<Failed>,
    /// Why switches of threads are not watched although they were to be.
    pub(super) scheduler: Option<SystemError>,
}

/// A probe that the kernel refused.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    /// Its index in the plan.
    pub(super) index: u32,
    pub(super) reason: String,
}

/// A reason that concerns all probes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Failed {
    /// A file cannot be reached.
    Open { file: u32, error: SystemError },
    /// Its probes cannot be linked.
    Link { file: u32, error: SystemError },
    /// The kernel has no uprobes for user programs.
    NoUprobes { error: SystemError },
}

/// An error of the system that may come from another process.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SystemError {
    code: Option<i32>,
    text: String,
}

impl From<&io::Error> for SystemError {
    fn from(error: &io::Error) -> Self {
        Self {
            code: error.raw_os_error(),
            text: error.to_string(),
        }
    }
}

impl From<SystemError> for io::Error {
    fn from(error: SystemError) -> Self {
        let SystemError { code, text } = error;
        code.map_or_else(|| Self::other(text), Self::from_raw_os_error)
    }
}

impl Links {
    /// Links of a program to these sites in these files, and of one to the scheduler; none is in place
    /// yet.
    pub(super) fn new(
        program: OwnedFd,
        kind: LinkKind,
        pid: u32,
        sites: Vec<Site>,
        files: Vec<PathBuf>,
        scheduler: Option<OwnedFd>,
    ) -> Self {
        Self {
            program,
            pid,
            kind,
            sites,
            files,
            groups: Vec::new(),
            scheduler: scheduler.map(Scheduler::new),
            prepared: None,
            refused: HashSet::new(),
            refusals: Vec::new(),
        }
    }

    /// Makes the kernel ready to take out the probes that are not wanted: they still fire. It waits
    /// for readers of its own (`dup_mmap_sem`, some 15 ms, Linux 6.18) before it changes code, unless
    /// it has just changed some. While it waits for the first probe that goes, all would cost what
    /// they cost, and nobody would look. So a link is made that changes nothing: to one of these
    /// sites, but in this process, which does not run that program.
    pub(super) fn prepare(&mut self, wanted: &ProbeSet) {
        let goes = self.groups.iter().find(|group| !group.is_in(wanted));
        let probe = goes.and_then(|group| group.probes.first());
        let site = self.sites.iter().find(|site| Some(&site.index) == probe);
        let Some(site) = site.filter(|_| self.kind == LinkKind::Multi) else {
            return;
        };
        let file = self.files.get(site.file as usize);
        let path = file.map_or(Path::new(""), PathBuf::as_path);
        let (program, own) = (self.program.as_fd(), std::process::id());
        // Without it the probes cost a little more.
        self.prepared =
            syscall::link_uprobes(program, path, &[site.offset], &[site.cookie], own, false).ok();
    }

    /// Takes out the probes that are not wanted and sets those that are. What the kernel refuses is
    /// left out and named. With multi links a probe that goes takes its group with it for a moment.
    /// Switches of threads are watched from then on where `switches` says so.
    pub(super) fn place(&mut self, wanted: &ProbeSet, switches: bool) -> Answer {
        let scheduler = self.scheduler.as_mut();
        let watched = scheduler.map_or(Ok(()), |scheduler| scheduler.watch(switches));
        let failed = self.try_to_place(wanted).err();
        Answer {
            count: self.groups.iter().map(|group| group.probes.len()).sum(),
            refusals: std::mem::take(&mut self.refusals),
            failed,
            scheduler: watched.err().as_ref().map(SystemError::from),
        }
    }

    fn try_to_place(&mut self, wanted: &ProbeSet) -> Result<(), Failed> {
        let (kept, gone) = self.groups.drain(..).partition(|group| group.is_in(wanted));
        self.groups = kept;
        self.let_go(gone);
        let placed: HashSet<u32> = self
            .groups
            .iter()
            .flat_map(|group| group.probes.iter().copied())
            .collect();
        let missing: Vec<Site> = self
            .sites
            .iter()
            .filter(|site| {
                wanted.contains(site.index)
                    && !placed.contains(&site.index)
                    && !self.refused.contains(&site.index)
            })
            .copied()
            .collect();
        for sites in missing.chunk_by(|a, b| (a.class, a.file) == (b.class, b.file)) {
            let Some(first) = sites.first() else { continue };
            let file = File {
                number: first.file,
                path: self.files.get(first.file as usize).cloned(),
            };
            // Asked for first, so that "no such file" is told apart from "no such address". Not
            // opened: only its owner may do that with some, and links are not made by opening.
            let there = std::fs::metadata(file.path());
            there.map_err(|error| Failed::Open {
                file: file.number,
                error: (&error).into(),
            })?;
            match self.kind {
                LinkKind::Multi => self.link_multi(&file, sites)?,
                LinkKind::Perf => self.link_perf(&file, sites)?,
            }
        }
        Ok(())
    }

    /// Takes out groups of probes, and waits for that. When the target's code is as it was the kernel
    /// waits for its own readers, some 40 ms for each multi link (6.18): together, these waits are
    /// shorter.
    fn let_go(&mut self, groups: Vec<Group>) {
        let prepared = self.prepared.take();
        if self.kind == LinkKind::Perf {
            return;
        }
        thread::scope(|scope| {
            for group in groups {
                // Where there is no thread to be had, the group is dropped with the closure, here.
                let _ = thread::Builder::new().spawn_scoped(scope, move || drop(group));
            }
            drop(prepared);
        });
    }

    /// Links a group of sites at once. The kernel takes all or nothing and does not say which one
    /// it minds, so a refused group is halved until the culprits stand alone.
    fn link_multi(&mut self, file: &File, sites: &[Site]) -> Result<(), Failed> {
        if sites.is_empty() {
            return Ok(());
        }
        let offsets: Vec<u64> = sites.iter().map(|site| site.offset).collect();
        let cookies: Vec<u64> = sites.iter().map(|site| site.cookie).collect();
        let program = self.program.as_fd();
        match syscall::link_uprobes(program, file.path(), &offsets, &cookies, self.pid, false) {
            Ok(link) => {
                self.groups.push(Group {
                    probes: sites.iter().map(|site| site.index).collect(),
                    _fds: vec![link],
                });
                Ok(())
            }
            Err(error) if concerns_one_address(&error) => {
                if let [site] = sites {
                    self.refuse(*site, &error);
                    return Ok(());
                }
                let (left, right) = sites.split_at(sites.len() / 2);
                self.link_multi(file, left)?;
                self.link_multi(file, right)
            }
            Err(error) => Err(file.failed(&error)),
        }
    }

    fn link_perf(&mut self, file: &File, sites: &[Site]) -> Result<(), Failed> {
        let kind = perf_type().map_err(|error| Failed::NoUprobes {
            error: (&error).into(),
        })?;
        let target = i32::try_from(self.pid).unwrap_or(-1);
        for site in sites {
            let program = self.program.as_fd();
            let linked =
                syscall::perf_uprobe(kind, file.path(), site.offset, target).and_then(|event| {
                    let link = syscall::link_perf_event(program, event.as_fd(), site.cookie)?;
                    Ok((event, link))
                });
            match linked {
                // The link goes first: it holds the event.
                Ok((event, link)) => self.groups.push(Group {
                    probes: vec![site.index],
                    _fds: vec![link, event],
                }),
                Err(error) if concerns_one_address(&error) => self.refuse(*site, &error),
                Err(error) => return Err(file.failed(&error)),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, site: Site, error: &io::Error) {
        let reason = match error.raw_os_error() {
            Some(ENOTSUPP) => "the kernel cannot probe the instruction there (ENOTSUPP)".to_owned(),
            Some(libc::EINVAL) => {
                "the kernel finds no instruction of this file there that it can probe (EINVAL)"
                    .to_owned()
            }
            _ => format!("the kernel refused the address: {error}"),
        };
        self.refused.insert(site.index);
        self.refusals.push(Refusal {
            index: site.index,
            reason,
        });
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let groups = std::mem::take(&mut self.groups);
        self.let_go(groups);
    }
}

/// One of the files.
struct File {
    number: u32,
    path: Option<PathBuf>,
}

impl File {
    /// A file that is not there has no name either: that is what the kernel says of it.
    fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    fn failed(&self, error: &io::Error) -> Failed {
        Failed::Link {
            file: self.number,
            error: error.into(),
        }
    }
}

/// Errors that the kernel gives for an address, not for the whole attempt: an instruction it cannot
/// probe, an offset outside the file, a place where something else stands.
fn concerns_one_address(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(ENOTSUPP | libc::EINVAL | libc::EIO | libc::EOPNOTSUPP | libc::ERANGE)
    )
}

/// Whether the kernel has uprobe_multi links. Asked, not concluded from its version: distributions
/// port features back. A link to what is no regular file fails late (`EBADF`) where they exist and
/// early (`EINVAL`) where they do not.
pub(super) fn has_multi(program: BorrowedFd<'_>) -> bool {
    match syscall::link_uprobes(program, Path::new("/"), &[0], &[0], 0, false) {
        Err(error) => error.raw_os_error() == Some(libc::EBADF),
        Ok(_) => true,
    }
}

fn perf_type() -> io::Result<u32> {
    let path = "/sys/bus/event_source/devices/uprobe/type";
    let text = std::fs::read_to_string(path)?;
    text.trim().parse().map_err(io::Error::other)
}
