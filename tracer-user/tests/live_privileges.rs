//! Who may do what: with three capabilities everything, without ptrace rights nothing to others'
//! processes, and after the attach nobody keeps what is not needed. With the real command, as
//! `nobody`, with and without capabilities.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::Build;
use support::command::{asynctrace, signal};
use support::fixture::Fixture;
use support::kernel::{expect_no_probe, holder_of, wait_for_probes};

/// `nobody`.
const NOBODY: u32 = 65534;

fn patience() -> Duration {
    support::patience(60)
}

fn permitted() -> bool {
    match tracer_user::attach::permission::check() {
        Ok(()) if rustix::process::geteuid().is_root() => true,
        Ok(()) => {
            eprintln!("SKIPPED: only root can be somebody else");
            false
        }
        Err(error) => {
            eprintln!("SKIPPED, this machine cannot attach: {error}");
            false
        }
    }
}

/// A folder that everyone may enter and `nobody` owns, with copies of our program and a target.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for from in [
            PathBuf::from(env!("CARGO_BIN_EXE_asynctrace")),
            Build::Release.folder().join("survivor"),
            Build::Release.folder().join("idle"),
        ] {
            fs::copy(&from, folder.path().join(from.file_name().unwrap())).unwrap();
        }
        std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `nobody` with these capabilities of their own, as `setpriv` takes them.
    fn nobody(&self, program: &str, capabilities: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        if !capabilities.is_empty() {
            command.arg(format!("--inh-caps={capabilities}"));
            command.arg(format!("--ambient-caps={capabilities}"));
        }
        command
            .arg(self.path(program))
            .current_dir(self.folder.path())
            .env_remove("SUDO_UID")
            .env_remove("SUDO_GID");
        command
    }

    /// A target that belongs to `nobody`.
    fn own_target(&self) -> Fixture {
        Fixture::of(self.nobody("survivor", "").args(["--mode", "plain"]))
    }

    /// A target that belongs to root.
    fn target_of_root(&self) -> Fixture {
        Fixture::of(Command::new(self.path("survivor")).args(["--mode", "plain"]))
    }

    /// Gives our program's file capabilities (revision 2 of `struct vfs_cap_data`, effective).
    fn lend(&self, capabilities: &[u32]) -> bool {
        let bits = capabilities.iter().fold(0_u64, |bits, bit| bits | 1 << bit);
        let low = u32::try_from(bits & 0xffff_ffff).unwrap();
        let high = u32::try_from(bits >> 32).unwrap();
        let words = [0x0200_0001, low, 0, high, 0];
        let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let file = self.path("asynctrace");
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&file, "security.capability", &value, flags).unwrap();
        let flags = rustix::fs::statvfs(&file).unwrap().f_flag;
        let counts = !flags.contains(rustix::fs::StatVfsMountFlags::NOSUID);
        if !counts {
            eprintln!(
                "SKIPPED: capabilities of files do not count where {} is",
                file.display()
            );
        }
        counts
    }
}

const SYS_PTRACE: u32 = 19;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// What is said when the probes are not held by a process of their own.
const NOT_APART: &str = "no process of its own";

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn expect(output: &Output, codes: &[i32]) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code();
    assert!(
        code.is_some_and(|code| codes.contains(&code)),
        "{}: {said}",
        output.status
    );
    said
}

