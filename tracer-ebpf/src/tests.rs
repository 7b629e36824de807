//! Tests of the logic on the host, with a made-up target.

use std::collections::BTreeMap;
use std::vec::Vec;

use tracer_common::{
    ArgumentRegister, Cookie, Ended, PollEndCause, ProbeKind, Record, RecordKind, STATE_UNREADABLE,
    WakeOrigin,
};

use crate::{Header, Hit, Leave, MAX_POLLS, Machine, Thread, on_hit, on_leave, on_return};

const RUNNING: u64 = 1;
const COMPLETE: u64 = 2;
const VTABLE: u64 = 0x7000;

/// A target's memory, word by word, and what was sent.
#[derive(Default)]
struct Fake {
    memory: BTreeMap<u64, u64>,
    vtables: Option<BTreeMap<u64, u32>>,
    sent: Vec<Record>,
    too_deep: u32,
    /// Headers that were read.
    headers: u32,
}

impl Machine for Fake {
    fn word(&mut self, address: u64) -> Option<u64> {
        self.memory.get(&address).copied()
    }

    fn header(&mut self, task: u64, into: &mut Header) -> bool {
        self.headers += 1;
        for (index, word) in into.words.iter_mut().enumerate() {
            match self.memory.get(&(task + 8 * index as u64)) {
                Some(value) => *word = *value,
                None => return false,
            }
        }
        true
    }

    fn task_id_offset(&mut self, vtable: u64) -> Option<u32> {
        match &self.vtables {
            None => Some(0),
            Some(known) => known.get(&vtable).copied(),
        }
    }

    fn send(&mut self, record: &Record) {
        self.sent.push(*record);
    }

    fn header_to_poll(&mut self, task: u64, _probe: u32, into: &mut Header) -> bool {
        self.header(task, into)
    }

    fn send_begin(&mut self, record: &Record, ended: &Ended) {
        self.sent.extend(ended.record(record));
        self.sent.push(*record);
    }

    fn send_panic_begin(&mut self, record: &Record) {
        self.sent.push(*record);
    }

    fn send_panic(&mut self, record: &Record, _payload: u64, _vtable: u64) {
        self.sent.push(*record);
    }

    fn too_deep(&mut self) {
        self.too_deep += 1;
    }
}

/// A thread of the fake target.
struct World {
    fake: Fake,
    thread: Thread,
    time: u64,
}

impl World {
    fn new() -> Self {
        Self {
            fake: Fake::default(),
            thread: Thread::EMPTY,
            time: 100,
        }
    }

    fn task(&mut self, at: u64, id: u64, state: u64) {
        let words = [state, 0, VTABLE, 0, 0, id, 0, 0];
        for (index, word) in words.into_iter().enumerate() {
            self.fake.memory.insert(at + 8 * index as u64, word);
        }
    }

    fn set_state(&mut self, at: u64, state: u64) {
        self.fake.memory.insert(at, state);
    }

    /// A call: the return address goes on the stack.
    fn call(&mut self, stack_pointer: u64, return_address: u64) {
        self.fake.memory.insert(stack_pointer, return_address);
    }

    fn hit(&mut self, kind: ProbeKind, argument: u64, stack_pointer: u64) -> Vec<Record> {
        self.time += 10;
        let cookie = Cookie {
            kind,
            argument: ArgumentRegister::Rdi,
            pushed: 0,
            task_id_offset: 40,
            probe: kind as u32,
        };
        let hit = Hit {
            time: self.time,
            cpu: 3,
            active_state: RUNNING | COMPLETE,
            stack_pointer,
            instruction: ENTRY,
            arguments: [argument, 0, 0x100c, 0x200c],
        };
        on_hit(&mut self.thread, &mut self.fake, &cookie, &hit);
        std::mem::take(&mut self.fake.sent)
    }

    fn leave(&mut self, stack_pointer: u64, runnable: bool, dead: bool) -> Vec<Record> {
        self.leave_at(ELSEWHERE, stack_pointer, runnable, dead)
    }

