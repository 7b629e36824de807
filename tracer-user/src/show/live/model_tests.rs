//! Keys and data against the state of the view.

use super::*;
use crate::show::live::table::samples;

fn press(model: &mut Model, code: KeyCode) -> Next {
    let next = model.update(Message::Key(KeyEvent::from(code)));
    model.settle();
    model.scroll(3);
    next
}

fn model(table: Table) -> Model {
    let mut model = Model::default();
    model.update(Message::Data(Arc::new(table)));
    model.settle();
    model.scroll(3);
    model
}

fn selected(model: &Model) -> String {
    model
        .selected()
        .map(|row| row.label.to_string())
        .unwrap_or_default()
}

#[test]
fn the_selection_follows_its_task_through_sorting_and_new_data() {
    let mut model = model(samples::service());
    press(&mut model, KeyCode::Down);
    assert_eq!(selected(&model), "tokio/17");
    press(&mut model, KeyCode::Char('5')); // polls, largest first
    assert_eq!(selected(&model), "tokio/17");
    assert_eq!(model.position().0, 0);

    let mut table = samples::service();
    table.rows.remove(0);
    model.update(Message::Data(Arc::new(table)));
    model.settle();
    assert_eq!(selected(&model), "tokio/17");
}

#[test]
fn when_the_selected_task_ends_the_selection_stays_in_place() {
    let mut model = model(samples::service());
    press(&mut model, KeyCode::Down);
    let mut table = samples::service();
    table.rows.remove(1);
    model.update(Message::Data(Arc::new(table)));
    model.settle();
    assert_eq!(selected(&model), "tokio/18");
    assert!(model.tree().is_none());
    model.update(Message::Data(Arc::default()));
    model.settle();
    assert!(model.selected().is_none());
    press(&mut model, KeyCode::End);
    press(&mut model, KeyCode::Up);
    assert!(model.selected().is_none());
}

#[test]
fn the_selected_row_is_always_on_the_screen() {
    let mut model = model(samples::crowd(100));
    for (key, first) in [
        (KeyCode::End, "tokio/98"),
        (KeyCode::PageUp, "tokio/97"),
        (KeyCode::Home, "tokio/1"),
        (KeyCode::PageDown, "tokio/2"),
    ] {
        press(&mut model, key);
        let visible: Vec<_> = model.visible().map(|row| row.label.to_string()).collect();
        assert_eq!(visible.len(), 3);
        assert_eq!(visible[0], first, "after {key:?}");
        assert!(visible.contains(&selected(&model)));
    }
}

#[test]
fn typing_a_filter_takes_letters_that_are_keys_elsewhere() {
    let mut model = model(samples::service());
    press(&mut model, KeyCode::Char('/'));
    for letter in "qp".chars() {
        assert_eq!(press(&mut model, KeyCode::Char(letter)), Next::Draw);
    }
    assert_eq!(model.filter(), "qp");
    assert!(!model.paused());
    assert_eq!(model.position(), (0, 0));
    press(&mut model, KeyCode::Backspace);
    press(&mut model, KeyCode::Backspace);
    press(&mut model, KeyCode::Char('d'));
    press(&mut model, KeyCode::Char('b'));
    press(&mut model, KeyCode::Enter);
    assert_eq!(selected(&model), "tokio/18");
    press(&mut model, KeyCode::Esc);
    assert_eq!(model.position().1, samples::service().rows.len());
    assert_eq!(selected(&model), "tokio/18");
}

#[test]
fn a_filter_cannot_grow_without_bound() {
    let mut model = model(samples::service());
    press(&mut model, KeyCode::Char('/'));
    for _ in 0..1_000 {
        press(&mut model, KeyCode::Char('x'));
    }
    assert_eq!(model.filter().len(), FILTER_LIMIT);
}

#[test]
fn pausing_keeps_what_is_shown_and_catches_up_afterwards() {
    let mut model = model(samples::service());
    press(&mut model, KeyCode::Char(' '));
    assert_eq!(model.update(Message::Data(Arc::default())), Next::Nothing);
    assert_eq!(model.table().rows.len(), samples::service().rows.len());
    press(&mut model, KeyCode::Char('p'));
    assert!(model.table().rows.is_empty());
}

#[test]
fn only_the_tree_of_the_selected_task_is_taken() {
    let mut model = model(samples::service());
    let reading = |key| TreeReading {
        key,
        at: 1,
        told: None,
        task: Err("the task has ended".to_owned()),
    };
    let rows = samples::service().rows;
    assert_eq!(
        model.update(Message::Tree(reading(rows[1].key))),
        Next::Nothing
    );
    assert_eq!(
        model.update(Message::Tree(reading(rows[0].key))),
        Next::Draw
    );
    assert!(model.tree().is_some());
    press(&mut model, KeyCode::Down);
    assert!(
        model.tree().is_none(),
        "the tree of another task must not stay"
    );
}

#[test]
fn memory_is_wanted_for_the_screen_only() {
    let mut model = model(samples::crowd(1_000));
    press(&mut model, KeyCode::Down);
    let wanted = model.wanted();
    assert_eq!(wanted.len(), 3);
    assert_eq!(wanted[0].id, Some(2), "the selected task first");
    press(&mut model, KeyCode::Char('p'));
    assert_eq!(model.wanted().len(), 1);
}

#[test]
fn the_keys_that_end_it_end_it() {
    let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    let mut model = model(samples::service());
    assert_eq!(press(&mut model, KeyCode::Char('q')), Next::Quit);
    press(&mut model, KeyCode::Char('/'));
    assert_eq!(model.update(Message::Key(ctrl_c)), Next::Interrupt);
    press(&mut model, KeyCode::Esc);
    press(&mut model, KeyCode::Char('?'));
    assert!(model.help());
    assert_eq!(press(&mut model, KeyCode::Char('x')), Next::Draw);
    assert!(!model.help());
}
