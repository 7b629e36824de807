//! What a user sees when it does not work: the message, the next step, the exit code; each made to
//! happen with the real binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use support::Build;
use support::fixture::Fixture;
use tempfile::TempDir;

/// `nobody`.
const NOBODY: u32 = 65534;

/// The subcommands that take a target, each with what else it needs.
const WITH_TARGET: [&[&str]; 6] = [
    &["probes"],
    &["dump"],
    &["attach", "-d", "1"],
    &["record", "-d", "1", "-o", "/dev/null"],
    &["check", "-d", "1"],
    &["check", "--now"],
];

/// A process that is ended with the test.
struct Ended(Child);

impl Ended {
    fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self(child.expect("the target starts"))
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sleeper() -> Ended {
    Ended::start(Command::new("sleep").arg("60"))
}

fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("it starts")
}

fn asynctrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asynctrace"));
    // What is watched is to be exact here, whatever it costs.
    command.env("ASYNCTRACE_MAX_OVERHEAD", "none");
    command.args(arguments);
    command
}

/// Requires exit code `code`, nothing on stdout and all of `parts` on stderr, which must begin
/// with `error: ` and be free of escape sequences. Returns stderr.
#[track_caller]
fn expect_failure(output: &Output, code: i32, parts: &[&str]) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{stderr}");
    assert!(stderr.starts_with("error: "), "{stderr}");
    assert!(!stderr.contains('\x1b'), "no colours into a pipe: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "`{part}` is missing in:\n{stderr}");
    }
    stderr
}

/// A directory that everyone may enter, with the binary in it.
fn for_everyone() -> (TempDir, PathBuf) {
    let folder = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in("/tmp")
        .expect("a directory");
    let program = folder.path().join("asynctrace");
    fs::copy(env!("CARGO_BIN_EXE_asynctrace"), &program).expect("the binary is copied");
    (folder, program)
}

#[test]
fn no_such_process() {
    // Above the largest process id that Linux gives (2^22).
    for subcommand in WITH_TARGET {
        let run = output(asynctrace(subcommand).args(["--pid", "4194999"]));
        expect_failure(
            &run,
            3,
            &["process 4194999: no process has this id", "--name"],
        );
    }
    let run = output(&mut asynctrace(&[
        "probes",
        "--name",
        "no-such-name-at-all",
    ]));
    expect_failure(
        &run,
        3,
        &["`no-such-name-at-all`: no process has this name"],
    );
}

#[test]
fn a_thread_is_not_a_process() {
    let fixture = Fixture::start(Build::Release, "busy", &[]);
    let other = fs::read_dir(format!("/proc/{}/task", fixture.pid()))
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|tid| *tid != fixture.pid().to_string())
        .unwrap();
    let run = output(&mut asynctrace(&["probes", "--pid", &other]));
    let process = format!("--pid {}", fixture.pid());
    expect_failure(&run, 3, &["it is a thread of process", &process]);
}

#[test]
fn two_processes_of_one_name_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("asynctrace-test-twin");
    fs::copy("/bin/sleep", &program).unwrap();
    let twins = [
        Ended::start(Command::new(&program).arg("61")),
        Ended::start(Command::new(&program).arg("62")),
    ];
    let run = output(&mut asynctrace(&["dump", "--name", "asynctrace-test-twin"]));
    let stderr = expect_failure(&run, 3, &["2 processes have this name", "--pid"]);
    for (twin, seconds) in twins.iter().zip(["61", "62"]) {
        let line = format!("{}  {} {seconds}", twin.pid(), program.display());
        assert!(stderr.contains(&line), "`{line}` is missing in:\n{stderr}");
    }
    // With one gone, the name is enough.
    let [first, second] = twins;
    drop(second);
    let run = output(&mut asynctrace(&[
        "probes",
        "--name",
        "asynctrace-test-twin",
    ]));
    expect_failure(&run, 6, &["no async runtime"]);
    drop(first);
}

#[test]
fn a_zombie_and_a_kernel_thread() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    while !fs::read_to_string(format!("/proc/{pid}/status"))
        .unwrap()
        .contains("State:\tZ")
    {
        std::thread::yield_now();
    }
    let run = output(&mut asynctrace(&["dump", "--pid", &pid.to_string()]));
    child.wait().unwrap();
    expect_failure(&run, 3, &["a zombie"]);

    // kthreadd, where its pid namespace is ours.
    if fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd") {
        for subcommand in WITH_TARGET {
            let run = output(asynctrace(subcommand).args(["--pid", "2"]));
            expect_failure(&run, 6, &["kernel thread (kthreadd)"]);
        }
    }
}

#[test]
fn not_root_gets_the_command_that_works() {
    let (_folder, program) = for_everyone();
    let target = sleeper();
    for subcommand in WITH_TARGET {
        let run = output(
            Command::new(&program)
                .args(subcommand)
                .args(["--pid", &target.pid()])
                .uid(NOBODY)
                .gid(NOBODY),
        );
        let stderr = expect_failure(&run, 4, &["not permitted", "run: sudo "]);
        let line = stderr
            .lines()
            .find_map(|line| line.strip_prefix("run: sudo "));
        // What sudo would run, run by us as root: permitted, and further on to the next finding.
        let run = output(Command::new("sh").args(["-c", line.unwrap()]));
        expect_failure(&run, 6, &[]);
    }
}

