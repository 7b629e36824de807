//! Where a path leads, without following what somebody else may have put there.
//!
//! The path is walked name by name with descriptors, so that nothing can be exchanged behind us. A
//! link is followed when it is root's, ours or the sudo user's, or lies in a folder that only these
//! may write to. (Linux does alike with `fs.protected_symlinks`, in sticky folders, where it is on.)

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, Stat, Uid, fstat, fstatfs, openat,
    readlinkat, statat,
};

use super::refused;

/// As many links as the kernel follows.
const MAX_LINKS: u32 = 40;
/// Names in a path, those of links included.
const MAX_NAMES: u32 = 4096;

/// Whose links and files are as good as our own.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    pub(super) users: Vec<Uid>,
}

impl Trust {
    pub(super) fn has(&self, user: Uid) -> bool {
        self.users.contains(&user)
    }

    /// Whether others may put something into this folder.
    fn is_shared(&self, folder: &Stat) -> bool {
        folder.st_mode & 0o022 != 0 || !self.has(Uid::from_raw(folder.st_uid))
    }
}

/// A name in a folder.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) folder: OwnedFd,
    pub(super) name: OsString,
    /// Others may write to the folder.
    pub(super) shared: bool,
    /// A link of the kernel's own (`/proc/self/fd/1`), which leads where no path does.
    pub(super) magic: bool,
    pub(super) trust: Trust,
}

impl Place {
    /// The place that `path` leads to; the last name need not be there.
    ///
    /// # Errors
    /// `PermissionDenied` for a link of somebody else's; those of the system.
    pub(super) fn find(path: &Path, trust: &Trust) -> io::Result<Self> {
        let mut names = names(path)?;
        let mut folder = start(path)?;
        let mut links = 0;
        for _ in 0..MAX_NAMES {
            let Some(name) = names.pop_front() else {
                return Err(io::ErrorKind::IsADirectory.into());
            };
            let is_last = names.is_empty();
            let here = fstat(&folder)?;
            let shared = trust.is_shared(&here);
            let status = match statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(status) => status,
                Err(rustix::io::Errno::NOENT) if is_last => {
                    return Ok(Self::new(folder, name, shared, false, trust));
                }
                Err(error) => return Err(error.into()),
            };
            if FileType::from_raw_mode(status.st_mode) != FileType::Symlink {
                if is_last {
                    return Ok(Self::new(folder, name, shared, false, trust));
                }
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                folder = openat(&folder, &name, flags, Mode::empty())?;
                continue;
            }
            if fstatfs(&folder)?.f_type == PROC_SUPER_MAGIC {
                // Nobody else can put a link there, and what it says is not where it leads.
                if is_last {
                    return Ok(Self::new(folder, name, false, true, trust));
                }
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                folder = openat(&folder, &name, flags, Mode::empty())?;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(rustix::io::Errno::LOOP.into());
            }
            if shared && !trust.has(Uid::from_raw(status.st_uid)) {
                return Err(refused("a link of another user is in the way"));
            }
            // Read from what was looked at: a new link under this name would be a new file.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let link = openat(&folder, &name, flags, Mode::empty())?;
            let same = fstat(&link)?;
            if (same.st_dev, same.st_ino) != (status.st_dev, status.st_ino) {
                return Err(refused("a link was exchanged while it was looked at"));
            }
            let to = OsString::from_vec(readlinkat(&link, "", Vec::new())?.into_bytes());
            let to = Path::new(&to);
            for name in super::place::names(to)?.into_iter().rev() {
                names.push_front(name);
            }
            if to.is_absolute() {
                folder = start(to)?;
            }
        }
        Err(rustix::io::Errno::NAMETOOLONG.into())
    }

    fn new(folder: OwnedFd, name: OsString, shared: bool, magic: bool, trust: &Trust) -> Self {
        Self {
            folder,
            name,
            shared,
            magic,
            trust: trust.clone(),
        }
    }
}

/// Where a path begins.
fn start(path: &Path) -> io::Result<OwnedFd> {
    let begin = if path.is_absolute() { "/" } else { "." };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, begin, flags, Mode::empty())?)
}

/// The names of a path. The kernel resolves `..` of a real folder by itself.
fn names(path: &Path) -> io::Result<VecDeque<OsString>> {
    if path.as_os_str().is_empty() || path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            Component::ParentDir => Some(OsStr::new("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .map(ToOwned::to_owned)
        .collect())
}
