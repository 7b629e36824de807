//! The thread pointer (`fs_base`) of every thread of a process, without stopping any.
//!
//! Thread-local variables are found from it, and with them the runtimes of a process that has
//! given us no event. The kernel shows the register to ptrace only, which stops the thread; but on
//! x86-64 the word at the thread pointer is the thread pointer itself (the psABI's TLS variant II:
//! `mov %fs:0, %rax`), so a thread's descriptor can be recognised in memory:
//!
//! - **glibc** registers a robust futex list for each thread that lies inside the descriptor, and
//!   `get_robust_list(2)` tells where: `glibc` scans down from there.
//! - **musl** (static Rust binaries) keeps the descriptors in a circular list and each above its
//!   thread's stack: `musl` finds one and follows the list.
//!
//! Only the main executable's block of thread-local storage is addressed ([`tls_address`]); those
//! of shared libraries would need the dynamic thread vector.

mod glibc;
mod musl;

use std::io;

use super::robust_list::robust_list_head;
use super::thread_state::ThreadState;
use crate::address::{Address, LinkAddress};
use crate::memory::{Memory, ReadError};

/// Why a thread's thread pointer is not known.
#[derive(Debug, thiserror::Error)]
pub enum ThreadPointerError {
    /// The thread has ended.
    #[error("the thread has ended")]
    Gone,
    /// The kernel does not let us ask.
    #[error("the kernel does not permit reading thread {tid} (ptrace access)")]
    NotPermitted {
        /// The thread, in our PID namespace.
        tid: i32,
    },
    /// The kernel's answer could not be read.
    #[error("asking the kernel about thread {tid}")]
    Kernel {
        /// The thread, in our PID namespace.
        tid: i32,
        /// What it said.
        source: io::Error,
    },
    /// A robust list is registered but is not inside a thread descriptor we know.
    #[error("no thread descriptor of glibc or musl around the robust list at {head}")]
    UnknownDescriptor {
        /// The registered list head.
        head: Address,
    },
    /// Neither a robust list nor a musl descriptor: not a thread of a C library we know, for
    /// instance a kernel worker of io_uring.
    #[error("not a thread of glibc or musl (no descriptor found in memory)")]
    NoDescriptor,
}

impl ThreadPointerError {
    fn of_kernel(tid: i32, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::ESRCH | libc::ENOENT) => Self::Gone,
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { tid },
            _ if source.kind() == io::ErrorKind::NotFound => Self::Gone,
            _ => Self::Kernel { tid, source },
        }
    }
}

/// The initial block of thread-local storage of the main executable: its `PT_TLS` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsSegment {
    /// `p_memsz`, bytes.
    pub memory_size: u64,
    /// `p_align`, bytes; 0 and 1 mean none.
    pub align: u64,
    /// `p_vaddr`.
    pub address: LinkAddress,
}

/// Where a thread's copy of a thread-local variable of the main executable is.
///
/// `symbol_value` is the `st_value` of its `STT_TLS` symbol, an offset into the segment. The
/// block ends at the thread pointer (variant II) and starts at the address nearest below that
/// leaves room and is congruent to `p_vaddr` modulo the alignment: glibc's
/// `_dl_determine_tlsoffset`, musl's `__init_tls` and lld's `getTlsTpOffset` agree on this.
/// Returns `None` for a symbol outside the segment or an alignment that is no power of two.
#[must_use]
pub fn tls_address(
    thread_pointer: Address,
    segment: &TlsSegment,
    symbol_value: u64,
) -> Option<Address> {
    let align = segment.align.max(1);
    if symbol_value >= segment.memory_size || !align.is_power_of_two() {
        return None;
    }
    let slack = segment
        .address
        .0
        .wrapping_add(segment.memory_size)
        .wrapping_neg()
        & (align - 1);
    let offset = segment.memory_size.checked_add(slack)?;
    let block = thread_pointer.0.checked_sub(offset)?;
    block.checked_add(symbol_value).map(Address)
}

