//! A target for `tests/thread_pointer.rs`: four threads that each print their id and the address
//! of a thread-local, then wait for the end of standard input. With the argument `busy`, two of
//! them spin instead.

use std::io::Read;
use std::sync::mpsc;

#[repr(align(64))]
struct Aligned(#[expect(dead_code, reason = "only its address is of interest")] [u64; 4]);

thread_local! {
    // Makes the alignment of PT_TLS larger than the usual 8.
    static ALIGNED: Aligned = const { Aligned([1, 2, 3, 4]) };
}


fn tell() -> String {
    let link = std::fs::read_link("/proc/thread-self").expect("procfs is mounted");
    let tid = link
        .file_name()
        .and_then(|name| name.to_str())
        .expect("ends in the thread id");
    let address = ALIGNED.with(|aligned| std::ptr::from_ref(aligned) as usize);
    format!("{tid} {address}")
}

fn main() {
    let busy = std::env::args().any(|argument| argument == "busy");
    let single = std::env::args().any(|argument| argument == "single");
    let (send, receive) = mpsc::channel();
    println!("{}", tell());
    for index in 0..if single { 0 } else { 3 } {
        let send = send.clone();
        std::thread::spawn(move || {
            send.send(tell()).expect("main waits");
            while busy && index > 0 {
                std::hint::spin_loop();
            }
            loop {
                std::thread::park();
            }
        });
        println!("{}", receive.recv().expect("the thread tells"));
    }
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).ok();
}
