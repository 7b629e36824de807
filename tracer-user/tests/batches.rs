//! Tasks that are read together are told as those that are read one by one, with far fewer calls to
//! the kernel; and where copies cannot be trusted, each task is read alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use support::Build;
use support::fixture::Fixture;
use tracer_user::address::Address;
use tracer_user::dwarf::DebugInfo;
use tracer_user::locate::{Process, TargetSelector};
use tracer_user::memory::{LiveMemory, Memory, Part, ReadError};
use tracer_user::object::{Binary, DebugSource};
use tracer_user::runtime::tokio::{Found, Inspector};
use tracer_user::walk::Futures;

/// What happens to ranges that are read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Together {
    /// They are read by one call.
    ByOneCall,
    /// None is readable.
    Refused,
    /// No two readings of a range are the same.
    Changing,
    /// Of each range that begins in an odd page nothing is readable.
    OddPagesRefused,
}

/// A process's memory, with what was asked of it.
struct Watched {
    memory: LiveMemory,
    together: Together,
    calls: Cell<u64>,
    noise: Cell<u8>,
}

impl Memory for Watched {
    fn read(&self, address: Address, into: &mut [u8]) -> Result<(), ReadError> {
        self.calls.set(self.calls.get() + 1);
        self.memory.read(address, into)
    }

    fn read_parts(&self, parts: &mut [Part<'_>]) {
        self.calls
            .set(self.calls.get() + (parts.len() as u64).div_ceil(1024));
        self.memory.read_parts(parts);
        for part in parts {
            let is_refused = match self.together {
                Together::ByOneCall | Together::Changing => false,
                Together::Refused => true,
                Together::OddPagesRefused => part.address.0 & 0x1000 != 0,
            };
            if is_refused {
                *part = Part::new(part.address, std::mem::take(&mut part.into));
            }
            // The last byte of a header's state and vtable is one of a kernel address, always 0.
            if self.together == Together::Changing && part.into.len() > 24 {
                self.noise.set(self.noise.get().wrapping_add(1));
                if let Some(byte) = part.into.last_mut() {
                    *byte = self.noise.get();
                }
            }
        }
    }
}

/// Reads all tasks of a process in different ways.
fn look(fixture: &Fixture, ways: &[Together]) -> Vec<(Found, u64)> {
    inspect(fixture, |inspector, process| {
        let look = |together: &Together| {
            let memory = Watched {
                memory: process.memory(),
                together: *together,
                calls: Cell::new(0),
                noise: Cell::new(0),
            };
            let found = inspector.tasks(process, &memory);
            (found, memory.calls.get())
        };
        ways.iter().map(look).collect()
    })
}

fn inspect<T>(fixture: &Fixture, work: impl FnOnce(&Inspector<'_, '_>, &Process) -> T) -> T {
    let process = Process::find(&TargetSelector::Pid(fixture.pid())).unwrap();
    let module = process.executable().unwrap();
    let binary = Arc::new(Binary::of_module(&module).unwrap());
    let source = DebugSource::find(Arc::clone(&binary), &process, None).unwrap();
    let info = DebugInfo::load(&source).unwrap();
    let futures = Futures::new(&info);
    let inspector = Inspector::new(process.pid, &binary, module.bias, &futures).unwrap();
    work(&inspector, &process)
}

/// What is told of each task, without what goes on while it waits.
fn told(found: &Found) -> BTreeMap<String, Value> {
    fn still(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|name, _| {
                    let goes_on = ["remaining_ms", "last_received_ms", "last_sent_ms"];
                    !goes_on.contains(&&**name)
                });
                map.values_mut().for_each(still);
            }
            Value::Array(list) => list.iter_mut().for_each(still),
            _ => {}
        }
    }
    let tasks = found.tasks.iter().map(|task| {
        let mut json = serde_json::to_value(task).unwrap();
        still(&mut json);
        (task.id.clone(), json)
    });
    tasks.collect()
}

