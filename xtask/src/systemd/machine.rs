//! A Debian with systemd as its first process, in a container on this machine's kernel.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::shell::{run, say};

/// What is in it beside Debian's smallest set.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,procps,curl,libnss-systemd";
/// The longest that it may take to boot.
const BOOT: Duration = Duration::from_secs(90);

/// Runs until it is dropped.
pub(super) struct Machine {
    root: PathBuf,
    spawned: Child,
    /// Its first process, as this machine numbers it.
    first: u32,
    group: PathBuf,
    /// Mounted by us, to be unmounted.
    mounted: Option<tempfile::TempDir>,
}

/// Makes the file system once.
///
/// # Errors
/// When Debian's packages cannot be had.
pub(super) fn root(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    if !root.join("usr/bin/systemctl").exists() {
        say(&format!("systemd: debootstrap into {}", root.display()));
        // What an interrupted run left would be taken for done.
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        fs::create_dir_all(&root)?;
        let mut command = Command::new("debootstrap");
        command.args(["--variant=minbase", &format!("--include={PACKAGES}")]);
        run(command.arg("bookworm").arg(&root).stdout(std::io::stderr()))?;
    }
    Ok(root)
}

impl Machine {
    /// Boots what is in `root`.
    ///
    /// # Errors
    /// When it does not come up; what it said is in `log`.
    pub(super) fn boot(root: PathBuf, log: &Path) -> Result<Self> {
        let (groups, mounted) = groups()?;
        let group = groups.join(format!("asynctrace-try-{}", std::process::id()));
        let mut command = Command::new("bash");
        command.args(["-c", include_str!("boot.sh"), "boot"]);
        command.arg(&root).arg(&group).process_group(0);
        let output = fs::File::create(log)?;
        let spawned = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let mut machine = Self {
            root,
            spawned,
            first: 0,
            group,
            mounted,
        };
        let begin = Instant::now();
        loop {
            ensure!(
                machine.spawned.try_wait()?.is_none() && begin.elapsed() < BOOT,
                "systemd: it did not boot; see {}",
                log.display()
            );
            std::thread::sleep(Duration::from_millis(300));
            machine.first = child_of(machine.spawned.id(), "systemd").unwrap_or(0);
            if machine.first == 0 {
                continue;
            }
            let told = machine.output(&["systemctl", "is-system-running"])?;
            let told = String::from_utf8_lossy(&told.stdout).into_owned();
            if ["running", "degraded"].contains(&told.trim()) {
                return Ok(machine);
            }
        }
    }

    /// A command inside it.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string()]);
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]);
        command.arg("--").args(arguments).stdin(Stdio::null());
        command
    }

    /// What a command inside it says.
    pub(super) fn output(&self, arguments: &[&str]) -> Result<Output> {
        let shown = arguments.join(" ");
        let command = self.command(arguments).output();
        command.with_context(|| format!("could not run {shown}"))
    }

    /// The same of one that must not fail.
    pub(super) fn told(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments)?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "{}: {}: {told}{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(told)
    }

    /// A path of its file system, as this machine has it.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// The process of a service, as this machine numbers it: the only one in its control group.
    pub(super) fn process(&self, service: &str) -> Result<u32> {
        let output = Command::new("find")
            .arg(&self.group)
            .args(["-type", "d", "-name", &format!("{service}.service")])
            .output()?;
        let found = String::from_utf8_lossy(&output.stdout).into_owned();
        let group = found.lines().next().context("the service has no group")?;
        let file = Path::new(group).join("cgroup.procs");
        let listed = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let first = listed
            .lines()
            .next()
            .context("the service has no process")?;
        Ok(first.parse()?)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.first != 0 {
            let _ = self.output(&["systemctl", "poweroff"]);
        }
        let begin = Instant::now();
        while matches!(self.spawned.try_wait(), Ok(None)) {
            if begin.elapsed() > Duration::from_secs(30) {
                let _ = self.spawned.kill();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = Command::new("find")
            .arg(&self.group)
            .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"])
            .stderr(Stdio::null())
            .status();
        if let Some(folder) = self.mounted.take() {
            let _ = Command::new("umount").arg(folder.path()).status();
        }
    }
}

/// Where the new hierarchy of control groups is mounted; where it is not, it is mounted for as long as
/// the folder that comes with it lives.
fn groups() -> Result<(PathBuf, Option<tempfile::TempDir>)> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let found = mounts.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let place = words.next()?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(place))
    });
    if let Some(found) = found {
        return Ok((found, None));
    }
    let folder = tempfile::tempdir()?;
    run(Command::new("mount")
        .args(["-t", "cgroup2", "none"])
        .arg(folder.path()))?;
    Ok((folder.path().to_owned(), Some(folder)))
}

/// A child process by its name.
fn child_of(parent: u32, name: &str) -> Option<u32> {
    let file = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(file).ok()?;
    children.split_whitespace().find_map(|child| {
        let comm = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (comm.trim() == name).then(|| child.parse().ok())?
    })
}
