//! What the programs are told before the first probe: settings, the vtables of tasks, walk tables.

use std::os::unix::fs::MetadataExt as _;

use tracer_common::Settings;
use tracer_common::walk::{NO_STATE, Root};

use super::object::{Entry, Loaded, SettingsValue, WalkMaps};
use super::{AttachError, SessionOptions, count, kernel_types};
use crate::plan::{Plan, Unseen};

/// All rings together take at most this much, as long as each has [`SMALLEST_RING`].
const ALL_RINGS: u32 = 64 << 20;
const LARGEST_RING: u32 = 16 << 20;
const SMALLEST_RING: u32 = 512 << 10;

/// Bits of a tokio task's state word that are set while it is polled or completes (RUNNING and
/// COMPLETE, tokio 1.0 to 1.54: `runtime/task/state.rs`).
const TOKIO_ACTIVE: u64 = 0b11;

/// Inode of the initial pid namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

pub(super) fn ring_bytes(options: &SessionOptions) -> u32 {
    let cpus = aya::util::online_cpus().map_or(1, |cpus| count(cpus.len()).max(1));
    options
        .ring_bytes
        .unwrap_or((ALL_RINGS / cpus).clamp(SMALLEST_RING, LARGEST_RING))
        // A power of two of whole pages, as the kernel wants it.
        .clamp(1 << 16, 1 << 30)
        .next_power_of_two()
}

pub(super) fn settings(
    plan: &Plan,
    pid: i32,
    ring: u32,
    without: &mut Vec<Unseen>,
) -> Result<Settings, AttachError> {
    let namespace =
        std::fs::metadata("/proc/self/ns/pid").map_err(|error| AttachError::System {
            what: "could not look at /proc/self/ns/pid",
            error,
        })?;
    let initial = namespace.ino() == INITIAL_PID_NAMESPACE;
    let kernel_pid_offset = kernel_types::pid_offset();
    if kernel_pid_offset.is_none() {
        without.push(Unseen {
            what: "when a thread that left the CPU inside a poll comes back to it".into(),
            reason: "the kernel has no type information (/sys/kernel/btf/vmlinux)".into(),
            remedy: Some("a kernel built with CONFIG_DEBUG_INFO_BTF".into()),
        });
    }
    Ok(Settings {
        namespace_device: if initial { 0 } else { namespace.dev() },
        namespace_inode: if initial { 0 } else { namespace.ino() },
        active_state: TOKIO_ACTIVE,
        pid: pid.unsigned_abs(),
        tgid: if initial { pid.unsigned_abs() } else { 0 },
        kernel_pid_offset: kernel_pid_offset.unwrap_or(0),
        vtables: count(plan.task_id_offsets.len()),
        wake_at: u64::from(ring / 2),
        walks: u32::from(!plan.walk.roots.is_empty()),
        // Until every probe is in place.
        window: 0,
    })
}

pub(super) fn configure(
    loaded: &mut Loaded,
    plan: &Plan,
    settings: Settings,
) -> Result<(), AttachError> {
    let failed = |map: &str, error: aya::maps::MapError| AttachError::Map {
        map: map.to_owned(),
        error: Box::new(error),
    };
    for (vtable, offset) in &plan.task_id_offsets {
        loaded
            .vtables
            .insert(vtable.0, u32::from(*offset), 0)
            .map_err(|error| failed("TASK_VTABLES", error))?;
    }
    walk_tables(&mut loaded.walk, plan)?;
    loaded
        .settings
        .set(0, SettingsValue(settings), 0)
        .map_err(|error| failed("SETTINGS", error))
}

/// Fills the maps that the program walks by.
fn walk_tables(maps: &mut WalkMaps, plan: &Plan) -> Result<(), AttachError> {
    let failed = |map: &'static str| {
        move |error: aya::maps::MapError| AttachError::Map {
            map: map.to_owned(),
            error: Box::new(error),
        }
    };
    let nowhere = Root {
        node: NO_STATE,
        ..Root::default()
    };
    for probe in 0..count(plan.probes.len()) {
        let root = plan.walk.roots.get(&probe).copied().unwrap_or(nowhere);
        maps.roots
            .set(probe, Entry(root), 0)
            .map_err(failed("ROOTS"))?;
    }
    let tables = &plan.walk.tables;
    for (index, node) in (0..).zip(&tables.nodes) {
        maps.nodes
            .set(index, Entry(*node), 0)
            .map_err(failed("NODES"))?;
    }
    for (index, state) in (0..).zip(&tables.states) {
        maps.states
            .set(index, Entry(*state), 0)
            .map_err(failed("STATES"))?;
    }
    for (index, edge) in (0..).zip(&tables.edges) {
        maps.edges
            .set(index, Entry(*edge), 0)
            .map_err(failed("EDGES"))?;
    }
    for (vtable, node) in &tables.vtables {
        maps.vtables
            .insert(vtable.0, node, 0)
            .map_err(failed("VTABLE_NODES"))?;
    }
    Ok(())
}
