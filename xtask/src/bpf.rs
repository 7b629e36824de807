//! `cargo xtask setup`, the part for the BPF object: finds its compiler and linker, installs what
//! is missing where that is allowed, proves the choice with a build and writes it down.
//!
//! Each step says what it does and why, before it does it. Nothing is installed when the machine
//! can already build the object.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell::{apt_install, run, say};

pub(crate) mod toolchain;

use toolchain::Toolchain;

/// The bpf-linker that is installed when there is none.
const LINKER_VERSION: &str = "0.13.0";
/// The LLVM that this bpf-linker is built with: Debian's newest, as new as that of rustc 1.97.
const LINKER_LLVM: u32 = 22;

/// The workspace's folders that matter here.
pub(crate) struct Folders {
    /// Root of the workspace.
    pub(crate) workspace: PathBuf,
    /// Its target folder.
    pub(crate) target: PathBuf,
}

impl Folders {
    /// Of the workspace that this xtask was built from. `CARGO_TARGET_DIR` is honoured.
    pub(crate) fn find() -> Result<Self> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask is not inside a workspace")?
            .to_owned();
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| workspace.join("target"), |path| workspace.join(path));
        Ok(Self { workspace, target })
    }

    fn tools(&self) -> PathBuf {
        self.target.join("tools/bin")
    }
}

/// Makes this machine able to build the BPF object, or says what is missing and how to get it.
///
/// # Errors
/// When something is missing and could not be installed.
pub(crate) fn setup(folders: &Folders) -> Result<Toolchain> {
    say("BPF object: looking for a compiler with library sources and for bpf-linker");
    if toolchain::compilers().is_empty() {
        install_compiler()?;
    }
    let newest = toolchain::compilers().iter().map(|c| c.llvm).min();
    let fits = |linker: &toolchain::Linker| linker.llvm.is_none_or(|llvm| Some(llvm) >= newest);
    if !toolchain::linkers(&folders.tools()).iter().any(fits) {
        install_linker(folders)?;
    }
    let chosen = toolchain::find(&folders.tools())?;
    say(&format!("BPF object: building with {chosen}"));
    let object = build(folders, &chosen)?;
    let size = std::fs::metadata(&object)?.len();
    say(&format!(
        "BPF object: {} ({size} bytes) builds",
        object.display()
    ));
    let file = folders.target.join(toolchain::CHOICE);
    std::fs::create_dir_all(file.parent().context("no folder")?)?;
    let json = serde_json::to_string_pretty(&chosen.to_json())? + "\n";
    // An unchanged file keeps its time, so that a second set-up causes no rebuild.
    if std::fs::read_to_string(&file).ok().as_deref() != Some(json.as_str()) {
        std::fs::write(&file, json)?;
    }
    say(&format!("BPF object: choice written to {}", file.display()));
    Ok(chosen)
}

/// The toolchain that set-up chose, else one that is found now.
///
/// # Errors
/// Says what is missing.
pub(crate) fn chosen(folders: &Folders) -> Result<Toolchain> {
    Toolchain::from_file(&folders.target.join(toolchain::CHOICE))
        .map_or_else(|| toolchain::find(&folders.tools()), Ok)
}

/// Builds the BPF object into the folder that the build script of `tracer-user` uses too.
pub(crate) fn build(folders: &Folders, toolchain: &Toolchain) -> Result<PathBuf> {
    toolchain.build(
        &folders.workspace.join("tracer-ebpf"),
        &folders.target.join("bpf/target"),
    )
}

/// Gets a compiler with library sources: rustup's component, else Debian's packages.
fn install_compiler() -> Result<()> {
    let toolchains = toolchain::rustup_toolchains();
    let nightly = toolchains.iter().find(|name| name.starts_with("nightly"));
    for name in nightly.into_iter().chain(toolchains.first()) {
        say(&format!(
            "no compiler here has its library sources, which `core` for BPF is built from: adding rust-src to {name}"
        ));
        let added =
            run(Command::new("rustup").args(["component", "add", "rust-src", "--toolchain", name]));
        match added {
            Ok(()) => return Ok(()),
            Err(error) => say(&format!("that did not work ({error:#})")),
        }
    }
    say("no rustup toolchain could get rust-src: installing Debian's rustc-web and rust-web-src");
    apt_install(&["rustc-web", "rust-web-src"]).context(
        "no compiler with library sources; run `rustup component add rust-src --toolchain nightly`, \
         or `apt-get install rustc-web rust-web-src` as root",
    )
}

/// Builds bpf-linker into `target/tools`, where it is kept with the rest of the target folder.
fn install_linker(folders: &Folders) -> Result<()> {
    let prefix = format!("/usr/lib/llvm-{LINKER_LLVM}");
    if !Path::new(&prefix).join("include/llvm-c/Core.h").is_file() {
        say(&format!(
            "no bpf-linker here can read the compiler's bitcode, and building one needs LLVM {LINKER_LLVM}: installing it"
        ));
        apt_install(&[&format!("llvm-{LINKER_LLVM}-dev")]).with_context(|| {
            format!("no LLVM {LINKER_LLVM}; run `apt-get install llvm-{LINKER_LLVM}-dev` as root")
        })?;
    }
    let root = folders.target.join("tools");
    say(&format!(
        "building bpf-linker {LINKER_VERSION} into {} (about a minute)",
        root.display()
    ));
    run(Command::new("cargo")
        .args([
            "install",
            "bpf-linker",
            "--version",
            LINKER_VERSION,
            "--locked",
        ])
        .args(["--no-default-features", "--features"])
        .arg(format!("llvm-{LINKER_LLVM}"))
        .arg("--root")
        .arg(&root)
        .env("LLVM_PREFIX", &prefix)
        .env("LIBRARY_PATH", format!("{prefix}/lib"))
        .env_remove("CARGO_TARGET_DIR"))
}