/// The thread pointers of `threads` (ids in our PID namespace) of the process `pid`, in their
/// order, each or the reason why not.
///
/// Bounded: at most a few pages are read for a glibc thread, at most `musl::SCAN_LIMIT` bytes
/// for a musl process.
pub fn thread_pointers(
    pid: i32,
    memory: &dyn Memory,
    threads: &[i32],
) -> Vec<(i32, Result<Address, ThreadPointerError>)> {
    let identities: Vec<Identity> = threads
        .iter()
        .map(|&tid| Identity {
            tid,
            own: own_tid(pid, tid),
        })
        .collect();
    let mut found: Vec<(i32, Result<Address, ThreadPointerError>)> = identities
        .iter()
        .map(|identity| (identity.tid, from_robust_list(memory, *identity)))
        .collect();
    let unregistered = |result: &Result<Address, ThreadPointerError>| {
        matches!(result, Err(ThreadPointerError::NoDescriptor))
    };
    if found.iter().any(|(_, result)| unregistered(result)) {
        let stacks: Vec<Address> = threads
            .iter()
            .filter_map(|&tid| match ThreadState::read(pid, tid) {
                Ok(ThreadState::Blocked { stack_pointer, .. }) => Some(stack_pointer),
                _ => None,
            })
            .collect();
        let own_tids: Vec<u32> = identities.iter().map(|identity| identity.own).collect();
        let known = musl::descriptors(memory, &writable_mappings(pid), &stacks, &own_tids);
        for ((_, result), identity) in found.iter_mut().zip(&identities) {
            if let (true, Some(&address)) = (unregistered(result), known.get(&identity.own)) {
                *result = Ok(address);
            }
        }
    }
    found
}

/// A thread's id in our PID namespace and in its own, which is the one its descriptor holds.
#[derive(Clone, Copy, Debug)]
struct Identity {
    tid: i32,
    own: u32,
}

/// A writable, private mapping of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    start: Address,
    end: Address,
    /// The file that is mapped is the program itself, where a single-threaded musl program has its
    /// descriptor.
    of_program: bool,
}

fn from_robust_list(memory: &dyn Memory, thread: Identity) -> Result<Address, ThreadPointerError> {
    let head = robust_list_head(thread.tid)
        .map_err(|source| ThreadPointerError::of_kernel(thread.tid, source))?;
    if head.is_null() {
        return Err(ThreadPointerError::NoDescriptor);
    }
    match glibc::descriptor_around(memory, head, thread.own)
        .or_else(|| musl::descriptor_around(memory, head, thread.own))
    {
        Some(address) => Ok(address),
        None => match memory.u64(head) {
            Err(ReadError::NotPermitted) => {
                Err(ThreadPointerError::NotPermitted { tid: thread.tid })
            }
            Err(ReadError::Gone) => Err(ThreadPointerError::Gone),
            _ => Err(ThreadPointerError::UnknownDescriptor { head }),
        },
    }
}

/// The thread's id in its innermost PID namespace (`NSpid` of proc(5)), ours where the kernel does
/// not tell.
fn own_tid(pid: i32, tid: i32) -> u32 {
    let innermost = procfs::process::Process::new(pid)
        .and_then(|process| process.task_from_tid(tid))
        .and_then(|task| task.status())
        .ok()
        .and_then(|status| status.nspid?.last().copied())
        .unwrap_or(tid);
    innermost.unsigned_abs()
}

