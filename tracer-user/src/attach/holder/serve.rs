//! The holder's side.
#![expect(
    unsafe_code,
    reason = "ignoring signals and closing what was inherited have no safe wrappers"
)]

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use super::super::links::{Answer, Failed, Links};
use super::super::permission::NEEDED;
use super::descriptor::receive_descriptor;
use super::wire::{Request, receive, send};
use super::{LinkKind, NAME};
use crate::error::ExitCode;
use crate::locate::missing_capabilities;
use crate::privilege;

/// Signals that end a program unless it does something about them, and that people, terminals and
/// service managers send. Those that tell of a bug of ours do end it.
const IGNORED: [libc::c_int; 9] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGXCPU,
    libc::SIGPIPE,
];

/// Holds links until the stream ends. To be called by the process that was started for it, before it
/// has threads.
#[must_use]
pub fn serve() -> ExitCode {
    for signal in IGNORED {
        // SAFETY: no handler is installed, so none can run at a bad moment.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // What asynctrace was given by who started it (a pipe, a lock) is not ours to keep open. Fails
    // before Linux 5.9, where nothing is attached.
    // SAFETY: nothing of this process has opened a descriptor yet, so none is in use.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    // Only what people see.
    let _ = rustix::thread::set_name(&std::ffi::CString::new(NAME).unwrap_or_default());
    match hold() {
        Ok(()) => ExitCode::Done,
        Err(error) => {
            // Whoever runs it by hand has a standard error; asynctrace has put the file there.
            let _ = writeln!(
                io::stderr(),
                "error: asynctrace runs this itself, to hold its probes: {error}"
            );
            ExitCode::Usage
        }
    }
}

fn hold() -> io::Result<()> {
    let mut stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let Some(Request::Begin(begin)) = receive(&mut stream)? else {
        return Err(io::Error::other("nothing was asked for"));
    };
    let by_perf_events = begin.kind == LinkKind::Perf;
    privilege::keep_alone(&privilege::to_link(by_perf_events));
    let scheduler = begin.scheduler.then(|| receive_descriptor(&stream));
    let scheduler = scheduler.transpose()?;
    let program = io::stdout().as_fd().try_clone_to_owned()?;
    // A path that leads to the very file that was analysed, whatever its name has become.
    let file = "/proc/self/fd/2".into();
    let mut links = Links::new(
        program,
        begin.kind,
        begin.pid,
        begin.sites,
        vec![file],
        scheduler,
    );
    let mut ready = Answer::default();
    if !missing_capabilities(NEEDED).is_empty() {
        let error = io::Error::from_raw_os_error(libc::EPERM);
        ready.failed = Some(Failed::Link {
            file: 0,
            error: (&error).into(),
        });
    }
    send(&mut stream, &ready)?;
    while let Some(request) = receive(&mut stream)? {
        let answer = match request {
            Request::Begin(_) => return Err(io::Error::other("it has begun")),
            Request::Prepare(wanted) => {
                links.prepare(&wanted);
                Answer::default()
            }
            Request::Place { probes, switches } => links.place(&probes, switches),
        };
        send(&mut stream, &answer)?;
    }
    drop(links);
    Ok(())
}
