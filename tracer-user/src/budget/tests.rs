//! A made-up target that runs for some simulated time under a controller.

use super::*;
use crate::attach::Measured;
use crate::plan::ProbeClass;

/// A probe of the made-up target.
#[derive(Clone, Copy)]
struct Hot {
    class: ProbeClass,
    /// Hits in a second of its own CPU time.
    rate: f64,
    /// Nanoseconds of a hit.
    cost: f64,
}

struct World {
    probes: Vec<Hot>,
    /// Of one CPU that it uses for itself when nothing slows it; all of one at 1.
    busy: f64,
    measured: Measured,
    /// What probes really take, of what is estimated.
    really: f64,
    observed: Observed,
    /// CPU time it used for itself.
    own: f64,
    costs: Vec<f64>,
    controller: Controller,
    placed: Change,
    changes: Vec<(f64, Change)>,
}

impl World {
    fn new(share: f64, busy: f64, probes: &[Hot]) -> Self {
        let start = Measured {
            at: 1_000_000_000,
            target_cpu: Some(0),
            probes: vec![0; probes.len()],
            switches: 0,
        };
        let classes: Vec<ProbeClass> = probes.iter().map(|probe| probe.class).collect();
        let shed = Shed::default();
        Self {
            placed: Change {
                probes: shed.inside(&classes),
                polls: true,
                shed,
                full: true,
                beside: false,
            },
            really: 1.0,
            observed: Observed::new(start.clone()),
            controller: Controller::new(share, classes, start.clone()),
            probes: probes.to_vec(),
            busy,
            measured: start,
            own: 0.0,
            costs: vec![0.0; probes.len()],
            changes: Vec::new(),
        }
    }

    /// Goes on for so many seconds; 1 ms at a time.
    fn run(&mut self, seconds: f64) {
        let end = self.measured.at + (seconds * 1e9) as u64;
        let mut look = self.measured.at;
        while self.measured.at < end {
            let mut per_second = 0.0;
            for (index, probe) in (0..).zip(&self.probes) {
                if self.placed.probes.contains(index) {
                    per_second += self.really * probe.rate * probe.cost / 1e9;
                }
            }
            // What probes take is missing for itself only where the CPU is full.
            let own = 1e6 * self.busy.min(1.0 / (1.0 + per_second));
            self.own += own;
            for (index, probe) in (0..).zip(&self.probes) {
                if self.placed.probes.contains(index) {
                    self.costs[index as usize] += own / 1e9 * probe.rate * probe.cost;
                }
            }
            self.measured.at += 1_000_000;
            self.measure();
            if self.measured.at >= look {
                let told = self.observed.take(self.measured.clone());
                if let Some(change) = self.controller.look(&told) {
                    self.observed.decided(&change);
                    let decided = self.measured.at;
                    // Taking probes out takes 30 ms, in which they are mostly gone.
                    self.measured.at += 30_000_000;
                    self.own += 30e6 * self.busy;
                    self.measure();
                    let told = self.observed.take(self.measured.clone());
                    self.observed.changed(&change);
                    self.controller.changed(told, decided);
                    self.placed = change.clone();
                    self.changes
                        .push((self.measured.at as f64 / 1e9 - 1.0, change));
                }
                look = self.measured.at + self.controller.next_look().as_nanos() as u64;
            }
        }
    }

    fn measure(&mut self) {
        self.measured.probes = self.costs.iter().map(|cost| *cost as u64).collect();
        self.measured.target_cpu = Some((self.own + self.cost()) as u64);
    }

    /// The changes once a few windows have shown what is dear.
    fn settled(&self) -> &[(f64, Change)] {
        let windows = self.changes.iter().filter(|(_, change)| change.full);
        let third = windows.map(|(at, _)| *at).nth(2).unwrap_or(f64::MAX);
        let from = self.changes.partition_point(|(at, _)| *at <= third);
        &self.changes[from..]
    }

    fn cost(&self) -> f64 {
        self.really * self.costs.iter().sum::<f64>()
    }

    fn overhead(&self) -> f64 {
        self.cost() / self.own
    }
}

const fn hot(class: ProbeClass, rate: f64, cost: f64) -> Hot {
    Hot { class, rate, cost }
}

#[test]
fn a_target_that_can_afford_it_is_watched_all_the_time() {
    let mut world = World::new(
        0.05,
        0.8,
        &[
            hot(ProbeClass::Polls, 20_000.0, 1_000.0),
            hot(ProbeClass::Wakes, 20_000.0, 1_000.0),
        ],
    );
    world.run(30.0);
    assert!(world.changes.is_empty());
    assert_eq!(world.controller.share().windows, 0);
    assert!((world.controller.share().part() - 1.0).abs() < 1e-9);
}

