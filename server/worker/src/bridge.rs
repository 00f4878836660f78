//! Bridge: the way from this shard's primary to those of other shards, for hand-overs. One connection per shard and direction.
//! Messages may be lost: what cannot be sent is dropped, for whoever misses it asks again.
//!
//! Where a shard's primary is reached is what the coordinator's register says; if that is old, nobody is reached, or a replica
//! that does not lead, and drops what it is sent.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, future::BoxFuture, stream::BoxStream};
use slotkv_migration::Message;
use slotkv_proto::{
    Code, code, handshake,
    table::ShardId,
    v1::{
        HandoverFrame, HandoverHello,
        handover_client::HandoverClient,
        handover_server::{Handover, HandoverServer},
    },
};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    frames::{self, Waiting},
    link::{self, PeerTransport},
    runner::{Runner, Task},
};

/// Messages that wait for the connection to one shard; past it new ones are dropped.
const WAITING_MAX: usize = 512;
/// Bytes of them; one message always may wait.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// Messages of other shards that wait for this one's host. Behind them the senders wait.
pub const ARRIVED_MAX: usize = 32;
/// Largest frame: one item is never larger than a row and its key, and parts are of a MiB.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// Sends frames over gRPC until they end or the connection breaks.
pub(crate) fn exchange(
    address: String,
    frames: BoxStream<'static, HandoverFrame>,
) -> BoxFuture<'static, Status> {
    async move { try_exchange(address, frames).await.err().unwrap_or_else(|| Status::ok("")) }.boxed()
}

