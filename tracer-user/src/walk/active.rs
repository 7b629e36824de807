//! Which variant of a value is active, by its discriminant.

use super::table::{Discriminant, Edge, Node, Shape, State};
use crate::address::Address;
use crate::memory::{Memory, ReadError};

/// The active variant of a node and the edges that lead on.
pub(super) struct Active<'n> {
    pub(super) common: &'n [Edge],
    pub(super) state: Option<&'n State>,
}

impl Active<'_> {
    pub(super) fn edges(&self) -> impl Iterator<Item = &Edge> {
        self.common
            .iter()
            .chain(self.state.into_iter().flat_map(|state| &state.edges))
    }
}

/// Reads which variant of the value at `address` is active.
///
/// # Errors
/// Why it is not known.
pub(super) fn active<'n>(
    memory: &dyn Memory,
    node: &'n Node,
    address: Address,
) -> Result<Active<'n>, String> {
    match &node.shape {
        Shape::Plain { edges } => Ok(Active {
            common: edges,
            state: None,
        }),
        Shape::Tagged {
            discriminant,
            edges,
            states,
        } => {
            let value = read_discriminant(memory, *discriminant, address)
                .map_err(|error| format!("its state is not readable: {error}"))?;
            let mask = discriminant.mask();
            let state = states
                .iter()
                .find(|state| state.value.is_some_and(|known| known & mask == value))
                .or_else(|| states.iter().find(|state| state.value.is_none()));
            match state {
                Some(state) => Ok(Active {
                    common: edges,
                    state: Some(state),
                }),
                None if states.is_empty() => Ok(Active {
                    common: edges,
                    state: None,
                }),
                None => Err(format!(
                    "its state reads {value}, which is none of its {} states",
                    states.len()
                )),
            }
        }
    }
}

fn read_discriminant(
    memory: &dyn Memory,
    discriminant: Discriminant,
    address: Address,
) -> Result<u64, ReadError> {
    let at = address.add(discriminant.offset);
    let mut bytes = [0; 8];
    let size = usize::from(discriminant.size.min(8));
    if let Some(into) = bytes.get_mut(..size) {
        memory.read(at, into)?;
    }
    Ok(u64::from_le_bytes(bytes))
}
