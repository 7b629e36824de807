//! Numbers as sentences have them.

/// Nanoseconds as a reader takes them in: `480 ns`, `12.3 ms`, `4.21 s`, `3.5 min`.
pub(super) fn duration(nanoseconds: u64) -> String {
    let (unit, name) = match nanoseconds {
        0..1_000 => return format!("{nanoseconds} ns"),
        1_000..1_000_000 => (1e3, "us"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        1_000_000_000..120_000_000_000 => (1e9, "s"),
        120_000_000_000..7_200_000_000_000 => (60e9, "min"),
        _ => (3_600e9, "h"),
    };
    // Three digits are all that is asked for.
    let value = nanoseconds as f64 / unit;
    if value < 9.995 {
        format!("{value:.2} {name}")
    } else if value < 99.95 {
        format!("{value:.1} {name}")
    } else {
        format!("{value:.0} {name}")
    }
}

/// `1 poll`, `3 polls`.
pub(super) fn plural(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    }
}

/// A part of a whole in percent; `0 %` of nothing.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    if percent > 0.0 && percent < 10.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// The part of the least among a hundredth: `part` of `whole` is at least `percent` of 100.
pub(super) fn is_share(part: u64, whole: u64, percent: u64) -> bool {
    u128::from(part) * 100 >= u128::from(whole) * u128::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        for (nanoseconds, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_500, "1.50 us"),
            (12_345_678, "12.3 ms"),
            (999_600_000, "1000 ms"),
            (61_000_000_000, "61.0 s"),
            (180_000_000_000, "3.00 min"),
            (7_200_000_000_000, "2.00 h"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
    }

    #[test]
    fn parts_of_nothing_are_nothing() {
        assert_eq!(percent(1, 0), "0 %");
        assert_eq!(percent(1, 8), "12 %");
        assert_eq!(percent(1, 64), "1.6 %");
        assert_eq!(plural(1, "poll"), "1 poll");
        assert!(is_share(1, 100, 1) && !is_share(1, 101, 1) && is_share(u64::MAX, u64::MAX, 100));
    }
}
