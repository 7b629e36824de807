//! A typed value in memory: debug information and memory together.
//!
//! For the few structures of a runtime that are read one at a time (handles, lists, leaves).
//! Futures, which are read by the thousand, go through the tables of `walk/`.

use super::{DebugInfo, DieRef, Kind, Type};
use crate::address::Address;
use crate::memory::{Memory, ReadError};

/// Why a value could not be taken apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The type has no such field.
    #[error("{type_name} has no field {path}")]
    NoField {
        /// The type.
        type_name: String,
        /// What was looked for.
        path: String,
    },
    /// Memory could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A value of a known type at a known address.
#[derive(Clone, Copy)]
pub struct Value<'v, 'a> {
    /// Its debug information.
    pub info: &'v DebugInfo<'a>,
    /// The memory that it lies in.
    pub memory: &'v dyn Memory,
    /// Its type.
    pub type_die: DieRef,
    /// Its address.
    pub address: Address,
}

impl<'v, 'a> Value<'v, 'a> {
    /// The same address seen as another type.
    #[must_use]
    pub fn cast(self, type_die: DieRef) -> Self {
        Self { type_die, ..self }
    }

    fn missing(self, path: &str) -> ValueError {
        ValueError::NoField {
            type_name: self.info.path(self.type_die),
            path: path.to_owned(),
        }
    }

    /// The field at `path`, through whatever wraps it; see [`DebugInfo::field`].
    ///
    /// # Errors
    /// [`ValueError::NoField`] when the type has none.
    pub fn field(self, path: &str) -> Result<Self, ValueError> {
        let field = self
            .info
            .field(self.type_die, path)
            .ok_or_else(|| self.missing(path))?;
        Ok(Self {
            type_die: field.type_die,
            address: self.address.add(field.offset),
            ..self
        })
    }

