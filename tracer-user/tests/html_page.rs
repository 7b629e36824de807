//! The page of `report --html` in a real browser: it loads nothing, complains of nothing, lists,
//! sorts, filters and opens requests, shows names as text whatever they hold, and stays quick with
//! a hundred thousand awaits.
//!
//! Names begin with `browser_`: `cargo xtask test` leaves them out by that, and says so, where there
//! is no Chromium.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod html_support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use html_support::browser::{Browser, program};
use html_support::sample::{Names, Sample};
use serde_json::json;
use tempfile::TempDir;
use tracer_user::analyse::levels::Nesting;
use tracer_user::analyse::requests::compare::kinds;
use tracer_user::export::recording::{End, Header, Loss, Writer};
use tracer_user::rebuild::snapshot::ProcessInfo;
use tracer_user::rebuild::tracker::Statistics;
use tracer_user::show::html::{Head, Limits, Page, save};

/// A browser; `None`, said aloud, where there is none.
fn browser() -> Option<Browser> {
    let Some(program) = program() else {
        eprintln!("LEFT OUT: no chromium (cargo xtask setup, or apt-get install chromium)");
        return None;
    };
    Some(Browser::start(&program, 1280, 800))
}

fn page(sample: &Sample, folder: &TempDir, limits: Limits) -> PathBuf {
    let path = |request: &tracer_user::analyse::requests::Request| {
        sample.paths[request.id as usize - 1].clone()
    };
    let nesting = Nesting::new(&sample.history);
    let kinds = kinds(&sample.history, &nesting, &sample.requests);
    let page = Page {
        head: Head {
            tool: "asynctrace test".to_owned(),
            file: "shop.astrace".to_owned(),
            exe: "/srv/bin/shop".to_owned(),
            pid: 4242,
            host: "tokio on Linux 6.18 x86_64, 2 CPUs".to_owned(),
            started_unix_us: Some(1_795_000_000_000_000),
            lossless: true,
            unseen: vec![("shop::inlined".to_owned(), "inlined everywhere".to_owned())],
            ..Head::default()
        },
        history: &sample.history,
        nesting: &nesting,
        requests: &sample.requests,
        kinds: &kinds,
        path: &path,
        limits,
    };
    let file = folder.path().join("report.html");
    save(&page, &file).unwrap();
    file
}

fn fine(browser: &Browser, file: &Path) {
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let own = format!("file://{}", file.display());
    let others: Vec<String> = browser
        .requests()
        .into_iter()
        .filter(|url| *url != own)
        .collect();
    assert_eq!(others, Vec::<String>::new(), "the page loads nothing");
}

/// The texts of a column of the list in sight, by its place.
fn column(browser: &mut Browser, at: usize) -> Vec<String> {
    let script = format!(
        "[...document.querySelectorAll('.list .row')].map((row) => row.children[{at}].textContent)"
    );
    serde_json::from_value(browser.eval(&script)).unwrap()
}

fn summary(browser: &mut Browser) -> String {
    browser.settle();
    let text = browser.eval("document.querySelector('.summary').textContent");
    text.as_str().unwrap().to_owned()
}

/// Types into an input as a user would.
fn fill(browser: &mut Browser, selector: &str, text: &str) {
    let (selector, text) = (json!(selector), json!(text));
    browser.eval(&format!(
        "(() => {{ const input = document.querySelector({selector}); input.value = {text}; \
         input.dispatchEvent(new Event('input')); }})()"
    ));
    browser.settle();
}

