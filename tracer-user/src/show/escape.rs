//! Text from the target made safe for a terminal.
//!
//! Names, paths and thread names come from a binary and a process that may be hostile: an escape
//! sequence in one of them must not move the cursor, retitle the window or turn the text around.
//! What a terminal would act upon is replaced by its visible escape; everything else, other scripts
//! included, passes unchanged.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a terminal or a bidirectional text engine acts on this character instead of showing it.
pub(crate) fn acts(character: char) -> bool {
    character.is_control()
        // Unicode 16, "Bidi_Control", line and paragraph separators, zero-width space and
        // invisible operators, byte order mark, tags, interlinear annotation.
        || matches!(
            character,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// `text` with every character that a terminal would act upon written as `\x1b` or `\u{202e}`.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        let code = u32::from(character);
        // Writing to a `String` cannot fail.
        let _ = match (acts(character), code) {
            (false, _) => safe.write_char(character),
            (true, 0..=0xff) => write!(safe, "\\x{code:02x}"),
            (true, _) => write!(safe, "\\u{{{code:x}}}"),
        };
    }
    Cow::Owned(safe)
}

/// As [`escape`], for text of several lines: line breaks stay.
#[must_use]
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    if !text.contains(|character| acts(character) && character != '\n') {
        return Cow::Borrowed(text);
    }
    let lines: Vec<Cow<'_, str>> = text.split('\n').map(escape).collect();
    Cow::Owned(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_becomes_visible() {
        assert_eq!(
            escape("\x1b[2Jhi\r\n\u{9b}1m"),
            "\\x1b[2Jhi\\x0d\\x0a\\x9b1m"
        );
        assert_eq!(escape("a\u{202e}b\u{200b}"), "a\\u{202e}b\\u{200b}");
        assert_eq!(
            escape("tab\tbell\x07nul\0del\x7f"),
            "tab\\x09bell\\x07nul\\x00del\\x7f"
        );
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(escape_lines("a\x1b[2J\nb\r"), "a\\x1b[2J\nb\\x0d");
        assert!(matches!(escape_lines("a\nb"), Cow::Borrowed("a\nb")));
    }

    #[test]
    fn other_scripts_pass_unchanged() {
        for text in [
            "",
            "app::serve::{async_block#0}",
            "größe",
            "任务",
            "🦀 e\u{301}",
        ] {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
        }
    }
}
