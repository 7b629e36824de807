//! Messages on the control socket, version 1: one JSON object a line, a request and its answer.
//! Pure. The reference is docs/daemon.md.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, ExitCode};

/// The version of the protocol.
pub const VERSION: u32 = 1;
/// Bytes of a request at most, its newline included.
pub const MAX_REQUEST: usize = 16 << 10;
/// Bytes of a name in a request at most.
const MAX_TEXT: usize = 256;
/// A recording may take this long at most.
const MAX_SECONDS: f64 = 3_600.0;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// All targets and processes.
    List,
    /// Every live task of a process, now.
    Dump(Chosen, Form),
    /// What is wrong in a process.
    Check(Chosen, Form),
    /// Record a process for this long.
    Record(Chosen, Duration),
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As `--json` prints it.
    #[default]
    Json,
    /// As it is printed without.
    Text,
}

/// Which process: the one with this id, or the only one of this target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Label of the target.
    pub target: Option<String>,
    /// Process id.
    pub pid: Option<i32>,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    command: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    text: bool,
}

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// One word for programs: `bad_request`, `not_permitted`, `no_target`, `failed`, `busy`.
    pub code: String,
    /// The exit code of `asynctrace ctl`.
    pub exit: u8,
    /// What and why.
    pub message: String,
    /// What to do.
    #[serde(default)]
    pub next_step: Option<String>,
}

impl Refusal {
    /// Made of its parts.
    #[must_use]
    pub fn new(code: &str, exit: ExitCode, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            exit: exit as u8,
            message: message.into(),
            next_step: None,
        }
    }

    /// The request cannot be understood.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new("bad_request", ExitCode::Usage, message)
    }

    /// With what to do.
    #[must_use]
    pub fn advising(mut self, step: impl Into<String>) -> Self {
        self.next_step = Some(step.into());
        self
    }

    /// What went wrong in the daemon.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        let step = match error {
            Error::Failure(failure) => failure.next_step(),
            Error::Bug(_) => None,
        };
        Self {
            next_step: step,
            ..Self::new("failed", error.exit_code(), error.to_string())
        }
    }
}

/// Reads a request, without its newline.
///
/// # Errors
/// [`Refusal`], code `bad_request`.
pub fn request(line: &[u8]) -> Result<Request, Refusal> {
    if line.len() > MAX_REQUEST {
        return Err(too_long());
    }
    let written: Written = serde_json::from_slice(line)
        .map_err(|error| Refusal::bad_request(format!("not a request: {error}")))?;
    if written.version != VERSION {
        return Err(Refusal::bad_request(format!(
            "version {} of the protocol is not known: this daemon speaks version {VERSION}",
            written.version
        )));
    }
    let long = |text: &String| text.len() > MAX_TEXT;
    if long(&written.command) || written.target.as_ref().is_some_and(long) {
        return Err(Refusal::bad_request(format!(
            "a name has more than {MAX_TEXT} bytes"
        )));
    }
    if written.pid.is_some_and(|pid| pid < 1) {
        return Err(Refusal::bad_request("a process id is 1 at least"));
    }
    let records = written.command == "record";
    if written.seconds.is_some() && !records {
        return Err(Refusal::bad_request("only `record` has seconds"));
    }
    let has_text = matches!(&*written.command, "dump" | "check");
    if written.text && !has_text {
        return Err(Refusal::bad_request("only `dump` and `check` have text"));
    }
    let form = if written.text { Form::Text } else { Form::Json };
    let chosen = Chosen {
        target: written.target,
        pid: written.pid,
    };
    let one = |chosen: Chosen| match chosen {
        Chosen {
            target: None,
            pid: None,
        } => Err(Refusal::bad_request("a target or a pid is needed")),
        chosen => Ok(chosen),
    };
    match written.command.as_str() {
        "list" if chosen != Chosen::default() => Err(Refusal::bad_request("`list` has no target")),
        "list" => Ok(Request::List),
        "dump" => Ok(Request::Dump(one(chosen)?, form)),
        "check" => Ok(Request::Check(one(chosen)?, form)),
        "record" => {
            let seconds = written
                .seconds
                .filter(|seconds| *seconds > 0.0 && *seconds <= MAX_SECONDS)
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .filter(|time| !time.is_zero())
                .ok_or_else(|| {
                    Refusal::bad_request(format!(
                        "`record` needs seconds: more than 0, at most {MAX_SECONDS}"
                    ))
                })?;
            Ok(Request::Record(one(chosen)?, seconds))
        }
        other => Err(Refusal::bad_request(format!(
            "no command {other:?}: there are list, dump, check, record"
        ))),
    }
}

/// A request that is too long.
#[must_use]
pub fn too_long() -> Refusal {
    Refusal::bad_request(format!("a request has at most {MAX_REQUEST} bytes"))
}

impl Request {
    /// As a line, its newline included.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        let nobody = Chosen::default();
        let (command, chosen, seconds, form) = match self {
            Self::List => ("list", &nobody, None, Form::Json),
            Self::Dump(chosen, form) => ("dump", chosen, None, *form),
            Self::Check(chosen, form) => ("check", chosen, None, *form),
            Self::Record(chosen, time) => ("record", chosen, Some(time.as_secs_f64()), Form::Json),
        };
        line_of(&Written {
            version: VERSION,
            command: command.to_owned(),
            target: chosen.target.clone(),
            pid: chosen.pid,
            seconds,
            text: form == Form::Text,
        })
    }
}

