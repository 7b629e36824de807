use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;

/// Somebody else.
const OTHER: u32 = 65_534;

/// A folder, with others' write permission or without.
fn folder(mode: u32) -> tempfile::TempDir {
    let folder = tempfile::TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    folder
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn give_away(path: &Path) {
    std::os::unix::fs::lchown(path, Some(OTHER), Some(OTHER)).unwrap();
}

#[track_caller]
fn expect_refused<T: std::fmt::Debug>(result: io::Result<T>, part: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
    assert!(error.to_string().contains(part), "{error}");
}

#[test]
fn ids_of_sudo_are_an_ordinary_users() {
    assert_eq!(
        owner_of("1000", "100"),
        Some(Owner {
            user: Uid::from_raw(1000),
            group: Gid::from_raw(100)
        })
    );
    for (user, group) in [
        ("0", "0"),
        ("4294967295", "100"),
        ("1000", "4294967295"),
        ("+5", "5"),
        ("-1", "5"),
        ("", "5"),
        ("1000", "users"),
        ("99999999999", "5"),
    ] {
        assert_eq!(owner_of(user, group), None, "{user} {group}");
    }
}

#[test]
fn a_new_file_is_given_to_the_sudo_user_and_an_old_one_is_not() {
    let folder = folder(0o755);
    let path = folder.path().join("t.astrace");
    // Without root a file can be given to oneself only.
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let owner = if is_root() {
        Owner {
            user: Uid::from_raw(12_345),
            group: Gid::from_raw(12_346),
        }
    } else {
        Owner { user, group }
    };
    drop(create_for(&path, Some(owner)).unwrap());
    let made = fs::metadata(&path).unwrap();
    assert_eq!(
        (made.uid(), made.gid()),
        (owner.user.as_raw(), owner.group.as_raw())
    );

    // In a folder of our own, what is there is ours: also behind a link.
    let old = folder.path().join("old.astrace");
    let link = folder.path().join("link.astrace");
    symlink("old.astrace", &link).unwrap();
    for path in [&old, &link] {
        fs::write(&old, "something").unwrap();
        drop(create_for(path, Some(owner)).unwrap());
        let kept = fs::metadata(&old).unwrap();
        assert_eq!((kept.uid(), kept.len()), (user.as_raw(), 0));
    }
}

#[test]
fn devices_and_descriptors_are_written_to() {
    create(Path::new("/dev/null"))
        .unwrap()
        .write_all(b"x")
        .unwrap();
    // A link to a link of the kernel's to a file that has no path.
    let mut unnamed = tempfile::tempfile().unwrap();
    let path = format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&unnamed)
    );
    create(Path::new(&path))
        .unwrap()
        .write_all(b"four")
        .unwrap();
    let mut text = String::new();
    io::Read::read_to_string(&mut unnamed, &mut text).unwrap();
    assert_eq!(text, "four");
}

#[test]
fn what_is_no_file_is_an_error() {
    let folder = folder(0o755);
    for path in [
        folder.path(),
        Path::new("/"),
        Path::new(""),
        &folder.path().join("x/"),
    ] {
        assert!(create(path).is_err(), "{}", path.display());
        assert!(Replacement::begin(path).is_err(), "{}", path.display());
    }
    let circle = folder.path().join("circle");
    symlink("circle", &circle).unwrap();
    assert!(create(&circle).is_err());
    assert!(create(&folder.path().join("no/such")).is_err());
}

#[test]
fn a_link_of_somebody_else_is_not_followed_in_a_shared_folder() {
    if !is_root() {
        return;
    }
    let ours = folder(0o700);
    let secret = ours.path().join("shadow");
    for mode in [0o1777, 0o777, 0o775] {
        fs::write(&secret, "secret").unwrap();
        let shared = folder(mode);
        let path = shared.path().join("trace");
        symlink(&secret, &path).unwrap();
        give_away(&path);
        expect_refused(create(&path), "a link of another user");
        expect_refused(Replacement::begin(&path), "a link of another user");
        // A folder in between, too.
        let between = shared.path().join("between");
        symlink(ours.path(), &between).unwrap();
        give_away(&between);
        expect_refused(create(&between.join("shadow")), "a link of another user");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    }
    // In a folder that belongs to somebody else, whatever its mode.
    let theirs = folder(0o755);
    let path = theirs.path().join("trace");
    symlink(&secret, &path).unwrap();
    give_away(&path);
    give_away(theirs.path());
    expect_refused(create(&path), "a link of another user");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
}

#[test]
fn a_file_of_somebody_else_is_not_written_in_a_shared_folder() {
    if !is_root() {
        return;
    }
    let shared = folder(0o1777);
    let path = shared.path().join("trace");
    fs::write(&path, "theirs").unwrap();
    give_away(&path);
    expect_refused(create(&path), "a file of another user");
    expect_refused(Replacement::begin(&path), "a file of another user");
    assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    // A name that somebody else gave to a file of ours.
    let ours = folder(0o755);
    let secret = ours.path().join("shadow");
    fs::write(&secret, "secret").unwrap();
    let second = shared.path().join("second");
    fs::hard_link(&secret, &second).unwrap();
    expect_refused(create(&second), "a second name");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    // A pipe of theirs.
    let pipe = shared.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        FileType::Fifo,
        Mode::from_raw_mode(0o666),
        0,
    )
    .unwrap();
    give_away(&pipe);
    expect_refused(create(&pipe), "a file of another user");
    // One's own is overwritten, as anywhere.
    let own = shared.path().join("own");
    fs::write(&own, "old").unwrap();
    drop(create(&own).unwrap());
    assert_eq!(fs::metadata(&own).unwrap().len(), 0);
}

#[test]
fn a_replacement_is_there_when_it_is_whole() {
    let folder = folder(0o755);
    let path = folder.path().join("page.html");
    fs::write(&path, "old").unwrap();
    let mut dropped = Replacement::begin(&path).unwrap();
    dropped.file().write_all(b"half").unwrap();
    drop(dropped);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing is left"
    );
    let mut new = Replacement::begin(&path).unwrap();
    new.file().write_all(b"whole").unwrap();
    new.finish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
    // A link in a folder of ours is followed: what it leads to is replaced, not the link.
    let link = folder.path().join("link");
    symlink("page.html", &link).unwrap();
    Replacement::begin(&link).unwrap().finish().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
}
