//! The spans of a task.

use std::io;

use super::attributes::Attributes;
use super::ids::{Ids, Key};
use super::links::Links;
use super::roots::{Root, Roots};
use crate::analyse::history::{
    Await, AwaitIndex, AwaitOutcome, Doer, Poll, PollIndex, TaskHistory, UnitHistory, UnitIndex,
    UnitKind, Wake,
};
use crate::export::Level;
use crate::export::source::{
    Interval, LastPolls, PollTime, Source, await_outcome_word, outcome_word, type_name,
};
use crate::proto::foreign::otlp::span::{Event, Link, SpanKind};
use crate::proto::foreign::otlp::status::StatusCode;
use crate::proto::foreign::otlp::{Span, Status};
use crate::rebuild::event::Outcome;
use crate::show::escape::escape;

/// Links, and events, of one span at most: the default limit of OpenTelemetry's own libraries.
const MAX_LINKS: usize = 128;

/// Makes spans.
pub(super) struct Spans<'a> {
    source: &'a Source<'a>,
    level: Level,
    ids: Ids,
    roots: Roots,
    links: Links,
    last_polls: LastPolls,
}

impl<'a> Spans<'a> {
    pub(super) fn new(source: &'a Source<'a>, level: Level) -> Self {
        let roots = Roots::new(source);
        Self {
            source,
            level,
            ids: Ids::new(source.header),
            links: Links::new(source, &roots),
            roots,
            last_polls: source.last_polls(),
        }
    }

