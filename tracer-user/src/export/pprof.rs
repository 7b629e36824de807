//! Await stacks as a pprof profile: waiting time, polling time and number of instances, for
//! `go tool pprof` and whatever else reads `profile.proto`.
//!
//! As in a profile of a CPU, a frame is a function and the line in it that goes on below: the
//! line of the await. The innermost frame has no line when it is no async body of the user's. A
//! sample is one stack with its own time (`stacks`), labelled with the type of its task.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;

use super::source::Source;
use super::stacks::{Stack, Stacks};
use crate::analyse::history::Awaited;
use crate::proto::foreign::pprof::{
    Function, Label, Line, Location, Mapping, Profile, Sample, ValueType,
};
use crate::rebuild::tree::NodeKind;
use crate::show::escape::escape;

/// Samples in one piece of the profile.
const PIECE: usize = 1024;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Samples.
    pub samples: u64,
    /// Instances that were too deep for a stack of their own.
    pub cut: u64,
    /// Tasks of which no await is known: their time is in no sample.
    pub tasks_without: u64,
}

/// Writes a gzipped profile.
///
/// # Errors
/// Those of `out`.
pub fn write(source: &Source<'_>, out: &mut dyn Write) -> io::Result<Totals> {
    let stacks = Stacks::of(source);
    let mut out = GzEncoder::new(out, Compression::default());
    let mut tables = Tables::default();
    tables.text("");
    tables.find_files(&stacks);
    let mut head = tables.head(source);
    let task_label = tables.text("task");
    let mut totals = Totals {
        cut: stacks.cut,
        tasks_without: stacks.tasks_without,
        ..Totals::default()
    };

    // A message in pieces: lists of the pieces are one list to the reader.
    let mut piece = std::mem::take(&mut head);
    for (number, stack) in (0..).zip(&stacks.all) {
        let own = stack.own;
        if own.count == 0 {
            continue;
        }
        let task = tables.text(&escape(&stack.task));
        piece.sample.push(Sample {
            location_id: tables.locations(&stacks.chain(number)),
            value: if source.sampled.is_some() {
                vec![signed(own.waiting), signed(own.count)]
            } else {
                vec![signed(own.waiting), signed(own.polled), signed(own.count)]
            },
            label: vec![Label {
                key: task_label,
                str: task,
            }],
        });
        totals.samples += 1;
        if piece.sample.len() >= PIECE {
            tables.move_fresh(&mut piece);
            out.write_all(&piece.encode_to_vec())?;
            piece = Profile::default();
        }
    }
    tables.move_fresh(&mut piece);
    out.write_all(&piece.encode_to_vec())?;
    out.finish()?;
    Ok(totals)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Whether an await in it has a place in its own source.
fn is_body(awaited: &Awaited) -> bool {
    matches!(awaited.kind, NodeKind::AsyncFn | NodeKind::AsyncBlock)
}

/// Strings, functions and locations, each said once; what is fresh goes into the next piece.
#[derive(Default)]
struct Tables {
    texts: HashMap<Arc<str>, i64>,
    /// The file of a function, by its name: that of the first await in it whose place is known.
    files: HashMap<Arc<str>, Arc<str>>,
    functions: HashMap<i64, u64>,
    locations: HashMap<(u64, u32), u64>,
    fresh_texts: Vec<String>,
    fresh_functions: Vec<Function>,
    fresh_locations: Vec<Location>,
}

impl Tables {
    fn text(&mut self, text: &str) -> i64 {
        if let Some(number) = self.texts.get(text) {
            return *number;
        }
        let number = signed(self.texts.len() as u64);
        self.texts.insert(text.into(), number);
        self.fresh_texts.push(text.to_owned());
        number
    }

    fn find_files(&mut self, stacks: &Stacks) {
        for stack in &stacks.all {
            let above = stack.above.and_then(|above| stacks.all.get(above as usize));
            if let (Some(above), Some(file)) = (above, &stack.awaited.file)
                && is_body(&above.awaited)
                && !self.files.contains_key(&above.awaited.future)
            {
                let function = Arc::clone(&above.awaited.future);
                self.files.insert(function, Arc::clone(file));
            }
        }
    }

    /// What a profile says of itself.
    fn head(&mut self, source: &Source<'_>) -> Profile {
        let span = &source.history.span;
        let mut value = |kind: &str, unit: &str| ValueType {
            r#type: self.text(kind),
            unit: self.text(unit),
        };
        // Looks at memory saw no poll: that column is absent, not zero.
        let sample_type = if source.sampled.is_some() {
            vec![
                value("waiting", "nanoseconds"),
                value("task_samples", "count"),
            ]
        } else {
            vec![
                value("waiting", "nanoseconds"),
                value("polled", "nanoseconds"),
                value("awaits", "count"),
            ]
        };
        let process = &source.header.process;
        let mut comments = vec![
            format!("await stacks of process {}", process.pid),
            "time of concurrent branches counts in each of them".to_owned(),
        ];
        if let Some(sampled) = source.sampled {
            comments.push(format!(
                "times are estimates from {} looks at memory",
                sampled.looks.count
            ));
        }
        Profile {
            sample_type,
            mapping: vec![Mapping {
                id: 1,
                // Nothing here has an address.
                memory_start: 0,
                memory_limit: 0,
                file_offset: 0,
                filename: self.text(&escape(&process.exe)),
                build_id: self.text(&escape(process.build_id.as_deref().unwrap_or(""))),
                has_functions: true,
                has_filenames: true,
                has_line_numbers: true,
                has_inline_frames: true,
            }],
            time_nanos: source.header.realtime(span.start).map_or(0, signed),
            duration_nanos: signed(span.end.saturating_sub(span.start)),
            comment: comments.iter().map(|comment| self.text(comment)).collect(),
            default_sample_type: self.text("waiting"),
            ..Profile::default()
        }
    }

    /// The locations of a stack, the innermost first.
    fn locations(&mut self, chain: &[&Stack]) -> Vec<u64> {
        let mut locations: Vec<u64> = chain
            .iter()
            .enumerate()
            .map(|(at, stack)| {
                let below = chain.get(at + 1).map(|stack| &*stack.awaited);
                self.location(&stack.awaited, below)
            })
            .collect();
        locations.reverse();
        locations
    }

    fn location(&mut self, awaited: &Awaited, below: Option<&Awaited>) -> u64 {
        // The place of an await below something that is no async body is that of an outer one.
        let place = below.filter(|_| is_body(awaited));
        let line = place.and_then(|below| below.line).unwrap_or(0);
        let function = self.function(&awaited.future);
        let fresh = self.locations.len() as u64 + 1;
        *self.locations.entry((function, line)).or_insert_with(|| {
            self.fresh_locations.push(Location {
                id: fresh,
                mapping_id: 1,
                address: 0,
                line: vec![Line {
                    function_id: function,
                    line: line.into(),
                }],
            });
            fresh
        })
    }

    fn function(&mut self, future: &Arc<str>) -> u64 {
        let name = self.text(&escape(future));
        let file = self.files.get(future).map(Arc::clone);
        let filename = self.text(&escape(file.as_deref().unwrap_or("")));
        let fresh = self.functions.len() as u64 + 1;
        *self.functions.entry(name).or_insert_with(|| {
            self.fresh_functions.push(Function {
                id: fresh,
                name,
                system_name: name,
                filename,
                start_line: 0,
            });
            fresh
        })
    }

    fn move_fresh(&mut self, piece: &mut Profile) {
        piece.string_table.append(&mut self.fresh_texts);
        piece.function.append(&mut self.fresh_functions);
        piece.location.append(&mut self.fresh_locations);
    }
}
