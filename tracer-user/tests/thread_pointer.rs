//! Thread pointers of a live program against the addresses of its thread-locals that it prints.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use object::{Object, ObjectSymbol};
use tracer_user::address::{Address, LinkAddress};
use tracer_user::locate::thread_pointer::{TlsSegment, thread_pointers, tls_address};
use tracer_user::memory::LiveMemory;

/// Compiles the program; `None` when the standard library for `target` is not installed.
fn compile(target: &str, options: &[&str], out: &Path) -> Option<PathBuf> {
    let libdir = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .unwrap();
    if !Path::new(String::from_utf8(libdir.stdout).unwrap().trim()).exists() {
        eprintln!("skipped: `rustup target add {target}` has not been run");
        return None;
    }
    let program = out.join(format!("thread_locals-{target}"));
    let status = Command::new("rustc")
        .args(["--edition", "2024", "--target", target, "-o"])
        .arg(&program)
        .args(options)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/programs/thread_locals.rs"
        ))
        .status()
        .unwrap();
    assert!(status.success());
    Some(program)
}

/// Ends the target with the test, whatever happens.
struct Target(Child);

impl Drop for Target {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn check(program: &Path, argument: &str) {
    let mut target = Target(
        Command::new(program)
            .arg(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let pid = i32::try_from(target.0.id()).unwrap();
    let expected: BTreeMap<i32, u64> = BufReader::new(target.0.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .take_while(|line| line != "ready")
        .map(|line| {
            let (tid, address) = line.split_once(' ').unwrap();
            (tid.parse().unwrap(), address.parse().unwrap())
        })
        .collect();
    let threads: Vec<i32> = expected.keys().copied().collect();
    assert_eq!(threads.len(), if argument == "single" { 1 } else { 4 });

    let bytes = std::fs::read(program).unwrap();
    let (segment, variable) = tls_of(&bytes);
    let found = thread_pointers(pid, &LiveMemory::new(pid), &threads);
    assert_eq!(found.len(), threads.len());
    for (tid, pointer) in found {
        let pointer = pointer.unwrap_or_else(|error| panic!("{argument}, thread {tid}: {error}"));
        assert_eq!(
            tls_address(pointer, &segment, variable),
            Some(Address(expected[&tid])),
            "{argument}, thread {tid}"
        );
    }
}

/// The TLS segment and the offset of the program's thread-local in it.
fn tls_of(bytes: &[u8]) -> (TlsSegment, u64) {
    use object::read::elf::{ElfFile64, ProgramHeader};
    let file: ElfFile64<'_> = ElfFile64::parse(bytes).unwrap();
    let segment = file
        .elf_program_headers()
        .iter()
        .find(|header| header.p_type(object::Endianness::Little) == object::elf::PT_TLS)
        .map(|header| TlsSegment {
            memory_size: header.p_memsz(object::Endianness::Little),
            align: header.p_align(object::Endianness::Little),
            address: LinkAddress(header.p_vaddr(object::Endianness::Little)),
        })
        .unwrap();
    let variable = file
        .symbols()
        .find(|symbol| {
            symbol.kind() == object::SymbolKind::Tls
                && symbol.name().is_ok_and(|name| name.contains("ALIGNED"))
        })
        .unwrap();
    (segment, variable.address())
}

#[test]
fn glibc() {
    let out = tempfile::tempdir().unwrap();
    let target = "x86_64-unknown-linux-gnu";
    for options in [&[][..], &["-C", "target-feature=+crt-static"]] {
        let program = compile(target, options, out.path()).unwrap();
        for argument in ["blocked", "busy", "single"] {
            check(&program, argument);
        }
    }
}

#[test]
fn musl() {
    let out = tempfile::tempdir().unwrap();
    let target = "x86_64-unknown-linux-musl";
    for options in [&[][..], &["-C", "relocation-model=static"]] {
        if let Some(program) = compile(target, options, out.path()) {
            for argument in ["blocked", "busy", "single"] {
                check(&program, argument);
            }
        }
    }
}
