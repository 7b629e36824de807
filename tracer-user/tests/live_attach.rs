//! Attaching for real. Needs root; says so and passes where that is not given.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod attach_support;

use std::collections::{HashMap, HashSet};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use attach_support::{Fixture, add_symbols, permitted, tokio_plan};
use tracer_common::{ArgumentRegister, Counters, ProbeKind, Record, RecordKind, STATE_UNREADABLE};
use tracer_user::address::{Address, FileOffset, LinkAddress};
use tracer_user::attach::{AttachError, Finished, LinkKind, Session, SessionOptions};
use tracer_user::error::{Advice, ExitCode};
use tracer_user::locate::{Process, TargetSelector, syscall_text};
use tracer_user::memory::Memory;
use tracer_user::object::Binary;
use tracer_user::plan::Plan;

/// Bits of tokio's state word (runtimes.md).
const COMPLETE: u64 = 2;
const CANCELLED: u64 = 32;

fn of_kind(records: &[Record], kind: RecordKind) -> impl Iterator<Item = &Record> {
    records
        .iter()
        .filter(move |record| record.kind == kind as u8)
}

/// Reads until the time is over or the target has ended.
async fn read_for(session: &mut Session, time: Duration) -> Vec<Record> {
    let end = Instant::now() + time;
    let mut records = Vec::new();
    loop {
        let rest = end.saturating_duration_since(Instant::now());
        match tokio::time::timeout(rest, session.next_batch()).await {
            Ok(batch) if batch.is_empty() => return records,
            Ok(batch) => records.extend(batch),
            Err(_) => return records,
        }
    }
}

fn finish(session: Session, records: &mut Vec<Record>) -> Finished {
    let mut finished = session.finish();
    records.append(&mut finished.records);
    finished
}

