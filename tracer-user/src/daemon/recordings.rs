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

/// Why a folder is not used, in words.
///
/// # Errors
/// When it is not there, not a folder, or somebody else may write it: they could put links there.
pub fn check(directory: &Path) -> Result<(), String> {
    let shown = directory.display();
    let about = fs::symlink_metadata(directory)
        .map_err(|error| format!("the folder of recordings {shown}: {error}"))?;
    if !about.is_dir() {
        return Err(format!("the folder of recordings {shown} is not a folder"));
    }
    let owner = about.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(format!(
            "the folder of recordings {shown} belongs to user {owner}, not to the daemon"
        ));
    }
    if about.mode() & 0o022 != 0 {
        return Err(format!(
            "the folder of recordings {shown} may be written by others (chmod go-w)"
        ));
    }
    Ok(())
}

/// A path for a new recording.
///
/// # Errors
/// When the folder may not be used, or has as many recordings as it may have.
pub fn new_path(recordings: &Recordings, label: &str, pid: i32) -> Result<PathBuf, Refusal> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let failed = |text: String| Refusal::new("failed", ExitCode::BadFile, text);
    check(&recordings.directory).map_err(failed)?;
    let entries = fs::read_dir(&recordings.directory)
        .map_err(|error| failed(format!("{}: {error}", recordings.directory.display())))?;
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
    let path = recordings.directory.join(name);
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
        assert_eq!(check(folder.path()), Ok(()));
        let link = folder.path().join("link");
        symlink(folder.path(), &link).unwrap();
        assert!(check(&link).unwrap_err().contains("not a folder"));
        assert!(check(&folder.path().join("none")).is_err());
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
