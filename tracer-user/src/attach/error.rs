//! What can go wrong when attaching, and what the user can do about it.

use std::io;
use std::path::PathBuf;

use crate::error::{Advice, ExitCode};
use crate::locate::{Capability, ENDED, how_to_be_permitted};

/// Why a session could not start.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The build machine had no BPF toolchain.
    #[error("this binary was built without its BPF object")]
    NoObject,
    /// The embedded object does not parse or link. A bug.
    #[error("the embedded BPF object is damaged: {0}")]
    BadObject(String),
    /// Capabilities are missing.
    #[error("not permitted to attach: missing {}", names(missing))]
    MissingCapabilities {
        /// Which.
        missing: Vec<Capability>,
    },
    /// The target is not ours to read.
    #[error(
        "not permitted to trace process {pid}: it belongs to somebody else, or does not let itself be read"
    )]
    TargetForbidden {
        /// Its id.
        pid: i32,
    },
    /// The kernel refused in spite of the capabilities: a user namespace, lockdown, a security
    /// module.
    #[error("the kernel does not permit {what}{}", because.as_ref().map(|b| format!(": {b}")).unwrap_or_default())]
    Forbidden {
        /// What was tried.
        what: String,
        /// What stands in the way, where that could be found out.
        because: Option<String>,
        /// The error of the call.
        #[source]
        error: io::Error,
    },
    /// The kernel is older than what the programs need.
    #[error("Linux {release} is too old to attach; 5.15 is the oldest that can")]
    KernelTooOld {
        /// `uname -r`.
        release: String,
    },
    /// The kernel was built without something.
    #[error("this kernel cannot {what}")]
    KernelWithout {
        /// What it cannot do.
        what: String,
        /// The error of the call.
        #[source]
        error: io::Error,
    },
    /// The verifier or the loader refused a program. A bug, or a kernel that is not known yet.
    #[error("the kernel refused the BPF program {program}{}", log.verdict())]
    Refused {
        /// Name of the program.
        program: &'static str,
        /// The verifier's log.
        log: VerifierLog,
        /// The error of the call.
        #[source]
        error: io::Error,
    },
    /// A map could not be made.
    #[error("the kernel did not make the BPF map {map}")]
    Map {
        /// Name of the map.
        map: String,
        /// Why.
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The plan has no probe, or the kernel refused each of them.
    #[error("there is no address to probe in this program{}", why.as_ref().map(|w| format!(": {w}")).unwrap_or_default())]
    NothingToProbe {
        /// The kernel's reason for the first address, if there were any.
        why: Option<String>,
    },
    /// The target has ended.
    #[error("process {pid} has ended")]
    TargetGone {
        /// Its id.
        pid: i32,
    },
    /// A file to probe cannot be opened.
    #[error("could not open {} to probe it", file.display())]
    File {
        /// The path.
        file: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The process that holds the links was ended by somebody.
    #[error("the process that holds the probes (`probe-holder`) has ended")]
    HolderEnded {
        /// How.
        #[source]
        error: io::Error,
    },
    /// An operating system error without a better word.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
}

fn names(capabilities: &[Capability]) -> String {
    let names: Vec<_> = capabilities
        .iter()
        .map(|capability| capability.name())
        .collect();
    names.join(", ")
}

/// What the verifier said of a program; thousands of lines.
#[derive(Clone, Default)]
pub struct VerifierLog(pub String);

impl VerifierLog {
    /// The verdict, which is at the end, in brackets; empty when there is none.
    fn verdict(&self) -> String {
        self.0
            .lines()
            .rev()
            .find(|line| !line.is_empty() && !line.starts_with("processed "))
            .map(|line| format!(" ({line})"))
            .unwrap_or_default()
    }
}

impl std::fmt::Debug for VerifierLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines: Vec<&str> = self.0.lines().collect();
        for line in &lines[lines.len().saturating_sub(12)..] {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

impl Advice for AttachError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoObject
            | Self::BadObject(_)
            | Self::HolderEnded { .. }
            | Self::System { .. } => ExitCode::Bug,
            Self::MissingCapabilities { .. }
            | Self::TargetForbidden { .. }
            | Self::Forbidden { .. } => ExitCode::NotPermitted,
            Self::KernelTooOld { .. }
            | Self::KernelWithout { .. }
            | Self::Refused { .. }
            | Self::Map { .. } => ExitCode::KernelCannot,
            Self::NothingToProbe { .. } => ExitCode::NothingToTrace,
            Self::TargetGone { .. } => ExitCode::NoTarget,
            Self::File { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                ExitCode::NotPermitted
            }
            Self::File { .. } => ExitCode::NoTarget,
        }
    }

    fn next_step(&self) -> Option<String> {
        Some(match self {
            Self::NoObject => {
                "run `cargo xtask setup` and build again; `asynctrace dump` works without it".into()
            }
            Self::MissingCapabilities { missing } => format!(
                "{}\nwithout these rights: --sample HZ attaches no probes and needs no right but to \
                 read the process; it tells where tasks wait",
                how_to_be_permitted(missing)
            ),
            Self::TargetForbidden { .. } => how_to_be_permitted(&[Capability::SysPtrace]),
            Self::Forbidden { .. } => {
                "run asynctrace outside the container or namespace, as root of the host".into()
            }
            Self::KernelTooOld { .. } | Self::KernelWithout { .. } => {
                "`asynctrace dump` needs no BPF and works on this kernel".into()
            }
            Self::Refused { .. } => {
                "this is a bug: please report it with the kernel's version and the output of `RUST_LOG=debug`; `asynctrace dump` needs no BPF".into()
            }
            Self::NothingToProbe { .. } => {
                "`asynctrace probes` says what was looked for and why it is not there".into()
            }
            Self::File { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                how_to_be_permitted(&[Capability::SysPtrace, Capability::DacReadSearch])
            }
            Self::HolderEnded { .. } => {
                "no probe is in place; asynctrace ends this process itself, nobody else should".into()
            }
            Self::TargetGone { .. } => ENDED.into(),
            Self::BadObject(_)
            | Self::Map { .. }
            | Self::File { .. }
            | Self::System { .. } => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lacks_the_rights_to_attach_is_told_what_needs_none() {
        let error = AttachError::MissingCapabilities {
            missing: vec![Capability::Bpf],
        };
        assert!(error.next_step().unwrap().contains("--sample HZ"));
    }
}
