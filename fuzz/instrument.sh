#!/bin/sh
# RUSTC_WRAPPER of `cargo xtask fuzz`: compiles what is fuzzed with the coverage counters that
# libFuzzer steers by (the flags of cargo-fuzz), and with the address sanitizer where
# ASYNCTRACE_FUZZ_ASAN is set. Everything else is compiled as ever, so that builds stay short.
rustc=$1
shift
# What runs while others are compiled (build scripts, and what they use) is compiled for no named
# target, and has no fuzzer to link with.
case " $* " in
*" --target "*) ;;
*) exec "$rustc" "$@" ;;
esac
case " $* " in
*" --crate-name tracer_user "* | *" --crate-name tracer_common "* | \
    *" --crate-name asynctrace_fuzz "* | *" --crate-name gimli "* | *" --crate-name object "* | \
    *" --crate-name prost "* | *" fuzz_targets/"*)
    # -Cpasses and -Z are for nightly only, or for who says so.
    export RUSTC_BOOTSTRAP=1
    set -- "$@" -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    if [ -n "$ASYNCTRACE_FUZZ_ASAN" ]; then
        set -- "$@" -Zsanitizer=address
    fi
    ;;
esac
exec "$rustc" "$@"
