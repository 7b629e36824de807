//! The kernel's walk against the walk over memory, which `dump` is made of: every shape of the
//! fixtures, in every build with types.
//!
//! The fixture's tasks are all suspended; on request it aborts them, so that each is polled once
//! more, as it was suspended.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::fixture::Fixture;
use support::{Build, expect::Complaints};
use tracer_common::walk::marks_of;
use tracer_common::{Record, RecordKind, WalkResult};
use tracer_user::attach::{Session, SessionOptions};
use tracer_user::dwarf::DebugInfo;
use tracer_user::locate::{Process, TargetSelector};
use tracer_user::object::{Binary, DebugSource};
use tracer_user::plan::{Names, Request, Rules, make};
use tracer_user::rebuild::suspension::Suspension;
use tracer_user::rebuild::tracker::key_of_listed;
use tracer_user::rebuild::tree::{AwaitNode, NodeKind};
use tracer_user::runtime::tokio::{Inspector, TokioConventions};
use tracer_user::stream::Tree;
use tracer_user::walk::Futures;
use tracer_user::walk::flat::{Decoder, LiveWalk};

const PATIENCE: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(2);

/// A tree, a line for each future.
fn lines_of_tree(node: &AwaitNode, depth: usize, out: &mut Vec<String>) {
    out.push(line(
        depth,
        &node.future,
        node.kind,
        node.file.as_deref(),
        node.line,
    ));
    for child in &node.children {
        lines_of_tree(child, depth + 1, out);
    }
}

fn lines_of_suspension(suspension: &Suspension) -> Vec<String> {
    let futures = suspension.futures.iter().map(|future| {
        let state = &future.state;
        let depth = usize::from(future.depth);
        line(
            depth,
            &state.future,
            state.kind,
            state.file.as_deref(),
            state.line,
        )
    });
    futures.collect()
}

fn line(
    depth: usize,
    future: &str,
    kind: NodeKind,
    file: Option<&str>,
    line: Option<u32>,
) -> String {
    format!("{}{kind:?} {future} {file:?} {line:?}", "  ".repeat(depth))
}

fn collect(mut session: Session, expected: usize) -> (Vec<Record>, Vec<Tree>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let begin = Instant::now();
        let mut last = begin;
        let (mut records, mut trees) = (Vec::new(), Vec::new());
        let is_begin = |record: &&Record| record.kind == RecordKind::PollBegin as u8;
        // One task may end without a poll: all that comes has come when nothing more does.
        while records.iter().filter(is_begin).count() < expected
            && begin.elapsed() < PATIENCE
            && (records.is_empty() || last.elapsed() < QUIET)
        {
            if let Ok(batch) =
                tokio::time::timeout(Duration::from_millis(200), session.next_batch()).await
            {
                if batch.iter().any(|record| is_begin(&record)) {
                    last = Instant::now();
                }
                records.extend(batch);
            }
            trees.extend(session.take_trees());
        }
        let finished = session.finish();
        records.extend(finished.records);
        trees.extend(finished.trees);
        (records, trees)
    })
}

