//! Links: the way from this replica to the others of its shard. Each pair has two connections, one per direction, so
//! that either side only ever sends on its own. Messages may be lost: what cannot be sent is dropped, for whoever misses
//! it asks again.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use futures_util::{
    FutureExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use parking_lot::RwLock;
use slotkv_proto::{
    Code, code, handshake,
    v1::{
        HandoverFrame, PeerFrame, PeerHello, ReplicaMessage,
        replication_client::ReplicationClient,
        replication_server::{Replication, ReplicationServer},
    },
};
use slotkv_replication::Message;
use slotkv_storage::log::PAYLOAD_BYTES_MAX;
use tokio::sync::mpsc;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::{
    bridge,
    runner::{Runner, Task},
};

/// Messages that wait for one replica's connection; past it new ones are dropped. What they hold is bounded by the machine
/// that makes them.
const WAITING_MAX: usize = 256;
/// Messages of others that wait for this replica.
pub const ARRIVED_MAX: usize = 256;
/// Messages in one frame.
const PER_FRAME_MAX: usize = 64;
/// Largest frame: one record and what is around it, or a machine's message limit.
const FRAME_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + (8 << 20);
/// Bytes of records behind which no further message joins a frame.
const FRAME_BYTES_SOFT: usize = 1 << 20;
/// Pause before a broken connection is made again.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// A silent connection is asked for a sign of life after this time, and has as long to give it.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// How long a connection's first frame may take.
const HELLO_MAX: Duration = Duration::from_secs(5);

/// How frames reach another process: gRPC, or the simulator's network.
pub trait PeerTransport: Send + Sync + 'static {
    /// Sends frames to `address` until they end or the connection breaks. Says why it broke.
    fn exchange(&self, address: String, frames: BoxStream<'static, PeerFrame>) -> BoxFuture<'static, Status>;

    /// The same for frames to the primary of another shard.
    fn hand_over(&self, address: String, _: BoxStream<'static, HandoverFrame>) -> BoxFuture<'static, Status> {
        let text = format!("there is no way to another shard at {address}");
        std::future::ready(Status::unimplemented(text)).boxed()
    }
}

/// Frames over gRPC.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcPeers;

impl PeerTransport for GrpcPeers {
    fn exchange(&self, address: String, frames: BoxStream<'static, PeerFrame>) -> BoxFuture<'static, Status> {
        async move { exchange(address, frames).await.err().unwrap_or_else(|| Status::ok("")) }.boxed()
    }

    fn hand_over(
        &self,
        address: String,
        frames: BoxStream<'static, HandoverFrame>,
    ) -> BoxFuture<'static, Status> {
        bridge::exchange(address, frames)
    }
}

/// A connection to another worker.
pub(crate) async fn connect(address: &str) -> Result<Channel, Status> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Status::invalid_argument(error.to_string()))?
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .initial_stream_window_size(16 << 20)
        .initial_connection_window_size(32 << 20)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))
}