    fn leave_at(
        &mut self,
        instruction: u64,
        stack_pointer: u64,
        runnable: bool,
        dead: bool,
    ) -> Vec<Record> {
        self.time += 10;
        let leave = Leave {
            time: self.time,
            cpu: 3,
            active_state: RUNNING | COMPLETE,
            stack_pointer,
            instruction,
            system_call: 35,
            runnable,
            dead,
        };
        on_leave(&mut self.thread, &mut self.fake, &leave);
        std::mem::take(&mut self.fake.sent)
    }

    fn back(&mut self) -> Vec<Record> {
        self.time += 10;
        on_return(&mut self.thread, &mut self.fake, self.time, 1);
        std::mem::take(&mut self.fake.sent)
    }
}

fn kinds(records: &[Record]) -> Vec<RecordKind> {
    records
        .iter()
        .map(|record| RecordKind::from_u8(record.kind).unwrap())
        .collect()
}

/// The probed instruction of a poll, and one of another function.
const ENTRY: u64 = 0x7f00_0050_0000;
const ELSEWHERE: u64 = 0x7f00_0060_0000;
const A: u64 = 0x10000;
const B: u64 = 0x20000;

/// A worker with a poll of A open: entered at stack 0x1000.
fn in_poll_of_a() -> (World, u64) {
    let mut world = World::new();
    world.task(A, 7, RUNNING);
    world.task(B, 8, 0);
    world.call(0x1000, 0xca11);
    let begin = world.hit(ProbeKind::TaskPoll, A, 0x1000);
    assert_eq!(kinds(&begin), [RecordKind::PollBegin]);
    assert_eq!(
        (begin[0].task, begin[0].task_id, begin[0].state),
        (A, 7, RUNNING)
    );
    assert_eq!((begin[0].by, begin[0].poll), (0, 0));
    (world, begin[0].time)
}

/// A read of the target is dear: at most one of each header at a hit, and none is kept for the next.
#[test]
fn a_header_is_read_once_a_hit() {
    let (mut world, _) = in_poll_of_a();
    for (kind, task, id, reads) in [
        (ProbeKind::WakerClone, A, 7, 1),
        (ProbeKind::WakeByReference, A, 7, 1),
        (ProbeKind::WakerDrop, B, 8, 2),
    ] {
        world.fake.headers = 0;
        let record = world.hit(kind, task, 0xf00)[0];
        assert_eq!(world.fake.headers, reads, "{kind:?}");
        assert_eq!(
            (record.task, record.task_id, record.poll != 0),
            (task, id, true)
        );
    }
    // What it says now, not at the hit before.
    world.set_state(A, RUNNING | 0x40);
    let record = world.hit(ProbeKind::WakeByReference, A, 0xf00)[0];
    assert_eq!(record.state, RUNNING | 0x40);
    // Polled again right after: the end of the one poll and the begin of the other.
    world.set_state(A, RUNNING);
    world.fake.headers = 0;
    let records = world.hit(ProbeKind::TaskPoll, A, 0x1000);
    assert_eq!(
        kinds(&records),
        [RecordKind::PollEnd, RecordKind::PollBegin]
    );
    assert_eq!((world.fake.headers, records[1].task_id), (1, 7));
    // Memory that cannot be read is not what was read before.
    world.call(0x1000, 0);
    world.fake.memory.remove(&B);
    let records = world.hit(ProbeKind::WakerDrop, B, 0xf00);
    let last = records.last().unwrap();
    assert_eq!(
        (last.task, last.task_id, last.state),
        (B, 0, STATE_UNREADABLE)
    );
}

/// The trap is over, and the poll has not said yet that the task runs.
#[test]
fn a_thread_that_leaves_at_the_entry_is_in_the_poll() {
    // Behind the probed instruction; before it, where the kernel steps it elsewhere; after one that
    // made room for a large frame.
    for (instruction, stack_pointer) in
        [(ENTRY + 1, 0xff8), (ELSEWHERE, 0x1000), (ENTRY + 7, 0x800)]
    {
        let (mut world, begin) = in_poll_of_a();
        world.set_state(A, 4);
        let left = world.leave_at(instruction, stack_pointer, true, false);
        assert_eq!(kinds(&left), [RecordKind::OffCpu], "{stack_pointer:#x}");
        assert_eq!(left[0].poll, begin);
        assert_eq!(kinds(&world.back()), [RecordKind::OnCpu]);
        world.set_state(A, RUNNING);
        let wake = world.hit(ProbeKind::WakeByReference, B, 0xf00);
        assert_eq!((wake[0].by, wake[0].poll), (A, begin));
        // Whoever left deeper, or in the caller, has ended it.
        world.set_state(A, 4);
        let ended = world.leave(0x800, true, false);
        assert_eq!(kinds(&ended), [RecordKind::PollEnd]);
    }
    let (mut world, _) = in_poll_of_a();
    world.set_state(A, 4);
    let ended = world.leave_at(ELSEWHERE, 0x1008, true, false);
    assert_eq!(kinds(&ended), [RecordKind::PollEnd]);
}

