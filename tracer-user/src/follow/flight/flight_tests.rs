//! A flight recorder from its first event to its files.

use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::Receiver;

use super::*;
use crate::analyse::history::sample::Trace;
use crate::export::recording::{Ending as FileEnding, Item, Reader};
use crate::follow::ending::Ending;
use crate::follow::recorder::Progress;
use crate::follow::summary::FileSummary;
use crate::rebuild::event::Event;
use crate::rebuild::snapshot::ProcessInfo;

const SECOND: u64 = 1_000_000_000;

struct Test {
    folder: tempfile::TempDir,
    handle: Handle,
    told: Arc<Mutex<Vec<String>>>,
    flight: Flight,
    events: Vec<Event>,
    at: usize,
}

impl Test {
    fn new(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let tells = Arc::clone(&told);
        let mut options = Options {
            keep: Keep {
                time: Some(Duration::from_secs(60)),
                bytes: None,
            },
            watched: Watching::default(),
            findings: None,
            max_files: 20,
            pause: Duration::ZERO,
            handle: Handle::default(),
            tell: Tell(Arc::new(move |line| {
                tells.lock().unwrap().push(line.to_owned());
            })),
        };
        change(&mut options);
        let process = ProcessInfo {
            pid: 7,
            exe: "/srv/app".to_owned(),
            build_id: None,
        };
        let mut header = Header::new(process, "tokio");
        header.started = 0;
        let handle = options.handle.clone();
        let path = folder.path().join("in/t.astrace");
        let mut trace = Trace::new();
        let thread = trace.thread(7, "worker", 1);
        let busy = trace.task(1, "app::busy", 2, true);
        for at in 1..1_000 {
            let time = at * SECOND / 10;
            trace.poll(busy, thread, time, time + 20, None);
        }
        Self {
            flight: Flight::new(path, header, options).unwrap(),
            folder,
            handle,
            told,
            events: trace.events,
            at: 0,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("in").join(name)
    }

    /// Nothing can be written there.
    fn folder_goes(&self) {
        let folder = self.folder.path();
        std::fs::rename(folder.join("in"), folder.join("away")).unwrap();
    }

    fn folder_comes_back(&self) {
        let folder = self.folder.path();
        std::fs::rename(folder.join("away"), folder.join("in")).unwrap();
    }

    /// Lets so many events happen.
    fn go_on(&mut self, count: usize) {
        let events = self.events[self.at..self.at + count].to_vec();
        self.at += count;
        self.flight.write(&Entry::Events(events)).unwrap();
        self.flight.flush().unwrap();
    }

    fn wait_for(&mut self, outcome: &Receiver<Outcome>) -> Outcome {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            self.flight.flush().unwrap();
            if let Ok(outcome) = outcome.recv_timeout(Duration::from_millis(5)) {
                return outcome;
            }
        }
        panic!("no outcome: {:?}", self.told.lock().unwrap());
    }

    fn trigger(&self, cause: Cause, why: &str) {
        self.handle.trigger(Trigger {
            cause,
            why: why.to_owned(),
            at: 0,
        });
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path().join("in")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // Those that are being written are hidden.
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }

    fn end(self) -> (FileSummary, Vec<String>, tempfile::TempDir) {
        let end = Ending::Interrupted;
        let counts = Statistics::default();
        let summary = self
            .flight
            .finish(end, 200 * SECOND, &counts, Progress::default());
        let told = self.told.lock().unwrap().clone();
        (summary, told, self.folder)
    }
}

/// Header and number of events of a file, which must be complete.
fn read(path: &Path) -> (Header, u64) {
    let mut reader = Reader::open(path).unwrap();
    let mut events = 0;
    while let Some(item) = reader.next_item().unwrap() {
        if let Item::Events(more) = item {
            events += more.len() as u64;
        }
    }
    assert_eq!(reader.ending(), Some(&FileEnding::Complete));
    (reader.header().clone(), events)
}

#[test]
fn it_writes_when_asked_and_goes_on_and_at_the_end() {
    let mut test = Test::new(|_| {});
    test.go_on(500);
    let outcome = test.handle.write_now("the user asks");
    let first = test.wait_for(&outcome).unwrap();
    assert_eq!(first.path, test.path("t.1.astrace"));
    test.go_on(500);
    test.handle.signal();
    let outcome = test.handle.write_now("again");
    let second = test.wait_for(&outcome).unwrap();
    assert_eq!(second.path, test.path("t.2.astrace"));
    assert_eq!(test.files(), ["t.1.astrace", "t.2.astrace"]);
    let (header, events) = read(&first.path);
    assert_eq!((events, first.events), (500, 500));
    let kept = header.kept.unwrap();
    assert_eq!((&*kept.trigger, &*kept.why), ("asked", "the user asks"));
    let (header, events) = read(&second.path);
    assert_eq!(events, second.events);
    assert_eq!(header.kept.unwrap().why, "SIGUSR1, and 1 more");
    test.go_on(500);
    let (summary, told, folder) = test.end();
    assert_eq!(summary.failure, None);
    let (header, events) = read(&folder.path().join("in/t.astrace"));
    let kept = header.kept.unwrap();
    assert_eq!((&*kept.trigger, &*kept.why), ("end", "stopped by Ctrl-C"));
    assert_eq!(events, summary.events);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        summary
            .also
            .iter()
            .any(|line| line.starts_with("2 written")),
        "{summary:?}"
    );
}

