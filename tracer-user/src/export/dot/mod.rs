//! A graph for graphviz: types of tasks as clusters, in each its awaits from the task's own future
//! down, and who wakes and spawns whom.
//!
//! Tasks of one type are drawn as one, or the picture of a busy service would be a wall. So are
//! instances of one await, with their number and times. Only the awaits with most time are drawn,
//! and the edges that stand for most; how many are left out stands in the picture.

mod edges;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;

use self::edges::{EdgeKind, Edges, Node};
use super::Level;
use super::source::{Source, type_name};
use super::stacks::{Stack, Stacks};
use crate::show::escape::escape;
use crate::show::live::format::short_path;

/// Awaits that are drawn at most.
pub const MAX_AWAITS: usize = 150;

/// Types of tasks that are drawn at most.
pub const MAX_TYPES: usize = 100;

/// Edges of wake-ups and spawns that are drawn at most.
pub const MAX_EDGES: usize = 300;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Types of tasks.
    pub types: u64,
    /// Awaits.
    pub awaits: u64,
    /// Edges of wake-ups and spawns.
    pub edges: u64,
    /// What there was no room for: types of tasks, awaits, edges.
    pub left_out: (u64, u64, u64),
}

/// Tasks of one type.
#[derive(Clone, Copy, Debug, Default)]
struct Type {
    number: u32,
    tasks: u64,
    open: u64,
    polls: u64,
}

/// Writes a graph.
///
/// # Errors
/// Those of `out`.
pub fn write(source: &Source<'_>, level: Level, out: &mut dyn Write) -> io::Result<Totals> {
    let stacks = if level >= Level::Awaits {
        Stacks::of(source)
    } else {
        Stacks::default()
    };
    let mut totals = Totals::default();
    let types = types(source, &mut totals);
    let drawn = most(&stacks, &types, &mut totals);
    let edges = Edges::of(source, &stacks);
    let edges = edges.most(
        &mut totals,
        |node| match node {
            Node::Type(task) => types.contains_key(task),
            Node::Stack(number) => drawn.contains(number),
            Node::Outside(_) => true,
        },
        &stacks,
    );

    let process = &source.header.process;
    writeln!(out, "digraph asynctrace {{")?;
    writeln!(
        out,
        "  graph [rankdir=LR, fontname=\"sans-serif\", labelloc=t, label={}];",
        quoted(&[
            format!("process {} {}", process.pid, process.exe),
            left_out_text(&totals),
        ])
    )?;
    writeln!(
        out,
        "  node [shape=box, fontname=\"sans-serif\", fontsize=10];"
    )?;
    writeln!(out, "  edge [fontname=\"sans-serif\", fontsize=9];")?;
    for (name, kind) in &types {
        cluster(name, kind, &stacks, &drawn, out)?;
    }
    let outside: BTreeSet<&str> = edges
        .iter()
        .flat_map(|edge| [&edge.from, &edge.to])
        .filter_map(|node| match node {
            Node::Outside(name) => Some(&**name),
            _ => None,
        })
        .collect();
    for name in &outside {
        let label = quoted(&[(*name).to_owned()]);
        writeln!(
            out,
            "  {} [shape=ellipse, label={label}];",
            outside_id(&outside, name)
        )?;
    }
    for edge in &edges {
        let id = |node: &Node| match node {
            Node::Type(name) => type_id(types.get(name).map_or(0, |kind| kind.number)),
            Node::Stack(number) => format!("a{number}"),
            Node::Outside(name) => outside_id(&outside, name),
        };
        let (style, what) = match edge.kind {
            EdgeKind::Wake => ("color=\"#1f6f8b\", fontcolor=\"#1f6f8b\"", "wakes"),
            EdgeKind::Spawn => (
                "color=\"#8b5a1f\", fontcolor=\"#8b5a1f\", style=dashed",
                "spawns",
            ),
        };
        writeln!(
            out,
            "  {} -> {} [constraint=false, {style}, label={}];",
            id(&edge.from),
            id(&edge.to),
            quoted(&[format!("{what} {}", edge.count)])
        )?;
    }
    writeln!(out, "}}")?;
    Ok(totals)
}

/// Types of tasks, those with most tasks first when there are too many.
fn types(source: &Source<'_>, totals: &mut Totals) -> BTreeMap<Arc<str>, Type> {
    let mut types: BTreeMap<Arc<str>, Type> = BTreeMap::new();
    for (_, unit, task) in source.tasks() {
        let kind = types.entry(type_name(task)).or_default();
        kind.tasks += 1;
        kind.open += u64::from(task.end.is_none());
        kind.polls += unit.polls.len() as u64;
    }
    if types.len() > MAX_TYPES {
        totals.left_out.0 = (types.len() - MAX_TYPES) as u64;
        let mut all: Vec<(Arc<str>, Type)> = types.into_iter().collect();
        all.sort_by_key(|(_, kind)| std::cmp::Reverse((kind.tasks, kind.polls)));
        all.truncate(MAX_TYPES);
        types = all.into_iter().collect();
    }
    for (number, kind) in (0..).zip(types.values_mut()) {
        kind.number = number;
    }
    totals.types = types.len() as u64;
    types
}