#[test]
fn clones_of_wakers_go_first_and_alone_when_that_is_enough() {
    let mut world = World::new(
        0.05,
        0.8,
        &[
            hot(ProbeClass::Polls, 20_000.0, 1_000.0),
            hot(ProbeClass::NestedPolls, 1_000.0, 1_000.0),
            hot(ProbeClass::WakerCounts, 40_000.0, 10_000.0),
        ],
    );
    world.run(9.0);
    let (_, change) = &world.changes[0];
    assert_eq!(world.changes.len(), 1);
    assert!(change.shed.waker_counts && !change.shed.nested && change.full && change.polls);
    assert!(change.probes.contains(0) && change.probes.contains(1) && !change.probes.contains(2));
}

#[test]
fn one_hot_type_is_watched_in_windows_and_the_others_all_the_time() {
    let mut world = World::new(
        0.05,
        0.8,
        &[
            hot(ProbeClass::Polls, 500_000.0, 1_000.0),
            hot(ProbeClass::Polls, 5_000.0, 1_000.0),
            hot(ProbeClass::Wakes, 5_000.0, 1_000.0),
        ],
    );
    world.run(60.0);
    for (_, change) in world.settled() {
        assert!(change.polls && change.probes.contains(1), "{change:?}");
        assert_eq!(change.probes.contains(0), change.full);
    }
    let share = world.controller.share();
    assert!(share.windows > 20 && share.part() > 0.02, "{share:?}");
    assert!(world.overhead() < 0.055, "{}", world.overhead());
}

#[test]
fn wake_ups_of_a_hot_type_go_with_it_and_polls_of_the_others_stay() {
    let mut world = World::new(
        0.05,
        0.8,
        &[
            hot(ProbeClass::Polls, 500_000.0, 1_000.0),
            hot(ProbeClass::Polls, 5_000.0, 1_000.0),
            hot(ProbeClass::Wakes, 505_000.0, 1_000.0),
            hot(ProbeClass::Spawns, 50.0, 1_000.0),
        ],
    );
    world.run(60.0);
    for (_, change) in world.settled() {
        assert!(change.polls && change.shed.wakes, "{change:?}");
        assert!(change.probes.contains(1) && change.probes.contains(3));
        assert_eq!(change.probes.contains(0), change.full);
        assert_eq!(change.probes.contains(2), change.full);
    }
    // The others are cut once, when the hot ones get a link of their own.
    let cut: Vec<bool> = world
        .settled()
        .iter()
        .map(|(_, change)| !change.beside)
        .collect();
    assert!(cut[0] && !cut[1..].contains(&true), "{cut:?}");
    let share = world.controller.share();
    assert!(share.windows > 20 && share.part() > 0.01, "{share:?}");
    assert!(world.overhead() < 0.055, "{}", world.overhead());
}

#[test]
fn wake_ups_go_alone_where_that_is_enough() {
    let mut world = World::new(
        0.05,
        0.8,
        &[
            hot(ProbeClass::Polls, 10_000.0, 1_000.0),
            hot(ProbeClass::Polls, 10_000.0, 1_000.0),
            hot(ProbeClass::Wakes, 300_000.0, 1_000.0),
        ],
    );
    world.run(30.0);
    assert!(!world.settled().is_empty());
    for (_, change) in world.settled() {
        assert!(change.shed.wakes && change.shed.types.is_empty());
        assert!(change.probes.contains(0) && change.probes.contains(1));
    }
    assert!(world.overhead() < 0.055, "{}", world.overhead());
}

#[test]
fn the_budget_is_kept_whatever_the_rate() {
    for rate in [3e4, 1e5, 3e5, 1e6, 3e6, 1e7] {
        for busy in [0.1, 1.0] {
            let mut world = World::new(
                0.05,
                busy,
                &[
                    hot(ProbeClass::Panics, 0.0, 1_000.0),
                    hot(ProbeClass::Polls, rate, 1_100.0),
                    hot(ProbeClass::Wakes, rate, 900.0),
                    hot(ProbeClass::WakerCounts, rate, 9_000.0),
                ],
            );
            world.run(60.0);
            let overhead = world.overhead();
            assert!(overhead < 0.055, "{rate} {busy}: {overhead}");
            let share = world.controller.share();
            // Windows come, and together they use what may be used.
            assert!(share.windows >= 5, "{rate} {busy}: {share:?}");
            assert!(overhead > 0.02, "{rate} {busy}: {overhead} {share:?}");
            assert!(
                world
                    .changes
                    .iter()
                    .all(|(_, change)| change.probes.contains(0))
            );
        }
    }
}

