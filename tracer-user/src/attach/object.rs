//! The embedded BPF object: parse, make its maps, link and load its programs.
//!
//! In: settings, sizes. Out: loaded programs and typed maps; closing them unloads everything. No
//! probe is linked here.
#![expect(
    unsafe_code,
    reason = "aya asks for a promise that values of maps are plain bytes"
)]

use std::collections::{HashMap as Names, HashSet};
use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya_obj::Object;
use aya_obj::btf::BtfFeatures;
use aya_obj::generated::{bpf_attach_type, bpf_map_type, bpf_prog_type};
use tracer_common::walk::{EdgeEntry, NodeEntry, Root, StateEntry};
use tracer_common::{Counters, Settings};

use super::syscall::{self, Program, Refused};
use super::{AttachError, permission};

/// Compiled by `build.rs`; empty when the build machine could not.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer-ebpf"));

/// [`Settings`] as a value of a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct SettingsValue(pub(super) Settings);
// SAFETY: `repr(C)`, integers only, no padding (its size is asserted where it is defined).
unsafe impl Pod for SettingsValue {}

/// [`Counters`] as a value of a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct CountersValue(pub(super) Counters);
// SAFETY: as above.
unsafe impl Pod for CountersValue {}

/// How big things are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Probes in the plan.
    pub(super) probes: u32,
    /// Vtables in the plan.
    pub(super) vtables: u32,
    /// Entries of the walk tables.
    pub(super) nodes: u32,
    /// As above.
    pub(super) states: u32,
    /// As above.
    pub(super) edges: u32,
    /// Vtables of futures.
    pub(super) vtable_nodes: u32,
    /// Bytes of one ring buffer: a power of two, at least a page.
    pub(super) ring: u32,
}

/// An entry of a walk table as a value of a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Entry<T>(pub(super) T);
// SAFETY: `repr(C)`, integers only, no padding (their sizes are asserted where they are defined).
unsafe impl Pod for Entry<NodeEntry> {}
// SAFETY: as above.
unsafe impl Pod for Entry<StateEntry> {}
// SAFETY: as above.
unsafe impl Pod for Entry<EdgeEntry> {}
// SAFETY: as above.
unsafe impl Pod for Entry<Root> {}

/// The maps that the program walks by.
pub(super) struct WalkMaps {
    pub(super) roots: Array<MapData, Entry<Root>>,
    pub(super) nodes: Array<MapData, Entry<NodeEntry>>,
    pub(super) states: Array<MapData, Entry<StateEntry>>,
    pub(super) edges: Array<MapData, Entry<EdgeEntry>>,
    pub(super) vtables: HashMap<MapData, u64, u32>,
}

/// A parsed and linked object with its maps.
pub(super) struct Loaded {
    object: Object,
    license: CString,
    /// Every map, by name: they live as long as the programs may need them.
    pub(super) settings: Array<MapData, SettingsValue>,
    pub(super) counters: PerCpuArray<MapData, CountersValue>,
    pub(super) hits: PerCpuArray<MapData, u64>,
    /// How full the batch of each CPU is; taken by the session.
    pub(super) fills: Option<PerCpuArray<MapData, u64>>,
    pub(super) vtables: HashMap<MapData, u64, u32>,
    /// The walk tables.
    pub(super) walk: WalkMaps,
    /// Types of the programs' functions; `None` when the kernel does not take them.
    types: Option<OwnedFd>,
    /// A ring for each CPU that is online.
    pub(super) rings: Vec<RingBuf<MapData>>,
    /// Maps that only the programs use.
    _others: Vec<Map>,
}

