//! Stacks of a live program, unwound without stopping it, against the calls in its source.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tracer_user::dwarf::{DebugInfo, Scopes};
use tracer_user::locate::{Process, TargetSelector};
use tracer_user::memory::Memory;
use tracer_user::object::DebugSource;
use tracer_user::unwind::stack::StackCopy;
use tracer_user::unwind::{FrameView, LoadedFiles, Place, StackEnd};

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

/// Starts the program and waits until its main thread is where it stays.
fn start(program: &Path) -> (Target, Process) {
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
    (target, process)
}

/// A copy of a thread's stack as soon as it is blocked.
fn capture(process: &Process, tid: i32) -> StackCopy {
    (0..100)
        .find_map(|_| {
            std::thread::sleep(Duration::from_millis(2));
            StackCopy::capture(process.pid, tid, &process.memory()).ok()
        })
        .unwrap_or_else(|| panic!("thread {tid} is never seen blocked"))
}

/// The names of the program's own functions on each thread's stack, innermost first, and why the
/// stack ends.
fn stacks(program: &Path) -> Vec<(Vec<String>, StackEnd)> {
    let (_target, process) = start(program);
    let files = LoadedFiles::open(&process).unwrap();
    let modules = files.modules();
    let executable = files.executable().unwrap();
    let binary = files.binary(executable).unwrap();
    process
        .threads()
        .iter()
        .map(|thread| {
            let stack = capture(&process, thread.tid).unwind(&modules);
            let names = stack
                .frames
                .iter()
                .filter(|frame| frame.module == executable)
                .filter_map(|frame| binary.function_at(frame.link))
                .map(|symbol| symbol.demangled())
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

/// Inlined functions are scopes of their own, and variables have the values of the source.
#[test]
fn live_scopes_and_variables_are_those_of_the_source() {
    let out = tempfile::tempdir().unwrap();
    for options in [
        &["-g", "-C", "opt-level=0"][..],
        &["-g", "-C", "opt-level=0", "-C", "dwarf-version=5"],
        &["-g", "-C", "opt-level=3"],
    ] {
        let program = compile(options, out.path());
        let (_target, process) = start(&program);
        let files = LoadedFiles::open(&process).unwrap();
        let modules = files.modules();
        let executable = files.executable().unwrap();
        let binary = files.binary(executable).unwrap();
        let source = DebugSource::find(Arc::clone(binary), &process, None).unwrap();
        let info = DebugInfo::load(&source).unwrap();
        let scopes = Scopes::new(info.units());
        let copy = capture(&process, process.pid);
        let stack = copy.unwind(&modules);
        let mut names = Vec::new();
        let mut depths = Vec::new();
        for (index, frame) in stack.frames.iter().enumerate() {
            if frame.module != executable {
                continue;
            }
            let view = FrameView {
                frame,
                caller: stack.frames.get(index + 1),
                bias: modules.get(executable).unwrap().bias,
                memory: &copy,
            };
            for scope in scopes.at(frame.link) {
                let function = scopes.function(scope.function);
                let name = function.name.unwrap_or_default();
                if ["inner", "middle", "outer", "through", "main"].contains(&name) {
                    names.push((name, scope.inlined));
                }
                let depth = scope
                    .variables
                    .iter()
                    .find(|variable| name == "middle" && variable.name == Some("depth"));
                if let Some(depth) = depth {
                    match view.locate(info.units(), &scope, depth, 4) {
                        Ok(Place::Memory(at)) => depths.push(copy.u32(at).unwrap()),
                        Ok(Place::Bytes(bytes)) => {
                            let bytes: Option<Vec<u8>> = bytes.into_iter().collect();
                            let bytes = bytes.unwrap().try_into().unwrap();
                            depths.push(u32::from_le_bytes(bytes));
                        }
                        // Optimised code need not keep it; then it says so.
                        Err(error) => assert!(options.contains(&"opt-level=3"), "{error}"),
                    }
                }
            }
        }
        let optimised = options.contains(&"opt-level=3");
        let mut expected = vec![("inner", false)];
        expected.extend([("middle", false); 4]);
        expected.extend([("through", true), ("outer", false), ("main", false)]);
        assert_eq!(names, expected, "{options:?}");
        if !optimised {
            assert_eq!(depths, [0, 1, 2, 3], "{options:?}");
        }
    }
}
