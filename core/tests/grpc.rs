//! The gRPC transport against real sockets: a good server, one that dies, one that is half open, one that sends too much.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use slotkv::{
    Client, Code, Options, Outcome,
    transport::{TonicTransport, Transport},
};
use slotkv_proto::{
    SlotCount, SlotTable,
    code::status_of,
    limits,
    table::{Member, Route},
    v1::{
        self,
        admin_server::{Admin, AdminServer},
        master_server::{Master, MasterServer},
        store_server::{Store, StoreServer},
    },
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
};
use tonic::{Request, Response, Status, Streaming};

type Frames = std::pin::Pin<Box<dyn Stream<Item = Result<v1::ServerFrame, Status>> + Send>>;

/// A master and a worker in one: every key has its own name as its value.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    /// Answers with a frame that is larger than any may be, once.
    bloated: Arc<AtomicBool>,
}

impl Server {
    fn table(&self) -> SlotTable {
        let mut table = SlotTable::new("real", SlotCount::default());
        let address = self.address.to_string();
        let primary = Some(Member { name: "s0".into(), run: "1".into(), address });
        table.set_owners(1, &[(0, 1023, 0)]).unwrap();
        table.set_route(Route { shard: 0, epoch: 1, revision: 1, primary, backups: Vec::new() });
        table
    }

    fn answer(&self, frame: v1::ClientFrame) -> v1::ServerFrame {
        if frame.hello.is_some() {
            let welcome = v1::Welcome { version: 1, cluster_id: "real".into(), ..Default::default() };
            return v1::ServerFrame { welcome: Some(welcome), ..Default::default() };
        }
        let bloated = self.bloated.swap(false, Ordering::Relaxed);
        let replies = frame.requests.into_iter().map(|request| v1::Reply {
            id: request.id,
            status: match request.operation() {
                v1::Operation::Put => v1::Status::Created as i32,
                _ => v1::Status::Found as i32,
            },
            value: if bloated { vec![0; limits::FRAME_BYTES_MAX].into() } else { request.key },
            ..Default::default()
        });
        v1::ServerFrame { replies: replies.collect(), ..Default::default() }
    }
}

#[tonic::async_trait]
impl Store for Server {
    type StreamStream = Frames;

    async fn stream(&self, request: Request<Streaming<v1::ClientFrame>>) -> Result<Response<Frames>, Status> {
        let server = self.clone();
        let frames = request.into_inner().map(move |frame| frame.map(|frame| server.answer(frame)));
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
impl Master for Server {
    async fn ping(&self, request: Request<v1::PingRequest>) -> Result<Response<v1::PingReply>, Status> {
        if request.into_inner().cluster_id == "another" {
            return Err(status_of(Code::WrongCluster, "this is cluster real"));
        }
        Ok(Response::new(v1::PingReply { version: 1, cluster_id: "real".into(), ..Default::default() }))
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

#[tonic::async_trait]
impl Admin for Server {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusReply>, Status> {
        Ok(Response::new(v1::StatusReply { cluster_id: "real".into(), ..Default::default() }))
    }

    async fn failover(&self, _: Request<v1::FailoverRequest>) -> Result<Response<v1::WishReply>, Status> {
        Err(Status::unimplemented("not of this server"))
    }

    async fn promote(&self, _: Request<v1::PromoteRequest>) -> Result<Response<v1::WishReply>, Status> {
        Err(Status::unimplemented("not of this server"))
    }

    async fn recover(&self, _: Request<v1::RecoverRequest>) -> Result<Response<v1::WishReply>, Status> {
        Err(Status::unimplemented("not of this server"))
    }

    async fn weight(&self, _: Request<v1::WeightRequest>) -> Result<Response<v1::OrderReply>, Status> {
        Err(Status::unimplemented("not of this server"))
    }

    async fn rebalance(&self, _: Request<v1::RebalanceRequest>) -> Result<Response<v1::OrderReply>, Status> {
        Err(Status::unimplemented("not of this server"))
    }

    async fn cancel(&self, _: Request<v1::CancelRequest>) -> Result<Response<v1::OrderReply>, Status> {
        Err(Status::unimplemented("not of this server"))
    }

    async fn migrations(
        &self,
        _: Request<v1::MigrationsRequest>,
    ) -> Result<Response<v1::MigrationsReply>, Status> {
        Err(Status::unimplemented("not of this server"))
    }
}

/// A server that runs until the sender is dropped or used, and then breaks every connection.
struct Running {
    server: Server,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

async fn serve(port: u16) -> Running {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], port).into()).unwrap();
    let listener = socket.listen(64).unwrap();
    let server = Server { address: listener.local_addr().unwrap(), bloated: Arc::default() };
    let (stop, stopped) = oneshot::channel::<()>();
    let incoming = stream::unfold(listener, |listener| async move {
        let accepted: std::io::Result<TcpStream> = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let serving = tonic::transport::Server::builder()
        .add_service(
            StoreServer::new(server.clone())
                .max_decoding_message_size(limits::FRAME_BYTES_MAX)
                .max_encoding_message_size(usize::MAX),
        )
        .add_service(MasterServer::new(server.clone()))
        .add_service(AdminServer::new(server.clone()))
        .serve_with_incoming(incoming);
    // Connections are tasks of this runtime of their own, so that they die with it.
    let task = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = stopped => {}
                served = serving => served.unwrap(),
            }
        });
    });
    Running { server, stop, task }
}

