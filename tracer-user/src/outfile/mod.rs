//! Making the files that the user asked for: for the user who ran sudo, and never through what
//! somebody else put in the way.
//!
//! As root in a folder that others may write (`/tmp`, a user's home), a name may be a link of theirs
//! to `/etc/shadow`. So paths are walked from folder to folder (`place`), no foreign link is
//! followed, and a file that is there is written only if it is ours. All that asynctrace writes is
//! made here.

mod place;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, fchown, fstat, openat, renameat, statat, unlinkat,
};

use place::{Place, Trust};

/// As any file that a program makes: the umask decides who may read it.
const MODE: Mode = Mode::from_raw_mode(0o666);

/// A user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    user: Uid,
    group: Gid,
}

/// The user who ran sudo, if we run as root through it and the ids are an ordinary user's.
fn sudo_user() -> Option<Owner> {
    if !rustix::process::geteuid().is_root() || !rustix::process::getuid().is_root() {
        return None;
    }
    let text = |name| std::env::var(name).ok();
    owner_of(&text("SUDO_UID")?, &text("SUDO_GID")?)
}

fn owner_of(user: &str, group: &str) -> Option<Owner> {
    let number = |text: &str| -> Option<u32> {
        // Not `+5`, and not the -1 that fchown(2) takes for "leave it".
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = plain.then(|| text.parse().ok()).flatten()?;
        (number != u32::MAX).then_some(number)
    };
    let (user, group) = (number(user)?, number(group)?);
    // Root's own files need no gift.
    (user != 0).then(|| Owner {
        user: Uid::from_raw(user),
        group: Gid::from_raw(group),
    })
}

/// Makes the file at `path`, or empties one that is there: a regular file of ours, a device, a pipe.
///
/// # Errors
/// Those of the system; `PermissionDenied` with a reason when somebody else could have put a link or
/// a file there.
pub fn create(path: &Path) -> io::Result<File> {
    create_for(path, sudo_user())
}

/// Makes the file at `path`, which must not be there.
///
/// # Errors
/// As [`create`]; `AlreadyExists`.
pub fn create_new(path: &Path) -> io::Result<File> {
    let owner = sudo_user();
    let place = Place::find(path, &trust(owner))?;
    if place.magic {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    make(&place, &place.name, owner)
}

fn create_for(path: &Path, owner: Option<Owner>) -> io::Result<File> {
    let place = Place::find(path, &trust(owner))?;
    // At most once more: somebody may take away what was there.
    for _ in 0..4 {
        match make(&place, &place.name, owner) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made,
        }
        match place.open_existing() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
    }
    Err(refused(
        "it is made and removed by somebody else all the time",
    ))
}

/// A new file under `name` in the folder of `place`, given to its owner.
fn make(place: &Place, name: &OsString, owner: Option<Owner>) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&place.folder, name, flags, MODE)?;
    if let Some(owner) = owner {
        // It is new, so it is nobody else's.
        fchown(&file, Some(owner.user), Some(owner.group))?;
    }
    Ok(file.into())
}

/// A file that takes its place when it is whole: until then, what was there is as it was. Dropped
/// without [`Replacement::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Replacement {
    folder: OwnedFd,
    name: OsString,
    /// Its name until then; `None` once it has its own, and for what cannot be replaced.
    partial: Option<OsString>,
    file: File,
}

impl Replacement {
    /// Begins a file that is to be at `path`.
    ///
    /// # Errors
    /// As [`create`].
    pub fn begin(path: &Path) -> io::Result<Self> {
        let owner = sudo_user();
        let place = Place::find(path, &trust(owner))?;
        if place.magic {
            let file = place.open_existing()?;
            return Ok(Self::new(place, None, file));
        }
        place.check_replaceable()?;
        for _ in 0..4 {
            let unique = uuid::Uuid::now_v7();
            let partial = OsString::from(format!(".asynctrace-{unique}.partial"));
            match make(&place, &partial, owner) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(file) => return Ok(Self::new(place, Some(partial), file)),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn new(place: Place, partial: Option<OsString>, file: File) -> Self {
        Self {
            folder: place.folder,
            name: place.name,
            partial,
            file,
        }
    }

    /// The file to write.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// When the name is a folder's, or was given to one meanwhile.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some(partial) = &self.partial {
            renameat(&self.folder, partial, &self.folder, &self.name)?;
        }
        self.partial = None;
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // What cannot be removed stays; its name says what it is.
            let _ = unlinkat(&self.folder, partial, AtFlags::empty());
        }
    }
}

fn trust(owner: Option<Owner>) -> Trust {
    let mut users = vec![Uid::ROOT, rustix::process::geteuid()];
    users.extend(owner.map(|owner| owner.user));
    Trust { users }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{why}; choose a folder that only you may write to"),
    )
}

impl Place {
    /// Opens what is at the place.
    fn open_existing(&self) -> io::Result<File> {
        // Without O_NONBLOCK a pipe waits for its reader, which is as it should be; what is to be
        // refused is looked at first, and once more when it is open.
        let mut flags = OFlags::WRONLY | OFlags::CLOEXEC;
        if !self.magic {
            flags |= OFlags::NOFOLLOW;
            self.check(&statat(
                &self.folder,
                &self.name,
                AtFlags::SYMLINK_NOFOLLOW,
            )?)?;
        }
        let file = openat(&self.folder, &self.name, flags, Mode::empty())?;
        let status = fstat(&file)?;
        if !self.magic {
            self.check(&status)?;
        }
        let file = File::from(file);
        if FileType::from_raw_mode(status.st_mode) == FileType::RegularFile {
            file.set_len(0)?;
        }
        Ok(file)
    }

    /// Whether what is there may be replaced.
    fn check_replaceable(&self) -> io::Result<()> {
        match statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) if FileType::from_raw_mode(status.st_mode) == FileType::Directory => {
                Err(io::ErrorKind::IsADirectory.into())
            }
            Ok(status) => self.check(&status),
            Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn check(&self, status: &rustix::fs::Stat) -> io::Result<()> {
        if !self.shared {
            return Ok(());
        }
        if !self.trust.has(Uid::from_raw(status.st_uid)) {
            return Err(refused(
                "there is a file of another user in a folder that others may write to",
            ));
        }
        // A second name may be one in a folder of ours: a hard link that somebody else made.
        let regular = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
        if regular && status.st_nlink > 1 {
            return Err(refused(
                "the file there has a second name, in a folder that others may write to",
            ));
        }
        Ok(())
    }
}
