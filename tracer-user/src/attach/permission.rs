//! May this process attach, and can this kernel? Asked before anything is tried, so that the
//! answer names what is missing instead of an `EPERM`.

use std::io;

use super::AttachError;
use crate::address::Address;
use crate::locate::{Capability, missing_capabilities};
use crate::memory::{LiveMemory, Memory as _, ReadError};

/// The oldest kernel with attach cookies and `bpf_task_pt_regs`.
const OLDEST: (u32, u32) = (5, 15);

/// What attaching needs whoever the target belongs to: to load programs, to set uprobes. Processes
/// that are not ours take `CAP_SYS_PTRACE` as well, which [`may_read`] finds out.
pub(super) const NEEDED: &[Capability] = &[Capability::Bpf, Capability::Perfmon];

/// Checks capabilities and kernel version.
///
/// # Errors
/// [`AttachError::KernelTooOld`], [`AttachError::MissingCapabilities`].
pub fn check() -> Result<(), AttachError> {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    check_release(&release)?;
    let missing = missing_capabilities(NEEDED);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(AttachError::MissingCapabilities { missing })
    }
}

/// Checks that this process may read the memory of process `pid`, which is the kernel's rule for
/// ptrace. Uprobes have no such rule of their own: `CAP_PERFMON` is enough for any process.
///
/// # Errors
/// [`AttachError::TargetForbidden`], [`AttachError::TargetGone`].
pub(super) fn may_read(pid: i32) -> Result<(), AttachError> {
    // Nothing is mapped at 0: the answer is about us, not about the address.
    match LiveMemory::new(pid).u8(Address(0)) {
        Err(ReadError::NotPermitted) => Err(AttachError::TargetForbidden { pid }),
        Err(ReadError::Gone) => Err(AttachError::TargetGone { pid }),
        Ok(_) | Err(ReadError::Unmapped { .. }) => Ok(()),
    }
}

fn check_release(release: &str) -> Result<(), AttachError> {
    // A release that does not start with two numbers is none we can judge: try it.
    let Some(version) = version(release) else {
        return Ok(());
    };
    if version < OLDEST {
        return Err(AttachError::KernelTooOld {
            release: release.to_owned(),
        });
    }
    Ok(())
}

/// `6.18.44-fc` -> (6, 18).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Turns `EPERM` of a call into what stands in the way.
pub(super) fn forbidden(what: &str, error: io::Error) -> AttachError {
    AttachError::Forbidden {
        what: what.to_owned(),
        because: obstacle(),
        error,
    }
}

/// What can forbid BPF to a process that has the capabilities.
fn obstacle() -> Option<String> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    if let Some(map) = read("/proc/self/uid_map")
        && !map.split_whitespace().eq(["0", "0", "4294967295"])
    {
        return Some("this is a user namespace, where capabilities do not reach BPF".into());
    }
    if let Some(mode) = read("/sys/kernel/security/lockdown")
        && mode.contains("[confidentiality]")
    {
        return Some(
            "the kernel is locked down (/sys/kernel/security/lockdown: confidentiality)".into(),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_refused_and_an_unknown_one_is_tried() {
        assert!(check_release("5.14.0-rc1").is_err());
        assert!(check_release("4.19.0").is_err());
        assert!(check_release("5.15.1").is_ok());
        assert!(check_release("6.1.0-44-cloud-amd64").is_ok());
        assert!(check_release("weird").is_ok());
    }
}
