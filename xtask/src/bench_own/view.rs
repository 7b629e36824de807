//! The live view on a terminal of our own: when the first picture is there, and how soon a key shows.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{Took, finished};

/// A name that every row of a task begins with.
const ROW: &[u8] = b"tokio/";
/// What is typed as a filter, and shows when it was taken; no future has it in its name. All tasks are looked
/// through for it.
const KEY: u8 = b'~';
/// Keys that are typed, and the time between two.
const KEYS: usize = 30;
const BETWEEN: Duration = Duration::from_millis(330);

/// What a view took.
pub(super) struct View {
    /// From the start of the program until tasks are shown.
    pub(super) first: Duration,
    /// From a key until it shows, in order of length.
    pub(super) keys: Vec<Duration>,
    /// All of it.
    pub(super) took: Took,
}

/// Shows a process, types, and ends.
///
/// # Errors
/// When it does not show what it should within half a minute.
pub(super) fn view(asynctrace: &Path, pid: &str) -> Result<View> {
    let (mut terminal, end) = terminal()?;
    let shown = listen(terminal.try_clone()?);
    let begin = Instant::now();
    let child = Command::new(asynctrace)
        .args(["attach", "-p", pid])
        .env("TERM", "xterm-256color")
        .stdin(Stdio::from(end.try_clone()?))
        .stdout(Stdio::from(end.try_clone()?))
        .stderr(Stdio::from(end))
        .spawn()?;
    let typed = type_keys(&mut terminal, &shown, begin);
    // Ctrl-C, in whatever state it is.
    terminal.write_all(&[0x03])?;
    let took = finished(begin, &child);
    let (first, keys) = typed?;
    Ok(View {
        first,
        keys,
        took: took?,
    })
}

fn type_keys(
    terminal: &mut File,
    shown: &Receiver<(Instant, Vec<u8>)>,
    begin: Instant,
) -> Result<(Duration, Vec<Duration>)> {
    let first = wait_for(shown, ROW).context("no task was shown")? - begin;
    terminal.write_all(b"/")?;
    let mut keys = Vec::new();
    for _ in 0..KEYS {
        std::thread::sleep(BETWEEN);
        // What came before the key is not about it.
        while shown.try_recv().is_ok() {}
        let typed = Instant::now();
        terminal.write_all(&[KEY])?;
        keys.push(wait_for(shown, &[KEY]).context("a key did not show")? - typed);
    }
    keys.sort();
    Ok((first, keys))
}

/// Waits until this is shown.
fn wait_for(shown: &Receiver<(Instant, Vec<u8>)>, what: &[u8]) -> Result<Instant> {
    let end = Instant::now() + Duration::from_secs(30);
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let wait = end.saturating_duration_since(Instant::now());
        let Ok((at, bytes)) = shown.recv_timeout(wait) else {
            bail!("{:?} was not shown in 30 s", String::from_utf8_lossy(what));
        };
        rest.extend(bytes);
        if rest.windows(what.len()).any(|part| part == what) {
            return Ok(at);
        }
        let kept = rest.len().saturating_sub(what.len());
        rest.drain(..kept);
    }
}

/// What is shown on a terminal, with its time.
fn listen(mut terminal: File) -> Receiver<(Instant, Vec<u8>)> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        // An error when the program has ended.
        while let Ok(read @ 1..) = terminal.read(&mut bytes) {
            let Some(read) = bytes.get(..read) else { break };
            if sender.send((Instant::now(), read.to_vec())).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A terminal: our end, and that of a program.
fn terminal() -> Result<(File, OwnedFd)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let end = rustix::fs::open(
        name,
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY,
        rustix::fs::Mode::empty(),
    )?;
    let size = Winsize {
        ws_row: 50,
        ws_col: 160,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&end, size)?;
    Ok((ours.into(), end))
}
