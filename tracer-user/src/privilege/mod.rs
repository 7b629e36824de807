//! Giving up rights as soon as they are no longer needed. What is needed when, and why, is the table
//! of docs/safety.md; it is decided here and nowhere else.
//!
//! | moment | call | kept |
//! |---|---|---|
//! | first of all | [`lent::give_back`] | nothing that only the program's file lends, but what it may lend |
//! | the target is found (a command has started) | [`keep`] with [`to_attach`] or [`to_read`] | before any foreign byte is parsed |
//! | the probes are in place, the file is made | [`keep`] with [`to_follow`] | for the rest of the run |
//!
//! Capabilities belong to threads. [`keep`] changes the calling thread and the pool that reads debug
//! information; threads that are started later inherit from the calling one. So it is to be called
//! before a session starts its threads.

pub mod lent;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::locate::Capability;

/// To read a process: its memory and `/proc` entries; its files, and those with its debug
/// information; its sockets, where it lives in another network namespace.
#[must_use]
pub fn to_read(pid: i32) -> Vec<Capability> {
    let mut needed = vec![Capability::SysPtrace, Capability::DacReadSearch];
    if has_other_network(pid) {
        needed.push(Capability::SysAdmin);
    }
    needed
}

/// To attach to a process, and what is needed from then on.
#[must_use]
pub fn to_attach() -> Vec<Capability> {
    vec![
        Capability::Bpf,
        Capability::Perfmon,
        // Stands in for these two where a container has only that; and for the kernel's statistics
        // and messages of our programs.
        Capability::SysAdmin,
        Capability::SysPtrace,
        Capability::DacReadSearch,
        // The recording: in the folder of the user who ran sudo, and to be theirs.
        Capability::DacOverride,
        Capability::Chown,
        // The reader of events runs before others.
        Capability::SysNice,
        // To take capabilities out of the bounding set.
        Capability::SetPcap,
    ]
}

/// What is done with a process after the attach.
#[derive(Clone, Copy, Debug, Default)]
pub struct Later {
    /// Links are made anew (a budget that is kept by windows).
    pub links: bool,
    /// Files are made (segments, what a trigger writes).
    pub files: bool,
}

/// To go on with a process that we are attached to. Maps, links and files that are open need
/// nothing.
#[must_use]
pub fn to_follow(pid: i32, later: Later) -> Vec<Capability> {
    let mut needed = to_read(pid);
    needed.push(Capability::SysNice);
    let mut bpf: &[Capability] = &[];
    if later.links {
        bpf = &[Capability::Bpf, Capability::Perfmon];
    } else if map_access_needs_bpf() {
        bpf = &[Capability::Bpf];
    }
    needed.extend(bpf);
    if !bpf.iter().all(|capability| has(*capability)) {
        needed.push(Capability::SysAdmin);
    }
    if later.files {
        needed.extend([Capability::DacOverride, Capability::Chown]);
    }
    needed
}

fn has(capability: Capability) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(set_of(&[capability])))
}

/// Whether sockets of a process are asked for in its own network namespace, which takes
/// `CAP_SYS_ADMIN`.
fn has_other_network(pid: i32) -> bool {
    let of = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/net")).ok();
    of("self") != of(&pid.to_string())
}

/// Before Linux 5.19 every call of bpf(2), also on open maps, took `CAP_BPF` where unprivileged BPF
/// is switched off.
fn map_access_needs_bpf() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < (5, 19),
        _ => true,
    }
}

/// Gives up every capability but `needed`, for good: permitted, effective, inheritable and ambient,
/// the bounding set where we may, and the way back by a program with more rights
/// (`no_new_privs`). What we do not have is not gained. To be called on the main thread, after a
/// command was started: that gets the rights of who started us.
///
/// A kernel that refuses is said in the log (`ASYNCTRACE_LOG=debug`); nothing depends on it.
pub fn keep(needed: &[Capability]) {
    let needed = set_of(needed);
    let limit = || {
        if let Err(error) = limit_this_thread(needed) {
            tracing::debug!(%error, "capabilities are kept");
        }
    };
    limit();
    rayon::broadcast(|_| limit());
}

fn set_of(needed: &[Capability]) -> CapabilitySet {
    let bits = needed
        .iter()
        .fold(0, |bits, capability| bits | 1_u64 << capability.bit());
    CapabilitySet::from_bits_retain(bits)
}

fn limit_this_thread(needed: CapabilitySet) -> rustix::io::Result<()> {
    let now = capabilities(None)?;
    if now.effective.contains(CapabilitySet::SETPCAP) {
        for bit in 0..u64::BITS {
            let one = CapabilitySet::from_bits_retain(1 << bit);
            if !needed.contains(one) {
                match remove_capability_from_bounding_set(one) {
                    Ok(()) => {}
                    // Above the last one that this kernel knows.
                    Err(rustix::io::Errno::INVAL) => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: now.effective & needed,
            permitted: now.permitted & needed,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    set_no_new_privs(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_run_has_no_bpf_unless_it_links_again() {
        let me = std::process::id().cast_signed();
        let follow = |later| to_follow(me, later);
        let plain = follow(Later::default());
        assert_eq!(plain.contains(&Capability::Bpf), map_access_needs_bpf());
        assert!(!plain.contains(&Capability::Perfmon) && !plain.contains(&Capability::DacOverride));
        let again = follow(Later {
            links: true,
            files: true,
        });
        for needed in [
            Capability::Bpf,
            Capability::Perfmon,
            Capability::DacOverride,
            Capability::Chown,
        ] {
            assert!(again.contains(&needed), "{}", needed.name());
        }
    }

    /// On a thread of its own, because it cannot be undone.
    #[test]
    fn what_is_given_up_is_gone_and_nothing_is_gained() {
        let check = || {
            let before = capabilities(None).unwrap();
            limit_this_thread(CapabilitySet::SYS_PTRACE | CapabilitySet::SYS_TIME).unwrap();
            let after = capabilities(None).unwrap();
            let kept = CapabilitySet::SYS_PTRACE | CapabilitySet::SYS_TIME;
            assert_eq!(after.permitted, before.permitted & kept);
            assert_eq!(after.effective, before.effective & kept);
            assert!(after.inheritable.is_empty());
            assert!(rustix::thread::no_new_privs().unwrap());
            limit_this_thread(CapabilitySet::empty()).unwrap();
            assert!(capabilities(None).unwrap().permitted.is_empty());
        };
        std::thread::spawn(check).join().unwrap();
    }
}
