//! The messages of `proto/*.proto`, as prost makes them. Nothing outside
//! [`export`](crate::export) knows them.
#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    reason = "generated; the .proto has the comments"
)]

include!(concat!(env!("OUT_DIR"), "/asynctrace.v1.rs"));

/// Formats of others.
pub(crate) mod foreign {
    pub mod perfetto {
        include!(concat!(env!("OUT_DIR"), "/asynctrace.export.perfetto.rs"));
    }
    pub mod otlp {
        include!(concat!(env!("OUT_DIR"), "/asynctrace.export.otlp.rs"));
    }
    pub mod pprof {
        include!(concat!(env!("OUT_DIR"), "/asynctrace.export.pprof.rs"));
    }
}
