//! The few `bpf(2)` and `perf_event_open(2)` calls that aya 0.14 has no public way to make.
//!
//! Why they are ours: aya 0.14 cannot load a program for `BPF_TRACE_UPROBE_MULTI`, create such a
//! link, or create a map of maps whose inner map is not declared in BTF. aya 0.16 can, and needs
//! rustc 1.98: this file goes when the toolchain gets there. Attribute layouts are the kernel's
//! (`include/uapi/linux/bpf.h`) as aya-obj generates them.
//!
//! Every call returns an owned file descriptor or an OS error. All descriptors are close-on-exec
//! (the kernel makes BPF descriptors so; perf ones are asked for).
#![expect(unsafe_code, reason = "system calls with pointers in their attributes")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use aya_obj::generated::{
    BPF_F_TEST_RUN_ON_CPU, bpf_attach_type, bpf_attr, bpf_cmd, bpf_func_info, bpf_insn,
    bpf_map_type, bpf_prog_type, perf_event_attr,
};

/// The verifier's log is cut off at this many bytes.
const LOG_BYTES: usize = 1 << 20;

/// `PERF_FLAG_FD_CLOEXEC` (include/uapi/linux/perf_event.h), which libc lacks.
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;

/// `BPF_F_UPROBE_MULTI_RETURN` (include/uapi/linux/bpf.h, Linux 6.6): at the return instead of at
/// the entry. For benches only, see [`super::floor`].
const UPROBE_MULTI_RETURN: u32 = 1;

/// A program that the kernel refused.
#[derive(Debug)]
pub(super) struct Refused {
    /// The error of the call.
    pub(super) error: io::Error,
    /// What the verifier said, possibly nothing.
    pub(super) log: String,
}

/// A program to load.
pub(super) struct Program<'a> {
    /// Shown by bpftool; cut to 15 bytes.
    pub(super) name: &'a str,
    pub(super) kind: bpf_prog_type,
    /// `BPF_TRACE_UPROBE_MULTI`, or `None`.
    pub(super) attach_type: Option<bpf_attach_type>,
    pub(super) license: &'a CStr,
    pub(super) instructions: &'a [bpf_insn],
    /// Types of its functions, which the kernel wants for callbacks.
    pub(super) types: Option<FunctionTypes<'a>>,
}

/// Types of a program's functions.
#[derive(Clone, Copy)]
pub(super) struct FunctionTypes<'a> {
    /// Loaded BTF.
    pub(super) btf: BorrowedFd<'a>,
    /// `struct bpf_func_info` for each function, in order.
    pub(super) functions: &'a [bpf_func_info],
}

fn zeroed_attributes() -> bpf_attr {
    // SAFETY: a union of integers-only structs, for which all zeroes is valid; the kernel wants
    // every byte that is not used to be zero.
    unsafe { std::mem::zeroed() }
}

/// Makes the call and takes the descriptor it returns.
///
/// # Safety
/// Pointers in `attributes` must be valid as the command demands.
unsafe fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: the attributes are live and as long as said; their pointers are the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attributes),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// # Safety
/// As [`bpf`]; the command must be one that returns a new descriptor.
unsafe fn bpf_fd(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: passed on.
    let result = unsafe { bpf(command, attributes) }?;
    let descriptor = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    // A borrowed descriptor is never negative.
    fd.as_raw_fd().unsigned_abs()
}

fn path_of(path: &Path) -> io::Result<CString> {
    use std::os::unix::ffi::OsStrExt as _;
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Creates an array of maps like `inner`.
pub(super) fn create_array_of_maps(
    name: &str,
    inner: BorrowedFd<'_>,
    entries: u32,
) -> io::Result<OwnedFd> {
    let mut attributes = zeroed_attributes();
    // SAFETY: MAP_CREATE uses this member of the union, which zeroes initialised.
    let create = unsafe { &mut attributes.__bindgen_anon_1 };
    create.map_type = bpf_map_type::BPF_MAP_TYPE_ARRAY_OF_MAPS as u32;
    create.key_size = 4;
    create.value_size = 4;
    create.max_entries = entries;
    create.inner_map_fd = raw(inner);
    copy_name(&mut create.map_name, name);
    // SAFETY: no pointers.
    unsafe { bpf_fd(bpf_cmd::BPF_MAP_CREATE, &mut attributes) }
}

/// Sets one element of an array map to bytes that are as long as its values.
pub(super) fn set_element(map: BorrowedFd<'_>, index: u32, value: &[u8]) -> io::Result<()> {
    let mut attributes = zeroed_attributes();
    // SAFETY: MAP_UPDATE_ELEM uses this member of the union, which zeroes initialised.
    let update = unsafe { &mut attributes.__bindgen_anon_2 };
    update.map_fd = raw(map);
    update.key = (&raw const index) as u64;
    update.__bindgen_anon_1.value = value.as_ptr() as u64;
    // SAFETY: key and value outlive the call; the value's length is the caller's contract, kept by
    // the one caller (a data section's map is as long as the section).
    unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attributes) }.map(drop)
}

