//! Await stacks as a flame graph, drawn by the inferno crate: one file with its own script for
//! zooming and search, which loads nothing from anywhere.

use std::io::{self, Write};

use inferno::flamegraph;

use super::folded::{self, Totals};
use super::source::Source;
use super::stacks::Measure;

/// Nanoseconds to what is shown.
const MICROSECONDS: f64 = 0.001;

/// Draws a flame graph.
///
/// # Errors
/// Those of `out`.
pub fn write(source: &Source<'_>, measure: Measure, out: &mut dyn Write) -> io::Result<Totals> {
    let (lines, mut totals) = folded::lines(source, measure);
    totals.stacks = lines.len() as u64;
    totals.nanoseconds = lines
        .values()
        .fold(0, |sum: u64, time| sum.saturating_add(*time));
    let process = &source.header.process;
    let mut options = flamegraph::Options::default();
    options.title = match measure {
        Measure::Waiting => "Time waiting, by await",
        Measure::Polled => "Time being polled, by await",
        Measure::Both => "Time waiting and being polled, by await",
    }
    .to_owned();
    options.subtitle = Some(format!(
        "process {} {}, {:.1} s{}; concurrent branches count each",
        process.pid,
        crate::show::escape::escape(&process.exe),
        (source
            .history
            .span
            .end
            .saturating_sub(source.history.span.start)) as f64
            / 1e9,
        match source.sampled {
            Some(sampled) => format!(", estimated from {} looks at memory", sampled.looks.count),
            None => String::new(),
        },
    ));
    options.count_name = "us".to_owned();
    options.name_type = "Await:".to_owned();
    options.factor = MICROSECONDS;
    // The same recording gives the same picture.
    options.deterministic = true;
    options.hash = true;
    options.no_sort = true;
    if lines.is_empty() {
        // inferno takes having nothing to draw as an error.
        return empty(out, &options.title, totals);
    }
    // inferno adds up without a look at the limit, which only a file that was tampered with gets
    // to: it stands for centuries.
    let mut room = u64::MAX / 4;
    let lines: Vec<String> = lines
        .into_iter()
        .map(|(stack, nanoseconds)| {
            let nanoseconds = nanoseconds.min(room);
            room -= nanoseconds;
            format!("{stack} {nanoseconds}")
        })
        .collect();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), out)?;
    Ok(totals)
}

/// A picture that says that there is nothing to be seen.
fn empty(out: &mut dyn Write, title: &str, totals: Totals) -> io::Result<Totals> {
    writeln!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"600\" height=\"80\">\n\
         <text x=\"20\" y=\"30\">{title}</text>\n\
         <text x=\"20\" y=\"55\">no await is known in this recording</text>\n\
         </svg>"
    )?;
    Ok(totals)
}
