//! A model as a frame on a terminal of any size. Only what is on the screen is formatted.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table as TableWidget};

use super::columns::{self, Column};
use super::format;
use super::found::{self, Found};
use super::model::Model;
use super::palette::Palette;
use super::table::{SamplingStatus, Status, Table, TaskRow, WokenBy};
use super::tree_pane;
use crate::rebuild::snapshot::TaskState;
use crate::show::escape::escape;

/// Below this height there is no tree pane: the table needs the room.
const TREE_FROM_HEIGHT: u16 = 14;

/// The keys, for the help.
const KEYS: [(&str, &str); 13] = [
    ("up down k j", "select a task"),
    ("PgUp PgDn Home End", "select further away"),
    ("< > left right", "sort by another column"),
    ("1 to 9, 0", "sort by that column; again: reverse"),
    ("r", "reverse the order"),
    ("/", "show tasks with a text (name, state, file, ...)"),
    ("Esc", "show all tasks again"),
    ("p space", "pause, go on"),
    ("t Enter", "hide or show the await tree"),
    ("f", "show or hide the findings, with evidence"),
    ("[ ]", "scroll the await tree, or the findings"),
    ("?", "this help"),
    ("q Ctrl-C", "stop"),
];

/// Draws the whole view. Brings the model's order and scrolling up to date first.
pub fn draw(model: &mut Model, palette: Palette, frame: &mut Frame<'_>) {
    model.settle();
    let area = frame.area();
    let notice = u16::from(model.table().status.notice.is_some());
    let findings = u16::from(model.found().is_some_and(Found::has_open));
    let room = area.height >= TREE_FROM_HEIGHT;
    let tree = match (model.found_shown(), model.tree_shown()) {
        (true, _) => Constraint::Percentage(if room { 60 } else { 50 }),
        (false, true) if room => Constraint::Percentage(40),
        _ => Constraint::Length(0),
    };
    let [header, notices, found_line, tasks, tree, footer] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(notice),
        Constraint::Length(findings),
        Constraint::Min(2),
        tree,
        Constraint::Length(1),
    ])
    .areas(area);

    // One line is the heading.
    model.scroll(usize::from(tasks.height.saturating_sub(1)));
    frame.render_widget(
        Paragraph::new(header_lines(model, palette, header.width)),
        header,
    );
    if let Some(notice) = &model.table().status.notice {
        let line = Line::styled(escape(notice).into_owned(), palette.wait());
        frame.render_widget(Paragraph::new(line), notices);
    }
    draw_tasks(model, palette, frame, tasks);
    if let Some(found) = model.found().filter(|_| findings > 0) {
        frame.render_widget(Paragraph::new(found::line(found, palette)), found_line);
    }
    if tree.height > 1 && model.found_shown() {
        found::draw(model.found(), model.found_scroll(), palette, frame, tree);
    } else if tree.height > 1 {
        tree_pane::draw(model, palette, frame, tree);
    }
    frame.render_widget(Paragraph::new(footer_line(model, palette)), footer);
    if model.help() {
        draw_help(palette, frame, area);
    }
}

/// The two lines on top. What matters most stands left, where a narrow terminal keeps it.
fn header_lines(model: &Model, palette: Palette, width: u16) -> Vec<Line<'static>> {
    let table = model.table();
    let status = &table.status;
    let wide = width >= 100;
    let mut first = vec![
        Span::styled(escape(&status.program).into_owned(), palette.strong()),
        Span::raw(format!(" ({})", status.pid)),
        Span::raw(format!("  {}", format::duration(status.elapsed))),
    ];
    if model.paused() {
        first.push(Span::styled("  PAUSED", palette.alarm()));
    }
    if !status.runtimes.is_empty() {
        first.push(Span::raw(format!("  {}", escape(&status.runtimes))));
    }
    if let Some(recording) = &status.recording {
        let path = escape(&recording.path);
        let size = format::bytes(recording.bytes);
        first.push(Span::raw(format!("  recording {path} {size}")));
        if recording.dropped > 0 {
            let text = format!(" ({} not written)", format::count(recording.dropped));
            first.push(Span::styled(text, palette.alarm()));
        }
    }

    let mut second = vec![Span::styled(tasks_by_state(table, wide), palette.strong())];
    if let Some(sampling) = &status.sampling {
        second.extend(looks(sampling, palette));
    } else {
        second.push(Span::raw(format!(
            "  {}{}/s",
            if wide { "events " } else { "" },
            format::rate(status.events_per_second)
        )));
        second.push(lost(status, palette));
    }
    if let Some(overhead) = status.overhead {
        let text = format!("  overhead {} of a CPU", format::percent(overhead));
        second.push(Span::raw(text));
    }
    vec![Line::from(first), Line::from(second)]
}

