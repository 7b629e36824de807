//! Signals and the clock.
#![expect(
    unsafe_code,
    reason = "std sends no signal but SIGKILL, and tells no clock's value"
)]

use std::process::Child;

/// What a program is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    /// As Ctrl-C.
    Interrupt,
    Stop,
    Continue,
}

/// Sends a signal to a program of ours that was not waited for.
pub(crate) fn send(child: &Child, signal: Signal) {
    let signal = match signal {
        Signal::Interrupt => libc::SIGINT,
        Signal::Stop => libc::SIGSTOP,
        Signal::Continue => libc::SIGCONT,
    };
    // SAFETY: no memory is passed. The id is the child's own as long as nobody has waited for it.
    unsafe { libc::kill(child.id().cast_signed(), signal) };
}

/// `CLOCK_MONOTONIC`, ns.
pub(crate) fn monotonic_ns() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    #[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
    let ns = time.tv_sec as f64 * 1e9 + time.tv_nsec as f64;
    ns
}
