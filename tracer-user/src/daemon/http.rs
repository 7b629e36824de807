//! The endpoint that Prometheus scrapes: HTTP/1.1 on the loopback device, `GET /metrics` and
//! nothing else. One request a connection; what is long, slow or too much at once is refused.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::metrics::CONTENT_TYPE;

/// Bytes of a request's head at most.
const MAX_HEAD: usize = 8 << 10;
/// Headers of a request at most.
const MAX_HEADERS: usize = 64;
/// Time for a request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections at once.
const MAX_CONNECTIONS: usize = 8;

/// Bounds the connections.
#[derive(Clone, Debug)]
pub struct Door(Arc<Semaphore>);

impl Default for Door {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CONNECTIONS)))
    }
}

/// What a request's head asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The metrics.
    Metrics,
    /// Nothing yet: there is more to come.
    More,
    /// What is answered with this status.
    Refused(&'static str),
}

/// Reads a request's head, as far as it has come. Pure.
#[must_use]
pub fn asked(head: &[u8]) -> Asked {
    // What is behind changes no answer, in however many pieces it comes.
    let head = &head[..head.len().min(MAX_HEAD)];
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) if head.len() == MAX_HEAD => {
            Asked::Refused("431 Request Header Fields Too Large")
        }
        Ok(httparse::Status::Partial) => Asked::More,
        Ok(httparse::Status::Complete(_)) => {
            let path = request.path.unwrap_or_default();
            let path = path.split('?').next().unwrap_or_default();
            match (request.method, path) {
                (Some("GET"), "/metrics") => Asked::Metrics,
                (Some("GET"), _) => Asked::Refused("404 Not Found"),
                _ => Asked::Refused("405 Method Not Allowed"),
            }
        }
        Err(_) => Asked::Refused("400 Bad Request"),
    }
}

impl Door {
    /// Answers a connection, on a task of its own. `metrics` makes the text.
    pub fn serve(&self, stream: TcpStream, metrics: impl FnOnce() -> String + Send + 'static) {
        let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() else {
            // Closed at once: who comes again finds room.
            tracing::debug!("a scrape was refused: too many at once");
            return;
        };
        tokio::spawn(async move {
            let ended = tokio::time::timeout(PATIENCE, answer(stream, metrics)).await;
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!("a scrape ended: {error}"),
                Err(_) => tracing::debug!("a scrape took too long"),
            }
            drop(permit);
        });
    }
}

async fn answer(mut stream: TcpStream, metrics: impl FnOnce() -> String) -> io::Result<()> {
    let mut head = Vec::with_capacity(1_024);
    let asked = loop {
        match asked(&head) {
            Asked::More => {}
            asked => break asked,
        }
        let room = (MAX_HEAD - head.len().min(MAX_HEAD)) as u64;
        if (&mut stream).take(room).read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    };
    let (status, kind, body) = match asked {
        Asked::Metrics => ("200 OK", CONTENT_TYPE, metrics()),
        Asked::Refused(status) => (status, "text/plain", format!("{status}\n")),
        Asked::More => return Ok(()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_metrics_are_there_to_get() {
        let refused = Asked::Refused;
        for (head, wanted) in [
            ("", Asked::More),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n", Asked::More),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Asked::Metrics),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", Asked::Metrics),
            ("GET / HTTP/1.1\r\n\r\n", refused("404 Not Found")),
            (
                "GET /metrics/../x HTTP/1.1\r\n\r\n",
                refused("404 Not Found"),
            ),
            (
                "POST /metrics HTTP/1.1\r\n\r\n",
                refused("405 Method Not Allowed"),
            ),
            ("\x16\x03\x01\x02\x00", refused("400 Bad Request")),
            ("GET /metrics HTTP/9.9\r\n\r\n", refused("400 Bad Request")),
        ] {
            assert_eq!(asked(head.as_bytes()), wanted, "{head:?}");
        }
        let long = format!("GET /metrics HTTP/1.1\r\nA: {}", "x".repeat(MAX_HEAD));
        // The same when it comes at once with nonsense behind it.
        for head in [long.clone(), format!("{long}\0\0")] {
            let too_large = refused("431 Request Header Fields Too Large");
            assert_eq!(asked(head.as_bytes()), too_large);
        }
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65));
        assert_eq!(asked(many.as_bytes()), refused("400 Bad Request"));
    }

    proptest! {
        #[test]
        fn noise_never_panics(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = asked(&head);
        }
    }
}
