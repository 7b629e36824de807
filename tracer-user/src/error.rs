//! The two tiers of errors.
//!
//! What a user can mend is a [`Failure`]: it says what was tried, why it failed and what to do
//! next, and has its own [`ExitCode`]. Each stage of the pipeline has its typed error enum and
//! implements [`Advice`] for it; the command line prints all three parts. Anything else is a bug
//! and travels as [`anyhow::Error`] with context.

use std::fmt;

/// The exit codes of the command-line contract (`docs/architecture.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Done = 0,
    /// A bug of ours.
    Bug = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No such target, or more than one.
    NoTarget = 3,
    /// Not permitted.
    NotPermitted = 4,
    /// The kernel cannot do it.
    KernelCannot = 5,
    /// Nothing to trace in this binary.
    NothingToTrace = 6,
    /// A file is unreadable, foreign or damaged from its start.
    BadFile = 7,
    /// There are findings.
    Findings = 10,
}

impl ExitCode {
    /// The code with this number; another's number is a bug.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Done,
            2 => Self::Usage,
            3 => Self::NoTarget,
            4 => Self::NotPermitted,
            5 => Self::KernelCannot,
            6 => Self::NothingToTrace,
            7 => Self::BadFile,
            10 => Self::Findings,
            _ => Self::Bug,
        }
    }
}

/// What an error of a stage tells the user beside its message.
pub trait Advice: std::error::Error + Send + Sync + 'static {
    /// The exit code of the contract.
    fn exit_code(&self) -> ExitCode;

    /// The next step in one or more whole lines, where there is one.
    fn next_step(&self) -> Option<String>;
}

/// An error that a user can mend.
#[derive(Debug)]
pub struct Failure(Box<dyn Advice>);

impl Failure {
    /// The exit code of the contract.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        self.0.exit_code()
    }

    /// What to do next.
    #[must_use]
    pub fn next_step(&self) -> Option<String> {
        self.0.next_step()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

/// An error on its way to the command line.
#[derive(Debug)]
pub enum Error {
    /// The user can mend it.
    Failure(Failure),
    /// A bug, or an operating system error without a better word.
    Bug(anyhow::Error),
}

impl Error {
    /// The exit code of the contract.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failure(failure) => failure.exit_code(),
            Self::Bug(_) => ExitCode::Bug,
        }
    }
}

impl<E: Advice> From<E> for Error {
    fn from(error: E) -> Self {
        Self::Failure(Failure(Box::new(error)))
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::Bug(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure(failure) => failure.fmt(f),
            Self::Bug(error) => write!(f, "{error:#}"),
        }
    }
}

/// The result of a stage that can fail in both tiers.
pub type Result<T, E = Error> = std::result::Result<T, E>;
