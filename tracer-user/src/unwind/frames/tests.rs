//! The unwinder on tables and stacks made by hand.

use super::super::UnwindTables;
use super::*;
use crate::address::LoadBias;
use crate::memory::FakeMemory;

const BIAS: u64 = 0x5000_0000;
const STACK: u64 = 0x7fff_0000;
const FRAMES: u64 = 0x8000;
const HEADER: u64 = 0x9000;

// DWARF call frame instructions (DWARF 5, 6.4.2).
const CFA_RSP_8: [u8; 5] = [0x0c, 7, 8, 0x80 | 16, 1];
const fn cfa_offset(offset: u8) -> [u8; 2] {
    [0x0e, offset]
}
const fn saved(register: u8, slot: u8) -> [u8; 2] {
    [0x80 | register, slot]
}
const CFA_RBP_16: [u8; 3] = [0x0c, 6, 16];
const RA_UNDEFINED: [u8; 2] = [0x07, 16];
const CFA_BY_EXPRESSION: [u8; 4] = [0x0f, 2, 0x77, 24];

/// `.eh_frame` with one CIE and a description for each function: start, length, instructions.
fn eh_frame(functions: &[(u64, u64, &[u8])]) -> (Vec<u8>, Vec<(u64, usize)>) {
    let mut bytes = Vec::new();
    let mut entry = |id: &dyn Fn(usize) -> u32, body: &[u8]| {
        let start = bytes.len();
        let mut body = body.to_vec();
        while (body.len() + 4) % 8 != 4 {
            body.push(0);
        }
        bytes.extend(u32::try_from(body.len() + 4).unwrap().to_le_bytes());
        bytes.extend(id(start + 4).to_le_bytes());
        bytes.extend(body);
        start
    };
    let mut cie = b"\x01zR\0\x01\x78\x10\x01\x00".to_vec();
    cie.extend(CFA_RSP_8);
    entry(&|_| 0, &cie);
    let mut offsets = Vec::new();
    for (start, len, instructions) in functions {
        let mut fde = Vec::new();
        fde.extend(start.to_le_bytes());
        fde.extend(len.to_le_bytes());
        fde.push(0);
        fde.extend(*instructions);
        let offset = entry(&|at| u32::try_from(at).unwrap(), &fde);
        offsets.push((*start, offset));
    }
    bytes.extend([0; 4]);
    (bytes, offsets)
}

fn header(offsets: &[(u64, usize)]) -> Vec<u8> {
    let relative = |address: u64, from: u64| {
        i32::try_from(address.cast_signed() - from.cast_signed())
            .unwrap()
            .to_le_bytes()
    };
    let mut bytes = vec![1, 0x1b, 0x03, 0x3b];
    bytes.extend(relative(FRAMES, HEADER + 4));
    bytes.extend(u32::try_from(offsets.len()).unwrap().to_le_bytes());
    for (start, offset) in offsets {
        bytes.extend(relative(*start, HEADER));
        bytes.extend(relative(FRAMES + *offset as u64, HEADER));
    }
    bytes
}

fn stack_of(functions: &[(u64, u64, &[u8])], words: &[u64], with_header: bool) -> Stack {
    let (frames, offsets) = eh_frame(functions);
    let header = if with_header {
        header(&offsets)
    } else {
        Vec::new()
    };
    let modules = CodeModules::new(vec![CodeModule {
        name: "test".into(),
        bias: LoadBias(BIAS),
        range: Address(BIAS)..Address(BIAS + 0x8000),
        tables: UnwindTables::from_sections([
            (".eh_frame", LinkAddress(FRAMES), &*frames),
            (".eh_frame_hdr", LinkAddress(HEADER), &*header),
        ]),
    }]);
    let mut memory = FakeMemory::default();
    memory.map_words(Address(STACK), words);
    let start = Registers::blocked(Address(STACK), Address(BIAS + 0x1010));
    unwind(start, &memory, &modules)
}

#[test]
fn registers_become_known_where_they_were_saved() {
    // leaf saved rbx, middle has a frame of 24 bytes, the first function returns to nobody.
    let leaf = [cfa_offset(16), saved(3, 2)].concat();
    let middle = cfa_offset(32);
    let functions: [(u64, u64, &[u8]); 3] = [
        (0x1000, 0x100, &leaf),
        (0x2000, 0x100, &middle),
        (0x3000, 0x100, &RA_UNDEFINED),
    ];
    // The return address into the first function is its end: the call was its last
    // instruction.
    let words = [0xb0b, BIAS + 0x2005, 1, 2, 3, BIAS + 0x3100, 0];
    for with_header in [true, false] {
        let stack = stack_of(&functions, &words, with_header);
        assert_eq!(stack.end, StackEnd::Outermost);
        let [leaf, middle, first] = stack.frames.as_slice() else {
            panic!("{stack:?}");
        };
        assert_eq!(leaf.frame_address, Address(STACK + 16));
        assert_eq!(leaf.registers.get(X86_64::RBX), None);
        assert_eq!(middle.link, LinkAddress(0x2004));
        assert_eq!(middle.registers.get(X86_64::RBX), Some(0xb0b));
        assert_eq!(middle.registers.get(X86_64::R12), None);
        assert_eq!(middle.registers.stack_pointer(), Some(Address(STACK + 16)));
        assert_eq!(first.pc, Address(BIAS + 0x3100));
        assert_eq!(first.link, LinkAddress(0x30ff));
        assert_eq!(first.registers.get(X86_64::RBX), Some(0xb0b));
    }
}

