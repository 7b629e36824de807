//! The BPF programs: entry points only. What they conclude is in the library (`probe_logic`),
//! which is tested on the host; maps and helper calls are in `maps` and `kernel`.
//!
//! | program | attached to | job |
//! |---|---|---|
//! | `on_probe` | uprobes (uprobe_multi where the kernel has it) | polls, wake-ups, spawns |
//! | `on_switch` | raw tracepoint `sched_switch` | ends of polls, blocking inside a poll |
//! | `on_flush` | nothing: the daemon runs it | a CPU's batch of records into its ring |
//! | `on_nothing` | uprobes, in benches and to calibrate | the cost of a trap |
//! | `on_least` | uprobes, in benches only | the cost of a trap that tells the least |
//! | `on_exec` | raw tracepoint `sched_process_exec` | the target replaced its program |
//!
//! There is no return probe, on purpose: a uretprobe replaces the return address on the target's
//! stack, and a panic that unwinds through it aborts the target.
//!
//! Needs Linux 5.15 (attach cookies, `bpf_task_pt_regs`); loads on 6.1 and 6.18.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod panic;
#[cfg(target_arch = "bpf")]
mod programs;
#[cfg(target_arch = "bpf")]
mod ring;
#[cfg(target_arch = "bpf")]
mod walk;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn never(_: &core::panic::PanicInfo<'_>) -> ! {
    // Every index is masked and every division is by a constant: the optimiser removes this, and
    // the verifier refuses the object if it does not.
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {
    // On the host only the library means something; this keeps `cargo check` and editors content.
}