#[test]
fn a_wake_inside_a_poll_is_by_that_task() {
    let (mut world, begin) = in_poll_of_a();
    let wake = world.hit(ProbeKind::WakeByReference, B, 0xf00);
    assert_eq!(kinds(&wake), [RecordKind::WakeByReference]);
    assert_eq!((wake[0].task, wake[0].task_id), (B, 8));
    assert_eq!((wake[0].by, wake[0].by_id, wake[0].poll), (A, 7, begin));
}

#[test]
fn a_task_that_completes_wakes_its_joiner_itself() {
    let (mut world, begin) = in_poll_of_a();
    world.set_state(A, COMPLETE);
    let wake = world.hit(ProbeKind::WakeByValue, B, 0xf00);
    assert_eq!((wake[0].by_id, wake[0].poll), (7, begin));
}

#[test]
fn the_next_poll_from_the_same_frame_ends_the_one_before() {
    let (mut world, begin) = in_poll_of_a();
    world.set_state(A, 0x40);
    let next = world.hit(ProbeKind::TaskPoll, B, 0x1000);
    assert_eq!(kinds(&next), [RecordKind::PollEnd, RecordKind::PollBegin]);
    assert_eq!(next[0].aux, PollEndCause::NextEvent as u8);
    assert_eq!((next[0].poll, next[0].state), (begin, 0x40));
    assert_eq!(next[0].time, next[1].time);
    assert_eq!(world.thread.depth, 1);
}

/// Parked: the driver wakes a task from deep inside the worker's own calls.
#[test]
fn a_wake_by_the_driver_is_by_nobody() {
    let (mut world, _) = in_poll_of_a();
    world.set_state(A, 0x40);
    // The worker has called something else: another return address stands there now.
    world.call(0x1000, 0xd1fe);
    let wake = world.hit(ProbeKind::WakeByValue, B, 0xe00);
    assert_eq!(kinds(&wake), [RecordKind::PollEnd, RecordKind::WakeByValue]);
    assert_eq!((wake[1].by, wake[1].by_id, wake[1].poll), (0, 0, 0));
}

#[test]
fn a_stale_return_address_is_unmasked_by_the_tasks_state() {
    let (mut world, _) = in_poll_of_a();
    // Idle again, but nothing has overwritten the word on the stack.
    world.set_state(A, 0x40);
    let wake = world.hit(ProbeKind::WakeByValue, B, 0xe00);
    assert_eq!(wake[1].by, 0);
}

#[test]
fn a_freed_or_reused_header_has_no_state() {
    for freed in [true, false] {
        let (mut world, _) = in_poll_of_a();
        if freed {
            world.fake.memory.remove(&(A + 8));
        } else {
            world.task(A, 99, RUNNING);
        }
        let next = world.hit(ProbeKind::TaskPoll, B, 0x1000);
        assert_eq!((next[0].task, next[0].task_id), (A, 7));
        assert_eq!(next[0].state, STATE_UNREADABLE);
    }
}

/// A task that blocks in place runs another runtime on its own stack.
#[test]
fn polls_nest() {
    let (mut world, outer) = in_poll_of_a();
    world.task(B, 8, RUNNING);
    world.call(0x800, 0xb10c);
    let inner = world.hit(ProbeKind::TaskPoll, B, 0x800);
    assert_eq!(kinds(&inner), [RecordKind::PollBegin]);
    assert_eq!((inner[0].by_id, inner[0].poll), (7, outer));
    let wake = world.hit(ProbeKind::WakeByReference, A, 0x700);
    assert_eq!((wake[0].by_id, wake[0].poll), (8, inner[0].time));
    // Back in the outer one.
    world.set_state(B, 0x40);
    let wake = world.hit(ProbeKind::WakeByReference, B, 0x900);
    assert_eq!(
        kinds(&wake),
        [RecordKind::PollEnd, RecordKind::WakeByReference]
    );
    assert_eq!((wake[0].task_id, wake[0].by_id), (8, 7));
    assert_eq!(wake[1].by_id, 7);
}

