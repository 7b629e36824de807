//! One question to the kernel's own type information (`/sys/kernel/btf/vmlinux`): where is `pid` in
//! `task_struct`?
//!
//! The scheduler's tracepoint hands over the next thread as a pointer to its `task_struct`, whose
//! layout differs between kernel builds. aya-obj parses BTF but keeps members to itself, and rustc
//! cannot make relocations for them, so this reads the format directly
//! (Documentation/bpf/btf.rst): a header, a list of types of varying length, strings. Bounds are
//! checked as for any foreign bytes.

use std::ops::Range;

const MAGIC: u16 = 0xeb9f;
const STRUCT: u32 = 4;

/// Offset of `task_struct.pid` in bytes, if `tgid` is the 4-byte field after it.
pub(super) fn pid_offset() -> Option<u32> {
    pid_offset_in(&std::fs::read("/sys/kernel/btf/vmlinux").ok()?)
}

fn pid_offset_in(btf: &[u8]) -> Option<u32> {
    let pid = member_offset(btf, "task_struct", "pid")?;
    let tgid = member_offset(btf, "task_struct", "tgid")?;
    (tgid == pid.checked_add(4)?).then_some(pid)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn section(bytes: &[u8], header: usize, at: usize) -> Option<Range<usize>> {
    let start = header.checked_add(u32_at(bytes, at)? as usize)?;
    let end = start.checked_add(u32_at(bytes, at + 4)? as usize)?;
    (end <= bytes.len()).then_some(start..end)
}

/// Offset in bytes of a direct member of a struct.
fn member_offset(btf: &[u8], structure: &str, member: &str) -> Option<u32> {
    if u16::from_ne_bytes(btf.get(..2)?.try_into().ok()?) != MAGIC {
        return None;
    }
    let header = u32_at(btf, 4)? as usize;
    let types = &btf[section(btf, header, 8)?];
    let strings = &btf[section(btf, header, 16)?];
    let is = |offset: u32, name: &str| {
        strings
            .get(offset as usize..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .and_then(<[u8]>::first)
            == Some(&0)
    };
    let mut at = 0;
    while at < types.len() {
        let name = u32_at(types, at)?;
        let info = u32_at(types, at + 4)?;
        let (count, kind) = (info as usize & 0xffff, info >> 24 & 0x1f);
        let has_bitfields = info >> 31 != 0;
        let details = at.checked_add(12)?;
        if kind == STRUCT && is(name, structure) {
            return (0..count).find_map(|index| {
                let entry = details + index * 12;
                if !is(u32_at(types, entry)?, member) {
                    return None;
                }
                let bits = u32_at(types, entry + 8)?;
                // With bitfields in the struct the top byte is the member's width in bits.
                let bits = if has_bitfields {
                    bits & 0xff_ffff
                } else {
                    bits
                };
                (bits % 8 == 0).then_some(bits / 8)
            });
        }
        // What follows the 12 bytes, by kind: INT, ARRAY, STRUCT/UNION, ENUM, FUNC_PROTO, VAR,
        // DATASEC, DECL_TAG, ENUM64; the others have nothing.
        let length = match kind {
            1 | 14 | 17 => 4,
            3 => 12,
            4 | 5 | 15 | 19 => count.checked_mul(12)?,
            6 | 13 => count.checked_mul(8)?,
            0 | 2 | 7..=12 | 16 | 18 => 0,
            // A kind that is newer than this file has an unknown length.
            _ => return None,
        };
        at = details.checked_add(length)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn btf(members: &[(&str, u32)]) -> Vec<u8> {
        let mut strings = b"\0task_struct\0".to_vec();
        let mut types = Vec::new();
        // An int and an array come first, to be skipped.
        types.extend([0u32, 1 << 24, 4, 32].map(u32::to_ne_bytes).concat());
        types.extend([0u32, 3 << 24, 0, 1, 1, 9].map(u32::to_ne_bytes).concat());
        let count = u32::try_from(members.len()).unwrap();
        types.extend([1u32, 4 << 24 | count, 64].map(u32::to_ne_bytes).concat());
        for (name, offset) in members {
            let at = u32::try_from(strings.len()).unwrap();
            strings.extend(name.bytes().chain([0]));
            types.extend([at, 1, offset * 8].map(u32::to_ne_bytes).concat());
        }
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        let lengths = [types.len(), strings.len()].map(|n| u32::try_from(n).unwrap());
        let header = [24, 0, lengths[0], lengths[0], lengths[1]];
        bytes.extend(header.map(u32::to_ne_bytes).concat());
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn the_offset_of_pid_is_found() {
        let bytes = btf(&[("state", 0), ("pid", 40), ("tgid", 44)]);
        assert_eq!(pid_offset_in(&bytes), Some(40));
        // A prefix is another name.
        assert_eq!(pid_offset_in(&btf(&[("pidx", 8), ("tgid", 12)])), None);
        assert_eq!(pid_offset_in(&btf(&[("pid", 8), ("tgid", 16)])), None);
    }

    #[test]
    fn any_damage_gives_nothing_and_no_panic() {
        let bytes = btf(&[("state", 0), ("pid", 40), ("tgid", 44)]);
        for length in 0..bytes.len() {
            let _ = pid_offset_in(&bytes[..length]);
        }
        for at in 0..bytes.len() {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let _ = pid_offset_in(&damaged);
            }
        }
    }

    #[test]
    fn this_kernel_has_it() {
        if std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
            assert!(pid_offset().is_some());
        }
    }
}
