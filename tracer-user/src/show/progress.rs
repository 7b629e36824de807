//! A line for work that takes longer than a second; nothing for work that does not.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::escape::escape;

/// Nobody wonders: a daemon's standard error is its log.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Says nothing from now on.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// When the user starts to wonder.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs `work`. When it takes longer than a second, a line on standard error says `what` is going
/// on, and another how long it took.
pub fn while_slow<T>(what: &str, work: impl FnOnce() -> T) -> T {
    if QUIET.load(Ordering::Relaxed) {
        return work();
    }
    let started = Instant::now();
    // It may name the target's files.
    let what: &str = &escape(what);
    std::thread::scope(|scope| {
        let (done, finished) = channel::<()>();
        scope.spawn(move || {
            if finished.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // Nobody reads standard error: then nobody wonders either.
                let _ = writeln!(anstream::stderr(), "{what} ...");
            }
        });
        let result = work();
        drop(done);
        let took = started.elapsed();
        if took > PATIENCE {
            let _ = writeln!(anstream::stderr(), "{what}: {:.1} s", took.as_secs_f64());
        }
        result
    })
}
