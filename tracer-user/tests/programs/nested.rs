//! A target for `tests/unwind.rs`: the main thread and one more are each blocked at the bottom of
//! a known chain of calls; the second through a `Box<dyn Fn>` and with large frames.

use std::hint::black_box;
use std::io::Read;

#[inline(never)]
fn inner() {
    println!("ready");
    std::io::stdin().read_exact(&mut [0]).ok();
    black_box(());
}

#[inline(never)]
fn middle(depth: u32) -> u32 {
    if black_box(depth) == 0 {
        inner();
        return 0;
    }
    middle(depth - 1) + 1
}

#[inline(always)]
fn through(depth: u32) -> u32 {
    middle(black_box(depth))
}

#[inline(never)]
fn outer() {
    black_box(through(3));
}

#[inline(never)]
fn parked(call: &dyn Fn()) {
    let large = black_box([1_u8; 100_000]);
    call();
    black_box(large);
}

fn main() {
    std::thread::spawn(|| {
        parked(&|| {
            loop {
                std::thread::park();
            }
        });
    });
    // Long enough to be parked, and the test waits for it to be.
    std::thread::sleep(std::time::Duration::from_millis(20));
    outer();
}
