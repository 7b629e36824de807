//! A running process's memory, by `process_vm_readv(2)`: no stop, no signal, no write.

#![expect(unsafe_code, reason = "process_vm_readv has no safe wrapper")]

use super::{Memory, ReadError};
use crate::address::Address;

/// Reads the memory of a process. Needs ptrace access (`PTRACE_MODE_ATTACH_REALCREDS`: the same
/// user without further restriction, or `CAP_SYS_PTRACE`).
#[derive(Clone, Copy, Debug)]
pub struct LiveMemory {
    pid: libc::pid_t,
}

impl LiveMemory {
    /// Memory of the process `pid`; nothing is checked before the first read.
    #[must_use]
    pub const fn new(pid: i32) -> Self {
        Self { pid }
    }
}

impl Memory for LiveMemory {
    fn read(&self, address: Address, into: &mut [u8]) -> Result<(), ReadError> {
        if into.is_empty() {
            return Ok(());
        }
        let unmapped = ReadError::Unmapped {
            address,
            len: into.len(),
        };
        let start = usize::try_from(address.0).map_err(|_| unmapped)?;
        let local = libc::iovec {
            iov_base: into.as_mut_ptr().cast(),
            iov_len: into.len(),
        };
        let remote = libc::iovec {
            iov_base: start as *mut libc::c_void,
            iov_len: into.len(),
        };
        // SAFETY: `local` is the one live, writable buffer `into`; `remote` is only an address in
        // the other process, which the kernel checks.
        let read = unsafe {
            libc::process_vm_readv(self.pid, &raw const local, 1, &raw const remote, 1, 0)
        };
        if usize::try_from(read) == Ok(into.len()) {
            return Ok(());
        }
        if read >= 0 {
            return Err(unmapped);
        }
        Err(match std::io::Error::last_os_error().raw_os_error() {
            Some(libc::ESRCH) => ReadError::Gone,
            Some(libc::EPERM) => ReadError::NotPermitted,
            _ => unmapped,
        })
    }
}
