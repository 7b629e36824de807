//! A recording: its reader, then everything that is made of what it says.
//!
//! Input: a byte that chooses, then either a whole file (bit 0), or packets, each with its length in
//! two bytes, that are framed here: no mutation finds a checksum. Parts of snapshots are compressed
//! (bit 2): few mutations of what is compressed can be inflated.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Cursor, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use tracer_user::analyse::activity::Collector;
use tracer_user::analyse::critical_path::{Question, walk};
use tracer_user::analyse::findings::{Thresholds, coverage, find, graph};
use tracer_user::analyse::history::UnitIndex;
use tracer_user::analyse::levels::{Level, Nesting};
use tracer_user::analyse::life::life;
use tracer_user::analyse::profile::{open_awaits, profile};
use tracer_user::analyse::requests::{Patterns, compare, find as find_requests};
use tracer_user::export::recording::{Ending, Header, Item, Loss, Reader, Window};
use tracer_user::export::{Measure, Source, dot, folded, json, otlp, perfetto, pprof, svg};
use tracer_user::follow::evidence::{Evidence, Gathered};
use tracer_user::show::findings::{self, Check, Span};
use tracer_user::show::html::{self, Head, Page};
use tracer_user::show::report::{self, FileInfo, Report};
use tracer_user::show::requests::{Choices, Material, list, one, path};
use tracer_user::show::visible_json::to_visible_json;

use crate::outlets::{assert_no_controls, assert_safe};

/// The first bytes of a recording and its frames: docs/recording-format.md.
const MAGIC: &[u8; 8] = b"\x89ATRC\r\n\x1a";

/// The first byte of a part of a snapshot in a packet, and of a compressed one: the field's
/// number, and that it has a length (proto/asynctrace.proto).
const SNAPSHOT: u8 = 8 << 3 | 2;
const DEFLATED_SNAPSHOT: u8 = 14 << 3 | 2;

/// Items of one input at most.
const ITEMS: usize = 2_000;

/// A recording whose packets are these.
#[must_use]
pub fn framed<'p>(packets: impl IntoIterator<Item = Cow<'p, [u8]>>) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    for payload in packets {
        let payload = payload.as_ref();
        let length = u32::try_from(payload.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes();
        let mut sum = crc32fast::Hasher::new();
        sum.update(&length);
        sum.update(payload);
        file.extend(length);
        file.extend(sum.finalize().to_le_bytes());
        file.extend(payload);
    }
    file
}

fn packets(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (packet, rest) = rest.split_at(length);
        packets.push(packet);
        bytes = rest;
    }
    packets
}

/// The packet with its part of a snapshot compressed, if it has one.
fn deflated(packet: &[u8]) -> Vec<u8> {
    let (mut changed, mut rest) = (Vec::new(), packet);
    while let Some((tag, content, after)) = field(rest) {
        if tag == SNAPSHOT {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            let written = encoder.write_all(content).and_then(|()| encoder.finish());
            push(
                DEFLATED_SNAPSHOT,
                &written.expect("memory takes every write"),
                &mut changed,
            );
        } else {
            push(tag, content, &mut changed);
        }
        rest = after;
    }
    // What is no field with a length stays as it is.
    changed.extend(rest);
    changed
}

/// A field with a length: its first byte and its content, and what follows.
fn field(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, mut rest) = bytes.split_first().filter(|(tag, _)| *tag & 7 == 2)?;
    let mut length = 0;
    for shift in [0, 7, 14] {
        let (byte, after) = rest.split_first()?;
        length |= usize::from(byte & 0x7f) << shift;
        rest = after;
        if byte & 0x80 == 0 {
            let (content, after) = rest.split_at_checked(length)?;
            return Some((*tag, content, after));
        }
    }
    None
}

fn push(tag: u8, content: &[u8], into: &mut Vec<u8>) {
    into.push(tag);
    let mut length = content.len();
    while length >= 0x80 {
        into.push(length as u8 | 0x80);
        length >>= 7;
    }
    into.push(length as u8);
    into.extend(content);
}

