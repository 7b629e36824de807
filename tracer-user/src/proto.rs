//! The messages of `proto/asynctrace.proto`, as prost makes them. Nothing outside
//! [`export::recording`](crate::export::recording) knows them.
#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    reason = "generated; the .proto has the comments"
)]

include!(concat!(env!("OUT_DIR"), "/asynctrace.v1.rs"));
