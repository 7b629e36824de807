//! What tracing may cost the target, and what is given up so that it costs no more.
//!
//! In: what probes have cost so far, and the CPU time of the target ([`Measured`]). Out: which
//! probes to set ([`Change`]). Pure: reads no clock and sets nothing.
//!
//! The budget is a share of the CPU time that the target uses for itself. What it earns is credit;
//! what probes cost is taken from that. While there is credit everything is watched. When it has
//! run out, less is watched, in this order, as far as it is needed and helps:
//!
//! 1. clones and drops of wakers;
//! 2. polls of nested futures;
//! 3. exact ends of polls;
//! 4. polls of the task types that cost most, which are then watched in windows; where that is not
//!    enough, wake-ups with them, which all types share;
//! 5. everything but panics, which is then watched in windows.
//!
//! A window is opened when there is credit for it, after a pause whose length varies a little, so
//! that it does not fall in step with what the target does. What it takes is measured and is the
//! estimate for the next one. What probes cost is estimated itself, from hits; windows show by the target's
//! own clock whether it is more ([`Observed`]).
//!
//! [`Measured`]: crate::attach::Measured

mod controller;
mod credit;
mod observed;
mod shed;
#[cfg(test)]
mod tests;

pub use controller::{Change, Controller, Share};
pub use observed::Observed;
pub use shed::Shed;
