//! JSON that is safe to look at: what a terminal would act upon is written as `\u001b`, which a
//! parser reads as the very character.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::escape::acts;

/// Compact JSON with such characters escaped.
pub(crate) struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, character)) = rest.char_indices().find(|(_, each)| acts(*each)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + character.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// A value as one line of such JSON.
///
/// # Errors
/// Those of its serialisation.
pub fn to_visible_json(value: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Visible))?;
    // serde_json writes UTF-8 only, and so does the formatter.
    String::from_utf8(bytes).map_err(serde::ser::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_escaped_and_reads_as_it_was() {
        let name = "a\u{1b}[2J\u{9b}1m\u{7f}\u{202e}\u{e0041}\"größe\"\n任务";
        let text = to_visible_json(&name).unwrap();
        assert!(!text.contains(acts), "{text}");
        assert!(text.contains("größe") && text.contains("任务"), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), name);
    }
}
