//! Which probes to set, at which instruction, and what cannot be seen and why.
//!
//! In: a module's binary with its debug information, and what the kernel emulates. Out: a
//! [`Plan`]. Nothing here attaches, and no memory of the process is read.

mod debug_names;
mod emulation;
mod error;
mod exits;
mod functions;
mod make;
mod model;
mod names;
mod nested;
mod probe_set;
mod site;
mod tokio;
mod version;
mod vtable;
mod waker_scan;

pub use emulation::{Rules, Treatment};
pub use error::PlanError;
pub use functions::Functions;
pub use make::{Request, TaskPoll, make, task_polls};
pub use model::{Instruction, Method, Plan, Probe, ProbedFile, Unseen, WalkPlan};
pub(crate) use names::future_of_poll;
pub use names::{FutureFunction, Names};
pub use probe_set::{ProbeClass, ProbeSet};
pub use site::{Code, NoSite, Wanted, choose};
pub use version::versions_of;
pub use vtable::{TaskVtable, task_vtables};
pub use waker_scan::{WakerFunctions, waker_functions};
