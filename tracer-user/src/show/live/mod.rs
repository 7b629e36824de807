//! The live view of `attach`: a table of tasks and the await tree of the selected one.
//!
//! Three parts that know nothing of each other's job: the [`model`] is pure state that changes with
//! keys and data; [`draw`] turns a model into a frame; [`terminal`] owns the real terminal (raw
//! mode, alternate screen) and gives it back on every way out. The data comes as a whole
//! [`table::Table`] a few times a second; only the rows that are on the screen are ever formatted.

pub mod awaiting;
pub mod columns;
pub mod draw;
pub mod exchange;
pub mod format;
pub mod found;
pub mod model;
pub mod order;
pub mod palette;
pub mod table;
pub mod terminal;
mod tree_pane;

#[cfg(test)]
mod draw_tests;
