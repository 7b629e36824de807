//! Parts of snapshots, compressed: the same tasks stand at the same awaits, and each look at memory
//! tells all of them.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::bufread::DeflateDecoder;
use flate2::write::DeflateEncoder;
use prost::Message as _;

use super::frame::MAX_PAYLOAD;
use crate::proto::{self, packet::Content};

/// Shorter parts are written as they are: who looks at a small recording by hand can read it.
const WORTH_IT: usize = 4096;

const NO_STREAM: &str = "a part of a snapshot is not compressed as it should be";

/// A part of a snapshot as a packet's content.
pub(super) fn content(part: proto::Snapshot) -> Content {
    if part.encoded_len() < WORTH_IT {
        return Content::Snapshot(part);
    }
    // The fastest level: the others make looks dearer than they make files smaller.
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    let deflated = encoder
        .write_all(&part.encode_to_vec())
        .and_then(|()| encoder.finish());
    match deflated {
        Ok(deflated) => Content::DeflatedSnapshot(deflated),
        // Memory takes every write; if it does not, the part is there in full.
        Err(_) => Content::Snapshot(part),
    }
}

/// The part that was compressed. It is bounded as one that was not.
///
/// # Errors
/// In words, when it is none, or longer than a packet may be.
pub(super) fn snapshot(deflated: &[u8]) -> Result<proto::Snapshot, String> {
    let mut decoder = DeflateDecoder::new(deflated);
    let mut part = Vec::new();
    let read = decoder
        .by_ref()
        .take(MAX_PAYLOAD as u64 + 1)
        .read_to_end(&mut part);
    if read.is_err() {
        return Err(NO_STREAM.to_owned());
    }
    if part.len() > MAX_PAYLOAD {
        return Err("a compressed part of a snapshot is longer than a packet may be".to_owned());
    }
    if decoder.total_in() != deflated.len() as u64 {
        return Err(NO_STREAM.to_owned());
    }
    proto::Snapshot::decode(part.as_slice()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(warning: &str) -> proto::Snapshot {
        proto::Snapshot {
            time: 7,
            summary: Some(proto::SnapshotSummary {
                warnings: vec![warning.to_owned()],
                ..proto::SnapshotSummary::default()
            }),
            ..proto::Snapshot::default()
        }
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn long_parts_are_compressed_and_come_back() {
        let short = part("so it is");
        assert_eq!(content(short.clone()), Content::Snapshot(short));
        let long = part(&"so it is; ".repeat(10_000));
        let Content::DeflatedSnapshot(bytes) = content(long.clone()) else {
            panic!("it is long");
        };
        assert!(bytes.len() < 2_000, "{}", bytes.len());
        assert_eq!(snapshot(&bytes).unwrap(), long);
    }

    #[test]
    fn what_is_no_compressed_part_is_refused() {
        let long = part(&"so it is; ".repeat(10_000)).encode_to_vec();
        let whole = deflated(&long);
        assert_eq!(
            snapshot(&whole[..whole.len() - 1]).unwrap_err(),
            NO_STREAM,
            "cut off"
        );
        let more = [&whole[..], b"more"].concat();
        assert_eq!(
            snapshot(&more).unwrap_err(),
            NO_STREAM,
            "something behind it"
        );
        assert_eq!(snapshot(b"\xff\xff").unwrap_err(), NO_STREAM);
        assert_eq!(snapshot(b"").unwrap_err(), NO_STREAM);
        // A thousand times as long as it looks.
        let bomb = deflated(&vec![0; 64 << 20]);
        assert!(bomb.len() < MAX_PAYLOAD);
        assert!(snapshot(&bomb).unwrap_err().contains("longer than"));
        assert!(snapshot(&deflated(b"\xff\xff\xff")).is_err(), "no message");
    }
}