/// An answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum WrittenAnswer {
    Done { version: u32, result: Value },
    Refused { version: u32, error: Refusal },
}

/// An answer as a line, its newline included.
#[must_use]
pub fn answer_line<T: Serialize>(answer: &Result<T, Refusal>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Done<'a, T> {
        version: u32,
        result: &'a T,
    }
    #[derive(Serialize)]
    struct Refused<'a> {
        version: u32,
        error: &'a Refusal,
    }
    let version = VERSION;
    match answer {
        Ok(result) => line_of(&Done { version, result }),
        Err(error) => line_of(&Refused { version, error }),
    }
}

/// Reads an answer, without its newline.
///
/// # Errors
/// The refusal, or one that says that the answer cannot be read.
pub fn answer(line: &[u8]) -> Result<Value, Refusal> {
    let foreign = |reason: String| Err(Refusal::new("failed", ExitCode::BadFile, reason));
    match serde_json::from_slice(line) {
        Ok(WrittenAnswer::Done { version, result }) if version == VERSION => Ok(result),
        Ok(WrittenAnswer::Refused { version, error }) if version == VERSION => Err(error),
        Ok(_) => foreign(format!("the daemon does not speak version {VERSION}")),
        Err(error) => foreign(format!("the answer is not one of a daemon: {error}")),
    }
}

fn line_of(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_else(|error| {
        // Only maps with odd keys cannot be written, and there are none.
        tracing::error!("an answer cannot be written: {error}");
        br#"{"version":1,"error":{"code":"failed","exit":1,"message":"the answer cannot be written"}}"#
            .to_vec()
    });
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chosen(target: Option<&str>, pid: Option<i32>) -> Chosen {
        Chosen {
            target: target.map(str::to_owned),
            pid,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for wanted in [
            Request::List,
            Request::Dump(chosen(Some("api"), None), Form::Text),
            Request::Check(chosen(None, Some(7)), Form::Json),
            Request::Record(chosen(Some("api"), Some(7)), Duration::from_millis(1_500)),
        ] {
            let line = wanted.line();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(request(&line[..line.len() - 1]), Ok(wanted));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, word) in [
            ("", "not a request"),
            ("list", "not a request"),
            ("[]", "not a request"),
            (r#"{"command":"list"}"#, "version"),
            (r#"{"version":2,"command":"list"}"#, "version 2"),
            (r#"{"version":1,"command":"stop"}"#, "stop"),
            (r#"{"version":1,"command":"list","pid":1}"#, "no target"),
            (r#"{"version":1,"command":"dump"}"#, "needed"),
            (r#"{"version":1,"command":"dump","pid":0}"#, "process id"),
            (r#"{"version":1,"command":"dump","pid":99999999999}"#, "i32"),
            (r#"{"version":1,"command":"dump","pid":1,"x":1}"#, "unknown"),
            (
                r#"{"version":1,"command":"dump","pid":1,"seconds":1}"#,
                "only",
            ),
            (r#"{"version":1,"command":"list","text":true}"#, "text"),
            (r#"{"version":1,"command":"record","pid":1}"#, "seconds"),
            (
                r#"{"version":1,"command":"record","pid":1,"seconds":-1}"#,
                "seconds",
            ),
            (
                r#"{"version":1,"command":"record","pid":1,"seconds":1e-30}"#,
                "seconds",
            ),
            (
                r#"{"version":1,"command":"record","pid":1,"seconds":1e99}"#,
                "seconds",
            ),
        ] {
            let refusal = request(line.as_bytes()).unwrap_err();
            assert_eq!((&*refusal.code, refusal.exit), ("bad_request", 2));
            assert!(refusal.message.contains(word), "{line}: {refusal:?}");
        }
        let long = format!(
            r#"{{"version":1,"command":"dump","target":"{}"}}"#,
            "x".repeat(300)
        );
        assert!(request(long.as_bytes()).is_err());
        assert!(request(&vec![b' '; MAX_REQUEST + 1]).is_err());
        let deep = "[".repeat(MAX_REQUEST);
        assert!(request(deep.as_bytes()).is_err());
    }

    #[test]
    fn answers_are_read_back() {
        let line = answer_line(&Ok::<_, Refusal>(vec![1, 2]));
        assert_eq!(answer(&line).unwrap(), serde_json::json!([1, 2]));
        let refusal = Refusal::new("no_target", ExitCode::NoTarget, "a\n\"b\"").advising("c");
        let line = answer_line(&Err::<(), _>(refusal.clone()));
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(answer(&line).unwrap_err(), refusal);
        assert_eq!(answer(b"{}").unwrap_err().exit, 7);
        assert_eq!(answer(br#"{"version":9,"result":1}"#).unwrap_err().exit, 7);
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = request(&bytes);
            let _ = answer(&bytes);
        }
    }
}