#[test]
fn too_deep_a_nesting_is_counted_and_does_no_harm() {
    let mut world = World::new();
    for level in 0..MAX_POLLS as u64 + 3 {
        let (task, stack) = (A + 0x1000 * level, 0x10000 - 0x100 * level);
        world.task(task, level + 1, RUNNING);
        world.call(stack, 0xca11 + level);
        world.hit(ProbeKind::TaskPoll, task, stack);
    }
    assert_eq!(world.fake.too_deep, 3);
    assert_eq!(world.thread.depth as usize, MAX_POLLS);
    let ended = world.leave(0xfffff, false, false);
    assert_eq!(ended.len(), MAX_POLLS);
    assert_eq!(world.thread.depth, 0);
}

#[test]
fn what_is_no_task_has_no_id_and_no_state() {
    let mut world = World::new();
    world.task(A, 7, 0x80);
    world.fake.vtables = Some(BTreeMap::from([(VTABLE, 40)]));
    let wake = world.hit(ProbeKind::WakeByValue, A, 0x1000);
    assert_eq!((wake[0].task_id, wake[0].state), (7, 0x80));
    // A parker: its words are no header.
    world.fake.memory.insert(A + 16, 0x1234);
    let wake = world.hit(ProbeKind::WakeByValue, A, 0x1000);
    assert_eq!((wake[0].task_id, wake[0].state), (0, STATE_UNREADABLE));
    // Unreadable.
    let wake = world.hit(ProbeKind::WakeByValue, 0xdead_0000, 0x1000);
    assert_eq!((wake[0].task_id, wake[0].state), (0, STATE_UNREADABLE));
}

#[test]
fn an_unusual_id_offset_is_read_for_itself() {
    let mut world = World::new();
    world.task(A, 7, 0);
    world.fake.memory.insert(A + 88, 4711);
    world.fake.vtables = Some(BTreeMap::from([(VTABLE, 88)]));
    let wake = world.hit(ProbeKind::WakeByValue, A, 0x1000);
    assert_eq!(wake[0].task_id, 4711);
}

#[test]
fn blocking_inside_a_poll_is_told_from_leaving_it() {
    let (mut world, begin) = in_poll_of_a();
    let off = world.leave(0xc00, false, false);
    assert_eq!(kinds(&off), [RecordKind::OffCpu]);
    assert_eq!((off[0].aux, off[0].task_id, off[0].poll), (0, 7, begin));
    let on = world.back();
    assert_eq!(kinds(&on), [RecordKind::OnCpu]);
    assert_eq!(world.back(), []);
    let off = world.leave(0xc00, true, false);
    assert_eq!(off[0].aux, 1);
    // Back, returned from the poll, parked.
    world.back();
    world.set_state(A, 0x40);
    world.call(0x1000, 0xd1fe);
    let left = world.leave(0xc00, false, false);
    assert_eq!(kinds(&left), [RecordKind::PollEnd]);
    assert_eq!(left[0].aux, PollEndCause::LeftCpu as u8);
    assert_eq!(left[0].state, 0x40);
    assert_eq!(world.back(), [], "outside any poll nobody cares");
}

#[test]
fn a_thread_that_ends_inside_a_poll_ends_the_poll() {
    let (mut world, _) = in_poll_of_a();
    let ended = world.leave(0xc00, false, true);
    assert_eq!(kinds(&ended), [RecordKind::PollEnd]);
    assert_eq!(ended[0].aux, PollEndCause::ThreadExit as u8);
    assert_eq!(world.thread.depth, 0);
}

