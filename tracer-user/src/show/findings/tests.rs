//! Golden files of findings as text and as JSON.

use super::samples::finding_of as finding;
use super::*;
use crate::analyse::findings::{Certainty, Kind, NotJudged, Subject};
use crate::analyse::history::Missing;
use crate::rebuild::snapshot::DebugInfoLevel;

/// Where made-up looks begin: CLOCK_MONOTONIC, nanoseconds.
const BEGAN: u64 = 1_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn check(findings: Vec<Finding>) -> Check {
    Check {
        schema: SCHEMA,
        source: Source::Live,
        process: ProcessInfo {
            pid: 1234,
            exe: "/srv/app".to_owned(),
            build_id: Some("2f9c1e77d04b55aa".to_owned()),
        },
        span: Span {
            began_ns: BEGAN,
            ended_ns: BEGAN + 5 * SECOND,
            began_unix_ns: Some(1_795_337_412 * SECOND),
        },
        thresholds: Thresholds::default().into(),
        coverage: Coverage {
            events_watched: true,
            events: 120_345,
            polls: 40_115,
            wakes: 40_110,
            missing: Missing::default(),
            looks: 6,
            tasks: 42,
            debug_info: Some(DebugInfoLevel::Full),
            memory: None,
            not_judged: vec![NotJudged {
                kind: Kind::Stalled,
                reason: "5.0 s is less than --stalled (60.0 s)".to_owned(),
            }],
        },
        findings,
        left_out: 0,
        warnings: Vec::new(),
    }
}

fn text(check: &Check) -> String {
    let mut out = Vec::new();
    write(check, &mut out).unwrap();
    anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string()
}

#[test]
fn findings_as_text() {
    let mut many = finding(Kind::BlockedWorker, Certainty::Likely);
    many.count = 250;
    many.tasks = (0..9)
        .map(|at| Subject {
            id: format!("tokio/{at}").into(),
            future: None,
        })
        .collect();
    many.began_ns = Some(BEGAN + 1_234_567_890);
    many.ended_ns = Some(BEGAN + 3 * SECOND);
    let mut old = finding(Kind::Stalled, Certainty::Possible);
    old.sites[0].line = None;
    old.sites[1].file = None;
    old.began_ns = Some(BEGAN - 90 * SECOND);
    let mut check = check(vec![finding(Kind::LostWake, Certainty::Proved), many, old]);
    check.left_out = 2;
    insta::assert_snapshot!(text(&check));
}

#[test]
fn no_findings_say_what_was_looked_at_and_what_was_not() {
    let mut check = check(Vec::new());
    check.source = Source::Memory;
    check.coverage.events_watched = false;
    check.coverage.debug_info = Some(DebugInfoLevel::Symbols);
    check.coverage.not_judged = vec![
        NotJudged {
            kind: Kind::WaitCycle,
            reason: "no types".to_owned(),
        },
        NotJudged {
            kind: Kind::Futurelock,
            reason: "no types".to_owned(),
        },
        NotJudged {
            kind: Kind::SlowToRun,
            reason: "needs events, which neither --now nor --sample watches".to_owned(),
        },
    ];
    check.warnings = vec!["3 of 42 tasks could be listed".to_owned()];
    insta::assert_snapshot!(text(&check));
}

#[test]
fn losses_are_told() {
    let mut check = check(Vec::new());
    check.coverage.missing.records_lost = 17;
    check.coverage.missing.gaps = 2;
    check.source = Source::Recording {
        path: "night\x1b[1m.astrace".to_owned(),
        ending: "complete",
    };
    insta::assert_snapshot!(text(&check));
}

#[test]
fn hostile_names_reach_no_terminal() {
    let mut hostile = finding(Kind::LostWake, Certainty::Proved);
    let evil = "a\x1b]0;pwned\x07\n\u{202e}b";
    hostile.summary = evil.to_owned();
    hostile.advice = evil.to_owned();
    hostile.evidence = vec![evil.to_owned()];
    hostile.tasks[0] = Subject {
        id: evil.into(),
        future: Some(evil.into()),
    };
    hostile.sites[0].file = Some(evil.into());
    hostile.sites[0].future = evil.into();
    let mut check = check(vec![hostile]);
    check.process.exe = evil.to_owned();
    check.warnings = vec![evil.to_owned()];
    check.coverage.not_judged[0].reason = evil.to_owned();
    let text = text(&check);
    assert!(
        !text.contains(|c: char| c != '\n' && crate::show::escape::acts(c)),
        "{text}"
    );
    // Eight times in what the finding says, and three elsewhere.
    assert_eq!(
        text.matches("a\\x1b]0;pwned\\x07\\x0a\\u{202e}b").count(),
        10
    );
}

#[test]
fn findings_as_json() {
    let check = check(vec![finding(Kind::LostWake, Certainty::Proved)]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&check).unwrap());
}
