//! When, in words; what places are to a finding.

use std::time::Duration;

use super::Span;
use crate::analyse::findings::{Finding, Role, Site, Subject};
use crate::show::escape::escape;
use crate::show::live::format;
use crate::show::report::calendar;

/// Tells times of the look.
#[derive(Clone, Copy, Debug)]
pub(in crate::show) struct Clock {
    span: Span,
}

impl Clock {
    pub(in crate::show) const fn new(span: Span) -> Self {
        Self { span }
    }

    /// `3.2s after the start (2026-11-22 08:50:12 UTC)`.
    fn at(self, time: u64) -> String {
        let since = time.saturating_sub(self.span.began_ns);
        let place = if time < self.span.began_ns {
            let before = format::duration(Duration::from_nanos(self.span.began_ns - time));
            format!("{before} before the start")
        } else {
            format!(
                "{} after the start",
                format::duration(Duration::from_nanos(since))
            )
        };
        let date = self.span.began_unix_ns.map(|began| {
            let (earlier, later) = (self.span.began_ns.saturating_sub(time), since);
            calendar::utc(began.saturating_add(later).saturating_sub(earlier))
        });
        date.map_or(place.clone(), |date| format!("{place} ({date})"))
    }

    /// Since when, until when, and how long that is at least.
    pub(in crate::show) fn when(self, finding: &Finding) -> String {
        let from = finding.began_ns.unwrap_or(self.span.began_ns);
        let until = finding.ended_ns.unwrap_or(self.span.ended_ns);
        let length = format::duration(Duration::from_nanos(until.saturating_sub(from)));
        match (finding.began_ns, finding.ended_ns) {
            (None, None) => format!("before the look began, and still so {length} later"),
            (None, Some(until)) => {
                format!("before the look began, until {}", self.at(until))
            }
            (Some(from), None) => format!("{}, for {length}, and still so", self.at(from)),
            (Some(from), Some(_)) => format!("{}, for {length}", self.at(from)),
        }
    }
}

pub(super) const fn role(role: Role) -> &'static str {
    match role {
        Role::WaitsAt => "waits at",
        Role::BeganAt => "began at",
        Role::Culprit => "culprit",
        Role::HoldsAt => "holds at",
        Role::PanickedAt => "panicked at",
    }
}

/// `src/main.rs:12`, or that it is not known.
pub(super) fn place(site: &Site) -> String {
    match (&site.file, site.line) {
        (Some(file), Some(line)) => format!("{}:{line}", escape(file)),
        (Some(file), None) => escape(file).into_owned(),
        (None, _) => "(file not known)".to_owned(),
    }
}

/// `waits at src/main.rs:12  app::serve`.
pub(super) fn site(site: &Site) -> String {
    format!(
        "{} {}  {}",
        role(site.role),
        place(site),
        escape(&site.future)
    )
}

/// `tokio/17 app::serve`.
pub(super) fn subject(subject: &Subject) -> String {
    let id = escape(&subject.id);
    match &subject.future {
        Some(future) => format!("{id} {}", escape(future)),
        None => id.into_owned(),
    }
}