#[test]
fn a_root_without_the_capability_is_told_its_name() {
    let (_folder, program) = for_everyone();
    let target = Ended::start(Command::new("sleep").arg("60").uid(NOBODY).gid(NOBODY));
    let run = output(
        Command::new("setpriv")
            .args(["--bounding-set", "-sys_ptrace"])
            .arg(&program)
            .args(["probes", "--pid", &target.pid()]),
    );
    expect_failure(
        &run,
        4,
        &["root lacks CAP_SYS_PTRACE", "--cap-add SYS_PTRACE"],
    );
}

#[test]
fn attaching_without_the_bpf_capabilities_names_them() {
    let (_folder, program) = for_everyone();
    let fixture = Fixture::start(Build::Release, "busy", &[]);
    let run = output(
        Command::new("setpriv")
            .args(["--bounding-set", "-bpf,-perfmon,-sys_admin"])
            .arg(&program)
            .args(["attach", "-d", "1", "--pid", &fixture.pid().to_string()]),
    );
    expect_failure(&run, 4, &["CAP_BPF", "CAP_PERFMON"]);
}

/// `setarch --uname-2.6` makes the kernel call itself 2.6 (`personality(2)`, `UNAME26`).
#[test]
fn a_kernel_that_is_too_old_for_attaching_still_dumps() {
    let fixture = Fixture::start(Build::Release, "busy", &[]);
    let pid = fixture.pid().to_string();
    let on_an_old_kernel = |subcommand: &[&str]| {
        output(
            Command::new("setarch")
                .arg("--uname-2.6")
                .arg(env!("CARGO_BIN_EXE_asynctrace"))
                .args(subcommand)
                .args(["--pid", &pid]),
        )
    };
    for subcommand in [&["attach", "-d", "1"][..], &["record", "-o", "/dev/null"]] {
        let run = on_an_old_kernel(subcommand);
        expect_failure(&run, 5, &["too old to attach", "5.15"]);
    }
    for subcommand in ["dump", "probes"] {
        let run = on_an_old_kernel(&[subcommand]);
        assert_eq!(run.status.code(), Some(0), "{subcommand}");
    }
}

#[test]
fn not_an_async_program() {
    let target = sleeper();
    for subcommand in WITH_TARGET {
        let run = output(asynctrace(subcommand).args(["--pid", &target.pid()]));
        expect_failure(&run, 6, &["error: "]);
    }
    let run = output(&mut asynctrace(&["probes", "--pid", &target.pid()]));
    expect_failure(&run, 6, &["no async runtime found", "stripped: no symbols"]);
}

/// A static 32-bit program that waits for signals: `mov eax, 29 (pause); int 0x80; jmp` back.
fn program_of_32_bits(path: &Path) {
    let code = [0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7_u8];
    let words = |values: &[u32]| -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    };
    let halves = |values: &[u16]| -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    };
    let base = 0x0804_8000;
    let size = 0x54 + u32::try_from(code.len()).unwrap();
    let file = [
        b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(),
        halves(&[2, 3]),
        words(&[1, base + 0x54, 0x34, 0, 0]),
        halves(&[0x34, 0x20, 1, 0, 0, 0]),
        words(&[1, 0, base, base, size, size, 5, 0x1000]),
        code.to_vec(),
    ]
    .concat();
    fs::write(path, file).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_32_bit_program() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("pause32");
    program_of_32_bits(&program);
    let target = match Command::new(&program).spawn() {
        Ok(child) => Ended(child),
        // A kernel without IA32 emulation cannot have such a target.
        Err(error) if error.raw_os_error() == Some(8) => return,
        Err(error) => panic!("{error}"),
    };
    for subcommand in WITH_TARGET {
        let run = output(asynctrace(subcommand).args(["--pid", &target.pid()]));
        expect_failure(&run, 6, &["a 32-bit x86 program", "x86-64 only"]);
    }
    // As a debug file it is no better.
    let fixture = Fixture::start(Build::Release, "busy", &[]);
    let run = output(
        asynctrace(&[
            "probes",
            "--pid",
            &fixture.pid().to_string(),
            "--debug-file",
        ])
        .arg(&program),
    );
    expect_failure(&run, 6, &["is a 32-bit x86 binary"]);
}

