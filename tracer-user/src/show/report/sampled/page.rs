//! The report as one page: tables and no script, nothing is loaded.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use super::sections::sections;
use super::{SampledReport, head, notes};
use crate::show::escape::escape;

/// Rows of a table at most.
const ROWS: usize = 1_000;

const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:1.5em;max-width:100em}\
h1{font-size:1.3em}h2{font-size:1.1em;margin-top:1.6em}\
table{border-collapse:collapse}th,td{padding:.15em .7em;text-align:left;vertical-align:top}\
th{border-bottom:1px solid}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
td:last-child{font-family:ui-monospace,monospace}.faint{opacity:.7}.note{color:#b36b00}\
tbody tr:nth-child(even){background:#8881}";

/// Writes the page.
///
/// # Errors
/// What `out` returns.
pub fn write_html(report: &SampledReport, out: &mut dyn Write) -> io::Result<()> {
    let style = BASE64.encode(Sha256::digest(STYLE.as_bytes()));
    let process = &report.process;
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>asynctrace report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>process {} {}</h1>\n",
        process.pid,
        html(&process.exe),
    )?;
    let [first, second] = head(report);
    writeln!(out, "<p>{}</p>", html(&first))?;
    writeln!(out, "<p class=\"faint\">{}</p>", html(&second))?;
    for note in notes(report) {
        writeln!(out, "<p class=\"note\">note: {}</p>", html(&note))?;
    }
    for unseen in &report.unseen {
        writeln!(
            out,
            "<p class=\"faint\">not seen: {}: {}</p>",
            html(&unseen.what),
            html(&unseen.reason)
        )?;
    }
    if !report.findings.is_empty() {
        writeln!(out, "<h2>Findings</h2>\n<ul>")?;
        for finding in report.findings.iter().take(ROWS) {
            writeln!(
                out,
                "<li>{} ({}): {}</li>",
                finding.kind.name(),
                html(&format!("{:?}", finding.certainty).to_lowercase()),
                html(&finding.summary)
            )?;
        }
        writeln!(out, "</ul>")?;
    }
    for section in sections(&report.sampled, ROWS) {
        writeln!(out, "<h2>{}</h2>\n<table>\n<thead><tr>", section.title)?;
        for (at, heading) in section.headings.iter().enumerate() {
            write!(out, "<th{}>{heading}</th>", number(at, section.numbers))?;
        }
        writeln!(out, "</tr></thead>\n<tbody>")?;
        for row in &section.rows {
            write!(out, "<tr>")?;
            for (at, cell) in row.iter().enumerate() {
                write!(
                    out,
                    "<td{}>{}</td>",
                    number(at, section.numbers),
                    html(cell)
                )?;
            }
            writeln!(out, "</tr>")?;
        }
        writeln!(out, "</tbody>\n</table>")?;
        if let Some(note) = section.note {
            writeln!(out, "<p class=\"faint\">{}</p>", html(note))?;
        }
        if section.more > 0 {
            writeln!(out, "<p class=\"faint\">and {} more</p>", section.more)?;
        }
    }
    out.write_all(b"</body>\n</html>\n")
}

fn number(at: usize, numbers: usize) -> &'static str {
    if at < numbers { " class=\"n\"" } else { "" }
}

/// Text as HTML: what a terminal must not get is escaped, and what is markup.
fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in escape(text).chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}
