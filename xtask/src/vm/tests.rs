//! The test binaries and the tests in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::suites::{LEFT_OUT, SUITES, why_not};
use crate::bpf::Folders;
use crate::shell::{cargo, say};

/// Where the binaries are, by the name of their target; `asynctrace` is one of them.
pub(crate) struct Built {
    /// Test binaries.
    pub(crate) tests: BTreeMap<String, PathBuf>,
    /// The program itself.
    pub(crate) program: PathBuf,
}

/// A test that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    /// Name of its binary's target.
    pub(crate) suite: String,
    /// Its own name.
    pub(crate) test: String,
}

impl Test {
    /// `suite::test`.
    pub(crate) fn name(&self) -> String {
        format!("{}::{}", self.suite, self.test)
    }
}

/// A live test that does not run there.
pub(crate) struct LeftOut {
    /// `suite::test`.
    pub(crate) name: String,
    /// Why.
    pub(crate) reason: &'static str,
}

/// What runs and what does not.
pub(crate) struct Chosen {
    /// In the order of the suites.
    pub(crate) run: Vec<Test>,
    /// With reasons.
    pub(crate) left_out: Vec<LeftOut>,
}

/// Builds the suites in profile release: without optimisation, emulation takes ten times as long.
///
/// # Errors
/// When they do not build.
pub(crate) fn build(folders: &Folders) -> Result<Built> {
    say("vm: building the tests, optimised");
    let mut command = cargo(&folders.workspace);
    command
        .args(["test", "--locked", "--release", "--package", "tracer-user"])
        .args(["--bin", "asynctrace", "--no-run", "--message-format=json"])
        .stderr(Stdio::inherit());
    for suite in SUITES {
        command.args(["--test", suite.binary]);
    }
    let output = command.output().context("could not run cargo")?;
    if !output.status.success() {
        bail!("the tests do not build");
    }
    let (mut tests, mut program) = (BTreeMap::new(), None);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let Some(path) = message["executable"].as_str() else {
            continue;
        };
        let kind = message["target"]["kind"][0].as_str();
        let name = message["target"]["name"].as_str().unwrap_or_default();
        if kind == Some("test") {
            tests.insert(name.to_owned(), PathBuf::from(path));
        } else if kind == Some("bin") && message["profile"]["test"] == false {
            program = Some(PathBuf::from(path));
        }
    }
    Ok(Built {
        tests,
        program: program.context("cargo told no asynctrace")?,
    })
}

/// The suites as they were built into a folder such as `target/debug`: the newest of each.
///
/// # Errors
/// When it has no asynctrace.
pub(crate) fn in_folder(folder: &Path) -> Result<Built> {
    let program = folder.join("asynctrace");
    if !program.is_file() {
        bail!("{} is missing", program.display());
    }
    let deps = folder.join("deps");
    let mut newest: BTreeMap<String, (std::time::SystemTime, PathBuf)> = BTreeMap::new();
    for entry in std::fs::read_dir(&deps).with_context(|| deps.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some((name, hash)) = name.rsplit_once('-') else {
            continue;
        };
        if hash.contains('.') || !SUITES.iter().any(|suite| suite.binary == name) {
            continue;
        }
        let found = (path.metadata()?.modified()?, path.clone());
        let known = newest.entry(name.to_owned()).or_insert(found.clone());
        if known.0 < found.0 {
            *known = found;
        }
    }
    let tests = newest.into_iter().map(|(name, (_, path))| (name, path));
    Ok(Built {
        tests: tests.collect(),
        program,
    })
}

/// Asks the binaries for their tests, and chooses.
///
/// # Errors
/// When a suite is not there or does not list its tests.
pub(crate) fn choose(folders: &Folders, built: &Built, filters: &[String]) -> Result<Chosen> {
    let mut chosen = Chosen {
        run: Vec::new(),
        left_out: Vec::new(),
    };
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|part| name.contains(part.as_str()));
    for suite in SUITES {
        let path = built
            .tests
            .get(suite.binary)
            .with_context(|| format!("there is no test binary {} (suites.rs)", suite.binary))?;
        for test in live(path)? {
            let test = Test {
                suite: suite.binary.to_owned(),
                test,
            };
            let name = test.name();
            match LEFT_OUT.iter().find(|(end, _)| name.ends_with(end)) {
                Some((_, reason)) => chosen.left_out.push(LeftOut { name, reason }),
                None if wanted(&name) => chosen.run.push(test),
                None => {}
            }
        }
    }
    chosen.left_out.extend(not_chosen(folders)?);
    Ok(chosen)
}

/// Live tests of binaries that are no suites: by their sources, as nothing else needs them built.
fn not_chosen(folders: &Folders) -> Result<Vec<LeftOut>> {
    let folder = folders.workspace.join("tracer-user/tests");
    let mut left_out = Vec::new();
    let mut sources: Vec<PathBuf> = std::fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    sources.sort();
    for path in sources {
        let binary = path
            .file_stem()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if SUITES.iter().any(|suite| suite.binary == binary) {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        left_out.extend(live_in_source(&text).map(|test| LeftOut {
            name: format!("{binary}::{test}"),
            reason: why_not(&binary),
        }));
    }
    Ok(left_out)
}

/// Names of functions in a source that begin with `live_`.
fn live_in_source(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim_start();
        let name = line
            .strip_prefix("async ")
            .unwrap_or(line)
            .strip_prefix("fn ")?;
        name.starts_with("live_").then_some(())?;
        name.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
    })
}

/// The tests of a binary that attach: by convention their names, or their module's, begin with
/// `live` (.config/nextest.toml).
fn live(path: &Path) -> Result<Vec<String>> {
    let output = Command::new(path)
        .args(["--list", "--format", "terse"])
        .output()
        .with_context(|| format!("could not run {}", path.display()))?;
    if !output.status.success() {
        bail!("{} does not list its tests", path.display());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names
        .filter(|name| name.split("::").any(|part| part.starts_with("live")))
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn live_tests_are_known_by_their_names() {
        let source = "#[test]\nfn live_one() {\n}\nasync fn live_two(x: u8) {}\n// fn live_three\nfn alive() {}";
        let names: Vec<&str> = live_in_source(source).collect();
        assert_eq!(names, ["live_one", "live_two"]);
    }
}
