//! Single values of a configuration: what may be written, and what they are when nothing is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};
use wildmatch::WildMatch;

use super::{MAX_LABEL, MAX_TEXT, Percent};
use crate::analyse::findings::Thresholds;
use crate::cli::{duration, size};

pub(super) const fn yes() -> bool {
    true
}
pub(super) const fn default_types() -> usize {
    50
}
pub(super) const fn default_processes() -> usize {
    16
}
pub(super) const fn default_max_size() -> u64 {
    512 << 20
}
pub(super) const fn default_max_files() -> usize {
    100
}
/// The port that Prometheus' list of exporters leaves free.
const DEFAULT_PORT: u16 = 9_878;

pub(super) const fn default_listen() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT)
}
pub(super) const fn default_overhead() -> Percent {
    Percent(500)
}
pub(super) fn default_long_poll() -> u64 {
    Thresholds::default().long_poll
}
pub(super) fn default_slow_to_run() -> u64 {
    Thresholds::default().slow_to_run
}
pub(super) fn default_stalled() -> u64 {
    Thresholds::default().stalled
}

pub(super) fn absolute(path: PathBuf) -> Result<PathBuf, String> {
    if path.as_os_str().len() > MAX_TEXT {
        return Err(format!("longer than {MAX_TEXT} bytes"));
    }
    if path.to_str().is_some_and(|text| text.contains('\0')) {
        return Err("has a zero byte".to_owned());
    }
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(
            "must be an absolute path: the daemon has no folder of its own to start from"
                .to_owned(),
        )
    }
}

pub(super) fn absolute_path<'de, D: Deserializer<'de>>(input: D) -> Result<PathBuf, D::Error> {
    absolute(PathBuf::deserialize(input)?).map_err(D::Error::custom)
}

pub(super) fn optional_path<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<PathBuf>, D::Error> {
    absolute_path(input).map(Some)
}

pub(super) fn loopback<'de, D: Deserializer<'de>>(input: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(input)?;
    let address: SocketAddr = text.parse().map_err(|_| {
        D::Error::custom("not an address with a port, as in 127.0.0.1:9878 or [::1]:9878")
    })?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(D::Error::custom(
            "not an address of the loopback device: metrics have no access control",
        ))
    }
}

pub(super) fn types<'de, D: Deserializer<'de>>(input: D) -> Result<usize, D::Error> {
    match usize::deserialize(input)? {
        number @ 0..=1_000 => Ok(number),
        _ => Err(D::Error::custom("must be 0 to 1000")),
    }
}

pub(super) fn count<'de, D: Deserializer<'de>>(input: D) -> Result<usize, D::Error> {
    match usize::deserialize(input)? {
        number @ 1..=10_000 => Ok(number),
        _ => Err(D::Error::custom("must be 1 to 10000")),
    }
}

pub(super) fn file_size<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    size::bytes(&String::deserialize(input)?).map_err(D::Error::custom)
}

pub(super) fn time<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    duration::with_unit(&String::deserialize(input)?).map_err(D::Error::custom)
}

pub(super) fn period<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let period = Duration::from_nanos(time(input)?);
    if (Duration::from_millis(100)..=Duration::from_secs(60)).contains(&period) {
        Ok(period)
    } else {
        Err(D::Error::custom("must be 100ms to 60s"))
    }
}

pub(super) fn percent<'de, D: Deserializer<'de>>(input: D) -> Result<Percent, D::Error> {
    // An integer is a number too.
    let percent = f64::deserialize(input)?;
    if (0.01..=100.0).contains(&percent) {
        Ok(Percent((percent * 100.0).round() as u32))
    } else {
        Err(D::Error::custom("must be 0.01 to 100 percent"))
    }
}

pub(super) fn label<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let label = String::deserialize(input)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if label.len() > MAX_LABEL || !label.chars().all(is_plain) {
        return Err(D::Error::custom(format!(
            "must be at most {MAX_LABEL} letters, digits, - _ and ."
        )));
    }
    if label
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic())
    {
        Ok(label)
    } else {
        Err(D::Error::custom("must begin with a letter"))
    }
}

pub(super) fn text<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let text = String::deserialize(input)?;
    if text.is_empty() {
        Err(D::Error::custom("must not be empty"))
    } else if text.len() > MAX_TEXT {
        Err(D::Error::custom(format!("longer than {MAX_TEXT} bytes")))
    } else {
        Ok(text)
    }
}

pub(super) fn texts<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(input)?;
    if texts.len() > 100
        || texts
            .iter()
            .any(|text| text.is_empty() || text.len() > MAX_TEXT)
    {
        return Err(D::Error::custom(format!(
            "must be at most 100 patterns of 1 to {MAX_TEXT} bytes"
        )));
    }
    Ok(texts)
}

pub(super) fn pattern<'de, D: Deserializer<'de>>(input: D) -> Result<Option<WildMatch>, D::Error> {
    Ok(Some(WildMatch::new(&text(input)?)))
}

pub(super) fn unit<'de, D: Deserializer<'de>>(input: D) -> Result<Option<WildMatch>, D::Error> {
    let mut name = text(input)?;
    if name.contains('/') {
        return Err(D::Error::custom("a unit's name has no slash"));
    }
    const KINDS: [&str; 3] = [".service", ".scope", ".slice"];
    if !KINDS.iter().any(|kind| name.ends_with(kind)) {
        name.push_str(".service");
    }
    Ok(Some(WildMatch::new(&name)))
}

pub(super) fn cgroup<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    let path = text(input)?;
    if !path.starts_with('/') {
        return Err(D::Error::custom(
            "must begin with a slash, as in the third field of /proc/PID/cgroup",
        ));
    }
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return Err(D::Error::custom("every process is in that group"));
    }
    Ok(Some(path.to_owned()))
}
