//! The pane with the await tree of the selected task. Formats only the lines that are shown.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::format;
use super::model::Model;
use super::palette::Palette;
use crate::rebuild::tree::{AwaitNode, NodeState};
use crate::show::escape::escape;
use crate::show::waits::describe;

/// Draws the pane.
pub(super) fn draw(model: &Model, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let mut title = vec![Span::raw(" ")];
    match model.selected() {
        Some(row) => title.push(Span::styled(
            escape(&row.label.to_string()).into_owned(),
            palette.strong(),
        )),
        None => title.push(Span::raw("no task")),
    }
    if let Some(reading) = model.tree() {
        let age = format::duration(format::ago(model.table().now, reading.at));
        title.push(Span::styled(format!("  read {age} ago"), palette.faint()));
    }
    title.push(Span::raw(" "));
    let block = Block::new().borders(Borders::TOP).title(Line::from(title));
    let inside = block.inner(area);
    frame.render_widget(block, area);

    let from = usize::from(model.tree_scroll());
    let lines = lines(model, palette, from + usize::from(inside.height));
    // Scrolled too far: the last line stays.
    let from = from.min(lines.len().saturating_sub(1));
    frame.render_widget(
        Paragraph::new(lines.into_iter().skip(from).collect::<Vec<_>>()),
        inside,
    );
}

/// At most `limit` lines.
fn lines(model: &Model, palette: Palette, limit: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let Some(row) = model.selected() else {
        return lines;
    };
    if let Some(polls) = model.table().nested.get(&row.key) {
        lines.push(Line::styled("polled in its last poll:", palette.faint()));
        for poll in polls {
            let indent = "  ".repeat(usize::from(poll.depth) + 1);
            lines.push(Line::raw(format!("{indent}{}", escape(&poll.future))));
        }
    }
    let Some(reading) = model.tree() else {
        lines.push(Line::styled("reading its memory ...", palette.faint()));
        return lines;
    };
    let task = match &reading.task {
        Ok(task) => task,
        Err(reason) => {
            let text = format!("not readable: {}", escape(reason));
            lines.push(Line::styled(text, palette.faint()));
            return lines;
        }
    };
    for note in &task.notes {
        lines.push(Line::styled(
            format!("note: {}", escape(note)),
            palette.faint(),
        ));
    }
    match &task.tree {
        Some(tree) => {
            let ages = Ages::of(model, tree);
            let mut pane = Pane {
                ages,
                next: 0,
                palette,
                limit,
                lines: &mut lines,
            };
            pane.node(tree, "", "");
        }
        None if task.notes.is_empty() => {
            let text = format!(
                "no await tree: {} is {}",
                row.label,
                format::state(task.state)
            );
            lines.push(Line::styled(escape(&text).into_owned(), palette.faint()));
        }
        None => {}
    }
    lines.truncate(limit);
    lines
}

/// How long the futures of a tree have been there, in preorder.
struct Ages(Vec<String>);

impl Ages {
    /// Nothing unless what events told of the task is this very tree.
    fn of(model: &Model, tree: &AwaitNode) -> Self {
        let table = model.table();
        let standing = model
            .selected()
            .and_then(|row| table.standing.get(&row.key))
            .map_or(&[][..], Vec::as_slice);
        let mut names = Vec::new();
        tree.visit(&mut |node| names.push(&node.future));
        let same = names.len() == standing.len()
            && names
                .iter()
                .zip(standing)
                .all(|(name, standing)| **name == standing.future);
        if !same {
            return Self(Vec::new());
        }
        let ages = standing.iter().map(|standing| {
            let bound = if standing.at_least { ">=" } else { "" };
            let age = format::duration(format::ago(table.now, standing.since));
            format!("  {bound}{age}")
        });
        Self(ages.collect())
    }
}

/// Lines in the making.
struct Pane<'l> {
    ages: Ages,
    /// Place of the next future in preorder.
    next: usize,
    palette: Palette,
    limit: usize,
    lines: &'l mut Vec<Line<'static>>,
}

impl Pane<'_> {
    /// Adds the lines of `tree`: `first` stands before its own line, `rest` before those below it.
    fn node(&mut self, tree: &AwaitNode, first: &str, rest: &str) {
        if self.lines.len() >= self.limit {
            return;
        }
        let palette = self.palette;
        let age = self.ages.0.get(self.next).cloned();
        self.next += 1;
        let mut spans = vec![
            Span::styled(first.to_owned(), palette.faint()),
            Span::raw(escape(&tree.future).into_owned()),
        ];
        if let Some(file) = &tree.file {
            let file = escape(format::short_path(file)).into_owned();
            let line = tree.line.map_or(String::new(), |line| format!(":{line}"));
            spans.push(Span::styled(format!("  {file}{line}"), palette.source()));
        }
        if let Some(age) = age {
            spans.push(Span::styled(age, palette.strong()));
        }
        match tree.state {
            NodeState::Suspended | NodeState::Unknown => {}
            NodeState::Unresumed => spans.push(Span::styled("  not polled yet", palette.faint())),
            NodeState::Returned => spans.push(Span::styled("  returned", palette.faint())),
            NodeState::Panicked => spans.push(Span::styled("  panicked", palette.alarm())),
        }
        if let Some(waits_for) = &tree.waits_for {
            let text = format!("  waits for {}", escape(&describe(waits_for)));
            spans.push(Span::styled(text, palette.wait()));
        }
        for note in &tree.notes {
            spans.push(Span::styled(
                format!("  ({})", escape(note)),
                palette.faint(),
            ));
        }
        self.lines.push(Line::from(spans));
        for (index, child) in tree.children.iter().enumerate() {
            let last = index + 1 == tree.children.len();
            let (branch, below) = if last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            let (branch, below) = (format!("{rest}{branch}"), format!("{rest}{below}"));
            self.node(child, &branch, &below);
            if self.lines.len() >= self.limit {
                return;
            }
        }
    }
}
