//! What a trace says when one looks at all of it. Pure: events and snapshots in, findings out; it
//! never does I/O.

pub mod activity;
pub mod critical_path;
pub mod history;
pub mod requests;
