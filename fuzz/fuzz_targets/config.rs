#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| asynctrace_fuzz::config::run(bytes));
