//! SIGUSR1, from before the first moment at which somebody may send it: its default is to end us.

use std::io;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::trigger::Handle;

/// Has a flight recorder write at SIGUSR1, until it is dropped.
#[derive(Debug)]
pub struct OnSignal {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl OnSignal {
    /// Begins. When this returns, the signal ends the process no more.
    ///
    /// # Errors
    /// When the system refuses a thread or the handler.
    pub fn listen(handle: Handle) -> io::Result<Self> {
        let (stop, mut stopped) = oneshot::channel();
        let (ready, is_ready) = channel();
        let thread = std::thread::Builder::new().name("asynctrace-usr1".to_owned());
        let thread = thread.spawn(move || {
            let begun = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()
                .and_then(|runtime| {
                    let _inside = runtime.enter();
                    let signals = signal(SignalKind::user_defined1())?;
                    drop(_inside);
                    Ok((runtime, signals))
                });
            let (runtime, mut signals) = match begun {
                Ok(begun) => begun,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let _ = ready.send(Ok(()));
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        Some(()) = signals.recv() => handle.signal(),
                        _ = &mut stopped => break,
                    }
                }
            });
        })?;
        let begun = is_ready
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("its thread ended")));
        begun.map(|()| Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for OnSignal {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}