async fn polls_agree(links: LinkKind, batches: bool, arguments: &[&str]) {
    let mut target = Fixture::start("busy", arguments);
    let plan = tokio_plan(&target.exe, target.pid());
    let options = SessionOptions {
        links: Some(links),
        batches,
        ..SessionOptions::default()
    };
    let mut session = Session::start(&plan, target.pid(), &options).unwrap();
    assert_eq!(session.link_kind(), links);
    assert!(session.refused.is_empty(), "{:?}", session.refused);
    assert!(session.without.is_empty(), "{:?}", session.without);
    target.go();
    let mut records = read_for(&mut session, Duration::from_secs(60)).await;
    let polls = target.number("polls");
    assert!(target.wait().success());
    let hits: u64 = session
        .hits()
        .iter()
        .filter(|hit| plan.probes[hit.probe as usize].kind == ProbeKind::TaskPoll)
        .map(tracer_user::attach::ProbeHits::total)
        .sum();
    let attach_time = session.attach_time();
    let finished = finish(session, &mut records);
    let counts = Counters::sum(&finished.counters);
    assert_eq!(counts.lost, 0, "{counts:?}");
    assert_eq!(finished.late, 0);
    assert_eq!(counts.sent, records.len() as u64);
    assert_eq!((counts.too_deep, counts.no_thread), (0, 0));
    assert!(records.is_sorted_by_key(|record| record.time));

    // At the end the runtime cancels what is queued: those polls are entered without polling the
    // future. Everything else must agree exactly.
    let begins: Vec<&Record> = of_kind(&records, RecordKind::PollBegin).collect();
    assert_eq!(begins.len() as u64, hits);
    let cancelled = |record: &&&Record| record.state & (CANCELLED | COMPLETE) != 0;
    let voided = begins.iter().filter(cancelled).count() as u64;
    println!(
        "{links:?}: {polls} polls by the program, {} by us, {voided} of them cancelled, {} records; \
         attached in {attach_time:?}, detached in {:?}; {:?}",
        begins.len(),
        records.len(),
        finished.detach_time,
        finished.overhead
    );
    assert!(voided < 20);
    // The state is read at the entry; each of the two workers may be overtaken by the cancelling
    // thread between that and its own look at it.
    let unexplained = begins.len() as u64 - voided - polls;
    assert!(unexplained <= 2, "{unexplained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn live_every_poll_is_seen_once_with_one_link() {
    if permitted() {
        polls_agree(LinkKind::Multi, true, &["--wait", "--seconds", "3"]).await;
    }
}

/// As where the kernel does not let the daemon ask for batches.
#[tokio::test(flavor = "multi_thread")]
async fn live_every_poll_is_seen_once_without_batches() {
    if permitted() {
        polls_agree(LinkKind::Perf, false, &["--wait", "--seconds", "2"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_every_poll_is_seen_once_with_perf_links() {
    if permitted() {
        polls_agree(LinkKind::Perf, true, &["--wait", "--seconds", "2"]).await;
    }
}

/// Ping and pong wake each other and nobody else does, except for the timer when they pause; the
/// program's spawn order tells who is whose partner.
#[tokio::test(flavor = "multi_thread")]
async fn live_records_name_the_waker_and_the_poll() {
    if !permitted() {
        return;
    }
    let arguments = ["--wait", "--seconds", "2", "--pairs", "3", "--rate", "200"];
    let mut target = Fixture::start("busy", &arguments);
    let plan = tokio_plan(&target.exe, target.pid());
    let mut session = Session::start(&plan, target.pid(), &SessionOptions::default()).unwrap();
    target.go();
    let mut records = read_for(&mut session, Duration::from_secs(60)).await;
    finish(session, &mut records);

    let spawned: Vec<u64> = of_kind(&records, RecordKind::Spawn)
        .map(|record| record.task_id)
        .collect();
    assert_eq!(spawned.len(), 3 * 2 + 2 + 4, "{spawned:?}");
    let partner: HashMap<u64, u64> = spawned[..6]
        .chunks(2)
        .flat_map(|pair| [(pair[0], pair[1]), (pair[1], pair[0])])
        .collect();
    let (mut by_partner, mut by_timer, mut by_itself) = (0, 0, 0);
    for kind in [RecordKind::WakeByValue, RecordKind::WakeByReference] {
        for wake in of_kind(&records, kind) {
            let Some(partner) = partner.get(&wake.task_id) else {
                continue;
            };
            if wake.by == 0 {
                assert_eq!((wake.by_id, wake.poll), (0, 0));
                by_timer += 1;
            } else if wake.by_id == wake.task_id {
                // A pause that was over before the timer had it: on a machine that is busy.
                by_itself += 1;
            } else {
                assert_eq!(wake.by_id, *partner, "{wake:?}");
                by_partner += 1;
            }
        }
    }
    println!("{by_partner} wakes by the partner, {by_timer} by the timer, {by_itself} by itself");
    assert!(by_partner > 100 && by_timer > 100);
    assert!(by_itself < by_partner / 10);

    // Every poll that began has ended, once, on its thread; only the last of a thread may be open.
    let mut open: HashMap<u32, Vec<Record>> = HashMap::new();
    let (mut ended, mut unreadable) = (0, 0);
    for record in &records {
        let stack = open.entry(record.tid).or_default();
        match RecordKind::from_u8(record.kind).unwrap() {
            RecordKind::PollBegin => {
                assert_eq!(record.poll, stack.last().map_or(0, |poll| poll.time));
                stack.push(*record);
            }
            RecordKind::PollEnd => {
                let begin = stack.pop().unwrap();
                assert_eq!((record.poll, record.task), (begin.time, begin.task));
                assert_eq!(record.task_id, begin.task_id);
                assert!(record.time >= begin.time);
                ended += 1;
                unreadable += u64::from(record.state == STATE_UNREADABLE);
            }
            RecordKind::Spawn => {}
            _ => assert_eq!(record.poll, stack.last().map_or(0, |poll| poll.time)),
        }
    }
    let left: usize = open.values().map(Vec::len).sum();
    println!(
        "{ended} polls ended, {unreadable} with a header that was gone, {left} open at the end"
    );
    let enough = if std::env::var_os("ASYNCTRACE_SLOW").is_some() {
        200
    } else {
        1000
    };
    assert!(ended > enough && left <= open.len());
    assert!(unreadable < 20);
}

/// Sleeps of the thread inside a poll, told from parking by their number and length, which the
/// program knows; and polls that run inside another one on the same thread.
#[tokio::test(flavor = "multi_thread")]
async fn live_blocking_and_nesting_are_seen_as_they_are() {
    if !permitted() {
        return;
    }
    let mut target = Fixture::start("blocking", &["--wait", "--count", "100"]);
    let plan = tokio_plan(&target.exe, target.pid());
    let mut session = Session::start(&plan, target.pid(), &SessionOptions::default()).unwrap();
    target.go();
    let mut records = read_for(&mut session, Duration::from_secs(60)).await;
    let truth: serde_json::Value = serde_json::from_str(&target.line_with("blocked")).unwrap();
    let number = |name: &str| truth[name].as_u64().unwrap();
    finish(session, &mut records);

    let mut asleep: HashMap<u32, Record> = HashMap::new();
    let mut long = 0_u64;
    for record in &records {
        match RecordKind::from_u8(record.kind).unwrap() {
            RecordKind::OffCpu if record.aux == 0 => {
                asleep.insert(record.tid, *record);
            }
            RecordKind::OnCpu => {
                let Some(off) = asleep.remove(&record.tid) else {
                    continue;
                };
                assert_eq!((off.poll, off.task_id), (record.poll, record.task_id));
                if off.task_id == number("blocked_id") && record.time - off.time >= 3_000_000 {
                    long += 1;
                    let call = syscall_text(u32::try_from(off.state).unwrap());
                    assert!(call.ends_with("nanosleep"), "asleep in {call}");
                }
            }
            _ => {}
        }
    }
    println!("{truth}: {long} sleeps seen");
    // An emulated machine's clock makes some of them short.
    let short = if std::env::var_os("ASYNCTRACE_SLOW").is_some() {
        20
    } else {
        1
    };
    assert!(long.abs_diff(number("blocked")) <= short, "{long}");

    // The inner runtime's task is polled inside the outer task's poll.
    let nested = of_kind(&records, RecordKind::PollBegin)
        .filter(|record| record.task_id == number("inner_id"))
        .collect::<Vec<_>>();
    assert_eq!(nested.len() as u64, number("inner_polls"));
    for record in &nested {
        assert_eq!(record.by_id, number("outer_id"), "{record:?}");
    }
}

/// Wakers carry a header only; the id is found by the task's vtable.
#[tokio::test(flavor = "multi_thread")]
async fn live_ids_are_found_by_vtable() {
    if !permitted() {
        return;
    }
    let target = Fixture::start("busy", &["--rate", "500"]);
    let mut plan = tokio_plan(&target.exe, target.pid());
    let mut session = Session::start(&plan, target.pid(), &SessionOptions::default()).unwrap();
    let records = read_for(&mut session, Duration::from_millis(500)).await;
    drop(session);
    let memory = Process::find(&TargetSelector::Pid(target.pid()))
        .unwrap()
        .memory();
    let vtable = |record: &Record| memory.u64(Address(record.task + 16)).unwrap();
    let vtables: HashSet<u64> = of_kind(&records, RecordKind::PollBegin)
        .map(vtable)
        .collect();
    assert!(vtables.len() >= 3, "ping, pong and yielder: {vtables:?}");

    // All but one are known; the cookie of a wake no longer counts.
    let unknown = *vtables.iter().next().unwrap();
    for vtable in vtables.iter().filter(|vtable| **vtable != unknown) {
        plan.task_id_offsets.push((Address(*vtable), 40));
    }
    let mut session = Session::start(&plan, target.pid(), &SessionOptions::default()).unwrap();
    let records = read_for(&mut session, Duration::from_millis(500)).await;
    let (mut with, mut without) = (0, 0);
    for wake in of_kind(&records, RecordKind::WakeByValue)
        .chain(of_kind(&records, RecordKind::WakeByReference))
    {
        // A channel that is sent to while its receiver registers wakes the receiver in its own poll, whose
        // begin has told the id.
        if wake.by == wake.task {
            continue;
        }
        if vtable(wake) == unknown {
            assert_eq!((wake.task_id, wake.state), (0, STATE_UNREADABLE));
            without += 1;
        } else {
            assert_ne!(wake.task_id, 0);
            assert_ne!(wake.state, STATE_UNREADABLE);
            with += 1;
        }
    }
    assert!(with > 10 && without > 10, "{with} {without}");
}

/// What the rings cannot hold is counted, and what they held is read.
#[tokio::test(flavor = "multi_thread")]
async fn live_losses_are_counted() {
    if !permitted() {
        return;
    }
    let mut target = Fixture::start("busy", &["--wait", "--seconds", "1"]);
    let plan = tokio_plan(&target.exe, target.pid());
    let options = SessionOptions {
        ring_bytes: Some(1 << 16),
        ..SessionOptions::default()
    };
    let session = Session::start(&plan, target.pid(), &options).unwrap();
    target.go();
    target.wait();
    let hits: u64 = session
        .hits()
        .iter()
        .map(tracer_user::attach::ProbeHits::total)
        .sum();
    let losses: u64 = session.losses().iter().sum();
    let mut records = Vec::new();
    let finished = finish(session, &mut records);
    let counts = Counters::sum(&finished.counters);
    println!("{hits} hits, {counts:?}");
    assert_eq!(losses, counts.lost);
    assert!(counts.lost > 0);
    assert_eq!(records.len() as u64, counts.sent);
    // A begin and the end that it proves take 144 bytes together.
    assert!(records.len() <= finished.counters.len() * (1 << 16) / 72);
    assert!(counts.sent + counts.lost >= hits);
}

fn probed_bytes(plan: &Plan, pid: i32) -> Vec<u8> {
    let process = Process::find(&TargetSelector::Pid(pid)).unwrap_or_else(|error| {
        // Its last field is how it ended, as wait(2) tells it.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        panic!("{error}: {stat:?}")
    });
    let bias = process.executable().unwrap().bias;
    let memory = process.memory();
    plan.probes
        .iter()
        .map(|probe| {
            let mut byte = [0];
            let at = bias.to_address(probe.function);
            memory.read(at, &mut byte).unwrap();
            byte[0]
        })
        .collect()
}

const INT3: u8 = 0xcc;

/// Started as a process of its own by the next test: attaches and stays.
#[tokio::test(flavor = "multi_thread")]
async fn helper_that_attaches_until_killed() {
    let Ok(pid) = std::env::var("ATTACH_TO") else {
        return;
    };
    let pid = pid.parse().unwrap();
    let exe = std::fs::canonicalize(format!("/proc/{pid}/exe")).unwrap();
    let plan = tokio_plan(&exe, pid);
    let mut session = Session::start(&plan, pid, &SessionOptions::default()).unwrap();
    loop {
        session.next_batch().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_a_killed_tracer_leaves_nothing_behind() {
    if !permitted() {
        return;
    }
    let mut target = Fixture::start("busy", &["--every-ms", "50", "--rate", "1000"]);
    let plan = tokio_plan(&target.exe, target.pid());
    let before = probed_bytes(&plan, target.pid());
    assert!(before.iter().all(|byte| *byte != INT3));
    let mut tracer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_that_attaches_until_killed"])
        .env("ATTACH_TO", target.pid().to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let slow = std::env::var_os("ASYNCTRACE_SLOW").is_some();
    let patience = Duration::from_secs(if slow { 300 } else { 20 });
    let attached = Instant::now();
    while probed_bytes(&plan, target.pid())
        .iter()
        .any(|byte| *byte != INT3)
    {
        assert_eq!(target.child.try_wait().unwrap(), None, "the target");
        assert!(attached.elapsed() < patience, "never attached");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    // SIGKILL.
    tracer.kill().unwrap();
    tracer.wait().unwrap();
    let killed = Instant::now();
    while probed_bytes(&plan, target.pid()) != before {
        assert_eq!(target.child.try_wait().unwrap(), None, "the target");
        assert!(killed.elapsed() < Duration::from_secs(5), "probes are left");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let so_far = target.number("so_far");
    assert!(target.number("so_far") > so_far, "the target goes on");
    assert!(target.child.try_wait().unwrap().is_none());
}

/// Time to attach in, ms; an emulated machine (`ASYNCTRACE_SLOW`) needs more.
fn pause(usual: u64) -> String {
    let slow = std::env::var_os("ASYNCTRACE_SLOW").is_some();
    (if slow { usual * 60 } else { usual }).to_string()
}

/// Probes on every async body and `Future::poll` that is left, with panics through all of them.
#[tokio::test(flavor = "multi_thread")]
async fn live_a_thousand_panics_survive() {
    if !permitted() {
        return;
    }
    let pause = pause(1500);
    let mut target = Fixture::start("panics", &["--pause-ms", &pause]);
    let mut plan = tokio_plan(&target.exe, target.pid());
    add_symbols(&mut plan, &target.exe, target.pid(), |name| {
        let nested = name.contains("{{closure}}") && name.starts_with("panics::")
            || name.ends_with("::poll") && name.contains("Future");
        nested.then_some((ProbeKind::FuturePoll, ArgumentRegister::Rdi))
    });
    let mut session = Session::start(&plan, target.pid(), &SessionOptions::default()).unwrap();
    let mut records = read_for(&mut session, Duration::from_secs(60)).await;
    let line = target.line_with("panics");
    assert!(
        line.contains("\"spawned\":1000") && line.contains("\"reported\":1000"),
        "{line}"
    );
    assert!(target.wait().success());
    finish(session, &mut records);
    let nested: Vec<&Record> = of_kind(&records, RecordKind::FuturePoll).collect();
    println!(
        "{} probes, {} nested polls",
        plan.probes.len(),
        nested.len()
    );
    assert!(nested.len() >= 1000);
    assert!(nested.iter().all(|record| record.aux >= 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn live_the_end_of_the_target_ends_the_stream() {
    if !permitted() {
        return;
    }
    for (way, executes) in [("exit", false), ("exec", true), ("fork", false)] {
        let mut target = Fixture::start("panics", &["--end", way, "--pause-ms", &pause(700)]);
        let plan = tokio_plan(&target.exe, target.pid());
        let mut session = Session::start(&plan, target.pid(), &SessionOptions::default()).unwrap();
        let begin = Instant::now();
        let records = read_for(&mut session, Duration::from_secs(90)).await;
        assert!(begin.elapsed() < Duration::from_secs(80), "{way}");
        assert!(session.target_has_ended(), "{way}");
        assert_eq!(session.target_has_executed(), executes, "{way}");
        assert!(
            of_kind(&records, RecordKind::PollBegin).count() > 100,
            "{way}"
        );
        assert!(target.wait().success(), "{way}");
        // Nothing of the forked child, which has another process id.
        let tids: HashSet<u32> = records.iter().map(|record| record.tid).collect();
        assert!(tids.len() <= 4, "{way}: {tids:?}");
        assert!(session.next_batch().await.is_empty());
    }
}

/// 300 probes on functions that are there; two more where there is nothing to probe.
#[tokio::test(flavor = "multi_thread")]
async fn live_many_probes_are_quick_and_impossible_ones_are_named() {
    if !permitted() {
        return;
    }
    let target = Fixture::start("busy", &["--rate", "100"]);
    let mut plan = tokio_plan(&target.exe, target.pid());
    add_symbols(&mut plan, &target.exe, target.pid(), |name| {
        let rare = name.starts_with("std::") || name.starts_with("core::");
        rare.then_some((ProbeKind::FuturePoll, ArgumentRegister::Rdi))
    });
    assert!(plan.probes.len() >= 300, "{}", plan.probes.len());
    plan.probes.truncate(300);
    let session = Session::start(&plan, target.pid(), &SessionOptions::default()).unwrap();
    assert_eq!((session.probes(), session.refused.len()), (300, 0));
    let attach = session.attach_time();
    let finished = session.finish();
    println!(
        "300 probes: attached in {attach:?}, detached in {:?}",
        finished.detach_time
    );
    assert!(attach + finished.detach_time < Duration::from_secs(1));

    // The padding between functions is int3, which is a probe already for the kernel; and what is
    // behind the end of the file is no instruction.
    let binary = Binary::open(&target.exe).unwrap();
    let text = binary
        .symbols()
        .map(|symbol| LinkAddress(symbol.address.0 + symbol.size))
        .find(|end| binary.bytes_at(*end, 1) == Some(&[INT3]) && binary.is_code(*end))
        .unwrap();
    for (index, offset) in [
        (7, binary.file_offset(text).unwrap()),
        (150, FileOffset(1 << 40)),
    ] {
        plan.probes[index].file_offset = offset;
    }
    let begin = Instant::now();
    let session = Session::start(&plan, target.pid(), &SessionOptions::default()).unwrap();
    println!(
        "with 2 that cannot be: {:?}, {:#?}",
        begin.elapsed(),
        session.refused
    );
    assert_eq!(session.probes(), 298);
    assert_eq!(session.refused.len(), 2);
    for refused in &session.refused {
        assert!(refused.what.contains("file offset"), "{refused:?}");
    }
    drop(session);

    plan.probes.truncate(8);
    plan.probes.drain(..7);
    match Session::start(&plan, target.pid(), &SessionOptions::default()) {
        Err(error @ AttachError::NothingToProbe { why: Some(_) }) => {
            assert_eq!(error.exit_code(), ExitCode::NothingToTrace);
        }
        other => panic!("{:?}", other.map(|_| "a session")),
    }
}

#[test]
fn live_a_target_that_is_gone_is_named() {
    if !permitted() {
        return;
    }
    let mut target = Fixture::start("busy", &["--rate", "100"]);
    let plan = tokio_plan(&target.exe, target.pid());
    let pid = target.pid();
    target.child.kill().unwrap();
    target.wait();
    let error = Session::start(&plan, pid, &SessionOptions::default())
        .map(|_| "a session")
        .unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::NoTarget, "{error}");
}

/// What an ordinary user is told. Runs this test's binary again without any capability.
#[test]
fn live_a_user_without_rights_is_told_the_command() {
    if std::env::var_os("ATTACH_UNPRIVILEGED").is_some() {
        let error = tracer_user::attach::permission::check().unwrap_err();
        println!("{error}\n{}", error.next_step().unwrap());
        assert_eq!(error.exit_code(), ExitCode::NotPermitted);
        return;
    }
    if !permitted() {
        return;
    }
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "live_a_user_without_rights_is_told_the_command"])
        .arg("--nocapture")
        .env("ATTACH_UNPRIVILEGED", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("missing CAP_BPF, CAP_PERFMON\n"), "{text}");
    assert!(text.contains("sudo /"), "{text}");
}
