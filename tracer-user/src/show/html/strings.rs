//! Names, each once, in a form that is safe to look at.

use std::collections::HashMap;

use super::super::escape::escape;
use super::code::NONE;

/// Characters of a name that are kept. Names of generic futures run to thousands.
const LONGEST: usize = 2_000;

/// Names by number.
#[derive(Default)]
pub(super) struct Strings {
    list: Vec<String>,
    numbers: HashMap<String, i64>,
}

impl Strings {
    /// The number of a name.
    pub(super) fn number(&mut self, text: &str) -> i64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.list.len() as i64;
        self.list.push(shown(text));
        self.numbers.insert(text.to_owned(), number);
        number
    }

    /// The number of a name that may be missing.
    pub(super) fn optional(&mut self, text: Option<&str>) -> i64 {
        text.map_or(NONE, |text| self.number(text))
    }

    /// All names.
    pub(super) fn into_list(self) -> Vec<String> {
        self.list
    }
}

/// A name as it is shown: what would act on the text around it is made visible, what is very long
/// is cut.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => escape(text).into_owned(),
        Some((end, _)) => format!("{}…", escape(&text[..end])),
    }
}
