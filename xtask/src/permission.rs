#![expect(unsafe_code, reason = "bpf() has no wrapper in std")]
//! Asks the kernel whether BPF is permitted, by trying. Capabilities alone do not tell: seccomp
//! filters of containers refuse `bpf()` to root, too.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// `BPF_MAP_CREATE` and `BPF_MAP_TYPE_ARRAY` of linux/bpf.h.
const MAP_CREATE: libc::c_long = 0;
const MAP_TYPE_ARRAY: u32 = 2;

/// The first fields of `union bpf_attr` for `BPF_MAP_CREATE`; the kernel takes the rest as zero.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// Makes the smallest map there is and drops it.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn try_bpf() -> io::Result<()> {
    let attributes = MapCreate {
        map_type: MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: 8,
        max_entries: 1,
    };
    // SAFETY: the attributes are of the size that is passed and live across the call; the kernel
    // only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            MAP_CREATE,
            &raw const attributes,
            size_of::<MapCreate>(),
        )
    };
    let Ok(descriptor @ 0..) = i32::try_from(result) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: the kernel has just given this descriptor to us.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(())
}
