//! Tables and lines of text.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

pub(super) const STRONG: Style = Style::new().bold();
pub(super) const FAINT: Style = Style::new().dimmed();
pub(super) const WARNING: Style = AnsiColor::Yellow.on_default();

/// A table without borders; columns before `left` are numbers.
pub(super) fn table(headings: &[&str], left: usize, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headings.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        if at < left {
            column.set_cell_alignment(CellAlignment::Right);
        }
        column.set_padding((0, 2));
    }
    let text: Vec<String> = table
        .lines()
        .map(|line| format!("  {}", line.trim_end()))
        .collect();
    text.join("\n")
}

pub(super) fn heading(out: &mut dyn Write, title: &str) -> io::Result<()> {
    writeln!(out, "\n{STRONG}{title}{STRONG:#}")
}

pub(super) fn plural(count: u64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// A share of a whole, as a percentage.
pub(super) fn share(part: u64, whole: u64) -> String {
    crate::show::live::format::percent(part as f64 / whole.max(1) as f64)
}

/// Some ids: `#4, #7, #9 and 5 more`.
pub(super) fn ids(ids: &[u32]) -> String {
    const NAMED: usize = 6;
    let named: Vec<String> = ids.iter().take(NAMED).map(|id| format!("#{id}")).collect();
    let mut text = named.join(", ");
    if ids.len() > NAMED {
        text.push_str(&format!(" and {} more", ids.len() - NAMED));
    }
    text
}
