//! May this process attach, and can this kernel? Asked before anything is tried, so that the
//! answer names what is missing instead of an `EPERM`.

use std::io;

use super::AttachError;

/// The oldest kernel with attach cookies and `bpf_task_pt_regs`.
const OLDEST: (u32, u32) = (5, 15);

/// Bits of `CapEff` (include/uapi/linux/capability.h).
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

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
    let status =
        std::fs::read_to_string("/proc/self/status").map_err(|error| AttachError::System {
            what: "could not read /proc/self/status",
            error,
        })?;
    check_capabilities(&status)
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

fn check_capabilities(status: &str) -> Result<(), AttachError> {
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let Some(effective) = field("CapEff:").and_then(|mask| u64::from_str_radix(mask, 16).ok())
    else {
        return Ok(());
    };
    let has = |bit: u32| effective & (1 << bit) != 0;
    let mut missing = Vec::new();
    // CAP_SYS_ADMIN contains the first two.
    if !has(CAP_SYS_ADMIN) {
        if !has(CAP_BPF) {
            missing.push("CAP_BPF");
        }
        if !has(CAP_PERFMON) {
            missing.push("CAP_PERFMON");
        }
    }
    if !has(CAP_SYS_PTRACE) {
        missing.push("CAP_SYS_PTRACE");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let root = field("Uid:").and_then(|ids| ids.split_whitespace().nth(1)) == Some("0");
    Err(AttachError::MissingCapabilities { missing, root })
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

/// The command line that runs this very command as root.
pub fn sudo_command() -> String {
    let program = std::env::current_exe()
        .map_or_else(|_| "asynctrace".into(), |path| path.display().to_string());
    let mut command = format!("sudo {}", quoted(&program));
    for argument in std::env::args().skip(1) {
        command.push(' ');
        command.push_str(&quoted(&argument));
    }
    command
}

/// As a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_capabilities_are_named() {
        let missing = |status: &str| match check_capabilities(status) {
            Err(AttachError::MissingCapabilities { missing, root }) => (missing, root),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            missing("Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n"),
            (vec!["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"], false)
        );
        // Docker's default set: root, but without any of them.
        assert_eq!(
            missing("Uid:\t0\t0\t0\t0\nCapEff:\t00000000a80425fb\n"),
            (vec!["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"], true)
        );
        // CAP_BPF and CAP_PERFMON only.
        assert_eq!(
            missing("Uid:\t1000\t1000\t1000\t1000\nCapEff:\t000000c000000000\n"),
            (vec!["CAP_SYS_PTRACE"], false)
        );
        assert!(check_capabilities("Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n").is_ok());
        // CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON.
        assert!(check_capabilities("Uid:\t5\t5\t5\t5\nCapEff:\t0000000000280000\n").is_ok());
    }

    #[test]
    fn an_old_kernel_is_refused_and_an_unknown_one_is_tried() {
        assert!(check_release("5.14.0-rc1").is_err());
        assert!(check_release("4.19.0").is_err());
        assert!(check_release("5.15.1").is_ok());
        assert!(check_release("6.1.0-44-cloud-amd64").is_ok());
        assert!(check_release("weird").is_ok());
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("--pid"), "--pid");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