/// Reads it.
pub fn run(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else {
        return;
    };
    let file = if choice & 1 == 1 {
        rest.to_vec()
    } else {
        let packets = packets(rest).into_iter();
        framed(packets.map(|packet| match choice & 4 {
            0 => Cow::Borrowed(packet),
            _ => Cow::Owned(deflated(packet)),
        }))
    };
    jump(&file, u64::from(*choice));
    let Some(read) = read(&file) else {
        return;
    };
    tell(&read, choice & 2 != 0);
    export(&read);
}

/// From a time on, as `--from` does.
fn jump(file: &[u8], choice: u64) {
    let Ok(mut reader) = Reader::new(Path::new("fuzzed"), Cursor::new(file)) else {
        return;
    };
    let time = reader.header().started.wrapping_add(choice << 20);
    if reader.seek_to(time).is_ok() {
        for _ in 0..ITEMS {
            if !matches!(reader.next_item(), Ok(Some(_))) {
                break;
            }
        }
    }
}

struct Read {
    header: Header,
    gathered: Gathered,
    activity: tracer_user::analyse::activity::Activity,
    losses: Vec<Loss>,
    ending: Ending,
    bytes: u64,
    skipped: u64,
    because: Option<String>,
}

fn read(file: &[u8]) -> Option<Read> {
    let mut reader = Reader::new(Path::new("fuzzed"), file).ok()?;
    let header = reader.header().clone();
    let mut evidence = Evidence::new(header.clone(), Window::default());
    let mut collector = Collector::new(header.started);
    let mut losses = Vec::new();
    let mut because = None;
    for _ in 0..ITEMS {
        let Some(item) = reader.next_item().expect("memory can be read") else {
            break;
        };
        evidence.item(&item);
        match item {
            Item::Events(events) => collector.events(&events),
            Item::Losses(more) => {
                for loss in &more {
                    collector.lost(loss.cpu, loss.count);
                }
                losses.extend(more);
            }
            Item::Dropped { count, .. } => collector.dropped(count),
            Item::Statistics { time, .. } => collector.reached(time),
            Item::Snapshot(part) => {
                collector.snapshot(part.number, part.time, part.last, part.tasks);
            }
            Item::Units(_) | Item::Watching(_) => {}
            Item::End(end) => {
                collector.reached(end.time);
                because = Some(end.reason);
            }
        }
    }
    Some(Read {
        header,
        gathered: evidence.finish(),
        activity: collector.finish(),
        losses,
        ending: reader.ending().cloned().unwrap_or(Ending::Open),
        bytes: reader.offset(),
        skipped: reader.skipped(),
        because,
    })
}

/// Everything for people.
fn tell(read: &Read, page: bool) {
    let header = &read.header;
    let history = &read.gathered.history;
    let case = read.gathered.case(Thresholds::default());
    let found = find(&case);
    let span = Span {
        began_ns: history.span.start,
        ended_ns: case.end(),
        began_unix_ns: header.realtime(history.span.start),
    };
    let check = Check {
        schema: findings::SCHEMA,
        source: findings::Source::Recording {
            path: "fuzzed".to_owned(),
            ending: "open",
        },
        process: header.process.clone(),
        span,
        thresholds: Thresholds::default().into(),
        coverage: coverage(&case, read.gathered.looked(), &found),
        findings: found.clone(),
        left_out: 0,
        warnings: case
            .now()
            .map(|moment| moment.snapshot.warnings.clone())
            .unwrap_or_default(),
    };
    text(|out| findings::write(&check, out));
    json_of(&check);
    let waits = graph(&case);
    assert_no_controls(waits.to_dot().as_bytes());
    json_of(&waits);

    let mut activity = read.activity.clone();
    for task in &mut activity.open {
        let units = (0..).zip(&history.units);
        let unit = units.into_iter().find(|(_, unit)| unit.id == task.unit);
        if let Some((at, _)) = unit {
            task.open_awaits = open_awaits(history, UnitIndex(at));
        }
    }
    let report = Report {
        schema: report::SCHEMA,
        file: FileInfo {
            kept: None,
            path: "fuzzed".to_owned(),
            bytes: read.bytes,
            format: "1".to_owned(),
            ending: "open",
            ended_because: read.because.clone(),
            note: match &read.ending {
                Ending::Damaged { reason, .. } => Some(reason.clone()),
                _ => None,
            },
            skipped_packets: read.skipped,
        },
        trace_id: header.trace_id.to_string(),
        tool: header.tool.clone(),
        started_unix_ns: header.realtime(header.started),
        process: header.process.clone(),
        host: header.host.clone(),
        runtime: header.runtime.clone(),
        debug_info: header.debug_info,
        probes: header.probes.clone(),
        unseen: header.unseen.clone(),
        activity,
        findings: found,
        profile: profile(history),
        incomplete: history.missing.clone(),
        open_left_out: 0,
    };
    text(|out| report::write(&report, out));
    json_of(&report);
    for at in 0..history.units.len().min(8) {
        let unit = UnitIndex(u32::try_from(at).unwrap_or(0));
        if let Some(life) = life(history, header.started, unit, 1_000) {
            text(|out| report::write_life(&life, out));
            json_of(&life);
        }
    }
    requests(read);
    if page {
        self::page(read, &report, span);
    }
}

