//! Connections as they come in: counted, bounded, and never kept for a peer that does not speak.
//!
//! Past the limit a connection still gets an answer, RESOURCE_EXHAUSTED with the limit's name, while there is room
//! among a few reserved ones; past those it is closed at once.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use slotkv_proto::limits::HANDSHAKE_MS_MAX;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// Bytes with which every HTTP/2 peer begins.
const PREFACE_BYTES: usize = 24;
/// Connections past the limit that may wait for their refusal.
const REFUSED_MAX: usize = 64;
/// Pause after a failed accept, as when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The stream of connections of one listener. It has no end and no errors.
pub(crate) struct Incoming {
    listener: TcpListener,
    admitted: Arc<Semaphore>,
    refused: Arc<Semaphore>,
    cut: CancellationToken,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    /// Takes at most `connections_max` at the same time; all of them end when `cut` is cancelled.
    pub fn new(listener: TcpListener, connections_max: usize, cut: CancellationToken) -> Self {
        let connections_max = connections_max.min(Semaphore::MAX_PERMITS);
        Self {
            listener,
            admitted: Arc::new(Semaphore::new(connections_max)),
            refused: Arc::new(Semaphore::new(REFUSED_MAX)),
            cut,
            pause: None,
        }
    }

    fn admit(&self, stream: TcpStream) -> Option<Connection> {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot switch off Nagle's algorithm");
        }
        let (permit, admitted) = match self.admitted.clone().try_acquire_owned() {
            Ok(permit) => (permit, true),
            Err(_) => (self.refused.clone().try_acquire_owned().ok()?, false),
        };
        Some(Connection {
            stream,
            admitted,
            silence: Some(Box::pin(tokio::time::sleep(Duration::from_millis(HANDSHAKE_MS_MAX)))),
            preface_left: PREFACE_BYTES,
            cut: Box::pin(self.cut.clone().cancelled_owned()),
            _permit: permit,
        })
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match std::task::ready!(self.listener.poll_accept(cx)) {
                Ok((stream, peer)) => match self.admit(stream) {
                    Some(connection) => return Poll::Ready(Some(Ok(connection))),
                    None => tracing::warn!(%peer, "connection closed: too many wait for their refusal"),
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    self.pause = Some(Box::pin(tokio::time::sleep(ACCEPT_PAUSE)));
                }
            }
        }
    }
}

/// One client's connection.
pub(crate) struct Connection {
    stream: TcpStream,
    admitted: bool,
    /// Until the whole preface has come, since nobody asks a peer for signs of life before that; of a refused connection
    /// for good.
    silence: Option<Pin<Box<Sleep>>>,
    preface_left: usize,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
}

/// What the services learn about a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admission {
    /// Whether it is within the limit.
    pub admitted: bool,
}

impl Connected for Connection {
    type ConnectInfo = Admission;

    fn connect_info(&self) -> Admission {
        Admission { admitted: self.admitted }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if let Some(silence) = &mut self.silence
            && silence.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buf.filled().len();
        let outcome = std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        self.preface_left = self.preface_left.saturating_sub(buf.filled().len() - before);
        if self.admitted && self.preface_left == 0 {
            self.silence = None;
        }
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }
}
