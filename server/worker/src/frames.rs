//! Frames: how messages go from one process to another, for links within a shard and bridges between shards. A connection begins
//! with a hello, which says who speaks and to whom; then frames of messages follow. What was waiting for a connection that broke is
//! old, and nothing is sent twice.

use std::pin::pin;

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use slotkv_proto::{
    Code, code,
    v1::{HandoverFrame, HandoverHello, PeerFrame, PeerHello, ReplicaMessage},
};
use tokio::{sync::mpsc, time::Duration};
use tonic::Status;

/// Pause before a broken connection is made again.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of messages behind which no further one joins a frame.
const FRAME_BYTES_SOFT: usize = 1 << 20;
/// How long a connection's first frame may take.
const HELLO_MAX: Duration = Duration::from_secs(5);

/// A frame: of replicas of one shard, or of primaries of two.
pub(crate) trait Frame: Send + Sized + 'static {
    /// What a connection begins with.
    type Hello: Clone + Send;
    /// What it is made of.
    type Message: Send;
    /// Messages in one frame.
    const COUNT_MAX: usize;

    /// The first frame of a connection.
    fn first(hello: Self::Hello) -> Self;
    /// Any other.
    fn of(messages: Vec<Self::Message>) -> Self;
    /// What is in it.
    fn open(self) -> (Option<Self::Hello>, Vec<Self::Message>);
    /// Bytes of a message.
    fn size(message: &Self::Message) -> usize;
}

impl Frame for PeerFrame {
    type Hello = PeerHello;
    type Message = ReplicaMessage;
    const COUNT_MAX: usize = 64;

    fn first(hello: PeerHello) -> Self {
        Self { hello: Some(hello), messages: vec![] }
    }

    fn of(messages: Vec<ReplicaMessage>) -> Self {
        Self { hello: None, messages }
    }

    fn open(self) -> (Option<PeerHello>, Vec<ReplicaMessage>) {
        (self.hello, self.messages)
    }

    fn size(message: &ReplicaMessage) -> usize {
        prost::Message::encoded_len(message)
    }
}

impl Frame for HandoverFrame {
    type Hello = HandoverHello;
    type Message = Bytes;
    const COUNT_MAX: usize = 16;

    fn first(hello: HandoverHello) -> Self {
        Self { hello: Some(hello), messages: vec![] }
    }

    fn of(messages: Vec<Bytes>) -> Self {
        Self { hello: None, messages }
    }

    fn open(self) -> (Option<HandoverHello>, Vec<Bytes>) {
        (self.hello, self.messages)
    }

    fn size(message: &Bytes) -> usize {
        message.len()
    }
}

/// What waits for a connection.
pub(crate) trait Waiting<M>: Send {
    /// The next message; `None` if there will be no more.
    fn recv(&mut self) -> impl Future<Output = Option<M>> + Send;
    /// The next one that is there already.
    fn try_recv(&mut self) -> Option<M>;
}

impl<M: Send> Waiting<M> for mpsc::Receiver<M> {
    async fn recv(&mut self) -> Option<M> {
        mpsc::Receiver::recv(self).await
    }

    fn try_recv(&mut self) -> Option<M> {
        mpsc::Receiver::try_recv(self).ok()
    }
}

/// Sends over one connection: `first`, and then whatever waits. Returns why the connection broke; `None`: there will be no more.
pub(crate) async fn send<F: Frame>(
    hello: F::Hello,
    first: F::Message,
    waiting: &mut impl Waiting<F::Message>,
    connection: impl FnOnce(BoxStream<'static, F>) -> BoxFuture<'static, Status>,
) -> Option<Status> {
    let (frames, taken) = mpsc::channel(1);
    let sent = stream::unfold(taken, |mut taken| async { taken.recv().await.map(|frame| (frame, taken)) });
    tokio::select! {
        biased;
        () = pack(hello, first, waiting, frames) => None,
        why = connection(sent.boxed()) => Some(why),
    }
}

/// A hello, and then whatever waits, until there will be no more.
async fn pack<F: Frame>(
    hello: F::Hello,
    first: F::Message,
    waiting: &mut impl Waiting<F::Message>,
    frames: mpsc::Sender<F>,
) {
    let mut frame = F::first(hello);
    let mut next = Some(first);
    loop {
        if frames.send(frame).await.is_err() {
            // The connection says why in a moment.
            return std::future::pending().await;
        }
        let first = match next.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let mut bytes = F::size(&first);
        let mut messages = vec![first];
        while messages.len() < F::COUNT_MAX
            && bytes < FRAME_BYTES_SOFT
            && let Some(message) = waiting.try_recv()
        {
            bytes += F::size(&message);
            messages.push(message);
        }
        frame = F::of(messages);
    }
}

/// The other end of one connection: hands what comes to `arrived`, until there is no more. `welcome` refuses who is not meant to
/// speak here, `understand` what is no message of whoever that is.
pub(crate) async fn take<F: Frame, P, T>(
    frames: impl Stream<Item = Result<F, Status>>,
    arrived: &mpsc::Sender<T>,
    welcome: impl FnOnce(F::Hello) -> Result<P, Status>,
    understand: impl Fn(&P, F::Message) -> Result<T, Status>,
) -> Result<(), Status> {
    let mut frames = pin!(frames);
    let first = tokio::time::timeout(HELLO_MAX, frames.next()).await;
    let first = first.map_err(|_| code::status_of(Code::Timeout, "no hello came"))?;
    let Some(first) = first.transpose()? else { return Ok(()) };
    let no_hello = || code::status_of(Code::InvalidArgument, "the first frame says no hello");
    let peer = welcome(first.open().0.ok_or_else(no_hello)?)?;
    while let Some(frame) = frames.next().await.transpose()? {
        for message in frame.open().1 {
            let message = understand(&peer, message)?;
            if arrived.send(message).await.is_err() {
                return Err(code::status_of(Code::ShuttingDown, "this replica is stopping"));
            }
        }
    }
    Ok(())
}

/// What the sender of frames is answered: nothing, and in the end why they are not taken any more.
pub(crate) fn answers<F: Send + 'static>(
    taking: impl Future<Output = Result<(), Status>> + Send + 'static,
) -> BoxStream<'static, Result<F, Status>> {
    let end = stream::once(async move { taking.await.err().map(Err) });
    end.filter_map(|end| async move { end }).boxed()
}
