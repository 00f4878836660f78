//! TCP connections that raise no SIGPIPE. A Rust program ignores that signal, but this crate also lives in hosts that do
//! not, as C programs, and a member that dies while several buffers are written to it must not take them along: the
//! standard library asks for no signal when it sends one buffer, and cannot when it sends several.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, TryFutureExt, future::BoxFuture};
use hyper::{
    Uri,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use tokio::net::TcpStream;
use tower_service::Service;

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector(HttpConnector);

impl Connector {
    /// A connector that gives each attempt at most so long.
    pub(super) fn new(timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        Self(connector)
    }
}

impl Service<Uri> for Connector {
    type Response = Socket;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = BoxFuture<'static, Result<Socket, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Uri>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        self.0.call(address).map_ok(Socket).boxed()
    }
}

/// A connection.
pub(super) struct Socket(TokioIo<TcpStream>);

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    #[cfg(target_os = "linux")]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.0.inner();
        let send = || socket2::SockRef::from(stream).send_vectored_with_flags(buffers, libc::MSG_NOSIGNAL);
        loop {
            std::task::ready!(stream.poll_write_ready(cx))?;
            match stream.try_io(tokio::io::Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    // Elsewhere the standard library has told the socket itself.
    #[cfg(not(target_os = "linux"))]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, buffers)
    }
}

#[cfg(all(test, target_os = "linux"))]
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
        let mut connector = Connector::new(Duration::from_secs(5));
        let mut socket = Service::<Uri>::call(&mut connector, address).await.unwrap();
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