impl Loaded {
    /// Parses the object and makes its maps.
    ///
    /// # Errors
    /// [`AttachError::NoObject`], [`AttachError::BadObject`], [`AttachError::Map`],
    /// [`AttachError::Forbidden`].
    pub(super) fn new(sizes: Sizes) -> Result<Self, AttachError> {
        if OBJECT.is_empty() {
            return Err(AttachError::NoObject);
        }
        let mut object =
            Object::parse(OBJECT).map_err(|error| AttachError::BadObject(error.to_string()))?;
        let mut maps = Names::new();
        let (outer, rings) = make_rings(sizes.ring)?;
        for (name, mut definition) in object.maps.drain() {
            // Data maps have names of sections, which the kernel does not take.
            let kernel_name = name.trim_start_matches('.').to_owned();
            if name == "RINGS" {
                maps.insert(name, (definition, outer.fd().as_fd().as_raw_fd(), None));
                continue;
            }
            match name.as_str() {
                "HITS" | "ROOTS" => definition.set_max_entries(sizes.probes.max(1)),
                "NODES" => definition.set_max_entries(sizes.nodes.max(1)),
                "STATES" => definition.set_max_entries(sizes.states.max(1)),
                "EDGES" => definition.set_max_entries(sizes.edges.max(1)),
                "VTABLE_NODES" => definition.set_max_entries(sizes.vtable_nodes.max(1)),
                "TASK_VTABLES" => definition.set_max_entries(sizes.vtables.max(1)),
                _ => {}
            }
            let data = MapData::create(definition.clone(), &kernel_name, None)
                .map_err(|error| map_error(&name, error))?;
            if !definition.data().is_empty() {
                // A section of constants: fill it, then close it, so that the verifier may trust it.
                let fd = data.fd().as_fd();
                syscall::set_element(fd, 0, definition.data())
                    .and_then(|()| syscall::freeze(fd))
                    .map_err(|error| AttachError::Map {
                        map: name.clone(),
                        error: Box::new(error),
                    })?;
            }
            let fd = data.fd().as_fd().as_raw_fd();
            let map = Map::from_map_data(data).map_err(|error| map_error(&name, error))?;
            maps.insert(name, (definition, fd, Some(map)));
        }

        let text: HashSet<usize> = object
            .functions
            .keys()
            .map(|(section, _)| *section)
            .collect();
        object
            .relocate_maps(
                maps.iter()
                    .map(|(name, (definition, fd, _))| (name.as_str(), *fd, definition)),
                &text,
            )
            .map_err(|error| AttachError::BadObject(format!("{error:?}")))?;
        object
            .relocate_calls(&text)
            .map_err(|error| AttachError::BadObject(format!("{error:?}")))?;

        let types = load_types(&mut object);
        let mut take = |name: &str| {
            maps.remove(name)
                .and_then(|(_, _, map)| map)
                .ok_or_else(|| AttachError::BadObject(format!("it has no map {name}")))
        };
        let loaded = Self {
            license: object.license.clone(),
            settings: typed("SETTINGS", &mut take)?,
            counters: typed("COUNTERS", &mut take)?,
            hits: typed("HITS", &mut take)?,
            fills: Some(typed("FILLS", &mut take)?),
            vtables: typed("TASK_VTABLES", &mut take)?,
            walk: WalkMaps {
                roots: typed("ROOTS", &mut take)?,
                nodes: typed("NODES", &mut take)?,
                states: typed("STATES", &mut take)?,
                edges: typed("EDGES", &mut take)?,
                vtables: typed("VTABLE_NODES", &mut take)?,
            },
            types,
            rings,
            _others: maps
                .into_values()
                .filter_map(|(_, _, map)| map)
                .chain([Map::ArrayOfMaps(outer)])
                .collect(),
            object,
        };
        Ok(loaded)
    }

    /// Loads one program. `multi` loads it for uprobe_multi links.
    ///
    /// # Errors
    /// [`AttachError::Refused`] with the verifier's log, [`AttachError::Forbidden`].
    pub(super) fn load(&self, name: &'static str, multi: bool) -> Result<OwnedFd, AttachError> {
        let program = self
            .object
            .programs
            .get(name)
            .and_then(|program| self.object.functions.get(&program.function_key()))
            .ok_or_else(|| AttachError::BadObject(format!("it has no program {name}")))?;
        let kind = match name {
            super::programs::PROBE_PROGRAM | super::floor::PROGRAM | super::floor::LEAST => {
                bpf_prog_type::BPF_PROG_TYPE_KPROBE
            }
            _ => bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT,
        };
        syscall::load(&Program {
            name,
            kind,
            attach_type: multi.then_some(bpf_attach_type::BPF_TRACE_UPROBE_MULTI),
            license: &self.license,
            instructions: &program.instructions,
            types: self.types.as_ref().map(|types| syscall::FunctionTypes {
                btf: types.as_fd(),
                functions: &program.func_info.func_info,
            }),
        })
        .map_err(|Refused { error, log }| {
            tracing::debug!(program = name, %error, log, "the kernel refused a program");
            if error.kind() == std::io::ErrorKind::PermissionDenied && log.is_empty() {
                permission::forbidden("loading a BPF program", error)
            } else {
                AttachError::Refused {
                    program: name,
                    log: super::error::VerifierLog(log),
                    error,
                }
            }
        })
    }
}

