//! What the kernel itself knows of probes: its links, and the code of a process, byte by byte.

#![expect(unsafe_code, reason = "bpf(2), which has no safe wrapper for this")]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type};

/// How long the process that holds the probes may take to take them out once asynctrace is gone: 0.1 s
/// for each of them before Linux 6.6.
fn patience() -> Duration {
    super::patience(60)
}

fn zeroed() -> bpf_attr {
    // SAFETY: a union of structs of integers.
    unsafe { std::mem::zeroed() }
}

fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the attributes are live and as long as said; the callers' pointers outlive the call.
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
    Ok(i32::try_from(result).expect("a small result"))
}

/// The ids of all uprobe_multi links that probe process `pid`, from the kernel's list of all links.
pub(crate) fn links_of(pid: i32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut id = 0;
    loop {
        let mut attributes = zeroed();
        attributes.__bindgen_anon_6.__bindgen_anon_1.start_id = id;
        if let Err(error) = bpf(bpf_cmd::BPF_LINK_GET_NEXT_ID, &mut attributes) {
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
            return found;
        }
        // SAFETY: the call has written this member.
        id = unsafe { attributes.__bindgen_anon_6.next_id };
        // It may be gone meanwhile.
        let Some(info) = link_info(id) else { continue };
        if info.type_ == bpf_link_type::BPF_LINK_TYPE_UPROBE_MULTI as u32 {
            // SAFETY: the kernel writes this member for this type.
            let of = unsafe { info.__bindgen_anon_1.uprobe_multi.pid };
            if of == pid.unsigned_abs() {
                found.push(id);
            }
        }
    }
}

fn link_info(id: u32) -> Option<bpf_link_info> {
    let mut attributes = zeroed();
    attributes.__bindgen_anon_6.__bindgen_anon_1.link_id = id;
    let fd = bpf(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attributes).ok()?;
    // SAFETY: a new descriptor that nothing else owns.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: integers only.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    let mut attributes = zeroed();
    attributes.info.bpf_fd = link.as_raw_fd().unsigned_abs();
    attributes.info.info_len = u32::try_from(size_of::<bpf_link_info>()).expect("short");
    attributes.info.info = (&raw mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attributes).ok()?;
    Some(info)
}

/// The process that holds the probes of `asynctrace` with this process id.
pub(crate) fn holder_of(asynctrace: i32) -> Option<i32> {
    let tasks = fs::read_dir(format!("/proc/{asynctrace}/task")).ok()?;
    let children =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let children: Vec<String> = children.collect();
    let mut children = children.iter().flat_map(|pids| pids.split_whitespace());
    children.find_map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (name == "probe-holder\n").then(|| pid.parse().ok())?
    })
}

/// Whether a thread of a process sets probes or takes them out at this moment, as far as the kernel
/// tells where its threads are.
pub(crate) fn is_at_probes(pid: i32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let stacks = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stack")).ok());
    stacks.into_iter().any(|stack| stack.contains("uprobe"))
}

/// The lines of the kernel's log that tell of breakpoints which it has leaked for one of our
/// processes; none where the log may not be read.
pub(crate) fn leaks_in_kernel_log() -> Vec<String> {
    let Ok(log) = std::process::Command::new("dmesg").output() else {
        return Vec::new();
    };
    let log = String::from_utf8_lossy(&log.stdout);
    let leaks = log.lines().filter(|line| {
        let ours = line.contains("asynctrace") || line.contains("probe-holder");
        ours && line.contains("leaking uprobe")
    });
    leaks.map(str::to_owned).collect()
}

/// How many bytes of a process's executable code differ from its file; `None` when it has ended.
/// Every probe in place is at least one of them.
pub(crate) fn changed_code(pid: i32) -> Option<usize> {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let file = fs::read(format!("/proc/{pid}/exe")).ok()?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut compared = 0;
    let mut changed = 0;
    for line in maps.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [range, rights, offset, _, _, path] = fields[..] else {
            continue;
        };
        if !rights.contains('x') || path != exe.to_str()? {
            continue;
        }
        let hexadecimal = |text| usize::from_str_radix(text, 16).expect("a number");
        let (start, end) = range.split_once('-').expect("a range");
        let (start, end, offset) = (hexadecimal(start), hexadecimal(end), hexadecimal(offset));
        let mut bytes = vec![0; end - start];
        memory.read_exact_at(&mut bytes, start as u64).ok()?;
        let original = &file[offset..];
        compared += bytes.len().min(original.len());
        let pairs = bytes.iter().zip(original);
        changed += pairs.filter(|(byte, original)| byte != original).count();
    }
    assert!(
        compared > 0,
        "process {pid} has no code of {}",
        exe.display()
    );
    Some(changed)
}

/// Waits until a process that runs has probes in its code.
#[track_caller]
pub(crate) fn wait_for_probes(pid: i32) {
    let begin = Instant::now();
    while changed_code(pid).expect("it runs") == 0 {
        assert!(begin.elapsed() < patience(), "nobody attached to {pid}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Requires that the kernel has no link to a process and that its code, if it still runs, is that
/// of its file.
#[track_caller]
pub(crate) fn expect_no_probe(pid: i32) {
    let begin = Instant::now();
    loop {
        let (links, changed) = (links_of(pid), changed_code(pid).unwrap_or(0));
        if links.is_empty() && changed == 0 {
            return;
        }
        assert!(
            begin.elapsed() < patience(),
            "process {pid}: links {links:?} and {changed} changed bytes are left"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
