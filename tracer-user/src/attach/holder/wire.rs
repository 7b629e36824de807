//! What the two processes say to each other: a length of four bytes, and JSON.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::LinkKind;
use super::super::sites::Site;
use crate::plan::ProbeSet;

/// Bytes of a message at most: half a million sites.
const LONGEST: u32 = 64 << 20;

/// What the holder is asked for. Each is answered by an [`Answer`](super::Answer).
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Request {
    /// The first one, and only that.
    Begin(Begin),
    /// To be ready to have no others than these in place.
    Prepare(ProbeSet),
    /// To have these probes in place and no others.
    Place {
        probes: ProbeSet,
        /// Whether switches of threads are watched.
        switches: bool,
    },
}

/// What links are to be made of.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) kind: LinkKind,
    /// The target.
    pub(super) pid: u32,
    pub(super) sites: Vec<Site>,
    /// Whether the scheduler's program follows, as a descriptor.
    pub(super) scheduler: bool,
}

/// Sends a message.
///
/// # Errors
/// When nobody reads, or it is too long.
pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if length > LONGEST {
        return Err(io::Error::other(format!("a message of {length} bytes")));
    }
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&body)
}

/// Waits for a message; `None` at the end of the stream.
///
/// # Errors
/// When it is none, is cut off, or too long.
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Err(io::Error::other(format!("a message of {length} bytes")));
    }
    let mut body = Vec::new();
    // Grows as bytes come: a length alone takes no memory.
    from.take(u64::from(length)).read_to_end(&mut body)?;
    if body.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(serde_json::from_slice(&body)?))
}

#[cfg(test)]
mod tests {
    use super::super::super::links::{Answer, Failed, Refusal};
    use super::*;
    use crate::plan::ProbeClass;

    fn begin() -> Request {
        Request::Begin(Begin {
            kind: LinkKind::Perf,
            pid: 7,
            sites: vec![Site {
                index: 3,
                class: ProbeClass::Wakes,
                file: 0,
                offset: 0x1234,
                cookie: u64::MAX,
            }],
            scheduler: true,
        })
    }

    #[test]
    fn what_is_sent_is_received_and_then_comes_the_end() {
        let answer = Answer {
            count: 5,
            refusals: vec![Refusal {
                index: 3,
                reason: "no".to_owned(),
            }],
            failed: Some(Failed::Link {
                file: 0,
                error: (&io::Error::from_raw_os_error(libc::ESRCH)).into(),
            }),
            scheduler: Some((&io::Error::from_raw_os_error(libc::EPERM)).into()),
        };
        let mut bytes = Vec::new();
        let place = Request::Place {
            probes: ProbeSet::with(5, |index| index % 2 == 0),
            switches: true,
        };
        send(&mut bytes, &begin()).unwrap();
        send(&mut bytes, &place).unwrap();
        send(&mut bytes, &answer).unwrap();
        let mut from = &bytes[..];
        assert_eq!(receive::<Request>(&mut from).unwrap(), Some(begin()));
        assert_eq!(receive::<Request>(&mut from).unwrap(), Some(place));
        assert_eq!(receive::<Answer>(&mut from).unwrap(), Some(answer));
        assert_eq!(receive::<Answer>(&mut from).unwrap(), None);
    }

    #[test]
    fn an_error_of_the_system_keeps_its_number() {
        for error in [
            io::Error::from_raw_os_error(libc::EPERM),
            io::Error::other("a name with a NUL"),
        ] {
            let there = super::super::super::links::SystemError::from(&error);
            let back = io::Error::from(there);
            assert_eq!(back.raw_os_error(), error.raw_os_error());
            assert_eq!(back.to_string(), error.to_string());
        }
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let mut whole = Vec::new();
        send(&mut whole, &begin()).unwrap();
        for cut in 4..whole.len() {
            assert!(receive::<Request>(&mut &whole[..cut]).is_err(), "{cut}");
        }
        assert!(receive::<Request>(&mut &u32::MAX.to_le_bytes()[..]).is_err());
        let mut other = 2_u32.to_le_bytes().to_vec();
        other.extend(b"{}");
        assert!(receive::<Request>(&mut &other[..]).is_err());
    }
}
