//! Finds the compiler and the linker that build the BPF object, and runs them.
//!
//! In: the machine as it is. Out: a [`Toolchain`], or what is missing. Installs nothing (that is
//! `xtask/src/bpf.rs`). This file is compiled twice: into `xtask`, and by path into the build
//! script of `tracer-user`, so that a plain `cargo build` finds what `cargo xtask setup` found.
//!
//! Why a search at all: `bpfel-unknown-none` has no prebuilt `core`, so the compiler must bring its
//! library sources and accept `-Z build-std`, and bpf-linker must have an LLVM at least as new as
//! the compiler's, or it cannot read the compiler's bitcode.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Where the choice is written, below the target folder.
pub(crate) const CHOICE: &str = "bpf/toolchain.json";

/// Environment of an outer cargo that must not leak into the BPF build: it would select the host's
/// compiler and flags.
const FOREIGN_ENVIRONMENT: &[&str] = &[
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_BOOTSTRAP",
    "RUSTDOC",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
    "RUSTUP_TOOLCHAIN",
    "CARGO",
    "LD_LIBRARY_PATH",
];

/// A compiler that can build `core` for the BPF machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// For people: which of the three kinds it is.
    pub(crate) name: String,
    /// Command and first arguments that run its cargo.
    pub(crate) cargo: Vec<String>,
    /// Environment it needs.
    pub(crate) environment: BTreeMap<String, String>,
    /// First line of `rustc --version`.
    pub(crate) version: String,
    /// Major version of its LLVM.
    pub(crate) llvm: u32,
}

/// A bpf-linker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Linker {
    /// The executable.
    pub(crate) path: PathBuf,
    /// Major version of its LLVM; `None` when it is linked in statically and cannot be told.
    pub(crate) llvm: Option<u32>,
}

/// A compiler and a linker that go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// The compiler.
    pub(crate) compiler: Compiler,
    /// The linker.
    pub(crate) linker: Linker,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}, LLVM {}) with {}",
            self.compiler.name,
            self.compiler.version,
            self.compiler.llvm,
            self.linker.path.display()
        )
    }
}

/// Finds a toolchain on this machine, looking for bpf-linker also in `tools` (`target/tools/bin`).
///
/// # Errors
/// Says what was found and what is missing.
pub(crate) fn find(tools: &Path) -> Result<Toolchain> {
    let compilers = compilers();
    let linkers = linkers(tools);
    if compilers.is_empty() {
        bail!(
            "no Rust compiler here has its library sources (rustup's rust-src, or Debian's rust-web-src)"
        );
    }
    if linkers.is_empty() {
        bail!(
            "bpf-linker is neither in PATH, nor in ~/.cargo/bin, nor in {}",
            tools.display()
        );
    }
    for compiler in &compilers {
        for linker in &linkers {
            if linker.llvm.is_none_or(|llvm| llvm >= compiler.llvm) {
                return Ok(Toolchain {
                    compiler: compiler.clone(),
                    linker: linker.clone(),
                });
            }
        }
    }
    bail!(
        "no bpf-linker here has an LLVM as new as a compiler's: compilers have LLVM {:?}, linkers {:?}",
        compilers.iter().map(|c| c.llvm).collect::<Vec<_>>(),
        linkers.iter().map(|l| l.llvm).collect::<Vec<_>>(),
    );
}

/// Every compiler on this machine that has its library sources, best first: a rustup nightly, any
/// other rustup toolchain (with `RUSTC_BOOTSTRAP=1`), Debian's.
pub(crate) fn compilers() -> Vec<Compiler> {
    let mut found = Vec::new();
    let mut names = rustup_toolchains();
    names.sort_by_key(|name| !name.starts_with("nightly"));
    for name in names {
        let rustc = [
            "rustup".to_owned(),
            "run".to_owned(),
            name.clone(),
            "rustc".to_owned(),
        ];
        let mut environment = BTreeMap::new();
        if !name.starts_with("nightly") {
            environment.insert("RUSTC_BOOTSTRAP".to_owned(), "1".to_owned());
        }
        if let Some((version, llvm)) = compiler_with_sources(&rustc) {
            found.push(Compiler {
                cargo: vec!["rustup".into(), "run".into(), name.clone(), "cargo".into()],
                name: format!("rustup {name} with rust-src"),
                environment,
                version,
                llvm,
            });
        }
    }
    let debian = "/usr/bin/rustc";
    if let Some((version, llvm)) = compiler_with_sources(&[debian.to_owned()]) {
        found.push(Compiler {
            name: format!("{debian} with its sources"),
            cargo: vec!["cargo".into()],
            environment: BTreeMap::from([
                ("RUSTC".to_owned(), debian.to_owned()),
                ("RUSTC_BOOTSTRAP".to_owned(), "1".to_owned()),
            ]),
            version,
            llvm,
        });
    }
    found
}

/// Names of rustup's toolchains; empty without rustup.
pub(crate) fn rustup_toolchains() -> Vec<String> {
    let Ok(list) = output(&["rustup".to_owned(), "toolchain".into(), "list".into()]) else {
        return Vec::new();
    };
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.contains('-'))
        .map(str::to_owned)
        .collect()
}

