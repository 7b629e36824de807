//! Panics: a begin and its going on its way are one row.

use std::sync::Arc;

use super::builder::Builder;
use super::{Panic, UnitIndex};
use crate::rebuild::event::{Event, PanicLocation};
use crate::rebuild::suspension::Suspension;

/// Panics that are kept.
const MAX_PANICS: usize = 200_000;

impl Builder {
    pub(super) fn panic_began(
        &mut self,
        unit: UnitIndex,
        event: &Event,
        location: Option<&Arc<PanicLocation>>,
        stood: &Arc<Suspension>,
    ) {
        let panic = Panic {
            location: location.cloned(),
            stood: Some(Arc::clone(stood)),
            ..self.panic(unit, event)
        };
        self.add_panic(panic);
    }

    pub(super) fn panic_raised(
        &mut self,
        unit: UnitIndex,
        event: &Event,
        message: Option<&Arc<str>>,
    ) {
        let raised = Panic {
            message: message.cloned(),
            raised: true,
            ..self.panic(unit, event)
        };
        // The innermost that began in the same poll and is not on its way yet.
        let open = self.open_panics.get_mut(&unit);
        let began = open
            .and_then(Vec::pop)
            .and_then(|at| self.history.panics.get_mut(at));
        match began {
            Some(began) if began.poll == raised.poll => {
                began.message = raised.message;
                began.raised = true;
            }
            _ => self.add_panic(raised),
        }
    }

    fn panic(&self, unit: UnitIndex, event: &Event) -> Panic {
        Panic {
            unit,
            poll: self.doer(unit, event.cause).poll,
            event: event.id,
            time: event.time,
            location: None,
            stood: None,
            message: None,
            raised: false,
        }
    }

    fn add_panic(&mut self, panic: Panic) {
        if !self.showing {
            return;
        }
        if self.history.panics.len() >= MAX_PANICS {
            self.history.missing.beyond_limits += 1;
            return;
        }
        if !panic.raised {
            let open = self.open_panics.entry(panic.unit).or_default();
            // Of another poll: what became of those was not seen.
            open.retain(|at| {
                self.history
                    .panics
                    .get(*at)
                    .is_some_and(|before| before.poll == panic.poll)
            });
            open.push(self.history.panics.len());
        }
        self.history.panics.push(panic);
    }
}