    /// Gives the spans of a task to `write`, the root first, with the number of links that each
    /// has not.
    pub(super) fn of_task(
        &self,
        index: UnitIndex,
        unit: &UnitHistory,
        task: &TaskHistory,
        write: &mut impl FnMut(Span, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let own = self.roots.own(index);
        let request = own.and_then(|own| self.roots.number(own));
        if self.level >= Level::Tasks || request.is_some() {
            let span = self.task(index, unit, task, request);
            self.finish(Key::Task(index), span, write)?;
        }
        for at in unit.awaits.iter().filter(|at| Some(**at) != own) {
            let request = self.roots.number(*at);
            if (self.level >= Level::Awaits || request.is_some())
                && let Some(instance) = self.source.instance(*at)
            {
                let span = self.instance(*at, instance, request);
                self.finish(Key::Await(*at), span, write)?;
            }
        }
        if self.level >= Level::Polls {
            for at in &unit.polls {
                if let Some(poll) = self.source.poll(*at) {
                    self.finish(Key::Poll(*at), self.poll(index, *at, poll), write)?;
                }
            }
        }
        Ok(())
    }

    fn task(
        &self,
        index: UnitIndex,
        unit: &UnitHistory,
        task: &TaskHistory,
        request: Option<u32>,
    ) -> Span {
        let life = self.source.life(unit, task);
        let mut attributes = Attributes::default();
        attributes.text("asynctrace.kind", "task");
        attributes.text("asynctrace.task", &task.name);
        attributes.text("code.function.name", &type_name(task));
        if task.existing {
            attributes.flag("asynctrace.at_least");
        }
        if task.blocking {
            attributes.flag("asynctrace.blocking");
        }
        let mut outcome = None;
        if let Some(end) = task.end {
            attributes.text("asynctrace.outcome", outcome_word(end.outcome));
            outcome = Some(end.outcome);
        }
        if !unit.gaps.is_empty() {
            attributes.number("asynctrace.gaps", unit.gaps.len() as u64);
        }
        if let Some(number) = request {
            attributes.number("asynctrace.request", number.into());
        }
        let own = self.roots.own(index);
        if let Some(own) = own.and_then(|own| self.source.instance(own)) {
            times(own, &mut attributes);
        }
        let mut span = self.span(life, &type_name(task), attributes);
        let root = self.roots.of_task(self.source, index);
        span.trace_id = self.ids.trace(root);
        if request.is_none()
            && let Root::Request(_) = root
            && let Some(within) = self.source.spawned_within(index)
            && let Some(parent) = self.drawn(self.roots.key(self.source, within))
        {
            span.parent_span_id = self.ids.span(parent);
        }
        span.links.extend(
            task.spawned
                .and_then(|spawn| self.link(&spawn.by, "spawned_by", spawn.time)),
        );
        span.links.extend(
            task.end
                .and_then(|end| self.link(&end.aborted?, "aborted_by", end.time)),
        );
        if outcome == Some(Outcome::Panicked) {
            panicked(&mut span);
        }
        span
    }

    fn instance(&self, index: AwaitIndex, instance: &Await, request: Option<u32>) -> Span {
        let awaited = &instance.awaited;
        let mut attributes = Attributes::default();
        attributes.text("asynctrace.kind", "await");
        // Where the code is that awaits.
        if let Some(by) = &awaited.by {
            attributes.text("code.function.name", by);
        }
        if let Some(file) = &awaited.file {
            attributes.text("code.file.path", file);
        }
        if let Some(line) = awaited.line {
            attributes.number("code.line.number", line.into());
        }
        if let Some(waits_for) = &awaited.waits_for {
            attributes.text("asynctrace.waits_for", waits_for);
        }
        if let Some(number) = request {
            attributes.number("asynctrace.request", number.into());
        }
        attributes.text("asynctrace.outcome", await_outcome_word(instance.outcome));
        if instance.at_least {
            attributes.flag("asynctrace.at_least");
        }
        times(instance, &mut attributes);
        let interval = self.source.await_interval(instance);
        let mut span = self.span(interval, &awaited.future, attributes);
        let root = self.roots.of_await(self.source, index);
        span.trace_id = self.ids.trace(root);
        let parent = match instance.parent {
            Some(parent) => self.roots.key(self.source, parent),
            None => Key::Task(instance.task),
        };
        if request.is_none() {
            span.parent_span_id = self.ids.span(parent);
        } else if let Some(whole) = self.drawn(parent) {
            span.links
                .push(self.link_to(whole, "part_of", instance.start));
        }
        if instance.outcome == AwaitOutcome::Panicked {
            panicked(&mut span);
        }
        span
    }

    fn poll(&self, task: UnitIndex, index: PollIndex, poll: &Poll) -> Span {
        let mut attributes = Attributes::default();
        attributes.text("asynctrace.kind", "poll");
        attributes.text("asynctrace.outcome", outcome_word(poll.outcome));
        let thread = poll.thread.and_then(|thread| self.source.unit(thread));
        if let Some(UnitKind::Thread { tid, name, .. }) = thread.map(|unit| &unit.kind) {
            attributes.number("thread.id", (*tid).into());
            if let Some(name) = name {
                attributes.text("thread.name", name);
            }
        }
        if poll.blocked > 0 {
            attributes.number("asynctrace.blocked_ns", poll.blocked);
        }
        if poll.preempted > 0 {
            attributes.number("asynctrace.preempted_ns", poll.preempted);
        }
        let last = self.last_polls.is_last(index, poll);
        let interval = match self.source.poll_time(index, poll, last) {
            PollTime::Known(interval) => interval,
            PollTime::EndNotSeen(time) => {
                attributes.flag("asynctrace.end_not_seen");
                Interval::moment(time)
            }
            PollTime::BeginNotSeen(time) => {
                attributes.flag("asynctrace.begin_not_seen");
                Interval::moment(time)
            }
        };
        let mut span = self.span(interval, "poll", attributes);
        span.trace_id = self.ids.trace(self.roots.of_task(self.source, task));
        span.parent_span_id = self.ids.span(Key::Task(task));
        span
    }

    fn span(&self, interval: Interval, name: &str, mut attributes: Attributes) -> Span {
        if interval.open {
            attributes.flag("asynctrace.open");
        }
        Span {
            name: escape(name).into_owned(),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: self.unix(interval.start),
            end_time_unix_nano: self.unix(interval.end),
            attributes: attributes.0,
            ..Span::default()
        }
    }

    /// Gives a span its id and what woke it, and hands it on.
    fn finish(
        &self,
        key: Key,
        mut span: Span,
        write: &mut impl FnMut(Span, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        span.span_id = self.ids.span(key);
        let mut links_left_out: u32 = 0;
        let mut events_left_out: u32 = 0;
        for wake in self.links.woken(key) {
            let Some(wake) = self.source.history.wakes.get(wake.0 as usize) else {
                continue;
            };
            let outside = wake.by.within.is_none()
                && self
                    .source
                    .unit(wake.by.unit)
                    .is_none_or(|unit| unit.task().is_none());
            match self.link(&wake.by, "woken_by", wake.time) {
                // By a task that is not drawn at this level.
                None if !outside => {}
                Some(link) if span.links.len() < MAX_LINKS => span.links.push(link),
                Some(_) => links_left_out = links_left_out.saturating_add(1),
                None if span.events.len() < MAX_LINKS => span.events.push(self.woken(wake)),
                None => events_left_out = events_left_out.saturating_add(1),
            }
        }
        span.dropped_links_count = links_left_out;
        span.dropped_events_count = events_left_out;
        write(span, u64::from(links_left_out) + u64::from(events_left_out))
    }

    /// A link to where something was done, when that was in a task.
    fn link(&self, by: &Doer, what: &str, time: u64) -> Option<Link> {
        let key = match by.within {
            Some(within) => self.roots.key(self.source, within),
            None => {
                self.source.unit(by.unit)?.task()?;
                Key::Task(by.unit)
            }
        };
        Some(self.link_to(self.drawn(key)?, what, time))
    }

    fn link_to(&self, key: Key, what: &str, time: u64) -> Link {
        let root = match key {
            Key::Task(task) => self.roots.of_task(self.source, task),
            Key::Await(instance) => self.roots.of_await(self.source, instance),
            Key::Poll(poll) => {
                let task = self.source.poll(poll).map(|poll| poll.task);
                self.roots
                    .of_task(self.source, task.unwrap_or(UnitIndex(u32::MAX)))
            }
        };
        let mut attributes = Attributes::default();
        attributes.text("asynctrace.link", what);
        attributes.number("asynctrace.time_unix_nano", self.unix(time));
        Link {
            trace_id: self.ids.trace(root),
            span_id: self.ids.span(key),
            attributes: attributes.0,
            flags: 0,
        }
    }

    fn is_of(&self, instance: AwaitIndex, task: UnitIndex) -> bool {
        let instance = self.source.instance(instance);
        instance.is_some_and(|instance| instance.task == task)
    }

    /// The span that stands for another one at this level: itself, its task's, its request's.
    fn drawn(&self, key: Key) -> Option<Key> {
        let (task, instance) = match key {
            Key::Task(task) => (task, self.roots.own(task)),
            Key::Await(instance) => (self.source.instance(instance)?.task, Some(instance)),
            Key::Poll(poll) => (self.source.poll(poll)?.task, None),
        };
        if self.level >= Level::Awaits || instance.is_some_and(|i| self.roots.number(i).is_some()) {
            return Some(key);
        }
        let root = match instance {
            Some(instance) => self.roots.of_await(self.source, instance),
            None => self.roots.of_task(self.source, task),
        };
        if self.level >= Level::Tasks {
            return Some(match root {
                Root::Request(request) if self.is_of(request, task) => {
                    self.roots.key(self.source, request)
                }
                _ => Key::Task(task),
            });
        }
        match root {
            Root::Request(request) => Some(self.roots.key(self.source, request)),
            Root::Task(_) => None,
        }
    }

    /// A wake-up from outside the traced tasks.
    fn woken(&self, wake: &Wake) -> Event {
        let mut attributes = Attributes::default();
        attributes.text("asynctrace.by", &self.source.doer_name(&wake.by));
        Event {
            time_unix_nano: self.unix(wake.time),
            name: "woken".to_owned(),
            attributes: attributes.0,
        }
    }

    /// The time of day. Times beyond the trace's own span, which was checked, stop at its ends.
    fn unix(&self, time: u64) -> u64 {
        let span = &self.source.history.span;
        let header = self.source.header;
        header
            .realtime(time)
            .or_else(|| header.realtime(time.clamp(span.start, span.end.max(span.start))))
            .unwrap_or_default()
    }
}

fn times(instance: &Await, attributes: &mut Attributes) {
    attributes.number("asynctrace.waiting_ns", instance.waiting);
    attributes.number("asynctrace.polled_ns", instance.polled);
    attributes.number("asynctrace.polls", instance.polls.into());
}

fn panicked(span: &mut Span) {
    span.status = Some(Status {
        message: "panicked".to_owned(),
        code: StatusCode::Error.into(),
    });
}
