//! Stacks of a live program, unwound without stopping it, against the calls in its source.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what went wrong by panicking"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tracer_user::locate::{Process, TargetSelector};
use tracer_user::unwind::stack::StackCopy;
use tracer_user::unwind::{LoadedFiles, StackEnd};

fn compile(options: &[&str], out: &Path) -> PathBuf {
    let program = out.join("nested");
    let status = Command::new("rustc")
        .args(["--edition", "2024", "-C", "strip=none", "-o"])
        .arg(&program)
        .args(options)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/programs/nested.rs"
        ))
        .status()
        .unwrap();
    assert!(status.success());
    program
}

/// Ends the target with the test, whatever happens.
struct Target(Child);

impl Drop for Target {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The names of the program's own functions on each thread's stack, innermost first, and why the
/// stack ends.
fn stacks(program: &Path) -> Vec<(Vec<String>, StackEnd)> {
    let mut target = Target(
        Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    BufReader::new(target.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    let pid = i32::try_from(target.0.id()).unwrap();
    let process = Process::find(&TargetSelector::Pid(pid)).unwrap();
    let files = LoadedFiles::open(&process).unwrap();
    let modules = files.modules();
    let executable = files.executable().unwrap();
    let binary = files.binary(executable).unwrap();
    process
        .threads()
        .iter()
        .map(|thread| {
            let copy = (0..100)
                .find_map(|_| {
                    std::thread::sleep(Duration::from_millis(2));
                    StackCopy::capture(pid, thread.tid, &process.memory()).ok()
                })
                .unwrap_or_else(|| panic!("thread {} is never seen blocked", thread.tid));
            let stack = copy.unwind(&modules);
            let names = stack
                .frames
                .iter()
                .filter(|frame| frame.module == executable)
                .filter_map(|frame| binary.function_at(frame.link))
                .map(|symbol| format!("{:#}", symbol.demangled()))
                .filter(|name| name.starts_with("nested::"))
                .collect();
            (names, stack.end)
        })
        .collect()
}

#[test]
fn live_stacks_are_the_calls_in_the_source() {
    let out = tempfile::tempdir().unwrap();
    for options in [
        &["-C", "opt-level=0"][..],
        &["-C", "opt-level=3"],
        &["-C", "opt-level=3", "-C", "panic=abort"],
        &["-C", "opt-level=3", "-C", "force-frame-pointers=yes"],
        &["-C", "opt-level=3", "-C", "target-feature=+crt-static"],
    ] {
        let program = compile(options, out.path());
        let [(main, main_end), (parked, parked_end)] = &stacks(&program)[..] else {
            panic!("{options:?}: not two threads");
        };
        let mut expected = vec!["inner"];
        // An optimiser may turn the recursion of `middle` into a loop.
        let recursion = main.iter().filter(|name| *name == "nested::middle").count();
        let unrolled = options[1] != "opt-level=0";
        assert!(recursion == 4 || unrolled, "{options:?}: {main:?}");
        expected.extend(vec!["middle"; recursion]);
        expected.extend(["outer", "main"]);
        let expected: Vec<String> = expected
            .iter()
            .map(|name| format!("nested::{name}"))
            .collect();
        assert_eq!(*main, expected, "{options:?}");
        assert!(
            parked.iter().any(|name| name == "nested::parked"),
            "{options:?}: {parked:?}"
        );
        // With panic=abort rustc writes no call frame information for the C `main`.
        let no_rules_for_main =
            matches!(main_end, StackEnd::NoRules { .. }) && options.contains(&"panic=abort");
        assert!(
            *main_end == StackEnd::Outermost || no_rules_for_main,
            "{options:?}: {main_end:?}"
        );
        assert_eq!(*parked_end, StackEnd::Outermost, "{options:?}");
    }
}