#[test]
fn a_debug_file_that_does_not_fit() {
    let fixture = Fixture::start(Build::Release, "busy", &[]);
    let pid = fixture.pid().to_string();
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage");
    fs::write(&garbage, "not an ELF file").unwrap();
    let fifo = folder.path().join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let binary = fs::read(Build::Release.folder().join("busy")).unwrap();
    let truncated = folder.path().join("truncated");
    fs::write(&truncated, &binary[..binary.len() / 2]).unwrap();
    let missing = folder.path().join("missing");
    let other = Build::Release.folder().join("panics");
    for (file, part) in [
        (&garbage, "not a readable ELF file"),
        (&fifo, "not a regular file"),
        (&truncated, "truncated"),
        (&missing, "No such file"),
        (&other, "the running binary has"),
        (&folder.path().to_owned(), "not a regular file"),
    ] {
        let run = output(asynctrace(&["probes", "--pid", &pid, "--debug-file"]).arg(file));
        expect_failure(&run, 7, &[part, &file.display().to_string()]);
    }
}

#[test]
fn what_a_stripped_or_plain_binary_lacks_is_said() {
    for (build, level, lines) in [
        (
            Build::Plain,
            "symbols only",
            &["[profile.release]", "debug = 2"][..],
        ),
        (
            Build::Stripped,
            "none: stripped",
            &["[profile.release]", "debug = 2", "strip = \"none\""],
        ),
    ] {
        let fixture = Fixture::start(build, "busy", &[]);
        let run = output(&mut asynctrace(&[
            "probes",
            "--pid",
            &fixture.pid().to_string(),
        ]));
        let stdout = String::from_utf8(run.stdout).unwrap();
        assert_eq!(run.status.code(), Some(0), "{stdout}");
        assert!(stdout.contains(level), "{stdout}");
        assert!(stdout.contains("Await trees"), "{stdout}");
        for line in lines {
            assert!(stdout.contains(line), "{line} in {stdout}");
        }
    }
}

#[test]
fn a_pattern_that_matches_no_future() {
    let fixture = Fixture::start(Build::Release, "busy", &[]);
    let pid = fixture.pid().to_string();
    let run = output(&mut asynctrace(&[
        "probes",
        "--pid",
        &pid,
        "--futures",
        "no::such*",
    ]));
    expect_failure(&run, 2, &["--futures 'no::such*'"]);
}

#[test]
fn a_target_that_ends_while_we_read() {
    use tracer_user::locate::{Process, TargetError, TargetSelector};
    let target = sleeper();
    let process = Process::find(&TargetSelector::Pid(target.0.id().cast_signed())).unwrap();
    drop(target);
    assert!(!process.is_alive());
    for result in [
        process.modules().map(drop),
        process.executable().map(drop),
        process.check_memory_access(),
    ] {
        assert!(
            matches!(result, Err(TargetError::Gone { .. })),
            "{result:?}"
        );
    }
    assert_eq!(process.threads(), []);
}

#[test]
fn a_command_that_does_not_start() {
    let run = output(&mut asynctrace(&[
        "probes",
        "--",
        "/no/such/program",
        "--flag",
    ]));
    expect_failure(
        &run,
        3,
        &["cannot start `/no/such/program --flag`", "No such file"],
    );
}

#[test]
fn a_command_keeps_its_output_off_our_results() {
    let busy = Build::Release.folder().join("busy");
    // The command keeps our standard error open after we have ended, so it cannot be a pipe here.
    let run = asynctrace(&["probes", "--json", "--"])
        .arg(busy)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .and_then(Child::wait_with_output)
        .unwrap();
    let value: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(value["schema"], 1);
    // What we started and left is not ended by us: end it here.
    let pid = i32::try_from(value["process"]["pid"].as_i64().unwrap()).unwrap();
    support::command::signal(pid, rustix::process::Signal::KILL);
}

#[test]
fn wrong_usage() {
    for arguments in [
        &[][..],
        &["dump"],
        &["dump", "-p", "1", "-n", "x"],
        &["fly"],
    ] {
        let run = output(&mut asynctrace(arguments));
        assert_eq!(run.status.code(), Some(2), "{arguments:?}");
        assert!(run.stdout.is_empty());
        assert!(String::from_utf8_lossy(&run.stderr).contains("Usage:"));
    }
    let run = output(&mut asynctrace(&["--help"]));
    assert_eq!(run.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&run.stdout).contains("Examples:"));
}

#[test]
fn a_reader_that_leaves_is_a_normal_end() {
    let fixture = Fixture::start(Build::Release, "busy", &[]);
    let pid = fixture.pid().to_string();
    for arguments in [
        &["probes", "--pid", &pid][..],
        &["probes", "--pid", &pid, "--json"],
        &["completions", "bash"],
        &["man"],
    ] {
        let mut child = asynctrace(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Closed before anything is written.
        drop(child.stdout.take());
        let run = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(0), "{arguments:?}: {stderr}");
        assert_eq!(stderr, "", "{arguments:?}");
    }
}

#[test]
fn manual_and_completions_are_generated() {
    let run = output(&mut asynctrace(&["man", "dump"]));
    assert!(String::from_utf8_lossy(&run.stdout).contains(".TH"));
    for shell in ["bash", "zsh", "fish"] {
        let run = output(&mut asynctrace(&["completions", shell]));
        assert!(String::from_utf8_lossy(&run.stdout).contains("asynctrace"));
    }
    let run = output(&mut asynctrace(&["man", "fly"]));
    expect_failure(&run, 2, &["no such subcommand"]);
}
