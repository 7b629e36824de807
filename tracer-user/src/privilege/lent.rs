//! Rights that the program's file lends to whoever starts it, and what may be done with them.
//!
//! An administrator may give the file `CAP_BPF` and `CAP_PERFMON` (`setcap`), so that users can trace
//! their own processes without sudo. Then the kernel decides whose processes these are: asynctrace
//! attaches only where the user may read the memory, as for ptrace. `CAP_SYS_PTRACE` is different:
//! lent by the file, it would open every process to everybody. So it counts only where it is the
//! user's own: root's, from the ambient set, or from the inheritable set (`pam_cap`).

#![expect(unsafe_code, reason = "getauxval has no safe wrapper")]

use rustix::process::{getegid, geteuid, getgid, getuid};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::error::{Advice, ExitCode};

/// What a file may lend to its user.
const MAY_BE_LENT: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_NICE);

/// The program was made set-user-ID or set-group-ID.
#[derive(Debug, thiserror::Error)]
#[error("asynctrace does not run set-user-ID or set-group-ID: it starts commands and writes files")]
pub struct SetUserId;

impl Advice for SetUserId {
    fn exit_code(&self) -> ExitCode {
        ExitCode::NotPermitted
    }

    fn next_step(&self) -> Option<String> {
        let program = std::env::current_exe().unwrap_or_else(|_| "asynctrace".into());
        let program = program.display();
        Some(format!(
            "run: sudo chmod ug-s {program}\n\
             to let users trace their own processes: sudo setcap cap_bpf,cap_perfmon+ep {program}"
        ))
    }
}

/// Gives back what the file lends and must not. To be called before anything else, while there is
/// one thread.
///
/// # Errors
/// [`SetUserId`].
pub fn give_back() -> Result<(), SetUserId> {
    if getuid() != geteuid() || getgid() != getegid() {
        return Err(SetUserId);
    }
    if getuid().is_root() || !was_lent_something() {
        return Ok(());
    }
    let Ok(now) = capabilities(None) else {
        // Then the kernel has none to lend.
        return Ok(());
    };
    let kept = kept(now);
    if kept != now
        && let Err(error) = set_capabilities(None, kept)
    {
        // Giving up cannot fail by capabilities(7).
        tracing::error!(%error, "capabilities of the program's file are kept");
    }
    Ok(())
}

/// The user's own, which are in the inheritable set (the ambient ones always are), and what may be
/// lent.
fn kept(now: CapabilitySets) -> CapabilitySets {
    let allowed = now.inheritable | MAY_BE_LENT;
    CapabilitySets {
        effective: now.effective & allowed,
        permitted: now.permitted & allowed,
        inheritable: now.inheritable,
    }
}

/// Whether the kernel has given this process more than who started it had (`AT_SECURE`,
/// getauxval(3)).
fn was_lent_something() -> bool {
    // SAFETY: takes an integer and returns one.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lent_ptrace_is_given_back_and_an_own_one_is_not() {
        let all = MAY_BE_LENT | CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_OVERRIDE;
        let lent = CapabilitySets {
            effective: all,
            permitted: all,
            inheritable: CapabilitySet::empty(),
        };
        assert_eq!(kept(lent).effective, MAY_BE_LENT);
        assert_eq!(kept(lent).permitted, MAY_BE_LENT);
        let own = CapabilitySets {
            inheritable: CapabilitySet::SYS_PTRACE,
            ..lent
        };
        let both = MAY_BE_LENT | CapabilitySet::SYS_PTRACE;
        assert_eq!((kept(own).effective, kept(own).permitted), (both, both));
        assert_eq!(kept(own).inheritable, CapabilitySet::SYS_PTRACE);
    }
}
