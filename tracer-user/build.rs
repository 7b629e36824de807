//! Compiles what is not Rust of this crate: the BPF object and the protobuf schema.

#[path = "build/bpf.rs"]
mod bpf;
#[path = "build/proto.rs"]
mod proto;

fn main() -> anyhow::Result<()> {
    // Naming files turns off cargo's default of re-running on any change in the package.
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    bpf::build()?;
    proto::build()
}
