//! What the BPF program needs to walk tokio's tasks: the walk tables as far as tasks reach, and
//! where the future of each kind of task lies.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use tracer_common::ProbeKind;
use tracer_common::walk::{NO_STATE, Root};

use super::conventions::TokioConventions;
use super::inspector::Inspector;
use super::layout::StateWord;
use super::roots::RootType;
use crate::address::Address;
use crate::memory::Memory;
use crate::plan::{Plan, Unseen, WalkPlan};
use crate::walk::Futures;
use crate::walk::flat::{Compiler, LiveWalk, Told};

impl Inspector<'_, '_> {
    /// Walks a task that is not being polled, as the kernel would. `None` when it is polled, or was
    /// meanwhile, or has no future that is described.
    pub fn walk_idle(
        &self,
        header: Address,
        walk: &mut LiveWalk<'_>,
        memory: &dyn Memory,
    ) -> Option<Told> {
        let layout = self.layout();
        let state = || {
            let word = StateWord(memory.u64(header.add(layout.state)).ok()?);
            (!word.is_running() && !word.is_complete() && word.is_plausible()).then_some(word)
        };
        let before = state()?;
        let vtable = memory.pointer(header.add(layout.vtable)).ok()?;
        let told = walk.task(header, vtable, memory)?;
        // Twice the same, and nobody touched the task: see `task.rs` for why one reading is not
        // enough.
        let again = walk.task(header, vtable, memory)?;
        (told == again && state()? == before).then_some(told)
    }

    /// The same of many tasks, with few calls: what was told is given to `each`.
    pub fn walk_all_idle(
        &self,
        headers: &[Address],
        walk: &mut LiveWalk<'_>,
        memory: &dyn Memory,
        each: &mut dyn FnMut(Address, Told),
    ) {
        let walk = RefCell::new(walk);
        self.batches().read_all(
            headers,
            memory,
            &mut |task, copies| {
                let mut walk = walk.borrow_mut();
                let has_future = !task.seen.state.is_complete();
                has_future
                    .then(|| walk.task(task.header, task.seen.vtable, copies))
                    .flatten()
            },
            &mut |header, together| {
                let alone = || self.walk_idle(header, &mut walk.borrow_mut(), memory);
                if let Some(told) = together.unwrap_or_else(alone) {
                    each(header, told);
                }
            },
        );
    }

    /// Compiles the walk for the task polls of a plan. What cannot be walked is added to
    /// [`Plan::unseen`].
    pub fn add_walk(&self, plan: &mut Plan, memory: &dyn Memory) {
        let mut compiler = Compiler::new(self.futures(), &TokioConventions);
        let mut roots: BTreeMap<u32, Root> = BTreeMap::new();
        let mut several = Vec::new();
        for (vtable, _) in plan.task_id_offsets.clone() {
            let found = match self.root_of_vtable(vtable, memory) {
                Ok(found) => found,
                Err(error) => {
                    plan.unseen.push(Unseen {
                        what: format!("where tasks with the vtable at {vtable} wait"),
                        reason: error.to_string(),
                        remedy: None,
                    });
                    continue;
                }
            };
            // A closure on the blocking pool awaits nothing.
            if found.is_blocking {
                continue;
            }
            let Some(root) = root(&mut compiler, self.futures(), &found) else {
                continue;
            };
            compiler.root(vtable, root);
            let Some(poll) = self.poll_of_vtable(vtable, memory) else {
                continue;
            };
            let probes = (0_u32..)
                .zip(&plan.probes)
                .filter(|(_, probe)| probe.kind == ProbeKind::TaskPoll && probe.function == poll);
            for (index, probe) in probes {
                let known = roots.entry(index).or_insert(root);
                if *known != root && known.node != NO_STATE {
                    known.node = NO_STATE;
                    several.push(Arc::clone(&probe.name));
                }
            }
        }
        compiler.vtables(self.bias());
        plan.unseen.extend(several.into_iter().map(|name| Unseen {
            what: format!("the awaits of {name}, as events"),
            reason: "the linker merged the poll functions of different tasks".to_owned(),
            remedy: None,
        }));
        plan.walk = WalkPlan {
            tables: Arc::new(compiler.finish()),
            roots,
        };
    }
}

fn root(
    compiler: &mut Compiler<'_, '_, '_>,
    futures: &Futures<'_, '_>,
    found: &RootType,
) -> Option<Root> {
    let small = |value: u64| u32::try_from(value).ok();
    Some(Root {
        node: compiler.node(found.node),
        future: small(found.future_offset)?,
        bytes: small(futures.node(found.node)?.size)?,
        stage: small(found.stage.offset)?,
        stage_bytes: match found.stage.running {
            Some(_) => small(found.stage.size)?,
            None => 0,
        },
        running: small(found.stage.running.unwrap_or(0))?,
    })
}
