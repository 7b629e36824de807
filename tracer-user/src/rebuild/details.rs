//! The details of a wait: a few named values, as many a time as there are tasks.
//!
//! In JSON an object with its names in order, as a map would be. A map of its own for four values
//! takes five times the memory and an allocation for each name, which for a hundred thousand tasks
//! counts.

use std::borrow::Cow;

use serde::Serialize;
use serde::ser::SerializeMap as _;
use serde_json::Value;

/// A name: in the program, or from a recording.
type Name = Cow<'static, str>;

/// Named values, in order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details(Vec<(Name, Value)>);

impl Details {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }

    /// The value of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let place = self.place(name).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }

    /// Whether there is a value of this name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Puts a value, in the place of one of that name.
    pub fn insert(&mut self, name: impl Into<Name>, value: Value) {
        let name = name.into();
        match self.place(&name) {
            Ok(place) => {
                if let Some(entry) = self.0.get_mut(place) {
                    entry.1 = value;
                }
            }
            Err(place) => self.0.insert(place, (name, value)),
        }
    }

    /// Takes the value of this name out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let place = self.place(name).ok()?;
        Some(self.0.remove(place).1)
    }

    /// All of them, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

impl Serialize for Details {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_in_order_and_each_name_is_there_once() {
        let mut details = Details::new();
        for (name, value) in [("waker", 1), ("address", 2), ("ready", 3), ("waker", 4)] {
            details.insert(name, value.into());
        }
        let json = serde_json::to_string(&details).unwrap();
        assert_eq!(json, r#"{"address":2,"ready":3,"waker":4}"#);
        assert_eq!(details.get("waker"), Some(&Value::from(4)));
        assert_eq!(
            (details.get("wake"), details.contains_key("ready")),
            (None, true)
        );
        assert_eq!(details.remove("address"), Some(Value::from(2)));
        assert_eq!(details.remove("address"), None);
        let names: Vec<&str> = details.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["ready", "waker"]);
        // A name that no program text has.
        details.insert("x".repeat(2), Value::Null);
        assert!(details.contains_key("xx"));
    }
}
