//! From what the user named to a process, its modules and the files behind them.

mod robust_list;
pub mod thread_pointer;
pub mod thread_state;
