//! The flight recorder on the command line: `record --keep`.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum as _};

use super::duration::with_unit;
use super::size::bytes;
use crate::analyse::findings::Kind;
use crate::analyse::requests::Patterns;
use crate::follow::flight::{Findings, Handle, Keep, Options, Slow, Tell, Watching};
use crate::follow::reader::Rhythm;

/// How much to keep, and when to write it.
#[derive(Clone, Debug, Args)]
pub(super) struct KeepArguments {
    /// Keep the last stretch in memory instead of a file that grows, and write it when something
    /// happens: a time (60s, 2m), or bytes (512MB, 2G), or both as two options, then what is less.
    /// A time alone keeps 512 MB at most. Written at SIGUSR1 and the triggers below (to files with
    /// numbers), at Ctrl-C and the target's end
    #[arg(
        long,
        value_name = "TIME|BYTES",
        value_parser = stretch,
        conflicts_with_all = ["max_size", "sample"],
        help_heading = HEADING
    )]
    pub(super) keep: Vec<Stretch>,

    /// Write when a request takes longer. Requests are those of --request, or as `report` finds
    /// them, or async functions by name: 'handle=250ms' (repeatable)
    #[arg(
        long,
        value_name = "[GLOB=]TIME",
        value_parser = slow,
        requires = "keep",
        help_heading = HEADING
    )]
    pub(super) on_slow_request: Vec<(Option<String>, u64)>,

    /// Write when an await takes longer; with a pattern only those of futures that it names
    /// (repeatable)
    #[arg(
        long,
        value_name = "[GLOB=]TIME",
        value_parser = slow,
        requires = "keep",
        help_heading = HEADING
    )]
    pub(super) on_slow_await: Vec<(Option<String>, u64)>,

    /// Write at findings of these kinds, however sure, or at `any` that is likely or proved
    #[arg(
        long,
        value_name = "KIND,...|any",
        value_delimiter = ',',
        value_parser = finding,
        requires = "keep",
        help_heading = HEADING
    )]
    pub(super) on_finding: Vec<Wanted>,

    /// Whether a panic has it written, caught or not
    #[arg(
        long,
        value_name = "yes|no",
        value_enum,
        default_value = "yes",
        requires = "keep",
        help_heading = HEADING
    )]
    on_panic: YesNo,

    /// Files beside the last one that are written at most; triggers after that are counted
    #[arg(
        long,
        value_name = "N",
        default_value_t = 20,
        requires = "keep",
        help_heading = HEADING
    )]
    pub(super) max_files: u64,

    /// Between two files that nobody asked for by a signal; triggers in between share the next file
    #[arg(
        long,
        value_name = "TIME",
        value_parser = with_unit,
        default_value = "10s",
        requires = "keep",
        help_heading = HEADING
    )]
    pub(super) pause: u64,
}

const HEADING: &str = "Flight recorder";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum YesNo {
    Yes,
    No,
}

impl clap::ValueEnum for YesNo {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Yes, Self::No]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Yes => "yes",
            Self::No => "no",
        }))
    }
}

/// A time or a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stretch {
    Time(Duration),
    Bytes(u64),
}

/// A kind of finding, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    Kind(Kind),
}

/// Keeping less makes no stretch: a second, or what holds some thousand events.
const LEAST_TIME: Duration = Duration::from_secs(1);
const LEAST_BYTES: u64 = 1 << 20;

fn stretch(text: &str) -> Result<Stretch, String> {
    let lower = text.to_ascii_lowercase();
    // `60m` is a time: it has been one everywhere else.
    let unit = lower.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    if matches!(unit, "us" | "ms" | "s" | "m" | "h") && lower == text {
        let time = Duration::from_nanos(with_unit(text)?);
        if time < LEAST_TIME {
            return Err("must be 1s at least".to_owned());
        }
        return Ok(Stretch::Time(time));
    }
    if !matches!(
        unit,
        "k" | "m" | "g" | "kb" | "mb" | "gb" | "kib" | "mib" | "gib"
    ) {
        return Err("neither a time (60s, 2m) nor a number of bytes (512MB, 2G)".to_owned());
    }
    let number = lower.trim_end_matches('b').trim_end_matches('i');
    match bytes(number)? {
        bytes if bytes < LEAST_BYTES => Err("must be 1MB at least".to_owned()),
        bytes => Ok(Stretch::Bytes(bytes)),
    }
}

