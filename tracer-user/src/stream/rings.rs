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
use tokio::time::Instant;
use tracer_common::Record;

use super::entries::{Entries, Tree};
use super::panics::PanicTold;
use super::{LITTLE_SLACK, MANY, Order, PERIOD, QUIET_PERIOD, SLACK};

/// Pieces taken from one ring at a time: bounds a batch, and lets every ring have its turn.
const TURN: usize = 1 << 16;

/// The rings of a session and what has been read but not yet passed on.
pub struct Rings {
    rings: Vec<RingBuf<MapData>>,
    order: Order,
    /// Readable when a ring asks to be read before the period is over.
    urgent: OwnedFd,
    /// The same, once there is a reactor to wait with.
    reactor: Option<AsyncFd<OwnedFd>>,
    entries: Entries,
    /// When to read again: a wait that is cancelled begins no new one.
    due: Instant,
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
            entries: Entries::default(),
            due: Instant::now(),
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
            tokio::time::sleep_until(self.due).await;
            return;
        };
        tokio::select! {
            () = tokio::time::sleep_until(self.due) => {}
            ready = reactor.readable() => {
                if let Ok(mut guard) = ready {
                    guard.clear_ready();
                }
            }
        }
    }

    /// Reads what is there and appends to `out` what is in order by now. What was seen before
    /// `complete` ([`monotonic_ns`]) is in the rings already.
    pub fn read(&mut self, complete: u64, out: &mut Vec<Record>) {
        let before = self.entries.read();
        let mut watermark = complete;
        for index in 0..self.rings.len() {
            if let Some(last) = self.read_ring(index, TURN) {
                watermark = watermark.min(last);
            }
        }
        for slack in [SLACK, LITTLE_SLACK] {
            let slack = u64::try_from(slack.as_nanos()).unwrap_or(u64::MAX);
            self.order.release(watermark.saturating_sub(slack), out);
            if self.order.held() <= MANY {
                break;
            }
        }
        let quiet = self.entries.read() == before && self.order.held() == 0;
        self.due = Instant::now() + if quiet { QUIET_PERIOD } else { PERIOD };
    }

    /// Reads everything that is left. For the end, when no probe is in place any more.
    pub fn drain(&mut self, out: &mut Vec<Record>) {
        for index in 0..self.rings.len() {
            self.read_ring(index, usize::MAX);
        }
        self.order.finish(out);
    }

    /// Reads up to `limit` pieces of a ring; the time of the last one if there may be more.
    fn read_ring(&mut self, index: usize, limit: usize) -> Option<u64> {
        let ring = self.rings.get_mut(index)?;
        let mut last = 0;
        for _ in 0..limit {
            let item = ring.next()?;
            if let Some(time) = self.entries.take(&item, &mut self.order) {
                last = time;
            }
        }
        Some(last)
    }

    /// Takes what was read of panics since the last call, as for trees.
    pub fn take_panics(&mut self) -> Vec<PanicTold> {
        self.entries.take_panics()
    }

    /// Takes the trees that were read since the last call. Records may name them before they are
    /// passed on themselves.
    pub fn take_trees(&mut self) -> Vec<Tree> {
        self.entries.take_trees()
    }

    /// As [`Order::released`].
    #[must_use]
    pub fn released(&self) -> u64 {
        self.order.released()
    }

    /// Records read so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.entries.read()
    }

    /// Records that came after later ones had been passed on.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.order.late()
    }

    /// Entries that were no records of this version: none, in a sound build.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.entries.foreign()
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
