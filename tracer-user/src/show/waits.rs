//! What a leaf waits for, in words.

use std::time::Duration;

use serde_json::Value;

use super::live::format;
use crate::rebuild::tree::WaitsFor;

/// One phrase: `sleep, 16m38s left`, `mutex 0x55d0 (0 permits free)`, `tcp read, fd 11,
/// 127.0.0.1:6379 <- 127.0.0.1:51234`. Kinds without words of their own are shown field by field.
#[must_use]
pub fn describe(waits_for: &WaitsFor) -> String {
    let text = |name: &str| waits_for.details.get(name).and_then(Value::as_str);
    let number = |name: &str| waits_for.details.get(name).and_then(Value::as_i64);
    let address = text("address").unwrap_or("?");
    match waits_for.kind {
        "sleep" => match number("remaining_ms") {
            Some(left) => {
                let span = format::duration(Duration::from_millis(left.unsigned_abs()));
                if left < 0 {
                    format!("sleep, due {span} ago")
                } else {
                    format!("sleep, {span} left")
                }
            }
            None => "sleep".to_owned(),
        },
        "lock" => format!(
            "{} {address}{}",
            text("lock").unwrap_or("lock").replace('_', " "),
            permits(waits_for)
        ),
        "semaphore" => format!("semaphore {address}{}", permits(waits_for)),
        "channel" => format!(
            "{} {} {address}",
            text("channel").unwrap_or("channel"),
            text("side").unwrap_or("")
        ),
        "oneshot" => format!("oneshot {address}"),
        "notify" => format!("notify {address}"),
        "join" => join(waits_for),
        "io" => io(waits_for),
        "yield" => "its turn (it yielded)".to_owned(),
        "hand_written" => match text("waker_kept") {
            Some("none") => "something of its own, and it keeps no waker".to_owned(),
            Some("other") => {
                "something of its own, and it keeps a waker of another task".to_owned()
            }
            _ => "something of its own".to_owned(),
        },
        "never" => "nothing: it is pending for ever".to_owned(),
        kind => {
            let mut phrase = kind.to_owned();
            for (name, value) in waits_for.details.iter() {
                phrase.push_str(&match value {
                    Value::String(text) => format!(", {name} {text}"),
                    other => format!(", {name} {other}"),
                });
            }
            phrase
        }
    }
}

/// What is held, as a phrase: `mutex 0x55d0`, `3 permits of semaphore 0x55d0`, `the sending end of
/// mpsc 0x55d0 (1 sender)`.
#[must_use]
pub fn describe_held(what: &WaitsFor) -> String {
    let address = what.text("address").unwrap_or("?");
    match what.kind {
        "lock" => format!(
            "{} {address}",
            what.text("lock").unwrap_or("lock").replace('_', " ")
        ),
        "semaphore" => match what.number("permits") {
            Some(1) | None => format!("a permit of semaphore {address}"),
            Some(count) => format!("{count} permits of semaphore {address}"),
        },
        "channel" => {
            let end = match what.text("side") {
                Some("receive") => "receiving",
                _ => "sending",
            };
            let count = match what.number("senders") {
                Some(1) => " (1 sender)".to_owned(),
                Some(count) => format!(" ({count} senders)"),
                None => String::new(),
            };
            let reserved = what
                .number("reserved")
                .map_or_else(String::new, |reserved| {
                    format!("{reserved} reserved places of ")
                });
            format!(
                "{reserved}the {end} end of {} {address}{count}",
                what.text("channel").unwrap_or("a channel")
            )
        }
        "oneshot" => format!("the sending end of oneshot {address}"),
        _ => describe(what),
    }
}

fn permits(waits_for: &WaitsFor) -> String {
    let number = |name: &str| waits_for.details.get(name).and_then(Value::as_u64);
    let wanted = match number("permits") {
        // A lock's one permit, or all of them, go without saying.
        Some(1 | 536_870_911) | None => String::new(),
        Some(wanted) => format!("wants {wanted}, "),
    };
    match number("permits_available") {
        Some(free) => format!(" ({wanted}{free} free)"),
        None => String::new(),
    }
}

fn join(waits_for: &WaitsFor) -> String {
    if let Some(task) = waits_for.details.get("task") {
        return format!("join of task {}", task.as_str().unwrap_or("?"));
    }
    let count = waits_for
        .details
        .get("tasks_waited_for")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    let named: Vec<&str> = waits_for
        .details
        .get("tasks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .take(3)
        .collect();
    let more = if count > named.len() as u64 {
        ", ..."
    } else {
        ""
    };
    format!("join of any of {count} tasks ({}{more})", named.join(", "))
}

fn io(waits_for: &WaitsFor) -> String {
    let text = |name: &str| waits_for.details.get(name).and_then(Value::as_str);
    let mut phrase = format!(
        "{} {}",
        text("resource").unwrap_or("i/o"),
        text("interest").unwrap_or("").replace('_', "/")
    )
    .trim_end()
    .to_owned();
    if let Some(fd) = waits_for.details.get("fd").and_then(Value::as_i64) {
        phrase.push_str(&format!(", fd {fd}"));
    }
    match (text("local"), text("peer")) {
        (Some(local), Some(peer)) => {
            let arrow = if text("interest") == Some("write") {
                "->"
            } else {
                "<-"
            };
            phrase.push_str(&format!(", {local} {arrow} {peer}"));
        }
        (Some(local), None) => phrase.push_str(&format!(", {local}")),
        _ => {}
    }
    if let Some(path) = text("path") {
        phrase.push_str(&format!(", {path}"));
    }
    phrase
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_words() {
        let sleep = WaitsFor::new("sleep")
            .with("deadline_ns", 5)
            .with("remaining_ms", -2500);
        assert_eq!(describe(&sleep), "sleep, due 2.5s ago");
        let lock = WaitsFor::new("lock")
            .with("lock", "rwlock_write")
            .with("address", "0x10")
            .with("permits", 536_870_911)
            .with("permits_available", 536_870_910);
        assert_eq!(describe(&lock), "rwlock write 0x10 (536870910 free)");
        let io = WaitsFor::new("io")
            .with("fd", 7)
            .with("interest", "read")
            .with("resource", "tcp")
            .with("local", "127.0.0.1:1")
            .with("peer", "127.0.0.1:2");
        assert_eq!(describe(&io), "tcp read, fd 7, 127.0.0.1:1 <- 127.0.0.1:2");
        let join = WaitsFor::new("join")
            .with("tasks_waited_for", 9)
            .with("tasks", vec!["tokio/1", "tokio/2", "tokio/3", "tokio/4"]);
        assert_eq!(
            describe(&join),
            "join of any of 9 tasks (tokio/1, tokio/2, tokio/3, ...)"
        );
        assert_eq!(
            describe(&WaitsFor::new("bell").with("rings", 3)),
            "bell, rings 3"
        );
    }
}
