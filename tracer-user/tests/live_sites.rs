//! The chosen instructions in practice: a probe there is hit as often as one at the entry.
//!
//! Counted by the kernel's own uprobe events (tracefs), not by our BPF programs. Needs root; says
//! so and passes where tracefs cannot be written.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use support::Build;
use support::fixture::Fixture;
use tracer_common::ProbeKind;
use tracer_user::locate::{Process, TargetSelector};
use tracer_user::object::{Binary, DebugSource};
use tracer_user::plan::{Method, Names, Plan, Request, Rules, make};

/// The kernel's tracing directory, mounted by this test where it is not.
fn tracefs() -> Option<PathBuf> {
    let path = PathBuf::from("/sys/kernel/tracing");
    if !path.join("uprobe_events").exists() {
        let _ = Command::new("mount")
            .args(["-t", "tracefs", "none", "/sys/kernel/tracing"])
            .status();
    }
    OpenOptions::new()
        .append(true)
        .open(path.join("uprobe_events"))
        .is_ok()
        .then_some(path)
}

/// Uprobe events of a group of our own, removed when dropped.
struct Events {
    tracefs: PathBuf,
    group: String,
    names: Vec<String>,
}

impl Events {
    fn new(tracefs: PathBuf) -> Self {
        let group = format!("asynctrace_test_{}", std::process::id());
        fs::create_dir(tracefs.join("instances").join(&group)).unwrap();
        Self {
            tracefs,
            group,
            names: Vec::new(),
        }
    }

    fn command(&self, line: &str) -> std::io::Result<()> {
        OpenOptions::new()
            .append(true)
            .open(self.tracefs.join("uprobe_events"))?
            .write_all(line.as_bytes())
    }

    fn add(&mut self, name: String, file: &Path, offset: u64) {
        let line = format!("p:{}/{name} {}:{offset:#x}\n", self.group, file.display());
        self.command(&line).unwrap();
        self.names.push(name);
    }

    /// Switches all events of the group; an instance of its own keeps others' buffers clean.
    fn enable(&self, on: bool) {
        let group = format!("instances/{0}/events/{0}/enable", self.group);
        fs::write(self.tracefs.join(group), if on { "1" } else { "0" }).unwrap();
    }

    /// Hits by name.
    fn counts(&self) -> BTreeMap<String, u64> {
        fs::read_to_string(self.tracefs.join("uprobe_profile"))
            .unwrap()
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace().skip(1);
                let (name, count) = (words.next()?, words.next()?);
                let ours = self.names.iter().any(|own| own == name);
                Some((name.to_owned(), count.parse().ok()?)).filter(|_| ours)
            })
            .collect()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let group = format!("instances/{0}/events/{0}/enable", self.group);
        let _ = fs::write(self.tracefs.join(group), "0");
        for name in &self.names {
            let _ = self.command(&format!("-:{}/{name}\n", self.group));
        }
        let _ = fs::remove_dir(self.tracefs.join("instances").join(&self.group));
    }
}

fn plan_of(pid: i32) -> Plan {
    let process = Process::find(&TargetSelector::Pid(pid)).unwrap();
    let module = process.executable().unwrap();
    let binary = Arc::new(Binary::of_module(&module).unwrap());
    let source = DebugSource::find(binary, &process, None).unwrap();
    make(Request {
        module: &module,
        source: &source,
        names: &Names::default(),
        futures: &[],
        exact_polls: false,
        rules: Rules::of_this_kernel(),
    })
    .unwrap()
}

#[test]
fn a_chosen_instruction_is_passed_once_a_call() {
    let Some(tracefs) = tracefs() else {
        eprintln!("not tried: tracefs is not writable here (needs root)");
        return;
    };
    let fixture = Fixture::start(Build::Release, "busy", &[]);
    let plan = plan_of(fixture.pid());
    let file = Build::Release.folder().join("busy");
    let mut events = Events::new(tracefs);
    let moved: Vec<_> = plan
        .probes
        .iter()
        .enumerate()
        .filter(|(_, probe)| probe.instruction.offset_in_function > 0)
        .collect();
    assert!(!moved.is_empty());
    for (index, probe) in &moved {
        assert_eq!(probe.instruction.method, Method::Emulated);
        let entry = probe.file_offset.0 - probe.instruction.offset_in_function;
        events.add(format!("p{index}_entry"), &file, entry);
        events.add(format!("p{index}_site"), &file, probe.file_offset.0);
    }
    // Events are switched one after the other, over tenths of a second: what counts is the hits
    // between two readings while all are on.
    events.enable(true);
    std::thread::sleep(Duration::from_millis(200));
    let before = events.counts();
    std::thread::sleep(Duration::from_millis(1500));
    let after = events.counts();
    events.enable(false);
    let counts: BTreeMap<_, _> = after
        .iter()
        .map(|(name, count)| (name.clone(), count - before[name]))
        .collect();
    let mut hits = 0;
    for (index, probe) in &moved {
        let entry = counts[&format!("p{index}_entry")];
        let site = counts[&format!("p{index}_site")];
        hits += entry;
        // The lines of one reading are some hits apart.
        let slack = 50 + entry / 500;
        if probe.kind == ProbeKind::WakeByReference {
            // Attempts that lose a race count again.
            assert!(site + slack >= entry, "{}: {site} of {entry}", probe.name);
            assert!(
                site <= entry + entry / 10 + slack,
                "{}: {site} of {entry}",
                probe.name
            );
        } else {
            assert!(
                site.abs_diff(entry) <= slack,
                "{}: {site} of {entry}",
                probe.name
            );
        }
        eprintln!("{}: entry {entry}, site {site}", probe.name);
    }
    assert!(hits > 1000, "a busy program: {counts:?}");
}
