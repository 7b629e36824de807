//! Seeds of the corpus: a program that is small by construction, and recordings of fixtures, cut.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::bpf::Folders;
use crate::shell::{run, say};

/// A recording begins with these.
const MAGIC: &[u8; 8] = b"\x89ATRC\r\n\x1a";
/// Bytes of a frame before its payload.
const FRAME: usize = 8;
/// Packets of a seed at most, and bytes.
const PACKETS: usize = 24;
const BYTES: usize = 24 << 10;

/// Programs of which recordings are made. They wait for ever, and are ended here.
const RECORDED: &[(&str, &[&str])] = &[
    ("service", &[]),
    ("demo", &[]),
    ("faults", &["lost_wake/", "wait_cycle/", "panicked/nested"]),
];

/// Makes all seeds.
///
/// # Errors
/// When a compiler, a fixture or the right to attach is missing.
pub(super) fn make(folders: &Folders, corpus: &Path) -> Result<()> {
    let work = folders.workspace.join("fuzz/target/seeds");
    fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
    program(folders, &work, &corpus.join("elf"))?;
    memory(&corpus.join("walk"))?;
    records(&corpus.join("records"))?;
    recordings(folders, &work, &corpus.join("recording"))
}

/// The program, as a whole, without debug information, and with it compressed.
fn program(folders: &Folders, work: &Path, into: &Path) -> Result<()> {
    say("fuzz: compiling the seed program");
    let source = folders.workspace.join("fuzz/seeds/tiny.rs");
    let object = work.join("tiny.o");
    run(Command::new("rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .args([
            "--edition",
            "2024",
            "--crate-name",
            "tokio",
            "--crate-type",
            "lib",
        ])
        .args([
            "--emit=obj",
            "-Copt-level=s",
            "-Cdebuginfo=2",
            "-Cpanic=abort",
        ])
        .args(["-Ccodegen-units=1", "-o"])
        .arg(&object)
        .arg(&source))?;
    let exported = work.join("exported");
    fs::write(&exported, "{global: start; enter; local: *;};")?;
    let whole = work.join("tiny");
    let mut link = Command::new("ld");
    link.args(["-shared", "-u", "start", "-u", "enter", "--gc-sections"])
        .args(["--build-id", "--version-script"])
        .arg(&exported)
        .arg("-o")
        .arg(&whole)
        .arg(&object);
    for library in libraries(work)? {
        link.arg(library);
    }
    run(&mut link)?;
    fs::create_dir_all(into)?;
    fs::copy(&whole, into.join("tiny"))?;
    for (option, name) in [
        ("--strip-debug", "symbols"),
        ("--strip-all", "stripped"),
        ("--compress-debug-sections=zlib", "compressed"),
    ] {
        run(Command::new("objcopy")
            .arg(option)
            .arg(&whole)
            .arg(into.join(name)))?;
    }
    Ok(())
}

/// `core` and `alloc` without their own debug information.
fn libraries(work: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()?;
    let root = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let folder = root.join("lib/rustlib/x86_64-unknown-linux-gnu/lib");
    let mut libraries = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let wanted = ["libcore-", "liballoc-", "libcompiler_builtins-"];
        if wanted.iter().any(|start| name.starts_with(start)) && name.ends_with(".rlib") {
            let copy = work.join(&name);
            run(Command::new("strip")
                .arg("-g")
                .arg("-o")
                .arg(&copy)
                .arg(&path))?;
            libraries.push(copy);
        }
    }
    // What needs comes before what is needed.
    libraries.sort_by_key(|path| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        (name.starts_with("libcompiler"), name.starts_with("libcore"))
    });
    Ok(libraries)
}

/// Memory for walks: states that futures may be in, pointers into it.
fn memory(into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    for root in 0..3_u8 {
        for state in [0_u64, 1, 3, 4] {
            let mut bytes = vec![root, 0x40, 0];
            for word in 0..96_u64 {
                let word = match word % 4 {
                    0 => state,
                    1 => 0x1000 + word * 8,
                    2 => state | state << 8 | state << 32,
                    _ => 0x1040,
                };
                bytes.extend(word.to_le_bytes());
            }
            fs::write(into.join(format!("root{root}-state{state}")), bytes)?;
        }
    }
    Ok(())
}

