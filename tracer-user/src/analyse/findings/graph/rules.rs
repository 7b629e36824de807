//! What is taken for granted of who may still go on: from what is sure to what is only possible.

use crate::analyse::findings::model::Certainty;

/// What is taken for granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::analyse::findings) struct Rules {
    /// How sure what follows is.
    pub certainty: Certainty,
    /// What is held with a doubt is held; holders of a semaphore and senders of a channel are those
    /// that are seen; futures written by hand need what they hold.
    pub(super) likely: bool,
    /// What may have been moved out of a local is held.
    pub(super) doubtful: bool,
    /// Tasks that were polled meanwhile and stand where they stood are stuck there.
    pub(super) moved: bool,
    /// A task is stuck when one of its arms is.
    pub(super) arms: bool,
}

impl Rules {
    /// Nothing is taken for granted.
    pub(in crate::analyse::findings) const SURE: Self = Self {
        certainty: Certainty::Proved,
        likely: false,
        doubtful: false,
        moved: false,
        arms: false,
    };

    /// All rules, the strictest first.
    pub(in crate::analyse::findings) const ALL: [Self; 4] = [
        Self::SURE,
        Self {
            certainty: Certainty::Likely,
            likely: true,
            moved: true,
            ..Self::SURE
        },
        Self {
            certainty: Certainty::Likely,
            likely: true,
            doubtful: true,
            ..Self::SURE
        },
        Self {
            certainty: Certainty::Possible,
            likely: true,
            doubtful: true,
            moved: true,
            arms: true,
        },
    ];
}
