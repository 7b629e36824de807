//! `asynctrace daemon`: follows services as their processes come and go, answers on a control
//! socket, and tells Prometheus.
//!
//! | module | job |
//! |---|---|
//! | [`config`] | the configuration: bytes -> targets, or line and reason |
//! | [`discover`] | `/proc` -> the processes to follow |
//! | [`supervise`] | which processes are followed |
//! | [`followed`] | one of them: session after session, on threads of its own |
//! | [`observer`], [`totals`] | what a session tells, counted and judged |
//! | [`metrics`], [`http`] | counts -> text, on the loopback device |
//! | [`control`] | the socket of `asynctrace ctl` |
//! | [`recordings`] | files for `ctl record` |
//!
//! What goes wrong with one process is told and tried again; it ends neither the daemon nor another
//! process's session.

pub mod config;
pub mod control;
pub mod discover;
pub mod followed;
pub mod http;
mod logs;
pub mod metrics;
mod notify;
pub mod observer;
pub mod recordings;
mod scrape;
pub mod supervise;
pub mod totals;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::config::Config;
use self::control::Socket;
use self::discover::Discovery;
use self::http::Door;
use self::observer::lock;
use self::supervise::Supervisor;
use crate::error::{Advice, ExitCode, Result};

/// How long an accept that failed is not tried again: descriptors may be missing.
const REST: Duration = Duration::from_millis(100);
/// Exit code after a second signal: 128 + SIGTERM, as shells have it.
const ABORTED: i32 = 143;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// No socket can be made.
    #[error("cannot listen on the control socket {}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No metrics can be offered.
    #[error("cannot listen on {address} for metrics")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The folder of recordings cannot be used.
    #[error("{0}")]
    Recordings(String),
}

impl Advice for DaemonError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Socket { source, .. } | Self::Metrics { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                ExitCode::NotPermitted
            }
            _ => ExitCode::Usage,
        }
    }

    fn next_step(&self) -> Option<String> {
        Some(match self {
            Self::Socket { path, .. } => format!(
                "the folder {} must be there and writable; [control] socket names another path",
                path.parent().unwrap_or(Path::new("/")).display()
            ),
            Self::Metrics { .. } => "[metrics] listen names another port".to_owned(),
            Self::Recordings(_) => {
                "[recordings] directory names it; install -d -m 0700 makes one".to_owned()
            }
        })
    }
}

/// What is listened on.
struct Ears {
    socket: Socket,
    metrics: Option<TcpListener>,
}

/// The daemon.
struct Daemon {
    path: PathBuf,
    supervisor: Arc<Mutex<Supervisor>>,
    ears: Ears,
    door: Door,
    discovery: Discovery,
    /// Reloads that were done, and that were refused.
    reloads: (u64, u64),
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// When the configuration cannot be used, or the system refuses sockets, signals or threads.
pub fn run(path: &Path) -> Result<()> {
    let config = config::load(path)?;
    logs::start(&config.log);
    // Sockets and recordings are the daemon's own, from their first moment on.
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("asynctrace-ctl")
        .enable_all()
        .build()
        .map_err(anyhow::Error::new)?;
    runtime.block_on(async {
        let signals = Signals::take().map_err(anyhow::Error::new)?;
        let ears = Ears::open(&config).await?;
        let daemon = Daemon {
            path: path.to_owned(),
            supervisor: Arc::new(Mutex::new(Supervisor::new(config))),
            ears,
            door: Door::default(),
            discovery: Discovery::new(Path::new("/proc"), std::process::id().cast_signed()),
            reloads: (0, 0),
        };
        daemon.run(signals).await
    })
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    reload: Signal,
}

/// What a signal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    End,
    Reload,
}

impl Signals {
    fn take() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Cancel-safe.
    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::End,
            _ = self.terminate.recv() => Told::End,
            _ = self.reload.recv() => Told::Reload,
        }
    }
}

impl Ears {
    /// Listens as configured.
    async fn open(config: &Config) -> Result<Self> {
        check_recordings(config)?;
        Ok(Self {
            socket: bind_socket(config)?,
            metrics: bind_metrics(config).await?,
        })
    }

    /// Listens as newly configured. Nothing changes when anything of it fails.
    async fn change(&mut self, before: &Config, after: &Config) -> Result<()> {
        check_recordings(after)?;
        let listen = |config: &Config| config.metrics.as_ref().map(|metrics| metrics.listen);
        let metrics = if listen(before) == listen(after) {
            None
        } else {
            Some(bind_metrics(after).await?)
        };
        if before.control != after.control {
            self.socket = bind_socket(after)?;
        }
        if let Some(metrics) = metrics {
            self.metrics = metrics;
        }
        Ok(())
    }
}

