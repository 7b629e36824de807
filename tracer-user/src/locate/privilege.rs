//! What this process may do, and the command that may do it.

use std::ffi::OsStr;

/// A capability that some stage needs (`capabilities(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Read the memory and files of processes of other users.
    SysPtrace,
    /// Set uprobes (Linux 5.8; `CAP_SYS_ADMIN` before).
    Perfmon,
    /// Load BPF programs (Linux 5.8; `CAP_SYS_ADMIN` before).
    Bpf,
    /// Everything above, and `/proc/PID/map_files`; to look into another network namespace.
    SysAdmin,
    /// Read files whatever their permissions.
    DacReadSearch,
    /// Write into folders of others.
    DacOverride,
    /// Give files away.
    Chown,
    /// Run before others.
    SysNice,
    /// Limit what can be regained.
    SetPcap,
}

impl Capability {
    /// Its number in the kernel's bit mask (`include/uapi/linux/capability.h`).
    pub(crate) const fn bit(self) -> u32 {
        match self {
            Self::Chown => 0,
            Self::DacOverride => 1,
            Self::DacReadSearch => 2,
            Self::SetPcap => 8,
            Self::SysPtrace => 19,
            Self::SysAdmin => 21,
            Self::SysNice => 23,
            Self::Perfmon => 38,
            Self::Bpf => 39,
        }
    }

    /// Its name in `capabilities(7)`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::DacOverride => "CAP_DAC_OVERRIDE",
            Self::Chown => "CAP_CHOWN",
            Self::SysNice => "CAP_SYS_NICE",
            Self::SetPcap => "CAP_SETPCAP",
        }
    }
}

/// Which of `needed` this process does not have in effect. `CAP_SYS_ADMIN` stands in for
/// `CAP_PERFMON` and `CAP_BPF`.
#[must_use]
pub fn missing_capabilities(needed: &[Capability]) -> Vec<Capability> {
    missing_in(effective_capabilities(), needed)
}

fn missing_in(effective: u64, needed: &[Capability]) -> Vec<Capability> {
    let has = |capability: Capability| effective >> capability.bit() & 1 == 1;
    needed
        .iter()
        .copied()
        .filter(|capability| {
            let covered = matches!(capability, Capability::Perfmon | Capability::Bpf)
                && has(Capability::SysAdmin);
            !has(*capability) && !covered
        })
        .collect()
}

/// The effective capability mask of this process; 0 when `/proc` does not tell.
fn effective_capabilities() -> u64 {
    procfs::process::Process::myself()
        .and_then(|me| me.status())
        .map_or(0, |status| status.capeff)
}

/// What to do to get `needed`: the same command under sudo for an ordinary user; the names of the
/// missing capabilities for a root that does not have them (in a container), and for who cannot become
/// root (`no_new_privs`, as in a hardened unit of systemd's).
#[must_use]
pub fn how_to_be_permitted(needed: &[Capability]) -> String {
    let missing = missing_capabilities(needed);
    let names: Vec<_> = missing.iter().map(|capability| capability.name()).collect();
    let mut lines = Vec::new();
    if rustix::process::geteuid().is_root() {
        if !names.is_empty() {
            lines.push(format!(
                "root lacks {} here, as in a container: start it with {}",
                names.join(", "),
                names
                    .iter()
                    .map(|name| format!("--cap-add {}", name.trim_start_matches("CAP_")))
                    .collect::<Vec<_>>()
                    .join(" "),
            ));
        }
    } else if rustix::thread::no_new_privs().unwrap_or(false) {
        if !names.is_empty() {
            lines.push(format!(
                "start it with {names}: in a unit of systemd's by AmbientCapabilities={names} and \
                 CapabilityBoundingSet={names}",
                names = names.join(" ")
            ));
        }
    } else {
        lines.push(format!("run: {}", sudo_command()));
        if !names.is_empty() {
            lines.push(format!("(missing here: {})", names.join(", ")));
        }
    }
    if let Some(sysctl) = ptrace_scope(needed) {
        lines.push(sysctl);
    }
    lines.join("\n")
}

/// Yama's restriction, where it stands in the way even of root (`kernel.yama.ptrace_scope` = 3).
fn ptrace_scope(needed: &[Capability]) -> Option<String> {
    if !needed.contains(&Capability::SysPtrace) {
        return None;
    }
    let path = "/proc/sys/kernel/yama/ptrace_scope";
    let value = std::fs::read_to_string(path).ok()?;
    (value.trim() == "3").then(|| {
        "kernel.yama.ptrace_scope is 3: nobody may read another process until the next boot \
         with a lower value"
            .to_owned()
    })
}

/// The command line of this process, to be run as root.
#[must_use]
pub fn sudo_command() -> String {
    let program = std::env::current_exe()
        .map(std::path::PathBuf::into_os_string)
        .ok()
        .or_else(|| std::env::args_os().next())
        .unwrap_or_else(|| "asynctrace".into());
    let mut command = format!("sudo {}", quoted(&program));
    for argument in std::env::args_os().skip(1) {
        command.push(' ');
        command.push_str(&quoted(&argument));
    }
    command
}

/// An argument as a shell takes it.
fn quoted(argument: &OsStr) -> String {
    let text = argument.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_stands_in_for_the_bpf_pair() {
        let needed = [Capability::Bpf, Capability::Perfmon, Capability::SysPtrace];
        assert_eq!(missing_in(0, &needed), needed);
        assert_eq!(missing_in(1 << 21, &needed), [Capability::SysPtrace]);
        assert_eq!(missing_in(1 << 39 | 1 << 38 | 1 << 19, &needed), []);
    }

    #[test]
    fn arguments_survive_a_shell() {
        assert_eq!(quoted(OsStr::new("--pid=12")), "--pid=12");
        assert_eq!(quoted(OsStr::new("a b")), "'a b'");
        assert_eq!(quoted(OsStr::new("it's")), r"'it'\''s'");
        assert_eq!(quoted(OsStr::new("")), "''");
        assert_eq!(quoted(OsStr::new("*")), "'*'");
    }
}
