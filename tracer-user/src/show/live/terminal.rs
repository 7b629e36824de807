//! The real terminal: raw mode and the alternate screen, given back on every way out, and the loop
//! of the view on a thread of its own. Drawing may block on a slow terminal for as long as it
//! likes; nothing else waits for it.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};

use super::draw::draw;
use super::exchange::Exchange;
use super::model::{Message, Model, Next};
use super::palette::Palette;

/// Keys and data are looked for at least this often.
const LOOK: Duration = Duration::from_millis(40);

/// A frame is drawn when this many times its own cost has passed since the last one, so that the
/// view takes at most a fifth of a CPU however large the table is.
const REST_PER_FRAME: u32 = 4;

/// Whether there is a person to show a view to: both standard input and standard output are a
/// terminal that can move its cursor.
#[must_use]
pub fn is_interactive() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    !dumb && io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The terminal in raw mode on its alternate screen. Dropping it gives the terminal back; so does a
/// panic on any thread (`ratatui::try_init` installs a hook that restores it before the message).
#[derive(Debug)]
pub struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When standard output is not a terminal or cannot be switched.
    pub fn enter() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, for a way out that drops nothing (`std::process::exit`). Harmless when
/// it was not taken or was given back already.
pub fn give_back() {
    // A terminal that is gone cannot be restored, and nobody is there to be told.
    let _ = ratatui::crossterm::execute!(io::stdout(), ratatui::crossterm::cursor::Show);
    let _ = ratatui::try_restore();
}

/// Why the view ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewEnd {
    /// The user pressed `q`.
    Quit,
    /// The user pressed Ctrl-C.
    Interrupt,
    /// The session ended.
    Stopped,
}

/// Shows the view until the user ends it or the session does. The caller's thread is used for
/// nothing else meanwhile.
///
/// # Errors
/// When the terminal cannot be read or written any more, for example because it was closed.
pub fn run(exchange: &Exchange) -> io::Result<ViewEnd> {
    let palette = Palette::from_no_color(std::env::var_os("NO_COLOR").as_deref());
    let mut screen = Screen::enter()?;
    let mut model = Model::default();
    let mut needs_drawing = true;
    let mut last_frame = Instant::now();
    let mut cost = Duration::ZERO;
    while !exchange.is_stopped() {
        if event::poll(LOOK)? {
            // Everything that came meanwhile, so that held-down keys do not queue up frames.
            while event::poll(Duration::ZERO)? {
                match event::read()? {
                    Event::Key(key) => match model.update(Message::Key(key)) {
                        Next::Quit => return Ok(ViewEnd::Quit),
                        Next::Interrupt => return Ok(ViewEnd::Interrupt),
                        Next::Draw => needs_drawing = true,
                        Next::Nothing => {}
                    },
                    Event::Resize(..) => needs_drawing = true,
                    _ => {}
                }
            }
        }
        let table = exchange.take_table().map(Message::Data);
        let tree = exchange.take_selected().map(Message::Tree);
        let found = exchange.take_found().map(Message::Found);
        for message in [table, tree, found].into_iter().flatten() {
            needs_drawing |= model.update(message) == Next::Draw;
        }
        if needs_drawing && last_frame.elapsed() >= cost * REST_PER_FRAME {
            let start = Instant::now();
            screen
                .terminal
                .draw(|frame| draw(&mut model, palette, frame))?;
            exchange.put_wanted(model.wanted());
            cost = start.elapsed();
            last_frame = Instant::now();
            needs_drawing = false;
        }
    }
    Ok(ViewEnd::Stopped)
}
