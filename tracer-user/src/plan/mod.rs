//! Which probes to set, at which instruction, and what cannot be seen and why.

mod model;

pub use model::{Instruction, Method, Plan, Probe, Unseen};
