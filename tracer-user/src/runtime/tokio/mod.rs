//! tokio: every live task of every runtime, from memory alone.
//!
//! Thread-locals -> runtime handles -> lists of owned tasks -> futures; `LocalSet`s as they are
//! met on the way; `block_on` roots from the stacks of blocked threads.

mod batch;
pub mod block_on;
mod claims;
mod conventions;
mod descriptors;
mod gone;
mod handles;
mod inspector;
mod layout;
mod leaves;
mod lists;
mod roots;
mod shape;
mod task;
mod threads;
mod walk_plan;

pub use conventions::TokioConventions;
pub use handles::Scheduler;
pub use inspector::{Found, Inspector, InspectorError, coverage};
pub use layout::{StateWord, TaskLayout};
pub use shape::ShapeInspector;
