use super::*;

const FULL: &str = r#"
[control]
socket = "/run/asynctrace/c.sock"

[metrics]
listen = "[::1]:9000"
max_types = 10

[recordings]
directory = "/var/lib/asynctrace"
max_size = "64M"
max_files = 3

[log]
format = "json"
level = "debug"

[discovery]
period = "250ms"

[[target]]
label = "api"
name = "my-server*"
unit = "api"
max_overhead = 2.5
long_poll = "50ms"

[[target]]
label = "jobs"
cgroup = "/system.slice/jobs.slice/"
requests = ["jobs::run*"]
findings = false
max_processes = 2
max_overhead = 1
"#;

#[test]
fn everything_that_is_written_is_taken() {
    let config = parse(FULL.as_bytes()).unwrap();
    assert_eq!(config.control.socket.0, Path::new("/run/asynctrace/c.sock"));
    let metrics = config.metrics.unwrap();
    assert_eq!(metrics.listen.to_string(), "[::1]:9000");
    assert_eq!(metrics.max_types, 10);
    let recordings = config.recordings.unwrap();
    assert_eq!((recordings.max_size, recordings.max_files), (64 << 20, 3));
    assert_eq!(config.period, Duration::from_millis(250));
    assert_eq!(config.log.format, LogFormat::Json);
    let [api, jobs] = config.targets.try_into().unwrap();
    assert!(api.matching.name.unwrap().matches("my-server-2"));
    let unit = api.matching.unit.unwrap();
    assert!(unit.matches("api.service") && !unit.matches("api"));
    assert!((api.max_overhead.get() - 2.5).abs() < 1e-9);
    assert_eq!(api.thresholds.long_poll, 50_000_000);
    assert_eq!(api.thresholds.stalled, Thresholds::default().stalled);
    assert!(api.findings && !jobs.findings);
    assert_eq!(jobs.matching.cgroup.unwrap(), "/system.slice/jobs.slice");
    assert!((jobs.max_overhead.get() - 1.0).abs() < 1e-9);
}

#[test]
fn the_example_is_good() {
    let config = parse(include_bytes!("../../../packaging/daemon.toml")).unwrap();
    assert_eq!(config.control, Control::default());
    assert_eq!(config.metrics.unwrap().listen, default_listen());
    assert_eq!(config.targets.len(), 1);
}

#[test]
fn an_empty_file_is_a_daemon_without_targets() {
    let config = parse(b"").unwrap();
    assert_eq!(config.control.socket.0, Path::new(DEFAULT_SOCKET));
    assert_eq!((config.metrics, config.recordings), (None, None));
    assert_eq!(config.targets, []);
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let target = "[[target]]\nlabel = \"a\"\nname = \"x\"\n";
    for (text, line, word) in [
        ("\n\nnonsense", Some(3), ""),
        ("[control]\nsocket = 5", Some(2), "string"),
        ("[control]\nsocket = \"c.sock\"", Some(2), "absolute"),
        ("[metrics]\nlisten = \"0.0.0.0:1\"", Some(2), "loopback"),
        ("[metrics]\nlisten = \"192.168.1.1:1\"", Some(2), "loopback"),
        ("[metrics]\nlisten = \"localhost\"", Some(2), "address"),
        ("[recordings]\nmax_size = \"1M\"", Some(1), "directory"),
        ("[log]\nformat = \"xml\"", Some(2), "xml"),
        ("[discovery]\nperiod = \"1ms\"", Some(2), "100ms"),
        ("[contrl]\n", Some(1), "contrl"),
        ("[[target]]\nlabel = \"a\"\n", Some(1), "one of name"),
        ("[[target]]\nname = \"a\"\n", Some(1), "label"),
        (
            "[[target]]\nlabel = \"a b\"\nname = \"x\"\n",
            Some(2),
            "letters",
        ),
        (
            "[[target]]\nlabel = \"a\"\nunit = \"a/b\"\n",
            Some(3),
            "slash",
        ),
        (
            "[[target]]\nlabel = \"a\"\ncgroup = \"/\"\n",
            Some(3),
            "every",
        ),
        ("[[target]]\nlabel = \"a\"\nname = \"\"\n", Some(3), "empty"),
        (&format!("{target}max_overhead = 0\n"), Some(4), "percent"),
        (&format!("{target}max_overhead = nan\n"), Some(4), "percent"),
        (&format!("{target}max_processes = 0\n"), Some(4), "10000"),
        (&format!("{target}long_poll = \"10\"\n"), Some(4), "unit"),
        (
            &format!("{target}long_pole = \"10ms\"\n"),
            Some(4),
            "long_pole",
        ),
        (&format!("{target}\n{target}"), Some(5), "second"),
    ] {
        let error = parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
        assert!(error.reason.contains(word), "{text}: {error}");
        assert!(!error.reason.contains('\n'), "{text}: {error:?}");
    }
    assert_eq!(parse(b"\n\xff").unwrap_err().line, Some(2));
    assert!(parse(&vec![b'\n'; 2 << 20]).is_err());
}

#[test]
fn a_file_is_named_in_the_error() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("d.toml");
    let error = load(&path).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::BadFile);
    std::fs::write(&path, "[metrics]\nlisten = \"8.8.8.8:53\"\n").unwrap();
    let error = load(&path).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Usage);
    let text = error.to_string();
    assert!(text.contains("d.toml: line 2: "), "{text}");
}

proptest::proptest! {
    #[test]
    fn noise_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn a_damaged_file_never_panics(at in 0..FULL.len(), byte: u8) {
        let mut bytes = FULL.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = parse(&bytes);
    }
}