async fn try_exchange(address: String, frames: BoxStream<'static, HandoverFrame>) -> Result<(), Status> {
    let channel = link::connect(&address).await?;
    let mut client = HandoverClient::new(channel).max_encoding_message_size(FRAME_BYTES_MAX);
    // The compiler needs the box to see that this may change threads.
    let call = client.exchange(Request::new(frames)).boxed();
    let mut answers = call.await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

/// This shard's connections to others.
pub struct Bridge {
    transport: Arc<dyn PeerTransport>,
    runner: Runner,
    hello: HandoverHello,
    lanes: BTreeMap<ShardId, Lane>,
}

struct Lane {
    address: String,
    messages: mpsc::Sender<Bytes>,
    bytes: Arc<AtomicUsize>,
    /// Ends with the lane.
    _task: Task,
}

impl Bridge {
    /// Connections of a replica that says `hello`, with the shard that it calls in it.
    pub fn new(transport: Arc<dyn PeerTransport>, runner: Runner, hello: HandoverHello) -> Self {
        Self { transport, runner, hello, lanes: BTreeMap::new() }
    }

    /// Sends a message to the shard whose primary is reached there, or drops it if that cannot take it now.
    pub fn send(&mut self, address: &str, message: &Message) {
        if self.lanes.get(&message.to).is_none_or(|lane| lane.address != address) {
            self.connect(message.to, address.to_owned());
        }
        let Some(lane) = self.lanes.get(&message.to) else { return };
        let message = message.to_bytes();
        let (count, waiting) = (message.len(), lane.bytes.load(Ordering::Acquire));
        if waiting > 0 && waiting + count > WAITING_BYTES_MAX {
            return;
        }
        lane.bytes.fetch_add(count, Ordering::AcqRel);
        if lane.messages.try_send(message).is_err() {
            lane.bytes.fetch_sub(count, Ordering::AcqRel);
        }
    }

    /// Closes what is not needed.
    pub fn close(&mut self) {
        self.lanes.clear();
    }

    fn connect(&mut self, to: ShardId, address: String) {
        let (messages, waiting) = mpsc::channel(WAITING_MAX);
        let bytes = Arc::<AtomicUsize>::default();
        let waiting = Queue { messages: waiting, bytes: bytes.clone() };
        let hello = HandoverHello { to_shard: to, ..self.hello.clone() };
        let task = self.runner.task(carry(self.transport.clone(), hello, address.clone(), waiting));
        self.lanes.insert(to, Lane { address, messages, bytes, _task: task });
    }
}

/// What waits for a connection.
struct Queue {
    messages: mpsc::Receiver<Bytes>,
    bytes: Arc<AtomicUsize>,
}

impl frames::Waiting<Bytes> for Queue {
    async fn recv(&mut self) -> Option<Bytes> {
        let message = self.messages.recv().await?;
        self.bytes.fetch_sub(message.len(), Ordering::AcqRel);
        Some(message)
    }

    fn try_recv(&mut self) -> Option<Bytes> {
        let message = self.messages.try_recv().ok()?;
        self.bytes.fetch_sub(message.len(), Ordering::AcqRel);
        Some(message)
    }
}

/// Keeps a connection to one shard while there is anything to say.
async fn carry(transport: Arc<dyn PeerTransport>, hello: HandoverHello, address: String, mut waiting: Queue) {
    let mut told = false;
    loop {
        let Some(first) = waiting.recv().await else { return };
        let connection = |sent| transport.hand_over(address.clone(), sent);
        let sent = frames::send::<HandoverFrame>(hello.clone(), first, &mut waiting, connection).await;
        let Some(why) = sent else { return };
        if !told {
            let shard = hello.to_shard;
            tracing::info!(shard, address, why = why.message(), "the connection to this shard is broken");
        }
        told = true;
        tokio::time::sleep(frames::PAUSE).await;
        // What was waiting for a connection that broke is old, and is said again.
        while waiting.try_recv().is_some() {}
    }
}

/// The other end: takes what primaries of other shards send.
#[derive(Clone)]
pub struct BridgeService {
    arrived: mpsc::Sender<Message>,
    cluster_id: String,
    shard: ShardId,
}

impl BridgeService {
    /// Hands messages for this shard to `arrived`.
    pub fn new(arrived: mpsc::Sender<Message>, cluster_id: String, shard: ShardId) -> Self {
        Self { arrived, cluster_id, shard }
    }

    /// Its gRPC server.
    pub fn server(self) -> HandoverServer<Self> {
        HandoverServer::new(self).max_decoding_message_size(FRAME_BYTES_MAX)
    }

    /// Takes frames until they end, or until one is none of this shard's.
    pub async fn take<S>(&self, frames: S) -> Result<(), Status>
    where
        S: Stream<Item = Result<HandoverFrame, Status>>,
    {
        let understand = |from: &ShardId, message: Bytes| {
            let message = Message::from_bytes(message).map_err(|why| {
                code::status_of(Code::InvalidArgument, format!("a message of shard {from}: {why}"))
            })?;
            if (message.from, message.to) != (*from, self.shard) {
                let text = format!(
                    "a message from shard {} to shard {} came from shard {from} to shard {}",
                    message.from, message.to, self.shard
                );
                return Err(code::status_of(Code::InvalidArgument, text));
            }
            Ok(message)
        };
        frames::take::<HandoverFrame, _, _>(frames, &self.arrived, |hello| self.welcome(hello), understand)
            .await
    }

    /// The shard of who says hello.
    fn welcome(&self, hello: HandoverHello) -> Result<ShardId, Status> {
        handshake::check_versions(hello.version_min, hello.version_max)?;
        handshake::check_cluster(&self.cluster_id, &hello.cluster_id)?;
        let refuse = |text: String| Err(code::status_of(Code::InvalidArgument, text));
        if hello.to_shard != self.shard {
            return refuse(format!("this is a replica of shard {}, not of {}", self.shard, hello.to_shard));
        }
        if hello.from_shard == self.shard {
            return refuse(format!("shard {} hands nothing to itself", self.shard));
        }
        Ok(hello.from_shard)
    }
}

#[tonic::async_trait]
impl Handover for BridgeService {
    type ExchangeStream = BoxStream<'static, Result<HandoverFrame, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<HandoverFrame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let service = self.clone();
        let frames = request.into_inner();
        Ok(Response::new(frames::answers(async move { service.take(frames).await })))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use slotkv_migration::{Body, Id};

    use super::*;

    fn hello() -> HandoverHello {
        HandoverHello {
            version_min: handshake::VERSION_MIN,
            version_max: handshake::VERSION_MAX,
            cluster_id: "c".into(),
            from_shard: 1,
            to_shard: 3,
            name: "a".into(),
        }
    }

    fn offer(from: ShardId, to: ShardId) -> Bytes {
        Message { id: Id(7), from, to, version: 7, body: Body::Offer }.to_bytes()
    }

    /// How a connection that begins so ends, and what has arrived by it.
    async fn ended(hello: Option<HandoverHello>, messages: Vec<Bytes>) -> (Option<Status>, usize) {
        let (arrived, mut arrives) = mpsc::channel(ARRIVED_MAX);
        let service = BridgeService::new(arrived, "c".into(), 3);
        let frames = [HandoverFrame { hello, messages: vec![] }, HandoverFrame { hello: None, messages }];
        let end = service.take(stream::iter(frames.map(Ok))).await.err();
        drop(service);
        let mut count = 0;
        while arrives.recv().await.is_some() {
            count += 1;
        }
        (end, count)
    }

    #[tokio::test]
    async fn who_is_no_shard_of_this_cluster_or_means_another_one_is_refused_and_not_heard() {
        let (end, count) = ended(Some(hello()), vec![offer(1, 3), offer(1, 3)]).await;
        assert!(end.is_none() && count == 2, "{end:?}");
        let foreign = HandoverHello { cluster_id: "other".into(), ..hello() };
        let elsewhere = HandoverHello { to_shard: 4, ..hello() };
        let itself = HandoverHello { from_shard: 3, ..hello() };
        let newer = HandoverHello { version_min: 99, version_max: 99, ..hello() };
        for (hello, code, text) in [
            (None, Code::InvalidArgument, "says no hello"),
            (Some(foreign), Code::WrongCluster, "belongs to cluster c, the caller to other"),
            (Some(elsewhere), Code::InvalidArgument, "a replica of shard 3, not of 4"),
            (Some(itself), Code::InvalidArgument, "hands nothing to itself"),
            (Some(newer), Code::Unsupported, "99"),
        ] {
            let (end, count) = ended(hello, vec![offer(1, 3)]).await;
            let end = end.expect(text);
            assert_eq!(code::code_of(&end), Some(code), "{end:?}");
            assert!(end.message().contains(text) && count == 0, "{end:?}");
        }
        for strange in [offer(2, 3), offer(1, 4), Bytes::from_static(b"\xff\xff")] {
            let (end, count) = ended(Some(hello()), vec![offer(1, 3), strange]).await;
            let end = end.expect("it is none of theirs");
            assert_eq!((code::code_of(&end), count), (Some(Code::InvalidArgument), 1), "{end:?}");
        }
    }
}
