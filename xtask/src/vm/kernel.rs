//! Debian's kernel package, unpacked and not installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::shell::{run, say};

/// The metapackage that names the newest cloud kernel of this Debian: 6.1 in Debian 12.
const META: &str = "linux-image-cloud-amd64";

/// The kernel that boots.
pub(crate) struct Kernel {
    /// The image.
    pub(crate) image: PathBuf,
    /// Its version, from the image's name.
    pub(crate) version: String,
}

/// The kernel below `folder`, fetched with `apt-get download` where it is not there yet.
///
/// # Errors
/// When the archive has none, or its package does not unpack.
pub(crate) fn find(folder: &Path) -> Result<Kernel> {
    if let Some(kernel) = unpacked(&folder.join("kernel"))? {
        return Ok(kernel);
    }
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let package = newest()?;
    say(&format!("vm: fetching {package} from Debian's archive"));
    run(Command::new("apt-get")
        .args(["download", &package])
        .current_dir(folder))
    .context("no kernel package; `apt-get update` fetches the lists")?;
    let file = entries(folder)?
        .into_iter()
        .find(|path| name(path).starts_with(&package) && name(path).ends_with(".deb"))
        .context("apt-get left no package")?;
    run(Command::new("dpkg")
        .arg("-x")
        .arg(&file)
        .arg(folder.join("kernel")))?;
    unpacked(&folder.join("kernel"))?.context("the package has no kernel in boot/")
}

fn unpacked(folder: &Path) -> Result<Option<Kernel>> {
    let boot = folder.join("boot");
    if !boot.is_dir() {
        return Ok(None);
    }
    Ok(entries(&boot)?.into_iter().find_map(|image| {
        let version = name(&image).strip_prefix("vmlinuz-")?.to_owned();
        Some(Kernel { image, version })
    }))
}

/// The package that the metapackage depends on.
fn newest() -> Result<String> {
    let output = Command::new("apt-cache")
        .args(["depends", META])
        .output()
        .context("no apt-cache: this needs Debian")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let depends = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "));
    match depends {
        Some(package) => Ok(package.trim().to_owned()),
        None => bail!("{META} is not known here: run `apt-get update` as root"),
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    Ok(entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?)
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
