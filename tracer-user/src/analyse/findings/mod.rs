//! What is wrong in a program, with evidence and with how sure that is.
//!
//! In: a [`Case`]: what events told (a [`History`](crate::analyse::history::History)) and what memory told ([`Moment`]s). Out:
//! [`Finding`]s. Pure: one file a kind, each a function from the case to [`Sighting`]s, which are
//! grouped by their cause: hundreds of equal ones are one finding with a count.
//!
//! What is missing in the case (lost events, torn reads, unknown layouts) may hide a finding or
//! lower its certainty, and never makes one.

mod abandoned_future;
mod alive;
mod blocked_worker;
mod busy_poll;
mod case;
mod coverage;
#[cfg(test)]
mod events_property_tests;
#[cfg(test)]
mod every_property_tests;
mod futurelock;
mod graph;
mod group;
#[cfg(test)]
mod hand;
mod kept;
mod lost_wake;
mod model;
mod moments;
mod panicked;
mod past;
mod place;
pub(in crate::analyse) mod preorder;
#[cfg(test)]
mod property_tests;
mod slow_to_run;
mod source;
mod stalled;
pub(in crate::analyse) mod still;
mod task_growth;
mod told;
mod wait_cycle;
mod watch;

pub use case::{Case, Moment, Thresholds};
pub use coverage::{Coverage, Looked, Memory, NotJudged, coverage};
pub use graph::{GraphEdge, GraphEdgeKind, GraphNode, GraphNodeKind, Root, WaitGraph, graph};
pub use group::group;
pub use model::{Certainty, Finding, Kind, Role, Sighting, Site, Subject};
pub use moments::Moments;
pub use watch::{Episode, Watch};

/// An analysis: what it sees in a case.
type Analysis = fn(&Case<'_>) -> Vec<Sighting>;

/// All analyses, in the order of [`Kind`].
const ANALYSES: &[Analysis] = &[
    lost_wake::find,
    wait_cycle::find,
    futurelock::find,
    blocked_worker::find,
    panicked::find,
    abandoned_future::find,
    busy_poll::find,
    slow_to_run::find,
    task_growth::find,
    stalled::find,
];

/// Everything that is wrong, the surest and gravest first.
#[must_use]
pub fn find(case: &Case<'_>) -> Vec<Finding> {
    group(ANALYSES.iter().flat_map(|analysis| analysis(case)))
}
