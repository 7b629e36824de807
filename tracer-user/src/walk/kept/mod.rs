//! What a suspended body keeps in its saved locals beside the future that it awaits: what others
//! wait for (guards, permits, ends of channels), and futures that it does not await here.
//!
//! In: the members of the active variant, as the debug information describes them, and memory. Out:
//! [`Held`](crate::rebuild::tree::Held) and further trees. Locals that lead to neither are told by
//! their types, once for each await; a body that keeps nothing costs nothing.
//!
//! A local that was moved out or dropped leaves its bytes behind where it had been borrowed before
//! (rustc 1.95 frees the place of one that was not). What tells the two apart is `flags`.

mod flags;
mod futures;
mod held;
mod locals;

pub(super) use held::Seen;
pub(super) use locals::HeldLocal;
pub(super) use locals::Saved;
