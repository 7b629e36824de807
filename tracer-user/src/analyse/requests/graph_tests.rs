//! Graphs of requests over several tasks.

use super::*;
use crate::analyse::requests::{Patterns, find};
use crate::analyse::sample::{Sample, task_in, thread_by};

/// A request that spawns a part and joins it, then waits for a worker's answer.
fn sample() -> Sample {
    let mut sample = Sample::default();
    let task = sample.task("app::connection");
    let worker = sample.task("app::worker");
    let timer = sample.thread("worker");
    let root = sample.instance(task, None, "app::connection", 0, None, (0, 900));
    let work = sample.instance(worker, None, "app::worker", 0, None, (0, 900));
    let handle = sample.instance(task, Some(root), "app::handle", 3, None, (100, 600));
    let first = sample.poll(task, 100, 120);
    let part_task = sample.spawn("app::part", 110, task_in(task, first, handle));
    let part = sample.instance(part_task, None, "app::part", 0, None, (110, 210));
    let sleep = sample.instance(
        part_task,
        Some(part),
        "dep::Sleep",
        9,
        Some("sleep"),
        (140, 200),
    );
    sample.poll(part_task, 130, 140);
    let done = sample.poll(part_task, 200, 210);
    sample.waited(done, sleep);
    sample.wake(part_task, 195, thread_by(timer, None), done);
    // Later than what comes after it in time: children are drawn in order of start.
    let answer = sample.instance(
        task,
        Some(handle),
        "dep::Oneshot",
        5,
        Some("oneshot"),
        (260, 590),
    );
    let join = sample.instance(task, Some(handle), "dep::Join", 4, Some("join"), (120, 250));
    let second = sample.poll(task, 250, 260);
    sample.waited(second, join);
    sample.wake(task, 205, task_in(part_task, done, part), second);
    if let UnitKind::Task(task) = &mut sample.history.units[part_task.0 as usize].kind {
        task.end = Some(crate::analyse::history::TaskEnd {
            time: 210,
            outcome: crate::rebuild::event::Outcome::Ready,
            aborted: None,
        });
    }
    let answers = sample.poll(worker, 550, 570);
    let third = sample.poll(task, 590, 600);
    sample.waited(third, answer);
    sample.wake(task, 560, task_in(worker, answers, work), third);
    sample
}

#[test]
fn a_graph_goes_across_spawned_joined_and_woken_tasks() {
    let sample = sample();
    let history = &sample.history;
    let requests = find(history, &Patterns::new(&["handle"])).list;
    let graph = graph(history, &Nesting::new(history), &requests[0]);
    let told: Vec<String> = graph
        .vertices
        .iter()
        .map(|vertex| {
            let indent = "  ".repeat(vertex.depth as usize);
            let future = &history[vertex.instance].awaited.future;
            format!("{indent}{future} {:?}", vertex.role)
        })
        .collect();
    assert_eq!(
        told,
        [
            "app::handle Awaited",
            "  app::part Spawned",
            "    dep::Sleep Awaited",
            "  dep::Join Awaited",
            "  dep::Oneshot Awaited",
            "    app::worker Waker",
        ]
    );
    let edge = |from, to, kind| Edge { from, to, kind };
    assert_eq!(
        graph.edges,
        [
            edge(0, 1, EdgeKind::Spawned),
            edge(0, 3, EdgeKind::Awaits),
            edge(0, 4, EdgeKind::Awaits),
            edge(1, 2, EdgeKind::Awaits),
            edge(1, 3, EdgeKind::Joined),
            edge(5, 4, EdgeKind::Woke),
        ]
    );
    assert!(graph.vertices[2].ended_by.is_some());
    assert!(!graph.cut_off);
}

#[test]
fn a_graph_has_a_limit_and_says_so() {
    let mut sample = sample();
    let task = sample.history.awaits[0].task;
    for _ in 0..VERTICES {
        let handle = Some(AwaitIndex(2));
        sample.instance(task, handle, "dep::Io", 8, Some("io"), (300, 310));
    }
    let history = &sample.history;
    let requests = find(history, &Patterns::new(&["handle"])).list;
    let graph = graph(history, &Nesting::new(history), &requests[0]);
    assert_eq!(graph.vertices.len(), VERTICES);
    assert!(graph.cut_off);
    for edge in &graph.edges {
        assert!((edge.from.max(edge.to) as usize) < VERTICES);
    }
}