#[test]
fn what_an_idle_target_is_given_is_no_gift_to_one_that_earns_as_much() {
    for (busy, most) in [(0.04, 0.05), (0.02, 0.05), (0.01, 0.06), (0.001, 1.0)] {
        let mut world = World::new(
            0.05,
            busy,
            &[
                hot(ProbeClass::Polls, 1e6, 800.0),
                hot(ProbeClass::Wakes, 1e6, 800.0),
            ],
        );
        world.run(60.0);
        let (begun, own) = (world.cost(), world.own);
        world.run(120.0);
        let taken = (world.cost() - begun) / (world.own - own);
        assert!(taken < most, "{busy}: {taken}");
        assert!(taken > most * 0.6, "{busy}: {taken}");
    }
}

#[test]
fn what_is_taken_beyond_the_estimate_shows_in_windows() {
    for (really, most) in [
        (0.5, 0.05),
        (1.0, 0.05),
        (1.4, 0.055),
        (1.9, 0.055),
        (4.0, 0.11),
    ] {
        let mut world = World::new(0.05, 0.1, &[hot(ProbeClass::Polls, 1e6, 800.0)]);
        world.really = really;
        world.run(60.0);
        let (begun, own) = (world.cost(), world.own);
        world.run(60.0);
        let taken = (world.cost() - begun) / (world.own - own);
        assert!(taken < most, "{really}: {taken}");
        assert!(taken > 0.02, "{really}: {taken}");
    }
}

#[test]
fn windows_do_not_come_in_step() {
    let probes = [
        hot(ProbeClass::Polls, 1e6, 1_000.0),
        hot(ProbeClass::Wakes, 1e6, 1_000.0),
    ];
    let mut world = World::new(0.05, 1.0, &probes);
    world.run(60.0);
    let opened: Vec<f64> = world
        .changes
        .iter()
        .filter(|(_, change)| change.full)
        .map(|(at, _)| *at)
        .collect();
    let pauses: Vec<f64> = opened.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = pauses.iter().sum::<f64>() / pauses.len() as f64;
    let spread = pauses
        .iter()
        .filter(|pause| (*pause / mean - 1.0).abs() > 0.04);
    assert!(spread.count() * 3 > pauses.len(), "{pauses:?}");
}

#[test]
fn when_the_load_has_gone_everything_is_watched_again() {
    let probes = [
        hot(ProbeClass::Polls, 1e6, 1_000.0),
        hot(ProbeClass::WakerCounts, 1e6, 1_000.0),
    ];
    let mut world = World::new(0.05, 1.0, &probes);
    world.run(20.0);
    assert!(world.placed.shed.all);
    world.probes[0].rate = 1_000.0;
    world.probes[1].rate = 1_000.0;
    world.run(60.0);
    assert!(world.placed.full && world.placed.polls);
    assert_eq!(
        world.placed.shed,
        Shed::default(),
        "{:?}",
        world.changes.last()
    );
}

#[test]
fn after_a_burst_an_idle_target_is_not_unwatched_for_long() {
    for burst in [2.0, 8.0, 30.0] {
        let probes = [
            hot(ProbeClass::Polls, 3e5, 1_500.0),
            hot(ProbeClass::Wakes, 3e5, 1_500.0),
        ];
        let mut world = World::new(0.05, 0.0005, &probes);
        world.run(5.0);
        world.busy = 0.9;
        world.run(burst);
        // Probes went on costing while the kernel took them out.
        world.costs[0] += 60e6;
        let (end, cost) = (world.measured.at as f64 / 1e9 - 1.0, world.cost());
        world.busy = 0.0005;
        world.run(60.0);
        let mut dark = end;
        for (at, change) in world.changes.iter().filter(|(at, _)| *at > end) {
            if change.full {
                assert!(at - dark < 21.0, "{burst}: from {dark} to {at}");
            }
            dark = *at;
        }
        assert!(world.placed.full, "{burst}: {:?}", world.changes);
        // 0.1 % of a CPU.
        assert!(
            world.cost() - cost < 60e6,
            "{burst}: {}",
            world.cost() - cost
        );
    }
}

#[test]
fn a_share_of_one_leaves_everything_in_place() {
    let mut world = World::new(1.0, 1.0, &[hot(ProbeClass::Polls, 5e5, 1_000.0)]);
    world.run(10.0);
    assert!(world.changes.is_empty());
}

#[test]
fn a_window_is_watched_until_its_probes_go_and_not_until_that_is_decided() {
    let start = Measured {
        at: 1_000_000_000,
        target_cpu: Some(0),
        probes: vec![0],
        ..Measured::default()
    };
    let mut controller = Controller::new(0.05, vec![ProbeClass::Polls], start.clone());
    let mut now = start;
    let decided = loop {
        now.at += 10_000_000;
        now.target_cpu = Some(now.at - 1_000_000_000);
        now.probes = vec![now.at - 1_000_000_000];
        if controller.look(&now).is_some() {
            break now.at;
        }
    };
    now.at += 80_000_000;
    controller.changed(now, decided + 50_000_000);
    assert_eq!(
        controller.share().watched,
        decided + 50_000_000 - 1_000_000_000
    );
}
