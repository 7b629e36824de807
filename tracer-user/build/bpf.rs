//! Builds `tracer-ebpf` into `OUT_DIR/tracer-ebpf`, which `attach` embeds.
//!
//! Without a toolchain for it the build goes on with an empty object and a warning: everything but
//! attaching works then (`dump` needs no BPF), and attaching says `cargo xtask setup`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

#[path = "../../xtask/src/bpf/toolchain.rs"]
#[allow(
    dead_code,
    reason = "shared with xtask, which also installs and writes what is only read here"
)]
mod toolchain;

pub(crate) fn build() -> Result<()> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("no OUT_DIR")?);
    let manifest =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").context("no CARGO_MANIFEST_DIR")?);
    let workspace = manifest
        .parent()
        .context("the crate has no parent folder")?;
    let target = target_folder(&out).unwrap_or_else(|| workspace.join("target"));
    let source = workspace.join("tracer-ebpf");
    let choice = target.join(toolchain::CHOICE);

    for path in [
        &source.join("src"),
        &source.join("Cargo.toml"),
        &source.join("Cargo.lock"),
        &source.join(".cargo/config.toml"),
        &workspace.join("tracer-common/src"),
        &workspace.join("xtask/src/bpf/toolchain.rs"),
    ] {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    println!("cargo:rerun-if-env-changed=PATH");

    let object = out.join("tracer-ebpf");
    let built = toolchain::Toolchain::from_file(&choice)
        .map_or_else(|| toolchain::find(&target.join("tools/bin")), Ok)
        .and_then(|toolchain| toolchain.build(&source, &target.join("bpf/target")));
    // Cargo runs a script again on every build while a file it watches is missing: wanted only as
    // long as there is no object.
    if built.is_err() || choice.exists() {
        println!("cargo:rerun-if-changed={}", choice.display());
    }
    match built {
        Ok(path) => {
            std::fs::copy(&path, &object)
                .with_context(|| format!("could not copy {}", path.display()))?;
        }
        Err(error) => {
            for line in format!("{error:#}").lines().take(40) {
                println!("cargo:warning={line}");
            }
            println!(
                "cargo:warning=the BPF object was not built, so this binary cannot attach; run `cargo xtask setup`"
            );
            std::fs::write(&object, [])?;
        }
    }
    Ok(())
}

/// The target folder that `out` is in: cargo marks it with `CACHEDIR.TAG`.
fn target_folder(out: &Path) -> Option<PathBuf> {
    out.ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .map(Path::to_owned)
}
