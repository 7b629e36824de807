//! A session that a program watches, instead of a person at a terminal: what ends it, where its
//! tables are put, and who is told everything that a recording would be told.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;

use super::ending::{Ending, Signals};
use super::recorder::Sink;
use crate::export::recording::Header;
use crate::show::live::exchange::Exchange;

/// The program's side of a session.
#[derive(Default)]
pub struct Watched {
    /// Where tables are put, and where readings of memory are asked for.
    pub exchange: Arc<Exchange>,
    /// What ends the session beside its target.
    pub ends: Ends,
    /// Makes who is told events, losses and readings.
    pub observer: Option<Observe>,
}

/// Makes an observer of a session, of which a recording would say this. It runs on a thread of its
/// own; what it is too slow for is dropped, and it is told how much.
pub type Observe = Box<dyn FnOnce(&Header) -> Box<dyn Sink> + Send>;

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("ends", &self.ends)
            .field("observer", &self.observer.is_some())
            .finish_non_exhaustive()
    }
}

/// What ends a session beside its target, its time and its file.
#[derive(Debug, Default)]
pub enum Ends {
    /// Signals, which are not taken over yet.
    #[default]
    BySignal,
    /// Signals.
    Signals(Signals),
    /// A program; also when it drops its sender.
    ByOrder(UnboundedReceiver<Ending>),
}

impl Ends {
    /// Takes over the signals where they are what ends it and are not taken over yet.
    ///
    /// # Errors
    /// When the kernel refuses a handler.
    pub fn prepare(&mut self) -> io::Result<()> {
        if let Self::BySignal = self {
            *self = Self::Signals(Signals::take()?);
        }
        Ok(())
    }

    /// Waits for the end. Cancel-safe.
    pub async fn next(&mut self) -> Ending {
        match self {
            Self::BySignal => std::future::pending().await,
            Self::Signals(signals) => signals.next().await,
            Self::ByOrder(orders) => orders.recv().await.unwrap_or(Ending::Terminated),
        }
    }

    /// Once an end has begun, the next signal is the user's last word: `abort` is called. A program
    /// has none.
    pub fn abort_on_next(self, abort: impl FnOnce() + Send + 'static) {
        if let Self::Signals(signals) = self {
            signals.abort_on_next(abort);
        }
    }
}
