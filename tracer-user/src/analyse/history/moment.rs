//! The clock of one task: moments with how much of it was polled until then, so that the time
//! between any two of them splits into waiting and being polled without a remainder.

/// A moment in the life of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub(super) time: u64,
    /// Nanoseconds of it inside polls, since the clock began.
    pub(super) polled: u64,
    /// Polls that had ended until then.
    pub(super) polls: u32,
}

/// Never goes backwards, whatever times it is given.
#[derive(Debug, Default)]
pub(super) struct Clock {
    now: Moment,
    /// A poll goes on.
    polling: bool,
}

impl Clock {
    /// A clock that stands at this time.
    pub(super) fn new(time: u64) -> Self {
        Self {
            now: Moment {
                time,
                ..Moment::default()
            },
            polling: false,
        }
    }

    /// Goes on to a time, if that is later.
    pub(super) fn at(&mut self, time: u64) -> Moment {
        let passed = time.saturating_sub(self.now.time);
        self.now.time += passed;
        if self.polling {
            self.now.polled += passed;
        }
        self.now
    }

    /// A poll begins.
    pub(super) fn begin(&mut self, time: u64) -> Moment {
        let moment = self.at(time);
        self.polling = true;
        moment
    }

    /// The poll that goes on ends.
    pub(super) fn end(&mut self, time: u64) -> Moment {
        self.at(time);
        if self.polling {
            self.now.polls = self.now.polls.saturating_add(1);
        }
        self.polling = false;
        self.now
    }

    /// What it shows.
    pub(super) fn now(&self) -> Moment {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polled_time_is_that_between_begin_and_end_and_time_never_goes_back() {
        let mut clock = Clock::new(100);
        let begin = clock.begin(150);
        assert_eq!((begin.time, begin.polled, begin.polls), (150, 0, 0));
        assert_eq!(clock.at(120).time, 150);
        let end = clock.end(170);
        assert_eq!((end.time, end.polled, end.polls), (170, 20, 1));
        assert_eq!(clock.at(500).polled, 20);
        assert_eq!(clock.end(600).polls, 1, "an end without a begin is no poll");
    }
}
