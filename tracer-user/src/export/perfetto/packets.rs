//! Packets: the file's lowest level. Strings are written once and then named by number, in the
//! packet that has them first.

use std::collections::HashMap;
use std::io::{self, Write};

use prost::Message as _;

use super::Totals;
use crate::export::recording::Header;
use crate::proto::foreign::perfetto::track_event::Type;
use crate::proto::foreign::perfetto::{
    ClockSnapshot, DebugAnnotation, DebugAnnotationName, EventCategory, EventName, InternedData,
    InternedString, Trace, TracePacket, TracePacketDefaults, TrackDescriptor, TrackEvent,
    clock_snapshot::Clock,
};
use crate::show::escape::escape;

/// `BUILTIN_CLOCK_REALTIME` and `BUILTIN_CLOCK_MONOTONIC`.
const REALTIME: u32 = 1;
const MONOTONIC: u32 = 3;

/// Strings that were said once are known from then on, and packets that name them need that.
const STATE_CLEARED: u32 = 1;
const NEEDS_STATE: u32 = 2;

/// All our packets are of one sequence. 0 would mean that there is none.
const SEQUENCE: u32 = 1;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 16;

/// Something to be shown beside a slice.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note<'a> {
    Text(&'static str, &'a str),
    Number(&'static str, u64),
    Flag(&'static str),
}

/// An end of an arrow. The format knows no arrow with two heads, so each has a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It begins here.
    From(u64),
    /// It ends here.
    To(u64),
}

/// Numbers of strings of one kind, from 1.
#[derive(Debug, Default)]
struct Numbers(HashMap<Box<str>, u64>);

impl Numbers {
    /// The number of a string, and whether it is new.
    fn of(&mut self, text: &str) -> (u64, bool) {
        if let Some(number) = self.0.get(text) {
            return (*number, false);
        }
        let number = self.0.len() as u64 + 1;
        self.0.insert(text.into(), number);
        (number, true)
    }
}

/// Writes packets.
pub(super) struct Packets<'w> {
    out: &'w mut dyn Write,
    buffer: Vec<u8>,
    names: Numbers,
    categories: Numbers,
    note_names: Numbers,
    note_texts: Numbers,
    fresh: InternedData,
    totals: Totals,
}

impl<'w> Packets<'w> {
    /// Writes what comes first: the clocks, and that times are of the monotonic one.
    pub(super) fn new(header: &Header, out: &'w mut dyn Write) -> io::Result<Self> {
        let mut packets = Self {
            out,
            buffer: Vec::new(),
            names: Numbers::default(),
            categories: Numbers::default(),
            note_names: Numbers::default(),
            note_texts: Numbers::default(),
            fresh: InternedData::default(),
            totals: Totals::default(),
        };
        let clock = |clock_id, timestamp| Clock {
            clock_id: Some(clock_id),
            timestamp: Some(timestamp),
        };
        packets.packet(TracePacket {
            clock_snapshot: Some(ClockSnapshot {
                clocks: vec![
                    clock(MONOTONIC, header.clock_monotonic),
                    clock(REALTIME, header.clock_realtime),
                ],
                primary_trace_clock: Some(MONOTONIC),
            }),
            trusted_packet_sequence_id: Some(SEQUENCE),
            sequence_flags: Some(STATE_CLEARED),
            first_packet_on_sequence: Some(true),
            trace_packet_defaults: Some(TracePacketDefaults {
                timestamp_clock_id: Some(MONOTONIC),
            }),
            ..TracePacket::default()
        })?;
        Ok(packets)
    }

    /// Describes a track.
    pub(super) fn track(&mut self, descriptor: TrackDescriptor) -> io::Result<()> {
        self.totals.tracks += 1;
        self.packet(TracePacket {
            track_descriptor: Some(descriptor),
            trusted_packet_sequence_id: Some(SEQUENCE),
            sequence_flags: Some(NEEDS_STATE),
            ..TracePacket::default()
        })
    }

