//! The state of the live view. Pure: keys and data come in, nothing is read or written.
//!
//! Data and keys only mark the order of rows as out of date; it is made again when a frame is
//! about to be drawn ([`Model::settle`]), so that sorting is bounded by the refresh rate and not by
//! how fast tasks or keys come.

use std::sync::Arc;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::columns::Column;
use super::found::Found;
use super::order::{self, Sort};
use super::table::{Table, TaskKey, TaskRow};
use crate::rebuild::snapshot::TaskInfo;
use crate::walk::flat::Told;

/// Longest filter text in characters.
const FILTER_LIMIT: usize = 200;

/// What came in.
#[derive(Clone, Debug)]
pub enum Message {
    /// A key.
    Key(KeyEvent),
    /// A new table.
    Data(Arc<Table>),
    /// The memory of a task was read.
    Tree(TreeReading),
    /// The process was judged.
    Found(Arc<Found>),
}

/// What the memory of one task told.
#[derive(Clone, Debug)]
pub struct TreeReading {
    /// Which task.
    pub key: TaskKey,
    /// When: `CLOCK_MONOTONIC`, nanoseconds.
    pub at: u64,
    /// The task, or why it could not be read.
    pub task: Result<Arc<TaskInfo>, String>,
    /// Where it stands, as the kernel's walk tells it; `None` where that is not known.
    pub told: Option<Told>,
}

/// What the caller has to do after an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing changed.
    Nothing,
    /// Draw, at the next chance.
    Draw,
    /// End the view and the session.
    Quit,
    /// The same by Ctrl-C, which a program that we started gets as well.
    Interrupt,
}

/// The state of the live view.
#[derive(Debug)]
pub struct Model {
    table: Arc<Table>,
    /// Came while paused.
    latest: Option<Arc<Table>>,
    order: Vec<u32>,
    out_of_date: bool,
    sort: Sort,
    filter: String,
    typing: bool,
    paused: bool,
    help: bool,
    tree_shown: bool,
    tree: Option<TreeReading>,
    tree_scroll: u16,
    found: Option<Arc<Found>>,
    found_shown: bool,
    found_scroll: u16,
    selected: Option<TaskKey>,
    cursor: usize,
    top: usize,
    /// Rows of tasks on the screen.
    page: usize,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            table: Arc::default(),
            latest: None,
            order: Vec::new(),
            out_of_date: false,
            sort: Sort::by(Column::Task),
            filter: String::new(),
            typing: false,
            paused: false,
            help: false,
            tree_shown: true,
            tree: None,
            tree_scroll: 0,
            found: None,
            found_shown: false,
            found_scroll: 0,
            selected: None,
            cursor: 0,
            top: 0,
            page: 1,
        }
    }
}

impl Model {
    /// Takes in one message.
    pub fn update(&mut self, message: Message) -> Next {
        match message {
            Message::Key(key) if key.kind == KeyEventKind::Release => Next::Nothing,
            Message::Key(key) => self.key(key),
            Message::Data(table) if self.paused => {
                self.latest = Some(table);
                Next::Nothing
            }
            Message::Data(table) => {
                self.table = table;
                self.out_of_date = true;
                Next::Draw
            }
            Message::Found(_) if self.paused => Next::Nothing,
            Message::Found(found) => {
                self.found = Some(found);
                Next::Draw
            }
            Message::Tree(reading) => {
                if self.paused && self.tree.as_ref().is_some_and(|old| old.key == reading.key) {
                    return Next::Nothing;
                }
                if self.selected != Some(reading.key) {
                    return Next::Nothing;
                }
                self.tree = Some(reading);
                Next::Draw
            }
        }
    }

