//! Fixture programs and hand-made plans for live tests of attaching.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Once};

use tracer_common::{ArgumentRegister, ProbeKind};
use tracer_user::object::Binary;
use tracer_user::plan::{Instruction, Method, Plan, Probe, ProbedFile};

/// A running fixture, killed when dropped.
pub(crate) struct Fixture {
    pub(crate) child: Child,
    pub(crate) exe: PathBuf,
    output: BufReader<ChildStdout>,
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Builds the fixtures if they are not, and returns the folder of the release profile. In the
/// emulated machine of `cargo xtask vm`, where there is no cargo, `ASYNCTRACE_FIXTURES` names the
/// folder of all profiles.
fn fixtures() -> PathBuf {
    if let Some(folder) = std::env::var_os("ASYNCTRACE_FIXTURES") {
        return PathBuf::from(folder).join("release");
    }
    static BUILT: Once = Once::new();
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from)
        .join("fixtures");
    BUILT.call_once(|| {
        let status = Command::new("cargo")
            .args(["build", "--quiet", "--release", "--locked"])
            .arg("--manifest-path")
            .arg(workspace().join("fixtures/Cargo.toml"))
            .env("CARGO_TARGET_DIR", &target)
            .status()
            .unwrap();
        assert!(status.success(), "the fixtures do not build");
    });
    target.join("release")
}

impl Fixture {
    /// Starts a fixture and waits until it says that it is ready.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let exe = fixtures().join(name);
        let mut child = Command::new(&exe)
            .args(arguments)
            .env("FIXTURE_SECONDS", "120")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut fixture = Self { child, exe, output };
        fixture.line_with("ready");
        fixture
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// The next line that contains `word`.
    pub(crate) fn line_with(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            let length = self.output.read_line(&mut line).unwrap();
            assert_ne!(length, 0, "the fixture ended before it said {word}");
            if line.contains(word) {
                return line;
            }
        }
    }

    /// A number out of the next line that has it.
    pub(crate) fn number(&mut self, name: &str) -> u64 {
        let line = self.line_with(&format!("\"{name}\""));
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        json[name].as_u64().unwrap()
    }

    /// Lets a fixture that was started with `--wait` go.
    pub(crate) fn go(&mut self) {
        use std::io::Write as _;
        let mut input = self.child.stdin.take().unwrap();
        input.write_all(b"\n").unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether live tests can run here; says why not.
pub(crate) fn permitted() -> bool {
    match tracer_user::attach::permission::check() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("SKIPPED, this machine cannot attach: {error}");
            false
        }
    }
}

/// A probe at the entry of each function of tokio that matters, found by symbol.
pub(crate) fn tokio_plan(exe: &Path, pid: i32) -> Plan {
    let mut plan = Plan::default();
    add_symbols(&mut plan, exe, pid, |name| {
        let task = "tokio::runtime::task";
        Some(match name {
            _ if name == format!("{task}::raw::poll") => {
                (ProbeKind::TaskPoll, ArgumentRegister::Rdi)
            }
            _ if name == format!("{task}::waker::wake_by_val") => {
                (ProbeKind::WakeByValue, ArgumentRegister::Rdi)
            }
            _ if name == format!("{task}::waker::wake_by_ref") => {
                (ProbeKind::WakeByReference, ArgumentRegister::Rdi)
            }
            _ if name == format!("{task}::waker::clone_waker") => {
                (ProbeKind::WakerClone, ArgumentRegister::Rdi)
            }
            _ if name == format!("{task}::waker::drop_waker") => {
                (ProbeKind::WakerDrop, ArgumentRegister::Rdi)
            }
            _ if name.ends_with("::bind_inner") && name.contains("OwnedTasks") => {
                (ProbeKind::Spawn, ArgumentRegister::Rsi)
            }
            _ => return None,
        })
    });
    assert!(
        plan.probes
            .iter()
            .any(|probe| probe.kind == ProbeKind::TaskPoll),
        "{} has no raw::poll",
        exe.display()
    );
    plan
}

/// Adds a probe at the entry of every function that `choose` wants.
pub(crate) fn add_symbols(
    plan: &mut Plan,
    exe: &Path,
    pid: i32,
    choose: impl Fn(&str) -> Option<(ProbeKind, ArgumentRegister)>,
) {
    let binary = Binary::open(exe).unwrap();
    let file = Arc::new(ProbedFile::at(PathBuf::from(format!("/proc/{pid}/exe"))));
    for symbol in binary.symbols() {
        let name = symbol.demangled();
        // Legacy names end in a hash, v0 names in generics.
        let plain = name
            .rsplit_once("::h")
            .filter(|(_, hash)| hash.len() == 16)
            .map_or(name.as_str(), |(rest, _)| rest);
        let plain = plain.split("::<").next().unwrap_or(plain);
        let Some((kind, argument)) = choose(plain) else {
            continue;
        };
        let Some(file_offset) = binary.file_offset(symbol.address) else {
            continue;
        };
        if plan
            .probes
            .iter()
            .any(|probe| probe.file_offset == file_offset)
        {
            continue;
        }
        plan.probes.push(Probe {
            kind,
            name: plain.into(),
            function: symbol.address,
            instruction: Instruction {
                offset_in_function: 0,
                text: String::new(),
                method: Method::SingleStepped,
                pushed: 0,
            },
            file_offset,
            file: Arc::clone(&file),
            argument,
            // tokio 1.54 (runtimes.md): Header 32 bytes, scheduler, then the id.
            task_id_offset: 40,
        });
    }
}
