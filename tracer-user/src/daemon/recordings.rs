//! Files of `ctl record`: only in the configured folder, under names made here, for whoever asked.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Gid, Uid};

use super::config::Recordings;
use super::control::message::Refusal;
use crate::error::ExitCode;

/// How a recording's name ends.
const SUFFIX: &str = ".astrace";

/// The folder that a path names, once it is sure that nobody else can put links there. The path may be
/// a link itself, if it is root's or our own: systemd makes `/var/lib/NAME` one to
/// `/var/lib/private/NAME` for a unit with a user of its own (`DynamicUser`).
///
/// # Errors
/// In words, when it is not there, not a folder, or somebody else may write it.
pub fn check(directory: &Path) -> Result<PathBuf, String> {
    let shown = directory.display();
    let cannot = |error: io::Error| format!("the folder of recordings {shown}: {error}");
    let is_trusted = |owner: u32| owner == 0 || owner == rustix::process::geteuid().as_raw();
    let named = fs::symlink_metadata(directory).map_err(cannot)?;
    if named.is_symlink() && !is_trusted(named.uid()) {
        return Err(format!(
            "the folder of recordings {shown} is a link of user {}",
            named.uid()
        ));
    }
    let real = fs::canonicalize(directory).map_err(cannot)?;
    let about = fs::symlink_metadata(&real).map_err(cannot)?;
    if !about.is_dir() {
        return Err(format!("the folder of recordings {shown} is not a folder"));
    }
    let owner = about.uid();
    if !is_trusted(owner) {
        return Err(format!(
            "the folder of recordings {shown} belongs to user {owner}, not to the daemon"
        ));
    }
    if about.mode() & 0o022 != 0 {
        return Err(format!(
            "the folder of recordings {shown} may be written by others (chmod go-w)"
        ));
    }
    Ok(real)
}

/// A path for a new recording.
///
/// # Errors
/// When the folder may not be used, or has as many recordings as it may have.
pub fn new_path(recordings: &Recordings, label: &str, pid: i32) -> Result<PathBuf, Refusal> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let failed = |text: String| Refusal::new("failed", ExitCode::BadFile, text);
    let directory = check(&recordings.directory).map_err(failed)?;
    let entries = fs::read_dir(&directory)
        .map_err(|error| failed(format!("{}: {error}", directory.display())))?;
    let is_recording = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.ends_with(SUFFIX))
    };
    let there = entries.filter_map(Result::ok).filter(is_recording).count();
    if there >= recordings.max_files {
        let shown = recordings.directory.display();
        let refusal = failed(format!("{shown} has {there} recordings already"));
        return Err(refusal.advising("move some away, or raise max_files in [recordings]"));
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // Labels have letters, digits, dots, dashes and underscores only.
    let name = format!("{label}-{pid}-{seconds}-{number}{SUFFIX}");
    let path = directory.join(name);
    if fs::symlink_metadata(&path).is_ok() {
        return Err(failed(format!("{} is there already", path.display())));
    }
    Ok(path)
}

/// Gives a finished recording to a user, where we may; returns whose it is.
///
/// # Errors
/// When the file is not there any more.
pub fn give(path: &Path, user: u32, group: u32) -> io::Result<u32> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits();
    let flags = i32::try_from(nofollow).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if file.metadata()?.uid() != user {
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(group));
        // Without CAP_CHOWN it stays ours; root can read it all the same.
        let _ = rustix::fs::fchown(&file, Some(uid), Some(gid));
    }
    Ok(file.metadata()?.uid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn recordings(directory: &Path) -> Recordings {
        Recordings {
            directory: directory.to_owned(),
            max_size: 1 << 20,
            max_files: 2,
        }
    }

    #[test]
    fn only_a_folder_of_our_own_is_used() {
        let folder = tempfile::TempDir::new().unwrap();
        let real = fs::canonicalize(folder.path()).unwrap();
        assert_eq!(check(folder.path()), Ok(real.clone()));
        let (link, file) = (folder.path().join("link"), folder.path().join("file"));
        symlink(folder.path(), &link).unwrap();
        assert_eq!(check(&link), Ok(real), "our own link");
        fs::write(&file, "").unwrap();
        assert!(check(&file).unwrap_err().contains("not a folder"));
        assert!(check(&folder.path().join("none")).is_err());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(65_534), None).unwrap();
            assert!(check(&link).unwrap_err().contains("a link of user 65534"));
            symlink("none", folder.path().join("loose")).unwrap();
            assert!(check(&folder.path().join("loose")).is_err());
        }
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(check(folder.path()).unwrap_err().contains("others"));
    }

    #[test]
    fn names_are_new_and_bounded_in_number() {
        let folder = tempfile::TempDir::new().unwrap();
        let recordings = recordings(folder.path());
        let first = new_path(&recordings, "api", 7).unwrap();
        assert!(first.starts_with(folder.path()));
        fs::write(&first, "").unwrap();
        let second = new_path(&recordings, "api", 7).unwrap();
        assert_ne!(first, second);
        fs::write(&second, "").unwrap();
        let refusal = new_path(&recordings, "api", 7).unwrap_err();
        assert!(refusal.message.contains("2 recordings"), "{refusal:?}");
    }

    #[test]
    fn a_link_is_not_given_away() {
        let folder = tempfile::TempDir::new().unwrap();
        let (file, link) = (folder.path().join("f"), folder.path().join("l"));
        fs::write(&file, "").unwrap();
        symlink(&file, &link).unwrap();
        assert!(give(&link, 12_345, 12_345).is_err());
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(give(&file, own, own).unwrap(), own);
    }
}