/// Makes a map read-only for user space, so that the verifier can use its values as constants.
pub(super) fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = zeroed_attributes();
    attributes.__bindgen_anon_2.map_fd = raw(map);
    // SAFETY: no pointers.
    unsafe { bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attributes) }.map(drop)
}

/// Loads types (BTF).
pub(super) fn load_types(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes = zeroed_attributes();
    // SAFETY: BTF_LOAD uses this member of the union, which zeroes initialised.
    let load = unsafe { &mut attributes.__bindgen_anon_7 };
    load.btf = bytes.as_ptr() as u64;
    load.btf_size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    // SAFETY: the bytes outlive the call and are as long as said.
    unsafe { bpf_fd(bpf_cmd::BPF_BTF_LOAD, &mut attributes) }
}

/// Loads a program; when that fails, once more with the verifier's log.
pub(super) fn load(program: &Program<'_>) -> Result<OwnedFd, Refused> {
    let attempt = |log: &mut [u8]| {
        let mut attributes = zeroed_attributes();
        // SAFETY: PROG_LOAD uses this member of the union, which zeroes initialised.
        let load = unsafe { &mut attributes.__bindgen_anon_3 };
        load.prog_type = program.kind as u32;
        load.expected_attach_type = program.attach_type.map_or(0, |kind| kind as u32);
        load.insns = program.instructions.as_ptr() as u64;
        load.insn_cnt = u32::try_from(program.instructions.len()).map_err(io::Error::other)?;
        load.license = program.license.as_ptr() as u64;
        copy_name(&mut load.prog_name, program.name);
        if let Some(types) = &program.types {
            load.prog_btf_fd = raw(types.btf);
            load.func_info = types.functions.as_ptr() as u64;
            load.func_info_cnt = u32::try_from(types.functions.len()).map_err(io::Error::other)?;
            load.func_info_rec_size =
                u32::try_from(size_of::<bpf_func_info>()).map_err(io::Error::other)?;
        }
        if !log.is_empty() {
            load.log_level = 1;
            load.log_size = u32::try_from(log.len()).map_err(io::Error::other)?;
            load.log_buf = log.as_mut_ptr() as u64;
        }
        // SAFETY: instructions, licence, types and log outlive the call and are as long as said.
        unsafe { bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attributes) }
    };
    attempt(&mut []).or_else(|error| {
        let mut log = vec![0; LOG_BYTES];
        // The second attempt is for its log; should it succeed, so much the better.
        attempt(&mut log).map_err(|_| {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
            Refused {
                error,
                log: String::from_utf8_lossy(&log[..end]).into_owned(),
            }
        })
    })
}

/// Runs a raw tracepoint's program once (`BPF_PROG_RUN`, Linux 5.10), on this CPU or on the one that
/// runs; what it returns. Asks for no capability, but for the program's descriptor.
///
/// # Errors
/// `ENXIO` for a CPU that is offline.
pub(super) fn run(program: BorrowedFd<'_>, cpu: Option<u32>) -> io::Result<u32> {
    let mut attributes = zeroed_attributes();
    // SAFETY: PROG_RUN uses this member of the union, which zeroes initialised.
    let run = unsafe { &mut attributes.test };
    run.prog_fd = raw(program);
    if let Some(cpu) = cpu {
        run.flags = BPF_F_TEST_RUN_ON_CPU;
        run.cpu = cpu;
    }
    // SAFETY: no pointers.
    unsafe { bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attributes) }?;
    // SAFETY: the kernel has written this member.
    Ok(unsafe { attributes.test.retval })
}

