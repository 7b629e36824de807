//! What the first bytes of a file say about its machine.

/// The machine a file is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Machine {
    /// 64-bit, little-endian, x86-64: what we trace.
    X86_64,
    /// An ELF file for something else, in words.
    Other(String),
    /// No ELF file.
    NotElf,
}

/// Reads the machine from the start of a file; 20 bytes are enough.
#[must_use]
pub fn machine(start: &[u8]) -> Machine {
    let Some(header) = start.first_chunk::<20>() else {
        return Machine::NotElf;
    };
    if header[..4] != *b"\x7fELF" {
        return Machine::NotElf;
    }
    let bits = match header[4] {
        1 => "32-bit",
        2 => "64-bit",
        _ => return Machine::NotElf,
    };
    // EI_DATA: 1 is little-endian.
    let little = header[5] == 1;
    let number = [header[18], header[19]];
    let number = if little {
        u16::from_le_bytes(number)
    } else {
        u16::from_be_bytes(number)
    };
    // e_machine, from the ELF specification's registry.
    let name = match number {
        3 => "x86".to_owned(),
        8 => "MIPS".to_owned(),
        21 => "PowerPC".to_owned(),
        22 => "s390x".to_owned(),
        40 => "ARM".to_owned(),
        62 => "x86-64".to_owned(),
        183 => "AArch64".to_owned(),
        243 => "RISC-V".to_owned(),
        258 => "LoongArch".to_owned(),
        other => format!("machine {other}"),
    };
    if header[4] == 2 && little && number == 62 {
        Machine::X86_64
    } else {
        Machine::Other(format!("{bits} {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(class: u8, data: u8, number: [u8; 2]) -> Vec<u8> {
        let mut bytes = vec![0; 20];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, data]);
        bytes[18..].copy_from_slice(&number);
        bytes
    }

    #[test]
    fn only_64_bit_little_endian_x86_64_is_ours() {
        assert_eq!(machine(&header(2, 1, [62, 0])), Machine::X86_64);
        assert_eq!(
            machine(&header(1, 1, [3, 0])),
            Machine::Other("32-bit x86".into())
        );
        assert_eq!(
            machine(&header(2, 1, [183, 0])),
            Machine::Other("64-bit AArch64".into())
        );
        assert_eq!(
            machine(&header(2, 2, [0, 22])),
            Machine::Other("64-bit s390x".into())
        );
        assert_eq!(
            machine(&header(1, 1, [62, 0])),
            Machine::Other("32-bit x86-64".into())
        );
        assert_eq!(machine(b"#!/bin/sh\nexec true\n"), Machine::NotElf);
        assert_eq!(machine(b"\x7fELF"), Machine::NotElf);
    }
}