fn compare(name: &str, build: Build, arguments: &[&str]) {
    let arguments = [arguments, &["--abortable"]].concat();
    let mut fixture = Fixture::start(build, name, &arguments);
    let process = Process::find(&TargetSelector::Pid(fixture.pid())).unwrap();
    let module = process.executable().unwrap();
    let binary = Arc::new(Binary::of_module(&module).unwrap());
    let source = DebugSource::find(Arc::clone(&binary), &process, None).unwrap();
    let info = DebugInfo::load(&source).unwrap();
    let futures = Futures::new(&info);
    let mut plan = make(Request {
        module: &module,
        source: &source,
        names: &Names::default(),
        futures: &[],
        exact_polls: false,
        rules: Rules::of_this_kernel(),
    })
    .unwrap();
    let inspector = Inspector::new(process.pid, &binary, module.bias, &futures).unwrap();
    let memory = process.memory();
    inspector.add_walk(&mut plan, &memory);
    let tables = Arc::clone(&plan.walk.tables);
    assert!(!plan.walk.roots.is_empty(), "no task can be walked");

    let session = Session::start(&plan, process.pid, &SessionOptions::default()).unwrap();
    let found = inspector.tasks(&process, &memory);
    let mut live = LiveWalk::new(&tables);
    let mut decoder = Decoder::new(Arc::clone(&tables), Arc::new(TokioConventions));
    let mut complaints = Complaints::default();
    let mut told = BTreeMap::new();
    for task in &found.tasks {
        let Some(tree) = &task.tree else { continue };
        let key = key_of_listed(task);
        let Some(id) = key.id else { continue };
        let Some(walked) = inspector.walk_idle(key.address, &mut live, &memory) else {
            complaints.unless(false, format!("{}: not walked", task.id));
            continue;
        };
        let suspension = decoder.decode(&walked.words);
        let mut expected = Vec::new();
        lines_of_tree(tree, 0, &mut expected);
        let seen = lines_of_suspension(&suspension);
        complaints.unless(
            seen == expected || suspension.missing.is_some() && expected.len() > 20,
            format!(
                "{}: dump says\n{}\nthe walk by the tables ({:?})\n{}",
                task.id,
                expected.join("\n"),
                suspension.missing,
                seen.join("\n")
            ),
        );
        told.insert(id, walked);
    }
    assert!(told.len() > 10, "{} tasks", told.len());

    fixture.tell("abort");
    let (records, trees) = collect(session, told.len());
    let mut polled = 0;
    let mut seen = std::collections::BTreeSet::new();
    for record in &records {
        if record.kind != RecordKind::PollBegin as u8 || !seen.insert(record.task_id) {
            continue;
        }
        let Some(walked) = told.get(&record.task_id) else {
            continue;
        };
        polled += 1;
        complaints.unless(
            record.aux == WalkResult::Walked as u8,
            format!("tokio/{}: walk result {}", record.task_id, record.aux),
        );
        let words = trees.iter().find(|tree| tree.hash == record.path);
        complaints.unless(
            words.is_some_and(|tree| tree.words == walked.words) && record.path == walked.hash,
            format!(
                "tokio/{}: the kernel walked {:x?}, memory {:x?}",
                record.task_id,
                words.map(|tree| &tree.words),
                walked.words
            ),
        );
        complaints.unless(
            marks_of(record.marks) == walked.marks.0,
            format!(
                "tokio/{}: marks {:?}, {:?}",
                record.task_id, record.marks, walked.marks
            ),
        );
    }
    complaints.unless(
        polled * 10 >= told.len() * 9,
        format!("{polled} of {} tasks were polled", told.len()),
    );
    complaints.unless(fixture.is_alive(), "the fixture did not survive");
    eprintln!(
        "{name} {build:?} {arguments:?}: {polled} of {} tasks",
        told.len()
    );
    complaints.settle(&format!("{name}, {build:?} {arguments:?}"));
}

fn permitted() -> bool {
    match tracer_user::attach::permission::check() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("SKIPPED, this machine cannot attach: {error}");
            false
        }
    }
}

/// An emulated machine gets one build of each: its time is for the kernel's part.
fn builds() -> &'static [Build] {
    if std::env::var_os("ASYNCTRACE_SLOW").is_some() {
        &[Build::Release]
    } else {
        &[Build::Dev, Build::Release, Build::Lto]
    }
}

#[test]
fn live_the_kernel_walks_every_shape_as_memory_shows_it() {
    if permitted() {
        for build in builds() {
            compare("shapes", *build, &[]);
        }
        compare("shapes", builds()[0], &["--current-thread"]);
    }
}

#[test]
fn live_the_kernel_walks_every_leaf_as_memory_shows_it() {
    if permitted() {
        for build in builds() {
            compare("leaves", *build, &[]);
        }
    }
}
