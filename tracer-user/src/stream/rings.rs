//! Reads the ring buffers.
#![expect(
    unsafe_code,
    reason = "tokio 1.54 asks for a promise about file descriptors that it waits for"
)]

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::{MapData, RingBuf};
use rustix::event::epoll;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracer_common::panic::{Payload, Site, TREE_BYTES};
use tracer_common::{Record, RecordKind, RingEntry};

use super::panics::{PanicTold, SiteTold, message};
use super::{Order, PERIOD, SLACK};

/// Records taken from one ring at a time: bounds a batch, and lets every ring have its turn.
const TURN: usize = 1 << 16;

/// The rings of a session and what has been read but not yet passed on.
pub struct Rings {
    rings: Vec<RingBuf<MapData>>,
    order: Order,
    /// Readable when a ring asks to be read before the period is over.
    urgent: OwnedFd,
    /// The same, once there is a reactor to wait with.
    reactor: Option<AsyncFd<OwnedFd>>,
    foreign: u64,
    read: u64,
    beside: Beside,
}

/// A tree that the kernel's walk told, which records name by its hash from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// [`Record::path`].
    pub hash: u64,
    /// What the walk told.
    pub words: Vec<u32>,
}

impl Tree {
    fn of(hash: u64, bytes: &[u8]) -> Self {
        let words = bytes.chunks_exact(4).map(|word| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(word);
            u32::from_ne_bytes(bytes)
        });
        Self {
            hash,
            words: words.collect(),
        }
    }
}

/// What is read beside the records.
#[derive(Debug, Default)]
struct Beside {
    trees: Vec<Tree>,
    panics: Vec<PanicTold>,
}

impl Beside {
    /// What follows a record.
    fn take(&mut self, record: &Record, rest: &[u8]) {
        let mut panic = PanicTold {
            tid: record.tid,
            time: record.time,
            site: None,
            message: None,
        };
        match RecordKind::from_u8(record.kind) {
            Some(RecordKind::PollBegin) => {
                self.trees.push(Tree::of(record.path, rest));
                return;
            }
            Some(RecordKind::PanicBegin) => {
                let Some((words, site)) = rest.split_at_checked(TREE_BYTES) else {
                    return;
                };
                let used = words.get(..usize::from(record.reserved) * 4);
                if let Some(words) = used.filter(|_| record.path != 0) {
                    self.trees.push(Tree::of(record.path, words));
                }
                panic.site = Site::decode(site).and_then(|site| SiteTold::of(&site));
            }
            Some(RecordKind::Panic) => {
                panic.message = Payload::decode(rest).and_then(|payload| message(&payload));
            }
            _ => return,
        }
        self.panics.push(panic);
    }
}

impl Rings {
    /// Takes the rings over.
    ///
    /// # Errors
    /// When the kernel gives no epoll descriptor.
    pub fn new(rings: Vec<RingBuf<MapData>>) -> io::Result<Self> {
        let urgent = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, ring) in rings.iter().enumerate() {
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&urgent, ring.as_fd(), data, epoll::EventFlags::IN)?;
        }
        Ok(Self {
            rings,
            order: Order::default(),
            urgent,
            reactor: None,
            foreign: 0,
            read: 0,
            beside: Beside::default(),
        })
    }

    /// Waits until it is time to read: a period has passed or a ring is filling up. Safe to cancel.
    /// Must be called inside a tokio runtime.
    pub async fn wait(&mut self) {
        if self.reactor.is_none() {
            self.reactor = self.urgent.try_clone().ok().and_then(|fd| {
                // SAFETY: an `OwnedFd` is open, and the same descriptor, for as long as it lives.
                unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.ok()
            });
        }
        let Some(reactor) = &self.reactor else {
            // Without it a burst is read late, and what is lost by that is counted.
            tokio::time::sleep(PERIOD).await;
            return;
        };
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            ready = reactor.readable() => {
                if let Ok(mut guard) = ready {
                    guard.clear_ready();
                }
            }
        }
    }

    /// Reads what is there and appends to `out` what is in order by now.
    pub fn read(&mut self, out: &mut Vec<Record>) {
        // Before the rings are read: what is sent from here on is later.
        let mut watermark = monotonic_ns();
        for index in 0..self.rings.len() {
            if let Some(last) = self.read_ring(index, TURN) {
                watermark = watermark.min(last);
            }
        }
        self.order.release(
            watermark.saturating_sub(u64::try_from(SLACK.as_nanos()).unwrap_or(u64::MAX)),
            out,
        );
    }

    /// Reads everything that is left. For the end, when no probe is in place any more.
    pub fn drain(&mut self, out: &mut Vec<Record>) {
        for index in 0..self.rings.len() {
            self.read_ring(index, usize::MAX);
        }
        self.order.finish(out);
    }

    /// Reads up to `limit` records of a ring; the time of the last one if there may be more.
    fn read_ring(&mut self, index: usize, limit: usize) -> Option<u64> {
        let ring = self.rings.get_mut(index)?;
        let mut last = 0;
        for _ in 0..limit {
            let item = ring.next()?;
            let Some(entry) = RingEntry::decode(&item) else {
                self.foreign += 1;
                continue;
            };
            let RingEntry {
                ended,
                record,
                rest,
            } = entry;
            if !rest.is_empty() {
                self.beside.take(&record, rest);
            }
            last = record.time;
            if let Some(ended) = ended {
                self.read += 1;
                self.order.push(ended);
            }
            self.read += 1;
            self.order.push(record);
        }
        Some(last)
    }

    /// Takes what was read of panics since the last call, as for trees.
    pub fn take_panics(&mut self) -> Vec<PanicTold> {
        std::mem::take(&mut self.beside.panics)
    }

    /// Takes the trees that were read since the last call. Records may name them before they are
    /// passed on themselves.
    pub fn take_trees(&mut self) -> Vec<Tree> {
        std::mem::take(&mut self.beside.trees)
    }

    /// Records read so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.read
    }

    /// Records that came after later ones had been passed on.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.order.late()
    }

    /// Entries that were no records of this version: none, in a sound build.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.foreign
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds: the clock of `bpf_ktime_get_ns`.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}
