//! What a person sees: text, tables, the live view.

pub mod escape;
pub mod live;
