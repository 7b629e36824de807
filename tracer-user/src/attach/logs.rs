//! What the BPF programs say (aya-log), passed on to `tracing`. They only speak when something
//! rare happens, such as a table that is full.

use aya_log::EbpfLogger;

/// Passes records of the `log` crate on to `tracing`.
pub(super) struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        match record.level() {
            log::Level::Error => tracing::error!(target: "bpf", "{}", record.args()),
            log::Level::Warn => tracing::warn!(target: "bpf", "{}", record.args()),
            log::Level::Info => tracing::info!(target: "bpf", "{}", record.args()),
            log::Level::Debug | log::Level::Trace => {
                tracing::debug!(target: "bpf", "{}", record.args());
            }
        }
    }

    fn flush(&self) {}
}

/// Starts listening to a loaded program; `None` when it cannot be heard (looking programs up by id
/// takes `CAP_SYS_ADMIN`), which costs nothing but these messages.
pub(super) fn listen(program: Option<u32>) -> Option<EbpfLogger<ToTracing>> {
    match EbpfLogger::init_from_id_with_logger(program?, ToTracing) {
        Ok(logger) => Some(logger),
        Err(error) => {
            tracing::debug!(%error, "messages of the BPF programs are not heard");
            None
        }
    }
}
