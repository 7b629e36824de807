//! Sizes as people write them on the command line.

/// A recording needs room for its header, some names and its end.
const LEAST: u64 = 64 << 10;

/// A number of bytes, with K, M or G for 1024, 1024² or 1024³ of them.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let number: u64 = digits
        .parse()
        .ok()
        .filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()))
        .ok_or("not a number of bytes; K, M or G may follow it, as in 512M")?;
    match number.checked_mul(unit) {
        Some(bytes) if bytes >= LEAST => Ok(bytes),
        Some(_) => Err("a recording needs 64K at least".to_owned()),
        None => Err("more than any disk holds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_accepted_and_nonsense_is_not() {
        assert_eq!(bytes("65536"), Ok(65_536));
        assert_eq!(bytes("64K"), Ok(65_536));
        assert_eq!(bytes("512m"), Ok(512 << 20));
        assert_eq!(bytes("2G"), Ok(2 << 30));
        for text in [
            "",
            "M",
            "0",
            "63K",
            "-1M",
            "+1M",
            "1.5G",
            "1 M",
            "1T",
            "1MB",
            "99999999999G",
            "µ",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
