use super::*;
use crate::daemon::config::parse;

/// A made-up `/proc`.
struct Proc(tempfile::TempDir);

impl Proc {
    fn new() -> Self {
        Self(tempfile::TempDir::new().unwrap())
    }

    fn put(&self, pid: i32, comm: &str, exe: &str, start: u64, group: &str) {
        let folder = self.0.path().join(pid.to_string());
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let stat = format!(
            "{pid} ({comm}) S 1 1 1 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 3 0 {start} 1000 20 0\n"
        );
        fs::write(folder.join("stat"), stat).unwrap();
        fs::write(folder.join("cgroup"), format!("0::{group}\n")).unwrap();
        std::os::unix::fs::symlink(exe, folder.join("exe")).unwrap();
    }

    fn remove(&self, pid: i32) {
        fs::remove_dir_all(self.0.path().join(pid.to_string())).unwrap();
    }
}

fn targets() -> Vec<Target> {
    let text = r#"
[[target]]
label = "unit"
unit = "api"
[[target]]
label = "group"
cgroup = "/jobs"
[[target]]
label = "name"
name = "server*"
[[target]]
label = "exe"
exe = "/opt/*/bin/app"
"#;
    parse(text.as_bytes()).unwrap().targets
}

fn pids(found: &[Found]) -> Vec<(i32, usize)> {
    found
        .iter()
        .map(|one| (one.identity.pid, one.target))
        .collect()
}

#[test]
fn each_process_belongs_to_the_first_target_that_it_matches() {
    let proc = Proc::new();
    proc.put(1, "systemd", "/sbin/init", 1, "/init.scope");
    proc.put(
        10,
        "server-a",
        "/usr/bin/server-a",
        5,
        "/system.slice/api.service",
    );
    proc.put(11, "server-a", "/usr/bin/server-a", 6, "/user.slice");
    proc.put(12, "x", "/usr/bin/server-b (deleted)", 7, "/jobs/today");
    proc.put(13, "x", "/usr/bin/server-b (deleted)", 7, "/jobsuite");
    proc.put(14, "worker", "/opt/v2/bin/app", 8, "/");
    proc.put(
        15,
        "a) S (b",
        "/bin/other",
        8,
        "/system.slice/api.service.d",
    );
    proc.put(99, "server-me", "/bin/asynctrace", 9, "/");
    fs::create_dir(proc.0.path().join("sys")).unwrap();
    let mut discovery = Discovery::new(proc.0.path(), 99);
    let found = discovery.look(&targets()).unwrap();
    assert_eq!(pids(&found), [(10, 0), (11, 2), (12, 1), (13, 2), (14, 3)]);
    assert_eq!(found[2].exe, Path::new("/usr/bin/server-b"));
    assert_eq!(found[0].identity.start_time, 5);
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let proc = Proc::new();
    let mut discovery = Discovery::new(proc.0.path(), 0);
    proc.put(10, "server", "/server", 5, "/");
    let first = discovery.look(&targets()).unwrap();
    proc.remove(10);
    assert_eq!(discovery.look(&targets()).unwrap(), []);
    proc.put(10, "server", "/server", 700, "/");
    let second = discovery.look(&targets()).unwrap();
    assert_ne!(first[0].identity, second[0].identity);
    // Of another program that has the name too.
    proc.put(10, "server", "/server-2", 700, "/");
    assert_ne!(second[0], discovery.look(&targets()).unwrap()[0]);
    // And of one that has not.
    proc.put(10, "cat", "/bin/cat", 800, "/");
    assert_eq!(discovery.look(&targets()).unwrap(), []);
}

#[test]
fn a_program_that_is_executed_late_is_found() {
    let proc = Proc::new();
    let mut discovery = Discovery::new(proc.0.path(), 0);
    proc.put(10, "sh", "/bin/sh", 5, "/");
    for _ in 0..5 {
        assert_eq!(discovery.look(&targets()).unwrap(), []);
    }
    proc.put(10, "server", "/server", 5, "/");
    let looks = (0..ALL).find(|_| !discovery.look(&targets()).unwrap().is_empty());
    assert!(looks.is_some());
    proc.put(20, "sh", "/bin/sh", 6, "/");
    discovery.look(&targets()).unwrap();
    proc.put(20, "server", "/server", 6, "/");
    assert_eq!(discovery.look(&targets()).unwrap().len(), 2);
}

#[test]
fn what_is_not_a_process_is_left_out() {
    assert_eq!(stat_of(b""), None);
    assert_eq!(stat_of(b"1 (a"), None);
    assert_eq!(stat_of(b"1 )a( S 1"), None);
    assert_eq!(stat_of(b"1 (a) S 1 1 1 0 -1 4194560 1"), None);
    let zombie = stat_of(b"1 (a) Z 1 1 1 0 -1 4 1 0 0 0 1 1 0 0 20 0 3 0 77 1 2").unwrap();
    assert!(zombie.over && zombie.start_time == 77);
    let thread = stat_of(b"2 (k) S 0 0 0 0 -1 2129984 1 0 0 0 1 1 0 0 20 0 3 0 7 1 2").unwrap();
    assert!(thread.of_kernel);
    assert_eq!(pid_of(OsStr::new("+1")), None);
    let groups = groups_of(b"12:cpu:/a\n1:name=systemd:/b\n0::/c:d\nx");
    let told = groups
        .iter()
        .map(|group| (group.path.as_str(), group.is_of_systemd));
    assert!(
        told.eq([("/a", false), ("/b", true), ("/c:d", true)]),
        "{groups:?}"
    );
}