#[test]
fn an_unknown_frame_pointer_is_said() {
    let functions: [(u64, u64, &[u8]); 1] = [(0x1000, 0x100, &CFA_RBP_16)];
    let stack = stack_of(&functions, &[0; 8], true);
    assert!(stack.frames.is_empty());
    assert_eq!(
        stack.end,
        StackEnd::NoFrame {
            module: 0,
            address: LinkAddress(0x1010),
            source: ExpressionError::UnknownRegister(X86_64::RBP),
        }
    );
    assert_eq!(
        stack.end.to_string(),
        "at 0x1010 of its module: needs rbp, which is not known in this frame"
    );
}

#[test]
fn a_frame_address_may_be_an_expression() {
    let functions: [(u64, u64, &[u8]); 2] = [
        (0x1000, 0x100, &CFA_BY_EXPRESSION),
        (0x3000, 0x100, &RA_UNDEFINED),
    ];
    let stack = stack_of(&functions, &[7, 7, BIAS + 0x3010, 0], true);
    assert_eq!(stack.frames.len(), 2);
    assert_eq!(stack.frames[0].frame_address, Address(STACK + 24));
}

#[test]
fn stacks_end_with_a_reason() {
    let functions: [(u64, u64, &[u8]); 1] = [(0x1000, 0x100, &[])];
    let end = |words: &[u64]| stack_of(&functions, words, true).end;
    assert_eq!(end(&[0x1234]), StackEnd::NoModule(Address(0x1234)));
    assert_eq!(
        end(&[BIAS + 0x5000]),
        StackEnd::NoRules {
            module: "test".into(),
            address: LinkAddress(0x4fff)
        }
    );
    // Recursion up to the end of what can be read.
    let recursion = stack_of(&functions, &[BIAS + 0x1020; 40], true);
    assert_eq!(recursion.frames.len(), 40);
    assert!(matches!(recursion.end, StackEnd::NoFrame { .. }));
    let deep = stack_of(&functions, &vec![BIAS + 0x1020; 5000], true);
    assert_eq!((deep.frames.len(), deep.end), (DEPTH, StackEnd::TooDeep));
    // A frame of no size would go on for ever.
    let flat = cfa_offset(0);
    let functions: [(u64, u64, &[u8]); 1] = [(0x1000, 0x100, &flat)];
    assert!(!matches!(
        stack_of(&functions, &[BIAS + 0x1020; 4], true).end,
        StackEnd::TooDeep
    ));
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tables_and_stacks_do_no_harm(
            frames in proptest::collection::vec(any::<u8>(), 0..200),
            mut header in proptest::collection::vec(any::<u8>(), 0..100),
            real_header: bool,
            words in proptest::collection::vec(any::<u64>(), 1..20),
            link: u64,
        ) {
            if real_header && header.len() > 4 {
                header[..4].copy_from_slice(&[1, 0x1b, 0x03, 0x3b]);
            }
            let tables = UnwindTables::from_sections([
                (".eh_frame", LinkAddress(FRAMES), &*frames),
                (".eh_frame_hdr", LinkAddress(HEADER), &*header),
            ]);
            let modules = CodeModules::new(vec![CodeModule {
                name: String::new(),
                bias: LoadBias(0),
                range: Address(0)..Address(u64::MAX),
                tables,
            }]);
            let mut memory = FakeMemory::default();
            memory.map_words(Address(STACK), &words);
            let stack = unwind(
                Registers::blocked(Address(STACK), Address(link)),
                &memory,
                &modules,
            );
            prop_assert!(stack.frames.len() <= DEPTH);
        }

        /// Any instructions at all in an otherwise sound table.
        #[test]
        fn instructions_do_no_harm(
            instructions in proptest::collection::vec(any::<u8>(), 0..40),
            words in proptest::collection::vec(any::<u64>(), 1..20),
        ) {
            let functions: [(u64, u64, &[u8]); 1] = [(0x1000, 0x1000, &instructions)];
            let stack = stack_of(&functions, &words, true);
            prop_assert!(stack.frames.len() <= DEPTH);
        }
    }
}
