//! The one question to the kernel whose answer lies inside a thread's descriptor.

#![expect(unsafe_code, reason = "get_robust_list(2) has no safe wrapper")]

use std::io;
use std::mem::MaybeUninit;

use crate::address::Address;

/// The head of the list of robust futexes that a thread registered, null when it did not.
///
/// glibc registers one inside `struct pthread` for every thread at its start
/// (`nptl/pthread_create.c`, `csu/libc-tls.c`); musl only when a robust mutex is used.
/// Needs ptrace read access, which neither stops nor attaches to the thread.
///
/// # Errors
/// `ESRCH` when the thread has ended, `EPERM` without access.
pub(super) fn robust_list_head(tid: i32) -> io::Result<Address> {
    let mut head = MaybeUninit::<*mut libc::c_void>::uninit();
    let mut len = MaybeUninit::<libc::size_t>::uninit();
    // SAFETY: the kernel writes one pointer and one size, both of which have room, and nothing on
    // an error.
    let status = unsafe {
        libc::syscall(
            libc::SYS_get_robust_list,
            tid,
            head.as_mut_ptr(),
            len.as_mut_ptr(),
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: on success the kernel has written the pointer.
    let head = unsafe { head.assume_init() };
    Ok(Address(head.addr() as u64))
}
