//! Which tests run on the old kernel.
//!
//! Named test binaries, with what they trace: the machine's memory holds all of it. Of these, every
//! test whose name begins with `live` runs, unless it is named here with the reason. Live tests of
//! binaries that are not named are told, too.

/// A test binary and the programs below the fixtures' folder that its tests trace.
pub(crate) struct Suite {
    /// Name of the test target.
    pub(crate) binary: &'static str,
    /// Paths below the fixtures' folder.
    pub(crate) programs: &'static [&'static str],
    /// Folders and files below the workspace that its tests read.
    pub(crate) sources: &'static [&'static str],
}

/// What runs.
pub(crate) const SUITES: &[Suite] = &[
    Suite {
        binary: "live_attach",
        programs: &["release/busy", "release/panics", "release/blocking"],
        sources: &[],
    },
    Suite {
        binary: "live_walk",
        programs: &["release/shapes", "release/leaves"],
        sources: &[],
    },
    Suite {
        binary: "live_causes",
        programs: &[
            "release/panics",
            "lto/panics",
            "debug/panics",
            "release/shapes",
            "release/demo",
        ],
        sources: &["fixtures/src"],
    },
    Suite {
        binary: "live_findings",
        programs: &["release/faults", "lto/faults"],
        sources: &["fixtures/src"],
    },
    Suite {
        binary: "attach_cli",
        programs: &["release/busy"],
        sources: &[],
    },
    Suite {
        binary: "live_survival",
        programs: &[
            "release/survivor",
            "release/libplugin.so",
            "release/busy",
            "release/leaves",
        ],
        sources: &[],
    },
    Suite {
        binary: "live_privileges",
        programs: &["release/survivor", "release/idle"],
        sources: &[],
    },
    Suite {
        binary: "live_sites",
        programs: &["release/busy"],
        sources: &[],
    },
    Suite {
        binary: "live_flight",
        programs: &[
            "release/busy",
            "release/service",
            "release/faults",
            "release/panics",
        ],
        sources: &["fixtures/src"],
    },
    Suite {
        binary: "live_daemon",
        programs: &["release/busy"],
        sources: &[],
    },
    Suite {
        binary: "live_budget",
        programs: &["release/busy", "debug/busy"],
        sources: &[],
    },
];

/// A healthy poll takes 10 to 70 ms in the emulated machine.
const TOLD_FROM_TIMES: &str =
    "what is wrong is told from times, and emulated, healthy tasks take as long as faulty ones";

/// A correction of Linux 6.16 that Debian has in its 6.1.
const MORE_RIGHTS: &str = "it is about three capabilities without CAP_SYS_ADMIN, which this kernel wants for uprobes that \
     are set by perf events (docs/limits.md)";

/// Tests of these suites that cannot run there: the end of their name, and why.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[
    (
        "live_every_poll_is_seen_once_with_one_link",
        "asks for uprobe_multi, which came with Linux 6.6",
    ),
    (
        "live_many_probes_are_quick_and_impossible_ones_are_named",
        "holds 300 probes to a second; as perf links they take half a minute to take out",
    ),
    (
        "live_flight_keeps_what_a_full_disk_refused",
        "unshare is not in the image",
    ),
    (
        "live_what_cannot_be_traced_is_told_and_tried_again",
        "it runs /bin/sleep under another name, and there that is busybox, which goes by its name",
    ),
    (
        "everything_that_was_not_watched_is_told",
        "holds the first 8 s to a budget; perf links take 0.1 s each to take out, in which they cost",
    ),
    (
        "live_a_hot_type_goes_into_windows_alone",
        "counts requests of 20 ms by the second; emulated, a poll alone takes as long",
    ),
    (
        "live_tasks_that_end_in_a_pause_are_over_at_the_next_look",
        "its tasks come and go within five seconds; emulated, with a link for each probe, the attach takes longer",
    ),
    (
        "live_flight_writes_at_a_finding",
        "has a budget; emulated, its target is beyond it at once, and perf links take 0.1 s each to take out, for \
         longer than the test waits",
    ),
    ("live_growth_is_found", TOLD_FROM_TIMES),
    ("found_by_what_blocks_them", TOLD_FROM_TIMES),
    ("blocked_workers_are_found_in_an_lto_build", TOLD_FROM_TIMES),
    (
        "live_polls_below_the_threshold_are_no_finding",
        TOLD_FROM_TIMES,
    ),
    ("live_busy_polls_are_found", TOLD_FROM_TIMES),
    ("live_busy_polls_are_found_in_an_lto_build", TOLD_FROM_TIMES),
    (
        "live_tasks_that_wait_for_a_worker_are_found",
        TOLD_FROM_TIMES,
    ),
    ("live_a_task_unlike_its_equals_is_found", TOLD_FROM_TIMES),
    (
        "all_that_lies_in_memory_is_found_while_attached",
        TOLD_FROM_TIMES,
    ),
    ("live_after_the_attach_only_reading_is_left", MORE_RIGHTS),
    (
        "live_rights_that_the_file_lends_open_nobody_elses_process",
        MORE_RIGHTS,
    ),
    (
        "live_three_capabilities_are_enough_for_everything",
        MORE_RIGHTS,
    ),
    ("live_with_a_budget_only_reading_is_left_too", MORE_RIGHTS),
    (
        "live_view_ends_with_ctrl_c_signals_and_the_target",
        "tmux is not in the image",
    ),
    (
        "live_view_keys_work_and_the_terminal_is_given_back",
        "tmux is not in the image",
    ),
];

/// Why a live test of another binary does not run there.
pub(crate) fn why_not(binary: &str) -> &'static str {
    match binary {
        "live_exports" => "its readers (Python, Go, graphviz) are not in the image",
        "mini_redis" => "mini-redis, redis-benchmark and bpftrace are not in the image",
        "live_healthy" => {
            "healthy is said of programs that get their CPU time; emulated, none does"
        }
        "live_stories" => TOLD_FROM_TIMES,
        "durations" => "compares durations, which the emulation stretches",
        "unwind" => "compiles its targets, and attaches no probe",
        _ => "not chosen for the old kernel (xtask/src/vm/suites.rs)",
    }
}