/// The stacks with most time, with all that is above them.
fn most(stacks: &Stacks, types: &BTreeMap<Arc<str>, Type>, totals: &mut Totals) -> BTreeSet<u32> {
    let time = |stack: &Stack| stack.whole.waiting.saturating_add(stack.whole.polled);
    let mut order: Vec<u32> = (0..)
        .zip(&stacks.all)
        .filter(|(_, stack)| types.contains_key(&stack.task))
        .map(|(number, _)| number)
        .collect();
    order.sort_by_key(|number| std::cmp::Reverse(stacks.all.get(*number as usize).map_or(0, time)));
    let mut drawn = BTreeSet::new();
    for number in order {
        let fresh: Vec<u32> = stacks
            .up(number)
            .take_while(|above| !drawn.contains(above))
            .collect();
        if drawn.len() + fresh.len() <= MAX_AWAITS {
            drawn.extend(fresh);
        } else if drawn.len() >= MAX_AWAITS {
            break;
        }
    }
    totals.awaits = drawn.len() as u64;
    totals.left_out.1 = (stacks.all.len() - drawn.len()) as u64;
    drawn
}

fn cluster(
    name: &str,
    kind: &Type,
    stacks: &Stacks,
    drawn: &BTreeSet<u32>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let open = match kind.open {
        0 => String::new(),
        open => format!(", {open} open"),
    };
    writeln!(out, "  subgraph cluster_{} {{", kind.number)?;
    writeln!(out, "    style=rounded; color=gray; fontsize=11;")?;
    writeln!(out, "    label={};", quoted(&[name.to_owned()]))?;
    writeln!(
        out,
        "    {} [shape=plaintext, label={}];",
        type_id(kind.number),
        quoted(&[format!(
            "{}{open}, {}",
            counted(kind.tasks, "task"),
            counted(kind.polls, "poll")
        )])
    )?;
    for number in drawn {
        let Some(stack) = stacks.all.get(*number as usize) else {
            continue;
        };
        if *stack.task != *name {
            continue;
        }
        writeln!(out, "    a{number} [label={}];", quoted(&node_label(stack)))?;
        match stack.above {
            Some(above) => writeln!(out, "    a{above} -> a{number};")?,
            None => writeln!(
                out,
                "    {} -> a{number} [arrowhead=none];",
                type_id(kind.number)
            )?,
        }
    }
    writeln!(out, "  }}")
}

fn node_label(stack: &Stack) -> Vec<String> {
    let awaited = &stack.awaited;
    let mut lines = vec![awaited.future.to_string()];
    if let Some(file) = &awaited.file {
        let file = short_path(file);
        lines.push(match awaited.line {
            Some(line) => format!("at {file}:{line}"),
            None => format!("at {file}"),
        });
    }
    if let Some(waits_for) = &awaited.waits_for {
        lines.push(format!("waits for {waits_for}"));
    }
    let count = match stack.whole.count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    lines.push(format!(
        "{count}, waiting {}, polled {}, longest {}",
        duration(stack.whole.waiting),
        duration(stack.whole.polled),
        duration(stack.longest)
    ));
    lines
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// A duration for people.
fn duration(nanoseconds: u64) -> String {
    let ns = nanoseconds as f64;
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}

fn left_out_text(totals: &Totals) -> String {
    match totals.left_out {
        (0, 0, 0) => String::new(),
        (types, awaits, edges) => format!(
            "left out: {types} types of tasks, {awaits} awaits with less time, {edges} edges"
        ),
    }
}

fn type_id(number: u32) -> String {
    format!("t{number}")
}

fn outside_id(outside: &BTreeSet<&str>, name: &str) -> String {
    format!("o{}", outside.range(..name).count())
}

/// A label of several lines as a quoted string. Names are not trusted: nothing in them ends the
/// string or is taken for one of graphviz's own escapes.
fn quoted(lines: &[String]) -> String {
    let mut text = String::from("\"");
    for line in lines.iter().filter(|line| !line.is_empty()) {
        if text.len() > 1 {
            text.push_str("\\n");
        }
        for character in escape(line).chars() {
            match character {
                '"' | '\\' => {
                    text.push('\\');
                    text.push(character);
                }
                // Graphviz would take what follows for an entity of HTML.
                '&' => text.push_str("&amp;"),
                _ => {
                    // Writing to a `String` cannot fail.
                    let _ = text.write_char(character);
                }
            }
        }
    }
    text.push('"');
    text
}