    /// The nearest part of the value whose type satisfies `wanted`. It is searched once in each type:
    /// `what`, a word in angle brackets or a path, stands for `wanted` wherever it is asked for.
    ///
    /// # Errors
    /// [`ValueError::NoField`], naming `what`, when there is none.
    pub fn part(
        self,
        what: &'static str,
        wanted: impl Fn(&Type<'a>, DieRef) -> bool,
    ) -> Result<Self, ValueError> {
        let search = || self.info.field_of_type(self.type_die, wanted);
        let field = self
            .info
            .known_field(self.type_die, what, search)
            .ok_or_else(|| self.missing(what))?;
        Ok(Self {
            type_die: field.type_die,
            address: self.address.add(field.offset),
            ..self
        })
    }

    /// The nearest part whose type's path without generic arguments is `base`.
    ///
    /// # Errors
    /// As [`Value::part`].
    pub fn part_called(self, base: &'static str) -> Result<Self, ValueError> {
        let last = base.rsplit("::").next().unwrap_or(base);
        self.part(base, |this, die| {
            this.base_name() == last && self.info.base_path(die) == base
        })
    }

    /// The nearest word: an integer, a pointer, the inside of an atomic or `NonNull`.
    ///
    /// # Errors
    /// [`ValueError`] when there is none or it is not readable.
    pub fn word(self) -> Result<u64, ValueError> {
        let field = self
            .info
            .word(self.type_die)
            .ok_or_else(|| self.missing("<word>"))?;
        Ok(self.memory.u64(self.address.add(field.offset))?)
    }

    /// The integer, of its own size up to 8 bytes.
    ///
    /// # Errors
    /// [`ValueError`] when there is none or it is not readable.
    pub fn integer(self) -> Result<u64, ValueError> {
        let search = || {
            self.info.field_of_type(self.type_die, |inner, _| {
                matches!(inner.kind, Kind::Scalar) && matches!(inner.size, 1 | 2 | 4 | 8)
            })
        };
        let field = self
            .info
            .known_field(self.type_die, "<integer>", search)
            .ok_or_else(|| self.missing("<integer>"))?;
        let size = self
            .info
            .type_at(field.type_die)
            .map_or(8, |this| this.size);
        let mut bytes = [0; 8];
        let size = usize::try_from(size).unwrap_or(8).min(8);
        if let Some(into) = bytes.get_mut(..size) {
            self.memory.read(self.address.add(field.offset), into)?;
        }
        Ok(u64::from_le_bytes(bytes))
    }

    /// What the nearest thin pointer points to; `None` for null.
    ///
    /// # Errors
    /// [`ValueError`] when there is no pointer or it is not readable.
    pub fn target(self) -> Result<Option<Self>, ValueError> {
        let pointer = self.part("<pointer>", |inner, _| {
            matches!(inner.kind, Kind::Pointer { .. })
        })?;
        let kind = self
            .info
            .type_at(pointer.type_die)
            .map(|this| this.kind.clone());
        let Some(Kind::Pointer {
            target: Some(target),
        }) = kind
        else {
            return Err(self.missing("<pointer target>"));
        };
        let address = self.memory.pointer(pointer.address)?;
        Ok((!address.is_null()).then_some(Self {
            type_die: target,
            address,
            ..self
        }))
    }

    /// What an `Arc` or `Rc` holds; `None` when the pointer is null (`None` of an `Option`).
    ///
    /// # Errors
    /// [`ValueError`] when it is none or not readable.
    pub fn shared(self) -> Result<Option<Self>, ValueError> {
        let Some(inner) = self.target()? else {
            return Ok(None);
        };
        // `ArcInner.data`, `RcInner.value` (`RcBox` before rustc 1.84).
        inner
            .field("data")
            .or_else(|_| inner.field("value"))
            .map(Some)
    }

    /// The active variant of an enum: its name and its contents.
    ///
    /// # Errors
    /// [`ValueError`] when it is no enum, its discriminant is not readable or matches nothing.
    pub fn variant(self) -> Result<(&'a str, Self), ValueError> {
        let no_enum = || self.missing("<variant>");
        let this = self.info.type_at(self.type_die).ok_or_else(no_enum)?;
        let part = this.variants().ok_or_else(no_enum)?;
        let variant = match part.discriminant {
            Some(discriminant) => {
                let at = Self {
                    type_die: discriminant.type_die,
                    address: self.address.add(discriminant.offset),
                    ..self
                };
                let value = at.integer()?;
                let size = self
                    .info
                    .type_at(discriminant.type_die)
                    .map_or(8, |this| this.size);
                let mask = if size >= 8 {
                    u64::MAX
                } else {
                    (1 << (size * 8)) - 1
                };
                part.variants
                    .iter()
                    .find(|variant| variant.value.is_some_and(|known| known & mask == value))
                    .or_else(|| part.variants.iter().find(|variant| variant.value.is_none()))
            }
            None => part.variants.first(),
        };
        let member = variant.ok_or_else(no_enum)?.member;
        let named = self.info.type_at(member.type_die);
        let name = named
            .map(|this| this.name)
            .filter(|name| !name.is_empty())
            .unwrap_or(member.name);
        Ok((
            name,
            Self {
                type_die: member.type_die,
                address: self.address.add(member.offset),
                ..self
            },
        ))
    }

    /// The name of an enum's active variant, with fields or without.
    ///
    /// # Errors
    /// As [`Value::variant`].
    pub fn variant_name(self) -> Result<&'a str, ValueError> {
        if let Ok((name, _)) = self.variant() {
            return Ok(name);
        }
        let value = self.integer()?;
        self.info
            .enumerator(self.type_die, value)
            .ok_or_else(|| self.missing("<variant>"))
    }

    /// The contents of an `Option`; `None` for `None`.
    ///
    /// # Errors
    /// As [`Value::variant`].
    pub fn option(self) -> Result<Option<Self>, ValueError> {
        let option = self.part("<Option>", |this, die| {
            this.name.starts_with("Option<") && self.info.base_path(die) == "core::option::Option"
        })?;
        let (name, contents) = option.variant()?;
        if name.starts_with("Some") {
            contents.field("__0").map(Some)
        } else {
            Ok(None)
        }
    }

    /// Address of the first element, number of elements and element type of a slice, boxed slice
    /// or vector.
    ///
    /// # Errors
    /// [`ValueError`] when it is none of these or not readable.
    pub fn elements(self) -> Result<(Self, u64, u64), ValueError> {
        let slice = self.part("<slice>", |inner, _| {
            inner.member("data_ptr").is_some() && inner.member("length").is_some()
        })?;
        let length = slice.field("length")?.word()?;
        let data = slice.field("data_ptr")?;
        let first = data.target()?.ok_or_else(|| self.missing("<elements>"))?;
        let stride = self
            .info
            .type_at(first.type_die)
            .map_or(0, |this| this.size);
        Ok((first, length, stride))
    }
}
