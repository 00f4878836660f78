//! How connections are made: by TCP, without delay, and so that writing to one that the other side has closed is an error
//! and nothing else. A host that was not written in Rust has not ignored SIGPIPE, which would end it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::BoxFuture;
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};
use tonic::codegen::{Service, http::Uri};

use crate::transport::TCP_CONNECT_MS_MAX;

/// Keeps the signal away. Elsewhere the socket itself has it.
#[cfg(all(unix, not(target_vendor = "apple")))]
const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
#[cfg(not(all(unix, not(target_vendor = "apple"))))]
const NO_SIGNAL: i32 = 0;

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Connector(HttpConnector);

impl Connector {
    pub fn new() -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_millis(TCP_CONNECT_MS_MAX)));
        Self(tcp)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Quiet>;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move { Ok(TokioIo::new(Quiet(connecting.await?.into_inner()))) })
    }
}

/// A connection whose writes never raise SIGPIPE: those of one buffer do not by themselves, those of several would.
pub(crate) struct Quiet(TcpStream);

impl AsyncRead for Quiet {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Quiet {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = &self.0;
        let send = || SockRef::from(stream).send_vectored_with_flags(slices, NO_SIGNAL);
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::net::TcpListener;

    use super::*;

    static SIGNALS: AtomicU32 = AtomicU32::new(0);

    extern "C" fn count(_: libc::c_int) {
        SIGNALS.fetch_add(1, Ordering::SeqCst);
    }

    #[tokio::test]
    async fn writing_to_a_peer_that_is_gone_is_an_error_and_no_signal() {
        // SAFETY: the handler adds to a number.
        let before =
            unsafe { libc::signal(libc::SIGPIPE, count as extern "C" fn(libc::c_int) as libc::sighandler_t) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let mut socket = TokioIo::into_inner(Connector::new().call(address).await.unwrap());
        let (peer, _) = listener.accept().await.unwrap();
        peer.set_zero_linger().unwrap();
        drop(peer);
        let buffers = [IoSlice::new(b"one"), IoSlice::new(b"two")];
        // The first says what the reset connection has to say; from the second on it is a broken pipe.
        let mut last = None;
        for _ in 0..3 {
            last = poll_fn(|cx| Pin::new(&mut socket).poll_write_vectored(cx, &buffers)).await.err();
        }
        assert_eq!(last.map(|error| error.kind()), Some(io::ErrorKind::BrokenPipe));
        assert_eq!(SIGNALS.load(Ordering::SeqCst), 0);
        // SAFETY: as it was.
        unsafe { libc::signal(libc::SIGPIPE, before) };
    }
}