/// Links a program to many addresses of one file at once (Linux 6.6).
///
/// # Errors
/// The kernel links all or nothing. `ENOTSUPP` (524) or `EINVAL` for an address it cannot probe,
/// `EBADF` for what is no regular file, `ESRCH` when the process is gone.
pub(super) fn link_uprobes(
    program: BorrowedFd<'_>,
    file: &Path,
    offsets: &[u64],
    cookies: &[u64],
    pid: u32,
    returns: bool,
) -> io::Result<OwnedFd> {
    debug_assert_eq!(offsets.len(), cookies.len());
    let file = path_of(file)?;
    let mut attributes = zeroed_attributes();
    // SAFETY: LINK_CREATE uses this member of the union, which zeroes initialised.
    let create = unsafe { &mut attributes.link_create };
    create.__bindgen_anon_1.prog_fd = raw(program);
    create.attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
    // SAFETY: this attach type uses this member.
    let multi = unsafe { &mut create.__bindgen_anon_3.uprobe_multi };
    multi.path = file.as_ptr() as u64;
    multi.offsets = offsets.as_ptr() as u64;
    multi.cookies = cookies.as_ptr() as u64;
    multi.cnt = u32::try_from(offsets.len().min(cookies.len())).map_err(io::Error::other)?;
    multi.pid = pid;
    multi.flags = if returns { UPROBE_MULTI_RETURN } else { 0 };
    // SAFETY: the path is terminated, both lists have `cnt` elements, all outlive the call.
    unsafe { bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attributes) }
}

/// Opens a perf event for one probed address (`type` from
/// `/sys/bus/event_source/devices/uprobe/type`).
pub(super) fn perf_uprobe(kind: u32, file: &Path, offset: u64, pid: i32) -> io::Result<OwnedFd> {
    let file = path_of(file)?;
    // SAFETY: integers only.
    let mut attributes: perf_event_attr = unsafe { std::mem::zeroed() };
    attributes.type_ = kind;
    attributes.size = u32::try_from(size_of::<perf_event_attr>()).map_err(io::Error::other)?;
    attributes.__bindgen_anon_3.uprobe_path = file.as_ptr() as u64;
    attributes.__bindgen_anon_4.probe_offset = offset;
    // SAFETY: the attributes and the path outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            pid,
            -1,
            -1,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let descriptor = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Links a program to a perf event, with a cookie (Linux 5.15).
pub(super) fn link_perf_event(
    program: BorrowedFd<'_>,
    event: BorrowedFd<'_>,
    cookie: u64,
) -> io::Result<OwnedFd> {
    let mut attributes = zeroed_attributes();
    // SAFETY: LINK_CREATE uses this member of the union, which zeroes initialised.
    let create = unsafe { &mut attributes.link_create };
    create.__bindgen_anon_1.prog_fd = raw(program);
    create.__bindgen_anon_2.target_fd = raw(event);
    create.attach_type = bpf_attach_type::BPF_PERF_EVENT as u32;
    create.__bindgen_anon_3.perf_event.bpf_cookie = cookie;
    // SAFETY: no pointers.
    unsafe { bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attributes) }
}

/// Attaches a program to a raw tracepoint; closing the descriptor detaches it.
pub(super) fn raw_tracepoint(program: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let mut attributes = zeroed_attributes();
    // SAFETY: RAW_TRACEPOINT_OPEN uses this member of the union, which zeroes initialised.
    let open = unsafe { &mut attributes.raw_tracepoint };
    open.name = name.as_ptr() as u64;
    open.prog_fd = raw(program);
    // SAFETY: the name is terminated and outlives the call.
    unsafe { bpf_fd(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attributes) }
}

/// CPU time that all threads of a process have used, the kernel's part included, nanoseconds.
///
/// # Errors
/// When there is no such process any more.
pub(super) fn process_cpu_time(pid: i32) -> io::Result<u64> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: writes one clock id.
    let failed = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(rest))
}

/// Copies a name into a kernel field of 16 bytes, the last of which stays zero. Bytes that the
/// kernel does not accept in names become underscores.
fn copy_name(field: &mut [std::ffi::c_char; 16], name: &str) {
    for (to, from) in field.iter_mut().take(15).zip(name.bytes()) {
        let byte = if from.is_ascii_alphanumeric() || from == b'_' || from == b'.' {
            from
        } else {
            b'_'
        };
        *to = byte.cast_signed();
    }
}
