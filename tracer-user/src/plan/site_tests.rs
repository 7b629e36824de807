//! Each rule of the choice on hand-assembled code, with the refusals.

use super::*;

const RULES: Rules = Rules { long_nops: true };

fn at(parts: &[&[u8]]) -> Result<Instruction, NoSite> {
    choose_in(parts, ArgumentRegister::Rdi, true)
}

fn choose_in(
    parts: &[&[u8]],
    argument: ArgumentRegister,
    whole: bool,
) -> Result<Instruction, NoSite> {
    let bytes = parts.concat();
    let code = Code {
        bytes: &bytes,
        entry: LinkAddress(0x1000),
        whole,
    };
    choose(code, counted(argument), RULES)
}

/// As for a waker's clone: only the register matters.
const fn counted(argument: ArgumentRegister) -> Wanted {
    Wanted::of(ProbeKind::WakerClone, argument)
}

fn wake(parts: &[&[u8]]) -> Instruction {
    let bytes = parts.concat();
    let code = Code {
        bytes: &bytes,
        entry: LinkAddress(0x1000),
        whole: true,
    };
    let wanted = Wanted::of(ProbeKind::WakeByReference, ArgumentRegister::Rdi);
    choose(code, wanted, RULES).unwrap()
}

const PUSH_RBX: &[u8] = &[0x53];
const PUSH_R15: &[u8] = &[0x41, 0x57];
const SUB_RSP_24: &[u8] = &[0x48, 0x83, 0xec, 0x18];
const MOV_RBX_RDI: &[u8] = &[0x48, 0x89, 0xfb];
const MOV_RDI_RSI: &[u8] = &[0x48, 0x89, 0xf7];
const XOR_EDI_EDI: &[u8] = &[0x31, 0xff];
const CALL: &[u8] = &[0xe8, 0, 1, 0, 0];
/// Of 4 bytes, and of 1.
const NOPS: &[u8] = &[0x0f, 0x1f, 0x40, 0, 0x90];
const JNE_FAR: &[u8] = &[0x0f, 0x85, 0, 1, 0, 0];
const LOCK_XADD: &[u8] = &[0xf0, 0x48, 0x0f, 0xc1, 0x07];
const RET: &[u8] = &[0xc3];

#[test]
fn an_emulated_entry_is_taken() {
    for first in [PUSH_RBX, PUSH_R15, NOPS, CALL, &[0xe9, 0, 1, 0, 0]] {
        let site = at(&[first, RET]).unwrap();
        assert_eq!((site.offset_in_function, site.pushed), (0, 0));
        assert_eq!(site.method, Method::Emulated);
    }
    assert_eq!(at(&[PUSH_R15, RET]).unwrap().text, "push r15");
}

#[test]
fn a_later_one_is_found_and_the_stack_is_counted() {
    let site = at(&[SUB_RSP_24, MOV_RBX_RDI, CALL, RET]).unwrap();
    assert_eq!((site.offset_in_function, site.pushed), (7, 24));
    assert_eq!(site.method, Method::Emulated);
    // A push counts for what comes after it.
    let mov = &[0xb8, 0x40, 0, 0, 0];
    let site = at(&[mov, PUSH_RBX, RET]).unwrap();
    assert_eq!((site.offset_in_function, site.pushed), (5, 0));
    // tokio's clone_waker: the instruction after the counted reference.
    let js = &[0x78, 0x10];
    let site = at(&[mov, LOCK_XADD, &[0x48, 0x85, 0xc0], js, RET]).unwrap();
    assert_eq!((site.offset_in_function, site.pushed), (13, 0));
    // Freed again before the site.
    let add = &[0x48, 0x83, 0xc4, 0x08];
    let site = at(&[SUB_RSP_24, add, NOPS, RET]).unwrap();
    assert_eq!((site.offset_in_function, site.pushed), (8, 16));
}

#[test]
fn nothing_after_the_argument_is_gone() {
    for clobber in [
        MOV_RDI_RSI,
        XOR_EDI_EDI,
        &[0x40, 0xb7, 0x01],
        &[0x48, 0xff, 0xc7],
    ] {
        let site = at(&[clobber, PUSH_RBX, RET]).unwrap();
        assert_eq!(site.offset_in_function, 0, "{}", site.text);
        assert_eq!(site.method, Method::SingleStepped);
    }
    // The same bytes leave the second argument alone.
    let site = choose_in(&[XOR_EDI_EDI, PUSH_RBX, RET], ArgumentRegister::Rsi, true).unwrap();
    assert_eq!(site.offset_in_function, 2);
    // `rep movs` changes both.
    let site = choose_in(&[&[0xf3, 0xa4], NOPS, RET], ArgumentRegister::Rsi, true).unwrap();
    assert_eq!(site.offset_in_function, 0);
}