/// Entries of rings: two tasks that wake each other on two threads, with trees, panics and losses.
/// Native byte order, as the ring has it; the layout is that of `tracer_common::Record`.
fn records(into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    let mut all = vec![1];
    for turn in 1..=12_u64 {
        let time = turn * 1_000;
        let (task, other) = (0x1000 * (turn % 2 + 1), 0x1000 * ((turn + 1) % 2 + 1));
        let tid = (turn % 2) as u32 + 7;
        let before = (turn > 2).then(|| time - 2_000);
        let mut begin = begin(time, task, tid, before);
        begin.extend([0; 16]);
        entry(&begin, &mut all);
        entry(&record(7, time + 1, other, tid, task), &mut all);
        entry(&record(4, time + 2, task, tid, task), &mut all);
        entry(&record(3, time + 3, other, tid, task), &mut all);
        entry(&record(9, time + 4, task, tid, 0), &mut all);
        entry(&record(10, time + 5, task, tid, 0), &mut all);
        entry(&record(2, time + 6, task, tid, 0), &mut all);
        if turn == 6 {
            all.extend([220, 0, 3]);
            all.extend((time + 7).to_le_bytes());
        }
        all.push(200);
        all.extend((time + 10).to_le_bytes());
    }
    fs::write(into.join("two-tasks"), &all)?;
    let mut batches = vec![1];
    for turn in 1..=6_u64 {
        let time = turn * 1_000;
        // What says that it is a batch.
        let mut batch = vec![0xff; 8];
        batch.extend(begin(time, 0x1000, 7, (turn > 1).then(|| time - 1_000)));
        batch.extend(record(3, time + 3, 0x1000, 7, 0x1000));
        batch.extend(record(2, time + 6, 0x2000, 8, 0));
        entry(&batch, &mut batches);
    }
    fs::write(into.join("batches"), &batches)?;
    for kind in 1..=13_u8 {
        let mut one = vec![0];
        let bytes = if kind == 1 {
            begin(5_000, 0x1000, 7, None)
        } else {
            record(kind, 5_000, 0x1000, 7, 0x2000)
        };
        entry(&bytes, &mut one);
        fs::write(into.join(format!("kind{kind}")), one)?;
    }
    Ok(())
}

/// The begin of a poll, and the end of one of the same task that began before.
fn begin(time: u64, task: u64, tid: u32, before: Option<u64>) -> Vec<u8> {
    let mut bytes = record(1, time, task, tid, 0);
    bytes.extend([1; 24]);
    let ended = before.map_or([0; 5], |before| [before, task, task >> 12, 0xc4, 0]);
    for word in ended {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}

/// The part that all records have.
fn record(kind: u8, time: u64, task: u64, tid: u32, by: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [
        time,
        task,
        task >> 12,
        0xcc,
        by,
        by >> 12,
        0x7fff_0000,
        time,
    ] {
        bytes.extend(word.to_ne_bytes());
    }
    for word in [0, tid, tid % 2] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend([kind, 0, 0, 0]);
    bytes
}

/// An entry as the target takes it: the operation, the length, the bytes.
fn entry(bytes: &[u8], into: &mut Vec<u8>) {
    into.push(0);
    into.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes());
    into.extend(bytes);
}

/// The first packets of recordings, in the form that the target frames itself.
fn recordings(folders: &Folders, work: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    let asynctrace = ["release", "debug"]
        .map(|profile| folders.target.join(profile).join("asynctrace"))
        .into_iter()
        .find(|path| path.is_file())
        .context("no asynctrace is built: run cargo build")?;
    for (name, arguments) in RECORDED {
        let program = folders.target.join("fixtures/release").join(name);
        if !program.is_file() {
            bail!(
                "{} is missing: run `cargo xtask build --fixtures`",
                program.display()
            );
        }
        let file = work.join(format!("{name}.astrace"));
        say(&format!("fuzz: recording {name} for 3 s"));
        let mut target = Command::new(&program)
            .args(*arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let recorded = run(Command::new(&asynctrace)
            .args(["record", "-d", "3", "-o"])
            .arg(&file)
            .args(["--pid", &target.id().to_string()]));
        // It is ours, and has nothing to keep.
        target.kill()?;
        target.wait()?;
        recorded?;
        let bytes = fs::read(&file)?;
        let mut packets = packets(&bytes)?;
        fs::write(into.join(format!("{name}-packets")), &packets)?;
        // The target compresses what is a part of a snapshot.
        packets[0] |= 4;
        fs::write(into.join(format!("{name}-deflated")), packets)?;
        let mut whole = vec![1];
        whole.extend(&bytes[..bytes.len().min(4 << 10)]);
        fs::write(into.join(format!("{name}-file")), whole)?;
    }
    Ok(())
}

/// A file's first packets, and its last: each with its length.
fn packets(file: &[u8]) -> Result<Vec<u8>> {
    let mut rest = file.strip_prefix(MAGIC).context("no recording")?;
    // Everything, with a page.
    let mut seed = vec![2];
    let mut count = 0;
    while let Some((head, after)) = rest.split_at_checked(FRAME) {
        let mut length = [0; 4];
        length.copy_from_slice(&head[..4]);
        let length = u32::from_le_bytes(length) as usize;
        let Some((payload, after)) = after.split_at_checked(length) else {
            break;
        };
        rest = after;
        let Ok(short) = u16::try_from(length) else {
            continue;
        };
        if count < PACKETS && seed.len() + length < BYTES {
            seed.extend(short.to_le_bytes());
            seed.extend(payload);
            count += 1;
        }
    }
    Ok(seed)
}
