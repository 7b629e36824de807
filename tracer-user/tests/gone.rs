//! What memory proves of tasks that are over, on programs of two versions of tokio, with type information
//! and by shape.
//!
//! Nothing ends here: tasks that are in a list are asked after as if no list had had them, which the
//! headers must then contradict or not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::collections::HashSet;

use support::Build;
use support::fixture::Fixture;
use tracer_user::address::Address;
use tracer_user::follow::reader::ReadTasks;
use tracer_user::locate::{Process, TargetSelector};
use tracer_user::pipeline::reading::with_tasks;
use tracer_user::rebuild::tracker::{TaskKey, key_of_listed};

#[test]
fn the_list_of_a_task_is_known_by_its_header() {
    let programs: [(Build, &str, &[&str], &[&str]); 5] = [
        (
            Build::Release,
            "runtimes",
            &[],
            &["multi_thread", "current_thread", "local_set"],
        ),
        (Build::Release, "past", &[], &["multi_thread"]),
        (
            Build::Release,
            "past",
            &["--current-thread"],
            &["current_thread"],
        ),
        (Build::Plain, "busy", &[], &["multi_thread"]),
        (
            Build::Stripped,
            "busy",
            &["--current-thread"],
            &["current_thread"],
        ),
    ];
    for (build, program, arguments, schedulers) in programs {
        let fixture = Fixture::start(build, program, arguments);
        let process = Process::find(&TargetSelector::Pid(fixture.pid())).unwrap();
        with_tasks(&process, None, |opened| {
            let snapshot = opened.tasks.all().unwrap();
            let found: HashSet<&str> = snapshot.runtimes.iter().map(|one| one.scheduler).collect();
            assert_eq!(found, schedulers.iter().copied().collect(), "{program}");
            let keys: Vec<TaskKey> = snapshot
                .tasks
                .iter()
                .filter(|task| schedulers.contains(&task.scheduler))
                .map(key_of_listed)
                .filter(|key| key.id.is_some())
                .collect();
            assert!(keys.len() > 3, "{program}: {keys:?}");
            let all: HashSet<TaskKey> = keys.iter().copied().collect();
            assert_eq!(opened.tasks.gone(&keys), all, "{program} {arguments:?}");
            Ok(())
        })
        .unwrap();
        // A list that was not read says nothing; another task at the address, or nothing there, does.
        with_tasks(&process, None, |opened| {
            let keys: Vec<TaskKey> = opened
                .tasks
                .all()
                .unwrap()
                .tasks
                .iter()
                .map(key_of_listed)
                .collect();
            let keys = keys.into_iter().filter(|key| key.id.is_some());
            with_tasks(&process, None, |unread| {
                for key in keys {
                    let before = TaskKey {
                        id: key.id.map(|id| id + 1_000_000),
                        ..key
                    };
                    let elsewhere = TaskKey {
                        address: Address(0x10),
                        ..key
                    };
                    let gone = unread.tasks.gone(&[key, before, elsewhere]);
                    assert_eq!(gone, HashSet::from([before, elsewhere]), "{program}");
                }
                Ok(())
            })
        })
        .unwrap();
    }
}
