//! Numbers and times as words of a known, small width.

use std::time::Duration;

use ratatui::text::Span;

use crate::rebuild::snapshot::TaskState;

/// A count in at most six characters: `17`, `12345`, `123k`, `1.2M`.
#[must_use]
pub fn count(value: u64) -> String {
    match value {
        0..=99_999 => value.to_string(),
        100_000..=999_999 => format!("{}k", value / 1_000),
        1_000_000..=9_999_999 => format!("{}.{}M", value / 1_000_000, value / 100_000 % 10),
        10_000_000..=999_999_999 => format!("{}M", value / 1_000_000),
        _ => format!("{}G", value / 1_000_000_000),
    }
}

/// A rate a second: `0`, `0.3`, `12`, `1.2k`. Whatever is not a finite, positive number is `0`.
#[must_use]
pub fn rate(value: f64) -> String {
    if !value.is_finite() || value < 0.05 {
        "0".to_owned()
    } else if value < 9.95 {
        format!("{value:.1}")
    } else if value < 999.5 {
        format!("{value:.0}")
    } else if value < 99_950.0 {
        format!("{:.1}k", value / 1e3)
    } else if value < 999_500.0 {
        format!("{:.0}k", value / 1e3)
    } else {
        format!("{:.1}M", value / 1e6)
    }
}

/// A share as a percentage: `0%`, `<0.1%`, `3.4%`, `57%`.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if !percent.is_finite() || percent <= 0.0 {
        "0%".to_owned()
    } else if percent < 0.1 {
        "<0.1%".to_owned()
    } else if percent < 9.95 {
        format!("{percent:.1}%")
    } else {
        format!("{percent:.0}%")
    }
}

/// A time span in at most six characters: `480ns`, `12us`, `3.4ms`, `12.3s`, `4m05s`, `2h13m`,
/// `12d`.
#[must_use]
pub fn duration(span: Duration) -> String {
    let nanoseconds = span.as_nanos();
    let seconds = span.as_secs();
    match nanoseconds {
        0 => "0".to_owned(),
        1..=999 => format!("{nanoseconds}ns"),
        1_000..=999_999 => format!("{}us", nanoseconds / 1_000),
        1_000_000..=9_999_999 => {
            format!(
                "{}.{}ms",
                nanoseconds / 1_000_000,
                nanoseconds / 100_000 % 10
            )
        }
        10_000_000..=999_999_999 => format!("{}ms", nanoseconds / 1_000_000),
        _ if seconds < 60 => format!("{seconds}.{}s", span.subsec_millis() / 100),
        _ if seconds < 3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ if seconds < 86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The time from `then` to `now`, both `CLOCK_MONOTONIC` nanoseconds; 0 when `then` is later, as an
/// event may be younger than the clock reading it is compared with.
#[must_use]
pub const fn ago(now: u64, then: u64) -> Duration {
    Duration::from_nanos(now.saturating_sub(then))
}

/// A size in bytes with binary prefixes: `812 B`, `1.2 MiB`.
#[must_use]
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut tenths = size.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// The word for a state.
#[must_use]
pub const fn state(state: TaskState) -> &'static str {
    match state {
        TaskState::Idle => "idle",
        TaskState::Scheduled => "scheduled",
        TaskState::Running => "running",
        TaskState::Complete => "complete",
        TaskState::Unknown => "unknown",
    }
}

/// The word for a state where there is little room.
#[must_use]
pub const fn short_state(state: TaskState) -> &'static str {
    match state {
        TaskState::Idle => "idle",
        TaskState::Scheduled => "sched",
        TaskState::Running => "run",
        TaskState::Complete => "done",
        TaskState::Unknown => "?",
    }
}

/// A source path without the machine's prefix: what follows the registry's folder
/// (`mini-redis-0.4.1/src/server.rs`), the checkout of a git dependency, or the standard library's
/// source; other paths unchanged. Cargo's folder names are those of cargo 1.65 to 1.97.
#[must_use]
pub fn short_path(path: &str) -> &str {
    for folder in ["/registry/src/", "/git/checkouts/"] {
        if let Some((_, inside)) = path.split_once(folder)
            && let Some((_, rest)) = inside.split_once('/')
        {
            return rest;
        }
    }
    if let Some((_, rest)) = path.split_once("/rustlib/src/rust/library/") {
        return rest;
    }
    // `/rustc/<commit>/library/core/src/...`
    if let Some(rest) = path.strip_prefix("/rustc/")
        && let Some((_, rest)) = rest.split_once("/library/")
    {
        return rest;
    }
    path
}