#[test]
fn live_three_capabilities_are_enough_for_everything() {
    if !permitted() {
        return;
    }
    let place = Place::new();
    let target = place.target_of_root();
    let pid = target.pid().to_string();
    let capabilities = "+bpf,+perfmon,+sys_ptrace";
    for (arguments, codes) in [
        (&["probes"][..], &[0][..]),
        (&["dump"], &[0]),
        (&["check", "--now"], &[0, 10]),
        (&["check", "-d", "0.5"], &[0, 10]),
        (&["attach", "-d", "0.5", "-o", "attached"], &[0]),
        (&["record", "-d", "1", "--exact-polls", "-o", "trace"], &[0]),
    ] {
        let mut command = place.nobody("asynctrace", capabilities);
        let output = run(command.args(arguments).args(["--pid", &pid]));
        let said = expect(&output, codes);
        assert!(
            !said.contains("refused") && !said.contains("not seen"),
            "{said}"
        );
        assert!(!said.contains(NOT_APART), "{said}");
    }
    let made = fs::metadata(place.path("trace")).unwrap();
    assert_eq!((made.uid(), made.gid()), (NOBODY, NOBODY));
    let trace = place.path("trace");
    let report = run(&mut asynctrace(&[
        "report",
        "--json",
        trace.to_str().unwrap(),
    ]));
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert!(
        report.to_string().contains("survivor::chapter::station"),
        "{report}"
    );
    // Root's target, and not one capability more.
    for (capabilities, missing) in [
        ("+bpf,+perfmon", "CAP_SYS_PTRACE"),
        ("+bpf,+sys_ptrace", "CAP_PERFMON"),
        ("+perfmon,+sys_ptrace", "CAP_BPF"),
    ] {
        let mut command = place.nobody("asynctrace", capabilities);
        let output = run(command.args(["record", "-d", "1", "-o", "no", "--pid", &pid]));
        let said = expect(&output, &[4]);
        assert!(
            said.contains(missing) && said.contains("run: sudo "),
            "{said}"
        );
        assert!(!place.path("no").exists());
    }
    // A target of their own is theirs to read.
    let own = place.own_target();
    let mut command = place.nobody("asynctrace", "+bpf,+perfmon");
    let output = run(command
        .args(["record", "-d", "0.5", "-o", "own"])
        .args(["--pid", &own.pid().to_string()]));
    let said = expect(&output, &[0]);
    assert!(!said.contains(NOT_APART), "{said}");
    expect_no_probe(own.pid());
    expect_no_probe(target.pid());
}

/// The links of `/proc/PID/fd` of another user's process are not for who has `CAP_SYS_PTRACE` only:
/// its sockets are told all the same, and nothing open is told to be closed.
#[test]
fn live_sockets_of_another_users_process_are_told() {
    if !permitted() {
        return;
    }
    let place = Place::new();
    let mut command = Command::new(place.path("idle"));
    let target = Fixture::of(command.args(["--connections", "8", "--talk", "0"]));
    let mut command = place.nobody("asynctrace", "+sys_ptrace");
    let output = run(command.args(["dump", "--json", "--pid", &target.pid().to_string()]));
    let said = expect(&output, &[0]);
    let told = String::from_utf8(output.stdout).unwrap();
    let listens = told.matches("\"socket_state\":\"listen\"").count();
    let connected = told.matches("\"socket_state\":\"established\"").count();
    assert!(listens == 1 && connected >= 8, "{told}");
    assert!(!told.contains("not open any more"), "{told}{said}");
    // Who cannot become root is not told to.
    let mut command = Command::new("setpriv");
    command.args(["--no-new-privs", "--reuid=65534", "--regid=65534"]);
    command
        .args(["--clear-groups"])
        .arg(place.path("asynctrace"));
    let output = run(command.args(["dump", "--pid", &target.pid().to_string()]));
    let said = expect(&output, &[4]);
    assert!(
        said.contains("AmbientCapabilities=CAP_SYS_PTRACE") && !said.contains("sudo"),
        "{said}"
    );
}