#[test]
fn browser_it_lists_sorts_filters_and_opens_requests() {
    let Some(mut browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = page(
        &Sample::new(400, Names::default()),
        &folder,
        Limits::default(),
    );
    browser.open(&file);
    browser.settle();

    // The slowest are first; one in twenty sleeps 30 ms, the last never ended.
    assert_eq!(column(&mut browser, 0)[..3], ["400", "14", "34"]);
    assert_eq!(
        column(&mut browser, 2)[..3],
        ["≥ 61.6 ms", "30.9 ms", "30.9 ms"]
    );
    assert_eq!(column(&mut browser, 3)[..2], ["open", "ready"]);
    assert_eq!(
        column(&mut browser, 6)[1],
        "97 % waiting Sleep at src/server.rs:66"
    );
    let said = summary(&mut browser);
    assert!(said.starts_with("400 requests: p50 1.4"), "{said}");
    assert!(said.contains("1 still open"), "{said}");
    let common = browser.eval("document.querySelector('.common').textContent");
    let common = common.as_str().unwrap();
    assert!(
        common.starts_with("What the 23 slow ones of handle have in common"),
        "{common}"
    );
    assert!(
        common.contains("23 of 23 spent 30.0 ms in Sleep at src/server.rs:66"),
        "{common}"
    );
    // Only what is in sight is there.
    assert!(column(&mut browser, 0).len() < 60);

    browser.eval("[...document.querySelectorAll('.list-head button')][0].click()");
    browser.settle();
    assert_eq!(column(&mut browser, 0)[..2], ["400", "399"]);
    browser.eval("[...document.querySelectorAll('.list-head button')][0].click()");
    browser.settle();
    assert_eq!(column(&mut browser, 0)[..3], ["1", "2", "3"]);
    assert_eq!(
        browser.eval("document.querySelector('[role=columnheader]').getAttribute('aria-sort')"),
        "ascending"
    );

    fill(&mut browser, ".short-input", "10 ms");
    let said = summary(&mut browser);
    assert!(said.starts_with("21 requests of 400"), "{said}");
    fill(&mut browser, "#filter", "ready sleep");
    assert!(summary(&mut browser).starts_with("20 requests of 400"));
    fill(&mut browser, "#filter", "no such thing");
    assert_eq!(summary(&mut browser), "no request");
    fill(&mut browser, ".short-input", "soon");
    assert_eq!(
        browser.eval("document.querySelector('.short-input').getAttribute('aria-invalid')"),
        "true"
    );
    browser.eval("[...document.querySelectorAll('.tools button')].find((b) => b.textContent === 'clear').click()");
    assert!(summary(&mut browser).starts_with("400 requests:"));

    // The keyboard opens the second of the list.
    browser.eval("document.querySelector('.list').focus()");
    for key in ["ArrowDown", "ArrowDown", "Enter"] {
        browser.key(key);
    }
    assert_eq!(browser.eval("location.hash"), "#request/2");
    fine(&browser, &file);
}

#[test]
fn browser_a_request_shows_its_graph_and_critical_path() {
    let Some(mut browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = page(
        &Sample::new(40, Names::default()),
        &folder,
        Limits::default(),
    );
    browser.open(&file);
    browser.eval("location.hash = 'request/14'");
    browser.settle();
    assert_eq!(
        browser.eval("document.querySelector('h2').textContent"),
        "handle: 30.9 ms"
    );
    let answer = browser.eval("document.querySelector('.answer').textContent");
    assert!(
        answer
            .as_str()
            .unwrap()
            .starts_with("Mostly: 97 % waiting Sleep at src/server.rs:66 (30.0 ms)"),
        "{answer}"
    );
    let rows = "[...document.querySelectorAll('.graph .row .name')].map((n) => n.getAttribute('aria-label'))";
    let rows: Vec<String> = serde_json::from_value(browser.eval(rows)).unwrap();
    assert_eq!(
        rows,
        [
            "tokio/3 connection::{async_block#0}",
            "polls",
            "handle, src/server.rs:31, 30.9 ms",
            "lock, src/server.rs:40, 130 µs",
            "query, src/server.rs:44, 30.4 ms",
            "ReadExact<…>, src/server.rs:61, 380 µs",
            "Sleep, src/server.rs:66, 30.0 ms",
            "tokio/17 write",
            "polls",
            "write, ≥ 230 µs",
            "send, src/server.rs:12, 180 µs",
            "JoinHandle<…>, src/server.rs:52, 280 µs",
        ]
    );
    // Pieces in order follow each other and make up the whole.
    browser.eval("[...document.querySelectorAll('button')].find((b) => b.textContent === 'in order').click()");
    browser.settle();
    let together = browser
        .eval("document.body.textContent.includes('15 pieces, together 30.9 ms of 30.9 ms')");
    assert_eq!(together, true);
    assert_eq!(column(&mut browser, 0)[..2], ["+0", "+20 µs"]);

    // A row tells what is known of it; closing one hides what is in it.
    browser.eval("[...document.querySelectorAll('.graph .row')][6].click()");
    let facts = browser.eval("document.querySelector('.details').textContent");
    for part in [
        "tokio::time::sleep::Sleep",
        "/home/dev/shop/src/server.rs:66",
        "for the timer",
        "polled 20 µs later",
    ] {
        assert!(facts.as_str().unwrap().contains(part), "{part} in {facts}");
    }
    browser.eval("document.querySelector('.graph-scroll').focus()");
    for key in ["ArrowUp", "ArrowUp", "ArrowLeft"] {
        browser.key(key);
    }
    assert_eq!(
        browser.eval("document.querySelectorAll('.graph .row').length"),
        10
    );
    let expanded = "document.querySelector('.graph .row.current').getAttribute('aria-expanded')";
    assert_eq!(browser.eval(expanded), "false");

    // Something is drawn: bars, and the critical path in its own colour.
    let painted = browser.eval(
        "(() => { const c = document.querySelector('.bars'); const data = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; \
         const path = [0xb3, 0x13, 0x6b]; let n = 0; for (let i = 0; i < data.length; i += 4) if (path.every((v, k) => data[i + k] === v)) n += 1; return n; })()",
    );
    assert!(
        painted.as_u64().unwrap() > 500,
        "{painted} pixels of critical path"
    );

    // Next and previous go by the order of the list; back goes back.
    browser.key("j");
    assert_eq!(browser.eval("location.hash"), "#request/34");
    browser.key("k");
    assert_eq!(browser.eval("location.hash"), "#request/14");
    browser.eval("location.hash = 'task/3'");
    browser.settle();
    assert_eq!(
        column(&mut browser, 2)[..3],
        ["polled", "await began", "await began"]
    );
    browser.eval("location.hash = 'profile'");
    browser.settle();
    assert!(
        browser
            .eval("document.querySelectorAll('.flame .box').length")
            .as_u64()
            .unwrap()
            > 6
    );
    browser.eval("[...document.querySelectorAll('.flame .box')].find((b) => b.textContent.startsWith('query')).click()");
    browser.settle();
    assert_eq!(browser.eval("[...document.querySelectorAll('.flame .box')].some((b) => b.textContent.startsWith('JoinHandle'))"), false);
    fine(&browser, &file);
}

#[test]
fn browser_names_stay_text() {
    let Some(mut browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let names = Names {
        handle: "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
        query: "evil\u{202e}\u{2028}\0\x1b[2J::{{constructor}}::__proto__",
    };
    let file = page(&Sample::new(30, names), &folder, Limits::default());
    browser.open(&file);
    for address in ["requests", "request/14", "tasks", "task/3", "profile"] {
        browser.eval(&format!("location.hash = '{address}'"));
        browser.settle();
        assert_eq!(
            browser.eval("document.querySelectorAll('main img, main script').length"),
            0
        );
        assert_eq!(browser.eval("document.title"), "asynctrace: shop (4242)");
    }
    let text = browser.eval("document.body.textContent");
    let text = text.as_str().unwrap();
    assert!(
        text.contains("{{constructor}}::__proto__") || text.contains("__proto__"),
        "shown as text"
    );
    assert!(!text.contains(['\u{202e}', '\u{2028}', '\0', '\x1b']));
    browser.eval("location.hash = 'request/14'");
    browser.settle();
    let code = browser.eval("document.querySelector('.request-head code').textContent");
    assert_eq!(
        code,
        "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    );
    fine(&browser, &file);
    // What the policy is for: even a slip of ours would not run.
    let refused = browser.eval("(() => { try { document.body.innerHTML = '<p>x'; return 'done'; } catch (error) { return error.name; } })()");
    assert_eq!(refused, "TypeError");
}

#[test]
fn browser_what_was_left_out_is_said() {
    let Some(mut browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        requests: 50,
        awaits: 100,
        polls: 100,
        wakes: 80,
        units: 20,
        pieces: 60,
        flame: 5,
    };
    let file = page(&Sample::new(200, Names::default()), &folder, limits);
    browser.open(&file);
    browser.settle();
    let notes = browser.eval("document.getElementById('notes').textContent");
    let notes = notes.as_str().unwrap();
    assert!(
        notes.contains("does not hold 150 requests (the slowest are in)"),
        "{notes}"
    );
    assert!(notes.contains("critical paths"), "{notes}");
    // The profile counts all of them.
    browser.eval("location.hash = 'profile'");
    browser.settle();
    assert_eq!(column(&mut browser, 1)[0], "200");
    browser.eval("location.hash = 'request/14'");
    browser.settle();
    assert_eq!(
        browser.eval("document.querySelector('.graph') !== null"),
        true
    );
    // A fast one is in the list, and its graph is said not to be there.
    browser.eval("location.hash = 'requests'");
    browser.settle();
    let fast = browser.eval("(() => { const rows = [...document.querySelectorAll('.list .row')]; return rows[rows.length - 1].children[0].textContent; })()");
    browser.eval(&format!(
        "location.hash = 'request/{}'",
        fast.as_str().unwrap()
    ));
    browser.settle();
    let text = browser.eval("document.getElementById('view').textContent");
    assert!(
        text.as_str()
            .unwrap()
            .contains("Its graph is not in this page"),
        "{text}"
    );
    fine(&browser, &file);
}

#[test]
fn browser_an_empty_recording_says_so() {
    let Some(mut browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = page(
        &Sample::new(0, Names::default()),
        &folder,
        Limits::default(),
    );
    browser.open(&file);
    for (address, said) in [
        ("requests", "No requests in this recording"),
        ("tasks", "No tasks in this recording"),
        ("profile", "No await is known"),
        ("request/1", "There is no request 1"),
        ("task/1", "There is no such task"),
    ] {
        browser.eval(&format!("location.hash = '{address}'"));
        browser.settle();
        let text = browser.eval("document.getElementById('view').textContent");
        assert!(text.as_str().unwrap().contains(said), "{address}: {text}");
    }
    fine(&browser, &file);
}

/// As a user runs it: from a file to a page, or to an error that says what to do.
#[test]
fn browser_the_command_writes_a_page_of_a_recording() {
    let Some(mut browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("t.astrace");
    let process = ProcessInfo {
        pid: 4242,
        exe: "/srv/app".into(),
        build_id: None,
    };
    let header = Header::new(process, "tokio");
    let mut writer = Writer::create(&recording, &header).unwrap();
    let loss = Loss {
        cpu: 1,
        count: 3,
        until: header.started + 5,
    };
    writer.losses(&[loss]).unwrap();
    let end = End {
        time: header.started + 1_000_000_000,
        reason: "interrupted".into(),
        events: 0,
        statistics: Statistics::default(),
    };
    writer.finish(&end).unwrap();

    let run = |out: &Path| {
        Command::new(env!("CARGO_BIN_EXE_asynctrace"))
            .arg("report")
            .arg(&recording)
            .arg("--html")
            .arg(out)
            .output()
            .unwrap()
    };
    let out = folder.path().join("out.html");
    let output = run(&out);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stdout.is_empty());
    browser.open(&out);
    let text = browser.eval("document.querySelector('header').textContent");
    let text = text.as_str().unwrap();
    for part in [
        "app pid 4242",
        "1 s recorded",
        "ended: interrupted",
        "3 records were lost",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("nothing was lost"));
    fine(&browser, &out);

    let output = run(&folder.path().join("none/out.html"));
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("Choose a folder"));
}

/// Times are printed, not asserted tightly: the machine may be busy.
#[test]
fn browser_a_hundred_thousand_awaits_stay_quick() {
    let Some(mut browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let sample = Sample::new(12_500, Names::default());
    assert!(sample.history.awaits.len() >= 100_000);
    let begin = Instant::now();
    let file = page(&sample, &folder, Limits::default());
    let written = begin.elapsed();
    let bytes = file.metadata().unwrap().len();
    let begin = Instant::now();
    browser.open(&file);
    browser.settle();
    let opened = begin.elapsed();
    let list = scroll(&mut browser, ".list");
    // Sorting all of them, by name.
    let sorted = timed(
        &mut browser,
        "[...document.querySelectorAll('.list-head button')].find((b) => b.textContent === 'mostly').click()",
    );
    let filtered = {
        let begin = Instant::now();
        fill(&mut browser, "#filter", "ready sleep");
        begin.elapsed().as_secs_f64() * 1e3
    };
    browser.eval("location.hash = 'tasks'");
    browser.settle();
    let tasks = scroll(&mut browser, ".list");
    let graph = {
        let took = timed(&mut browser, "location.hash = 'task/3'");
        let frames = scroll(&mut browser, ".graph-scroll");
        (took, frames)
    };
    let profile = timed(&mut browser, "location.hash = 'profile'");
    println!(
        "{} awaits: page of {:.1} MB written in {written:.0?}, opened in {opened:.0?}; frames while scrolling \
         (mean, worst): list {list:.1?} ms, tasks {tasks:.1?} ms, graph {:.1?} ms (opened in {:.0} ms); \
         sorted in {sorted:.0} ms, filtered in {filtered:.0} ms, profile in {profile:.0} ms",
        sample.history.awaits.len(),
        bytes as f64 / 1e6,
        graph.1,
        graph.0,
    );
    assert!(opened < Duration::from_secs(30), "{opened:?}");
    assert!(
        browser
            .eval("document.getElementsByTagName('*').length")
            .as_u64()
            .unwrap()
            < 5_000
    );
    fine(&browser, &file);
}

/// How long it takes until what an expression does is drawn, in milliseconds.
fn timed(browser: &mut Browser, expression: &str) -> f64 {
    let script = format!(
        "new Promise((done) => {{ const begin = performance.now(); {expression}; \
         requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - begin))); }})"
    );
    browser.eval(&script).as_f64().unwrap()
}

/// Scrolls through all of it in 60 frames; the mean and the worst frame in milliseconds.
fn scroll(browser: &mut Browser, selector: &str) -> (f64, f64) {
    let script = format!(
        "new Promise((done) => {{ const node = document.querySelector('{selector}'); const times = []; \
         let before = performance.now(); let n = 0; \
         const step = (now) => {{ times.push(performance.now() - before); before = performance.now(); \
         n += 1; node.scrollTop = (node.scrollHeight * n) / 60; \
         if (n < 60) requestAnimationFrame(step); else done([times.reduce((a, b) => a + b) / times.length, Math.max(...times)]); }}; \
         requestAnimationFrame(step); }})"
    );
    let value = browser.eval(&script);
    (value[0].as_f64().unwrap(), value[1].as_f64().unwrap())
}

/// One request that awaits a hundred thousand things, in one task: nothing is spared.
#[test]
fn browser_one_request_with_everything_in_it_opens() {
    let Some(mut browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut sample = Sample::new(12_500, Names::default());
    sample.all_in_one();
    let file = page(&sample, &folder, Limits::default());
    browser.open(&file);
    browser.settle();
    let opened = timed(&mut browser, "location.hash = 'request/1'");
    let frames = scroll(&mut browser, ".graph-scroll");
    let closed = timed(
        &mut browser,
        "[...document.querySelectorAll('.graph button')].find((b) => b.textContent === 'tasks').click()",
    );
    println!(
        "one request of {} awaits: opened in {opened:.0} ms, frames while scrolling (mean, worst) {frames:.1?} ms, closed in {closed:.0} ms",
        sample.history.awaits.len()
    );
    assert!(
        browser
            .eval("document.querySelectorAll('.graph .row').length")
            .as_u64()
            .unwrap()
            < 100
    );
    fine(&browser, &file);
}

/// Pictures to be looked at, where `ASYNCTRACE_SCREENSHOTS` names a folder for them.
#[test]
fn browser_it_fits_wide_and_narrow_windows_light_and_dark() {
    let Some(mut browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let sample = Sample::new(400, Names::default());
    let file = page(&sample, &folder, Limits::default());
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for (width, height) in [(1280, 800), (480, 800)] {
            browser.size(width, height);
            browser.open(&file);
            for address in ["requests", "request/14", "tasks", "task/3", "profile"] {
                browser.eval(&format!("location.hash = '{address}'"));
                browser.settle();
                let name = address.replace('/', "-");
                browser.screenshot(&format!("{name}-{scheme}-{width}"));
                let over =
                    "document.documentElement.scrollWidth - document.documentElement.clientWidth";
                assert_eq!(
                    browser.eval(over),
                    0,
                    "{address} at {width}: no sideways scrolling"
                );
            }
        }
    }
    fine(&browser, &file);
}
