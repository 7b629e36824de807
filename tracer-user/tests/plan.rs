//! Plans of real binaries: every build of the fixtures.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use support::Build;
use support::fixture::Fixture;
use tracer_common::ProbeKind;
use tracer_user::address::LinkAddress;
use tracer_user::locate::{Process, TargetSelector};
use tracer_user::memory::Memory;
use tracer_user::object::{Binary, DebugSource};
use tracer_user::plan::{
    Method, Names, Plan, Request, Rules, Unseen, make, task_vtables, versions_of,
};

/// The fixture that spawns most kinds of task.
const FIXTURE: &str = "leaves";

fn plan_of(pid: i32) -> (Plan, Arc<Binary>, Process) {
    let process = Process::find(&TargetSelector::Pid(pid)).unwrap();
    let module = process.executable().unwrap();
    let binary = Arc::new(Binary::of_module(&module).unwrap());
    let source = DebugSource::find(Arc::clone(&binary), &process, None).unwrap();
    let plan = make(Request {
        module: &module,
        source: &source,
        names: &Names::default(),
        futures: &[],
        exact_polls: false,
        rules: Rules { long_nops: true },
    })
    .unwrap();
    (plan, binary, process)
}

fn functions(plan: &Plan) -> BTreeMap<ProbeKind, BTreeSet<LinkAddress>> {
    let mut by_kind: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for probe in &plan.probes {
        by_kind
            .entry(probe.kind)
            .or_default()
            .insert(probe.function);
    }
    by_kind
}

/// Addresses that `nm`, which is not ours, names so.
fn by_nm(path: &Path, part: &str) -> BTreeSet<LinkAddress> {
    let output = std::process::Command::new("nm").arg(path).output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter(|line| line.contains(part))
        .map(|line| LinkAddress(u64::from_str_radix(&line[..16], 16).unwrap()))
        .collect()
}

#[test]
fn every_poll_of_every_build_is_probed_where_its_bytes_are() {
    for build in [Build::Dev, Build::Release, Build::Lto, Build::Plain] {
        let fixture = Fixture::start(build, FIXTURE, &[]);
        let (plan, binary, process) = plan_of(fixture.pid());
        let module = process.executable().unwrap();
        let by_kind = functions(&plan);
        let file = build.folder().join(FIXTURE);
        let polls = by_nm(&file, "5tokio7runtime4task3raw4poll17h");
        assert!(polls.len() > 10, "{build:?}: {polls:?}");
        assert_eq!(by_kind[&ProbeKind::TaskPoll], polls, "{build:?}");
        for (kind, part) in [
            (ProbeKind::WakeByValue, "5waker11wake_by_val17h"),
            (ProbeKind::WakeByReference, "5waker11wake_by_ref17h"),
            (ProbeKind::WakerClone, "5waker11clone_waker17h"),
            (ProbeKind::WakerDrop, "5waker10drop_waker17h"),
        ] {
            let part = format!("5tokio7runtime4task{part}");
            assert_eq!(by_kind[&kind], by_nm(&file, &part), "{build:?} {kind:?}");
        }
        assert!(by_kind.contains_key(&ProbeKind::Spawn), "{build:?}");
        // Every task poll has its id, and every vtable in memory leads to one of the polls.
        for probe in &plan.probes {
            assert_eq!(
                probe.task_id_offset != 0,
                probe.kind == ProbeKind::TaskPoll,
                "{build:?} {}",
                probe.name
            );
        }
        for (vtable, _) in &plan.task_id_offsets {
            let poll = process.memory().pointer(*vtable).unwrap();
            assert!(
                polls.contains(&module.bias.to_link(poll)),
                "{build:?} {vtable}"
            );
        }
        // The planned instruction is what the process runs.
        let raw = std::fs::read(&file).unwrap();
        for probe in &plan.probes {
            let at = probe.function.add(probe.instruction.offset_in_function);
            let in_memory = process
                .memory()
                .bytes(module.bias.to_address(at), 4)
                .unwrap();
            let start = usize::try_from(probe.file_offset.0).unwrap();
            assert_eq!(raw[start..start + 4], in_memory, "{build:?} {}", probe.name);
            assert_eq!(binary.bytes_at(at, 4), Some(&*in_memory));
        }
        assert_eq!(versions_of(&binary, "tokio").len(), 1, "{build:?}");
    }
}

/// `Stripped` is `Plain` after `strip`, so the addresses must be the same.
#[test]
fn a_stripped_binary_has_the_same_polls_and_wakers() {
    let plain = Fixture::start(Build::Plain, FIXTURE, &[]);
    let stripped = Fixture::start(Build::Stripped, FIXTURE, &[]);
    let (with_symbols, ..) = plan_of(plain.pid());
    let (without, binary, _) = plan_of(stripped.pid());
    assert!(!binary.has_symbol_table());
    let mut expected = functions(&with_symbols);
    // What only a symbol tells is said to be unseen.
    for (kind, what) in [
        (ProbeKind::Spawn, "spawns"),
        (ProbeKind::IoReady, "which I/O resource"),
        (ProbeKind::TimerFired, "that a timer"),
        (ProbeKind::Abort, "who aborted"),
        (ProbeKind::Panic, "returned or panicked"),
        (ProbeKind::PanicBegin, "where a panic began"),
    ] {
        assert!(expected.remove(&kind).is_some(), "{kind:?}");
        let said = |unseen: &Unseen| unseen.what.contains(what);
        assert!(without.unseen.iter().any(said), "{what}");
        assert!(
            !with_symbols
                .unseen
                .iter()
                .any(|unseen| { kind != ProbeKind::Spawn && said(unseen) })
        );
    }
    assert_eq!(functions(&without), expected);
    assert_eq!(
        without.task_id_offsets.len(),
        with_symbols.task_id_offsets.len()
    );
    // Even the chosen instructions: unwind information gives the same extents.
    for probe in &without.probes {
        let same = with_symbols
            .probes
            .iter()
            .find(|other| other.function == probe.function)
            .unwrap();
        assert_eq!(probe.instruction, same.instruction);
    }
}

#[test]
fn most_optimised_probes_are_cheap() {
    let fixture = Fixture::start(Build::Release, FIXTURE, &[]);
    let (plan, ..) = plan_of(fixture.pid());
    let expensive: Vec<_> = plan
        .probes
        .iter()
        .filter(|probe| probe.instruction.method == Method::SingleStepped)
        // Aborts are rare; the others are on the way of every request.
        .filter(|probe| probe.kind != ProbeKind::Abort)
        .map(|probe| (&probe.name, &probe.instruction.text))
        .collect();
    assert_eq!(
        expensive,
        [],
        "each of them costs 10 us a hit in a virtual machine"
    );
}

/// A program without tokio has no task vtable in it.
#[test]
fn no_vtable_where_there_is_no_tokio() {
    for program in ["/bin/bash", "/bin/sleep", "/usr/bin/perf", "/usr/bin/gdb"] {
        if let Ok(binary) = Binary::open(Path::new(program)) {
            assert_eq!(task_vtables(&binary), [], "{program}");
        }
    }
}
