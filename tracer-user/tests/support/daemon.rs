//! Running the real `asynctrace daemon`, and asking it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::command::{Run, asynctrace, run, signal};

const PATIENCE: Duration = Duration::from_secs(90);

/// A daemon in a folder of its own. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub folder: TempDir,
    child: Child,
    notified: UnixDatagram,
}

impl Daemon {
    /// Starts one with these targets (TOML), metrics on a port that the kernel chooses, and a folder
    /// for recordings, and waits until it answers.
    ///
    /// # Panics
    /// With its log, if it does not.
    pub(crate) fn start(folder: TempDir, targets: &str) -> Self {
        let config = folder.path().join("daemon.toml");
        fs::create_dir(folder.path().join("recordings")).expect("a folder");
        fs::write(&config, configuration(&folder, targets)).expect("a file");
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        // What systemd would listen on.
        let notified = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        notified.set_nonblocking(true).expect("a socket");
        let child = asynctrace(&["daemon", "--config"])
            .arg(&config)
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("asynctrace starts");
        let daemon = Self {
            folder,
            child,
            notified,
        };
        daemon.wait_for("it answers", |daemon| {
            (daemon.ask(&["list"]).code == Some(0)).then_some(())
        });
        daemon
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// What it told systemd since the last call.
    pub(crate) fn notified(&self) -> Vec<String> {
        let mut told = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = self.notified.recv(&mut buffer) {
            told.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        told
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).expect("its log")
    }

    /// `asynctrace ctl` with these arguments.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Run {
        let socket = self.path("c.sock").display().to_string();
        run(&[&["ctl", "--socket", &socket], arguments].concat())
    }

    /// The same with `--json`, which must succeed.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let run = self.ask(&[arguments, &["--json"]].concat());
        assert!(matches!(run.code, Some(0 | 10)), "{run:?}");
        serde_json::from_str(&run.stdout).expect("JSON")
    }

    /// The processes that it lists in this state, by pid.
    pub(crate) fn in_state(&self, state: &str) -> Vec<i32> {
        let list = self.json(&["list"]);
        let mut pids = Vec::new();
        for target in list["targets"].as_array().expect("targets") {
            for process in target["processes"].as_array().expect("processes") {
                if process["state"] == state {
                    let pid = process["pid"].as_i64().expect("a pid");
                    pids.push(i32::try_from(pid).expect("a pid"));
                }
            }
        }
        pids.sort_unstable();
        pids
    }

    /// Waits until it follows these processes and no other.
    #[track_caller]
    pub(crate) fn wait_for_following(&self, pids: &[i32]) {
        let mut pids = pids.to_vec();
        pids.sort_unstable();
        self.wait_for(&format!("{pids:?} are followed"), |daemon| {
            (daemon.in_state("following") == pids).then_some(())
        });
    }

    /// Waits until `look` finds something.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            if begin.elapsed() > PATIENCE {
                panic!("not in time: {what}; its log:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Writes its configuration anew and has it read.
    pub(crate) fn reload(&self, text: &str) {
        fs::write(self.path("daemon.toml"), text).expect("a file");
        signal(self.pid(), Signal::HUP);
    }

    pub(crate) fn configuration(&self, targets: &str) -> String {
        configuration(&self.folder, targets)
    }

    /// Sends bytes to its metrics port; all that it answers.
    pub(crate) fn http(&self, request: &[u8]) -> String {
        let address = self.wait_for("it says where its metrics are", |daemon| {
            let log = daemon.log();
            let lines = log.lines().rev();
            let mut objects = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let line = objects.find(|line| line["message"] == "metrics")?;
            line["address"].as_str().map(str::to_owned)
        });
        let mut stream = TcpStream::connect(address).expect("its port");
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).expect("a timeout");
        // It may refuse before it has read everything.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Ends it in good order; its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        signal(self.pid(), Signal::TERM);
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status.code();
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "it does not end: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn configuration(folder: &TempDir, targets: &str) -> String {
    let folder = folder.path().display();
    format!(
        "[control]\nsocket = \"{folder}/c.sock\"\n\
         [metrics]\nlisten = \"127.0.0.1:0\"\nmax_types = 3\n\
         [recordings]\ndirectory = \"{folder}/recordings\"\n\
         [discovery]\nperiod = \"200ms\"\n{targets}"
    )
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
