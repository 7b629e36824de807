//! Tracks: their numbers, names and places below each other.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::packets::Packets;
use crate::analyse::history::{TaskHistory, UnitIndex, UnitKind, WakeIndex};
use crate::export::recording::Header;
use crate::export::source::{Source, type_name};
use crate::proto::foreign::perfetto::track_descriptor::{
    ChildTracksOrdering, SiblingMergeBehavior,
};
use crate::proto::foreign::perfetto::{ProcessDescriptor, ThreadDescriptor, TrackDescriptor};
use crate::show::escape::escape;

/// Bits of a number that count; those above are the trace's own.
const COUNTED: u32 = 36;

/// Knows the tracks that were described.
#[derive(Debug)]
pub(super) struct Tracks {
    base: u64,
    count: u64,
    pid: i32,
    process: u64,
    units: HashMap<UnitIndex, u64>,
    groups: HashMap<Arc<str>, u64>,
}

impl Tracks {
    /// Describes the process.
    pub(super) fn new(header: &Header, packets: &mut Packets<'_>) -> io::Result<Self> {
        let (_, low) = header.trace_id.as_u64_pair();
        let mut tracks = Self {
            // Numbers of tracks and flows stay apart from those of other traces in one view.
            base: low >> COUNTED << COUNTED,
            count: 0,
            pid: header.process.pid,
            process: 0,
            units: HashMap::new(),
            groups: HashMap::new(),
        };
        tracks.process = tracks.fresh();
        let exe = escape(&header.process.exe).into_owned();
        let name = exe.rsplit('/').next().unwrap_or(&exe).to_owned();
        packets.track(TrackDescriptor {
            uuid: Some(tracks.process),
            process: Some(ProcessDescriptor {
                pid: Some(tracks.pid),
                cmdline: vec![exe],
                process_name: Some(name),
            }),
            ..TrackDescriptor::default()
        })?;
        Ok(tracks)
    }

    /// The process's track.
    pub(super) fn process(&self) -> u64 {
        self.process
    }

    /// The track of a thread, or of whatever else is no task.
    pub(super) fn unit(
        &mut self,
        unit: UnitIndex,
        source: &Source<'_>,
        packets: &mut Packets<'_>,
    ) -> io::Result<u64> {
        if let Some(track) = self.units.get(&unit) {
            return Ok(*track);
        }
        let uuid = self.fresh();
        self.units.insert(unit, uuid);
        match source.unit(unit).map(|unit| &unit.kind) {
            Some(UnitKind::Thread { tid, name, .. }) => packets.track(TrackDescriptor {
                uuid: Some(uuid),
                parent_uuid: Some(self.process),
                thread: Some(ThreadDescriptor {
                    pid: Some(self.pid),
                    tid: Some(i64::from(*tid)),
                    thread_name: name.as_deref().map(|name| escape(name).into_owned()),
                }),
                ..TrackDescriptor::default()
            })?,
            _ => packets.track(self.plain(uuid, self.process, &source.unit_name(unit)))?,
        }
        Ok(uuid)
    }

    /// The track of a task, in the group of its type.
    pub(super) fn task(
        &mut self,
        index: UnitIndex,
        task: &TaskHistory,
        packets: &mut Packets<'_>,
    ) -> io::Result<u64> {
        if let Some(track) = self.units.get(&index) {
            return Ok(*track);
        }
        let kind = type_name(task);
        let group = if let Some(group) = self.groups.get(&kind) {
            *group
        } else {
            let group = self.fresh();
            let mut descriptor = self.plain(group, self.process, &kind);
            descriptor.child_ordering = Some(ChildTracksOrdering::Chronological.into());
            descriptor.description = Some("tasks of one type".to_owned());
            packets.track(descriptor)?;
            self.groups.insert(kind, group);
            group
        };
        let uuid = self.fresh();
        self.units.insert(index, uuid);
        packets.track(self.plain(uuid, group, &task.name))?;
        Ok(uuid)
    }

    /// A track for what goes on beside another one.
    pub(super) fn beside(
        &mut self,
        above: u64,
        name: &str,
        packets: &mut Packets<'_>,
    ) -> io::Result<u64> {
        let uuid = self.fresh();
        packets.track(self.plain(uuid, above, name))?;
        Ok(uuid)
    }

    /// The number of the arrow that begins with a wake-up.
    pub(super) fn wake_flow(&self, wake: WakeIndex) -> u64 {
        self.base + 2 * u64::from(wake.0) + 2
    }

    /// The number of the arrow that begins with the spawn of a task.
    pub(super) fn spawn_flow(&self, task: UnitIndex) -> u64 {
        self.base + 2 * u64::from(task.0) + 1
    }

    fn plain(&self, uuid: u64, parent: u64, name: &str) -> TrackDescriptor {
        TrackDescriptor {
            uuid: Some(uuid),
            parent_uuid: Some(parent),
            name: Some(escape(name).into_owned()),
            // Tracks of one name below one parent are drawn as one otherwise.
            sibling_merge_behavior: Some(SiblingMergeBehavior::None.into()),
            ..TrackDescriptor::default()
        }
    }

    fn fresh(&mut self) -> u64 {
        self.count += 1;
        self.base + self.count
    }
}
