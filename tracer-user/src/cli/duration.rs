//! Durations as people write them on the command line.

use std::time::Duration;

/// A positive number of seconds, fractions allowed.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_accepted_and_nonsense_is_not() {
        assert_eq!(seconds("10"), Ok(Duration::from_secs(10)));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(since_start("0"), Ok(Duration::ZERO));
        for text in ["", "0", "-1", "inf", "NaN", "1e300", "10s"] {
            assert!(seconds(text).is_err(), "{text}");
            assert!(since_start(text).is_err() || text == "0", "{text}");
        }
    }
}
