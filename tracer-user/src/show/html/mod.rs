//! `report --html`: a recording as one page that needs nothing but a browser.
//!
//! In: a [`History`], its [`Request`]s and their critical paths, what is to be said of the file.
//! Out: one HTML file with its data, styles and scripts inside. Steps: what fits is chosen
//! (`select`), sums are made over everything (`profile`), both become tables of numbers
//! (`tables`), the page is put together (`assemble`).
//!
//! Deliberately absent: any request to a network, any script that is not in this folder, any markup
//! made from names. The page's policy forbids all three: scripts and styles are allowed by their
//! hash, and trusted types leave no way from a string to markup.

mod assemble;
mod code;
mod columns;
mod common;
mod head;
mod profile;
mod save;
mod select;
mod strings;
mod tables;

#[cfg(test)]
mod tests;

use std::io::{self, Write};

use crate::analyse::critical_path::Piece;
use crate::analyse::history::History;
use crate::analyse::levels::Nesting;
use crate::analyse::requests::Request;
use crate::analyse::requests::compare::Kind;

pub use head::Head;
pub use save::{HtmlError, save, save_as};

/// All that a page shows.
pub struct Page<'a> {
    /// What is said of the recording as a file, and of the process.
    pub head: Head,
    /// What happened.
    pub history: &'a History,
    /// What is inside what in it.
    pub nesting: &'a Nesting<'a>,
    /// The requests in it.
    pub requests: &'a [Request],
    /// What slow ones of them have in common.
    pub kinds: &'a [Kind],
    /// The critical path of a request; empty when there is none. Called once for each request that
    /// the page lists.
    pub path: &'a dyn Fn(&Request) -> Vec<Piece>,
    /// How much of it goes into the page.
    pub limits: Limits,
}

/// How much goes into a page. Sums and profiles are made over everything; these are limits of what
/// can be opened in the page. What was left out is said there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests in the list; the slowest are kept.
    pub requests: usize,
    /// Await instances.
    pub awaits: usize,
    /// Polls.
    pub polls: usize,
    /// Wake-ups.
    pub wakes: usize,
    /// Tasks and threads.
    pub units: usize,
    /// Pieces of critical paths.
    pub pieces: usize,
    /// Vertices of the flame graph.
    pub flame: usize,
}

impl Default for Limits {
    /// About 10 to 20 MB of HTML when all of them are reached, which browsers open in a second or
    /// two.
    fn default() -> Self {
        Self {
            requests: 100_000,
            awaits: 250_000,
            polls: 400_000,
            wakes: 400_000,
            units: 100_000,
            pieces: 500_000,
            flame: 50_000,
        }
    }
}

/// Writes the page.
///
/// # Errors
/// What `out` returns.
pub fn write(page: &Page<'_>, out: &mut dyn Write) -> io::Result<()> {
    assemble::write(&columns::Data::of(page), out)
}
