//! Where a session shows itself while it runs: the live view, a line a second, or nothing. Each on
//! a thread of its own, because a terminal or a pipe may block for as long as it likes.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_current_process_group};
use tokio::sync::mpsc::UnboundedSender;

use super::ending::Ending;
use super::lines::{Counts, Lines};
use crate::show::escape::escape;
use crate::show::live::exchange::Exchange;
use crate::show::live::terminal::{self, ViewEnd};

/// How long a thread that may hang on a terminal or a pipe is waited for at the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lines and notes that wait to be written at most.
const WAITING: usize = 8;

/// What the thread is told.
#[derive(Debug)]
enum Told {
    /// Counts of events, at this time after the attach.
    Counts(Duration, Counts),
    /// A whole line.
    Text(String),
    /// Something for standard error.
    Note(String),
}

/// What to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Showing {
    /// The live view, on the terminal.
    View,
    /// A line a second on standard output: its reader may end the session by closing it.
    LinesOnStdout,
    /// A line a second on standard error, which may be closed without an effect.
    LinesOnStderr,
    /// Nothing: a program watches, see [`crate::follow::watched`].
    Nothing,
}

impl Showing {
    /// Tables are made this often at most: people look closer than programs.
    #[must_use]
    pub const fn table_period(self) -> Duration {
        match self {
            Self::Nothing => Duration::from_secs(1),
            _ => Duration::from_millis(250),
        }
    }

    /// Whether somebody looks at tables.
    #[must_use]
    pub const fn wants_tables(self) -> bool {
        matches!(self, Self::View | Self::Nothing)
    }
}

/// The thread that shows.
#[derive(Debug)]
pub struct Outlet {
    lines: Option<SyncSender<Told>>,
    thread: Option<JoinHandle<()>>,
}

impl Outlet {
    /// Starts to show; `ends` is told when the user or the reader of the lines ends the session.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn open(
        showing: Showing,
        exchange: Arc<Exchange>,
        ends: UnboundedSender<Ending>,
    ) -> io::Result<Self> {
        Self::start(showing, exchange, ends, true)
    }

    /// The same for lines of another kind: see [`Outlet::text`].
    ///
    /// # Errors
    /// As [`Outlet::open`].
    pub fn open_plain(
        showing: Showing,
        exchange: Arc<Exchange>,
        ends: UnboundedSender<Ending>,
    ) -> io::Result<Self> {
        Self::start(showing, exchange, ends, false)
    }

    fn start(
        showing: Showing,
        exchange: Arc<Exchange>,
        ends: UnboundedSender<Ending>,
        heading: bool,
    ) -> io::Result<Self> {
        let thread = std::thread::Builder::new().name("asynctrace-show".to_owned());
        Ok(match showing {
            Showing::View => Self {
                lines: None,
                thread: Some(thread.spawn(move || view(&exchange, &ends))?),
            },
            Showing::LinesOnStdout => {
                let (sender, receiver) = sync_channel(WAITING);
                Self {
                    lines: Some(sender),
                    thread: Some(thread.spawn(move || {
                        if write_lines(io::stdout(), &receiver, heading).is_err() {
                            let _ = ends.send(Ending::OutputClosed);
                        }
                    })?),
                }
            }
            Showing::LinesOnStderr => {
                let (sender, receiver) = sync_channel(WAITING);
                Self {
                    lines: Some(sender),
                    thread: Some(thread.spawn(move || {
                        // Nobody reads the talk: the recording goes on.
                        let _ = write_lines(io::stderr(), &receiver, heading);
                    })?),
                }
            }
            Showing::Nothing => Self {
                lines: None,
                thread: None,
            },
        })
    }

    /// Whether lines are wanted.
    #[must_use]
    pub const fn wants_lines(&self) -> bool {
        self.lines.is_some()
    }

    /// Shows a line, unless the last ones are still being written.
    pub fn line(&self, at: Duration, counts: Counts) {
        self.tell(Told::Counts(at, counts));
    }

    /// Shows a line as it is, where lines are shown; as [`Outlet::line`].
    pub fn text(&self, line: String) {
        self.tell(Told::Text(line));
    }

    /// Says something on standard error, where lines are shown; as [`Outlet::line`].
    pub fn note(&self, text: String) {
        self.tell(Told::Note(text));
    }

    fn tell(&self, told: Told) {
        if let Some(lines) = &self.lines {
            match lines.try_send(told) {
                Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            }
        }
    }

    /// Waits until everything is shown and the terminal is given back, as long as that goes on. The
    /// [`Exchange`] must have been stopped.
    pub fn close(self) {
        drop(self.lines);
        let Some(thread) = self.thread else { return };
        let start = Instant::now();
        while !thread.is_finished() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.is_finished() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}

fn view(exchange: &Exchange, ends: &UnboundedSender<Ending>) {
    let ending = match terminal::run(exchange) {
        Ok(ViewEnd::Quit) => Ending::Quit,
        Ok(ViewEnd::Interrupt) => {
            // In raw mode the terminal leaves this to us: Ctrl-C is for everything that runs in
            // the foreground, a command that we started included. The signal ends the session.
            match kill_current_process_group(Signal::INT) {
                Ok(()) => return,
                Err(_) => Ending::Interrupted,
            }
        }
        Ok(ViewEnd::Stopped) => return,
        Err(error) => {
            tracing::warn!("the live view ended: {error}");
            Ending::ViewFailed
        }
    };
    // A session that has ended needs no reason.
    let _ = ends.send(ending);
}

fn write_lines(out: impl Write, told: &Receiver<Told>, heading: bool) -> io::Result<()> {
    let mut lines = Lines::new(out);
    if heading {
        lines.heading()?;
    }
    while let Ok(told) = told.recv() {
        match told {
            Told::Counts(at, counts) => lines.line(at, counts)?,
            Told::Text(line) => lines.text(&line)?,
            Told::Note(text) => {
                // Nobody reads the talk: the lines go on.
                let _ = writeln!(anstream::stderr(), "note: {}", escape(&text));
            }
        }
    }
    Ok(())
}
