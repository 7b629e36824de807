//! What a trap costs on this machine: an empty program at two functions of our own, which are then
//! called some hundred times.
//!
//! The kernel carries out the instruction under a probe in one of two ways, and the costs of the
//! two differ by a factor of three to twenty, depending on the machine: so both are measured.
#![expect(
    unsafe_code,
    reason = "two functions with a known first instruction, and calls of them"
)]

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Instant;

use super::cost::TrapCosts;
use super::object::Loaded;
use super::{LinkKind, floor, syscall};

/// Calls of a batch; of the batches the fastest counts, as others may have been interrupted.
const CALLS: u32 = 50;
const BATCHES: u32 = 12;

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .text.asynctrace_calibrate,\"ax\",@progbits",
    ".p2align 4",
    ".type asynctrace_calibrate_emulated,@function",
    ".globl asynctrace_calibrate_emulated",
    ".hidden asynctrace_calibrate_emulated",
    "asynctrace_calibrate_emulated:",
    "push rbp",
    "pop rbp",
    "ret",
    ".size asynctrace_calibrate_emulated, . - asynctrace_calibrate_emulated",
    ".p2align 4",
    ".type asynctrace_calibrate_stepped,@function",
    ".globl asynctrace_calibrate_stepped",
    ".hidden asynctrace_calibrate_stepped",
    "asynctrace_calibrate_stepped:",
    "mov eax, edi",
    "ret",
    ".size asynctrace_calibrate_stepped, . - asynctrace_calibrate_stepped",
    ".popsection",
);

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    fn asynctrace_calibrate_emulated();
    fn asynctrace_calibrate_stepped();
}

/// Measures; where that is not possible, the costs are those of another machine. Takes about 5 ms.
pub(super) fn traps(loaded: &Loaded, kind: LinkKind) -> TrapCosts {
    // A perf link takes 0.1 s to go.
    if kind == LinkKind::Perf {
        return TrapCosts::ELSEWHERE;
    }
    match measure(loaded) {
        Ok(costs) => costs,
        Err(error) => {
            tracing::debug!("what a trap costs was not measured: {error}");
            TrapCosts::ELSEWHERE
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn measure(loaded: &Loaded) -> Result<TrapCosts, Box<dyn std::error::Error>> {
    let functions = [
        asynctrace_calibrate_emulated as unsafe extern "C" fn(),
        asynctrace_calibrate_stepped,
    ];
    let offset = |function: unsafe extern "C" fn()| offset_in_file(function as usize as u64);
    let offsets = [offset(functions[0])?, offset(functions[1])?];
    let program = loaded.load(floor::PROGRAM, true)?;
    let without = functions.map(fastest);
    let link = syscall::link_uprobes(
        program.as_fd(),
        Path::new("/proc/self/exe"),
        &offsets,
        &[0, 0],
        std::process::id(),
        false,
    )?;
    let with = functions.map(fastest);
    // The kernel waits some 20 ms until nobody runs the program; nobody has to wait with it.
    std::thread::Builder::new()
        .name("asynctrace-calibrated".to_owned())
        .spawn(move || drop(link))?;
    let costs = [0, 1].map(|at| with[at].saturating_sub(without[at]));
    if costs.contains(&0) {
        return Err("the probes on our own functions were not hit".into());
    }
    Ok(TrapCosts {
        emulated_ns: costs[0],
        single_stepped_ns: costs[1],
        measured: true,
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn measure(_loaded: &Loaded) -> Result<TrapCosts, Box<dyn std::error::Error>> {
    Err("not known for this processor".into())
}

/// Nanoseconds of a call.
#[cfg(target_arch = "x86_64")]
fn fastest(function: unsafe extern "C" fn()) -> u64 {
    let batch = || {
        let start = Instant::now();
        for _ in 0..CALLS {
            // SAFETY: they touch nothing but a register that calls may change.
            unsafe { function() };
        }
        u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX) / u64::from(CALLS)
    };
    (0..BATCHES).map(|_| batch()).min().unwrap_or(0)
}

/// Where in our own executable an address lies.
#[cfg(target_arch = "x86_64")]
fn offset_in_file(address: u64) -> Result<u64, Box<dyn std::error::Error>> {
    for map in procfs::process::Process::myself()?.maps()? {
        if (map.address.0..map.address.1).contains(&address) {
            return Ok(address - map.address.0 + map.offset);
        }
    }
    Err("our own code is not in our own maps".into())
}
