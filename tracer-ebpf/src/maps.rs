//! The maps, which the daemon finds by name.
//!
//! They are declared the old way (section `maps`), which asks nothing of BTF. Sizes that depend on
//! the machine or the plan are set by the loader.

use core::cell::UnsafeCell;

use aya_ebpf::bindings::{bpf_map_def, bpf_map_type::BPF_MAP_TYPE_ARRAY_OF_MAPS};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use probe_logic::Thread;
use tracer_common::walk::{EdgeEntry, NodeEntry, Root, SENT_TREES_KEPT, Scratch, StateEntry};
use tracer_common::{BATCH_BYTES, Counters, Ended, LONG_RECORD, Record, Settings};

/// One value: what the daemon says.
#[map]
pub(crate) static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

/// One value for each CPU.
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Hits of each probe for each CPU; as many entries as the plan has probes.
#[map]
pub(crate) static HITS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Vtable of a task -> offset of the task id from the task's header.
#[map]
pub(crate) static TASK_VTABLES: HashMap<u64, u32> = HashMap::with_max_entries(1, 0);

/// Thread (id in the initial namespace) -> what is open on it. Least recently used threads make
/// room, so that a target that starts a million threads costs no more than this.
#[map]
pub(crate) static THREADS: LruHashMap<u32, Thread> = LruHashMap::with_max_entries(8192, 0);

/// One thread with nothing open: a value of that size does not fit the stack.
#[map]
pub(crate) static NO_THREAD: Array<Thread> = Array::with_max_entries(1, 0);

/// Where the future of a task lies, by index of the probe that sees the task polled.
#[map]
pub(crate) static ROOTS: Array<Root> = Array::with_max_entries(1, 0);

/// The walk tables, compiled from debug information.
#[map]
pub(crate) static NODES: Array<NodeEntry> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static STATES: Array<StateEntry> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static EDGES: Array<EdgeEntry> = Array::with_max_entries(1, 0);

/// Vtable of a future behind a pointer -> its node.
#[map]
pub(crate) static VTABLE_NODES: HashMap<u64, u32> = HashMap::with_max_entries(1, 0);

/// What a walk needs, for the threads that polled last. By thread and not by CPU: a uprobe's
/// program can be preempted in the middle of a walk.
#[map]
pub(crate) static WALKS: LruHashMap<u32, WalkMemory> = LruHashMap::with_max_entries(512, 0);

/// An unused one, as it does not fit the stack.
#[map]
pub(crate) static NO_WALK: Array<WalkMemory> = Array::with_max_entries(1, 0);

/// Hashes of trees whose words have been sent, each at the place that its low bits name. The
/// daemon keeps the trees by the same rule, so that it has those that are in here.
#[map]
pub(crate) static SENT_TREES: Array<u64> = Array::with_max_entries(SENT_TREES_KEPT, 0);

/// A record, the poll that ended with it and, right behind, the words of its tree: what goes into the
/// ring in one piece.
#[repr(C)]
pub(crate) struct WalkMemory {
    pub(crate) record: Record,
    pub(crate) ended: Ended,
    pub(crate) scratch: Scratch,
}

/// How full this CPU's batch is: bytes in the low half, then records, and [`tracer_common::BATCH_BUSY`]
/// while a program is at it.
#[map]
pub(crate) static FILLS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Records that are to go into this CPU's ring in one piece.
#[map]
pub(crate) static BATCHES: PerCpuArray<Batch> = PerCpuArray::with_max_entries(1, 0);

/// A batch, as it goes into the ring.
#[repr(C)]
pub(crate) struct Batch {
    /// [`tracer_common::BATCH`].
    pub(crate) marker: u64,
    /// One behind the other; the last one may begin right before the end.
    pub(crate) entries: [u64; (BATCH_BYTES + LONG_RECORD) / 8],
}

/// The ring buffer of each CPU: a shared one costs five times as much when two CPUs are busy.
/// aya-ebpf 0.2 has no map of maps; the layout is that of its own definitions.
#[unsafe(link_section = "maps")]
#[unsafe(export_name = "RINGS")]
pub(crate) static RINGS: MapOfRings = MapOfRings(UnsafeCell::new(bpf_map_def {
    type_: BPF_MAP_TYPE_ARRAY_OF_MAPS,
    key_size: 4,
    value_size: 4,
    max_entries: 1,
    map_flags: 0,
    id: 0,
    pinning: 0,
}));

/// CPU -> ring buffer.
#[repr(transparent)]
pub(crate) struct MapOfRings(UnsafeCell<bpf_map_def>);

// SAFETY: never read or written as memory: the loader replaces each mention of its address by the
// map's file descriptor.
unsafe impl Sync for MapOfRings {}

impl MapOfRings {
    pub(crate) fn as_ptr(&self) -> *mut core::ffi::c_void {
        self.0.get().cast()
    }
}
