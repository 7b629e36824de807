//! OpenTelemetry: an `ExportTraceServiceRequest`, as a collector takes it at `/v1/traces`.
//!
//! Each request is a trace with the request as its root: what it awaited, and the tasks it spawned
//! with what they awaited, are the spans below. What belongs to no request is a trace for each
//! task. A span is linked to the one it depended on (`asynctrace.link`): the await whose body woke
//! it (`woken_by`), the one that spawned it (`spawned_by`) or aborted it (`aborted_by`), the one
//! that a request is a part of (`part_of`). What was woken from outside the traced tasks has a span
//! event instead. What goes on at the end of the recording is ended there and marked
//! `asynctrace.open`. Attributes have the names of the semantic conventions where there are any:
//! `code.*`, `thread.*`, `process.*`, `service.name`.
//!
//! Ids follow from the recording's own: the same recording gives the same spans, and two do not
//! mix.

mod attributes;
mod ids;
mod links;
mod roots;
mod spans;

use std::io::{self, Write};

use prost::Message as _;

use self::attributes::resource;
use self::spans::Spans;
use super::Level;
use super::source::Source;
use crate::proto::foreign::otlp::{
    ExportTraceServiceRequest, InstrumentationScope, Resource, ResourceSpans, ScopeSpans, Span,
};

/// Spans in one piece of the request.
const PIECE: usize = 1024;

/// The semantic conventions whose names are used.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Spans.
    pub spans: u64,
    /// Traces, each a request or a task.
    pub traces: u64,
    /// Links between spans.
    pub links: u64,
    /// Links and events beyond the limit of a span.
    pub links_left_out: u64,
}

/// Why there is nothing to write.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// Its clocks give no time of day.
    #[error("the recording's clocks do not give a time of day")]
    Clocks,
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Writes a request.
///
/// # Errors
/// [`OtlpError`].
pub fn write(source: &Source<'_>, level: Level, out: &mut dyn Write) -> Result<Totals, OtlpError> {
    let span = &source.history.span;
    for time in [span.start, source.end()] {
        source.header.realtime(time).ok_or(OtlpError::Clocks)?;
    }
    let spans = Spans::new(source, level);
    let mut pieces = Pieces {
        resource: resource(source.header),
        waiting: Vec::with_capacity(PIECE),
        totals: Totals::default(),
        out,
    };
    for (index, unit, task) in source.tasks() {
        spans.of_task(index, unit, task, &mut |span, left_out| {
            pieces.span(span, left_out)
        })?;
    }
    pieces.flush()?;
    Ok(pieces.totals)
}

/// Writes the request piece by piece: lists of messages that follow each other are one list to the
/// reader.
struct Pieces<'w> {
    resource: Resource,
    waiting: Vec<Span>,
    totals: Totals,
    out: &'w mut dyn Write,
}

impl Pieces<'_> {
    fn span(&mut self, span: Span, left_out: u64) -> io::Result<()> {
        self.totals.spans += 1;
        self.totals.traces += u64::from(span.parent_span_id.is_empty());
        self.totals.links += span.links.len() as u64;
        self.totals.links_left_out += left_out;
        self.waiting.push(span);
        if self.waiting.len() >= PIECE {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() && self.totals.spans > 0 {
            return Ok(());
        }
        let piece = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(InstrumentationScope {
                        name: "asynctrace".to_owned(),
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                    }),
                    spans: std::mem::take(&mut self.waiting),
                    schema_url: SCHEMA_URL.to_owned(),
                }],
                schema_url: SCHEMA_URL.to_owned(),
            }],
        };
        self.out.write_all(&piece.encode_to_vec())
    }
}
