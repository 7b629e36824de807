//! Binaries of every shape: where their debug information is, where they are loaded, damaged ones.
//!
//! The tools that make them (`gcc`, `objcopy`, `strip`, `rustc`) are the ones that users have.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use gimli::SectionId;
use proptest::prelude::*;
use support::Build;
use tempfile::TempDir;
use tracer_common::{ArgumentRegister, ProbeKind};
use tracer_user::address::LinkAddress;
use tracer_user::locate::{Process, TargetSelector};
use tracer_user::memory::Memory;
use tracer_user::object::{Binary, BinaryError, DebugSource, Origin};
use tracer_user::plan::{
    Functions, Rules, Wanted, choose, task_vtables, versions_of, waker_functions,
};
use tracer_user::rebuild::snapshot::DebugInfoLevel;

/// A process that is ended with the test.
struct Ended(Child);

impl Ended {
    fn find(&self) -> Process {
        Process::find(&TargetSelector::Pid(self.0.id().cast_signed())).unwrap()
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn run<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {stderr}");
}

fn quiet(command: &mut Command) -> Ended {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    Ended(child.unwrap())
}

/// A directory with `app`, a fixture with full debug information in it, as seen from inside a
/// root file system, and `app.debug`, its debug information.
struct Split {
    root: TempDir,
}

impl Split {
    fn new() -> Self {
        let split = Self {
            root: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(split.at("srv/.debug")).unwrap();
        fs::create_dir_all(split.at("usr/lib/debug/srv")).unwrap();
        fs::copy(Build::Release.folder().join("busy"), split.at("srv/full")).unwrap();
        let (full, debug) = (split.at("srv/full"), split.at("app.debug"));
        run(
            "objcopy",
            [
                OsStr::new("--only-keep-debug"),
                full.as_os_str(),
                debug.as_os_str(),
            ],
        );
        let app = split.at("srv/app");
        run(
            "strip",
            [OsStr::new("-o"), app.as_os_str(), full.as_os_str()],
        );
        split
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn search(&self, file: &str, explicit: Option<&Path>) -> Result<DebugSource, BinaryError> {
        let binary = Arc::new(Binary::open(&self.at(file)).unwrap());
        let roots = [self.root.path().to_owned()];
        DebugSource::search(binary, &Path::new("/").join(file), &roots, explicit)
    }

    fn info(&self) -> Vec<u8> {
        let full = Binary::open(&self.at("srv/full")).unwrap();
        full.section(".debug_info").unwrap().to_vec()
    }
}

#[test]
fn separate_debug_files_are_found_where_gdb_finds_them() {
    let split = Split::new();
    let info = split.info();
    assert!(info.len() > 100_000);

    let source = split.search("srv/full", None).unwrap();
    assert_eq!(
        (source.origin(), source.level()),
        (&Origin::Binary, DebugInfoLevel::Full)
    );
    let source = split.search("srv/app", None).unwrap();
    assert_eq!(
        (source.origin(), source.level()),
        (&Origin::Nowhere, DebugInfoLevel::None)
    );
    assert_eq!(source.section(SectionId::DebugInfo), b"");

    // Given.
    let debug = split.at("app.debug");
    let source = split.search("srv/app", Some(&debug)).unwrap();
    assert_eq!(source.origin(), &Origin::Given(debug.clone()));
    assert_eq!(source.level(), DebugInfoLevel::Full);
    assert_eq!(source.section(SectionId::DebugInfo), info);
    assert!(source.symbol_file().has_symbol_table());
    let refused = split.search("srv/app", Some(&split.at("srv/app")));
    assert!(matches!(
        refused,
        Err(BinaryError::NoDebugInformation { .. })
    ));

    // By build-id.
    let id = source.binary().build_id().unwrap().to_owned();
    let folder = split.at("usr/lib/debug/.build-id").join(&id[..2]);
    fs::create_dir_all(&folder).unwrap();
    let by_id = folder.join(format!("{}.debug", &id[2..]));
    fs::copy(&debug, &by_id).unwrap();
    let source = split.search("srv/app", None).unwrap();
    assert_eq!(source.origin(), &Origin::BuildId(by_id.clone()));
    assert_eq!(source.section(SectionId::DebugInfo), info);
    // One of another build under that name is passed over.
    fs::copy(Build::Release.folder().join("panics"), &by_id).unwrap();
    assert_eq!(
        split.search("srv/app", None).unwrap().origin(),
        &Origin::Nowhere
    );
}

#[test]
fn debug_links_are_followed_when_their_checksum_is_right() {
    let split = Split::new();
    let info = split.info();
    let debug = split.at("app.debug");
    run(
        "objcopy",
        [
            OsStr::new(&format!("--add-gnu-debuglink={}", debug.display())),
            split.at("srv/app").as_os_str(),
        ],
    );
    for place in [
        "srv/app.debug",
        "srv/.debug/app.debug",
        "usr/lib/debug/srv/app.debug",
    ] {
        let file = split.at(place);
        fs::copy(&debug, &file).unwrap();
        let source = split.search("srv/app", None).unwrap();
        assert_eq!(source.origin(), &Origin::DebugLink(file.clone()));
        assert_eq!(source.section(SectionId::DebugInfo), info);
        // Another content under the same name.
        fs::write(&file, [&*fs::read(&debug).unwrap(), b"more"].concat()).unwrap();
        assert_eq!(
            split.search("srv/app", None).unwrap().origin(),
            &Origin::Nowhere
        );
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn compressed_sections_are_the_same_sections() {
    let split = Split::new();
    let info = split.info();
    for format in ["zlib", "zstd", "zlib-gnu"] {
        let option = format!("--compress-debug-sections={format}");
        let (full, packed) = (split.at("srv/full"), split.at("srv/packed"));
        run(
            "objcopy",
            [OsStr::new(&option), full.as_os_str(), packed.as_os_str()],
        );
        assert!(fs::metadata(&packed).unwrap().len() < fs::metadata(&full).unwrap().len());
        let source = split.search("srv/packed", None).unwrap();
        assert_eq!(source.section(SectionId::DebugInfo), info, "{format}");
        assert_eq!(source.level(), DebugInfoLevel::Full, "{format}");
    }
}

const PROGRAM: &str = "
    enum E { A(u8), B(String) }
    fn main() {
        let e = if std::env::args().count() > 5 { E::A(1) } else { E::B(String::new()) };
        let n = match e { E::A(n) => n as usize, E::B(s) => s.len() };
        std::thread::sleep(std::time::Duration::from_secs(60 + n as u64));
    }";

#[test]
fn a_package_of_split_units_is_taken_along() {
    let folder = tempfile::tempdir().unwrap();
    let (source, app) = (folder.path().join("app.rs"), folder.path().join("app"));
    fs::write(&source, PROGRAM).unwrap();
    let options = ["-g", "-C", "split-debuginfo=packed", "--edition=2021", "-o"];
    run(
        "rustc",
        options
            .iter()
            .map(OsStr::new)
            .chain([app.as_os_str(), source.as_os_str()]),
    );
    assert!(folder.path().join("app.dwp").is_file());
    let binary = Arc::new(Binary::open(&app).unwrap());
    let source = DebugSource::search(binary, &app, &[PathBuf::from("/")], None).unwrap();
    assert_eq!(source.origin(), &Origin::Binary);
    assert_eq!(source.level(), DebugInfoLevel::Full);
    let units = source.dwp_section(SectionId::DebugInfo).unwrap();
    assert!(!units.is_empty());
    assert!(source.dwp_section(SectionId::DebugCuIndex).is_some());
    assert!(source.package_path().unwrap().ends_with("app.dwp"));
}

#[test]
fn lines_without_types_are_not_full_debug_information() {
    let folder = tempfile::tempdir().unwrap();
    let (source, app) = (folder.path().join("app.rs"), folder.path().join("app"));
    fs::write(&source, PROGRAM).unwrap();
    for (debuginfo, strip, level) in [
        ("1", "none", DebugInfoLevel::Symbols),
        ("line-tables-only", "none", DebugInfoLevel::Symbols),
        ("0", "none", DebugInfoLevel::Symbols),
        ("0", "symbols", DebugInfoLevel::None),
        ("2", "none", DebugInfoLevel::Full),
    ] {
        let debuginfo = format!("debuginfo={debuginfo}");
        let strip = format!("strip={strip}");
        let options = ["-C", &debuginfo, "-C", &strip, "--edition=2021", "-o"];
        run(
            "rustc",
            options
                .iter()
                .map(OsStr::new)
                .chain([app.as_os_str(), source.as_os_str()]),
        );
        let binary = Arc::new(Binary::open(&app).unwrap());
        let source = DebugSource::search(binary, &app, &[], None).unwrap();
        assert_eq!(source.level(), level, "{debuginfo} {strip}");
    }
}

fn waiting_c_program(folder: &Path, options: &[&str]) -> PathBuf {
    let (source, app) = (folder.join("wait.c"), folder.join("wait"));
    fs::write(
        &source,
        "#include <unistd.h>\nint main(void) { for (;;) pause(); }",
    )
    .unwrap();
    let files = [OsStr::new("-o"), app.as_os_str(), source.as_os_str()];
    run("gcc", options.iter().map(OsStr::new).chain(files));
    app
}

/// The executable of a process, its bytes in memory where its bias puts them.
#[track_caller]
fn check_bias(process: &Process) -> Binary {
    let module = process.executable().unwrap();
    let binary = Binary::of_module(&module).unwrap();
    let main = binary
        .symbols()
        .find(|symbol| symbol.name == "main")
        .unwrap();
    let address = module.bias.to_address(main.address);
    assert!(module.range.contains(&address));
    let in_memory = process.memory().bytes(address, 8).unwrap();
    assert_eq!(binary.bytes_at(main.address, 8), Some(&*in_memory));
    assert_eq!(module.bias.0 == 0, !binary.is_position_independent());
    binary
}

#[test]
fn every_way_to_link_an_executable() {
    for options in [
        &["-pie", "-fPIE"][..],
        &["-no-pie", "-fno-PIE"],
        &["-static", "-no-pie"],
        &["-static-pie", "-fPIE"],
        &["-pie", "-fPIE", "-Wl,-z,noseparate-code"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let app = waiting_c_program(folder.path(), options);
        let target = quiet(&mut Command::new(&app));
        check_bias(&target.find());
    }
}

#[test]
fn a_deleted_and_a_replaced_executable() {
    let folder = tempfile::tempdir().unwrap();
    let app = waiting_c_program(folder.path(), &[]);
    let build_id = Binary::open(&app).unwrap().build_id().unwrap().to_owned();
    let target = quiet(&mut Command::new(&app));
    fs::remove_file(&app).unwrap();
    let process = target.find();
    assert!(process.exe_deleted);
    assert_eq!(process.exe, app, "without the kernel's remark");
    assert_eq!(check_bias(&process).build_id(), Some(&*build_id));
    fs::copy(Build::Release.folder().join("busy"), &app).unwrap();
    let process = target.find();
    assert_eq!(check_bias(&process).build_id(), Some(&*build_id));
}

/// What a container is: a mount namespace of its own, whose files are not in ours.
#[test]
fn a_process_in_another_mount_namespace() {
    let folder = tempfile::tempdir().unwrap();
    let app = waiting_c_program(folder.path(), &[]);
    run(
        "objcopy",
        [
            OsStr::new("--only-keep-debug"),
            app.as_os_str(),
            folder.path().join("d").as_os_str(),
        ],
    );
    let inside = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs none \"$1\" && cp \"$2/wait\" \"$1/app\" && \
        strip \"$1/app\" && mkdir \"$1/.debug\" && cp \"$2/d\" \"$1/.debug/d\" && \
        (cd \"$1/.debug\" && objcopy --add-gnu-debuglink=d ../app) && exec \"$1/app\"";
    let target = quiet(
        Command::new("unshare")
            .args(["--mount", "sh", "-ec", script, "sh"])
            .args([inside.path(), folder.path()]),
    );
    let exe = inside.path().join("app");
    let process = loop {
        let process = target.find();
        if process.exe == exe {
            break process;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    assert!(!exe.exists(), "not in our namespace");
    assert!(!process.exe_deleted, "it is there, in its namespace");
    let module = process.executable().unwrap();
    let binary = Arc::new(Binary::of_module(&module).unwrap());
    let source = DebugSource::find(binary, &process, None).unwrap();
    let place = process
        .root()
        .join(inside.path().strip_prefix("/").unwrap());
    // Without debug information in it, the link is followed all the same: it brings symbols.
    assert_eq!(source.origin(), &Origin::DebugLink(place.join(".debug/d")));
    assert!(source.symbol_file().has_symbol_table());
}

/// Everything that reads a binary, on bytes that may be damaged.
fn exercise(bytes: Vec<u8>) {
    let Ok(binary) = Binary::from_bytes(Path::new("damaged"), bytes) else {
        return;
    };
    let _ = binary.tls_segment();
    for symbol in binary.symbols() {
        let _ = symbol.demangled();
        let _ = binary.bytes_at(symbol.address, 16);
    }
    for name in [".debug_info", ".text", ".symtab", ".eh_frame", ".rela.dyn"] {
        let _ = binary.section(name);
    }
    let _ = (
        task_vtables(&binary),
        waker_functions(&binary),
        versions_of(&binary, "tokio"),
    );
    let functions = Functions::new(&binary, &binary);
    let wanted = Wanted::of(ProbeKind::TaskPoll, ArgumentRegister::Rdi);
    for segment in binary.segments() {
        for offset in [0, 1, 64, u64::MAX] {
            let _ = binary.function_at(segment.address.add(offset));
            if let Some(code) = functions.code(segment.address.add(offset)) {
                let _ = choose(code, wanted, Rules { long_nops: true });
            }
        }
    }
    let _ = binary.bytes_at(LinkAddress(u64::MAX), usize::MAX);
    let _ = DebugSource::search(Arc::new(binary), Path::new("/srv/app"), &[], None);
}

/// A small binary with everything in it, and the same one compressed and stripped.
fn samples() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let app = waiting_c_program(folder.path(), &["-g"]);
    let packed = folder.path().join("packed");
    let option = OsStr::new("--compress-debug-sections=zlib");
    run("objcopy", [option, app.as_os_str(), packed.as_os_str()]);
    let stripped = folder.path().join("stripped");
    run(
        "strip",
        [OsStr::new("-o"), stripped.as_os_str(), app.as_os_str()],
    );
    [app, packed, stripped]
        .iter()
        .map(|path| fs::read(path).unwrap())
        .collect()
}

#[test]
fn damaged_binaries_are_survived() {
    let samples = samples();
    let cases = ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    // Headers and tables stand at both ends of the file; bytes in the middle are mostly code.
    let place = prop_oneof![0.0..0.03_f64, 0.0..1.0_f64, 0.8..1.0_f64];
    let change = (
        place,
        prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(0x7f)],
    );
    let strategy = (
        0..samples.len(),
        prop::collection::vec(change, 1..12),
        0.0..1.3_f64,
    );
    let mut runner = proptest::test_runner::TestRunner::new(cases);
    let result = runner.run(&strategy, |(sample, changes, keep)| {
        let mut bytes = samples[sample].clone();
        let at = |place: f64| (bytes_len(&samples[sample]) * place) as usize;
        for (place, value) in changes {
            let index = at(place).min(bytes.len() - 1);
            bytes[index] = value;
        }
        bytes.truncate(at(keep));
        exercise(bytes);
        Ok(())
    });
    result.unwrap();
}

fn bytes_len(bytes: &[u8]) -> f64 {
    f64::from(u32::try_from(bytes.len()).unwrap())
}
