//! Events as the two ends of a critical path: `u3#17` is the event number 17 of unit 3.

use std::fmt;
use std::str::FromStr;

use crate::analyse::history::{AwaitIndex, History, UnitIndex, UnitKind};
use crate::rebuild::event::{EventId, UnitId};

/// An event by its name, as `report --json` and exports show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedEvent(pub EventId);

impl fmt::Display for NamedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.0.unit, self.0.sequence)
    }
}

impl FromStr for NamedEvent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (unit, sequence) = text.split_once('#')?;
            let unit = unit.strip_prefix('u').unwrap_or(unit);
            Some(Self(EventId {
                unit: UnitId(unit.parse().ok()?),
                sequence: sequence.parse().ok()?,
            }))
        };
        parse().ok_or_else(|| "not an event: expected UNIT#SEQUENCE, as in u3#17".to_owned())
    }
}

/// When an event happened, in which unit, and in which await instance as far as that is known.
/// Only begins of polls, wake-ups and spawns are kept in a history; `None` for every other event.
#[must_use]
pub fn time_of(
    history: &History,
    event: NamedEvent,
) -> Option<(UnitIndex, u64, Option<AwaitIndex>)> {
    let NamedEvent(id) = event;
    let polls = history
        .polls
        .iter()
        .filter(|poll| poll.event == id)
        .map(|poll| (poll.task, poll.begin, None));
    let wakes = history
        .wakes
        .iter()
        .filter(|wake| wake.event == id)
        .map(|wake| (wake.by.unit, wake.time, wake.by.within));
    let spawns = history.units.iter().filter_map(|unit| match &unit.kind {
        UnitKind::Task(task) => {
            let spawn = task.spawned.filter(|spawn| spawn.event == id)?;
            Some((spawn.by.unit, spawn.time, spawn.by.within))
        }
        _ => None,
    });
    polls.chain(wakes).chain(spawns).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_named_as_they_are_shown() {
        for text in ["u3#17", "u0#0"] {
            let event: NamedEvent = text.parse().unwrap();
            assert_eq!(event.to_string(), text);
        }
        assert_eq!("3#17".parse::<NamedEvent>().unwrap().to_string(), "u3#17");
        for text in ["", "u3", "#", "u#1", "u3#-1", "u3#1#2", "v3#1"] {
            assert!(text.parse::<NamedEvent>().is_err(), "{text}");
        }
    }
}
