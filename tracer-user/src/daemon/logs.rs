//! The daemon's log on standard error: text on a terminal, an object a line elsewhere.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use super::config::{Log, LogFormat};

/// Starts the log; `ASYNCTRACE_LOG` goes before the configured level.
pub(super) fn start(log: &Log) {
    let filter = EnvFilter::try_from_env("ASYNCTRACE_LOG")
        .unwrap_or_else(|_| EnvFilter::new(log.level.name()));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    // Only fails when a logger is there already (in tests).
    let _ = match log.format {
        LogFormat::Text => builder.with_ansi(terminal).try_init(),
        LogFormat::Auto if terminal => builder.try_init(),
        LogFormat::Auto | LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        tracing::error!(
            place = place.as_deref(),
            "a thread of the daemon panicked: {}",
            message.unwrap_or("no text")
        );
    }));
    crate::show::progress::be_quiet();
}
