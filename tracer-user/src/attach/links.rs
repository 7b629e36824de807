//! Links: what makes probes fire. Dropping a link takes its probes out; a killed process drops all
//! of its links, because they are nothing but file descriptors.
//!
//! The two kinds differ in one thing that matters: removing a perf link costs about 107 ms, one
//! after the other in the kernel (2,000 probes of one uprobe_multi link: 53 ms), so perf links are
//! for kernels before 6.6 only.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use super::syscall;
use super::{AttachError, permission};
use crate::plan::{Plan, ProbeClass, ProbeSet, ProbedFile, Unseen};

/// The kernel's own "not supported", which has no name outside of it.
const ENOTSUPP: i32 = 524;

/// How probes are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
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
    pub(super) kind: LinkKind,
    sites: Vec<Site>,
    groups: Vec<Group>,
    /// Probes that the kernel refused.
    pub(super) refused: Vec<Unseen>,
    /// Their sites.
    refused_sites: HashSet<u32>,
    /// Its reason for the first of them.
    why: Option<String>,
}

/// Where a probe goes.
#[derive(Clone)]
struct Site {
    index: u32,
    class: ProbeClass,
    name: Arc<str>,
    file: Arc<ProbedFile>,
    offset: u64,
    cookie: u64,
}

/// Probes that come and go together.
struct Group {
    probes: Vec<u32>,
    /// Perf events stay open as long as their links.
    _fds: Vec<OwnedFd>,
}

impl Links {
    /// The links of a plan; none is in place yet.
    pub(super) fn new(program: OwnedFd, kind: LinkKind, plan: &Plan, pid: u32) -> Self {
        Self {
            program,
            pid,
            kind,
            sites: sites(plan),
            groups: Vec::new(),
            refused: Vec::new(),
            refused_sites: HashSet::new(),
            why: None,
        }
    }

    /// Probes that are in place.
    pub(super) fn count(&self) -> usize {
        self.groups.iter().map(|group| group.probes.len()).sum()
    }

