//! Making the file: without following what somebody else put there, and for the user who asked.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// A user and a group.
pub(super) type Owner = (rustix::fs::Uid, rustix::fs::Gid);

/// Whoever may write the folder may have put a link there: only a file that is really new is given
/// away.
pub(super) fn create_file(path: &Path, owner: Option<Owner>) -> io::Result<File> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => {
            if let Some((user, group)) = owner {
                rustix::fs::fchown(&file, Some(user), Some(group))?;
            }
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).truncate(true).open(path)
        }
        Err(error) => Err(error),
    }
}

/// The user who ran sudo, if we run as root through it.
pub(super) fn sudo_user() -> Option<Owner> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let user = number("SUDO_UID")?;
    let group = number("SUDO_GID")?;
    Some((
        rustix::fs::Uid::from_raw(user),
        rustix::fs::Gid::from_raw(group),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use rustix::fs::{Gid, Uid};

    use super::create_file;

    #[test]
    fn a_new_file_is_given_to_the_sudo_user_and_an_old_one_is_not() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("t.astrace");
        // Without root a file can be given to oneself only.
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        let owner = if user.is_root() {
            (Uid::from_raw(12_345), Gid::from_raw(12_346))
        } else {
            (user, group)
        };
        drop(create_file(&path, Some(owner)).unwrap());
        let made = std::fs::metadata(&path).unwrap();
        assert_eq!(
            (made.uid(), made.gid()),
            (owner.0.as_raw(), owner.1.as_raw())
        );

        let old = folder.path().join("old.astrace");
        std::fs::write(&old, "something").unwrap();
        let link = folder.path().join("link.astrace");
        std::os::unix::fs::symlink(&old, &link).unwrap();
        for path in [&old, &link] {
            drop(create_file(path, Some(owner)).unwrap());
            let kept = std::fs::metadata(&old).unwrap();
            assert_eq!((kept.uid(), kept.len()), (user.as_raw(), 0));
        }
    }
}
