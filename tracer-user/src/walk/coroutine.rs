//! Coroutines: the states of async bodies, with the user's line of each await.

use std::sync::Arc;

use super::compile::Futures;
use super::kept::Saved;
use super::table::{Edge, Shape, State, Via};
use crate::dwarf::{DieRef, SourceLine, VariantPart};
use crate::rebuild::tree::NodeState;

impl<'a> Futures<'_, 'a> {
    /// The states of a coroutine: 0 unresumed, 1 returned, 2 panicked, then one for each await
    /// (rustc 1.65 to 1.97). `unit` is the one that defines it, `path` its type's.
    pub(super) fn coroutine(&self, unit: u32, path: &str, part: &VariantPart<'a>) -> Shape {
        let receiver = format!("Pin<&mut {path}>");
        let awaits = self.awaits.get(receiver.as_str());
        let own_file = self.own_file(&receiver, unit, part);
        let states = part
            .variants
            .iter()
            .map(|variant| {
                let value = variant.value;
                let state = match value {
                    Some(0) => NodeState::Unresumed,
                    Some(1) => NodeState::Returned,
                    Some(2) => NodeState::Panicked,
                    _ => NodeState::Suspended,
                };
                let member = variant.member;
                let inner = self.info.type_at(member.type_die);
                let awaitee = inner
                    .as_ref()
                    .and_then(|inner| inner.member("__awaitee").copied())
                    .filter(|_| state == NodeState::Suspended);
                let mut edges = Vec::new();
                if let Some(awaitee) = awaitee {
                    let offset = member.offset.wrapping_add(awaitee.offset);
                    self.flatten(awaitee.type_die, offset, 0, &mut edges);
                    if edges.is_empty() {
                        // Awaited, so it is a future, whatever else is known of it.
                        let node = self.id(awaitee.type_die, true);
                        edges.push(Edge {
                            offset,
                            node,
                            via: Via::Inline,
                        });
                    }
                }
                let written = self.info.source_line(unit, member.file, member.line);
                let location = match (awaitee, state) {
                    (Some(awaitee), _) => {
                        self.users_line(written, awaits, awaitee.type_die, own_file.as_deref())
                    }
                    _ => written,
                };
                State {
                    value,
                    name: inner.map_or("", |inner| inner.name).into(),
                    state,
                    location,
                    edges,
                    saved: Some(Saved::new(member.type_die, member.offset)),
                }
            })
            .collect();
        Shape::Tagged {
            discriminant: self.discriminant(part),
            edges: Vec::new(),
            states,
        }
    }

    /// The file that the coroutine itself is written in: where its body is declared, or else where
    /// its first state is (rustc gives `Unresumed` the location of the whole).
    fn own_file(&self, receiver: &str, unit: u32, part: &VariantPart<'a>) -> Option<Arc<str>> {
        let from_body = self
            .bodies
            .get(receiver)
            .and_then(|body| self.info.declared_at(*body));
        let from_state = || {
            let first = part
                .variants
                .iter()
                .find(|variant| variant.value == Some(0))?;
            self.info
                .source_line(unit, first.member.file, first.member.line)
        };
        Some(from_body.or_else(from_state)?.file)
    }

    /// An await inside a macro is recorded at the macro's own line; the variable `__awaitee` of
    /// the body carries the user's. Joined by the awaited type, which is unique where it matters:
    /// every `join!` and `select!` awaits a closure type of its own.
    fn users_line(
        &self,
        written: Option<SourceLine>,
        awaits: Option<&Vec<(String, SourceLine)>>,
        awaited: DieRef,
        own_file: Option<&str>,
    ) -> Option<SourceLine> {
        let in_own_file = written
            .as_ref()
            .is_some_and(|line| Some(&*line.file) == own_file);
        if in_own_file {
            return written;
        }
        let path = self.info.path(awaited);
        let mut lines = awaits
            .into_iter()
            .flatten()
            .filter(|(other, _)| *other == path)
            .map(|(_, line)| line);
        match (lines.next(), lines.next()) {
            (Some(line), None) => Some(line.clone()),
            _ => written,
        }
    }
}