    /// Takes out the probes that are not wanted and sets those that are. What the kernel refuses is
    /// left out and named. With multi links a probe that goes takes its group with it for a moment.
    ///
    /// # Errors
    /// When nothing could be linked although something was wanted, or for a reason that concerns
    /// all probes.
    pub(super) fn place(&mut self, wanted: &ProbeSet) -> Result<(), AttachError> {
        self.groups
            .retain(|group| group.probes.iter().all(|probe| wanted.contains(*probe)));
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
                    && !self.refused_sites.contains(&site.index)
            })
            .cloned()
            .collect();
        for sites in missing.chunk_by(|a, b| (a.class, &a.file) == (b.class, &b.file)) {
            let Some(first) = sites.first() else { continue };
            let file = Arc::clone(&first.file);
            // Opened first, so that "no such file" is told apart from "no such address".
            std::fs::File::open(file.to_open()).map_err(|error| AttachError::File {
                file: file.path().to_owned(),
                error,
            })?;
            match self.kind {
                LinkKind::Multi => self.link_multi(&file, sites)?,
                LinkKind::Perf => self.link_perf(&file, sites)?,
            }
        }
        if self.count() == 0 && !wanted.is_empty() {
            return Err(AttachError::NothingToProbe {
                why: self.why.take(),
            });
        }
        Ok(())
    }

    /// Links a group of sites at once. The kernel takes all or nothing and does not say which one
    /// it minds, so a refused group is halved until the culprits stand alone.
    fn link_multi(&mut self, file: &ProbedFile, sites: &[Site]) -> Result<(), AttachError> {
        if sites.is_empty() {
            return Ok(());
        }
        let offsets: Vec<u64> = sites.iter().map(|site| site.offset).collect();
        let cookies: Vec<u64> = sites.iter().map(|site| site.cookie).collect();
        let program = self.program.as_fd();
        match syscall::link_uprobes(program, file.to_open(), &offsets, &cookies, self.pid, false) {
            Ok(link) => {
                self.groups.push(Group {
                    probes: sites.iter().map(|site| site.index).collect(),
                    _fds: vec![link],
                });
                Ok(())
            }
            Err(error) if concerns_one_address(&error) => {
                if let [site] = sites {
                    self.refuse(site, &error);
                    return Ok(());
                }
                let (left, right) = sites.split_at(sites.len() / 2);
                self.link_multi(file, left)?;
                self.link_multi(file, right)
            }
            Err(error) => Err(of_all(file, self.pid, error)),
        }
    }

    fn link_perf(&mut self, file: &ProbedFile, sites: &[Site]) -> Result<(), AttachError> {
        let kind = perf_type()?;
        let target = i32::try_from(self.pid).unwrap_or(-1);
        for site in sites {
            let program = self.program.as_fd();
            let linked =
                syscall::perf_uprobe(kind, file.to_open(), site.offset, target).and_then(|event| {
                    let link = syscall::link_perf_event(program, event.as_fd(), site.cookie)?;
                    Ok((event, link))
                });
            match linked {
                // The link goes first: it holds the event.
                Ok((event, link)) => self.groups.push(Group {
                    probes: vec![site.index],
                    _fds: vec![link, event],
                }),
                Err(error) if concerns_one_address(&error) => self.refuse(site, &error),
                Err(error) => return Err(of_all(file, self.pid, error)),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, site: &Site, error: &io::Error) {
        let reason = match error.raw_os_error() {
            Some(ENOTSUPP) => "the kernel cannot probe the instruction there (ENOTSUPP)".to_owned(),
            Some(libc::EINVAL) => {
                "the kernel finds no instruction of this file there that it can probe (EINVAL)"
                    .to_owned()
            }
            _ => format!("the kernel refused the address: {error}"),
        };
        self.why.get_or_insert_with(|| reason.clone());
        self.refused_sites.insert(site.index);
        self.refused.push(Unseen {
            what: format!(
                "{} at file offset {:#x} of {}",
                site.name,
                site.offset,
                site.file.path().display()
            ),
            reason,
            remedy: None,
        });
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

fn of_all(file: &ProbedFile, pid: u32, error: io::Error) -> AttachError {
    match error.raw_os_error() {
        Some(libc::ESRCH) => AttachError::TargetGone {
            pid: pid.cast_signed(),
        },
        Some(libc::EPERM | libc::EACCES) => permission::forbidden("linking probes", error),
        _ => AttachError::File {
            file: file.path().to_owned(),
            error,
        },
    }
}

/// The probes, ordered by what they are for and by file.
fn sites(plan: &Plan) -> Vec<Site> {
    let mut sites: Vec<Site> = (0u32..)
        .zip(&plan.probes)
        .map(|(index, probe)| Site {
            index,
            class: ProbeClass::of(probe.kind),
            name: Arc::clone(&probe.name),
            file: Arc::clone(&probe.file),
            offset: probe.file_offset.0,
            cookie: probe.cookie(index).pack(),
        })
        .collect();
    sites.sort_by(|a, b| (a.class, &a.file, a.index).cmp(&(b.class, &b.file, b.index)));
    sites
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

fn perf_type() -> Result<u32, AttachError> {
    let path = "/sys/bus/event_source/devices/uprobe/type";
    std::fs::read_to_string(path)
        .and_then(|text| text.trim().parse().map_err(io::Error::other))
        .map_err(|error| AttachError::KernelWithout {
            what: "probe user programs (CONFIG_UPROBE_EVENTS)".into(),
            error,
        })
}

impl Drop for Links {
    fn drop(&mut self) {
        if self.kind == LinkKind::Perf && self.count() > 10 {
            tracing::info!(
                "taking {} probes out; this kernel needs about 0.1 s for each",
                self.count()
            );
        }
    }
}
