//! Made-up findings, for tests of whatever shows some.

use crate::analyse::findings::{Certainty, Finding, Kind, Role, Site, Subject};

/// A lost wake-up.
pub(crate) fn finding() -> Finding {
    finding_of(Kind::LostWake, Certainty::Proved)
}

/// A finding of this kind.
pub(crate) fn finding_of(kind: Kind, certainty: Certainty) -> Finding {
    Finding {
        kind,
        certainty,
        summary: "nothing can wake a task: app::gate::Gate returned Pending and kept no waker"
            .to_owned(),
        key: format!("{kind}:app::gate::Gate src/gate.rs:41"),
        count: 1,
        tasks: vec![Subject {
            id: "tokio/17".into(),
            future: Some("app::serve::{async_block#0}".into()),
        }],
        sites: vec![
            Site {
                role: Role::Culprit,
                future: "app::gate::Gate".into(),
                file: Some("src/gate.rs".into()),
                line: Some(41),
            },
            Site {
                role: Role::WaitsAt,
                future: "app::serve::{async_block#0}".into(),
                file: Some("src/main.rs".into()),
                line: Some(88),
            },
        ],
        evidence: vec![
            "it is idle and no waker of it is left: its 2 references are the list's and the join \
             handle's"
                .to_owned(),
            "its last poll, 4.2s ago, cloned 0 wakers".to_owned(),
        ],
        began_ns: None,
        ended_ns: None,
        advice: "keep cx.waker().clone() where whoever makes it ready can wake it".to_owned(),
    }
}
