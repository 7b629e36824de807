//! Search for a value of a certain type behind a value: through members, active variants,
//! references, boxes and reference-counted pointers, in memory.
//!
//! Used where a future refers to a resource at some distance (`Read` -> `&mut BufReader` ->
//! `TcpStream` -> `PollEvented`). What cannot lead to the wanted type is never read.

use std::cell::RefCell;
use std::collections::VecDeque;

use foldhash::{HashMap, HashSet, HashSetExt as _};

use super::{DebugInfo, DieRef, Kind, Type, Value};
use crate::address::LoadBias;

/// Values looked at in one search.
const MAX_VALUES: usize = 2048;

/// A search for values of one type.
pub struct Finder<'d, 'a> {
    info: &'d DebugInfo<'a>,
    bias: LoadBias,
    wanted: &'static [&'static str],
    leads: RefCell<HashMap<DieRef, bool>>,
    is_wanted: RefCell<HashMap<DieRef, bool>>,
}

impl<'d, 'a> Finder<'d, 'a> {
    /// A search for types with one of these paths (without generic arguments). `bias` is that of
    /// the module with the vtables of `dyn` types on the way.
    #[must_use]
    pub fn new(info: &'d DebugInfo<'a>, bias: LoadBias, wanted: &'static [&'static str]) -> Self {
        Self {
            info,
            bias,
            wanted,
            leads: RefCell::default(),
            is_wanted: RefCell::default(),
        }
    }

    /// All values of the wanted type that can be reached from `start`, the nearest first, until
    /// `accept` takes one.
    pub fn find<'v>(
        &self,
        start: Value<'v, 'a>,
        mut accept: impl FnMut(Value<'v, 'a>) -> bool,
    ) -> Option<Value<'v, 'a>> {
        let mut queue = VecDeque::from([start]);
        let mut seen = HashSet::new();
        while let Some(value) = queue.pop_front() {
            if seen.len() > MAX_VALUES {
                return None;
            }
            if !seen.insert((value.address, value.type_die)) || !self.leads(value.type_die) {
                continue;
            }
            if self.is_wanted(value.type_die) {
                if accept(value) {
                    return Some(value);
                }
                continue;
            }
            self.expand(value, &mut queue);
        }
        None
    }

    fn is_wanted(&self, die: DieRef) -> bool {
        let mut known = self.is_wanted.borrow_mut();
        *known.entry(die).or_insert_with(|| self.matches(die))
    }

    fn matches(&self, die: DieRef) -> bool {
        let name = self.info.name(die).unwrap_or("");
        self.wanted.iter().any(|path| {
            path.rsplit("::")
                .next()
                .is_some_and(|last| name.starts_with(last))
                && self.info.base_path(die) == *path
        })
    }

    fn expand<'v>(&self, value: Value<'v, 'a>, queue: &mut VecDeque<Value<'v, 'a>>) {
        let Some(this) = self.info.type_at(value.type_die) else {
            return;
        };
        if is_reference_counted(&self.info.known_base_path(value.type_die)) {
            queue.extend(value.shared().ok().flatten());
            return;
        }
        match &this.kind {
            Kind::Pointer { .. } if is_owned_or_borrowed(this.name) => {
                queue.extend(value.target().ok().flatten());
            }
            Kind::Structure { members, variants } => {
                if let Some(target) = self.dynamic(value, &this) {
                    queue.push_back(target);
                    return;
                }
                queue.extend(members.iter().map(|member| Value {
                    type_die: member.type_die,
                    address: value.address.add(member.offset),
                    ..value
                }));
                if variants.is_some()
                    && let Ok((_, contents)) = value.variant()
                {
                    queue.push_back(contents);
                }
            }
            _ => {}
        }
    }

    /// The object behind a `Box<dyn Trait>` or `&mut dyn Trait`.
    fn dynamic<'v>(&self, value: Value<'v, 'a>, this: &Type<'a>) -> Option<Value<'v, 'a>> {
        if !is_owned_or_borrowed(this.name) {
            return None;
        }
        let data = this.member("data_ptr").or_else(|| this.member("pointer"))?;
        let vtable = this.member("vtable")?;
        let data = value.memory.pointer(value.address.add(data.offset)).ok()?;
        let vtable = value
            .memory
            .pointer(value.address.add(vtable.offset))
            .ok()?;
        let type_die = self.info.type_of_vtable(self.bias.to_link(vtable).0)?;
        Some(Value {
            type_die,
            address: data,
            ..value
        })
    }

    /// Whether the wanted type can be reached from this one, as far as types tell.
    fn leads(&self, die: DieRef) -> bool {
        if let Some(known) = self.leads.borrow().get(&die) {
            return *known;
        }
        let mut seen = HashSet::from_iter([die]);
        let mut todo = vec![die];
        let mut found = false;
        while let Some(next) = todo.pop() {
            if self.leads.borrow().get(&next) == Some(&true) || self.is_wanted(next) {
                found = true;
                break;
            }
            let Some(this) = self.info.type_at(next) else {
                continue;
            };
            let mut step = |die| {
                if seen.insert(die) {
                    todo.push(die);
                }
            };
            match &this.kind {
                Kind::Pointer {
                    target: Some(target),
                } if is_owned_or_borrowed(this.name) => {
                    step(*target);
                }
                Kind::Structure { members, variants } => {
                    if is_owned_or_borrowed(this.name) && this.member("vtable").is_some() {
                        // Which type it is shows in memory only.
                        found = true;
                        break;
                    }
                    if is_reference_counted(&self.info.known_base_path(next)) {
                        self.info.pointee(next).into_iter().for_each(&mut step);
                    }
                    members.iter().for_each(|member| step(member.type_die));
                    for variant in variants.iter().flat_map(|part| &part.variants) {
                        step(variant.member.type_die);
                    }
                }
                _ => {}
            }
        }
        let mut leads = self.leads.borrow_mut();
        if found {
            leads.insert(die, true);
        } else {
            leads.extend(seen.into_iter().map(|die| (die, false)));
        }
        found
    }
}

fn is_reference_counted(base_path: &str) -> bool {
    matches!(base_path, "alloc::sync::Arc" | "alloc::rc::Rc")
}

fn is_owned_or_borrowed(name: &str) -> bool {
    name.starts_with('&') || name.starts_with("alloc::boxed::Box<")
}
