//! What a reading of all tasks says in a few words, for the line above the live table.

use crate::rebuild::snapshot::{RuntimeInfo, Snapshot};

/// `tokio multi_thread, 2 tokio current_thread`.
pub(super) fn runtimes_in_words(runtimes: &[RuntimeInfo]) -> String {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for runtime in runtimes {
        let name = format!("{} {}", runtime.runtime, runtime.scheduler);
        match kinds.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => kinds.push((name, 1)),
        }
    }
    let words: Vec<String> = kinds
        .into_iter()
        .map(|(name, count)| match count {
            1 => name,
            _ => format!("{count} {name}"),
        })
        .collect();
    words.join(", ")
}

/// What of a snapshot the user should know while looking at the view: that tasks are missing.
pub(super) fn notice_of(snapshot: &Snapshot) -> Option<String> {
    let coverage = &snapshot.coverage;
    let (listed, counted) = (coverage.tasks_listed, coverage.tasks_counted);
    if listed < counted {
        return Some(format!("{listed} of {counted} tasks could be listed"));
    }
    snapshot
        .runtimes
        .is_empty()
        .then(|| match snapshot.warnings.first() {
            Some(warning) => format!("no runtime found: {warning}"),
            None => "no runtime found yet".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_counted_by_kind() {
        let runtime = |scheduler| RuntimeInfo {
            runtime: "tokio",
            scheduler,
            address: crate::address::Address(1),
            tasks_listed: 0,
            tasks_counted: None,
        };
        let runtimes = [
            runtime("multi_thread"),
            runtime("current_thread"),
            runtime("current_thread"),
        ];
        let words = runtimes_in_words(&runtimes);
        assert_eq!(words, "tokio multi_thread, 2 tokio current_thread");
    }
}
