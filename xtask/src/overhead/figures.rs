//! Medians, spreads, and the table.

use std::collections::HashMap;
use std::fmt;
use std::process::Command;

use crate::bpf::Folders;

/// How pairs of (traced, untraced) become a figure.
#[derive(Clone, Copy)]
enum Figure {
    Ratio,
    Difference,
}

/// A column of a table.
#[derive(Clone)]
pub(crate) struct Column {
    name: String,
    figure: Figure,
}

impl Column {
    /// Traced divided by untraced.
    pub(crate) fn ratio(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            figure: Figure::Ratio,
        }
    }

    /// Traced less untraced.
    pub(crate) fn above(name: &str, unit: &str) -> Self {
        Self {
            name: format!("{name}, {unit}"),
            figure: Figure::Difference,
        }
    }
}

/// What was measured on one program.
pub(crate) struct Table {
    title: String,
    columns: Vec<Column>,
    names: Vec<&'static str>,
    left_out: Vec<&'static str>,
    /// By name: for each column the pairs.
    pairs: HashMap<&'static str, Vec<Vec<(f64, f64)>>>,
}

impl Table {
    /// An empty one.
    pub(crate) fn new(title: String, columns: &[Column]) -> Self {
        Self {
            title,
            columns: columns.to_vec(),
            names: Vec::new(),
            left_out: Vec::new(),
            pairs: HashMap::new(),
        }
    }

    /// Adds what one round told of a variant: for each column (traced, untraced).
    pub(crate) fn add(&mut self, name: &'static str, pairs: &[(f64, f64)]) {
        if !self.names.contains(&name) {
            self.names.push(name);
        }
        let all = self
            .pairs
            .entry(name)
            .or_insert_with(|| vec![Vec::new(); pairs.len()]);
        for (column, pair) in all.iter_mut().zip(pairs) {
            column.push(*pair);
        }
    }

    /// Says that a variant cannot be measured.
    pub(crate) fn left_out(&mut self, name: &'static str) {
        if !self.left_out.contains(&name) {
            self.left_out.push(name);
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.columns.first().map(|column| &column.name);
        let untraced: Vec<f64> = self
            .pairs
            .values()
            .filter_map(|columns| columns.first())
            .flatten()
            .map(|pair| pair.1)
            .collect();
        writeln!(out, "### {}\n", self.title)?;
        if let (Some(first), Some((low, middle, high))) = (first, quartiles(untraced)) {
            writeln!(
                out,
                "Untraced, {first}: {middle:.0} ns ({low:.0} to {high:.0}).\n"
            )?;
        }
        write!(out, "| |")?;
        for column in &self.columns {
            write!(out, " {} |", column.name)?;
        }
        writeln!(out)?;
        writeln!(out, "|---|{}", "---|".repeat(self.columns.len()))?;
        for name in &self.names {
            write!(out, "| {name} |")?;
            let Some(columns) = self.pairs.get(name) else {
                continue;
            };
            for (column, pairs) in self.columns.iter().zip(columns) {
                let figure = |(traced, untraced): &(f64, f64)| match column.figure {
                    Figure::Ratio => traced / untraced,
                    Figure::Difference => traced - untraced,
                };
                let digits = match column.figure {
                    Figure::Ratio => 2,
                    Figure::Difference => 0,
                };
                match quartiles(pairs.iter().map(figure).collect()) {
                    Some((low, middle, high)) => write!(
                        out,
                        " {middle:.digits$} ({low:.digits$} to {high:.digits$}) |"
                    )?,
                    None => write!(out, " - |")?,
                }
            }
            writeln!(out)?;
        }
        for name in &self.left_out {
            writeln!(
                out,
                "\nNot measured, as this build does not have it: {name}."
            )?;
        }
        Ok(())
    }
}

/// The lower quartile, the median and the upper quartile; `None` of nothing.
fn quartiles(mut values: Vec<f64>) -> Option<(f64, f64, f64)> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    // Outwards, so that few values do not look narrow.
    let (low, high) = (values.get(last / 4)?, values.get((last * 3).div_ceil(4))?);
    Some((*low, median(&mut values.clone()), *high))
}

/// The value in the middle; not a number of nothing.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.get(middle.wrapping_sub(1))) {
        (Some(high), Some(low)) if values.len().is_multiple_of(2) => f64::midpoint(*high, *low),
        (Some(middle), _) => *middle,
        _ => f64::NAN,
    }
}

/// When and where this was measured.
pub(crate) fn circumstances(folders: &Folders) -> String {
    let told = |program: &str, arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .current_dir(&folders.workspace)
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
            .unwrap_or_default()
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{}, commit {}, Linux {}, {} CPUs, load at the end {}",
        told("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        told("git", &["describe", "--always", "--dirty"]),
        told("uname", &["-r"]),
        std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        load.split_whitespace().next().unwrap_or("unknown"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_medians_and_the_middle_half() {
        let mut table = Table::new(
            "of a test".to_owned(),
            &[Column::ratio("CPU"), Column::above("more", "ns")],
        );
        for traced in [10.0, 40.0, 20.0, 30.0, 1000.0] {
            table.add("one", &[(traced, 10.0), (traced, 10.0)]);
        }
        table.left_out("another");
        let text = table.to_string();
        assert!(
            text.contains("| one | 3.00 (2.00 to 4.00) | 20 (10 to 30) |"),
            "{text}"
        );
        assert!(text.contains("does not have it: another."), "{text}");
        assert!(quartiles(Vec::new()).is_none());
        assert_eq!(quartiles(vec![3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
    }
}
