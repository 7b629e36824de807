//! The daemon's configuration: bytes that an operator wrote, or somebody who may write that file.
//!
//! Input: the file.

use std::collections::HashSet;

use tracer_user::daemon::config::parse;
use tracer_user::show::escape::escape_lines;

use crate::outlets::assert_safe;

/// Reads a configuration, and holds it against what docs/daemon.md promises of one.
///
/// # Panics
/// When a promise is broken.
pub fn run(bytes: &[u8]) {
    match parse(bytes) {
        Ok(config) => {
            assert!(config.targets.len() <= 64);
            let mut labels = HashSet::new();
            for target in &config.targets {
                assert!(!target.matching.is_empty(), "{} matches all", target.label);
                assert!(labels.insert(&target.label), "{} twice", target.label);
                assert!(
                    target
                        .label
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
                    "{:?}",
                    target.label
                );
            }
            if let Some(metrics) = &config.metrics {
                assert!(metrics.listen.ip().is_loopback(), "{}", metrics.listen);
            }
        }
        Err(error) => {
            let lines = bytes.split(|byte| *byte == b'\n').count();
            assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)));
            assert_safe(escape_lines(&error.to_string()).as_bytes());
        }
    }
}