#[test]
fn nothing_after_a_branch_or_call() {
    let site = at(&[SUB_RSP_24, JNE_FAR, PUSH_RBX, RET]).unwrap();
    assert_eq!(site.offset_in_function, 4, "the branch itself");
    let call_rax = &[0xff, 0xd0];
    let site = at(&[call_rax, PUSH_RBX, RET]).unwrap();
    assert_eq!(
        (site.offset_in_function, site.method),
        (0, Method::SingleStepped)
    );
    let site = at(&[RET, PUSH_RBX]).unwrap();
    assert_eq!(
        (site.offset_in_function, site.method),
        (0, Method::SingleStepped)
    );
    assert_eq!(site.text, "ret");
}

#[test]
fn a_loop_back_is_not_taken_for_the_entry() {
    // 0: sub; 4: nop5; 9: jne -> 4.
    let back_to_4 = &[0x75, 0xf9];
    let site = at(&[SUB_RSP_24, NOPS, back_to_4, RET]).unwrap();
    assert_eq!(
        (site.offset_in_function, site.method),
        (0, Method::SingleStepped)
    );
    // To the instruction behind it: the padding before a loop is outside of it.
    let back_to_9 = &[0x75, 0xfe];
    let site = at(&[SUB_RSP_24, NOPS, back_to_9, RET]).unwrap();
    assert_eq!(site.offset_in_function, 4);
    // To the entry itself: a tail call of itself is a new call.
    let back_to_0 = &[0x75, 0xf5];
    let site = at(&[SUB_RSP_24, NOPS, back_to_0, RET]).unwrap();
    assert_eq!(site.offset_in_function, 4);
    let site = at(&[PUSH_RBX, back_to_0, RET]).unwrap();
    assert_eq!(site.offset_in_function, 0);
}

#[test]
fn under_a_jump_table_only_prologue_and_padding() {
    let jmp_rax = &[0xff, 0xe0];
    let site = at(&[SUB_RSP_24, JNE_FAR, jmp_rax]).unwrap();
    assert_eq!(
        (site.offset_in_function, site.method),
        (0, Method::SingleStepped)
    );
    let site = at(&[MOV_RBX_RDI, PUSH_R15, jmp_rax]).unwrap();
    assert_eq!(site.offset_in_function, 3);
    let site = at(&[MOV_RBX_RDI, NOPS, jmp_rax]).unwrap();
    assert_eq!(site.offset_in_function, 3);
    let jmp_table = &[0xff, 0x24, 0xc5, 0, 0x10, 0, 0];
    let site = at(&[SUB_RSP_24, JNE_FAR, jmp_table]).unwrap();
    assert_eq!(site.offset_in_function, 0);
    // A call through a vtable at the end is no jump table.
    let jmp_field = &[0xff, 0x60, 0x10];
    let site = at(&[SUB_RSP_24, JNE_FAR, jmp_field]).unwrap();
    assert_eq!((site.offset_in_function, site.pushed), (4, 24));
}

#[test]
fn the_stack_pointer_must_be_known() {
    let align = &[0x48, 0x83, 0xe4, 0xe0];
    let site = at(&[align, NOPS, RET]).unwrap();
    assert_eq!(site.offset_in_function, 0);
    let sub_4096 = &[0x48, 0x81, 0xec, 0, 0x10, 0, 0];
    let site = at(&[sub_4096, NOPS, RET]).unwrap();
    assert_eq!(site.offset_in_function, 0, "more than a cookie holds");
    let pop = &[0x5b];
    let site = at(&[pop, NOPS, RET]).unwrap();
    assert_eq!(site.offset_in_function, 0, "above the entry");
}