impl Running {
    async fn kill(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }

    fn uri(&self) -> String {
        format!("slotkv://{}", self.server.address)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_many_tasks_go_over_one_connection_and_come_back() {
    let running = serve(0).await;
    let client = Client::connect(&running.uri()).await.unwrap();
    let tasks: Vec<_> = (0..50)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                for n in 0..100 {
                    let key = format!("key-{task}-{n}");
                    assert_eq!(client.get(&key).await.unwrap().unwrap(), key);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(client.status().await.unwrap().cluster_id, "real");
    let stats = client.stats();
    assert_eq!((stats.calls_ok, stats.connects, stats.in_flight), (5000, 1, 0));
    assert!(stats.frames_sent < 5000, "{} frames", stats.frames_sent);
    for put in client.put_many((0..8).map(|n| (format!("large{n}"), vec![1u8; 16 << 20]))).await {
        put.unwrap();
    }
    client.close().await;
    running.kill().await;
}

#[tokio::test]
async fn a_server_that_is_killed_and_started_again_is_found_again() {
    let running = serve(0).await;
    let (uri, port) = (running.uri(), running.server.address.port());
    let client = Client::connect(&uri).await.unwrap().with_deadline(Duration::from_secs(30));
    client.put("k", "v").await.unwrap();
    running.kill().await;
    // Perhaps it left on the dying connection; then nobody can say what became of it.
    let error = client.with_deadline(Duration::from_millis(300)).put("k", "v").await.unwrap_err();
    assert!(matches!(error.code, Code::Unavailable | Code::ConnectionLost | Code::Timeout), "{error:?}");
    let error = client.with_deadline(Duration::from_millis(300)).put("k", "v").await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Unavailable, Outcome::Failed));
    let call = {
        let client = client.clone();
        tokio::spawn(async move { client.get("k").await })
    };
    let running = serve(port).await;
    assert_eq!(call.await.unwrap().unwrap().unwrap(), "k");
    running.kill().await;
}

#[tokio::test]
async fn a_frame_past_the_limit_breaks_the_connection_and_the_call_goes_again() {
    let running = serve(0).await;
    let client = Client::connect(&running.uri()).await.unwrap();
    client.get("k").await.unwrap();
    running.server.bloated.store(true, Ordering::Relaxed);
    assert_eq!(client.get("k").await.unwrap().unwrap(), "k");
    let stats = client.stats();
    assert_eq!((stats.connections_lost, stats.retries), (1, 1));
    let error = &stats.members[0].last_error;
    assert!(error.contains(&limits::FRAME_BYTES_MAX.to_string()), "{error}");
    running.kill().await;
}

#[tokio::test]
async fn a_listener_that_never_answers_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options { connect_timeout: Duration::from_millis(300), ..Options::default() };
    let error = Client::connect_with(&format!("slotkv://{address}"), options).await.unwrap_err();
    assert_eq!(error.code, Code::NoMaster);
    assert!(error.message.contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn codes_of_the_table_survive_unary_calls() {
    let running = serve(0).await;
    let address = running.server.address.to_string();
    let transport = TonicTransport::default();
    let ping = v1::PingRequest { cluster_id: "another".into(), ..Default::default() };
    let error = transport.ping(&address, ping).await.unwrap_err();
    assert_eq!(error.code, Code::WrongCluster);
    let error = transport.status("127.0.0.1:1", Default::default()).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert!(error.message.contains("refused"), "{error}");
    let error = transport.status("not an address", Default::default()).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    running.kill().await;
}
