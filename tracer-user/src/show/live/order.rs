//! Filtering and sorting: which rows are shown, in which order.
//!
//! Every column is turned into one number a row first (texts into their rank among the distinct
//! texts), so that sorting 100,000 rows compares numbers and takes milliseconds. Unknown values
//! come last in both directions, and equal ones keep the order of the table, so that rows do not
//! jump between refreshes.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::Hash;

use super::columns::Column;
use super::format;
use super::table::{Table, TaskRow, WokenBy};

/// The order of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// By which column.
    pub column: Column,
    /// The largest first.
    pub descending: bool,
}

impl Sort {
    /// By `column`, in the direction that helps most.
    #[must_use]
    pub const fn by(column: Column) -> Self {
        Self {
            column,
            descending: column.largest_first(),
        }
    }
}

/// Indices of the rows of `table` that contain `filter` (ASCII case does not matter), in the order
/// of `sort`.
#[must_use]
pub fn arrange(table: &Table, filter: &str, sort: Sort) -> Vec<u32> {
    let filter = filter.to_ascii_lowercase();
    let mut text = String::new();
    let mut shown: Vec<u32> = (0u32..)
        .zip(&table.rows)
        .filter(|(_, row)| filter.is_empty() || matches(row, &filter, &mut text))
        .map(|(index, _)| index)
        .collect();
    if let Some(keys) = keys(table, sort.column) {
        let key = |index: u32| match (keys.get(index as usize).copied().flatten(), sort.descending)
        {
            (None, _) => (true, 0),
            (Some(key), false) => (false, key),
            (Some(key), true) => (false, !key),
        };
        shown.sort_by_cached_key(|index| key(*index));
    } else if sort.descending {
        shown.reverse();
    }
    shown
}

/// One number a row, in the order of the column's values; `None` for the column that the table is
/// ordered by already.
fn keys(table: &Table, column: Column) -> Option<Vec<Option<u64>>> {
    let rows = &table.rows;
    Some(match column {
        Column::Task => return None,
        Column::Future => ranks(rows, |row| Some(&*row.future)),
        Column::State => rows.iter().map(|row| Some(row.state as u64)).collect(),
        Column::Elapsed => numbers(rows, |row| {
            (!row.unwatched).then(|| table.now.saturating_sub(row.since))
        }),
        Column::Polls => numbers(rows, |row| Some(row.activity?.polls)),
        // Non-negative floating-point numbers are in the order of their bits.
        Column::Rate => numbers(rows, |row| {
            Some(row.activity?.polls_per_second.max(0.0).to_bits())
        }),
        Column::Busy => numbers(rows, |row| {
            u64::try_from(row.activity?.busy.as_nanos()).ok()
        }),
        // Ascending: the most recent wake-up first.
        Column::LastWake => numbers(rows, |row| {
            Some(table.now.saturating_sub(row.activity?.last_wake?.at))
        }),
        Column::WokenBy => ranks(rows, |row| {
            Some(match row.activity?.last_wake?.by {
                WokenBy::Task(number) => (0, number.unwrap_or(u64::MAX)),
                WokenBy::Thread(tid) => (1, u64::from(tid)),
            })
        }),
        Column::Await => ranks(rows, |row| {
            let awaiting = row.awaiting.as_ref()?;
            let site = awaiting.site.as_ref();
            Some((site.map(|(file, line)| (&**file, *line)), &*awaiting.what))
        }),
    })
}

fn numbers(rows: &[TaskRow], of: impl Fn(&TaskRow) -> Option<u64>) -> Vec<Option<u64>> {
    rows.iter().map(of).collect()
}

/// The rank of each row's value among the distinct values.
fn ranks<'a, T: Ord + Hash + Copy>(
    rows: &'a [TaskRow],
    of: impl Fn(&'a TaskRow) -> Option<T>,
) -> Vec<Option<u64>> {
    let mut rank_of: HashMap<T, u64> = rows.iter().filter_map(|row| Some((of(row)?, 0))).collect();
    let mut distinct: Vec<T> = rank_of.keys().copied().collect();
    distinct.sort_unstable();
    for (rank, value) in (0..).zip(distinct) {
        rank_of.insert(value, rank);
    }
    rows.iter()
        .map(|row| rank_of.get(&of(row)?).copied())
        .collect()
}