/// Loads the types of the object's functions: the kernel asks for them where a function is passed
/// to a helper. As few kinds of types as possible, which kernels since 5.2 know.
fn load_types(object: &mut Object) -> Option<OwnedFd> {
    let features = BtfFeatures::new(true, false, false, false, false, false, false, false);
    let loaded = object
        .fixup_and_sanitize_btf(&features)
        .map_err(|error| error.to_string())
        .and_then(|types| types.ok_or_else(|| "the object has none".to_owned()))
        .and_then(|types| {
            syscall::load_types(&types.to_bytes()).map_err(|error| error.to_string())
        });
    match loaded {
        Ok(types) => Some(types),
        Err(error) => {
            tracing::debug!(%error, "the kernel does not take the types of the programs");
            None
        }
    }
}

fn typed<T: TryFrom<Map, Error = aya::maps::MapError>>(
    name: &str,
    take: &mut impl FnMut(&str) -> Result<Map, AttachError>,
) -> Result<T, AttachError> {
    T::try_from(take(name)?)
        .map_err(|error| AttachError::BadObject(format!("its map {name}: {error}")))
}

fn map_error(name: &str, error: aya::maps::MapError) -> AttachError {
    if let aya::maps::MapError::CreateError { io_error, .. } = &error
        && io_error.kind() == std::io::ErrorKind::PermissionDenied
    {
        let error =
            std::io::Error::from_raw_os_error(io_error.raw_os_error().unwrap_or(libc::EPERM));
        return permission::forbidden("making a BPF map", error);
    }
    AttachError::Map {
        map: name.to_owned(),
        error: Box::new(error),
    }
}

/// A ring for each CPU that is online, and the map that leads from a CPU to its ring. CPUs that are
/// offline now share the first ring, should they come online later.
fn make_rings(bytes: u32) -> Result<(MapData, Vec<RingBuf<MapData>>), AttachError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| AttachError::Map {
        map: "RINGS".to_owned(),
        error,
    };
    let possible = aya::util::nr_cpus().map_err(|(_, error)| failed(Box::new(error)))?;
    let online = aya::util::online_cpus().map_err(|(_, error)| failed(Box::new(error)))?;
    let possible = u32::try_from(possible).map_err(|error| failed(Box::new(error)))?;
    let ring = || {
        let definition = aya_obj::Map::new_from_params(
            bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32,
            0,
            0,
            bytes,
            0,
        );
        let data =
            MapData::create(definition, "RING", None).map_err(|error| map_error("RINGS", error))?;
        RingBuf::try_from(Map::RingBuf(data)).map_err(|error| failed(Box::new(error)))
    };
    let rings = online
        .iter()
        .map(|_| ring())
        .collect::<Result<Vec<_>, _>>()?;
    let first = rings
        .first()
        .ok_or_else(|| failed("no CPU is online".into()))?;
    let outer = syscall::create_array_of_maps("RINGS", first.as_fd(), possible.max(1))
        .map_err(|error| failed(Box::new(error)))?;
    let data = MapData::from_fd(outer).map_err(|error| failed(Box::new(error)))?;
    for cpu in 0..possible {
        let own = online
            .iter()
            .position(|&number| number == cpu)
            .and_then(|index| rings.get(index))
            .unwrap_or(first);
        let descriptor = own.as_raw_fd().to_ne_bytes();
        syscall::set_element(data.fd().as_fd(), cpu, &descriptor)
            .map_err(|error| failed(Box::new(error)))?;
    }
    Ok((data, rings))
}

/// What `/proc/self/fdinfo` tells of a loaded program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ProgramFacts {
    pub(super) id: Option<u32>,
    /// Time spent in it, while statistics were on.
    pub(super) run_time_ns: u64,
    /// Runs in that time.
    pub(super) runs: u64,
}

pub(super) fn facts(program: BorrowedFd<'_>) -> ProgramFacts {
    let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
    parse_facts(&std::fs::read_to_string(path).unwrap_or_default())
}

fn parse_facts(text: &str) -> ProgramFacts {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|value| value.trim().parse::<u64>().ok())
    };
    ProgramFacts {
        id: field("prog_id:").and_then(|id| id.try_into().ok()),
        run_time_ns: field("run_time_ns:").unwrap_or(0),
        runs: field("run_cnt:").unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_facts_are_read() {
        let text = "pos:\t0\nprog_type:\t2\nprog_id:\t37\nrun_time_ns:\t5000\nrun_cnt:\t10\n";
        let expected = ProgramFacts {
            id: Some(37),
            run_time_ns: 5000,
            runs: 10,
        };
        assert_eq!(parse_facts(text), expected);
        assert_eq!(parse_facts(""), ProgramFacts::default());
    }
}
