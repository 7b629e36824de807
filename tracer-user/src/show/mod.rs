//! What a person sees: text, tables, the live view.

mod alike;
pub mod dump;
pub mod escape;
pub mod findings;
pub mod html;
pub mod live;
pub mod progress;
pub mod report;
pub mod requests;
mod text;
pub mod visible_json;
pub mod waits;
