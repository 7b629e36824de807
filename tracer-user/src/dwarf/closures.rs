//! Where a closure is written: its type carries no line (rustc 1.95), its function does.

use super::index::Namespace;
use super::paths;
use super::units::{DieRef, Slice, UnitEntry};
use super::{DebugInfo, SourceLine};

impl DebugInfo<'_> {
    /// Where the closure with the type at `die` (`path::{closure_env#N}`) is written: what is
    /// declared as the function `{closure#N}` beside the type. `None` for anything else, and when
    /// no unit that has the type's namespace describes the function.
    #[must_use]
    pub fn closure_line(&self, die: DieRef) -> Option<SourceLine> {
        let name = self.name(die)?;
        let function = name.split_once('<').map_or(name, |(base, _)| base);
        let function = function.replacen("_env#", "#", 1);
        if !function.starts_with("{closure#") {
            return None;
        }
        let path = self.base_path(die);
        let (parent, _) = path.rsplit_once("::")?;
        let units =
            std::iter::once(die.unit).chain(0..u32::try_from(self.indexed.indexes.len()).ok()?);
        for unit in units {
            let index = self.indexed.indexes.get(unit as usize)?;
            for namespace in &index.namespaces {
                // The name first: a path costs more.
                if !parent.ends_with(namespace.name)
                    || paths::join(&index.namespaces, namespace.start, namespace.name) != parent
                {
                    continue;
                }
                let entry = self.indexed.units.entries().get(unit as usize)?;
                let found = self.function_in((unit, entry), *namespace, &function);
                if let Ok(Some((file, line))) = found
                    && let Some(line) = self.source_line(unit, file, line)
                {
                    return Some(line);
                }
            }
        }
        None
    }

    /// The declared file and line of the function `name` directly in a namespace.
    fn function_in(
        &self,
        (number, entry): (u32, &UnitEntry<'_>),
        namespace: Namespace<'_>,
        name: &str,
    ) -> gimli::Result<Option<(u64, u64)>> {
        let unit = self.indexed.units.unit(number)?;
        let start = DieRef {
            unit: number,
            offset: namespace.start,
        };
        let mut entries = unit.entries_raw(Some(start.in_unit()))?;
        while !entries.is_empty() && entries.next_offset().0 < namespace.end as usize {
            let depth = entries.next_depth();
            let Some(abbreviation) = entries.read_abbreviation()? else {
                continue;
            };
            if depth != 1 || abbreviation.tag() != gimli::DW_TAG_subprogram {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            let (mut is_it, mut file, mut line) = (false, 0, 0);
            for specification in abbreviation.attributes() {
                let attribute: gimli::Attribute<Slice<'_>> =
                    entries.read_attribute(*specification)?;
                match attribute.name() {
                    gimli::DW_AT_name => {
                        is_it =
                            entry
                                .dwarf
                                .attr_string(&unit, attribute.value())
                                .is_ok_and(|found| {
                                    let found = found.slice();
                                    found.strip_prefix(name.as_bytes()).is_some_and(|rest| {
                                        rest.is_empty() || rest.starts_with(b"<")
                                    })
                                });
                    }
                    gimli::DW_AT_decl_file => file = attribute.udata_value().unwrap_or(0),
                    gimli::DW_AT_decl_line => line = attribute.udata_value().unwrap_or(0),
                    _ => {}
                }
            }
            if is_it && line != 0 {
                return Ok(Some((file, line)));
            }
        }
        Ok(None)
    }
}
