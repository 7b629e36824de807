//! Chains of awaits that tasks stand in: which one a future belongs to, and what looks count for it.

use std::sync::Arc;

use super::{Collector, MAX_STACKS};
use crate::address::Address;
use crate::analyse::sampled::SampledStack;
use crate::analyse::sampled::shape::Waiting;

#[derive(Debug)]
pub(super) struct Stack {
    pub(super) row: SampledStack,
    pub(super) site: u32,
}

#[derive(Debug, Default)]
pub(super) struct Site {
    pub(super) inner: bool,
    pub(super) task_samples: u64,
    pub(super) innermost: u64,
    pub(super) time: u64,
    pub(super) entered: u64,
    pub(super) now: u64,
    pub(super) longest: u64,
    pub(super) longest_task: Option<Arc<str>>,
    pub(super) longest_from_before: bool,
}

/// One future that is waited for, in one look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) stack: u32,
    /// It counts for its await: no other future of this task counts for the same one.
    pub(super) counts: bool,
    pub(super) leaf: bool,
    pub(super) innermost: bool,
}

/// A future that stands somewhere.
#[derive(Clone, Debug)]
pub(super) struct Stand {
    pub(super) sample: Sample,
    pub(super) address: Option<Address>,
    pub(super) waits: u64,
    pub(super) since: u64,
}

impl Collector {
    /// Where a task that does not stand as before stands now. What of it stood there before goes on.
    pub(super) fn stands(
        &mut self,
        waiting: Vec<Waiting>,
        kind: u32,
        stood: &[Stand],
        time: u64,
    ) -> Vec<Stand> {
        let mut stacks: Vec<Option<u32>> = Vec::with_capacity(waiting.len());
        let mut stands: Vec<Stand> = Vec::with_capacity(waiting.len());
        let mut counted: Vec<u32> = Vec::new();
        for future in waiting {
            let above = match future.above {
                None => None,
                Some(above) => match stacks.get(above).copied().flatten() {
                    Some(stack) => Some(stack),
                    // What is below something that is not counted is not counted either.
                    None => {
                        stacks.push(None);
                        continue;
                    }
                },
            };
            let (leaf, innermost) = (future.leaf, future.innermost);
            let (address, waits) = (future.address, future.waits);
            let Some(stack) = self.stack(above, kind, &future) else {
                stacks.push(None);
                self.beyond += 1;
                continue;
            };
            stacks.push(Some(stack));
            let site = self
                .stacks
                .get(stack as usize)
                .map_or(0, |stack| stack.site);
            let counts = !counted.contains(&site);
            counted.push(site);
            let goes_on = stood.iter().find(|stand| {
                stand.sample.stack == stack
                    && stand.address == address
                    && address.is_some()
                    && stand.waits == waits
            });
            if goes_on.is_none()
                && let Some(site) = self.awaits.get_mut(site as usize)
            {
                site.entered += 1;
            }
            stands.push(Stand {
                sample: Sample {
                    stack,
                    counts,
                    leaf,
                    innermost,
                },
                address,
                waits,
                since: goes_on.map_or(time, |stand| stand.since),
            });
        }
        stands
    }

    fn stack(&mut self, above: Option<u32>, kind: u32, future: &Waiting) -> Option<u32> {
        let site = match self.known_awaits.get(&future.awaited) {
            Some(site) => *site,
            None if self.stacks.len() >= MAX_STACKS => return None,
            None => {
                let site = u32::try_from(self.awaits.len()).ok()?;
                self.awaits.push(Site::default());
                self.known_awaits
                    .insert(Arc::new(future.awaited.clone()), site);
                site
            }
        };
        let awaited = self
            .known_awaits
            .get_key_value(&future.awaited)
            .map(|(awaited, _)| Arc::clone(awaited))?;
        let key = (above, kind, awaited);
        if let Some(stack) = self.known_stacks.get(&key) {
            return Some(*stack);
        }
        if self.stacks.len() >= MAX_STACKS {
            return None;
        }
        let stack = u32::try_from(self.stacks.len()).ok()?;
        let task = self.types.get(kind as usize)?;
        self.stacks.push(Stack {
            row: SampledStack {
                above,
                task: Arc::clone(&task.future),
                awaited: Arc::clone(&key.2),
                samples: 0,
                time_ns: 0,
            },
            site,
        });
        self.known_stacks.insert(key, stack);
        Some(stack)
    }

    /// Counts a future that stands there in one look.
    pub(super) fn sample(&mut self, stand: &Stand, id: &Arc<str>, time: u64) {
        let first = self.looks.first_ns;
        let Some(stack) = self.stacks.get_mut(stand.sample.stack as usize) else {
            return;
        };
        stack.row.samples += u64::from(stand.sample.leaf);
        let Some(site) = self.awaits.get_mut(stack.site as usize) else {
            return;
        };
        site.inner |= !stand.sample.leaf;
        if stand.sample.counts {
            site.task_samples += 1;
            site.now += 1;
            site.innermost += u64::from(stand.sample.innermost);
        }
        let standing = time - stand.since;
        if standing > site.longest || site.longest_task.is_none() {
            site.longest = standing;
            site.longest_task = Some(Arc::clone(id));
            site.longest_from_before = stand.since == first;
        }
    }

    /// Adds the time that a sample stands for.
    pub(super) fn credit(&mut self, sample: Sample, time: u64) {
        let Some(stack) = self.stacks.get_mut(sample.stack as usize) else {
            return;
        };
        if sample.leaf {
            stack.row.time_ns = stack.row.time_ns.saturating_add(time);
        }
        if sample.counts
            && let Some(site) = self.awaits.get_mut(stack.site as usize)
        {
            site.time = site.time.saturating_add(time);
        }
    }
}
