//! The `asynctrace` binary.
fn main() {}