/// Whether a row contains `filter`, which is in lower case. `text` is a buffer to reuse.
fn matches(row: &TaskRow, filter: &str, text: &mut String) -> bool {
    text.clear();
    // Writing to a `String` cannot fail.
    let _ = write!(
        text,
        "{}\n{}\n{}",
        row.label,
        row.future,
        format::state(row.state)
    );
    if let Some(awaiting) = &row.awaiting {
        if let Some((file, line)) = &awaiting.site {
            let _ = write!(text, "\n{file}:{line}");
        }
        let _ = write!(text, "\n{}", awaiting.what);
    }
    text.make_ascii_lowercase();
    text.contains(filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::live::table::samples;

    fn labels(table: &Table, filter: &str, sort: Sort) -> Vec<String> {
        arrange(table, filter, sort)
            .into_iter()
            .map(|index| table.rows[index as usize].label.to_string())
            .collect()
    }

    #[test]
    fn unknown_values_come_last_in_both_directions() {
        let table = samples::service();
        for descending in [false, true] {
            for column in [Column::Polls, Column::Rate, Column::Busy, Column::LastWake] {
                let sorted = labels(&table, "", Sort { column, descending });
                assert_eq!(sorted.last().unwrap(), "tokio/block_on/1", "{column:?}");
            }
        }
    }

    #[test]
    fn every_column_sorts_both_ways() {
        let table = samples::service();
        let order = |column, descending| labels(&table, "", Sort { column, descending });
        assert_eq!(order(Column::Task, false)[0], "tokio/1");
        assert_eq!(order(Column::Task, true)[0], "tokio/block_on/1");
        assert_eq!(order(Column::Polls, true)[0], "tokio/17");
        assert_eq!(order(Column::Polls, false)[0], "tokio/1");
        assert_eq!(order(Column::Elapsed, true)[0], "tokio/block_on/1");
        assert_eq!(order(Column::State, false).last().unwrap(), "tokio/17");
        assert_eq!(order(Column::Future, false)[0], "tokio/1");
        assert_eq!(order(Column::Future, false)[1], "tokio/block_on/1");
        assert_eq!(
            order(Column::Await, false)[0],
            "tokio/17",
            "the rank of no site is lowest"
        );
        assert_eq!(order(Column::WokenBy, false)[0], "tokio/18");
        for column in Column::ALL {
            let mut both = [order(column, false), order(column, true)];
            both.iter_mut().for_each(|order| order.sort());
            assert_eq!(both[0], both[1], "{column:?} loses rows");
            assert_eq!(both[0].len(), table.rows.len());
        }
    }

    #[test]
    fn the_filter_looks_at_names_states_and_awaits() {
        let table = samples::service();
        let found = |filter| labels(&table, filter, Sort::by(Column::Task));
        assert_eq!(found("HANDLER"), ["tokio/17", "tokio/18"]);
        assert_eq!(found("tokio/1\n"), ["tokio/1"]);
        assert_eq!(found("src/db.rs:88"), ["tokio/18"]);
        assert_eq!(found("running"), ["tokio/17"]);
        assert!(found("no such thing").is_empty());
        assert_eq!(found("").len(), table.rows.len());
    }

    #[test]
    fn a_hundred_thousand_rows_are_arranged_quickly_enough() {
        let table = samples::crowd(100_000);
        for column in Column::ALL {
            let start = std::time::Instant::now();
            let order = arrange(&table, "work", Sort::by(column));
            assert_eq!(order.len(), 100_000);
            // Debug builds on a loaded machine: the bound catches a wrong order of growth only.
            assert!(
                start.elapsed() < std::time::Duration::from_secs(10),
                "{column:?}"
            );
        }
    }
}
