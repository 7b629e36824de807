//! What we assume about async runtimes, one folder a runtime. Everything else is runtime-neutral.

pub mod tokio;
