//! Exports read back by programs that we did not write: Python's protobuf with the schemas that
//! Perfetto and OpenTelemetry publish, `go tool pprof`, graphviz, an XML parser. What they read is
//! compared with the history, which `json` hands to them.
//!
//! The names of tests that need such a program say which one, and `cargo xtask test` leaves them
//! out by that name where it cannot be had.

mod outside;
mod readers;
mod sums;
