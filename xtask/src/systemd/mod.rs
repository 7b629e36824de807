//! `cargo xtask systemd`: `packaging/asynctrace.service` under a real systemd.
//!
//! A Debian 12 is made once (debootstrap, `target/systemd/root`) and booted by `systemd-nspawn` on
//! this machine's kernel, with two services of users of their own to be followed. The unit and its
//! configuration are those that are shipped. Not a part of `cargo xtask test`: it installs packages
//! (`systemd-container` brings systemd to this machine) and takes some minutes.

mod machine;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use self::machine::Machine;
use crate::bpf::Folders;
use crate::shell::{apt_install, run as run_command, say, which};
use crate::{demo, fixtures};

/// The services: unit, user, command. The shipped configuration follows the first by its unit.
const SERVICES: [(&str, &str, &str); 2] = [
    (
        "my-server",
        "myserver",
        "busy --pairs 4 --yielders 2 --sleepers 4 --rate 50 --workers 2",
    ),
    (
        "other-server",
        "otherserver",
        "service --connections 2 --seconds 36000",
    ),
];

/// What is added to the shipped configuration.
const OTHER: &str = "\n[[target]]\nlabel = \"other\"\nname = \"service\"\n";

/// Builds, boots and checks.
///
/// # Errors
/// When something is missing, or a check fails.
pub(crate) fn run(folders: &Folders) -> Result<()> {
    for (program, package) in [
        ("debootstrap", "debootstrap"),
        ("systemd-nspawn", "systemd-container"),
    ] {
        if which(program).is_none() {
            say(&format!("systemd: installing Debian's {package}"));
            apt_install(&[package])?;
        }
    }
    let asynctrace = demo::build(folders)?;
    for program in ["busy", "service"] {
        fixtures::build_one(folders, program)?;
    }
    let folder = folders.target.join("systemd");
    fs::create_dir_all(&folder)?;
    let root = machine::root(&folder)?;
    install(folders, &asynctrace, &root)?;
    say("systemd: booting");
    let machine = Machine::boot(root, &folder.join("boot.log"))?;
    machine.told(&["systemctl", "daemon-reload"])?;
    machine.told(&["systemctl", "restart", "my-server", "other-server"])?;
    let failed = CHECKS
        .iter()
        .filter(|(what, check)| match check(&machine) {
            Ok(()) => {
                println!("ok      {what}");
                false
            }
            Err(error) => {
                println!("FAILED  {what}: {error:#}");
                true
            }
        })
        .count();
    ensure!(failed == 0, "systemd: {failed} checks failed");
    Ok(())
}

fn install(folders: &Folders, asynctrace: &Path, root: &Path) -> Result<()> {
    let copy = |from: &Path, to: &str| -> Result<()> {
        let to = root.join(to);
        fs::create_dir_all(to.parent().context("a path in a folder")?)?;
        // Not over a file that may be mapped.
        let _ = fs::remove_file(&to);
        fs::copy(from, &to).with_context(|| from.display().to_string())?;
        Ok(())
    };
    copy(asynctrace, "usr/bin/asynctrace")?;
    let packaging = folders.workspace.join("packaging");
    let units = "etc/systemd/system";
    copy(
        &packaging.join("asynctrace.service"),
        &format!("{units}/asynctrace.service"),
    )?;
    copy(&packaging.join("daemon.toml"), "etc/asynctrace/daemon.toml")?;
    let config = root.join("etc/asynctrace/daemon.toml");
    let shipped = fs::read_to_string(&config)?;
    fs::write(&config, shipped + OTHER)?;
    for (unit, user, command) in SERVICES {
        let name = command.split(' ').next().unwrap_or_default();
        let fixture = folders.target.join("fixtures/release").join(name);
        copy(&fixture, &format!("opt/fixtures/{name}"))?;
        let passwd = fs::read_to_string(root.join("etc/passwd"))?;
        if !passwd
            .lines()
            .any(|line| line.starts_with(&format!("{user}:")))
        {
            run_command(Command::new("useradd").arg("--root").arg(root).args([
                "--system",
                "--shell",
                "/usr/sbin/nologin",
                user,
            ]))?;
        }
        let text = format!(
            "[Service]\nUser={user}\nEnvironment=FIXTURE_SECONDS=36000\n\
             ExecStart=/opt/fixtures/{command}\nRestart=always\nRestartSec=1\n"
        );
        fs::write(root.join(units).join(format!("{unit}.service")), text)?;
    }
    Ok(())
}

type Check = fn(&Machine) -> Result<()>;

