//! `asynctrace report --requests`, `--id`, `--critical-path`, `--between`: questions to the
//! requests of a recording.

use std::path::Path;

use clap::Args;

use super::output;
use super::recorded::{self, WindowArguments};
use crate::analyse::critical_path::{NamedEvent, Question, time_of, walk};
use crate::analyse::history::History;
use crate::analyse::levels::Level;
use crate::analyse::requests::UserAwaits;
use crate::error::{Advice, ExitCode, Result};
use crate::show::requests::{Choices, Material, list, one, path};

/// Requests that are listed for a person.
const TOP: usize = 20;

/// Requests that are opened when all are listed.
const OPENED: usize = 1_000;

/// Arguments about requests.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct RequestArguments {
    /// List the requests: how long they took, the slowest first, what slow ones have in common
    #[arg(long)]
    pub(super) requests: bool,

    /// Async functions whose instances are requests [default: as recorded, else sensible ones];
    /// `*` stands for anything, `?` for one character (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub(super) request: Vec<String>,

    /// Show the request with this number: its graph, and its critical path
    #[arg(long, value_name = "N", conflicts_with = "between")]
    pub(super) id: Option<u32>,

    /// List this many requests [default: 20; with --json all]
    #[arg(long, value_name = "N")]
    pub(super) top: Option<usize>,

    /// How far requests are opened [default: awaits with --id, else requests]
    #[arg(long, value_name = "requests|tasks|awaits|polls")]
    pub(super) level: Option<Level>,

    /// Add up what is on the critical paths of slow requests
    #[arg(long)]
    pub(super) critical_path: bool,

    /// Show the critical path between two events (UNIT#SEQUENCE, as --json shows them)
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"])]
    pub(super) between: Vec<NamedEvent>,
}

/// What can be wrong with a question.
#[derive(Debug, thiserror::Error)]
enum QuestionError {
    /// There is no such request.
    #[error("no request {id}: there are {count}")]
    NoSuchRequest { id: u32, count: usize },
    /// There is no such event.
    #[error("event {event} is not known")]
    NoSuchEvent { event: NamedEvent },
    /// The events are in the wrong order.
    #[error("event {from} is later than {to}")]
    Backwards { from: NamedEvent, to: NamedEvent },
}

impl Advice for QuestionError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }

    fn next_step(&self) -> Option<String> {
        Some(
            match self {
                Self::NoSuchRequest { .. } => {
                    "`asynctrace report FILE --requests` lists them; numbers depend on --request, --from \
                     and --to"
                }
                Self::NoSuchEvent { .. } => {
                    "begins of polls, wake-ups and spawns can be named; `asynctrace report FILE --id N \
                     --json` shows those of a request"
                }
                Self::Backwards { .. } => "name the earlier one first",
            }
            .to_owned(),
        )
    }
}

impl RequestArguments {
    /// Whether requests are asked for, and not the whole report.
    pub(super) fn is_asked(&self) -> bool {
        self.requests
            || self.id.is_some()
            || self.critical_path
            || !self.between.is_empty()
            || !self.request.is_empty()
            || self.level.is_some()
            || self.top.is_some()
    }
}

/// Answers questions about requests.
///
/// # Errors
/// When the file cannot be read, standard output not written, or there is no such request or event.
pub(super) fn run(
    file: &Path,
    window: WindowArguments,
    arguments: &RequestArguments,
    json: bool,
) -> Result<ExitCode> {
    let recorded = recorded::read(file, window, |_, _| {})?;
    let (header, history) = (&recorded.header, &recorded.history);
    if let [from, to] = arguments.between[..] {
        between(history, from, to, json)?;
        return Ok(ExitCode::Done);
    }
    let patterns = if arguments.request.is_empty() {
        &header.requests
    } else {
        &arguments.request
    };
    let material = Material::new(header, history, patterns);
    if let Some(id) = arguments.id {
        let request = material.request(id).ok_or(QuestionError::NoSuchRequest {
            id,
            count: material.count(),
        })?;
        let view = material.one(request, arguments.level.unwrap_or(Level::Awaits));
        if json {
            output::print_json(&view)?;
        } else {
            output::print(|out| one::write(&material, &view, out))?;
        }
        return Ok(ExitCode::Done);
    }
    let level = arguments.level.unwrap_or(Level::Requests);
    let all = if level == Level::Requests {
        usize::MAX
    } else {
        OPENED
    };
    let view = material.list(Choices {
        top: arguments.top.unwrap_or(if json { all } else { TOP }),
        level,
        critical_paths: arguments.critical_path,
    });
    if json {
        output::print_json(&view)?;
    } else {
        output::print(|out| list::write(&material, &view, out))?;
    }
    Ok(ExitCode::Done)
}

/// The critical path between two events.
fn between(history: &History, from: NamedEvent, to: NamedEvent, json: bool) -> Result<()> {
    let find = |event| time_of(history, event).ok_or(QuestionError::NoSuchEvent { event });
    let (_, begin, _) = find(from)?;
    let (unit, end, within) = find(to)?;
    if begin > end {
        return Err(QuestionError::Backwards { from, to }.into());
    }
    let question = Question {
        unit,
        within,
        from: begin,
        to: end,
    };
    let view = path::view(
        history,
        &UserAwaits::new(history),
        &walk(history, question, path::PIECES),
    );
    if json {
        output::print_json(&view)
    } else {
        output::print(|out| path::write(&view, out))
    }
}