async fn exchange(address: String, frames: BoxStream<'static, PeerFrame>) -> Result<(), Status> {
    let channel = connect(&address).await?;
    let mut client = ReplicationClient::new(channel).max_encoding_message_size(FRAME_BYTES_MAX);
    // The compiler needs the box to see that this may change threads.
    let call = client.exchange(Request::new(frames)).boxed();
    let mut answers = call.await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

/// Where the members of a shard are reached, by name.
#[derive(Clone, Debug, Default)]
pub struct Addresses(Arc<RwLock<BTreeMap<String, String>>>);

impl Addresses {
    /// Where a member is reached, as far as anybody said.
    pub fn of(&self, name: &str) -> Option<String> {
        self.0.read().get(name).cloned()
    }

    /// A member is reached there now.
    pub fn set(&self, name: &str, address: &str) {
        if self.0.read().get(name).is_none_or(|known| known != address) {
            self.0.write().insert(name.into(), address.into());
        }
    }
}

/// This replica's connections to others.
pub struct Links {
    transport: Arc<dyn PeerTransport>,
    runner: Runner,
    hello: PeerHello,
    addresses: Addresses,
    links: BTreeMap<String, Link>,
}

struct Link {
    address: String,
    messages: mpsc::Sender<ReplicaMessage>,
    /// Ends with the link.
    _task: Task,
}

impl Links {
    /// Links of a replica that says `hello`.
    pub fn new(
        transport: Arc<dyn PeerTransport>,
        runner: Runner,
        hello: PeerHello,
        addresses: Addresses,
    ) -> Self {
        Self { transport, runner, hello, addresses, links: BTreeMap::new() }
    }

    /// Sends a message, or drops it if its receiver cannot take it now.
    pub fn send(&mut self, message: Message) {
        let to = message.to.as_str();
        let Some(address) = self.addresses.of(to) else {
            tracing::debug!(to, "nobody has said where this replica is reached");
            return;
        };
        let known = self.links.get(to).filter(|link| link.address == address);
        let messages = match known {
            Some(link) => link.messages.clone(),
            None => self.connect(to.to_owned(), address),
        };
        let _ = messages.try_send(message.into());
    }

    fn connect(&mut self, to: String, address: String) -> mpsc::Sender<ReplicaMessage> {
        let (messages, waiting) = mpsc::channel(WAITING_MAX);
        let (transport, hello) = (self.transport.clone(), self.hello.clone());
        let task = self.runner.task(carry(transport, hello, to.clone(), address.clone(), waiting));
        self.links.insert(to, Link { address, messages: messages.clone(), _task: task });
        messages
    }
}

/// Keeps a connection to one replica while there is anything to say.
async fn carry(
    transport: Arc<dyn PeerTransport>,
    hello: PeerHello,
    name: String,
    address: String,
    mut waiting: mpsc::Receiver<ReplicaMessage>,
) {
    let mut told = false;
    loop {
        // What was waiting for a connection that broke is old.
        let Some(first) = newest(&mut waiting).await else { return };
        let (frames, taken) = mpsc::channel(1);
        let sent =
            stream::unfold(taken, |mut taken| async { taken.recv().await.map(|frame| (frame, taken)) });
        let why = tokio::select! {
            biased;
            () = pack(hello.clone(), first, &mut waiting, frames) => return,
            why = transport.exchange(address.clone(), sent.boxed()) => why,
        };
        if !told {
            tracing::info!(name, address, why = why.message(), "the connection to this replica is broken");
        }
        told = true;
        tokio::time::sleep(PAUSE).await;
    }
}

/// The last message that waits, once there is one; `None` if there will be no more.
async fn newest(waiting: &mut mpsc::Receiver<ReplicaMessage>) -> Option<ReplicaMessage> {
    let mut newest = waiting.recv().await?;
    while let Ok(newer) = waiting.try_recv() {
        newest = newer;
    }
    Some(newest)
}

/// A hello, and then whatever waits, until there will be no more.
async fn pack(
    hello: PeerHello,
    first: ReplicaMessage,
    waiting: &mut mpsc::Receiver<ReplicaMessage>,
    frames: mpsc::Sender<PeerFrame>,
) {
    let mut frame = PeerFrame { hello: Some(hello), messages: vec![] };
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
        let mut bytes = size(&first);
        let mut messages = vec![first];
        while messages.len() < PER_FRAME_MAX
            && bytes < FRAME_BYTES_SOFT
            && let Ok(message) = waiting.try_recv()
        {
            bytes += size(&message);
            messages.push(message);
        }
        frame = PeerFrame { hello: None, messages };
    }
}

fn size(message: &ReplicaMessage) -> usize {
    prost::Message::encoded_len(message)
}

/// The other end: takes what other replicas of the shard send.
#[derive(Clone)]
pub struct PeerService {
    arrived: mpsc::Sender<Message>,
    cluster_id: String,
    shard: u32,
    addresses: Addresses,
}

impl PeerService {
    /// Hands messages for replicas of this shard to `arrived`.
    pub fn new(arrived: mpsc::Sender<Message>, cluster_id: String, shard: u32, addresses: Addresses) -> Self {
        Self { arrived, cluster_id, shard, addresses }
    }

    /// Its gRPC server.
    pub fn server(self) -> ReplicationServer<Self> {
        ReplicationServer::new(self).max_decoding_message_size(FRAME_BYTES_MAX)
    }

    /// Takes frames until they end, or until one is none of this shard's.
    pub async fn take<S>(&self, frames: S) -> Result<(), Status>
    where
        S: Stream<Item = Result<PeerFrame, Status>>,
    {
        let mut frames = pin!(frames);
        let first = tokio::time::timeout(HELLO_MAX, frames.next()).await;
        let first = first.map_err(|_| code::status_of(Code::Timeout, "no hello came"))?;
        let Some(first) = first.transpose()? else { return Ok(()) };
        let sender = self.check(first.hello)?;
        while let Some(frame) = frames.next().await.transpose()? {
            for message in frame.messages {
                let message = Message::try_from(message).map_err(|why| {
                    code::status_of(Code::InvalidArgument, format!("a message of {sender}: {why}"))
                })?;
                if message.from.name.as_str() != sender {
                    let text = format!("{sender} sends as {}", message.from.name);
                    return Err(code::status_of(Code::InvalidArgument, text));
                }
                if self.arrived.send(message).await.is_err() {
                    return Err(code::status_of(Code::ShuttingDown, "this replica is stopping"));
                }
            }
        }
        Ok(())
    }