/// Of a session without probes: how it looks, and what changed.
fn looks(sampling: &SamplingStatus, palette: Palette) -> [Span<'static>; 2] {
    let changes = sampling.changes;
    let text = format!(
        "  {} looks, {}/s: {} came, {} went, {} moved, {} still",
        format::count(sampling.looks),
        rate(sampling.per_second),
        format::count(changes.came),
        format::count(changes.went),
        format::count(changes.moved),
        format::count(changes.still),
    );
    let own = format!("  own {} of a CPU", format::percent(sampling.own_cpu));
    [Span::raw(text), Span::styled(own, palette.faint())]
}

/// A rate in as many digits as it needs.
fn rate(per_second: f64) -> String {
    if per_second >= 10.0 {
        format!("{per_second:.0}")
    } else {
        format!("{per_second:.2}")
    }
}

fn lost(status: &Status, palette: Palette) -> Span<'static> {
    let style = if status.lost > 0 {
        palette.alarm()
    } else {
        palette.faint()
    };
    Span::styled(format!("  lost {}", format::count(status.lost)), style)
}

fn tasks_by_state(table: &Table, wide: bool) -> String {
    const STATES: [TaskState; 5] = [
        TaskState::Running,
        TaskState::Scheduled,
        TaskState::Idle,
        TaskState::Complete,
        TaskState::Unknown,
    ];
    let mut counts = [0u64; 5];
    for row in &table.rows {
        for (count, state) in counts.iter_mut().zip(STATES) {
            *count += u64::from(row.state == state);
        }
    }
    let parts: Vec<_> = STATES
        .iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| {
            let word = if wide {
                format::state(*state)
            } else {
                format::short_state(*state)
            };
            format!("{} {word}", format::count(count))
        })
        .collect();
    let total = table.rows.len() + table.rows_left_out;
    let noun = if total == 1 { "task" } else { "tasks" };
    let total = format::count(total as u64);
    if parts.is_empty() {
        format!("{total} {noun}")
    } else {
        format!("{total} {noun}: {}", parts.join(", "))
    }
}

fn draw_tasks(model: &Model, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let columns = columns::fit(area.width);
    let sort = model.sort();
    let heading = columns.iter().map(|(column, width)| {
        let mut text = column.heading().to_owned();
        let mut style = palette.strong();
        if *column == sort.column {
            text.push(if sort.descending { '▼' } else { '▲' });
            style = style.underlined();
        }
        let text = format::keep_left(&text, usize::from(*width));
        Cell::from(Text::styled(text, style).alignment(alignment(*column)))
    });
    let rows = model.visible().enumerate().map(|(position, row)| {
        let cells = columns
            .iter()
            .map(|(column, width)| cell(model.table(), row, *column, *width, palette));
        let style = if position == model.selected_on_screen() {
            palette.selected()
        } else {
            ratatui::style::Style::new()
        };
        Row::new(cells.collect::<Vec<_>>()).style(style)
    });
    let widths = columns.iter().map(|(_, width)| Constraint::Length(*width));
    let widget = TableWidget::new(rows.collect::<Vec<_>>(), widths)
        .header(Row::new(heading.collect::<Vec<_>>()))
        .column_spacing(columns::GAP);
    frame.render_widget(widget, area);

    if model.visible().next().is_none() && area.height > 1 {
        let text = match (model.table().rows.is_empty(), model.filter()) {
            (true, _) => "no tasks".to_owned(),
            (false, filter) => format!("no task has \"{}\"; Esc shows all", escape(filter)),
        };
        let below = Rect {
            y: area.y + 1,
            height: 1,
            ..area
        };
        frame.render_widget(Paragraph::new(Line::styled(text, palette.faint())), below);
    }
}

const fn alignment(column: Column) -> Alignment {
    if column.is_number() {
        Alignment::Right
    } else {
        Alignment::Left
    }
}

fn cell<'a>(
    table: &Table,
    row: &TaskRow,
    column: Column,
    width: u16,
    palette: Palette,
) -> Cell<'a> {
    let text = words(table, row, column);
    let text = escape(&text);
    let width = usize::from(width);
    let text = if column.cuts_left() {
        format::keep_right(&text, width)
    } else {
        format::keep_left(&text, width)
    };
    let style = match column {
        Column::State => palette.state(row.state),
        Column::Await if row.await_is_old() => palette.faint(),
        _ => ratatui::style::Style::new(),
    };
    Cell::from(Text::styled(text, style).alignment(alignment(column)))
}

