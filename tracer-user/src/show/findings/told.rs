//! A finding in words, whatever they are shown on. Safe for a terminal.

use serde::Serialize;

use super::words::{self, Clock};
use crate::analyse::findings::Finding;
use crate::show::escape::escape;

/// Tasks that are named before "and more".
const NAMED: usize = 4;

/// A finding in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::show) struct Told {
    /// How sure it is.
    pub(in crate::show) certainty: String,
    /// Its kind.
    pub(in crate::show) kind: String,
    /// `250 times`, where it is more than once.
    pub(in crate::show) times: Option<String>,
    /// The finding in one sentence.
    pub(in crate::show) summary: String,
    /// What is known of it: a name, which is empty where it is that of the row before, and text.
    pub(in crate::show) rows: Vec<(&'static str, String)>,
}

impl Told {
    /// What is told of a finding.
    pub(in crate::show) fn of(finding: &Finding, clock: Clock) -> Self {
        let mut rows = Vec::new();
        for site in &finding.sites {
            let text = format!("{}  {}", words::place(site), escape(&site.future));
            rows.push((words::role(site.role), text));
        }
        if let Some(tasks) = tasks(finding) {
            rows.push(("tasks", tasks));
        }
        rows.push(("since", clock.when(finding)));
        let mut name = "evidence";
        for evidence in &finding.evidence {
            rows.push((name, escape(evidence).into_owned()));
            name = "";
        }
        if !finding.advice.is_empty() {
            rows.push(("do", escape(&finding.advice).into_owned()));
        }
        Self {
            certainty: finding.certainty.to_string(),
            kind: finding.kind.to_string(),
            times: (finding.count > 1).then(|| format!("{} times", finding.count)),
            summary: escape(&finding.summary).into_owned(),
            rows,
        }
    }
}

/// The first tasks. Their number is known where it is small: a finding names 16 at most.
fn tasks(finding: &Finding) -> Option<String> {
    let named: Vec<String> = finding
        .tasks
        .iter()
        .take(NAMED)
        .map(words::subject)
        .collect();
    if named.is_empty() {
        return None;
    }
    let more = finding.tasks.len() - named.len();
    let mut text = named.join(", ");
    if more > 0 {
        let least = if finding.tasks.len() >= 16 {
            "at least "
        } else {
            ""
        };
        text.push_str(&format!(", and {least}{more} more"));
    }
    Some(text)
}