fn check_recordings(config: &Config) -> Result<(), DaemonError> {
    match &config.recordings {
        Some(recordings) => recordings::check(&recordings.directory)
            .map(|_| ())
            .map_err(DaemonError::Recordings),
        None => Ok(()),
    }
}

fn bind_socket(config: &Config) -> Result<Socket, DaemonError> {
    let path = &config.control.socket.0;
    Socket::bind(path).map_err(|source| DaemonError::Socket {
        path: path.clone(),
        source,
    })
}

async fn bind_metrics(config: &Config) -> Result<Option<TcpListener>, DaemonError> {
    let Some(metrics) = &config.metrics else {
        return Ok(None);
    };
    let address = metrics.listen;
    let bound = TcpListener::bind(address).await;
    bound
        .map(Some)
        .map_err(|source| DaemonError::Metrics { address, source })
}

impl Daemon {
    async fn run(mut self, mut signals: Signals) -> Result<()> {
        let period = lock(&self.supervisor).config().period;
        let mut looks = tokio::time::interval(period);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        if let Some(metrics) = &self.ears.metrics {
            match metrics.local_addr() {
                Ok(address) => tracing::info!(%address, "metrics"),
                Err(error) => tracing::warn!("metrics: {error}"),
            }
        }
        notify::ready();
        tracing::info!(config = %self.path.display(), "the daemon runs");
        loop {
            tokio::select! {
                told = signals.next() => {
                    if told == Told::End {
                        break;
                    }
                    notify::reloading();
                    self.reload().await;
                    let period = lock(&self.supervisor).config().period;
                    if looks.period() != period {
                        looks = tokio::time::interval(period);
                        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                    }
                    notify::ready();
                }
                _ = looks.tick() => tokio::task::block_in_place(|| self.look()),
                connection = self.ears.socket.accept() => match connection {
                    Ok(stream) => self.ears.socket.serve(stream, &self.supervisor),
                    Err(error) => rest_after(&error).await,
                },
                connection = accept(self.ears.metrics.as_ref()) => match connection {
                    Ok(stream) => {
                        let supervisor = Arc::clone(&self.supervisor);
                        let reloads = self.reloads;
                        self.door.serve(stream, move || scrape::text(&supervisor, reloads));
                    }
                    Err(error) => rest_after(&error).await,
                },
            }
        }
        notify::stopping();
        tracing::info!("stopping: probes are taken out");
        self.stop(&mut signals).await;
        tracing::info!("stopped");
        Ok(())
    }

    fn look(&mut self) {
        let targets = lock(&self.supervisor).config().targets.clone();
        let found = self.discovery.look(&targets);
        let mut supervisor = lock(&self.supervisor);
        match found {
            Ok(found) => supervisor.sync(found, &targets),
            Err(error) => tracing::error!("cannot list processes: {error}"),
        }
        supervisor.refresh();
    }

    /// Takes the configuration anew; one that cannot be used changes nothing.
    async fn reload(&mut self) {
        match self.try_reload().await {
            Ok(()) => {
                self.reloads.0 += 1;
                tracing::info!("the configuration was reloaded");
            }
            Err(error) => {
                self.reloads.1 += 1;
                tracing::error!("the configuration stays as it was: {error}");
            }
        }
    }

    async fn try_reload(&mut self) -> Result<()> {
        let after = config::load(&self.path)?;
        let before = lock(&self.supervisor).config().clone();
        self.ears.change(&before, &after).await?;
        if before.log != after.log {
            tracing::warn!("[log] is taken over at the next start");
        }
        self.discovery.forget();
        lock(&self.supervisor).reload(after);
        Ok(())
    }

    async fn stop(&self, signals: &mut Signals) {
        lock(&self.supervisor).stop();
        let began = Instant::now();
        let mut told = false;
        while !lock(&self.supervisor).is_over() {
            tokio::select! {
                told = signals.next() => if told == Told::End {
                    // The kernel takes out what is left.
                    tracing::warn!("stopped by a second signal");
                    std::process::exit(ABORTED);
                },
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
            if began.elapsed() > Duration::from_secs(10) && !told {
                told = true;
                tracing::warn!("taking probes out takes long");
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<tokio::net::TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn rest_after(error: &io::Error) {
    tracing::warn!("a connection was not accepted: {error}");
    tokio::time::sleep(REST).await;
}
