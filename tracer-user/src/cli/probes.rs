//! `asynctrace probes`: what would be probed, what cannot be seen and why, without attaching.

use std::io::{self, Write};
use std::sync::Arc;

use clap::Args;
use comfy_table::Table;
use serde::Serialize;
use tracer_common::{ArgumentRegister, ProbeKind};

use super::output::{print, print_json};
use super::target::{FutureArguments, TargetArguments};
use crate::address::{Address, FileOffset, LinkAddress};
use crate::dwarf::DebugInfo;
use crate::error::{ExitCode, Result};
use crate::locate::{Module, Process};
use crate::object::{Binary, DebugSource, Origin};
use crate::plan::{
    Instruction, Method, Names, Plan, Probe, Request, Rules, Unseen, make, task_polls, versions_of,
};
use crate::privilege;
use crate::rebuild::snapshot::{DebugInfoLevel, ProcessInfo};
use crate::show::escape::escape;

/// Version of the JSON form: fields may be added, never renamed or removed.
const SCHEMA: u32 = 1;

/// Arguments of `probes`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) target: TargetArguments,

    #[command(flatten)]
    pub(super) futures: FutureArguments,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Runs `probes`.
///
/// # Errors
/// Any stage's.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let process = Process::find(&arguments.target.selector())?;
    privilege::keep(&privilege::to_read(process.pid));
    let module = process.executable()?;
    let binary = Arc::new(Binary::of_module(&module)?);
    let source = DebugSource::find(binary, &process, arguments.target.debug_file.as_deref())?;
    let mut notes = Vec::new();
    let names = match DebugInfo::load(&source) {
        Ok(info) => {
            if info.damaged_units() > 0 {
                notes.push(format!(
                    "{} units of the debug information are damaged",
                    info.damaged_units()
                ));
            }
            Names::from_debug_info(&info, &task_polls(&source))
        }
        Err(error) => {
            notes.push(error.to_string());
            Names::default()
        }
    };
    let plan = make(Request {
        module: &module,
        source: &source,
        names: &names,
        futures: &arguments.futures.futures,
        exact_polls: false,
        rules: Rules::of_this_kernel(),
    })?;
    let report = Report::new(&process, &module, &source, plan, notes);
    if arguments.json {
        print_json(&report)?;
    } else {
        print(|out| report.write(out))?;
    }
    Ok(ExitCode::Done)
}

/// All that `probes` says.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    process: ProcessInfo,
    runtime: Runtime,
    debug_info: DebugInfoReport,
    probes: Vec<ProbeReport>,
    unseen: Vec<Unseen>,
    /// Lines of `Cargo.toml` with which more would be seen; empty where nothing is missing.
    profile: Vec<&'static str>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Runtime {
    name: &'static str,
    /// More than one where several are linked in; none where the binary does not tell.
    versions: Vec<String>,
}

#[derive(Debug, Serialize)]
struct DebugInfoReport {
    level: DebugInfoLevel,
    /// `binary`, `given`, `build_id`, `debug_link`, `nowhere`.
    found: &'static str,
    /// The separate file, where there is one.
    file: Option<String>,
    /// The package of split units, where there is one.
    package: Option<String>,
}

#[derive(Debug, Serialize)]
struct ProbeReport {
    kind: &'static str,
    name: Arc<str>,
    /// Link address of the function's entry.
    function: LinkAddress,
    /// Where the probed instruction is in the process.
    address: Address,
    file_offset: FileOffset,
    instruction: Instruction,
    argument: &'static str,
    /// `null` where it is not known.
    task_id_offset: Option<u16>,
}

