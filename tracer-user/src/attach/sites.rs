//! Where a plan's probes go, as numbers: what links are made of, here or in another process.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::plan::{Plan, ProbeClass, ProbedFile};

/// Where a probe goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Site {
    /// Of the probe, in the plan.
    pub(super) index: u32,
    pub(super) class: ProbeClass,
    /// Which of the files.
    pub(super) file: u32,
    /// In the file, bytes.
    pub(super) offset: u64,
    /// What the program is told at a hit.
    pub(super) cookie: u64,
}

/// The sites of a plan, ordered by what they are for and by file, and the files.
pub(super) fn sites(plan: &Plan) -> (Vec<Site>, Vec<Arc<ProbedFile>>) {
    let mut files: Vec<Arc<ProbedFile>> = Vec::new();
    let mut sites: Vec<Site> = (0u32..)
        .zip(&plan.probes)
        .map(|(index, probe)| {
            let known = files.iter().position(|file| *file == probe.file);
            let file = known.unwrap_or_else(|| {
                files.push(Arc::clone(&probe.file));
                files.len() - 1
            });
            Site {
                index,
                class: ProbeClass::of(probe.kind),
                file: super::count(file),
                offset: probe.file_offset.0,
                cookie: probe.cookie(index).pack(),
            }
        })
        .collect();
    sites.sort_by_key(|site| (site.class, site.file, site.index));
    (sites, files)
}
