//! Where the time went: the await profile, and how long tasks lay between their wake-up and their
//! poll.
//!
//! In: a [`History`]. Out: [`AwaitRow`]s, the ones that were waited in for longest first, and
//! [`Delays`]. Pure. All numbers are of what the history holds; what is missing in it is told by
//! its [`Missing`](super::history::Missing).

pub(crate) mod awaits;
mod delays;
mod open;
mod spread;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use self::awaits::{AwaitRow, awaits};
pub use self::delays::{DelayRow, Delays, delays};
pub use self::open::{OpenAwait, open_awaits};
pub use self::spread::Spread;

use super::history::History;

/// Both of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Profile {
    /// Awaits, those that were waited in for longest first.
    pub awaits: Vec<AwaitRow>,
    /// From wake-up to poll.
    pub wake_to_poll: Delays,
}

/// Makes it.
#[must_use]
pub fn profile(history: &History) -> Profile {
    Profile {
        awaits: awaits(history),
        wake_to_poll: delays(history),
    }
}
