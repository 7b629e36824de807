//! From what the user names to a process: its files, modules, threads and memory.
//!
//! In: a [`TargetSelector`]. Out: a [`Process`]. Files are always opened through
//! `/proc/PID/exe` and `/proc/PID/root`, so containers and deleted or replaced executables work.
//! Nothing here stops, signals or writes to the target, and no debug information is read.

mod bias;
mod descriptors;
mod elf_header;
mod error;
mod module;
mod privilege;
mod process;
mod robust_list;
mod selector;
mod sock_diag;
mod syscall_name;
pub mod thread_pointer;
pub mod thread_state;

pub use bias::{LoadSegment, Mapping, load_bias};
pub use descriptors::{Descriptor, Internet, Sockets, Unix};
pub use elf_header::{Machine, machine};
pub use error::{Candidate, ENDED, TargetError};
pub use module::Module;
pub use privilege::{Capability, how_to_be_permitted, missing_capabilities, sudo_command};
pub use process::{Process, Thread};
pub use selector::{Identity, TargetSelector};
pub use syscall_name::{syscall_name, syscall_text};
pub use thread_pointer::{ThreadPointerError, TlsSegment, thread_pointers, tls_address};
