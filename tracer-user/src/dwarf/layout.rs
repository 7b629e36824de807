//! Members by name, however many wrappers stand between.
//!
//! Types of the standard library are wrapped differently from version to version (`MaybeDangling`
//! inside `ManuallyDrop` since rustc 1.95, one more `.__0` inside atomics since 1.96, a
//! `CachePadded` here, a `Mutex` there). So a path such as `shared.owned.list` is searched: at
//! each step the member of that name nearest to the surface, through members of any name.

use std::collections::{HashSet, VecDeque};

use super::{DebugInfo, DieRef, Kind, Type};

/// A place inside a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset from the start of the outermost type, in bytes.
    pub offset: u64,
    /// The field's type.
    pub type_die: DieRef,
}

/// Types looked at in one search; real searches look at a few dozen.
const MAX_VISITED: usize = 4096;

impl<'a> DebugInfo<'a> {
    /// The field at `path` (names joined by dots) inside the type at `die`. No pointer is
    /// followed; variants of enums are entered.
    #[must_use]
    pub fn field(&self, die: DieRef, path: &str) -> Option<Field> {
        self.known_field(die, path, || self.find_field(die, path))
    }

    /// What `search` finds inside `die`, searched once: `key` stands for it, and is no path of names
    /// (`<pointer>`).
    pub(super) fn known_field(
        &self,
        die: DieRef,
        key: &str,
        search: impl FnOnce() -> Option<Field>,
    ) -> Option<Field> {
        let known = |fields: &[(Box<str>, Option<Field>)]| {
            let known = fields.iter().find(|(known, _)| **known == *key);
            known.map(|(_, field)| *field)
        };
        if let Some(field) = self
            .fields
            .borrow()
            .get(&die)
            .and_then(|fields| known(fields))
        {
            return field;
        }
        let found = search();
        let mut fields = self.fields.borrow_mut();
        fields.entry(die).or_default().push((key.into(), found));
        found
    }

    fn find_field(&self, die: DieRef, path: &str) -> Option<Field> {
        let mut field = Field {
            offset: 0,
            type_die: die,
        };
        for name in path.split('.') {
            let found = self.search(field.type_die, |member, _| member == name)?;
            field = Field {
                offset: field.offset.wrapping_add(found.offset),
                ..found
            };
        }
        Some(field)
    }

    /// The nearest field inside `die`, `die` itself included, whose type satisfies `wanted`.
    #[must_use]
    pub fn field_of_type(
        &self,
        die: DieRef,
        wanted: impl Fn(&Type<'a>, DieRef) -> bool,
    ) -> Option<Field> {
        if self.type_at(die).is_some_and(|this| wanted(&this, die)) {
            return Some(Field {
                offset: 0,
                type_die: die,
            });
        }
        self.search(die, |_, type_die| {
            self.type_at(type_die)
                .is_some_and(|inner| wanted(&inner, type_die))
        })
    }

    /// The nearest pointer-sized scalar or thin pointer inside `die`: the value of an atomic, a
    /// `NonNull`, an `Option` of one.
    #[must_use]
    pub fn word(&self, die: DieRef) -> Option<Field> {
        self.known_field(die, "<word>", || {
            self.field_of_type(die, |inner, _| {
                inner.size == 8 && matches!(inner.kind, Kind::Scalar)
                    || matches!(inner.kind, Kind::Pointer { .. })
            })
        })
    }

    /// What the nearest thin pointer inside `die` points to.
    #[must_use]
    pub fn pointee(&self, die: DieRef) -> Option<DieRef> {
        let pointer = self.known_field(die, "<pointer>", || {
            self.field_of_type(die, |inner, _| matches!(inner.kind, Kind::Pointer { .. }))
        })?;
        match self.type_at(pointer.type_die)?.kind {
            Kind::Pointer { target } => target,
            _ => None,
        }
    }

    /// Breadth-first search below `die`: the nearest member that satisfies `wanted` (its name,
    /// its type).
    fn search(&self, die: DieRef, wanted: impl Fn(&str, DieRef) -> bool) -> Option<Field> {
        let mut queue = VecDeque::from([Field {
            offset: 0,
            type_die: die,
        }]);
        let mut visited = HashSet::new();
        while let Some(at) = queue.pop_front() {
            if visited.len() > MAX_VISITED {
                return None;
            }
            if !visited.insert((at.offset, at.type_die)) {
                continue;
            }
            let Some(this) = self.type_at(at.type_die) else {
                continue;
            };
            let variants = this
                .variants()
                .map_or(&[][..], |part| part.variants.as_slice());
            let members = this
                .members()
                .iter()
                .chain(variants.iter().map(|variant| &variant.member));
            for member in members {
                let found = Field {
                    offset: at.offset.wrapping_add(member.offset),
                    type_die: member.type_die,
                };
                if wanted(member.name, member.type_die) {
                    return Some(found);
                }
                queue.push_back(found);
            }
        }
        None
    }
}