fn slow(text: &str) -> Result<(Option<String>, u64), String> {
    // Types have `=` in them as well: `dyn Iterator<Item=u8>`.
    match text.rsplit_once('=') {
        Some((pattern, time)) if !pattern.is_empty() => {
            Ok((Some(pattern.to_owned()), with_unit(time)?))
        }
        Some(_) => Err("a pattern stands before the `=`, as in 'handle=250ms'".to_owned()),
        None => Ok((None, with_unit(text)?)),
    }
}

fn finding(text: &str) -> Result<Wanted, String> {
    if text == "any" {
        return Ok(Wanted::Any);
    }
    Kind::from_str(text, false)
        .map(Wanted::Kind)
        .map_err(|_| "no kind of finding: see `asynctrace check --help`, or `any`".to_owned())
}

impl KeepArguments {
    fn keep(&self) -> Option<Keep> {
        let mut keep = Keep {
            time: None,
            bytes: None,
        };
        for stretch in &self.keep {
            match stretch {
                Stretch::Time(time) => keep.time = Some(*time),
                Stretch::Bytes(bytes) => keep.bytes = Some(*bytes),
            }
        }
        (!self.keep.is_empty()).then_some(keep)
    }

    /// What the flight recorder is asked; `None` without `--keep`. `requests`: patterns of
    /// `--request`.
    pub(super) fn options(&self, requests: &[String]) -> Option<Options> {
        let keep = self.keep()?;
        let slow = |list: &[(Option<String>, u64)]| -> Vec<Slow> {
            let slow = list.iter().map(|(pattern, limit)| Slow {
                which: Patterns::new(pattern.as_slice()),
                limit: *limit,
            });
            slow.collect()
        };
        let kinds = self.on_finding.iter().filter_map(|wanted| match wanted {
            Wanted::Any => None,
            Wanted::Kind(kind) => Some(*kind),
        });
        let findings = if self.on_finding.contains(&Wanted::Any) {
            Some(Findings::Any)
        } else {
            Some(Findings::Of(kinds.collect())).filter(|_| !self.on_finding.is_empty())
        };
        Some(Options {
            keep,
            watched: Watching {
                requests: slow(&self.on_slow_request),
                awaits: slow(&self.on_slow_await),
                panics: self.on_panic == YesNo::Yes,
                request_names: Patterns::new(requests),
            },
            findings,
            max_files: self.max_files,
            pause: Duration::from_nanos(self.pause),
            handle: Handle::default(),
            tell: Tell(Arc::new(|line| {
                // Nobody listens to the talk: the results do not depend on it.
                let _ = writeln!(anstream::stderr(), "{line}");
            })),
        })
    }

    /// How often memory is looked at: at least twice in the stretch, and soon enough to see what
    /// hangs.
    pub(super) fn rhythm(&self) -> Rhythm {
        let usual = Rhythm::default();
        let Some(time) = self.keep().and_then(|keep| keep.time) else {
            return usual;
        };
        let least = Duration::from_secs(1).min(usual.period);
        Rhythm {
            period: (time / 3).clamp(least, usual.period),
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_a_time_or_bytes() {
        assert_eq!(stretch("60s"), Ok(Stretch::Time(Duration::from_secs(60))));
        assert_eq!(stretch("2m"), Ok(Stretch::Time(Duration::from_secs(120))));
        assert_eq!(
            stretch("1.5h"),
            Ok(Stretch::Time(Duration::from_secs(5_400)))
        );
        for text in ["512MB", "512M", "512mb", "512MiB"] {
            assert_eq!(stretch(text), Ok(Stretch::Bytes(512 << 20)), "{text}");
        }
        assert_eq!(stretch("2G"), Ok(Stretch::Bytes(2 << 30)));
        for text in [
            "", "60", "s", "0s", "10ms", "1K", "1.5MB", "MB", "-1s", "1T", "60 s",
        ] {
            assert!(stretch(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_slow_may_be_named() {
        assert_eq!(slow("250ms"), Ok((None, 250_000_000)));
        let named = Some("db::*".to_owned());
        assert_eq!(slow("db::*=1s"), Ok((named, 1_000_000_000)));
        for text in ["", "=1s", "db::*", "db::*=", "250"] {
            assert!(slow(text).is_err(), "{text}");
        }
    }
}
