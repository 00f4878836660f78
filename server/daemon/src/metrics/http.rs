//! The port of the metrics: plain HTTP/1.1, one question per connection, bounds on everything.

use std::{convert::Infallible, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::Board;

/// Connections at the same time; one past them is closed at once.
const CONNECTIONS_MAX: usize = 16;
/// Bytes of a question with its headers. Its body is not read.
const QUESTION_BYTES_MAX: usize = 8 << 10;
/// Headers of a question.
const HEADERS_MAX: usize = 64;
/// How long a question may take to come.
const QUESTION_MAX: Duration = Duration::from_secs(5);
/// How long a connection may take in all.
const CONNECTION_MAX: Duration = Duration::from_secs(15);
/// Pause after a failed accept, as when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The one path.
const PATH: &str = "/metrics";
/// The Prometheus text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers until it is dropped.
pub(super) async fn serve(listener: TcpListener, board: Board) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                connections.spawn(connection(stream, board.clone()));
            }
            Ok((_, peer)) => tracing::warn!(%peer, "too many ask for metrics, a connection is closed"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, board: Board) {
    let service = service_fn(|request| answer(request, &board));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(QUESTION_MAX)
        .keep_alive(false)
        .max_buf_size(QUESTION_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let served = tokio::time::timeout(CONNECTION_MAX, http.serve_connection(TokioIo::new(stream), service));
    match served.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a question for metrics was not answered"),
        Err(_) => tracing::debug!("a connection that asked for metrics took too long"),
    }
}

async fn answer(request: Request<Incoming>, board: &Board) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = if request.uri().path() != PATH {
        (StatusCode::NOT_FOUND, "there is nothing here but /metrics\n".to_owned())
    } else if ![Method::GET, Method::HEAD].contains(request.method()) {
        (StatusCode::METHOD_NOT_ALLOWED, "/metrics is read with GET\n".to_owned())
    } else {
        (StatusCode::OK, board.text().await)
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::metrics::{Endpoint, Serving};

    fn serving() -> Serving {
        Endpoint::bind("0").unwrap().serve(Board::default()).unwrap()
    }

    async fn asked(serving: &Serving, question: &[u8]) -> String {
        let mut stream = TcpStream::connect(serving.address()).await.unwrap();
        // What is too long is refused before all of it is taken.
        let _ = stream.write_all(question).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn one_path_is_answered_and_everything_else_is_told_what_there_is() {
        let serving = serving();
        assert!(serving.address().starts_with("127.0.0.1:"), "{}", serving.address());
        let page = asked(&serving, b"GET /metrics?x=1 HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("\nslotkv_build_info{"), "{page}");
        assert!(page.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{page}");
        let head = asked(&serving, b"HEAD /metrics HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200") && !head.contains("slotkv_build_info"), "{head}");
        for path in ["/", "/metrics/", "/metricsx", "/../etc/passwd"] {
            let answer = asked(&serving, format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await;
            assert!(
                answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("/metrics\n"),
                "{path}: {answer}"
            );
        }
        let answer = asked(&serving, b"DELETE /metrics HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn a_body_is_not_waited_for_and_a_question_past_the_bounds_is_refused() {
        let serving = serving();
        let body = b"GET /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\nsome";
        assert!(asked(&serving, body).await.starts_with("HTTP/1.1 200 "));
        let long =
            format!("GET /metrics HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(QUESTION_BYTES_MAX));
        assert!(!asked(&serving, long.as_bytes()).await.starts_with("HTTP/1.1 200"));
        let many = "X: x\r\n".repeat(HEADERS_MAX);
        let many = format!("GET /metrics HTTP/1.1\r\nHost: h\r\n{many}\r\n");
        assert!(!asked(&serving, many.as_bytes()).await.starts_with("HTTP/1.1 200"));
        assert!(!asked(&serving, b"\x16\x03\x01 what is this\r\n\r\n").await.starts_with("HTTP/1.1 200"));
        let fine = asked(&serving, b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(fine.starts_with("HTTP/1.1 200 "), "{fine}");
    }

    #[tokio::test]
    async fn who_connects_and_says_nothing_is_let_go_and_keeps_nobody_else_out_for_long() {
        let serving = serving();
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(serving.address()).await.unwrap());
        }
        assert_eq!(asked(&serving, b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").await, "");
        tokio::time::pause();
        tokio::time::advance(QUESTION_MAX).await;
        for mut stream in silent {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        let page = asked(&serving, b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    }

    #[tokio::test]
    async fn a_dropped_endpoint_leaves_no_port_and_no_connection() {
        let serving = serving();
        let address = serving.address().to_owned();
        let mut open = TcpStream::connect(&address).await.unwrap();
        asked(&serving, b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").await;
        drop(serving);
        let _ = open.read_to_end(&mut Vec::new()).await;
        tokio::net::TcpListener::bind(&address).await.unwrap();
    }
}
