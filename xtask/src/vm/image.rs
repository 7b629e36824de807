//! The machine's file system: the tests, what they trace and read, and what starts them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::archive::Archive;
use super::suites::{SUITES, Suite};
use super::tests::{Built, Test};
use crate::bpf::Folders;
use crate::shell::{run, say, which};

/// Runs first in the machine.
const INIT: &str = include_str!("init.sh");
/// What tests start beside our own programs.
const PROGRAMS: &[&str] = &["setpriv", "prlimit", "dmesg"];
/// Of busybox; linked by name.
const APPLETS: &[&str] = &[
    "sh", "mount", "mkdir", "poweroff", "uname", "sleep", "cat", "ifconfig", "timeout", "cut",
    "kill", "sync", "true", "grep",
];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// A file system that is ready to boot.
pub(crate) struct Image {
    /// The archive.
    pub(crate) path: PathBuf,
    /// Its length.
    pub(crate) bytes: u64,
}

/// Puts everything that `tests` need into an archive, at the paths where it is on this machine.
///
/// # Errors
/// When something is missing.
pub(crate) fn build(
    folders: &Folders,
    built: &Built,
    tests: &[Test],
    test_seconds: u64,
) -> Result<Image> {
    let vm = folders.target.join("vm");
    let path = vm.join("image.cpio");
    let mut archive = Archive::create(&path)?;
    for folder in ["/proc", "/sys", "/dev", "/tmp", "/root", "/bin"] {
        archive.folder(Path::new(folder))?;
    }
    let busybox = which("busybox").context("no busybox")?;
    archive.file(Path::new("/bin/busybox"), &busybox)?;
    for applet in APPLETS {
        archive.link(&Path::new("/bin").join(applet), "busybox")?;
    }
    archive.text(Path::new("/init"), INIT)?;
    archive.text(Path::new("/etc/passwd"), PASSWD)?;
    archive.text(Path::new("/etc/group"), GROUP)?;
    archive.text(
        Path::new("/vm/environment"),
        &format!(
            "export ASYNCTRACE_FIXTURES={}\n",
            folders.target.join("fixtures").display()
        ),
    )?;

    let suites: Vec<&Suite> = SUITES
        .iter()
        .filter(|suite| tests.iter().any(|test| test.suite == suite.binary))
        .collect();
    let mut programs = vec![built.program.clone()];
    let mut plan = String::new();
    for suite in &suites {
        let binary = built.tests.get(suite.binary).context("no such suite")?;
        programs.push(binary.clone());
        for test in tests.iter().filter(|test| test.suite == suite.binary) {
            writeln!(
                plan,
                "{} {} {test_seconds} {}",
                test.suite,
                test.test,
                binary.display()
            )?;
        }
    }
    archive.text(Path::new("/vm/plan"), &plan)?;
    for program in &programs {
        // Of their debug information the lines of panics would be left, which are in them anyway.
        let stripped = vm.join("stripped");
        run(Command::new("strip").arg("-o").arg(&stripped).arg(program))?;
        archive.file(program, &stripped)?;
    }
    for name in PROGRAMS {
        let program = which(name).with_context(|| format!("no {name}"))?;
        archive.file(&program, &program)?;
        programs.push(program);
    }
    let fixtures: BTreeSet<&str> = suites.iter().flat_map(|s| s.programs).copied().collect();
    for fixture in fixtures {
        let program = folders.target.join("fixtures").join(fixture);
        // Its tests fail there, and say the same.
        if !program.is_file() {
            say(&format!(
                "vm: {} is missing: run `cargo xtask build --fixtures`",
                program.display()
            ));
            continue;
        }
        archive.file(&program, &program)?;
        programs.push(program);
    }
    for source in suites.iter().flat_map(|suite| suite.sources) {
        add_all(&mut archive, &folders.workspace.join(source))?;
    }
    for library in libraries(&programs)? {
        archive.file(&library, &library)?;
    }
    let bytes = archive.finish()?;
    say(&format!("vm: an image of {} MiB", bytes >> 20));
    Ok(Image { path, bytes })
}

/// A file, or all that is in a folder.
fn add_all<W: std::io::Write>(archive: &mut Archive<W>, path: &Path) -> Result<()> {
    if !path.is_dir() {
        return archive.file(path, path);
    }
    for entry in std::fs::read_dir(path).with_context(|| path.display().to_string())? {
        add_all(archive, &entry?.path())?;
    }
    Ok(())
}

/// The shared libraries of these programs and their loader.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut libraries = BTreeSet::new();
    for program in programs {
        let output = Command::new("ldd")
            .arg(program)
            .output()
            .context("could not run ldd")?;
        // A static program is an error to ldd, and needs nothing.
        let text = String::from_utf8_lossy(&output.stdout);
        for line in text.lines() {
            let path = line.split_whitespace().find(|word| word.starts_with('/'));
            libraries.extend(path.map(PathBuf::from));
        }
    }
    Ok(libraries)
}
