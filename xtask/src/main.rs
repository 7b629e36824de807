//! Set-up, builds, tests and checks of asynctrace.
fn main() {}