    /// Begins a slice.
    pub(super) fn begin(
        &mut self,
        track: u64,
        time: u64,
        name: &str,
        category: &'static str,
        notes: &[Note<'_>],
        flow: Option<Flow>,
    ) -> io::Result<()> {
        self.totals.slices += 1;
        let event = self.named(Type::SliceBegin, name, category, notes, flow);
        self.event(track, time, event)
    }

    /// Ends the slice that began last on the track and has not ended.
    pub(super) fn end(&mut self, track: u64, time: u64) -> io::Result<()> {
        let event = TrackEvent {
            r#type: Some(Type::SliceEnd.into()),
            ..TrackEvent::default()
        };
        self.event(track, time, event)
    }

    /// A moment.
    pub(super) fn instant(
        &mut self,
        track: u64,
        time: u64,
        name: &str,
        category: &'static str,
        notes: &[Note<'_>],
        flow: Option<Flow>,
    ) -> io::Result<()> {
        self.totals.instants += 1;
        let event = self.named(Type::Instant, name, category, notes, flow);
        self.event(track, time, event)
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> io::Result<Totals> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(self.totals)
    }

    fn named(
        &mut self,
        kind: Type,
        name: &str,
        category: &'static str,
        notes: &[Note<'_>],
        flow: Option<Flow>,
    ) -> TrackEvent {
        let (name_iid, new) = self.names.of(name);
        if new {
            self.fresh.event_names.push(EventName {
                iid: Some(name_iid),
                name: Some(escape(name).into_owned()),
            });
        }
        let (category_iid, new) = self.categories.of(category);
        if new {
            self.fresh.event_categories.push(EventCategory {
                iid: Some(category_iid),
                name: Some(category.to_owned()),
            });
        }
        let mut event = TrackEvent {
            r#type: Some(kind.into()),
            name_iid: Some(name_iid),
            category_iids: vec![category_iid],
            debug_annotations: notes.iter().map(|note| self.note(*note)).collect(),
            ..TrackEvent::default()
        };
        match flow {
            Some(Flow::From(flow)) => {
                self.totals.flows += 1;
                event.flow_ids.push(flow);
            }
            Some(Flow::To(flow)) => event.terminating_flow_ids.push(flow),
            None => {}
        }
        event
    }

    fn note(&mut self, note: Note<'_>) -> DebugAnnotation {
        let (Note::Text(name, _) | Note::Number(name, _) | Note::Flag(name)) = note;
        let (name_iid, new) = self.note_names.of(name);
        if new {
            self.fresh.debug_annotation_names.push(DebugAnnotationName {
                iid: Some(name_iid),
                name: Some(name.to_owned()),
            });
        }
        let mut annotation = DebugAnnotation {
            name_iid: Some(name_iid),
            ..DebugAnnotation::default()
        };
        match note {
            Note::Text(_, text) => {
                let (iid, new) = self.note_texts.of(text);
                if new {
                    self.fresh
                        .debug_annotation_string_values
                        .push(InternedString {
                            iid: Some(iid),
                            str: Some(escape(text).into_owned().into_bytes()),
                        });
                }
                annotation.string_value_iid = Some(iid);
            }
            Note::Number(_, number) => annotation.uint_value = Some(number),
            Note::Flag(_) => annotation.bool_value = Some(true),
        }
        annotation
    }

    fn event(&mut self, track: u64, time: u64, mut event: TrackEvent) -> io::Result<()> {
        event.track_uuid = Some(track);
        let fresh = std::mem::take(&mut self.fresh);
        self.packet(TracePacket {
            timestamp: Some(time),
            track_event: Some(event),
            interned_data: (fresh != InternedData::default()).then_some(fresh),
            trusted_packet_sequence_id: Some(SEQUENCE),
            sequence_flags: Some(NEEDS_STATE),
            ..TracePacket::default()
        })
    }

    fn packet(&mut self, packet: TracePacket) -> io::Result<()> {
        // A trace is its packets one after the other, and so are traces that hold one packet each.
        let one = Trace {
            packet: vec![packet],
        };
        self.buffer.extend_from_slice(&one.encode_to_vec());
        if self.buffer.len() >= BUFFER {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}
