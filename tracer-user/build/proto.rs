//! Compiles `proto/*.proto` of this crate to Rust with protox (no protoc needed) and prost.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

pub(crate) fn build() -> Result<()> {
    println!("cargo:rerun-if-changed=proto");
    let mut schemas: Vec<PathBuf> = match std::fs::read_dir("proto") {
        Ok(folder) => folder
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("could not list proto/"),
    };
    schemas.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "proto")
    });
    schemas.sort();
    if schemas.is_empty() {
        return Ok(());
    }
    let descriptors = protox::compile(&schemas, ["proto"]).context("proto/ does not compile")?;
    prost_build::Config::new()
        .compile_fds(descriptors)
        .context("no Rust from proto/")
}
