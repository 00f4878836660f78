//! Members that a client must not believe, or cannot hear: a link that went silent, a cluster that took another one's
//! place, a server of a later release.

use std::{
    net::{Ipv4Addr, TcpListener},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt, stream};
use slotkv::{Client, Code, Options, Outcome};
use slotkv_daemon::dev::{Dev, DevOptions};
use slotkv_proto::{
    SlotCount, SlotTable,
    table::{Member, Route},
    v1::{
        self,
        master_server::{Master, MasterServer},
        store_server::{Store, StoreServer},
    },
};
use slotkv_tests::{proxy::Through, until};
use tonic::{Request, Response, Status, Streaming};

/// How much later than its deadline a call may end on a machine that is busy.
const SLACK: Duration = Duration::from_secs(20);

fn small() -> DevOptions {
    DevOptions { masters: 1, shards: 2, ..DevOptions::default() }
}

/// A key of each shard, that of shard 0 first.
fn key_of_each(client: &Client) -> [String; 2] {
    [0, 1].map(|shard| {
        let mut keys = (0..).map(|n| format!("key-{n}"));
        keys.find(|key| client.explain(key.as_bytes()).shard == Some(shard)).expect("there are many keys")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_goes_silent_is_noticed_and_made_again() {
    let dev = Dev::start(small()).await.unwrap();
    let members = dev.master_addresses().into_iter().chain(dev.worker_addresses());
    let links = Arc::new(Through::start(members).await.unwrap());
    let options = Options { transport: links.clone(), ..Options::default() };
    let client = Client::connect_with(&dev.uri(), options).await.unwrap();
    let patient = client.with_deadline(Duration::from_secs(100));
    let [key, other] = key_of_each(&client);
    patient.put(&key, "before").await.unwrap();
    patient.put(&other, "before").await.unwrap();
    let address = client.explain(key.as_bytes()).address.expect("the shard has a primary");
    let link = links.link(&address);

    // Calls that are under way when the connection goes silent go on over a new one.
    let lost = client.stats().connections_lost;
    link.silence_present();
    assert_eq!(patient.increment(format!("n{{{key}}}"), 1).await.unwrap(), 1);
    assert_eq!(patient.get(&key).await.unwrap().unwrap(), "before");
    assert!(client.stats().connections_lost > lost, "the silence was noticed");

    // Nothing passes any more: calls end by their deadlines, those to other shards do not notice.
    link.silence_all();
    for (deadline_ms, write) in [(200, false), (1000, true), (3000, false)] {
        let deadline = Duration::from_millis(deadline_ms);
        let hurried = client.with_deadline(deadline);
        let begun = Instant::now();
        let error = if write {
            hurried.put(&key, "lost").await.unwrap_err()
        } else {
            hurried.get(&key).await.unwrap_err()
        };
        assert!(begun.elapsed() < deadline + SLACK, "{:?} for a deadline of {deadline:?}", begun.elapsed());
        assert!(matches!(error.code, Code::Timeout | Code::Unavailable | Code::ConnectionLost), "{error}");
        assert!(write || error.outcome == Outcome::Failed, "a read changes nothing: {error:?}");
        patient.put(&other, "meanwhile").await.unwrap();
    }
    until("the silent connection is given up", async || {
        let stats = client.stats();
        let member = stats.members.iter().find(|member| member.address == address);
        member.is_some_and(|member| !member.connected)
    })
    .await;

    link.carry_new();
    assert_eq!(patient.increment(format!("n{{{key}}}"), 1).await.unwrap(), 2);
    patient.put(&key, "after").await.unwrap();
    assert_eq!(patient.get(&key).await.unwrap().unwrap(), "after");
    client.close().await;
    dev.shutdown().await;
}

/// The first of so many free ports in a row, below those that the system gives to outgoing connections, so that they are
/// still free for the second cluster.
fn free_ports(count: u16) -> u16 {
    let start = std::process::id() as u16 % 1000;
    let mut firsts = (0..1000).map(|n| 10_000 + (start + n * 7) % 9_900);
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    firsts.find(|&first| (first..first + count).all(is_free)).expect("free ports")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_took_the_place_of_another_is_never_taken_for_it() {
    let (options, first) = loop {
        let options = DevOptions { port: free_ports(3), ..small() };
        if let Ok(dev) = Dev::start(options.clone()).await {
            break (options, dev);
        }
    };
    let uri = first.uri();
    let client = Client::connect(&uri).await.unwrap();
    let patient = client.with_deadline(Duration::from_secs(100));
    let keys = key_of_each(&client);
    for key in &keys {
        patient.put(key, "of the first").await.unwrap();
    }
    first.shutdown().await;
    let second = Dev::start(options).await.unwrap();
    let theirs = Client::connect(&uri).await.unwrap();
    assert_ne!(theirs.cluster_id(), client.cluster_id());

    for key in &keys {
        theirs.put(key, "of the second").await.unwrap();
        for error in [
            patient.get(key).await.unwrap_err(),
            patient.put(key, "of the first, again").await.unwrap_err(),
            patient.delete(key).await.unwrap_err(),
            patient.increment("n", 1).await.unwrap_err(),
        ] {
            assert_eq!((error.code, error.outcome), (Code::WrongCluster, Outcome::Failed), "{error}");
            assert!(
                error.message.contains(client.cluster_id()) && error.message.contains(theirs.cluster_id()),
                "{error}"
            );
        }
        assert_eq!(theirs.get(key).await.unwrap().unwrap(), "of the second");
    }
    assert_eq!(theirs.get("n").await.unwrap(), None);
    until("pings notice it too", async || client.stats().wrong_cluster > 0).await;
    client.close().await;
    theirs.close().await;
    second.shutdown().await;
}

/// A master and a worker of a later release, in one.
#[derive(Clone)]
struct Newer {
    address: String,
    /// The first frame of every stream.
    first: v1::ServerFrame,
    /// The answer to every request.
    reply: v1::Reply,
}

impl Newer {
    fn table(&self) -> SlotTable {
        let mut table = SlotTable::new("newer", SlotCount::default());
        table.set_owners(1, &[(0, 1023, 0)]).unwrap();
        let primary = Some(Member { name: "s0".into(), run: "1".into(), address: self.address.clone() });
        table.set_route(Route { shard: 0, epoch: 1, revision: 1, primary, backups: Vec::new() });
        table
    }

    /// Serves, and connects a client to it.
    async fn client(version: u32, reply: v1::Reply) -> (Client, tokio::task::JoinHandle<()>) {
        let welcome =
            v1::Welcome { version, features: u64::MAX, cluster_id: "newer".into(), ..Default::default() };
        let first = v1::ServerFrame { welcome: Some(welcome), ..Default::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let newer = Newer { address: address.clone(), first, reply };
        let incoming = stream::unfold(listener, |listener| async move {
            Some((listener.accept().await.map(|(stream, _)| stream), listener))
        });
        let serving = tonic::transport::Server::builder()
            .add_service(StoreServer::new(newer.clone()))
            .add_service(MasterServer::new(newer))
            .serve_with_incoming(incoming);
        let task = tokio::spawn(async move { serving.await.unwrap() });
        let client = Client::connect(&format!("slotkv://{address}")).await.unwrap();
        (client.with_deadline(Duration::from_secs(60)), task)
    }
}

type Frames = Pin<Box<dyn Stream<Item = Result<v1::ServerFrame, Status>> + Send>>;

#[tonic::async_trait]
impl Store for Newer {
    type StreamStream = Frames;

    async fn stream(&self, request: Request<Streaming<v1::ClientFrame>>) -> Result<Response<Frames>, Status> {
        let newer = self.clone();
        let frames = request.into_inner().map(move |frame| {
            let frame = frame?;
            if frame.hello.is_some() {
                return Ok(newer.first.clone());
            }
            let replies =
                frame.requests.iter().map(|request| v1::Reply { id: request.id, ..newer.reply.clone() });
            Ok(v1::ServerFrame { replies: replies.collect(), ..Default::default() })
        });
        Ok(Response::new(Box::pin(frames)))
    }

    async fn get(&self, _: Request<v1::Request>) -> Result<Response<v1::Reply>, Status> {
        Err(Status::unimplemented("the stream is for that"))
    }
    async fn has(&self, request: Request<v1::Request>) -> Result<Response<v1::Reply>, Status> {
        self.get(request).await
    }
    async fn put(&self, request: Request<v1::Request>) -> Result<Response<v1::Reply>, Status> {
        self.get(request).await
    }
    async fn delete(&self, request: Request<v1::Request>) -> Result<Response<v1::Reply>, Status> {
        self.get(request).await
    }
    async fn increment(&self, request: Request<v1::Request>) -> Result<Response<v1::Reply>, Status> {
        self.get(request).await
    }
    async fn count(&self, request: Request<v1::Request>) -> Result<Response<v1::Reply>, Status> {
        self.get(request).await
    }
    async fn scan(&self, request: Request<v1::Request>) -> Result<Response<v1::Reply>, Status> {
        self.get(request).await
    }
}

#[tonic::async_trait]
impl Master for Newer {
    async fn ping(&self, _: Request<v1::PingRequest>) -> Result<Response<v1::PingReply>, Status> {
        Ok(Response::new(v1::PingReply { version: 2, cluster_id: "newer".into(), ..Default::default() }))
    }

    async fn get_slot_table(
        &self,
        request: Request<v1::SlotTableRequest>,
    ) -> Result<Response<v1::TableDelta>, Status> {
        Ok(Response::new(self.table().delta_since(request.into_inner().since_version, |_| 0)))
    }

    type WatchSlotTableStream = stream::Empty<Result<v1::TableDelta, Status>>;

    async fn watch_slot_table(
        &self,
        _: Request<v1::SlotTableRequest>,
    ) -> Result<Response<Self::WatchSlotTableStream>, Status> {
        Ok(Response::new(stream::empty()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_a_version_that_was_not_offered_gets_no_request() {
    let (client, serving) = Newer::client(2, v1::Reply::default()).await;
    for error in [client.get("k").await.unwrap_err(), client.put("k", "v").await.unwrap_err()] {
        assert_eq!((error.code, error.outcome), (Code::Unsupported, Outcome::Failed), "{error}");
        assert!(error.message.contains("version 2"), "{error}");
    }
    client.close().await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_and_states_of_a_later_release_are_typed_errors() {
    let code = v1::Reply { code: 4711, message: "from a later release".into(), ..Default::default() };
    let state = v1::Reply { status: 99, ..Default::default() };
    for (reply, named) in [(code, "4711"), (state, "99")] {
        let (client, serving) = Newer::client(1, reply).await;
        let (read, write) = (client.get("k").await.unwrap_err(), client.put("k", "v").await.unwrap_err());
        assert_eq!((read.code, read.outcome), (Code::Unexpected, Outcome::Failed), "{read}");
        assert_eq!((write.code, write.outcome), (Code::Unexpected, Outcome::Unknown), "{write}");
        assert!(read.message.contains(named) && write.message.contains(named), "{read}; {write}");
        client.close().await;
        serving.abort();
    }
}