/// In this order; each leaves the unit running but the last two.
const CHECKS: [(&str, Check); 13] = [
    ("it starts", |machine| {
        machine.told(&["systemctl", "restart", "asynctrace"])?;
        is_active(machine)
    }),
    ("both services are followed", |machine| {
        until(|| {
            let listed = machine.told(&["asynctrace", "ctl", "list"])?;
            let count = listed.matches(" following ").count();
            ensure!(count == 2, "{listed}");
            Ok(())
        })
    }),
    ("polls are counted", |machine| {
        until(|| {
            let metrics = machine.told(&["curl", "-s", "127.0.0.1:9878/metrics"])?;
            let polls = metrics
                .lines()
                .find_map(|line| line.strip_prefix("asynctrace_polls_total{target=\"my-server\"} "))
                .context("no such metric")?;
            ensure!(polls.parse::<u64>()? > 0, "{polls} polls");
            Ok(())
        })
    }),
    ("ctl dump tells tasks", |machine| {
        says(
            machine,
            &["asynctrace", "ctl", "dump", "my-server"],
            "busy::pong",
        )
    }),
    ("ctl dump tells sockets", |machine| {
        says(
            machine,
            &["asynctrace", "ctl", "dump", "other"],
            "127.0.0.1:",
        )
    }),
    ("ctl check answers", |machine| {
        let output = machine.output(&["asynctrace", "ctl", "check", "my-server"])?;
        let code = output.status.code();
        ensure!(matches!(code, Some(0 | 10)), "{}", output.status);
        Ok(())
    }),
    ("ctl record makes a file that report reads", |machine| {
        machine.told(&["asynctrace", "ctl", "record", "my-server", "-d", "3"])?;
        let newest = "asynctrace report \"$(ls -t /var/lib/asynctrace/*.astrace | head -1)\"";
        says(machine, &["sh", "-c", newest], "busy::")
    }),
    ("strangers are refused", |machine| {
        let command = ["runuser", "-u", "nobody", "--", "asynctrace", "ctl", "list"];
        let output = machine.output(&command)?;
        ensure!(output.status.code() == Some(4), "{}", output.status);
        Ok(())
    }),
    ("reload", |machine| {
        machine.told(&["systemctl", "reload", "asynctrace"])?;
        let done = "reloads_total{result=\"done\"} 1";
        until(|| says(machine, &["curl", "-s", "127.0.0.1:9878/metrics"], done))
    }),
    ("a restart of the service is followed", |machine| {
        machine.told(&["systemctl", "restart", "my-server"])?;
        until(|| {
            let pid = machine.told(&["systemctl", "show", "-P", "MainPID", "my-server"])?;
            let following = format!(" {} following ", pid.trim());
            says(machine, &["asynctrace", "ctl", "list"], &following)
        })
    }),
    ("killed, it starts again", |machine| {
        let kill = [
            "systemctl",
            "kill",
            "--kill-whom=main",
            "-s",
            "KILL",
            "asynctrace",
        ];
        machine.told(&kill)?;
        std::thread::sleep(Duration::from_secs(1));
        until(|| is_active(machine))?;
        until(|| says(machine, &["asynctrace", "ctl", "list"], " following "))
    }),
    (
        "it stops within 10 s, and says that all went well",
        |machine| {
            let begin = Instant::now();
            machine.told(&["systemctl", "stop", "asynctrace"])?;
            ensure!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
            let result = machine.told(&["systemctl", "show", "-P", "Result", "asynctrace"])?;
            ensure!(result.trim() == "success", "{result}");
            Ok(())
        },
    ),
    ("no breakpoint is left", |machine| {
        for (service, ..) in SERVICES {
            let differing = differing(machine, service)?;
            ensure!(differing == 0, "{differing} bytes of {service} differ");
        }
        Ok(())
    }),
];

fn is_active(machine: &Machine) -> Result<()> {
    says(machine, &["systemctl", "is-active", "asynctrace"], "active")
}

fn says(machine: &Machine, command: &[&str], part: &str) -> Result<()> {
    let told = machine.told(command)?;
    ensure!(told.contains(part), "no {part:?} in {told}");
    Ok(())
}

/// Tries until it is so, for 20 s.
fn until(mut check: impl FnMut() -> Result<()>) -> Result<()> {
    let begin = Instant::now();
    loop {
        match check() {
            Ok(()) => return Ok(()),
            Err(error) if begin.elapsed() > Duration::from_secs(20) => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(500)),
        }
    }
}

/// Bytes of a service's code that are not those of its file.
fn differing(machine: &Machine, service: &str) -> Result<usize> {
    use std::os::unix::fs::FileExt as _;
    let pid = machine.process(service)?;
    let memory = fs::File::open(format!("/proc/{pid}/mem"))?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut differing = 0;
    let mut looked_at = 0;
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [range, rights, offset, _, _, path] = words[..] else {
            continue;
        };
        if !rights.contains('x') || !path.starts_with("/opt/fixtures/") {
            continue;
        }
        let (from, to) = range.split_once('-').context("a range")?;
        let number = |text: &str| u64::from_str_radix(text, 16);
        let (from, to, offset) = (number(from)?, number(to)?, number(offset)?);
        let mut code = vec![0; usize::try_from(to - from)?];
        memory.read_exact_at(&mut code, from)?;
        let mut file = vec![0; code.len()];
        let length = fs::File::open(machine.path(path))?.read_at(&mut file, offset)?;
        looked_at += length;
        differing += code
            .iter()
            .zip(&file)
            .take(length)
            .filter(|(code, file)| code != file)
            .count();
    }
    if looked_at == 0 {
        bail!("no code of {service} was found");
    }
    Ok(differing)
}
