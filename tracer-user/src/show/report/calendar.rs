//! Dates, as a report needs them: UTC, to the second.

/// A date and time from nanoseconds since 1970-01-01 UTC: `2026-11-22 02:40:07 UTC`. Proleptic
/// Gregorian, without leap seconds, as POSIX time is.
pub(super) fn utc(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    // A u64 of nanoseconds ends in 2554: a loop over years is short.
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!(
        "{year}-{month:02}-{:02} {:02}:{:02}:{:02} UTC",
        days + 1,
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::utc;

    /// Expected values by `date -u -d @SECONDS`.
    #[test]
    fn dates_are_those_of_the_system() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_700_000_000, "2023-11-14 22:13:20 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds * 1_000_000_000 + 5), date);
        }
        assert!(utc(u64::MAX).starts_with("2554-07-21"));
    }
}
