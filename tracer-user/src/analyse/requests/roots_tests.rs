//! Which instances are requests, in made-up programs.

use super::{Patterns, Reason, find};
use crate::analyse::history::AwaitIndex;
use crate::analyse::sample::Sample;

/// `what` of each request, in order.
fn whats(sample: &Sample, patterns: &[&str]) -> Vec<String> {
    let found = find(&sample.history, &Patterns::new(patterns));
    let ids: Vec<u32> = found.list.iter().map(|request| request.id).collect();
    assert_eq!(ids, (1..=ids.len() as u32).collect::<Vec<_>>());
    found
        .list
        .iter()
        .map(|request| request.what.to_string())
        .collect()
}

/// Two connections that read and handle, three times each; handling calls itself once.
fn connections() -> Sample {
    let mut sample = Sample::default();
    for start in [0, 10] {
        let task = sample.task("app::connection");
        let root = sample.instance(task, None, "app::connection", 0, None, (start, 1_000));
        for round in 0..3 {
            let at = start + round * 100;
            let read = sample.instance(task, Some(root), "app::read", 4, None, (at, at + 50));
            sample.instance(
                task,
                Some(read),
                "dep::Read",
                9,
                Some("io"),
                (at + 1, at + 50),
            );
            let handle =
                sample.instance(task, Some(root), "app::handle", 5, None, (at + 50, at + 90));
            let again = sample.instance(
                task,
                Some(handle),
                "app::handle",
                30,
                None,
                (at + 51, at + 80),
            );
            sample.instance(
                task,
                Some(again),
                "dep::Sleep",
                31,
                Some("sleep"),
                (at + 52, at + 70),
            );
        }
    }
    sample
}

#[test]
fn a_pattern_names_the_outermost_instances() {
    let sample = connections();
    assert_eq!(whats(&sample, &["handle"]), ["app::handle"; 6]);
    assert_eq!(whats(&sample, &["app::*"]), ["app::connection"; 2]);
    // Each pattern has its own outermost ones.
    assert_eq!(whats(&sample, &["app::conn*", "handle"]).len(), 8);
    let found = find(&sample.history, &Patterns::new(&["nothing", "handle"]));
    assert_eq!(found.unmatched, ["nothing"]);
    assert_eq!(
        found.chosen[0].reason,
        Reason::Pattern {
            pattern: "handle".into()
        }
    );
    let names: Vec<_> = found
        .candidates
        .iter()
        .map(|one| (&*one.what, one.instances))
        .collect();
    assert_eq!(
        names,
        [
            ("app::handle", 12),
            ("app::read", 6),
            ("app::connection", 2)
        ]
    );
}

#[test]
fn a_body_counts_as_its_function_where_nothing_else_does() {
    let mut sample = Sample::default();
    let task = sample.task("app::main");
    let root = sample.instance(task, None, "app::main", 0, None, (0, 10));
    let body = "app::call::{async_block#0}";
    sample.instance(task, Some(root), body, 1, None, (1, 5));
    let found = find(&sample.history, &Patterns::new(&["call"]));
    assert_eq!(found.list.len(), 1);
    assert!(
        matches!(&found.chosen[0].reason, Reason::BodyOfPattern { pattern } if pattern == "call")
    );
    sample.instance(task, Some(root), "app::call", 1, None, (5, 9));
    assert_eq!(whats(&sample, &["call"]), ["app::call"]);
}

#[test]
fn what_a_connection_awaits_again_and_again_is_a_request_but_its_reading_is_not() {
    let sample = connections();
    let found = find(&sample.history, &Patterns::default());
    assert_eq!(found.list.len(), 6);
    assert_eq!(&*found.chosen[0].what, "app::handle");
    assert!(
        matches!(&found.chosen[0].reason, Reason::Loop { by } if by.as_deref() == Some("app::connection"))
    );
    assert_eq!(&*found.left_out[0].what, "app::read");
    assert_eq!(found.left_out[0].instances, 6);
    assert_eq!(found.list[0].root, AwaitIndex(3));
    assert_eq!((found.list[0].start, found.list[0].end), (50, Some(90)));
}

#[test]
fn what_a_library_calls_as_a_service_is_a_request() {
    let mut sample = connections();
    let task = sample.task("axum::serve::handle_connection::{async_block#0}");
    let conn = sample.instance(
        task,
        None,
        "hyper::proto::h1::dispatch::Dispatcher<S>",
        0,
        None,
        (0, 900),
    );
    for at in [100, 300] {
        let route = sample.instance(
            task,
            Some(conn),
            "axum::routing::route::RouteFuture<E>",
            0,
            None,
            (at, at + 50),
        );
        let boxed = sample.instance(
            task,
            Some(route),
            "core::pin::Pin<X>",
            0,
            None,
            (at, at + 50),
        );
        let list = sample.instance(task, Some(boxed), "app::list", 0, None, (at, at + 50));
        let query = sample.instance(task, Some(list), "app::query", 8, None, (at, at + 40));
        sample.instance(task, Some(query), "dep::Io", 9, Some("io"), (at, at + 40));
    }
    let found = find(&sample.history, &Patterns::default());
    assert_eq!(found.list.len(), 2);
    assert_eq!(&*found.chosen[0].what, "app::list");
    assert_eq!(found.chosen[0].reason, Reason::Service { library: "axum" });
}

#[test]
fn otherwise_tasks_of_one_kind_are_jobs() {
    let mut sample = Sample::default();
    let main = sample.task("app::main");
    let root = sample.instance(main, None, "app::main", 0, None, (0, 500));
    let poll = sample.poll(main, 0, 400);
    let by = crate::analyse::sample::task_in(main, poll, root);
    for at in [10, 20, 30] {
        let job = sample.spawn("app::job", at, by);
        let body = sample.instance(job, None, "app::job", 0, None, (at + 5, at + 50));
        sample.instance(
            job,
            Some(body),
            "dep::Sleep",
            3,
            Some("sleep"),
            (at + 6, at + 40),
        );
    }
    let found = find(&sample.history, &Patterns::default());
    assert_eq!(found.list.len(), 3);
    assert_eq!(found.chosen[0].reason, Reason::Job);
    // Two are no kind.
    sample.history.units.pop();
    assert!(find(&sample.history, &Patterns::default()).list.is_empty());
}

#[test]
fn a_history_that_points_anywhere_does_no_harm() {
    let mut sample = connections();
    for instance in &mut sample.history.awaits {
        instance.parent = Some(AwaitIndex(9_999));
    }
    whats(&sample, &["*"]);
    whats(&sample, &[]);
    sample.history.awaits[2].parent = Some(AwaitIndex(2));
    sample.history.units[0].awaits.push(AwaitIndex(12_345));
    whats(&sample, &[]);
    assert!(whats(&Sample::default(), &[]).is_empty());
}
