//! Waits across tasks as one graph: tasks and what they share, who waits for what and who holds it.
//!
//! [`facts`] joins the leaves of all trees with what saved locals hold; [`progress`] tells who may
//! still go on, by [`rules`] that take more or less for granted; [`circles()`] names those who wait
//! for each other; [`shown`] is the graph for a reader.

mod circles;
mod dot;
mod facts;
mod operators;
mod progress;
mod roots;
mod rules;
mod shown;

pub use shown::{GraphEdge, GraphEdgeKind, GraphNode, GraphNodeKind, Root, WaitGraph, graph};

pub(super) use circles::{Circle, Kept, Step, circles};
pub(super) use facts::{Claim, Class, Facts, How, Member, Resource};
pub(super) use progress::{Progress, holders, is_exclusive};
pub(super) use rules::Rules;