impl Report {
    fn new(
        process: &Process,
        module: &Module,
        source: &DebugSource,
        plan: Plan,
        notes: Vec<String>,
    ) -> Self {
        let origin = source.origin();
        Self {
            schema: SCHEMA,
            process: ProcessInfo {
                pid: process.pid,
                exe: process.exe.to_string_lossy().into_owned(),
                build_id: source.binary().build_id().map(ToOwned::to_owned),
            },
            runtime: Runtime {
                name: "tokio",
                versions: versions_of(source.binary(), "tokio"),
            },
            debug_info: DebugInfoReport {
                level: source.level(),
                found: match origin {
                    Origin::Binary => "binary",
                    Origin::Given(_) => "given",
                    Origin::BuildId(_) => "build_id",
                    Origin::DebugLink(_) => "debug_link",
                    Origin::Nowhere => "nowhere",
                },
                file: origin
                    .file()
                    .map(|path| path.to_string_lossy().into_owned()),
                package: source
                    .package_path()
                    .map(|path| path.to_string_lossy().into_owned()),
            },
            probes: plan
                .probes
                .into_iter()
                .map(|probe| ProbeReport::new(probe, module))
                .collect(),
            unseen: plan.unseen,
            profile: profile_lines(source.level()),
            notes,
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut head = plain_table();
        head.add_row([
            "process",
            &format!("{}  {}", self.process.pid, escape(&self.process.exe)),
        ]);
        let build_id = self.process.build_id.as_deref();
        head.add_row(["build-id", build_id.unwrap_or("none")]);
        head.add_row(["runtime", &self.runtime.describe()]);
        head.add_row(["debug information", &self.debug_info.describe()]);
        head.add_row(["probes", &self.count()]);
        writeln!(out, "{}", head.trim_fmt())?;
        writeln!(out)?;
        let mut table = plain_table();
        table.set_header(["KIND", "ADDRESS", "AT", "INSTRUCTION", "METHOD", "WHAT"]);
        for probe in &self.probes {
            table.add_row([
                probe.kind.replace('_', " "),
                probe.address.to_string(),
                format!("+{:#x}", probe.instruction.offset_in_function),
                probe.instruction.text.clone(),
                method(probe.instruction.method).to_owned(),
                escape(&probe.name).into_owned(),
            ]);
        }
        writeln!(out, "{}", table.trim_fmt())?;
        if !self.unseen.is_empty() {
            writeln!(out, "\nNot seen:")?;
            for unseen in &self.unseen {
                write!(
                    out,
                    "  {}: {}",
                    escape(&unseen.what),
                    escape(&unseen.reason)
                )?;
                match &unseen.remedy {
                    Some(remedy) => writeln!(out, " (visible with {})", escape(remedy))?,
                    None => writeln!(out)?,
                }
            }
        }
        for note in &self.notes {
            writeln!(out, "\nNote: {}", escape(note))?;
        }
        if let Some(gain) = gain(self.debug_info.level) {
            writeln!(out, "\n{gain} To see them, add to Cargo.toml:\n")?;
            for line in &self.profile {
                writeln!(out, "  {line}")?;
            }
        }
        Ok(())
    }

    fn count(&self) -> String {
        let emulated = self
            .probes
            .iter()
            .filter(|probe| probe.instruction.method == Method::Emulated)
            .count();
        format!(
            "{} ({emulated} emulated, {} single-stepped)",
            self.probes.len(),
            self.probes.len() - emulated
        )
    }
}

impl Runtime {
    fn describe(&self) -> String {
        match self.versions.as_slice() {
            [] => format!("{}, version not found in the binary", self.name),
            versions => format!("{} {}", self.name, escape(&versions.join(" and "))),
        }
    }
}

impl DebugInfoReport {
    fn describe(&self) -> String {
        let level = match self.level {
            DebugInfoLevel::Full => "full",
            DebugInfoLevel::Symbols => "symbols only",
            DebugInfoLevel::None => "none: stripped",
        };
        let mut text = level.to_owned();
        let how = match self.found {
            "given" => "--debug-file",
            "build_id" => "by build-id",
            "debug_link" => "by .gnu_debuglink",
            _ => "in the binary",
        };
        match (&self.file, self.found) {
            (Some(file), _) => text.push_str(&format!(", in {} ({how})", escape(file))),
            (None, "binary") => text.push_str(", in the binary"),
            (None, _) => text.push_str(", no separate debug file found"),
        }
        if let Some(package) = &self.package {
            text.push_str(&format!(", with {}", escape(package)));
        }
        text
    }
}

impl ProbeReport {
    fn new(probe: Probe, module: &Module) -> Self {
        let address = probe.function.add(probe.instruction.offset_in_function);
        Self {
            kind: kind(probe.kind),
            name: probe.name,
            function: probe.function,
            address: module.bias.to_address(address),
            file_offset: probe.file_offset,
            instruction: probe.instruction,
            argument: match probe.argument {
                ArgumentRegister::Rdi => "rdi",
                ArgumentRegister::Rsi => "rsi",
                ArgumentRegister::Rdx => "rdx",
            },
            task_id_offset: (probe.task_id_offset != 0).then_some(probe.task_id_offset),
        }
    }
}

const fn kind(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::TaskPoll => "task_poll",
        ProbeKind::WakeByValue => "wake_by_value",
        ProbeKind::WakeByReference => "wake_by_reference",
        ProbeKind::WakerClone => "waker_clone",
        ProbeKind::WakerDrop => "waker_drop",
        ProbeKind::Spawn => "spawn",
        ProbeKind::FuturePoll => "future_poll",
        ProbeKind::IoReady => "io_ready",
        ProbeKind::TimerFired => "timer_fired",
        ProbeKind::Abort => "abort",
        ProbeKind::Panic => "panic",
        ProbeKind::PanicBegin => "panic_begin",
        ProbeKind::PollExit => "poll_exit",
    }
}

const fn method(method: Method) -> &'static str {
    match method {
        Method::Emulated => "emulated",
        Method::SingleStepped => "single-stepped",
    }
}

/// What is missing at a level of debug information.
const fn gain(level: DebugInfoLevel) -> Option<&'static str> {
    match level {
        DebugInfoLevel::Full => None,
        DebugInfoLevel::Symbols => {
            Some("Await trees and the names of futures need full debug information.")
        }
        DebugInfoLevel::None => {
            Some("Await trees, the names of futures and spawns need debug information.")
        }
    }
}

/// The lines of `Cargo.toml` that give all there is to see.
fn profile_lines(level: DebugInfoLevel) -> Vec<&'static str> {
    match level {
        DebugInfoLevel::Full => Vec::new(),
        DebugInfoLevel::Symbols => vec!["[profile.release]", "debug = 2"],
        DebugInfoLevel::None => vec!["[profile.release]", "debug = 2", "strip = \"none\""],
    }
}

/// A table without lines, for alignment only.
fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table
}