#[test]
fn what_cannot_be_written_stays_kept_and_is_written_later() {
    let mut test = Test::new(|_| {});
    test.go_on(500);
    test.folder_goes();
    let outcome = test.handle.write_now("now");
    let reason = test.wait_for(&outcome).unwrap_err();
    assert!(
        reason.contains("could not create the recording"),
        "{reason}"
    );
    // More happens than is kept of it.
    test.go_on(1_400);
    test.folder_comes_back();
    let begun = Instant::now();
    while test.files().is_empty() && begun.elapsed() < Duration::from_secs(30) {
        test.flight.flush().unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(
        read(&test.path("t.1.astrace")).1,
        500,
        "as it was when it was asked for"
    );
    let (summary, told, _folder) = test.end();
    assert_eq!(summary.failure, None);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("stays kept"), "{told:?}");
}

#[test]
fn who_asks_again_has_it_tried_again_once() {
    let mut test = Test::new(|_| {});
    test.go_on(500);
    test.folder_goes();
    let outcome = test.handle.write_now("first");
    test.wait_for(&outcome).unwrap_err();
    // So long that it is not tried again by itself.
    let failed = test.flight.failed.as_mut().unwrap();
    (failed.tries, failed.again) = (20, Instant::now() + Duration::from_secs(3600));
    let second = test.handle.write_now("second");
    for _ in 0..50 {
        test.flight.flush().unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    let tries = |test: &Test| test.flight.failed.as_ref().map(|failed| failed.tries);
    assert_eq!(tries(&test), Some(21), "a disk without room is left alone");
    test.folder_comes_back();
    let _third = test.handle.write_now("third");
    let written = test.wait_for(&second).unwrap();
    assert_eq!(written.path, test.path("t.2.astrace"));
    let (header, events) = read(&test.path("t.1.astrace"));
    assert_eq!((&*header.kept.unwrap().why, events), ("first", 500));
    let (header, _) = read(&written.path);
    assert_eq!(header.kept.unwrap().why, "second, and 1 more");
}

#[test]
fn what_comes_by_itself_has_pauses_and_shares_files() {
    let mut test = Test::new(|options| options.pause = Duration::from_millis(300));
    test.go_on(100);
    for at in 0..5 {
        test.trigger(Cause::Await, &format!("slow {at}"));
        test.go_on(10);
    }
    let begun = Instant::now();
    while test.files().len() < 2 && begun.elapsed() < Duration::from_secs(30) {
        test.flight.flush().unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(200),
        "{:?}",
        begun.elapsed()
    );
    let why = |name: &str| read(&test.path(name)).0.kept.unwrap().why;
    assert_eq!(why("t.1.astrace"), "slow 0");
    assert_eq!(why("t.2.astrace"), "slow 1, and 3 more");
    // What is held at the end is in the last file.
    test.trigger(Cause::Finding, "stalled");
    test.go_on(10);
    let (summary, _, folder) = test.end();
    assert_eq!(summary.failure, None);
    let kept = read(&folder.path().join("in/t.astrace")).0.kept.unwrap();
    assert_eq!(kept.why, "stopped by Ctrl-C; stalled");
}

#[test]
fn files_are_bounded_and_triggers_without_one_are_counted() {
    let mut test = Test::new(|options| options.max_files = 2);
    std::fs::write(test.path("t.1.astrace"), "an older one").unwrap();
    test.go_on(100);
    for at in 0..5 {
        let outcome = test.handle.write_now(&format!("{at}"));
        assert_eq!(test.wait_for(&outcome).is_ok(), at < 2, "{at}");
        test.trigger(Cause::Await, "slow");
    }
    assert_eq!(test.files(), ["t.1.astrace", "t.2.astrace", "t.3.astrace"]);
    let older = std::fs::read_to_string(test.path("t.1.astrace")).unwrap();
    assert_eq!(older, "an older one");
    test.flight.flush().unwrap();
    let (summary, told, _folder) = test.end();
    let left_out = summary
        .also
        .iter()
        .find(|line| line.contains("without a file"));
    assert!(
        left_out.is_some_and(|line| line.contains("3 asked")),
        "{summary:?}"
    );
    assert!(
        told.iter().any(|line| line.contains("--max-files")),
        "{told:?}"
    );
}

#[test]
fn a_last_file_that_cannot_be_written_is_said() {
    let test = Test::new(|_| {});
    std::fs::remove_dir(test.folder.path().join("in")).unwrap();
    let flight = test.flight;
    let begun = Instant::now();
    let tries = std::thread::spawn(move || {
        flight.finish(
            Ending::TimeUp,
            5,
            &Statistics::default(),
            Progress::default(),
        )
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(!tries.is_finished(), "it tries again");
    std::fs::create_dir(test.folder.path().join("in")).unwrap();
    let summary = tries.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(summary.failure, None);
    read(&summary.path);
    assert!(test.told.lock().unwrap()[0].contains("trying again"));
}
