//! Finding real processes and their files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tracer_user::address::Address;
use tracer_user::locate::{Process, TargetError, TargetSelector};
use tracer_user::memory::Memory;
use tracer_user::object::{Binary, DebugSource, SymbolKind};

/// A child that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sleeper() -> std::io::Result<Ended> {
    let child = Command::new("sleep")
        .arg("60")
        .stdin(Stdio::null())
        .spawn()?;
    Ok(Ended(child))
}

#[test]
fn a_module_is_found_where_the_process_runs_it() {
    let child = sleeper().unwrap();
    let pid = child.0.id().cast_signed();
    let process = Process::find(&TargetSelector::Pid(pid)).unwrap();
    assert!(process.exe.ends_with("sleep") || process.exe.ends_with("coreutils"));
    assert!(process.is_alive());
    process.check_memory_access().unwrap();
    assert_eq!(process.threads().len(), 1);
    assert_eq!(process.threads()[0].tid, pid);

    let module = process.executable().unwrap();
    let binary = Binary::of_module(&module).unwrap();
    // The bytes of the file are those in memory at the biased address: the bias is right.
    let segment = binary.segments().iter().find(|s| s.executable).unwrap();
    let in_file = binary.bytes_at(segment.address, 64).unwrap();
    let in_memory = process
        .memory()
        .bytes(module.bias.to_address(segment.address), 64)
        .unwrap();
    assert_eq!(in_file, in_memory);
    assert!(binary.build_id().is_some());
}

/// A function whose address is taken, so it stays one.
#[inline(never)]
fn marker() -> u32 {
    std::hint::black_box(7)
}

#[test]
fn our_own_symbols_are_those_of_the_compiler() {
    let binary = Arc::new(Binary::open(&std::env::current_exe().unwrap()).unwrap());
    let main = binary
        .symbols()
        .find(|symbol| symbol.name == "main" && symbol.kind == SymbolKind::Function)
        .unwrap();
    assert_eq!(binary.function_at(main.address).unwrap(), main);
    assert!(binary.is_code(main.address));
    let process = Process::find(&TargetSelector::Pid(std::process::id().cast_signed())).unwrap();
    // The function at the address of one that we know.
    let module = process.executable().unwrap();
    let address = Address(marker as fn() -> u32 as usize as u64);
    let found = binary.function_at(module.bias.to_link(address)).unwrap();
    assert_eq!(found.demangled(), "locate::marker");
    let source = DebugSource::find(binary, &process, None).unwrap();
    // Lines only (`Cargo.toml`): no types.
    assert_eq!(
        source.level(),
        tracer_user::rebuild::snapshot::DebugInfoLevel::Symbols
    );
    assert!(!source.section(gimli::SectionId::DebugInfo).is_empty());
}

#[test]
fn a_zombie_and_a_dead_process_are_told_apart() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id().cast_signed();
    // Wait for its end without reaping it.
    while std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .unwrap()
        .rsplit(')')
        .next()
        .is_none_or(|rest| !rest.trim_start().starts_with('Z'))
    {
        std::thread::yield_now();
    }
    let found = Process::find(&TargetSelector::Pid(pid));
    assert!(
        matches!(found, Err(TargetError::Zombie { .. })),
        "{found:?}"
    );
    child.wait().unwrap();
    let found = Process::find(&TargetSelector::Pid(pid));
    assert!(
        matches!(found, Err(TargetError::NoSuchPid { .. })),
        "{found:?}"
    );
}

/// A spawn returns before the child has its own program; what is found must be the child's.
#[test]
fn a_command_is_itself_from_the_first_moment() {
    let selector = TargetSelector::Command(["sleep", "0.05"].map(Into::into).to_vec());
    for _ in 0..50 {
        let process = Process::find(&selector).unwrap();
        assert!(process.exe.ends_with("sleep") || process.exe.ends_with("coreutils"));
        let module = process.executable().unwrap();
        assert_eq!(module.path, process.exe.to_string_lossy());
    }
}

#[test]
fn a_command_is_started_and_its_end_is_seen() {
    let selector = TargetSelector::Command(["sleep", "0.2"].map(Into::into).to_vec());
    let mut process = Process::find(&selector).unwrap();
    assert!(process.is_alive() && process.is_our_child());
    while process.is_alive() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(process.exit_status().unwrap().success());
}