/// Cuts `text` to `width` terminal cells. What is cut off is at the left, where paths have what
/// matters least, and is marked with `…`.
#[must_use]
pub fn keep_right(text: &str, width: usize) -> String {
    if Span::raw(text).width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let mut from = text.len();
    let mut used = 0;
    for (at, character) in text.char_indices().rev() {
        let mut buffer = [0; 4];
        used += Span::raw(&*character.encode_utf8(&mut buffer)).width();
        if used > room {
            break;
        }
        from = at;
    }
    if width == 0 {
        return String::new();
    }
    format!("…{}", &text[from..])
}

/// Cuts `text` to `width` terminal cells at its right end, marked with `…`.
#[must_use]
pub fn keep_left(text: &str, width: usize) -> String {
    if Span::raw(text).width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let mut to = 0;
    let mut used = 0;
    for (at, character) in text.char_indices() {
        let mut buffer = [0; 4];
        used += Span::raw(&*character.encode_utf8(&mut buffer)).width();
        if used > room {
            break;
        }
        to = at + character.len_utf8();
    }
    if width == 0 {
        return String::new();
    }
    format!("{}…", &text[..to])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_small() {
        assert_eq!(count(99_999), "99999");
        assert_eq!(count(100_000), "100k");
        assert_eq!(count(9_999_999), "9.9M");
        assert_eq!(count(12_000_000), "12M");
        assert!(count(u64::MAX).len() < 13);
        assert_eq!(rate(0.0), "0");
        assert_eq!(rate(f64::NAN), "0");
        assert_eq!(rate(0.25), "0.2");
        assert_eq!(rate(9.96), "10");
        assert_eq!(rate(12_345.0), "12.3k");
        assert_eq!(percent(0.0003), "<0.1%");
        assert_eq!(percent(0.034), "3.4%");
        assert_eq!(percent(1.0), "100%");
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(1024 * 1024 * 3 / 2), "1.5 MiB");
        assert_eq!(bytes(1_048_575), "1023.9 KiB");
    }

    #[test]
    fn durations_pick_their_unit() {
        for (nanoseconds, text) in [
            (0, "0"),
            (999, "999ns"),
            (1_000, "1us"),
            (3_450_000, "3.4ms"),
            (999_999_999, "999ms"),
            (12_345_000_000, "12.3s"),
            (245_000_000_000, "4m05s"),
            (8_000_000_000_000, "2h13m"),
            (1_000_000_000_000_000, "11d"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanoseconds)), text);
        }
        assert_eq!(ago(5, 7), Duration::ZERO);
    }

    #[test]
    fn paths_lose_the_machines_prefix() {
        assert_eq!(
            short_path(
                "/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/mini-redis-0.4.1/src/server.rs"
            ),
            "mini-redis-0.4.1/src/server.rs"
        );
        assert_eq!(
            short_path("/rustc/abc/library/core/src/future/poll_fn.rs"),
            "core/src/future/poll_fn.rs"
        );
        assert_eq!(short_path("src/main.rs"), "src/main.rs");
        assert_eq!(short_path("/registry/src/"), "/registry/src/");
    }

    #[test]
    fn cutting_respects_cells_and_characters() {
        assert_eq!(keep_right("app::serve", 10), "app::serve");
        assert_eq!(keep_right("app::serve", 6), "…serve");
        assert_eq!(keep_right("任务任务", 5), "…任务");
        assert_eq!(keep_right("任务任务", 4), "…务");
        assert_eq!(keep_right("abc", 1), "…");
        assert_eq!(keep_right("abc", 0), "");
        assert_eq!(keep_right("", 0), "");
        assert_eq!(keep_left("app::serve", 6), "app::…");
        assert_eq!(keep_left("任务任务", 4), "任…");
        assert_eq!(keep_left("abc", 0), "");
    }
}