/// Version and LLVM of the compiler, when the sources of `core` lie beside it.
fn compiler_with_sources(rustc: &[String]) -> Option<(String, u32)> {
    let ask = |argument: &str| {
        let mut command = rustc.to_vec();
        command.extend(argument.split(' ').map(str::to_owned));
        output(&command).ok()
    };
    let sysroot = ask("--print sysroot")?;
    let core = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
    if !core.is_file() {
        return None;
    }
    let verbose = ask("--version --verbose")?;
    let llvm = verbose
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?
        .split('.')
        .next()?
        .parse()
        .ok()?;
    Some((verbose.lines().next()?.to_owned(), llvm))
}

/// Every bpf-linker on this machine.
pub(crate) fn linkers(tools: &Path) -> Vec<Linker> {
    let mut folders = vec![tools.to_owned()];
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        folders.push(Path::new(&home).join("bin"));
    }
    if let Some(home) = std::env::var_os("HOME") {
        folders.push(Path::new(&home).join(".cargo/bin"));
    }
    let mut found: Vec<Linker> = Vec::new();
    for folder in folders {
        let path = folder.join("bpf-linker");
        if path.is_file() && !found.iter().any(|linker| linker.path == path) {
            let llvm = llvm_of(&path);
            found.push(Linker { path, llvm });
        }
    }
    found
}

/// Major version of the LLVM library that an executable is linked to. bpf-linker does not tell its
/// LLVM on its command line; its dynamic section does (`libLLVM.so.22.1`).
fn llvm_of(executable: &Path) -> Option<u32> {
    let list = output(&["ldd".to_owned(), executable.to_str()?.to_owned()]).ok()?;
    let start = list.find("libLLVM")?;
    let name = list[start..].split_whitespace().next()?;
    name.split(|c: char| !c.is_ascii_digit())
        .find_map(|number| number.parse().ok())
}

fn output(command: &[String]) -> Result<String> {
    let mut run = Command::new(&command[0]);
    run.args(&command[1..]);
    for name in FOREIGN_ENVIRONMENT {
        run.env_remove(name);
    }
    let output = run
        .output()
        .with_context(|| format!("could not run {}", command[0]))?;
    if !output.status.success() {
        bail!("`{}` failed", command.join(" "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Toolchain {
    /// Compiles the crate in `source` for the BPF machine and returns the object's path. Its
    /// `.cargo/config.toml` has the flags, which is why cargo runs in that folder. What
    /// cargo has to say goes to stderr.
    ///
    /// # Errors
    /// When cargo cannot be run or fails.
    pub(crate) fn build(&self, source: &Path, target: &Path) -> Result<PathBuf> {
        let mut cargo = Command::new(&self.compiler.cargo[0]);
        cargo.args(&self.compiler.cargo[1..]);
        for name in FOREIGN_ENVIRONMENT {
            cargo.env_remove(name);
        }
        cargo
            .envs(&self.compiler.environment)
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker.path)
            .current_dir(source)
            .args([
                "build",
                "--release",
                "--locked",
                "--target=bpfel-unknown-none",
            ])
            .args(["-Z", "build-std=core", "--target-dir"])
            .arg(target);
        // Nothing but diagnostics: stdout belongs to the build script's protocol.
        let output = cargo
            .stdin(std::process::Stdio::null())
            .output()
            .with_context(|| format!("could not run {}", self.compiler.cargo.join(" ")))?;
        let talk = String::from_utf8_lossy(&output.stderr);
        eprint!("{talk}");
        if !output.status.success() {
            bail!("building the BPF object with {self} failed:\n{talk}");
        }
        let object = target.join("bpfel-unknown-none/release/tracer-ebpf");
        if !object.is_file() {
            bail!("cargo succeeded but {} is not there", object.display());
        }
        Ok(object)
    }

    /// As JSON, for [`CHOICE`].
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.compiler.name,
            "cargo": self.compiler.cargo,
            "environment": self.compiler.environment,
            "version": self.compiler.version,
            "llvm": self.compiler.llvm,
            "linker": self.linker.path,
            "linker_llvm": self.linker.llvm,
        })
    }

    /// Reads a choice that was written before; `None` when it is not there, is damaged, or names a
    /// linker that has gone.
    pub(crate) fn from_file(path: &Path) -> Option<Self> {
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let text = |key: &str| Some(json.get(key)?.as_str()?.to_owned());
        let number = |key: &str| json.get(key)?.as_u64()?.try_into().ok();
        let cargo: Vec<String> = json
            .get("cargo")?
            .as_array()?
            .iter()
            .filter_map(|word| Some(word.as_str()?.to_owned()))
            .collect();
        let environment = json
            .get("environment")?
            .as_object()?
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        let linker = PathBuf::from(text("linker")?);
        if cargo.is_empty() || !linker.is_file() {
            return None;
        }
        Some(Self {
            compiler: Compiler {
                name: text("name")?,
                cargo,
                environment,
                version: text("version")?,
                llvm: number("llvm")?,
            },
            linker: Linker {
                path: linker,
                llvm: number("linker_llvm"),
            },
        })
    }
}
