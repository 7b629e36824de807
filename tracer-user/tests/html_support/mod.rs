//! What the tests of the HTML page share: a browser to open it, and a history to fill it.

pub(crate) mod browser;
pub(crate) mod sample;
