//! Futures compiled from debug information to integer tables, and the walk over memory by them.
//!
//! In: types of `dwarf/`, and a [`Memory`](crate::memory::Memory). Out: await trees. It knows
//! rustc's and the futures crates' conventions, and no runtime: what a runtime's leaves wait for
//! is told by its adapter through [`Leaves`].

mod active;
mod compile;
mod coroutine;
mod defined;
mod edges;
pub mod flat;
mod kept;
mod names;
mod reach;
mod table;
mod walker;

pub use compile::Futures;
pub(crate) use defined::is_poll_fn;
pub use names::{readable, without_arguments};
pub use table::{Discriminant, Edge, FutureName, Node, NodeId, Shape, State, Via};
pub use walker::{Leaf, Leaves, Limits, Step, Walker};
