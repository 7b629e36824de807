//! Tables and lines of text.

use anstyle::{AnsiColor, Style};

pub(super) const STRONG: Style = Style::new().bold();
pub(super) const FAINT: Style = Style::new().dimmed();
pub(super) const WARNING: Style = AnsiColor::Yellow.on_default();

pub(super) use crate::show::text::{heading, table};

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
