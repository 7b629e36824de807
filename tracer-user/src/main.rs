//! The `asynctrace` binary: parse, run, exit code.

fn main() -> std::process::ExitCode {
    let code = tracer_user::cli::run(std::env::args_os());
    std::process::ExitCode::from(code as u8)
}
