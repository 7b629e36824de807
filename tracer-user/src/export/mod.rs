//! What leaves the program as a file.
//!
//! The [`recording`] is our own format. The others are made from a recording's
//! [`History`](crate::analyse::history::History), a [`Source`], one module each:
//!
//! | format | what it is | read by |
//! |---|---|---|
//! | [`perfetto`] | `TrackEvent` protobuf: tracks with nested slices, flows | Perfetto, `trace_processor` |
//! | [`otlp`] | `ExportTraceServiceRequest` protobuf: spans with links | any OpenTelemetry collector |
//! | [`pprof`] | gzipped profile of await stacks | `go tool pprof`, speedscope, ... |
//! | [`folded`] | await stacks, a line each | flame graph tools |
//! | [`svg`] | the same as a flame graph | a browser |
//! | [`dot`] | types of tasks, their awaits, who wakes and spawns whom | graphviz |
//! | [`json`] | all of the history | scripts |
//!
//! Spans, stacks and graphs are derived here and nowhere else. All write as they go: beside the
//! history they hold tables of distinct names and stacks, not a second copy of what they write.
//! Names from the target are escaped for where they go. Deliberately absent: opening files
//! (`cli::export` does), and looking at recordings.

pub mod dot;
pub mod folded;
pub mod json;
pub mod otlp;
pub mod perfetto;
pub mod pprof;
pub mod recording;
pub mod svg;

mod lanes;
#[cfg(test)]
mod samples;
mod source;
mod stacks;
#[cfg(test)]
mod tests;

pub use self::source::Source;
pub use self::stacks::Measure;
pub use crate::analyse::levels::Level;
