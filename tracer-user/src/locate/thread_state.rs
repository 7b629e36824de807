//! Where a thread is blocked: its stack pointer and program counter, without stopping it.
//!
//! The kernel shows both in `/proc/PID/task/TID/syscall` for any thread that is off the CPU
//! (proc(5); needs ptrace read access). A thread that runs has only `running` there.

use std::io;

use crate::address::Address;

/// What a thread was doing when `/proc/PID/task/TID/syscall` was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadState {
    /// On a CPU, or about to be: its registers are not shown.
    Running,
    /// Off the CPU.
    Blocked {
        /// The number of the system call it is in; `None` when it is off the CPU for another
        /// reason (a page fault, a stop signal).
        syscall: Option<u64>,
        /// The arguments of the system call: rdi, rsi, rdx, r10, r8, r9. Zero without one.
        arguments: [u64; 6],
        /// rsp in user mode.
        stack_pointer: Address,
        /// rip in user mode: in a system call, the instruction after `syscall`.
        program_counter: Address,
    },
}

impl ThreadState {
    /// Reads the state of one thread now.
    ///
    /// # Errors
    /// `NotFound` when the thread has ended, `PermissionDenied` without ptrace access,
    /// `InvalidData` for a line in no known form.
    pub fn read(pid: i32, tid: i32) -> io::Result<Self> {
        let line = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).map_err(
            // A thread that ends between open and read answers ESRCH.
            |error| match error.raw_os_error() {
                Some(libc::ESRCH) => io::ErrorKind::NotFound.into(),
                _ => error,
            },
        )?;
        Self::parse(&line).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "unknown form of /proc/PID/task/TID/syscall: {}",
                    line.trim()
                ),
            )
        })
    }

    /// Parses the line: `running`, `-1 SP PC`, or `NR A0 A1 A2 A3 A4 A5 SP PC`.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
        match *words.as_slice() {
            ["running"] => Some(Self::Running),
            ["-1", stack_pointer, program_counter] => Some(Self::Blocked {
                syscall: None,
                arguments: [0; 6],
                stack_pointer: Address(hexadecimal(stack_pointer)?),
                program_counter: Address(hexadecimal(program_counter)?),
            }),
            [
                number,
                a0,
                a1,
                a2,
                a3,
                a4,
                a5,
                stack_pointer,
                program_counter,
            ] => {
                let mut arguments = [0; 6];
                for (argument, word) in arguments.iter_mut().zip([a0, a1, a2, a3, a4, a5]) {
                    *argument = hexadecimal(word)?;
                }
                Some(Self::Blocked {
                    syscall: Some(number.parse().ok()?),
                    arguments,
                    stack_pointer: Address(hexadecimal(stack_pointer)?),
                    program_counter: Address(hexadecimal(program_counter)?),
                })
            }
            _ => None,
        }
    }
}

fn hexadecimal(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_all_three_forms() {
        assert_eq!(ThreadState::parse("running\n"), Some(ThreadState::Running));
        assert_eq!(
            ThreadState::parse("-1 0x7ffc6377b748 0x7f27b793b2ad\n"),
            Some(ThreadState::Blocked {
                syscall: None,
                arguments: [0; 6],
                stack_pointer: Address(0x7ffc_6377_b748),
                program_counter: Address(0x7f27_b793_b2ad),
            })
        );
        assert_eq!(
            ThreadState::parse("202 0x1 0x80 0x3 0x0 0x0 0xffffffff 0x10 0x20\n"),
            Some(ThreadState::Blocked {
                syscall: Some(202),
                arguments: [1, 0x80, 3, 0, 0, 0xffff_ffff],
                stack_pointer: Address(0x10),
                program_counter: Address(0x20),
            })
        );
    }

    #[test]
    fn refuses_other_lines() {
        for line in [
            "",
            "runs",
            "202 0x1",
            "-1 7 8",
            "x 0x1 0x1 0x1 0x1 0x1 0x1 0x1 0x1",
        ] {
            assert_eq!(ThreadState::parse(line), None, "{line}");
        }
    }

    #[test]
    fn sees_a_blocked_thread_of_our_own() {
        let (send, receive) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get())
                .unwrap();
            receive.recv().ok();
        });
        let tid = told.recv().unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let blocked = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            matches!(
                ThreadState::read(pid, tid).unwrap(),
                ThreadState::Blocked {
                    syscall: Some(202),
                    ..
                }
            )
        });
        drop(send);
        thread.join().unwrap();
        assert!(blocked, "never seen in futex(2)");
        assert_eq!(
            ThreadState::read(pid, tid).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
