//! Links: what makes probes fire. Dropping a link takes its probes out; a killed process drops all
//! of its links, because they are nothing but file descriptors.
//!
//! The two kinds differ in one thing that matters: removing a perf link costs about 107 ms, one
//! after the other in the kernel (2,000 probes of one uprobe_multi link: 53 ms), so perf links are
//! for kernels before 6.6 only.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use super::syscall;
use super::{AttachError, permission};
use crate::plan::{Plan, Probe, Unseen};

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
    /// Perf events stay open as long as their links.
    fds: Vec<OwnedFd>,
    pub(super) kind: LinkKind,
    /// Probes that are in place.
    pub(super) count: usize,
    /// Probes that the kernel refused.
    pub(super) refused: Vec<Unseen>,
    /// Its reason for the first of them.
    why: Option<String>,
}

/// Where a probe goes.
struct Site<'a> {
    probe: &'a Probe,
    offset: u64,
    cookie: u64,
}

impl Links {
    /// Links the program to every probe of the plan; what the kernel refuses is left out and named.
    ///
    /// # Errors
    /// When nothing could be linked, or for a reason that concerns all probes.
    pub(super) fn new(
        program: BorrowedFd<'_>,
        kind: LinkKind,
        plan: &Plan,
        pid: u32,
    ) -> Result<Self, AttachError> {
        let mut links = Self {
            fds: Vec::new(),
            kind,
            count: 0,
            refused: Vec::new(),
            why: None,
        };
        for (file, sites) in by_file(plan) {
            // Opened first, so that "no such file" is told apart from "no such address".
            std::fs::File::open(file).map_err(|error| AttachError::File {
                file: file.to_owned(),
                error,
            })?;
            match kind {
                LinkKind::Multi => links.link_multi(program, file, &sites, pid)?,
                LinkKind::Perf => links.link_perf(program, file, &sites, pid)?,
            }
        }
        if links.count == 0 {
            return Err(AttachError::NothingToProbe {
                why: links.why.take(),
            });
        }
        Ok(links)
    }

    /// Links a group of sites at once. The kernel takes all or nothing and does not say which one
    /// it minds, so a refused group is halved until the culprits stand alone.
    fn link_multi(
        &mut self,
        program: BorrowedFd<'_>,
        file: &Path,
        sites: &[Site<'_>],
        pid: u32,
    ) -> Result<(), AttachError> {
        if sites.is_empty() {
            return Ok(());
        }
        let offsets: Vec<u64> = sites.iter().map(|site| site.offset).collect();
        let cookies: Vec<u64> = sites.iter().map(|site| site.cookie).collect();
        match syscall::link_uprobes(program, file, &offsets, &cookies, pid, false) {
            Ok(link) => {
                self.fds.push(link);
                self.count += sites.len();
                Ok(())
            }
            Err(error) if concerns_one_address(&error) => {
                if let [site] = sites {
                    self.refuse(site, &error);
                    return Ok(());
                }
                let (left, right) = sites.split_at(sites.len() / 2);
                self.link_multi(program, file, left, pid)?;
                self.link_multi(program, file, right, pid)
            }
            Err(error) => Err(of_all(file, pid, error)),
        }
    }

    fn link_perf(
        &mut self,
        program: BorrowedFd<'_>,
        file: &Path,
        sites: &[Site<'_>],
        pid: u32,
    ) -> Result<(), AttachError> {
        let kind = perf_type()?;
        let target = i32::try_from(pid).unwrap_or(-1);
        for site in sites {
            let linked = syscall::perf_uprobe(kind, file, site.offset, target).and_then(|event| {
                let link = syscall::link_perf_event(program, event.as_fd(), site.cookie)?;
                Ok((event, link))
            });
            match linked {
                Ok((event, link)) => {
                    // The link goes first: it holds the event.
                    self.fds.push(link);
                    self.fds.push(event);
                    self.count += 1;
                }
                Err(error) if concerns_one_address(&error) => self.refuse(site, &error),
                Err(error) => return Err(of_all(file, pid, error)),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, site: &Site<'_>, error: &io::Error) {
        let reason = match error.raw_os_error() {
            Some(ENOTSUPP) => "the kernel cannot probe the instruction there (ENOTSUPP)".to_owned(),
            Some(libc::EINVAL) => {
                "the kernel finds no instruction of this file there that it can probe (EINVAL)"
                    .to_owned()
            }
            _ => format!("the kernel refused the address: {error}"),
        };
        self.why.get_or_insert_with(|| reason.clone());
        self.refused.push(Unseen {
            what: format!(
                "{} at file offset {:#x} of {}",
                site.probe.name,
                site.offset,
                site.probe.file.display()
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

fn of_all(file: &Path, pid: u32, error: io::Error) -> AttachError {
    match error.raw_os_error() {
        Some(libc::ESRCH) => AttachError::TargetGone {
            pid: pid.cast_signed(),
        },
        Some(libc::EPERM | libc::EACCES) => permission::forbidden("linking probes", error),
        _ => AttachError::File {
            file: file.to_owned(),
            error,
        },
    }
}

/// The probes, grouped by file in the order of the plan.
fn by_file(plan: &Plan) -> Vec<(&Path, Vec<Site<'_>>)> {
    let mut groups: Vec<(&Path, Vec<Site<'_>>)> = Vec::new();
    for (index, probe) in plan.probes.iter().enumerate() {
        let site = Site {
            probe,
            offset: probe.file_offset.0,
            cookie: probe
                .cookie(u32::try_from(index).unwrap_or(u32::MAX))
                .pack(),
        };
        let file = probe.file.as_path();
        match groups.iter_mut().find(|(known, _)| *known == file) {
            Some((_, sites)) => sites.push(site),
            None => groups.push((file, vec![site])),
        }
    }
    groups
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
        if self.kind == LinkKind::Perf && self.count > 10 {
            tracing::info!(
                "taking {} probes out; this kernel needs about 0.1 s for each",
                self.count
            );
        }
    }
}
