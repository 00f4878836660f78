//! Links: the way from this replica to the others of its shard. Each pair has two connections, one per direction, so
//! that either side only ever sends on its own. Messages may be lost: what cannot be sent is dropped, for whoever misses
//! it asks again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, future::BoxFuture, stream::BoxStream};
use parking_lot::RwLock;
use slotkv_proto::{
    Code, code, handshake,
    v1::{
        HandoverFrame, Hello, InspectReply, InspectRequest, PeerFrame, PeerHello, ReplicaMessage,
        SlotsRequest,
        admin_client::AdminClient,
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
    bridge, frames,
    runner::{Runner, Task},
    shard::Shard,
};

/// Messages that wait for one replica's connection; past it new ones are dropped. What they hold is bounded by the machine
/// that makes them.
const WAITING_MAX: usize = 256;
/// Messages of others that wait for this replica.
pub const ARRIVED_MAX: usize = 256;
/// Largest frame: one record and what is around it, or a machine's message limit.
const FRAME_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + (8 << 20);
/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// A silent connection is asked for a sign of life after this time, and has as long to give it.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// How long an inspection may take.
const INSPECT_MAX: Duration = Duration::from_secs(10);

/// How frames reach another process: gRPC, or the simulator's network.
pub trait PeerTransport: Send + Sync + 'static {
    /// Sends frames to `address` until they end or the connection breaks. Says why it broke.
    fn exchange(&self, address: String, frames: BoxStream<'static, PeerFrame>) -> BoxFuture<'static, Status>;

    /// The same for frames to the primary of another shard.
    fn hand_over(&self, address: String, _: BoxStream<'static, HandoverFrame>) -> BoxFuture<'static, Status> {
        let text = format!("there is no way to another shard at {address}");
        std::future::ready(Status::unimplemented(text)).boxed()
    }

    /// Asks a master of this cluster for the newest register of slots that it has read; `None`: it does not tell.
    fn slots(&self, master: String, cluster_id: String) -> BoxFuture<'static, Option<Bytes>> {
        let _ = (master, cluster_id);
        std::future::ready(None).boxed()
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

    fn slots(&self, master: String, cluster_id: String) -> BoxFuture<'static, Option<Bytes>> {
        async move {
            let channel = connect(&master).await.ok()?;
            let (version_min, version_max) = (handshake::VERSION_MIN, handshake::VERSION_MAX);
            let hello = Hello { version_min, version_max, cluster_id, ..Hello::default() };
            let mut admin = AdminClient::new(channel);
            let reply = admin.slots(SlotsRequest { hello: Some(hello) }).boxed().await.ok()?;
            Some(reply.into_inner().register)
        }
        .boxed()
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
        let connection = |sent| transport.exchange(address.clone(), sent);
        let Some(why) = frames::send::<PeerFrame>(hello.clone(), first, &mut waiting, connection).await
        else {
            return;
        };
        if !told {
            tracing::info!(name, address, why = why.message(), "the connection to this replica is broken");
        }
        told = true;
        tokio::time::sleep(frames::PAUSE).await;
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

/// The other end: takes what other replicas of the shard send.
#[derive(Clone)]
pub struct PeerService {
    arrived: mpsc::Sender<Message>,
    cluster_id: String,
    shard: u32,
    addresses: Addresses,
    /// What can be inspected.
    replica: Option<Arc<Shard>>,
}

impl PeerService {
    /// Hands messages for replicas of this shard to `arrived`.
    pub fn new(arrived: mpsc::Sender<Message>, cluster_id: String, shard: u32, addresses: Addresses) -> Self {
        Self { arrived, cluster_id, shard, addresses, replica: None }
    }

    /// The same, of a replica that may be inspected.
    pub fn with_replica(self, replica: Arc<Shard>) -> Self {
        Self { replica: Some(replica), ..self }
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
        let understand = |sender: &String, message: ReplicaMessage| {
            let message = Message::try_from(message).map_err(|why| {
                code::status_of(Code::InvalidArgument, format!("a message of {sender}: {why}"))
            })?;
            if message.from.name.as_str() != sender {
                let text = format!("{sender} sends as {}", message.from.name);
                return Err(code::status_of(Code::InvalidArgument, text));
            }
            Ok(message)
        };
        frames::take::<PeerFrame, _, _>(frames, &self.arrived, |hello| self.welcome(hello), understand).await
    }

    /// The name of who says hello.
    fn welcome(&self, hello: PeerHello) -> Result<String, Status> {
        handshake::check_versions(hello.version_min, hello.version_max)?;
        handshake::check_cluster(&self.cluster_id, &hello.cluster_id)?;
        let refuse = |text: String| Err(code::status_of(Code::InvalidArgument, text));
        if hello.shard != self.shard {
            return refuse(format!("this is a replica of shard {}, not of {}", self.shard, hello.shard));
        }
        if hello.name.is_empty() {
            return refuse("a replica without a name".into());
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
        Ok(Response::new(frames::answers(async move { service.take(frames).await })))
    }

    async fn inspect(&self, request: Request<InspectRequest>) -> Result<Response<InspectReply>, Status> {
        let request = request.into_inner();
        let hello = handshake::check_hello(request.hello.as_ref())?;
        if !hello.cluster_id.is_empty() {
            handshake::check_cluster(&self.cluster_id, &hello.cluster_id)?;
        }
        let stopping = || code::status_of(Code::ShuttingDown, "this replica is stopping");
        let replica = self.replica.as_ref().ok_or_else(stopping)?;
        let inspected = tokio::time::timeout(INSPECT_MAX, replica.inspect()).await;
        match inspected {
            Ok(Ok(inspected)) => Ok(Response::new(inspected)),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(code::status_of(Code::Timeout, "this replica does not come to it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
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
            (Some(foreign), Code::WrongCluster, "belongs to cluster c, the caller to other"),
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
