//! What comes to the daemon's sockets, and what `ctl` takes from one.
//!
//! Input: a byte that chooses who reads it, then the message.

use tracer_user::daemon::control::message::{MAX_REQUEST, Request, answer, answer_line, request};
use tracer_user::daemon::http::{Asked, asked};
use tracer_user::show::escape::escape_lines;

use crate::outlets::assert_safe;

/// Reads a request, an answer, or the head of a request for metrics.
///
/// # Panics
/// When what was understood is not what is written again.
pub fn run(bytes: &[u8]) {
    let Some((choice, message)) = bytes.split_first() else {
        return;
    };
    match choice % 3 {
        0 => match request(message) {
            Ok(understood) => {
                let line = understood.line();
                let again = request(line.strip_suffix(b"\n").expect("a line"));
                match (again, &understood) {
                    // A number is read to within its last digit.
                    (Ok(Request::Record(chosen, time)), Request::Record(was, before)) => {
                        assert!(chosen == *was && time.abs_diff(*before).as_micros() == 0);
                    }
                    (again, _) => assert_eq!(again.as_ref(), Ok(&understood)),
                }
                assert!(line.len() <= MAX_REQUEST, "{} bytes", line.len());
            }
            Err(refusal) => {
                let line = answer_line::<()>(&Err(refusal.clone()));
                assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
                let told = answer(line.strip_suffix(b"\n").expect("a line"));
                assert_eq!(told, Err(refusal));
            }
        },
        1 => match answer(message) {
            Ok(value) => {
                let line = answer_line(&Ok(&value));
                assert!(answer(line.strip_suffix(b"\n").expect("a line")).is_ok());
            }
            Err(refusal) => assert_safe(escape_lines(&refusal.message).as_bytes()),
        },
        _ => {
            // Whatever comes in pieces is understood at the end as in one.
            let whole = asked(message);
            let half = asked(&message[..message.len() / 2]);
            if half != Asked::More {
                assert_eq!(half, whole);
            }
        }
    }
}
