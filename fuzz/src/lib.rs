//! What each fuzz target does with its bytes. No libFuzzer here: `tracer-user/tests/fuzz_corpus.rs`
//! replays the corpus through the same functions on every run of the tests.
//!
//! A panic is a finding; so are what libFuzzer's limits of memory and time catch, and what is
//! asserted here: text for people has no control characters but our own colours.

pub mod config;
pub mod control;
pub mod elf;
pub mod hostile_memory;
pub mod outlets;
pub mod program;
pub mod recording;
pub mod records;
pub mod walk;
