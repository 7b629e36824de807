//! Frames of made-up tables, on terminals of several sizes, against golden files.

use std::sync::Arc;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::draw::draw;
use super::found::Found;
use super::model::{Message, Model, TreeReading};
use super::palette::Palette;
use super::table::{Standing, Table, samples};
use crate::analyse::findings::{
    Certainty, Coverage, Episode, Finding, Kind, NotJudged, Role, Site, Subject,
};
use crate::rebuild::snapshot::{TaskInfo, TaskState};
use crate::rebuild::tree::{AwaitNode, NodeKind, NodeState, WaitsFor};

/// A model that shows `table` after these keys.
fn model(table: Table, keys: &[KeyCode]) -> Model {
    let mut model = Model::default();
    model.update(Message::Data(Arc::new(table)));
    model.settle();
    for key in keys {
        model.update(Message::Key(KeyEvent::from(*key)));
    }
    model
}

fn frame(model: &mut Model, width: u16, height: u16) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw(model, Palette::PLAIN, frame))
        .unwrap();
    terminal.backend().clone()
}

fn node(future: &str, at: Option<(&str, u32)>, children: Vec<AwaitNode>) -> AwaitNode {
    AwaitNode {
        future: future.into(),
        kind: NodeKind::AsyncFn,
        state: NodeState::Suspended,
        file: at.map(|(file, _)| file.into()),
        line: at.map(|(_, line)| line),
        waits_for: None,
        notes: Vec::new(),
        children,
        ..AwaitNode::default()
    }
}

fn with_tree(mut model: Model, tree: Option<AwaitNode>, notes: &[&str]) -> Model {
    model.settle();
    let row = model.selected().unwrap();
    let reading = TreeReading {
        key: row.key,
        at: samples::NOW - 200_000_000,
        told: None,
        task: Ok(Arc::new(TaskInfo {
            id: row.label.to_string(),
            runtime: "tokio",
            scheduler: "multi_thread",
            state: TaskState::Idle,
            future: row.future.clone(),
            tree,
            notes: notes.iter().map(|&note| note.to_owned()).collect(),
            address: row.key.address,
            references: None,
            ..TaskInfo::default()
        })),
    };
    model.update(Message::Tree(reading));
    model
}

fn select_tree() -> AwaitNode {
    let mut leaf = node("tokio::time::Sleep", None, vec![]);
    leaf.kind = NodeKind::Leaf;
    leaf.waits_for = Some(WaitsFor::new("sleep").with("remaining_ms", 1_500));
    let timeout = node("app::db::query", Some(("src/db.rs", 88)), vec![leaf]);
    let mut other = node("app::db::cancelled", None, vec![]);
    other.state = NodeState::Unresumed;
    let both = node(
        "app::handler::race",
        Some(("src/main.rs", 61)),
        vec![timeout, other],
    );
    node(
        "app::handler::{async_block#0}",
        Some(("src/main.rs", 57)),
        vec![both],
    )
}

#[test]
fn a_wide_terminal_shows_every_column_and_the_tree() {
    let model = model(samples::service(), &[KeyCode::Down, KeyCode::Down]);
    let mut model = with_tree(model, Some(select_tree()), &[]);
    insta::assert_snapshot!(frame(&mut model, 150, 20));
}

#[test]
fn each_future_shows_since_when_where_events_told_the_same_tree() {
    let mut table = samples::service();
    let key = table.rows[0].key;
    let standing = |future: &str, ago, at_least| Standing {
        future: future.into(),
        since: samples::NOW - ago,
        at_least,
    };
    let told = vec![
        standing("app::handler::{async_block#0}", 90_000_000_000, true),
        standing("app::handler::race", 2_500_000_000, false),
        standing("app::db::query", 2_500_000_000, false),
        standing("tokio::time::Sleep", 300_000_000, true),
        standing("app::db::cancelled", 2_500_000_000, false),
    ];
    table.standing.insert(key, told.clone());
    let shown = |table| {
        let mut model = with_tree(model(table, &[]), Some(select_tree()), &[]);
        frame(&mut model, 120, 24).to_string()
    };
    let text = shown(table.clone());
    for age in [">=1m30s", "  2.5s", ">=300ms"] {
        assert!(text.contains(age), "{age}: {text}");
    }
    // Another tree than the one on the screen tells nothing about it.
    table.standing.insert(key, told[..4].to_vec());
    assert!(!shown(table).contains(">=300ms"));
}

