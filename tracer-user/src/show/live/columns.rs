//! The columns of the table: names, widths, and which of them fit on a screen.

/// A column, in the order in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Column {
    /// The task's name.
    Task,
    /// Its future.
    Future,
    /// Its state.
    State,
    /// Time in that state.
    Elapsed,
    /// Polls since the attach.
    Polls,
    /// Polls a second.
    Rate,
    /// Time in polls and the share of a CPU.
    Busy,
    /// How long ago it was woken.
    LastWake,
    /// By whom.
    WokenBy,
    /// Where it waits, and for what.
    Await,
}

impl Column {
    /// All columns in their order.
    pub const ALL: [Self; 10] = [
        Self::Task,
        Self::Future,
        Self::State,
        Self::Elapsed,
        Self::Polls,
        Self::Rate,
        Self::Busy,
        Self::LastWake,
        Self::WokenBy,
        Self::Await,
    ];

    /// The order in which columns get a place while there is room.
    const BY_IMPORTANCE: [Self; 10] = [
        Self::Task,
        Self::State,
        Self::Future,
        Self::Await,
        Self::Elapsed,
        Self::Polls,
        Self::Rate,
        Self::Busy,
        Self::LastWake,
        Self::WokenBy,
    ];

    /// Its heading.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Task => "TASK",
            Self::Future => "FUTURE",
            Self::State => "STATE",
            Self::Elapsed => "FOR",
            Self::Polls => "POLLS",
            Self::Rate => "POLLS/S",
            Self::Busy => "BUSY     CPU",
            Self::LastWake => "WOKEN",
            Self::WokenBy => "BY",
            Self::Await => "AWAITS",
        }
    }

    /// Its least width in cells; the flexible columns grow from it.
    const fn width(self) -> u16 {
        match self {
            Self::Task => 10,
            Self::Future => 18,
            Self::State => 9,
            Self::Elapsed | Self::Polls | Self::LastWake => 7,
            Self::Rate => 8,
            Self::Busy => 13,
            Self::WokenBy => 12,
            Self::Await => 20,
        }
    }

    /// Whether it takes part of the room that is left, and how much of it in relation to others.
    const fn share(self) -> u16 {
        match self {
            Self::Future => 4,
            Self::Await => 5,
            Self::WokenBy => 1,
            _ => 0,
        }
    }

    /// Whether its text is cut at the left, as paths are.
    #[must_use]
    pub const fn cuts_left(self) -> bool {
        matches!(self, Self::Task | Self::Future)
    }

    /// Whether its text stands at the right, as numbers do.
    #[must_use]
    pub const fn is_number(self) -> bool {
        matches!(
            self,
            Self::Elapsed | Self::Polls | Self::Rate | Self::LastWake
        )
    }

    /// Whether the order that helps most has the largest value first.
    #[must_use]
    pub const fn largest_first(self) -> bool {
        matches!(self, Self::Elapsed | Self::Polls | Self::Rate | Self::Busy)
    }
}

/// Cells between two columns.
pub const GAP: u16 = 1;

/// The columns that fit into `width` cells, in their order, with their widths. At least the task is
/// always there, cut if need be.
#[must_use]
pub fn fit(width: u16) -> Vec<(Column, u16)> {
    let mut chosen: Vec<(Column, u16)> = Vec::new();
    let mut used = 0;
    for column in Column::BY_IMPORTANCE {
        let cost = column.width() + if chosen.is_empty() { 0 } else { GAP };
        if used + cost > width && !chosen.is_empty() {
            break;
        }
        used += cost;
        chosen.push((column, column.width().min(width)));
    }
    let left = width.saturating_sub(used);
    let shares: u16 = chosen.iter().map(|(column, _)| column.share()).sum();
    for (column, width) in &mut chosen {
        let part = u32::from(left) * u32::from(column.share());
        // Less than `left`, so it fits.
        *width += part
            .checked_div(u32::from(shares))
            .and_then(|part| u16::try_from(part).ok())
            .unwrap_or(0);
    }
    chosen.sort_by_key(|(column, _)| *column);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fill_the_width_and_never_exceed_it() {
        for width in 0..400 {
            let columns = fit(width);
            assert_eq!(
                columns.first().map(|(column, _)| *column),
                Some(Column::Task)
            );
            let gaps = u16::try_from(columns.len() - 1).unwrap() * GAP;
            let total: u16 = columns.iter().map(|(_, width)| width).sum::<u16>() + gaps;
            assert!(total <= width, "{total} cells in {width}");
            if width >= 40 {
                assert!(
                    width - total < 3,
                    "{} of {width} cells unused",
                    width - total
                );
            }
        }
        assert_eq!(fit(120).len(), Column::ALL.len());
    }
}
