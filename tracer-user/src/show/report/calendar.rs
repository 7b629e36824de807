//! Dates, as a report needs them: UTC, to the second.

/// A date and time from nanoseconds since 1970-01-01 UTC: `2026-11-22 02:40:07 UTC`. Proleptic
/// Gregorian, without leap seconds, as POSIX time is.
pub(in crate::show) fn utc(nanoseconds: u64) -> String {
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

/// As [`utc`], to the millisecond.
pub(in crate::show) fn utc_millis(nanoseconds: u64) -> String {
    let millis = nanoseconds / 1_000_000 % 1_000;
    utc(nanoseconds).replace(" UTC", &format!(".{millis:03} UTC"))
}

/// The time of day of it, to the millisecond: `02:40:07.250`.
pub(in crate::show) fn time_millis(nanoseconds: u64) -> String {
    let millis = nanoseconds / 1_000_000;
    let (seconds, rest) = (millis / 1_000 % 86_400, millis % 1_000);
    format!(
        "{:02}:{:02}:{:02}.{rest:03}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::{time_millis, utc, utc_millis};

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
        let time = 1_700_000_000_250_999_999;
        assert_eq!(utc_millis(time), "2023-11-14 22:13:20.250 UTC");
        assert_eq!(time_millis(time), "22:13:20.250");
        assert!(utc(u64::MAX).starts_with("2554-07-21"));
    }
}