#[test]
fn nested_futures_have_a_depth() {
    let (mut world, begin) = in_poll_of_a();
    let mut poll = |stack: u64, from: u64| {
        world.call(stack, from);
        let record = world.hit(ProbeKind::FuturePoll, 0xf000 + stack, stack)[0];
        assert_eq!((record.by_id, record.poll), (7, begin));
        record.aux
    };
    assert_eq!(poll(0xf00, 1), 1);
    assert_eq!(poll(0xe00, 2), 2);
    assert_eq!(poll(0xd00, 3), 3);
    // The third has returned and the second polls another child from the same frame.
    assert_eq!(poll(0xd00, 4), 3);
    // The first polls its second child.
    assert_eq!(poll(0xe00, 5), 2);
    // A child of the task's future, from a deeper frame than before: the words of the earlier ones
    // have been overwritten.
    world.call(0xf00, 0x66);
    world.call(0xe00, 0x67);
    let mut poll = |stack: u64, from: u64| {
        world.call(stack, from);
        world.hit(ProbeKind::FuturePoll, 0xf000 + stack, stack)[0].aux
    };
    assert_eq!(poll(0xa00, 6), 1);
    // The task's next poll starts afresh.
    world.set_state(A, RUNNING);
    world.call(0x1000, 0xca11);
    world.hit(ProbeKind::TaskPoll, A, 0x1000);
    world.call(0x900, 7);
    assert_eq!(world.hit(ProbeKind::FuturePoll, 1, 0x900)[0].aux, 1);
}

#[test]
fn pushed_bytes_and_the_register_are_honoured() {
    let mut world = World::new();
    world.task(A, 7, 0xcc);
    let cookie = Cookie {
        kind: ProbeKind::Spawn,
        argument: ArgumentRegister::Rsi,
        pushed: 24,
        task_id_offset: 40,
        probe: 9,
    };
    let hit = Hit {
        time: 1,
        cpu: 0,
        active_state: 3,
        stack_pointer: 0x1000,
        instruction: ENTRY,
        arguments: [0x99, A, 0, 0],
    };
    on_hit(&mut world.thread, &mut world.fake, &cookie, &hit);
    let record = world.fake.sent[0];
    assert_eq!(record.kind, RecordKind::Spawn as u8);
    assert_eq!((record.task_id, record.state, record.probe), (7, 0xcc, 9));
    assert_eq!(record.stack_pointer, 0x1018);
}

#[test]
fn what_a_driver_wakes_is_caused_by_it_and_nothing_later_is() {
    let mut world = World::new();
    world.task(A, 7, 0);
    world.task(B, 8, 0);
    // The I/O driver, entered at 0x1000, for the resource at 0x5000.
    world.call(0x1000, 0xca11);
    assert!(world.hit(ProbeKind::IoReady, 0x5000, 0x1000).is_empty());
    let begin = world.time;
    let first = world.hit(ProbeKind::WakeByValue, A, 0xe00);
    let second = world.hit(ProbeKind::WakeByReference, B, 0xe80);
    for wake in [&first[0], &second[0]] {
        assert_eq!(wake.aux, WakeOrigin::Io as u8);
        assert_eq!((wake.by, wake.by_id, wake.poll), (0x5000, begin, 0));
    }
    // It returned: the word at its entry is another one now, and the next wake is nobody's.
    world.call(0x1000, 0xbad);
    let later = world.hit(ProbeKind::WakeByValue, A, 0xe00);
    assert_eq!((later[0].aux, later[0].by, later[0].by_id), (0, 0, 0));
}

/// A runtime of one thread: its loop parks deep, and polls tasks from further up. What a poll leaves
/// of the stack below is as the driver left it, its return address too.
#[test]
fn a_driver_that_has_returned_wakes_nothing_whatever_it_left_on_the_stack() {
    let mut world = World::new();
    world.task(A, 7, RUNNING);
    world.task(B, 8, 0);
    world.call(0x1000, 0xca11);
    world.hit(ProbeKind::TimerFired, 0, 0x1000);
    let wake = world.hit(ProbeKind::WakeByValue, A, 0xe00);
    assert_eq!(wake[0].aux, WakeOrigin::Timer as u8);
    world.call(0x1800, 0xca12);
    world.hit(ProbeKind::TaskPoll, A, 0x1800);
    let wake = world.hit(ProbeKind::WakeByValue, B, 0xe00);
    assert_eq!((wake[0].aux, wake[0].by, wake[0].by_id), (0, A, 7));
    // The loop itself, from where it called the driver.
    let mut world = World::new();
    world.task(A, 7, 0);
    world.call(0x1000, 0xca11);
    world.hit(ProbeKind::TimerFired, 0, 0x1000);
    world.hit(ProbeKind::WakerDrop, A, 0x1000);
    let wake = world.hit(ProbeKind::WakeByValue, A, 0xe00);
    assert_eq!((wake[0].aux, wake[0].by), (0, 0));
}