const WAYS: [Together; 4] = [
    Together::Refused,
    Together::ByOneCall,
    Together::Changing,
    Together::OddPagesRefused,
];

fn same_every_way(build: Build, name: &str, arguments: &[&str]) {
    let fixture = Fixture::start(build, name, arguments);
    let looks = look(&fixture, &WAYS);
    let (first, _) = &looks[0];
    let alone = told(first);
    assert!(alone.len() > 10, "{name}: {} tasks", alone.len());
    for ((found, _), way) in looks.iter().zip(WAYS) {
        assert_eq!(found.torn, 0, "{name}, {way:?}");
        let told = told(found);
        assert_eq!(told.len(), alone.len(), "{name}, {way:?}");
        for (id, task) in &told {
            assert_eq!(Some(task), alone.get(id), "{name}, {way:?}");
        }
    }
    let calls: Vec<u64> = looks.iter().map(|(_, calls)| *calls).collect();
    assert!(calls[1] < calls[0], "{name}: {calls:?}");
}

#[test]
fn all_shapes_are_told_the_same_every_way() {
    same_every_way(Build::Release, "shapes", &[]);
}

#[test]
fn all_leaves_are_told_the_same_every_way() {
    same_every_way(Build::Release, "leaves", &[]);
    same_every_way(Build::Dev, "leaves", &[]);
}

#[test]
fn all_that_is_kept_is_told_the_same_every_way() {
    same_every_way(Build::Release, "kept", &[]);
}

#[test]
fn thousands_of_tasks_are_read_with_few_calls() {
    let arguments = ["--pairs", "0", "--yielders", "0", "--sleepers", "3000"];
    let fixture = Fixture::start(Build::Release, "busy", &arguments);
    // It is ready before it has spawned them.
    let begin = std::time::Instant::now();
    let (found, calls) = loop {
        let (found, calls) = look(&fixture, &[Together::ByOneCall]).remove(0);
        if found.tasks.len() > 3_000 || begin.elapsed().as_secs() > 60 {
            break (found, calls);
        }
    };
    assert!(found.tasks.len() > 3_000, "{} tasks", found.tasks.len());
    assert_eq!(found.torn, 0);
    let bare = found.tasks.iter().filter(|task| task.tree.is_none());
    assert_eq!(bare.count(), 0);
    // One by one it is twelve calls for each.
    assert!(calls < 3_000, "{calls} calls");
}

/// A large runtime is shared out among threads, where its memory may be read by several: what they
/// tell is what one tells.
#[test]
fn several_threads_tell_what_one_tells() {
    const SLEEPERS: usize = 20_000;
    let sleepers = SLEEPERS.to_string();
    let arguments = ["--pairs", "0", "--yielders", "0", "--sleepers", &sleepers];
    let fixture = Fixture::start(Build::Release, "busy", &arguments);
    let (alone, shared) = inspect(&fixture, |inspector, process| {
        let live = process.memory();
        assert!(live.for_threads().is_some());
        // It is ready before it has spawned them.
        let begin = std::time::Instant::now();
        while inspector.tasks(process, &live).tasks.len() < SLEEPERS {
            assert!(begin.elapsed().as_secs() < 60, "not all were spawned");
        }
        let watched = Watched {
            memory: live,
            together: Together::ByOneCall,
            calls: Cell::new(0),
            noise: Cell::new(0),
        };
        assert!(watched.for_threads().is_none());
        let shared = inspector.tasks(process, &live);
        (inspector.tasks(process, &watched), shared)
    });
    let ids = |found: &Found| -> Vec<String> {
        let tasks = found.tasks.iter();
        tasks.map(|task| task.id.clone()).collect()
    };
    assert_eq!(ids(&alone), ids(&shared), "in the order of the lists");
    assert_eq!((alone.torn, shared.torn), (0, 0));
    let alone = told(&alone);
    for (id, task) in told(&shared) {
        assert_eq!(Some(&task), alone.get(&id));
    }
}
