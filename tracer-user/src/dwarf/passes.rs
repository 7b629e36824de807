//! A pass over all units.

use rayon::prelude::*;

use super::units::{UnitEntry, Units};

/// What `pass` makes of each unit and its number, in their order; in parallel, and with the memory of
/// the files given back meanwhile. Not for tasks of rayon's that may wait for each other.
pub(super) fn over_units<'a, T: Send>(
    units: &Units<'a>,
    pass: impl Fn(u32, &UnitEntry<'a>) -> T + Sync,
) -> Vec<T> {
    let all = || {
        let entries = units.entries().par_iter().enumerate();
        entries
            .map(|(number, entry)| pass(u32::try_from(number).unwrap_or(u32::MAX), entry))
            .collect()
    };
    match units.source() {
        Some(source) => source.sparing(all),
        None => all(),
    }
}
