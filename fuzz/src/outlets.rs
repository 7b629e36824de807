//! What leaves for a terminal, a page or a file.

/// Asserts that there is nothing in `text` that a terminal acts upon.
///
/// # Panics
/// If there is.
pub fn assert_plain(text: &str) {
    let found = text.chars().find(|character| character.is_control());
    assert!(found.is_none(), "{found:?} in {text:?}");
}

/// Asserts that text for a person has no control characters but line ends and our own colours
/// (`ESC [ digits m`).
///
/// # Panics
/// If it has.
pub fn assert_safe(text: &[u8]) {
    let text = std::str::from_utf8(text).expect("text is UTF-8");
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\n') {
        let tail = &rest[at..];
        let after = tail
            .strip_prefix("\x1b[")
            .map(|tail| tail.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'))
            .and_then(|tail| tail.strip_prefix('m'));
        let Some(after) = after else {
            panic!(
                "a control character in {:?}",
                tail.chars().take(40).collect::<String>()
            );
        };
        rest = after;
    }
}

/// Asserts that a page or a drawing has no markup that begins in the middle of a name.
///
/// # Panics
/// If it has control characters beside line ends and tabs.
pub fn assert_no_controls(text: &[u8]) {
    let text = std::str::from_utf8(text).expect("text is UTF-8");
    let found = text
        .chars()
        .find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    assert!(found.is_none(), "{found:?}");
}