/// Root reads them by `CAP_DAC_READ_SEARCH` and executes ours by `CAP_DAC_OVERRIDE`, which the process
/// that holds the probes has not.
#[test]
fn live_programs_that_only_their_owner_may_read_are_traced_by_root() {
    if !permitted() {
        return;
    }
    let place = Place::new();
    for name in ["asynctrace", "survivor"] {
        let program = place.path(name);
        std::os::unix::fs::chown(&program, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let target = place.own_target();
    let mut command = Command::new(place.path("asynctrace"));
    let trace = place.path("trace");
    command.args(["record", "-d", "0.5", "-o", trace.to_str().unwrap()]);
    let output = run(command.args(["--pid", &target.pid().to_string()]));
    let said = expect(&output, &[0]);
    assert!(!said.contains(NOT_APART), "{said}");
    expect_no_probe(target.pid());
}

/// One thread's rights.
fn rights(status: &str, name: &str) -> u64 {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
}

/// CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_SYS_NICE.
const READING: u64 = 1 << 2 | 1 << SYS_PTRACE | 1 << 23;

#[test]
fn live_after_the_attach_only_reading_is_left() {
    if permitted() {
        rights_of_a_record("none", READING);
    }
}

/// A budget that is kept by windows sets probes again and again: by the process that holds them.
#[test]
fn live_with_a_budget_only_reading_is_left_too() {
    if permitted() {
        rights_of_a_record("0.5", READING);
    }
}

fn rights_of_a_record(budget: &str, left: u64) {
    let place = Place::new();
    let target = place.target_of_root();
    let trace = place.path("trace");
    let tracer = asynctrace(&["record", "-d", "60", "-o", trace.to_str().unwrap()])
        .args(["--max-overhead", budget])
        .args(["--pid", &target.pid().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_probes(target.pid());
    let begin = Instant::now();
    loop {
        let tasks = fs::read_dir(format!("/proc/{}/task", tracer.id())).unwrap();
        let statuses: Vec<String> = tasks
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok())
            .collect();
        let too_much: Vec<&String> = statuses
            .iter()
            .filter(|status| {
                let sets = ["CapPrm", "CapEff", "CapBnd"].map(|name| rights(status, name));
                sets.iter().any(|set| set & !left != 0)
                    || rights(status, "CapInh") | rights(status, "CapAmb") != 0
                    || !status.contains("NoNewPrivs:\t1")
            })
            .collect();
        // The threads that follow are there, and they can still read.
        if too_much.is_empty() && statuses.len() >= 4 {
            let keeps = |status: &String| rights(status, "CapEff") == left;
            assert!(statuses.iter().all(keeps));
            break;
        }
        let threads = statuses.len();
        assert!(
            begin.elapsed() < patience(),
            "{threads} threads: {too_much:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    // The process that holds the probes can set them, and nothing else.
    let holder = holder_of(tracer.id().cast_signed()).expect("a process that holds the probes");
    let status = fs::read_to_string(format!("/proc/{holder}/status")).unwrap();
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(rights(&status, name), 1 << BPF | 1 << PERFMON, "{status}");
    }
    assert_eq!(
        rights(&status, "CapInh") | rights(&status, "CapAmb"),
        0,
        "{status}"
    );
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    std::thread::sleep(Duration::from_millis(1500));
    signal(tracer.id().cast_signed(), rustix::process::Signal::INT);
    let run = tracer.wait_with_output().unwrap();
    let said = expect(&run, &[0]);
    assert!(!said.contains("permitted"), "{said}");
    expect_no_probe(target.pid());
    let report = run_report(&trace);
    expect(&report, &[0]);
}

fn run_report(trace: &Path) -> Output {
    run(&mut asynctrace(&["report", trace.to_str().unwrap()]))
}

#[test]
fn live_rights_that_the_file_lends_open_nobody_elses_process() {
    if !permitted() {
        return;
    }
    let place = Place::new();
    if !place.lend(&[BPF, PERFMON, SYS_PTRACE]) {
        return;
    }
    let (own, foreign) = (place.own_target(), place.target_of_root());
    let record = |target: &Fixture, capabilities: &str| {
        let mut command = place.nobody("asynctrace", capabilities);
        let pid = target.pid().to_string();
        run(command.args(["record", "-d", "0.5", "-o", "trace", "--pid", &pid]))
    };
    // What is theirs.
    let said = expect(&record(&own, ""), &[0]);
    assert!(!said.contains(NOT_APART), "{said}");
    // What is not: the file's CAP_SYS_PTRACE does not count.
    let said = expect(&record(&foreign, ""), &[4]);
    assert!(
        said.contains("not permitted") && said.contains("CAP_SYS_PTRACE"),
        "{said}"
    );
    for subcommand in [&["dump"][..], &["probes"], &["check", "--now"]] {
        let pid = foreign.pid().to_string();
        let mut command = place.nobody("asynctrace", "");
        expect(&run(command.args(subcommand).args(["--pid", &pid])), &[4]);
    }
    // A process that was root's, and gave it up, does not let itself be read.
    let fallen = Fixture::of(Command::new(place.path("survivor")).args(["--mode", "setuid"]));
    assert!(
        std::iter::repeat_with(|| fallen.next_line(patience())).any(|line| line["nobody"] == true)
    );
    expect(&record(&fallen, ""), &[4]);
    // Whoever has the right by themselves (pam_cap) may use it.
    let said = expect(&record(&foreign, "+sys_ptrace"), &[0]);
    assert!(!said.contains(NOT_APART), "{said}");
    for target in [&own, &foreign, &fallen] {
        expect_no_probe(target.pid());
    }
}

#[test]
fn live_a_set_user_id_program_is_refused() {
    if !permitted() {
        return;
    }
    let place = Place::new();
    if !place.lend(&[]) {
        return;
    }
    let program = place.path("asynctrace");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let output = run(place
        .nobody("asynctrace", "")
        .args(["record", "-o", "x", "--", "id"]));
    let said = expect(&output, &[4]);
    assert!(
        said.contains("set-user-ID") && said.contains("setcap cap_bpf,cap_perfmon+ep"),
        "{said}"
    );
    assert!(
        output.stdout.is_empty() && !said.contains("uid="),
        "nothing was started: {said}"
    );
}

#[test]
fn live_what_root_writes_is_the_sudo_users_and_goes_through_no_foreign_link() {
    if !permitted() {
        return;
    }
    let place = Place::new();
    let target = place.target_of_root();
    let pid = target.pid().to_string();
    let as_sudo = |output: &Path, user: u32| {
        let mut command = asynctrace(&["record", "-d", "0.3", "--pid", &pid, "-o"]);
        let id = user.to_string();
        run(command
            .arg(output)
            .env("SUDO_UID", &id)
            .env("SUDO_GID", &id))
    };
    let trace = place.path("trace");
    expect(&as_sudo(&trace, NOBODY), &[0]);
    let made = fs::metadata(&trace).unwrap();
    assert_eq!((made.uid(), made.gid()), (NOBODY, NOBODY));
    // What is made of it, too.
    for arguments in [
        &["export", "trace", "-f", "folded", "-o", "folded"][..],
        &["report", "trace", "--html", "page.html"],
    ] {
        let mut command = asynctrace(arguments);
        let id = NOBODY.to_string();
        command.current_dir(place.folder.path());
        expect(
            &run(command.env("SUDO_UID", &id).env("SUDO_GID", &id)),
            &[0],
        );
        let made = fs::metadata(place.path(arguments.last().unwrap())).unwrap();
        assert_eq!((made.uid(), made.gid()), (NOBODY, NOBODY), "{arguments:?}");
    }

    // `nobody` owns the folder, and puts a link to a file of root's there. Another user runs sudo.
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "secret").unwrap();
    let link = place.path("link");
    symlink(secret.path(), &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(NOBODY), Some(NOBODY)).unwrap();
    let said = expect(&as_sudo(&link, 12_345), &[4]);
    assert!(said.contains("a link of another user"), "{said}");
    for arguments in [
        &["export", "trace", "-f", "folded", "-o", "link"][..],
        &["report", "trace", "--html", "link"],
    ] {
        let mut command = asynctrace(arguments);
        command.current_dir(place.folder.path());
        command.env_remove("SUDO_UID");
        let said = expect(&run(&mut command), &[4]);
        assert!(said.contains("a link of another user"), "{said}");
    }
    assert_eq!(fs::read_to_string(secret.path()).unwrap(), "secret");
    expect_no_probe(target.pid());
}
