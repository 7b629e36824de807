//! asynctrace: what the async tasks of a running, unmodified Rust program are doing.
//!
//! The pipeline, one module a stage; imports follow its order:
//!
//! | stage | job |
//! |---|---|
//! | [`locate`] | target -> process, modules, files |
//! | [`object`] | ELF files: sections, symbols, build-id |
//! | [`dwarf`] | debug information -> types and walk tables |
//! | [`runtime`] | what we assume about tokio and its peers |
//! | [`memory`] | the target's memory: live, recorded, fake |
//! | [`plan`] | which probes, at which instruction, what cannot be seen |
//! | [`attach`] | load the BPF object, link the probes |
//! | [`budget`] | what tracing may cost, and what is given up for it: pure |
//! | [`stream`] | ring buffers -> records in order, with losses |
//! | [`unwind`] | the stacks of blocked threads |
//! | [`rebuild`] | tasks, await trees, causes: pure |
//! | [`analyse`] | what a trace says: pure |
//! | [`export`] | recordings and other files |
//! | [`follow`] | a live session: threads, signals, tables, summary |
//! | [`show`] | text, tables, the live view |
//! | [`daemon`] | following services as they come and go |
//! | [`outfile`] | makes the files that we write |
//! | [`privilege`] | what we may do, and giving it up |
//! | [`cli`] | arguments, subcommands, exit codes |

pub mod address;
pub mod analyse;
pub mod attach;
pub mod budget;
pub mod cli;
pub mod daemon;
pub mod dwarf;
pub mod error;
pub mod export;
pub mod follow;
pub mod locate;
pub mod memory;
pub mod object;
pub mod outfile;
pub mod pipeline;
pub mod plan;
pub mod privilege;
mod proto;
pub mod rebuild;
pub mod runtime;
pub mod show;
pub mod stream;
pub mod unwind;
pub mod walk;
