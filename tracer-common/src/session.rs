//! What the daemon tells the BPF programs of a session, and what they count.

/// Settings of a session: the one value of the map `SETTINGS`. Native endianness, no padding.
///
/// The daemon writes it before the first probe is linked, and [`Settings::window`] later; the
/// programs write [`Settings::tgid`] only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Device and inode of the daemon's pid namespace (`/proc/self/ns/pid`), for
    /// `bpf_get_ns_current_pid_tgid`; 0 in the initial one, where no translation is needed.
    pub namespace_device: u64,
    /// See [`Settings::namespace_device`].
    pub namespace_inode: u64,
    /// Bits of a task's state word of which at least one is set from a poll's begin until its last
    /// event; 0 when the runtime has no such bits. tokio: RUNNING and COMPLETE (1 and 2). A task
    /// that completes wakes its joiner after RUNNING is cleared.
    pub active_state: u64,
    /// The target's process id, as the daemon numbers it.
    pub pid: u32,
    /// The target's process id in the initial pid namespace, which the scheduler's tracepoints
    /// see. Learned at the first hit where the two may differ, 0 until then.
    pub tgid: u32,
    /// Offset of `pid` in the kernel's `task_struct`, whose next field is `tgid`; 0 when unknown,
    /// then threads that come back to a CPU are not seen.
    pub kernel_pid_offset: u32,
    /// Number of task vtables in the map `TASK_VTABLES`. With 0 the offset in the cookie serves
    /// every wake-up; otherwise what has another vtable is no task.
    pub vtables: u32,
    /// A full ring wakes the daemon early; this many unread bytes are full enough.
    pub wake_at: u64,
    /// Not 0 when there are walk tables.
    pub walks: u32,
    /// Number of the window in which everything is watched, from 1 on; 0 between two windows, when
    /// only panics are. Polls that were open in another window are not known to be open now.
    pub window: u32,
}

const _: () = assert!(core::mem::size_of::<Settings>() == 56);

/// What the programs count, for each CPU: the value of the map `COUNTERS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Records that the ring had no room for.
    pub lost: u64,
    /// Records that were put into the ring.
    pub sent: u64,
    /// Polls that were nested too deep to be followed: their ends are not seen.
    pub too_deep: u64,
    /// Hits on threads for which there was no room in the table of threads.
    pub no_thread: u64,
    /// Times the target replaced its program (`execve`): everything known of it is void.
    pub executions: u64,
    /// Switches of the target's threads that came while a probe ran on that thread.
    pub skipped_switches: u64,
    /// Trees that were sent with their words.
    pub trees: u64,
    /// Polls whose task was not walked, for want of memory or because that was taken away.
    pub not_walked: u64,
    /// Switches of the target's threads that were looked at.
    pub switches: u64,
}

const _: () = assert!(core::mem::size_of::<Counters>() == 72);

impl Counters {
    /// The sum over CPUs.
    #[must_use]
    pub fn sum(of: &[Self]) -> Self {
        of.iter().fold(Self::default(), |a, b| Self {
            lost: a.lost.saturating_add(b.lost),
            sent: a.sent.saturating_add(b.sent),
            too_deep: a.too_deep.saturating_add(b.too_deep),
            no_thread: a.no_thread.saturating_add(b.no_thread),
            executions: a.executions.saturating_add(b.executions),
            skipped_switches: a.skipped_switches.saturating_add(b.skipped_switches),
            trees: a.trees.saturating_add(b.trees),
            not_walked: a.not_walked.saturating_add(b.not_walked),
            switches: a.switches.saturating_add(b.switches),
        })
    }
}
