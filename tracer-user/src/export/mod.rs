//! What leaves the program as a file.

pub mod recording;
