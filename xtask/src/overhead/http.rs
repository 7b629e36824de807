//! The cost of a request, and its latency.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::figures::{Column, Table};
use super::prepare::Programs;
use super::target::Targets;
use super::variant::Variant;
use crate::shell::say;

/// Seconds of load of one measurement.
const SECONDS: &str = "1";
/// The same, where tracing comes and goes every other second, and of what is untraced beside that.
const MANY_SECONDS: [&str; 2] = ["15", "3"];
/// Connections of the load generator, each with one request under way.
const CONNECTIONS: &str = "8";

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Each at once when the one before is answered: the service, the generator and asynctrace have
    /// all the CPUs between them.
    Full,
    /// Each some milliseconds after the one before, so that there is CPU to spare, as in most
    /// services.
    Part,
}

impl Load {
    const fn name(self) -> &'static str {
        match self {
            Self::Full => "as fast as it answers",
            Self::Part => "with pauses of 2 to 4 ms",
        }
    }

    /// What wrk asks before each request, in Lua: how many milliseconds to wait. Spread out, so that
    /// requests do not fall in step with anything.
    const fn script(self) -> Option<&'static str> {
        match self {
            Self::Full => None,
            Self::Part => Some("function delay() return math.random(2, 4) end\n"),
        }
    }
}

/// What one run of the load generator tells.
struct Run {
    cpu_ns: f64,
    p99_us: f64,
    a_second: f64,
}

/// Measures.
///
/// # Errors
/// When a program fails.
pub(crate) fn measure(
    programs: &Programs,
    variants: &[(Variant, &'static str)],
    rounds: u32,
    load: Load,
) -> Result<Table> {
    let script = load.script().map(script_file).transpose()?;
    let script = script.as_ref().map(tempfile::NamedTempFile::path);
    let mut targets = Targets::start(programs, &["http"], 6671)?;
    let mut addresses = Vec::new();
    for &(variant, _) in variants {
        let target = targets.of(variant);
        let pid = target.pid();
        if !addresses.iter().any(|(known, _)| *known == pid) {
            let told = target.told()?;
            let address = told["address"].as_str().context("no address")?.to_owned();
            addresses.push((pid, address));
        }
        target.run(false);
    }
    let address = |pid: u32| {
        addresses
            .iter()
            .find(|(known, _)| *known == pid)
            .map(|(_, address)| address.as_str())
            .context("no address")
    };
    let mut table = Table::new(
        format!(
            "an HTTP service under wrk, {CONNECTIONS} connections, {}",
            load.name()
        ),
        &[
            Column::ratio("CPU a request"),
            Column::above("above untraced", "ns a request"),
            Column::ratio("p99 latency"),
            Column::ratio("requests a second"),
        ],
    );
    for round in 1..=rounds {
        say(&format!("http, {}: round {round} of {rounds}", load.name()));
        for &(variant, name) in variants {
            if !variant.possible(programs) {
                table.left_out(name);
                continue;
            }
            let [seconds, untraced_seconds] = if variant.is_in_windows() {
                MANY_SECONDS
            } else {
                [SECONDS; 2]
            };
            targets.plain.run(true);
            let untraced = address(targets.plain.pid())?;
            let untraced = run(programs, untraced, untraced_seconds, script)?;
            targets.plain.run(false);
            let target = targets.of(variant);
            target.run(true);
            let attached = variant
                .attach(programs, target.pid())
                .with_context(|| name.to_owned())?;
            let address = address(target.pid())?;
            let settles = variant.settles().as_secs();
            if settles > 0 {
                // Under the load.
                run(programs, address, &settles.to_string(), script)?;
            }
            let traced = run(programs, address, seconds, script)?;
            drop(attached);
            target.run(false);
            table.add(
                name,
                &[
                    (traced.cpu_ns, untraced.cpu_ns),
                    (traced.cpu_ns, untraced.cpu_ns),
                    (traced.p99_us, untraced.p99_us),
                    (traced.a_second, untraced.a_second),
                ],
            );
        }
    }
    Ok(table)
}

fn script_file(script: &str) -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().suffix(".lua").tempfile()?;
    file.write_all(script.as_bytes())?;
    Ok(file)
}

fn run(programs: &Programs, address: &str, seconds: &str, script: Option<&Path>) -> Result<Run> {
    let before = cpu_ns(address)?;
    let script = script.into_iter().flat_map(|path| [Path::new("-s"), path]);
    let output = Command::new(&programs.wrk)
        .args(["-t1", "-c", CONNECTIONS, "-d", seconds, "--latency"])
        .args(script)
        .arg(format!("http://{address}/"))
        .output()
        .context("could not run wrk")?;
    let after = cpu_ns(address)?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed: {told}");
    ensure!(!told.contains("Non-2xx"), "the service fails: {told}");
    parse(&told, after - before).with_context(|| format!("wrk said something else: {told}"))
}

fn parse(told: &str, cpu_ns: f64) -> Option<Run> {
    let words = || {
        told.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
    };
    let requests: f64 = words().find_map(|line| match line[..] {
        [number, "requests", "in", ..] => number.parse().ok(),
        _ => None,
    })?;
    let p99_us = words().find_map(|line| match line[..] {
        ["99%", time] => microseconds(time),
        _ => None,
    })?;
    let a_second = words().find_map(|line| match line[..] {
        ["Requests/sec:", number] => number.parse().ok(),
        _ => None,
    })?;
    (requests > 0.0).then_some(Run {
        cpu_ns: cpu_ns / requests,
        p99_us,
        a_second,
    })
}

/// `1.25ms` and the like.
fn microseconds(text: &str) -> Option<f64> {
    let at = text.find(|letter: char| letter.is_alphabetic())?;
    let (number, unit) = text.split_at(at);
    let number: f64 = number.parse().ok()?;
    Some(match unit {
        "us" => number,
        "ms" => number * 1e3,
        "s" => number * 1e6,
        _ => return None,
    })
}

/// CPU time of the service, as it tells.
fn cpu_ns(address: &str) -> Result<f64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /cpu HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.rsplit("\r\n\r\n").next().unwrap_or_default();
    body.trim()
        .parse()
        .with_context(|| format!("no CPU time: {answer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_tells_is_read() {
        let told = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 8 connections\n  Latency Distribution\n     50%   75.00us\n     90%  100.00us\n     99%    1.25ms\n  40000 requests in 1.00s, 5.00MB read\nRequests/sec:  39990.10\nTransfer/sec:      4.99MB\n";
        let run = parse(told, 8e8).unwrap();
        assert_eq!((run.cpu_ns, run.p99_us), (20_000.0, 1_250.0));
        assert!((run.a_second - 39_990.1).abs() < 1e-6);
        assert!(parse("", 1.0).is_none());
        assert_eq!(microseconds("2.00s"), Some(2e6));
        assert_eq!(microseconds("2"), None);
    }
}