fn writable_mappings(pid: i32) -> Vec<Mapping> {
    use procfs::process::{MMPermissions, MMapPath};
    let Ok(process) = procfs::process::Process::new(pid) else {
        return Vec::new();
    };
    let Ok(maps) = process.maps() else {
        return Vec::new();
    };
    let program = process.exe().ok();
    let mut previous_of_program_ends_at = None;
    maps.into_iter()
        .filter_map(|map| {
            let of_program = match &map.pathname {
                MMapPath::Path(path) => program.as_ref() == Some(path),
                // .bss is anonymous and follows the file's last mapping.
                MMapPath::Anonymous => previous_of_program_ends_at == Some(map.address.0),
                MMapPath::Heap => false,
                _ => return None,
            };
            if of_program {
                previous_of_program_ends_at = Some(map.address.1);
            }
            let wanted = MMPermissions::READ | MMPermissions::WRITE | MMPermissions::PRIVATE;
            let anonymous = !matches!(map.pathname, MMapPath::Path(_));
            (map.perms.contains(wanted) && (anonymous || of_program)).then_some(Mapping {
                start: Address(map.address.0),
                end: Address(map.address.1),
                of_program,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::LiveMemory;

    #[test]
    fn tls_block_ends_at_the_thread_pointer() {
        let segment = |memory_size, align, address| TlsSegment {
            memory_size,
            align,
            address: LinkAddress(address),
        };
        let at = |segment, value| tls_address(Address(0x10000), &segment, value);
        assert_eq!(at(segment(0x48, 8, 0x1000), 0x40), Some(Address(0xfff8)));
        assert_eq!(at(segment(0x41, 0x20, 0x1000), 0), Some(Address(0xffa0)));
        // p_vaddr not a multiple of the alignment: the block keeps the remainder.
        assert_eq!(at(segment(0x10, 0x20, 0x1008), 0), Some(Address(0xffe8)));
        assert_eq!(at(segment(0x20, 0x20, 0x1008), 0), Some(Address(0xffc8)));
        assert_eq!(at(segment(0x10, 0, 0x1000), 8), Some(Address(0xfff8)));
    }

    #[test]
    fn tls_address_refuses_nonsense() {
        let segment = TlsSegment {
            memory_size: 0x10,
            align: 8,
            address: LinkAddress(0),
        };
        assert_eq!(tls_address(Address(0x1000), &segment, 0x10), None);
        assert_eq!(tls_address(Address(8), &segment, 0), None);
        let odd = TlsSegment {
            align: 24,
            ..segment
        };
        assert_eq!(tls_address(Address(0x1000), &odd, 0), None);
        let huge = TlsSegment {
            memory_size: u64::MAX,
            ..segment
        };
        assert_eq!(tls_address(Address(u64::MAX), &huge, 0), None);
    }

    thread_local! {
        static MARK: u64 = const { 0x5ca1_ab1e };
    }

    #[test]
    fn finds_our_own_threads() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let (done, finish) = std::sync::mpsc::channel::<()>();
        let finish = std::sync::Arc::new(std::sync::Mutex::new(finish));
        let mut expected = Vec::new();
        let mut threads = Vec::new();
        for _ in 0..4 {
            let finish = finish.clone();
            let (tell, told) = std::sync::mpsc::channel();
            threads.push(std::thread::spawn(move || {
                let tid = rustix::thread::gettid().as_raw_nonzero().get();
                let mark = MARK.with(|mark| std::ptr::from_ref(mark).addr() as u64);
                tell.send((tid, mark)).unwrap();
                finish.lock().unwrap().recv().ok();
            }));
            expected.push(told.recv().unwrap());
        }
        let tids: Vec<i32> = expected.iter().map(|(tid, _)| *tid).collect();
        let found = thread_pointers(pid, &LiveMemory::new(pid), &tids);
        drop(done);
        for thread in threads {
            thread.join().unwrap();
        }
        // The same variable is at the same distance from each thread's pointer.
        let distances: std::collections::BTreeSet<u64> = found
            .into_iter()
            .zip(&expected)
            .map(|((tid, pointer), (expected_tid, mark))| {
                assert_eq!(tid, *expected_tid);
                pointer.unwrap().0 - mark
            })
            .collect();
        assert_eq!(distances.len(), 1, "{distances:x?}");
    }

    #[test]
    fn a_thread_that_is_not_there_is_gone() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let found = thread_pointers(pid, &LiveMemory::new(pid), &[i32::MAX]);
        assert!(
            matches!(&found[..], [(_, Err(ThreadPointerError::Gone))]),
            "{found:?}"
        );
    }
}
