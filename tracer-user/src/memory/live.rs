//! A running process's memory, by `process_vm_readv(2)`: no stop, no signal, no write.

#![expect(unsafe_code, reason = "process_vm_readv has no safe wrapper")]

use super::{Memory, Part, ReadError};
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

/// Ranges that the kernel takes in one call (`IOV_MAX`).
const MAX_PARTS: usize = 1024;

impl LiveMemory {
    /// One call for all parts, [`MAX_PARTS`] at most; gives the number of bytes that were read, which
    /// are those of the first parts.
    fn call(self, parts: &mut [Part<'_>]) -> Result<usize, Option<i32>> {
        let mut local = Vec::with_capacity(parts.len());
        let mut remote = Vec::with_capacity(parts.len());
        for part in parts {
            local.push(libc::iovec {
                iov_base: part.into.as_mut_ptr().cast(),
                iov_len: part.into.len(),
            });
            remote.push(libc::iovec {
                iov_base: usize::try_from(part.address.0).map_err(|_| None)? as *mut libc::c_void,
                iov_len: part.into.len(),
            });
        }
        let count = |parts: &[libc::iovec]| libc::c_ulong::try_from(parts.len()).map_err(|_| None);
        // SAFETY: each of `local` is a live, writable buffer that its `Part` borrows alone; `remote`
        // are only addresses in the other process, which the kernel checks.
        let read = unsafe {
            libc::process_vm_readv(
                self.pid,
                local.as_ptr(),
                count(&local)?,
                remote.as_ptr(),
                count(&remote)?,
                0,
            )
        };
        usize::try_from(read).map_err(|_| std::io::Error::last_os_error().raw_os_error())
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

    fn for_threads(&self) -> Option<&(dyn Memory + Sync)> {
        Some(self)
    }

    /// The kernel reads the parts in their order, and stops at the first that it cannot read: that
    /// one is read alone, so that nothing is unreadable for its neighbours' sake, and the next call
    /// begins behind it.
    fn read_parts(&self, parts: &mut [Part<'_>]) {
        let mut rest = parts;
        while !rest.is_empty() {
            let most = rest.len().min(MAX_PARTS);
            let mut read = rest
                .get_mut(..most)
                .map_or(0, |parts| self.call(parts).unwrap_or(0));
            let mut whole = 0;
            for part in rest.iter_mut().take(most) {
                let Some(left) = read.checked_sub(part.into.len()) else {
                    break;
                };
                read = left;
                part.outcome = Ok(());
                whole += 1;
            }
            if whole < most
                && let Some(part) = rest.get_mut(whole)
            {
                part.outcome = self.read(part.address, part.into);
                if matches!(part.outcome, Err(ReadError::Gone | ReadError::NotPermitted)) {
                    let outcome = part.outcome;
                    rest.iter_mut()
                        .skip(whole)
                        .for_each(|part| part.outcome = outcome);
                    return;
                }
                whole += 1;
            }
            rest = rest.get_mut(whole..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This process, whose memory is as foreign to the call as any.
    fn own() -> LiveMemory {
        LiveMemory::new(std::process::id().cast_signed())
    }

    fn address(of: &[u8]) -> Address {
        Address(of.as_ptr() as u64)
    }

    #[test]
    fn many_parts_are_read_in_as_many_calls_as_needed() {
        let there: Vec<u8> = (0..5_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut here = vec![0; there.len()];
        let mut parts: Vec<Part<'_>> = there
            .chunks(4)
            .zip(here.chunks_mut(4))
            .map(|(there, here)| Part::new(address(there), here))
            .collect();
        own().read_parts(&mut parts);
        assert!(parts.iter().all(|part| part.outcome.is_ok()));
        assert_eq!(here, there);
    }

    #[test]
    fn parts_that_are_not_mapped_leave_their_neighbours_readable() {
        let there: Vec<u8> = (0..200).collect();
        for wild in [Address(8), Address(u64::MAX - 3), Address(1 << 63)] {
            let mut here = vec![0; 3_000];
            let mut parts: Vec<Part<'_>> = here
                .chunks_mut(1)
                .enumerate()
                .map(|(index, here)| match index % 3 {
                    // The first, the last, and many in a row.
                    0 => Part::new(wild, here),
                    1 if index > 2_900 => Part::new(wild, here),
                    _ => Part::new(address(&there[index % 200..]), here),
                })
                .collect();
            own().read_parts(&mut parts);
            for (index, part) in parts.iter().enumerate() {
                if part.address == wild {
                    assert!(matches!(part.outcome, Err(ReadError::Unmapped { .. })));
                } else {
                    assert_eq!(part.outcome, Ok(()), "{index}");
                    assert_eq!(part.into, [there[index % 200]], "{index}");
                }
            }
        }
    }

    #[test]
    fn an_empty_part_is_always_there() {
        let there = [7_u8; 8];
        let (mut none, mut here) = ([0; 0], [0; 8]);
        let mut parts = [
            Part::new(Address(8), &mut none),
            Part::new(address(&there), &mut here),
        ];
        own().read_parts(&mut parts);
        assert!(parts.iter().all(|part| part.outcome.is_ok()));
        assert_eq!(here, there);
    }

    #[test]
    fn of_a_process_that_has_ended_nothing_is_read() {
        // No process has the highest id that there can be, and one more.
        let mut here = [0; 4];
        let mut parts: Vec<Part<'_>> = here
            .chunks_mut(1)
            .map(|here| Part::new(Address(0x1000), here))
            .collect();
        LiveMemory::new(1 << 22 | 1).read_parts(&mut parts);
        let gone = |part: &Part<'_>| part.outcome == Err(ReadError::Gone);
        assert!(parts.iter().all(gone));
    }
}
