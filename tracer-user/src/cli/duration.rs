//! Durations as people write them on the command line.

use std::time::Duration;

/// A positive number of seconds, fractions allowed, or a time with its unit.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let Ok(seconds) = text.parse::<f64>() else {
        return with_unit(text)
            .map(Duration::from_nanos)
            .map_err(|_| "not a number of seconds, nor a time as 90s or 2m".to_owned());
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(Duration::ZERO) => Err("must be more than 0 seconds".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("not a positive, finite number of seconds".to_owned()),
    }
}

/// A number of seconds since some start: as [`seconds`], and 0 too.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn since_start(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0.0) => Ok(Duration::ZERO),
        _ => seconds(text),
    }
}

/// A positive time with its unit: `250ms`, `1.5s`, `2m`. Nanoseconds.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn with_unit(text: &str) -> Result<u64, String> {
    const EXAMPLES: &str = "a number with its unit (us, ms, s, m or h), as in 250ms or 1.5s";
    let at = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(at.unwrap_or(text.len()));
    let unit: f64 = match unit {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3_600e9,
        "" => {
            return Err(format!(
                "without a unit it is not known what it means: {EXAMPLES}"
            ));
        }
        _ => return Err(EXAMPLES.to_owned()),
    };
    let plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: f64 = number
        .parse()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| EXAMPLES.to_owned())?;
    let nanoseconds = number * unit;
    if !(1.0..1e18).contains(&nanoseconds) {
        return Err("must be more than 0 and less than 30 years".to_owned());
    }
    Ok(nanoseconds as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_accepted_and_nonsense_is_not() {
        assert_eq!(seconds("10"), Ok(Duration::from_secs(10)));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(since_start("0"), Ok(Duration::ZERO));
        assert_eq!(seconds("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(seconds("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "0", "-1", "inf", "NaN", "1e300", "0s", "10x", "s"] {
            assert!(seconds(text).is_err(), "{text}");
            assert!(since_start(text).is_err() || text == "0", "{text}");
        }
    }
    #[test]
    fn times_have_units() {
        assert_eq!(with_unit("250ms"), Ok(250_000_000));
        assert_eq!(with_unit("1.5s"), Ok(1_500_000_000));
        assert_eq!(with_unit("2m"), Ok(120_000_000_000));
        assert_eq!(with_unit("1h"), Ok(3_600_000_000_000));
        assert_eq!(with_unit("50us"), Ok(50_000));
        for text in [
            "",
            "10",
            "ms",
            "-1s",
            "+1s",
            "0s",
            "1e3s",
            "infs",
            "1 s",
            "1d",
            "1.2.3s",
            "\u{b5}s",
            "999999999999999h",
        ] {
            assert!(with_unit(text).is_err(), "{text}");
        }
    }
}