#[test]
fn a_timer_has_no_resource_and_a_poll_inside_a_driver_is_the_tasks() {
    let mut world = World::new();
    world.task(A, 7, RUNNING);
    world.task(B, 8, 0);
    world.call(0x1000, 0xca11);
    world.hit(ProbeKind::TimerFired, 0x5000, 0x1000);
    let wake = world.hit(ProbeKind::WakeByValue, B, 0xe00);
    assert_eq!((wake[0].aux, wake[0].by), (WakeOrigin::Timer as u8, 0));
    // A waker that polls a task there and then (a block_on in a waker) is odd, but its wakes are
    // that task's.
    world.call(0xd00, 0xca12);
    world.hit(ProbeKind::TaskPoll, A, 0xd00);
    let wake = world.hit(ProbeKind::WakeByValue, B, 0xc00);
    assert_eq!((wake[0].aux, wake[0].by, wake[0].by_id), (0, A, 7));
}

#[test]
fn an_abort_is_told_by_header_and_by_reference() {
    let mut world = World::new();
    world.task(A, 7, 0);
    world.fake.vtables = Some([(VTABLE, 40)].into());
    let direct = world.hit(ProbeKind::Abort, A, 0x1000);
    assert_eq!(kinds(&direct), [RecordKind::Abort]);
    assert_eq!((direct[0].task, direct[0].task_id), (A, 7));
    world.fake.memory.insert(0x9000, A);
    let by_reference = world.hit(ProbeKind::Abort, 0x9000, 0x1000);
    assert_eq!((by_reference[0].task, by_reference[0].task_id), (A, 7));
}

#[test]
fn a_panic_is_told_with_the_poll_it_is_in_and_not_outside() {
    let (mut world, begin) = in_poll_of_a();
    let panic = world.hit(ProbeKind::Panic, 0, 0x800);
    assert_eq!(kinds(&panic), [RecordKind::Panic]);
    assert_eq!((panic[0].task_id, panic[0].poll), (7, begin));
    let mut outside = World::new();
    let panic = outside.hit(ProbeKind::Panic, 0, 0x800);
    assert_eq!((panic[0].task, panic[0].by, panic[0].poll), (0, 0, 0));
}

#[test]
fn the_begin_of_a_panic_names_the_poll_and_where_its_location_may_be() {
    let (mut world, begin) = in_poll_of_a();
    let panic = world.hit(ProbeKind::PanicBegin, 0x100c, 0x800);
    assert_eq!(kinds(&panic), [RecordKind::PanicBegin]);
    assert_eq!((panic[0].task, panic[0].task_id), (A, 7));
    assert_eq!(
        (panic[0].poll, panic[0].probe),
        (begin, ProbeKind::TaskPoll as u32)
    );
    // rdx, and rcx for Rust before 1.81.
    assert_eq!((panic[0].state, panic[0].by), (0x100c, 0x200c));
    let mut outside = World::new();
    let panic = outside.hit(ProbeKind::PanicBegin, 0x100c, 0x800);
    assert_eq!((panic[0].task, panic[0].poll), (0, 0));
    assert_eq!(panic[0].probe, u32::MAX, "no poll, no walk");
}

#[test]
fn an_exit_probe_ends_the_poll_exactly() {
    let (mut world, begin) = in_poll_of_a();
    world.set_state(A, 0x40);
    let end = world.hit(ProbeKind::PollExit, 0, 0x1000);
    assert_eq!(kinds(&end), [RecordKind::PollEnd]);
    assert_eq!(
        (end[0].poll, end[0].aux),
        (begin, PollEndCause::ExitProbe as u8)
    );
    // That of a poll inside it ends nothing of it.
    let (mut world, _) = in_poll_of_a();
    world.set_state(A, RUNNING);
    assert!(world.hit(ProbeKind::PollExit, 0, 0x800).is_empty());
}
