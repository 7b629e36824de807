//! Names of files, and what stays when one cannot be written.

use super::*;

#[test]
fn numbers_stand_before_the_extension() {
    let name = |path: &str| numbered(Path::new(path), 3).display().to_string();
    assert_eq!(name("t.astrace"), "t.3.astrace");
    assert_eq!(name("/a/b.c/t"), "/a/b.c/t.3");
    assert_eq!(name("x/my.long.name"), "x/my.long.3.name");
}

#[test]
fn a_file_that_is_there_is_never_renamed_over() {
    let folder = tempfile::TempDir::new().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::write(&from, "new").unwrap();
    std::fs::write(&to, "old").unwrap();
    let error = rename_to_new(&from, &to).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "old");
    std::fs::remove_file(&to).unwrap();
    rename_to_new(&from, &to).unwrap();
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "new");
    assert!(!from.exists());
}

#[test]
fn what_is_no_ordinary_file_is_refused_before_anything_is_kept() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("t.astrace");
    check(&path).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::fs::write(&path, "old").unwrap();
    check(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    let link = folder.path().join("link.astrace");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for path in [
        link.as_path(),
        folder.path(),
        Path::new("/"),
        Path::new(""),
        &folder.path().join("none/t.astrace"),
    ] {
        let error = check(path).unwrap_err();
        assert!(matches!(error, RecordingError::Create { .. }), "{error}");
    }
    assert!(link.is_symlink());
}
