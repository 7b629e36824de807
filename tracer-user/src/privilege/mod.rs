//! Giving up rights as soon as they are no longer needed. What is needed when, and why, is the table
//! of docs/safety.md; it is decided here and nowhere else.
//!
//! | moment | call | kept |
//! |---|---|---|
//! | first of all | [`lent::give_back`] | nothing that only the program's file lends, but what it may lend |
//! | the target is found (a command has started) | [`keep`] with [`to_attach`] or [`to_read`] | before any foreign byte is parsed |
//! | a process is started that holds the probes | [`start_with`] with [`to_link`] | in that process |
//! | the probes are in place, the file is made | [`keep`] with [`to_follow`] | for the rest of the run |
//!
//! Capabilities belong to threads. [`keep`] changes the calling thread and the pool that reads debug
//! information; threads that are started later inherit from the calling one. So it is to be called
//! before a session starts its threads.

pub mod lent;

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
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

/// To set probes with a program that is loaded, in a file that is open. By perf events that takes
/// `CAP_SYS_ADMIN` since Linux 6.16, and in the older ones that have the same correction.
#[must_use]
pub fn to_link(by_perf_events: bool) -> Vec<Capability> {
    let mut needed = vec![Capability::Bpf, Capability::Perfmon];
    if by_perf_events || !needed.iter().copied().all(has) {
        needed.push(Capability::SysAdmin);
    }
    needed
}

/// What is done with a process after the attach.
#[derive(Clone, Copy, Debug, Default)]
pub struct Later {
    /// Links are made anew by this process (a budget that is kept by windows).
    pub links: bool,
    /// If so, with perf events.
    pub by_perf_events: bool,
    /// Files are made (segments, what a trigger writes).
    pub files: bool,
}

/// To go on with a process that we are attached to. Maps, links and files that are open need
/// nothing.
#[must_use]
pub fn to_follow(pid: i32, later: Later) -> Vec<Capability> {
    let mut needed = to_read(pid);
    needed.push(Capability::SysNice);
    if later.links {
        needed.extend(to_link(later.by_perf_events));
    } else if map_access_needs_bpf() {
        needed.push(Capability::Bpf);
        if !has(Capability::Bpf) {
            needed.push(Capability::SysAdmin);
        }
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
    keep_alone(needed);
    rayon::broadcast(|_| keep_alone(needed));
}

/// As [`keep`], for the calling thread only: where there is no other.
pub fn keep_alone(needed: &[Capability]) {
    if let Err(error) = limit_this_thread(set_of(needed)) {
        tracing::debug!(%error, "capabilities are kept");
    }
}

/// Calls `start`, which starts a program. That gets those of our capabilities which are `needed`,
/// whoever we are: as root, by capabilities of the program's file, or ambient ones. It gains none that
/// we do not have (`no_new_privs`). Where we may not change the bounding set it may have others of ours
/// by its file, until it gives them up by [`keep_alone`].
///
/// # Errors
/// That of `start`, or when there is no thread for it.
pub fn start_with<T: Send>(
    needed: &[Capability],
    start: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let needed = set_of(needed);
    // Rights belong to threads: this one ends, and nothing is to be taken back.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("asynctrace-start".to_owned());
        let thread = thread.spawn_scoped(scope, || {
            if let Err(error) = pass_on(needed) {
                tracing::debug!(%error, "capabilities are not passed on");
            }
            start()
        })?;
        let panicked = |_| Err(io::Error::other("the thread that starts it panicked"));
        thread.join().unwrap_or_else(panicked)
    })
}

/// Lets programs that this thread starts have what is needed.
fn pass_on(needed: CapabilitySet) -> rustix::io::Result<()> {
    set_no_new_privs(true)?;
    let now = capabilities(None)?;
    limit_what_programs_get(now, needed)?;
    let passed = now.permitted & needed;
    // Root may have our program in a folder of somebody else, who alone may execute it.
    let kept = needed | CapabilitySet::DAC_OVERRIDE;
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: now.effective & kept,
            permitted: now.permitted & kept,
            inheritable: passed,
        },
    )?;
    passed
        .iter()
        .try_for_each(|one| configure_capability_in_ambient_set(one, true))
}

fn set_of(needed: &[Capability]) -> CapabilitySet {
    let bits = needed
        .iter()
        .fold(0, |bits, capability| bits | 1_u64 << capability.bit());
    CapabilitySet::from_bits_retain(bits)
}

fn limit_this_thread(needed: CapabilitySet) -> rustix::io::Result<()> {
    let now = capabilities(None)?;
    limit_what_programs_get(now, needed)?;
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

/// The bounding set, where we may change it.
fn limit_what_programs_get(now: CapabilitySets, needed: CapabilitySet) -> rustix::io::Result<()> {
    if !now.effective.contains(CapabilitySet::SETPCAP) {
        return Ok(());
    }
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
    Ok(())
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
            by_perf_events: false,
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

    #[test]
    fn what_a_program_is_started_with_is_what_it_needs_and_we_keep_ours() {
        let before = capabilities(None).unwrap();
        let needed = to_link(false);
        let status = start_with(&needed, || {
            std::process::Command::new("cat")
                .arg("/proc/self/status")
                .output()
        });
        let status = String::from_utf8(status.unwrap().stdout).unwrap();
        let set = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let bits = u64::from_str_radix(line.unwrap().trim_matches([':', '\t']), 16);
            CapabilitySet::from_bits_retain(bits.unwrap())
        };
        let needed = set_of(&needed);
        assert_eq!(set("CapEff"), set("CapPrm"));
        assert!(
            set("CapEff").contains(before.permitted & needed),
            "{status}"
        );
        if before.effective.contains(CapabilitySet::SETPCAP) {
            assert!(needed.contains(set("CapEff")), "{status}");
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        assert_eq!(capabilities(None).unwrap(), before);
        assert!(!rustix::thread::no_new_privs().unwrap());
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
