//! The page of `report --html` in a real browser: it loads nothing, complains of nothing, lists,
//! sorts, filters and opens requests, shows names as text whatever they hold, and stays quick with
//! a hundred thousand awaits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod html_support;

use std::path::{Path, PathBuf};

use html_support::browser::{Browser, program};
use html_support::sample::{Names, Sample};
use serde_json::json;
use tempfile::TempDir;
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
        requests: &sample.requests,
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

#[test]
fn looks() {
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
            }
        }
    }
    fine(&browser, &file);
}
