//! Following a live process: everything between an attached session and what is shown and recorded.
//!
//! Five threads, none of which waits for another: the follower (ring buffers -> tracker -> events,
//! tables and lines), the [view](crate::show::live), the reader of memory, the
//! [writer](recorder) of the recording, and the one that [judges](judging) what the view shows.
//! Between them are slots that hold the newest value only and two bounded queues.

pub mod before;
pub mod budgeting;
pub mod ending;
pub mod evidence;
pub mod flight;
pub mod follower;
pub mod judging;
pub mod kept;
pub mod lines;
pub mod outlet;
pub mod pidfd;
pub mod rates;
pub mod reader;
pub mod recent;
pub mod recorder;
pub mod recording_file;
pub mod sampling;
pub mod session;
mod status_words;
pub mod summary;
pub mod table_maker;
pub mod tasks;
pub mod watched;