    fn key(&mut self, key: KeyEvent) -> Next {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Next::Interrupt,
                KeyCode::Char('l') => Next::Draw,
                _ => Next::Nothing,
            };
        }
        if self.typing {
            return self.filter_key(key.code);
        }
        if self.help {
            self.help = false;
            return if key.code == KeyCode::Char('q') {
                Next::Quit
            } else {
                Next::Draw
            };
        }
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = true,
            KeyCode::Char(' ' | 'p') => self.toggle_pause(),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.set_filter(String::new()),
            KeyCode::Char('t') | KeyCode::Enter => self.tree_shown = !self.tree_shown,
            KeyCode::Char('f') => self.found_shown = !self.found_shown,
            KeyCode::Char('[') => *self.scrolled() = self.scrolled().saturating_sub(1),
            KeyCode::Char(']') => *self.scrolled() = self.scrolled().saturating_add(1),
            KeyCode::Char('r') => {
                self.sort.descending = !self.sort.descending;
                self.out_of_date = true;
            }
            KeyCode::Left | KeyCode::Char('<') => self.sort_by_neighbour(-1),
            KeyCode::Right | KeyCode::Char('>') => self.sort_by_neighbour(1),
            KeyCode::Char(digit @ '0'..='9') => {
                // 1 to 9 and 0 for the tenth, as the keys stand on a keyboard.
                let index = (digit as usize + 9 - '0' as usize) % 10;
                self.sort_by(Column::ALL[index]);
            }
            KeyCode::Up | KeyCode::Char('k') => self.move_cursor(|at| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.move_cursor(|at| at + 1),
            KeyCode::PageUp => {
                let page = self.page;
                self.move_cursor(|at| at.saturating_sub(page));
            }
            KeyCode::PageDown => {
                let page = self.page;
                self.move_cursor(|at| at + page);
            }
            KeyCode::Home | KeyCode::Char('g') => self.move_cursor(|_| 0),
            KeyCode::End | KeyCode::Char('G') => self.move_cursor(|_| usize::MAX),
            _ => return Next::Nothing,
        }
        Next::Draw
    }

    /// What is scrolled: the pane that is shown.
    fn scrolled(&mut self) -> &mut u16 {
        if self.found_shown {
            &mut self.found_scroll
        } else {
            &mut self.tree_scroll
        }
    }

    fn filter_key(&mut self, code: KeyCode) -> Next {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.set_filter(String::new());
            }
            KeyCode::Backspace => {
                let mut filter = self.filter.clone();
                filter.pop();
                self.set_filter(filter);
            }
            KeyCode::Char(character) if self.filter.chars().count() < FILTER_LIMIT => {
                self.set_filter(format!("{}{character}", self.filter));
            }
            _ => return Next::Nothing,
        }
        Next::Draw
    }

    fn set_filter(&mut self, filter: String) {
        self.out_of_date |= filter != self.filter;
        self.filter = filter;
    }

    fn toggle_pause(&mut self) {
        self.paused = !self.paused;
        if let Some(latest) = self.latest.take() {
            self.table = latest;
            self.out_of_date = true;
        }
    }

    fn sort_by(&mut self, column: Column) {
        if self.sort.column == column {
            self.sort.descending = !self.sort.descending;
        } else {
            self.sort = Sort::by(column);
        }
        self.out_of_date = true;
    }

    fn sort_by_neighbour(&mut self, step: isize) {
        let at = Column::ALL
            .iter()
            .position(|column| *column == self.sort.column)
            .unwrap_or(0);
        let count = Column::ALL.len();
        let next = (at + count).wrapping_add_signed(step) % count;
        self.sort = Sort::by(Column::ALL[next]);
        self.out_of_date = true;
    }

    /// Moves the selection; `to` gets the position that it has now.
    fn move_cursor(&mut self, to: impl FnOnce(usize) -> usize) {
        self.settle();
        self.cursor = to(self.cursor).min(self.order.len().saturating_sub(1));
        self.select(self.selected().map(|row| row.key));
    }

    fn select(&mut self, key: Option<TaskKey>) {
        if self.selected != key {
            self.selected = key;
            self.tree = None;
            self.tree_scroll = 0;
        }
    }

    /// Brings the order of rows up to date, keeping the selected task selected wherever it went.
    /// When it has ended, the selection stays at its place on the screen.
    pub fn settle(&mut self) {
        if self.out_of_date {
            self.out_of_date = false;
            self.order = order::arrange(&self.table, &self.filter, self.sort);
            let rows = &self.table.rows;
            let found = self.selected.and_then(|selected| {
                self.order.iter().position(|index| {
                    rows.get(*index as usize)
                        .is_some_and(|row| row.key == selected)
                })
            });
            self.cursor = found
                .unwrap_or(self.cursor)
                .min(self.order.len().saturating_sub(1));
        }
        self.select(self.selected().map(|row| row.key));
    }

    /// Tells how many rows of tasks the screen has, and moves the view so that the selected one is
    /// among them.
    pub fn scroll(&mut self, page: usize) {
        self.page = page.max(1);
        self.top = self
            .top
            .min(self.cursor)
            .max((self.cursor + 1).saturating_sub(self.page))
            .min(self.order.len().saturating_sub(self.page));
    }

    /// The table that is shown.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The rows on the screen, after [`Model::settle`] and [`Model::scroll`].
    pub fn visible(&self) -> impl Iterator<Item = &TaskRow> {
        self.order
            .iter()
            .skip(self.top)
            .take(self.page)
            .filter_map(|index| self.table.rows.get(*index as usize))
    }

    /// The tasks whose memory is worth reading: the selected one, then the visible ones. None while
    /// the view is paused, except for a task selected since.
    #[must_use]
    pub fn wanted(&self) -> Vec<TaskKey> {
        if self.paused {
            let unread = self.tree.is_none();
            return self.selected.filter(|_| unread).into_iter().collect();
        }
        let visible = self.visible().map(|row| row.key);
        self.selected
            .into_iter()
            .chain(visible.filter(|key| Some(*key) != self.selected))
            .collect()
    }

    /// The selected task's row, after [`Model::settle`].
    #[must_use]
    pub fn selected(&self) -> Option<&TaskRow> {
        self.table.rows.get(*self.order.get(self.cursor)? as usize)
    }

    /// Position of the selected row on the screen.
    #[must_use]
    pub const fn selected_on_screen(&self) -> usize {
        self.cursor.saturating_sub(self.top)
    }

    /// Position of the selected row among those that pass the filter, and how many these are.
    #[must_use]
    pub const fn position(&self) -> (usize, usize) {
        (self.cursor, self.order.len())
    }

    /// What was read of the selected task.
    #[must_use]
    pub const fn tree(&self) -> Option<&TreeReading> {
        self.tree.as_ref()
    }

    /// Lines of the tree that are scrolled away.
    #[must_use]
    pub const fn tree_scroll(&self) -> u16 {
        self.tree_scroll
    }

    /// What was found until now; `None` before the first judgement.
    #[must_use]
    pub fn found(&self) -> Option<&Found> {
        self.found.as_deref()
    }

    /// Whether the pane with findings is wanted, in place of the tree.
    #[must_use]
    pub const fn found_shown(&self) -> bool {
        self.found_shown
    }

    /// Lines of it that are scrolled away.
    #[must_use]
    pub const fn found_scroll(&self) -> u16 {
        self.found_scroll
    }

    /// The order of rows.
    #[must_use]
    pub const fn sort(&self) -> Sort {
        self.sort
    }

    /// The filter's text.
    #[must_use]
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Whether the filter is being typed.
    #[must_use]
    pub const fn typing(&self) -> bool {
        self.typing
    }

    /// Whether the view stands still.
    #[must_use]
    pub const fn paused(&self) -> bool {
        self.paused
    }

    /// Whether the keys are explained.
    #[must_use]
    pub const fn help(&self) -> bool {
        self.help
    }

    /// Whether the tree pane is wanted.
    #[must_use]
    pub const fn tree_shown(&self) -> bool {
        self.tree_shown
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
