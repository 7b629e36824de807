//! What is wrong, in the live view: a line on top, and a pane with the evidence.

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Wrap};

use super::format;
use super::palette::Palette;
use crate::analyse::findings::{Certainty, Coverage, Episode};
use crate::show::escape::escape;
use crate::show::findings::{self as words, Clock, Told};

/// Findings in the pane at most.
const MAX_SHOWN: usize = 50;
/// Columns of the names of rows.
const NAMES: usize = 12;

/// What was found until now.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is open, the surest and gravest first, then what is over.
    pub episodes: Vec<Episode>,
    /// Findings beyond those that are followed.
    pub beyond: u64,
    /// What was looked at, and what could not be judged.
    pub coverage: Coverage,
    /// The time that the last judgement was about: CLOCK_MONOTONIC, nanoseconds.
    pub span: Range<u64>,
    /// When it was: CLOCK_MONOTONIC, nanoseconds.
    pub now: u64,
}

impl Found {
    fn open(&self) -> impl Iterator<Item = &Episode> {
        self.episodes.iter().filter(|one| one.closed.is_none())
    }

    /// Whether anything is open.
    #[must_use]
    pub fn has_open(&self) -> bool {
        self.open().next().is_some()
    }
}

const fn style(certainty: Certainty, palette: Palette) -> ratatui::style::Style {
    match certainty {
        Certainty::Proved => palette.alarm(),
        Certainty::Likely => palette.wait(),
        Certainty::Possible => palette.strong(),
    }
}

/// The line on top: how many, and the first of them.
pub(super) fn line(found: &Found, palette: Palette) -> Line<'static> {
    let count = found.open().count();
    let noun = if count == 1 { "finding" } else { "findings" };
    let mut spans = vec![Span::styled(format!("{count} {noun}: "), palette.strong())];
    for (at, episode) in found.open().take(3).enumerate() {
        let finding = &episode.finding;
        let before = if at == 0 { "" } else { ", " };
        spans.push(Span::styled(
            format!("{before}{} {}", finding.certainty, finding.kind),
            style(finding.certainty, palette),
        ));
    }
    if count > 3 {
        spans.push(Span::raw(", ..."));
    }
    spans.push(Span::styled("; f", palette.strong()));
    spans.push(Span::raw(" shows them"));
    Line::from(spans)
}

/// Draws the pane.
pub(super) fn draw(
    found: Option<&Found>,
    scroll: u16,
    palette: Palette,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let lines = found.map_or_else(
        || vec![Line::styled("not judged yet", palette.faint())],
        |found| lines(found, palette),
    );
    let block = Block::new()
        .borders(Borders::TOP)
        .title(" findings (f hides them, [ ] scroll) ");
    let text = Paragraph::new(lines)
        .block(block)
        .wrap(Wrap { trim: false })
        .scroll((scroll, 0));
    frame.render_widget(text, area);
}

fn lines(found: &Found, palette: Palette) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for episode in found.episodes.iter().take(MAX_SHOWN) {
        of_episode(episode, found, palette, &mut lines);
    }
    let more = found.episodes.len().saturating_sub(MAX_SHOWN) as u64 + found.beyond;
    if more > 0 {
        lines.push(Line::styled(format!("and {more} more"), palette.alarm()));
    }
    if found.episodes.is_empty() {
        lines.push(Line::styled("no findings", palette.strong()));
    }
    let coverage = &found.coverage;
    let span = found.span.end.saturating_sub(found.span.start);
    lines.push(Line::styled(
        format!(
            "judged the last {}: {} events, {} tasks, memory read {} times{}",
            format::duration(std::time::Duration::from_nanos(span)),
            format::count(coverage.events),
            format::count(coverage.tasks),
            coverage.looks,
            lost(coverage),
        ),
        palette.faint(),
    ));
    for one in &coverage.not_judged {
        let text = format!("not judged: {} ({})", one.kind, escape(&one.reason));
        lines.push(Line::styled(text, palette.faint()));
    }
    lines
}

fn lost(coverage: &Coverage) -> String {
    let missing = &coverage.missing;
    let lost = missing.records_lost + missing.events_dropped;
    if lost > 0 {
        format!(", {} events lost", format::count(lost))
    } else {
        String::new()
    }
}

fn of_episode(episode: &Episode, found: &Found, palette: Palette, into: &mut Vec<Line<'static>>) {
    let finding = &episode.finding;
    let clock = Clock::new(words::Span {
        began_ns: found.span.start,
        ended_ns: found.now,
        began_unix_ns: None,
    });
    let told = Told::of(finding, clock);
    let ago = |time: u64| format::duration(format::ago(found.now, time));
    let state = match episode.closed {
        None => format!("open for {}", ago(episode.opened)),
        Some(closed) => format!("over for {}", ago(closed)),
    };
    let times = told
        .times
        .map_or(String::new(), |times| format!(" ({times})"));
    let is_over = episode.closed.is_some();
    let sure = if is_over {
        palette.faint()
    } else {
        style(finding.certainty, palette)
    };
    into.push(Line::from(vec![
        Span::styled(format!("{} {}{times}", told.certainty, told.kind), sure),
        Span::styled(format!(" {state}: "), palette.faint()),
        Span::raw(told.summary),
    ]));
    // What is over is told in a line.
    if is_over {
        return;
    }
    for (name, text) in told.rows {
        // The head says it better, as it follows the finding from one judgement to the next.
        if name == "since" {
            continue;
        }
        into.push(Line::from(vec![
            Span::styled(format!("  {name:<NAMES$}"), palette.faint()),
            Span::raw(text),
        ]));
    }
}
