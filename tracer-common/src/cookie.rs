//! The 64-bit attach cookie of a probe (`bpf_get_attach_cookie`, Linux 5.15).
//!
//! The cookie tells the BPF program which kind of function it stands in and how to find the task
//! from there, so that one program serves thousands of sites.
//!
//! | bits  | meaning                                                              |
//! |-------|----------------------------------------------------------------------|
//! | 0-7   | [`ProbeKind`]                                                        |
//! | 8-11  | [`ArgumentRegister`] that holds the task, waker data or future       |
//! | 12-23 | bytes pushed between the function's entry and the probed instruction |
//! | 24-39 | offset of the task id from the task's `Header`, 0 when unknown       |
//! | 40-63 | index of the probe in the plan                                       |

/// What kind of function a probe stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ProbeKind {
    /// `raw::poll`: the runtime polls a task. Argument: the task's `Header`.
    TaskPoll = 1,
    /// `wake_by_val`: a waker is consumed to wake. Argument: waker data.
    WakeByValue = 2,
    /// `wake_by_ref`. Argument: waker data.
    WakeByReference = 3,
    /// `clone_waker`. Argument: waker data.
    WakerClone = 4,
    /// `drop_waker`. Argument: waker data.
    WakerDrop = 5,
    /// A task is bound to its runtime. Argument: the task's `Header`.
    Spawn = 6,
    /// A `Future::poll` or async body that survived inlining (`--futures`). Argument: the future.
    FuturePoll = 7,
    /// The I/O driver wakes who waits for a resource. Argument: the runtime's record of it.
    IoReady = 8,
    /// The timer driver wakes whose time has come. Argument: not used.
    TimerFired = 9,
    /// A task is aborted. Argument: its `Header`, or a pointer to it.
    Abort = 10,
    /// A panic is about to unwind, or to abort the process. Argument: its payload, with the
    /// payload's vtable in rsi.
    Panic = 11,
    /// A task's poll returns (`--exact-polls`): at a `ret`, where the stack pointer is as at its
    /// entry. Argument: not used.
    PollExit = 12,
    /// A panic begins: its hook has not run yet. Argument: the `Location` in rdx (since Rust 1.81;
    /// before, a message stood there and the location in rcx).
    PanicBegin = 13,
}

impl ProbeKind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::TaskPoll,
            2 => Self::WakeByValue,
            3 => Self::WakeByReference,
            4 => Self::WakerClone,
            5 => Self::WakerDrop,
            6 => Self::Spawn,
            7 => Self::FuturePoll,
            8 => Self::IoReady,
            9 => Self::TimerFired,
            10 => Self::Abort,
            11 => Self::Panic,
            12 => Self::PollExit,
            13 => Self::PanicBegin,
            _ => return None,
        })
    }
}

/// The integer argument registers of the System V x86-64 calling convention, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ArgumentRegister {
    /// First argument.
    Rdi = 0,
    /// Second argument; also the first when the result is returned through memory.
    Rsi = 1,
    /// Third argument.
    Rdx = 2,
}

impl ArgumentRegister {
    /// The register with this number, if there is one.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Rdi,
            1 => Self::Rsi,
            2 => Self::Rdx,
            _ => return None,
        })
    }
}

/// A decoded attach cookie. See the module's table for the packed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// What the probed function does.
    pub kind: ProbeKind,
    /// Where its argument is at the probed instruction.
    pub argument: ArgumentRegister,
    /// Bytes pushed on the stack before the probed instruction; below 4096.
    pub pushed: u16,
    /// Offset of the task id from the `Header`; 0 when unknown.
    pub task_id_offset: u16,
    /// Index of the probe in the plan; below 2^24.
    pub probe: u32,
}

impl Cookie {
    /// Packs the cookie. Values wider than their field are cut to it.
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.kind as u64
            | (self.argument as u64) << 8
            | (self.pushed as u64 & 0xfff) << 12
            | (self.task_id_offset as u64) << 24
            | (self.probe as u64 & 0xff_ffff) << 40
    }

    /// Unpacks a cookie; `None` for a kind or register that does not exist.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each field is masked to its width first"
    )]
    pub const fn unpack(raw: u64) -> Option<Self> {
        let Some(kind) = ProbeKind::from_u8(raw as u8) else {
            return None;
        };
        let Some(argument) = ArgumentRegister::from_u8((raw >> 8) as u8 & 0xf) else {
            return None;
        };
        Some(Self {
            kind,
            argument,
            pushed: (raw >> 12) as u16 & 0xfff,
            task_id_offset: (raw >> 24) as u16,
            probe: (raw >> 40) as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_survives_packing() {
        for kind in 1..=12 {
            for argument in 0..=2 {
                let cookie = Cookie {
                    kind: ProbeKind::from_u8(kind).unwrap(),
                    argument: ArgumentRegister::from_u8(argument).unwrap(),
                    pushed: 0xabc,
                    task_id_offset: 0xfedc,
                    probe: 0x12_3456,
                };
                assert_eq!(Cookie::unpack(cookie.pack()), Some(cookie));
            }
        }
        assert_eq!(Cookie::unpack(0), None);
        assert_eq!(Cookie::unpack(1 | 9 << 8), None);
    }
}