    fn check(&self, hello: Option<PeerHello>) -> Result<String, Status> {
        let refuse = |code, text: String| Err(code::status_of(code, text));
        let Some(hello) = hello else {
            return refuse(Code::InvalidArgument, "the first frame says no hello".into());
        };
        if handshake::agree(hello.version_min, hello.version_max).is_none() {
            return refuse(Code::Unsupported, handshake::refusal(hello.version_min, hello.version_max));
        }
        if hello.cluster_id != self.cluster_id {
            let text =
                format!("this replica belongs to cluster {}, not to {}", self.cluster_id, hello.cluster_id);
            return refuse(Code::WrongCluster, text);
        }
        if hello.shard != self.shard {
            let text = format!("this is a replica of shard {}, not of {}", self.shard, hello.shard);
            return refuse(Code::InvalidArgument, text);
        }
        if hello.name.is_empty() {
            return refuse(Code::InvalidArgument, "a replica without a name".into());
        }
        self.addresses.set(&hello.name, &hello.address);
        Ok(hello.name)
    }
}

#[tonic::async_trait]
impl Replication for PeerService {
    type ExchangeStream = BoxStream<'static, Result<PeerFrame, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<PeerFrame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let service = self.clone();
        let frames = request.into_inner();
        let taking = async move { service.take(frames).await.err().map(Err) };
        let answers = stream::once(taking).filter_map(|end| async move { end });
        Ok(Response::new(answers.boxed()))
    }
}

#[cfg(test)]
mod tests {
    use slotkv_proto::v1::{ReplicaMember, replica_message::Body};

    use super::*;

    fn hello() -> PeerHello {
        PeerHello {
            version_min: handshake::VERSION_MIN,
            version_max: handshake::VERSION_MAX,
            cluster_id: "c".into(),
            shard: 3,
            name: "a".into(),
            address: "a:1".into(),
        }
    }

    fn says(from: &str) -> ReplicaMessage {
        let from = ReplicaMember { name: from.into(), inc: "i".into(), run: "r".into() };
        let body = Some(Body::Refused(Default::default()));
        ReplicaMessage { from: Some(from), to: "b".into(), epoch: 7, body }
    }

    /// How a connection that begins so ends, and what has arrived by it.
    async fn ended(hello: Option<PeerHello>, messages: Vec<ReplicaMessage>) -> (Option<Status>, usize) {
        let (arrived, mut arrives) = mpsc::channel(ARRIVED_MAX);
        let service = PeerService::new(arrived, "c".into(), 3, Addresses::default());
        let frames = [PeerFrame { hello, messages: vec![] }, PeerFrame { hello: None, messages }];
        let end = service.take(stream::iter(frames.map(Ok))).await.err();
        drop(service);
        let mut count = 0;
        while arrives.recv().await.is_some() {
            count += 1;
        }
        (end, count)
    }

    #[tokio::test]
    async fn who_is_no_replica_of_this_shard_and_cluster_is_refused_by_name_and_not_heard() {
        let (end, count) = ended(Some(hello()), vec![says("a"), says("a")]).await;
        assert!(end.is_none() && count == 2, "{end:?}");
        let foreign = PeerHello { cluster_id: "other".into(), ..hello() };
        let elsewhere = PeerHello { shard: 4, ..hello() };
        let newer = PeerHello { version_min: 99, version_max: 99, ..hello() };
        let nameless = PeerHello { name: String::new(), ..hello() };
        for (hello, code, text) in [
            (None, Code::InvalidArgument, "says no hello"),
            (Some(foreign), Code::WrongCluster, "belongs to cluster c, not to other"),
            (Some(elsewhere), Code::InvalidArgument, "a replica of shard 3, not of 4"),
            (Some(newer), Code::Unsupported, "99"),
            (Some(nameless), Code::InvalidArgument, "without a name"),
        ] {
            let (end, count) = ended(hello, vec![says("a")]).await;
            let end = end.expect(text);
            assert_eq!(code::code_of(&end), Some(code), "{end:?}");
            assert!(end.message().contains(text) && count == 0, "{end:?}");
        }
        let (end, count) = ended(Some(hello()), vec![says("a"), says("b")]).await;
        let end = end.expect("b is not a");
        assert!(end.message().contains("a sends as b") && count == 1, "{end:?}");
    }
}