fn requests(read: &Read) {
    let (header, history) = (&read.header, &read.gathered.history);
    for patterns in [Vec::new(), vec!["*".to_owned()]] {
        let material = Material::new(header, history, &patterns);
        let all = material.list(Choices {
            top: 20,
            level: Level::Polls,
            critical_paths: true,
        });
        text(|out| list::write(&material, &all, out));
        json_of(&all);
        for id in 1..4 {
            if let Some(request) = material.request(id) {
                let view = material.one(request, Level::Polls);
                text(|out| one::write(&material, &view, out));
                json_of(&view);
            }
        }
    }
}

fn page(read: &Read, report: &Report, span: Span) {
    let history = &read.gathered.history;
    let found = find_requests(history, &Patterns::new(&["*"]));
    let nesting = Nesting::new(history);
    let kinds = compare::kinds(history, &nesting, &found.list);
    let mut head = Head::of(report);
    head.span = Some(span);
    let critical = |request: &tracer_user::analyse::requests::Request| {
        let question = Question {
            unit: request.task,
            within: Some(request.root),
            from: request.start,
            to: request.end.unwrap_or(history.span.end),
        };
        walk(history, question, path::PIECES).pieces
    };
    let mut out = Vec::new();
    let page = Page {
        head,
        history,
        nesting: &nesting,
        requests: &found.list,
        kinds: &kinds,
        path: &critical,
        limits: html::Limits::default(),
    };
    html::write(&page, &mut out).expect("memory takes it");
    assert_no_controls(&out);
}

fn export(read: &Read) {
    let history = &read.gathered.history;
    let requests = find_requests(history, &Patterns::new(&["*"]));
    let source = Source {
        sampled: None,
        header: &read.header,
        history,
        losses: &read.losses,
        requests: &requests.list,
    };
    let mut out = Vec::new();
    for level in [Level::Requests, Level::Polls] {
        drop(perfetto::write(&source, level, &mut Vec::new()));
        drop(otlp::write(&source, level, &mut Vec::new()));
        out.clear();
        dot::write(&source, level, &mut out).expect("memory takes it");
        assert_no_controls(&out);
    }
    drop(pprof::write(&source, &mut Vec::new()));
    out.clear();
    folded::write(&source, Measure::Waiting, &mut out).expect("memory takes it");
    assert_no_controls(&out);
    out.clear();
    if svg::write(&source, Measure::Waiting, &mut out).is_ok() {
        assert_no_controls(&out);
    }
    out.clear();
    json::write(&source, &mut out).expect("memory takes it");
    assert_no_controls(&out);
    let parsed: HashMap<String, serde_json::Value> =
        serde_json::from_slice(&out).expect("an object");
    assert!(parsed.contains_key("schema"));
}

fn text(write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) {
    let mut out = Vec::new();
    write(&mut out).expect("memory takes it");
    assert_safe(&out);
}

/// As `--json` prints it: control characters are escaped.
fn json_of(value: &impl serde::Serialize) {
    let text = to_visible_json(value).expect("plain data");
    assert_no_controls(text.as_bytes());
}