#[test]
fn an_ordinary_terminal() {
    let model = model(samples::service(), &[KeyCode::Char('5')]);
    let mut model = with_tree(model, None, &["torn: it changed in all 3 readings"]);
    insta::assert_snapshot!(frame(&mut model, 80, 24));
}

#[test]
fn a_narrow_terminal_keeps_what_matters() {
    let mut model = model(samples::service(), &[]);
    insta::assert_snapshot!(frame(&mut model, 40, 10));
}

#[test]
fn no_terminal_is_too_small() {
    for width in [0, 1, 2, 9, 10, 11, 20, 30] {
        for height in 0..18 {
            for keys in [&[][..], &[KeyCode::Char('?')], &[KeyCode::Char('/')]] {
                let mut model = model(samples::service(), keys);
                frame(&mut model, width, height);
            }
        }
    }
}

#[test]
fn no_tasks() {
    let mut empty = Table::default();
    empty.status.program = "app".to_owned();
    empty.status.pid = 7;
    empty.status.notice = Some("no runtime seen yet".to_owned());
    let mut model = model(empty, &[]);
    insta::assert_snapshot!(frame(&mut model, 80, 15));
}

#[test]
fn a_filter_that_nothing_passes() {
    let keys = "/zz".chars().map(KeyCode::Char).collect::<Vec<_>>();
    let mut typing = model(samples::service(), &keys);
    insta::assert_snapshot!("filter_typing", frame(&mut typing, 60, 8));
    typing.update(Message::Key(KeyEvent::from(KeyCode::Enter)));
    insta::assert_snapshot!("filter_kept", frame(&mut typing, 60, 8));
}

#[test]
fn paused_and_lossy() {
    let mut table = samples::service();
    table.status.lost = 1_234;
    table.status.recording.as_mut().unwrap().dropped = 5;
    table.rows_left_out = 10;
    let mut model = model(table, &[KeyCode::Char('p')]);
    insta::assert_snapshot!(frame(&mut model, 120, 9));
}

/// A finding that is open, and one that is over.
fn found() -> Found {
    let finding = Finding {
        kind: Kind::LostWake,
        certainty: Certainty::Proved,
        summary: "nothing can wake a task: app::Gate\x1b[2J kept no waker".to_owned(),
        key: "lost_wake:app::Gate".to_owned(),
        count: 12,
        tasks: vec![Subject {
            id: "tokio/17".into(),
            future: Some("app::serve".into()),
        }],
        sites: vec![Site {
            role: Role::Culprit,
            future: "app::Gate".into(),
            file: Some("src/gate.rs".into()),
            line: Some(41),
        }],
        evidence: vec!["no waker of it is left".to_owned()],
        began_ns: None,
        ended_ns: None,
        advice: "keep a clone of the waker".to_owned(),
    };
    let episode = |closed| Episode {
        finding: finding.clone(),
        opened: 70_000_000_000,
        seen: 90_000_000_000,
        closed,
    };
    Found {
        episodes: vec![episode(None), episode(Some(90_000_000_000))],
        beyond: 0,
        coverage: Coverage {
            events_watched: true,
            events: 12_345,
            polls: 4_000,
            wakes: 4_000,
            missing: crate::analyse::history::Missing::default(),
            looks: 3,
            tasks: 42,
            debug_info: None,
            memory: None,
            not_judged: vec![NotJudged {
                kind: Kind::Stalled,
                reason: "15.0 s is less than --stalled (60.0 s)".to_owned(),
            }],
        },
        span: 85_000_000_000..100_000_000_000,
        now: 100_000_000_000,
    }
}

