//! The descent into one function's body.

use super::{DEPTH_OF_REFERENCES, Entry, Node, Scope, Scopes, VARIABLES, Variable};
use crate::address::LinkAddress;
use crate::dwarf::units::{DieRef, Slice};

/// One descent into a function's body.
pub(super) struct Walk<'s, 'u, 'a> {
    scopes: &'s Scopes<'u, 'a>,
    unit: &'s gimli::Unit<Slice<'a>>,
    number: u32,
    address: LinkAddress,
    /// Set when every block is entered, for the variables of these types.
    pub(super) wanted: Option<&'s mut dyn FnMut(DieRef) -> bool>,
    pub(super) found: Vec<Scope<'a>>,
    variables: usize,
}

impl<'s, 'u, 'a> Walk<'s, 'u, 'a> {
    pub(super) fn new(
        scopes: &'s Scopes<'u, 'a>,
        unit: &'s gimli::Unit<Slice<'a>>,
        number: u32,
        address: LinkAddress,
    ) -> Self {
        Self {
            scopes,
            unit,
            number,
            address,
            wanted: None,
            found: Vec::new(),
            variables: 0,
        }
    }

    /// Adds the scope of a function entry; its position in `found`.
    pub(super) fn enter(
        &mut self,
        entry: &Entry<'a>,
        inlined: bool,
        frame_base: Option<gimli::Expression<Slice<'a>>>,
    ) -> usize {
        let instance = DieRef {
            unit: self.number,
            offset: u32::try_from(entry.offset().0).unwrap_or(0),
        };
        let function = [gimli::DW_AT_abstract_origin, gimli::DW_AT_specification]
            .into_iter()
            .find_map(|name| self.scopes.reference(self.number, entry, name))
            .unwrap_or(instance);
        self.found.push(Scope {
            instance,
            function,
            inlined,
            frame_base,
            variables: Vec::new(),
        });
        self.found.len() - 1
    }

    /// Goes through the children of a function or block that belongs to the scope at `scope`.
    pub(super) fn children(
        &mut self,
        node: Node<'a, '_, '_>,
        scope: usize,
        depth: usize,
    ) -> gimli::Result<()> {
        let Some(depth) = depth.checked_sub(1) else {
            return Ok(());
        };
        let mut children = node.children();
        while let Some(child) = children.next()? {
            let entry = child.entry();
            match entry.tag() {
                gimli::DW_TAG_formal_parameter | gimli::DW_TAG_variable => {
                    self.variable(entry, scope);
                }
                gimli::DW_TAG_lexical_block | gimli::DW_TAG_inlined_subroutine
                    if self.wanted.is_some() =>
                {
                    self.children(child, scope, depth)?;
                }
                gimli::DW_TAG_lexical_block if self.holds(entry) => {
                    self.children(child, scope, depth)?;
                }
                gimli::DW_TAG_inlined_subroutine if self.holds(entry) => {
                    let frame_base = self.found.get(scope).and_then(|scope| scope.frame_base);
                    let inner = self.enter(entry, true, frame_base);
                    self.children(child, inner, depth)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the ranges of a block or inlined function hold the address.
    fn holds(&self, entry: &Entry<'a>) -> bool {
        let Some(dwarf) = self.scopes.units.dwarf(self.number) else {
            return false;
        };
        let Ok(mut ranges) = dwarf.die_ranges(self.unit, entry) else {
            return false;
        };
        while let Ok(Some(range)) = ranges.next() {
            if (range.begin..range.end).contains(&self.address.0) {
                return true;
            }
        }
        false
    }

    /// Adds a variable to a scope.
    fn variable(&mut self, entry: &Entry<'a>, scope: usize) {
        if self.variables >= VARIABLES {
            return;
        }
        let Some((name, type_die)) = self.describe(entry) else {
            return;
        };
        let mut add = |location| {
            self.variables += 1;
            if let Some(scope) = self.found.get_mut(scope) {
                scope.variables.push(Variable {
                    name,
                    type_die,
                    location,
                });
            }
        };
        let Some(value) = entry.attr_value(gimli::DW_AT_location) else {
            if self.wanted.is_none() {
                add(None);
            }
            return;
        };
        let everywhere = self.wanted.is_some();
        if let Some(wanted) = &mut self.wanted
            && !wanted(type_die)
        {
            return;
        }
        if let gimli::AttributeValue::Exprloc(expression) = value {
            return add(Some(expression));
        }
        let dwarf = self.scopes.units.dwarf(self.number);
        let Some(Ok(Some(mut locations))) =
            dwarf.map(|dwarf| dwarf.attr_locations(self.unit, value))
        else {
            return;
        };
        let mut here = None;
        while let Ok(Some(entry)) = locations.next() {
            if everywhere {
                add(Some(entry.data));
            } else if (entry.range.begin..entry.range.end).contains(&self.address.0) {
                here = Some(entry.data);
                break;
            }
        }
        if !everywhere {
            add(here);
        }
    }

    /// Name and type of a variable; for an inlined function they stand on the abstract entry.
    fn describe(&self, entry: &Entry<'a>) -> Option<(Option<&'a str>, DieRef)> {
        let mut name = None;
        let mut type_die = None;
        let mut at = Some((self.number, entry.clone()));
        for _ in 0..DEPTH_OF_REFERENCES {
            let Some((number, entry)) = at else { break };
            let unit = self.scopes.units.unit(number).ok()?;
            name = name.or_else(|| {
                let value = entry.attr_value(gimli::DW_AT_name)?;
                self.scopes.units.string((number, &unit), value)
            });
            type_die =
                type_die.or_else(|| self.scopes.reference(number, &entry, gimli::DW_AT_type));
            at = self
                .scopes
                .reference(number, &entry, gimli::DW_AT_abstract_origin)
                .and_then(|die| {
                    let unit = self.scopes.units.unit(die.unit).ok()?;
                    Some((die.unit, unit.entry(die.in_unit()).ok()?))
                });
        }
        Some((name, type_die?))
    }
}