#[test]
fn what_the_kernel_refuses_is_passed_over_or_said() {
    let site = at(&[LOCK_XADD, MOV_RBX_RDI, RET]).unwrap();
    assert_eq!(
        (site.offset_in_function, site.method),
        (5, Method::SingleStepped)
    );
    assert_eq!(
        choose_in(&[LOCK_XADD, RET], ArgumentRegister::Rdi, false),
        Err(NoSite::Refused)
    );
    assert_eq!(at(&[&[0x0f, 0x0b]]), Err(NoSite::Refused));
    assert_eq!(at(&[&[0x06]]), Err(NoSite::NotCode));
    assert_eq!(at(&[]), Err(NoSite::NotCode));
    assert_eq!(at(&[&[0x48]]), Err(NoSite::NotCode));
}

#[test]
fn a_retry_of_a_compare_exchange_is_an_attempt() {
    let load: &[u8] = &[0x48, 0x8b, 0x07];
    let test: &[u8] = &[0xa8, 0x02];
    let out: &[u8] = &[0x75, 0x07];
    let cmpxchg: &[u8] = &[0xf0, 0x4c, 0x0f, 0xb1, 0x07];
    // 0: sub; 4: mov rax, [rdi]; 7: test al, 2; 9: jne out; 11: lock cmpxchg; 16: jne 7.
    let again: &[u8] = &[0x75, 0xf5];
    let loop_of_tokio = [SUB_RSP_24, load, test, out, cmpxchg, again, RET];
    let site = wake(&loop_of_tokio);
    assert_eq!((site.offset_in_function, site.pushed), (9, 24));
    // For who counts, it is a loop.
    assert_eq!(at(&loop_of_tokio).unwrap().offset_in_function, 0);
    // Any other branch back is one for everybody.
    let nop: &[u8] = &[0x0f, 0x1f, 0x40, 0, 0x90];
    let site = wake(&[SUB_RSP_24, load, test, out, nop, again, RET]);
    assert_eq!(site.offset_in_function, 0);
}

#[test]
fn the_state_word_is_read_before_it_is_written() {
    let set_notified = &[0x48, 0x83, 0x0f, 0x04];
    let site = wake(&[set_notified, PUSH_RBX, RET]);
    assert_eq!(
        (site.offset_in_function, site.method),
        (0, Method::SingleStepped)
    );
    let site = at(&[set_notified, PUSH_RBX, RET]).unwrap();
    assert_eq!(
        site.offset_in_function, 4,
        "for who counts, it does not matter"
    );
    let through_another = &[0x48, 0x83, 0x0e, 0x04];
    let site = wake(&[through_another, PUSH_RBX, RET]);
    assert_eq!(site.offset_in_function, 4);
}

#[test]
fn without_its_end_only_the_entry_of_a_function_is_known() {
    let site = choose_in(&[SUB_RSP_24, NOPS, RET], ArgumentRegister::Rdi, false).unwrap();
    assert_eq!(site.offset_in_function, 0);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(0_u8.., 0..64)) {
        for argument in [ArgumentRegister::Rdi, ArgumentRegister::Rsi, ArgumentRegister::Rdx] {
            let code = Code { bytes: &bytes, entry: LinkAddress(u64::MAX - 16), whole: true };
            if let Ok(site) = choose(code, counted(argument), RULES) {
                proptest::prop_assert!(site.offset_in_function < bytes.len() as u64);
                proptest::prop_assert!(i64::from(site.pushed) <= MAX_PUSHED);
            }
        }
    }
}

/// A leaf function keeps a value in its red zone around the no-op; Linux 6.18 makes a `call` of a
/// probed no-op of 5 bytes, which writes there.
#[test]
fn a_no_op_of_5_bytes_is_left_alone() {
    let nop5: &[u8] = &[0x0f, 0x1f, 0x44, 0, 0];
    let store: &[u8] = &[0x48, 0x89, 0x7c, 0x24, 0xf8]; // mov [rsp-8], rdi
    let load: &[u8] = &[0x48, 0x8b, 0x44, 0x24, 0xf8]; // mov rax, [rsp-8]
    let site = at(&[store, nop5, load, RET]).unwrap();
    assert_eq!(site.offset_in_function, 0);
    assert_eq!(site.method, Method::SingleStepped);
    // At the entry (a place for patches) there is nothing to lose, but the next will do.
    assert_eq!(at(&[nop5, PUSH_RBX, RET]).unwrap().offset_in_function, 5);
    assert_eq!(at(&[nop5, RET]).unwrap().offset_in_function, 5);
}