#[test]
fn findings_have_a_line_and_a_pane() {
    let mut model = model(samples::service(), &[]);
    model.update(Message::Found(Arc::new(found())));
    insta::assert_snapshot!("findings_line", frame(&mut model, 100, 14));
    model.update(Message::Key(KeyEvent::from(KeyCode::Char('f'))));
    insta::assert_snapshot!("findings_pane", frame(&mut model, 100, 26));
    // What is paused stands still.
    model.update(Message::Key(KeyEvent::from(KeyCode::Char('p'))));
    let before = frame(&mut model, 100, 26);
    let nothing = Found {
        episodes: Vec::new(),
        ..found()
    };
    model.update(Message::Found(Arc::new(nothing.clone())));
    assert_eq!(frame(&mut model, 100, 26), before);
    model.update(Message::Key(KeyEvent::from(KeyCode::Char('p'))));
    model.update(Message::Found(Arc::new(nothing)));
    insta::assert_snapshot!("findings_none", frame(&mut model, 100, 20));
}

#[test]
fn findings_fit_on_any_terminal() {
    for (width, height) in [(1, 1), (10, 3), (20, 6), (300, 90)] {
        let mut model = model(samples::service(), &[KeyCode::Char('f')]);
        frame(&mut model, width, height);
        model.update(Message::Found(Arc::new(found())));
        model.update(Message::Key(KeyEvent::from(KeyCode::Char(']'))));
        frame(&mut model, width, height);
    }
}

#[test]
fn help() {
    let mut model = model(samples::service(), &[KeyCode::Char('?')]);
    insta::assert_snapshot!(frame(&mut model, 80, 20));
}

#[test]
fn other_scripts_keep_their_columns() {
    let mut table = samples::service();
    table.rows[0].future = "приложение::服务::处理::{async_fn#0}".into();
    table.rows[2].future = "app::größe::🦀".into();
    let mut model = model(table, &[]);
    insta::assert_snapshot!(frame(&mut model, 80, 12));
}

/// A hostile target chooses every text. None of it may reach the terminal as a control.
#[test]
fn control_characters_from_the_target_are_escaped() {
    const EVIL: &str = "\x1b]0;owned\x07\x1b[2J\r\n\u{9b}31m\u{202e}";
    let mut table = samples::service();
    table.status.program = EVIL.to_owned();
    table.status.runtimes = EVIL.to_owned();
    table.status.notice = Some(EVIL.to_owned());
    table.threads.insert(4711, EVIL.into());
    for row in &mut table.rows {
        row.future = EVIL.into();
        if let Some(awaiting) = &mut row.awaiting {
            awaiting.site = Some((EVIL.into(), 1));
            awaiting.what = EVIL.into();
        }
    }
    let mut tree = node(EVIL, Some((EVIL, 3)), vec![]);
    tree.waits_for = Some(WaitsFor::new("io").with("path", EVIL));
    tree.notes.push(EVIL.to_owned());
    for keys in [&[][..], &[KeyCode::Char('/'), KeyCode::Char('\x1b')]] {
        let model = model(table.clone(), keys);
        let mut model = with_tree(model, Some(tree.clone()), &[EVIL]);
        let backend = frame(&mut model, 160, 24);
        for cell in backend.buffer().content() {
            let acts = |character: char| character.is_control() || character == '\u{202e}';
            assert!(!cell.symbol().contains(acts), "{:?}", cell.symbol());
        }
        assert!(backend.to_string().contains("\\x1b]0;owned\\x07"));
    }
}

/// Formatting must not grow with the table: of 100,000 tasks only those on the screen are asked for.
#[test]
fn of_a_hundred_thousand_tasks_only_a_screenful_is_formatted() {
    let mut model = model(samples::crowd(100_000), &[KeyCode::Char('5')]);
    for _ in 0..3 {
        frame(&mut model, 120, 50);
        let rows = model.visible().count();
        assert!(
            (10..=50).contains(&rows),
            "{rows} rows for a screen of 50 lines"
        );
        model.update(Message::Key(KeyEvent::from(KeyCode::Down)));
    }
}
