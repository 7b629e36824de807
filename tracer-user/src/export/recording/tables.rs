//! The tables that packets fill and refer to, together: strings, states of futures, suspensions.
//!
//! They are emptied at the start of each segment (see [`super::segments`]), and so a segment begins
//! when one of them comes near its limits.

use std::sync::Arc;

use super::strings::{self, Strings};
use super::suspensions::{self, Shape, Suspensions};
use crate::proto;
use crate::rebuild::suspension::Suspension;

/// Bytes of entries that go into the same packet as what they are for; more go before it.
pub(super) const ENTRIES: usize = 256 * 1024;

/// The writer's side.
#[derive(Debug, Default)]
pub(super) struct Interner {
    /// Strings.
    pub(super) strings: strings::Interner,
    suspensions: suspensions::Interner,
}

impl Interner {
    /// The id of a suspension, without its addresses.
    pub(super) fn suspension(&mut self, of: &Arc<Suspension>) -> u32 {
        self.suspensions.id(of, &mut self.strings)
    }

    /// Whether a table has come near its limits.
    pub(super) fn is_full(&self) -> bool {
        self.strings.is_full() || self.suspensions.is_full()
    }

    /// Whether a table is beyond its limits: a reader would refuse it.
    pub(super) fn is_over(&self) -> bool {
        self.strings.is_over() || self.suspensions.is_over()
    }

    /// The entries that the next packet needs: in that packet, or in packets of their own before
    /// it when they are many.
    pub(super) fn take(&mut self) -> (Vec<proto::Packet>, proto::Packet) {
        let many = self.strings.fresh_bytes() + self.suspensions.fresh_bytes > ENTRIES;
        self.suspensions.fresh_bytes = 0;
        let strings = self.strings.take();
        let states = std::mem::take(&mut self.suspensions.fresh_states);
        let suspensions = std::mem::take(&mut self.suspensions.fresh_suspensions);
        if !many {
            let with = proto::Packet {
                strings,
                states,
                suspensions,
                content: None,
            };
            return (Vec::new(), with);
        }
        let mut packets = Packets::default();
        for text in strings {
            packets.room(text.len()).strings.push(text);
        }
        for state in states {
            packets.room(64).states.push(state);
        }
        for suspension in suspensions {
            // At most ten bytes each for place and 12 for the rest.
            let size = suspension.depths.len() * 22;
            packets.room(size).suspensions.push(suspension);
        }
        (packets.0, proto::Packet::default())
    }
}

/// Packets that each fit into a frame.
#[derive(Default)]
struct Packets(Vec<proto::Packet>, usize);

impl Packets {
    fn room(&mut self, size: usize) -> &mut proto::Packet {
        self.1 += size + 8;
        if self.0.is_empty() || self.1 > ENTRIES {
            self.0.push(proto::Packet::default());
            self.1 = size + 8;
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }
}

/// The reader's side.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Strings.
    pub(super) strings: Strings,
    suspensions: Suspensions,
}

impl Tables {
    /// Takes over a packet's entries.
    pub(super) fn extend(&mut self, packet: &mut proto::Packet) -> Result<(), &'static str> {
        self.strings.extend(std::mem::take(&mut packet.strings))?;
        self.suspensions.extend(
            std::mem::take(&mut packet.states),
            std::mem::take(&mut packet.suspensions),
            &self.strings,
        )
    }

    /// The suspension with this id.
    pub(super) fn suspension(&self, id: u32) -> Result<&Shape, &'static str> {
        self.suspensions.get(id)
    }
}