/// What a cell says, not escaped yet. `-` where nothing was seen, `n/a` where nothing can be.
fn words(table: &Table, row: &TaskRow, column: Column) -> String {
    const UNSEEN: &str = "n/a";
    let activity = row.activity.as_ref();
    let wake = activity.and_then(|activity| activity.last_wake);
    let nothing = if activity.is_some() { "-" } else { UNSEEN };
    match column {
        Column::Task => row.label.to_string(),
        Column::Future => row.future.to_string(),
        Column::State => format::state(row.state).to_owned(),
        Column::Elapsed if row.unwatched => "?".to_owned(),
        Column::Elapsed => {
            // Found so at the attach: it has been so for at least as long.
            let at_least = if row.since_before_attach { ">" } else { "" };
            let span = format::duration(format::ago(table.now, row.since));
            format!("{at_least}{span}")
        }
        Column::Polls => activity.map_or(UNSEEN.to_owned(), |seen| format::count(seen.polls)),
        Column::Rate => activity.map_or(UNSEEN.to_owned(), |seen| {
            format::rate(seen.polls_per_second)
        }),
        Column::Busy => activity.map_or(UNSEEN.to_owned(), |seen| {
            let busy = format::duration(seen.busy);
            format!("{busy:<7} {:>5}", format::percent(seen.busy_share))
        }),
        Column::LastWake => wake.map_or(nothing.to_owned(), |wake| {
            let at_most = if wake.at_most { "<" } else { "" };
            let span = format::duration(format::ago(table.now, wake.at));
            format!("{at_most}{span}")
        }),
        Column::WokenBy => wake.map_or(nothing.to_owned(), |wake| match wake.by {
            WokenBy::Task(None) => "a task".to_owned(),
            WokenBy::Task(Some(number)) => format!("task {number}"),
            WokenBy::Thread(tid) => match table.threads.get(&tid) {
                Some(name) => format!("{name} {tid}"),
                None => format!("thread {tid}"),
            },
        }),
        Column::Await => match &row.awaiting {
            None => "-".to_owned(),
            Some(awaiting) => {
                // It was polled since: this is where it was, not where it is.
                let old = if row.await_is_old() { "was " } else { "" };
                match &awaiting.site {
                    Some((file, line)) => {
                        let file = format::short_path(file);
                        format!("{old}{file}:{line} {}", awaiting.what)
                    }
                    None => format!("{old}{}", awaiting.what),
                }
            }
        },
    }
}

fn footer_line(model: &Model, palette: Palette) -> Line<'static> {
    let (at, count) = model.position();
    let filter = escape(model.filter()).into_owned();
    if model.typing() {
        return Line::from(vec![
            Span::styled("/", palette.strong()),
            Span::raw(filter),
            Span::styled("_", palette.selected()),
            Span::styled("  Enter keep, Esc show all", palette.faint()),
        ]);
    }
    let place = if count == 0 { 0 } else { at + 1 };
    let mut spans = vec![Span::raw(format!("{place}/{count}"))];
    if model.table().rows_left_out > 0 {
        let text = format!(" (+{} not shown)", model.table().rows_left_out);
        spans.push(Span::styled(text, palette.alarm()));
    }
    if !filter.is_empty() {
        spans.push(Span::styled(format!(" with \"{filter}\""), palette.wait()));
    }
    let pause = if model.paused() { "go on" } else { "pause" };
    for (key, what) in [
        ("q", "quit"),
        ("?", "help"),
        ("/", "filter"),
        ("<>", "sort"),
        ("p", pause),
    ] {
        spans.push(Span::styled(format!("  {key}"), palette.strong()));
        spans.push(Span::raw(format!(" {what}")));
    }
    Line::from(spans)
}

fn draw_help(palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let width = area.width.min(70);
    let height = area.height.min(KEYS.len() as u16 + 2);
    let window = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let lines: Vec<_> = KEYS
        .iter()
        .map(|(keys, what)| {
            Line::from(vec![
                Span::styled(format!(" {keys:<19}"), palette.strong()),
                Span::raw(*what),
            ])
        })
        .collect();
    let block = Block::bordered().title(" keys (any key goes back) ");
    frame.render_widget(Clear, window);
    frame.render_widget(Paragraph::new(lines).block(block), window);
}
