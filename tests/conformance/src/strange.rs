//! A member that answers what the key asks for: every error that a member can tell, and none at all.
//!
//! | key | answer |
//! |---|---|
//! | `code/N` | the error of number N |
//! | `status/N` | success, with status N |
//! | `silent` | none |
//! | `traceparent` | the request's traceparent as the value, in version 1 |
//! | any other | its own key as the value, in version 1 |

use std::{io, net::SocketAddr, pin::Pin, thread};

use slotkv_proto::{
    SlotCount, SlotTable,
    table::{Member, Route},
    v1::{
        self,
        master_server::{Master, MasterServer},
        store_server::{Store, StoreServer},
    },
};
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

const CLUSTER: &str = "strange";

/// A running member. It serves until the process ends.
pub struct Strange {
    address: SocketAddr,
}

impl Strange {
    /// Serves on a free port, on a thread of its own.
    pub fn start() -> io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            let served = runtime.block_on(async {
                let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
                let member = Service { address };
                tonic::transport::Server::builder()
                    .add_service(StoreServer::new(member.clone()))
                    .add_service(MasterServer::new(member))
                    .serve_with_incoming(incoming)
                    .await
                    .map_err(io::Error::other)
            });
            if let Err(error) = served {
                eprintln!("the strange member: {error}");
            }
        });
        Ok(Self { address })
    }

    /// Where it is.
    pub fn uri(&self) -> String {
        format!("slotkv://{}", self.address)
    }
}

#[derive(Clone)]
struct Service {
    address: SocketAddr,
}

impl Service {
    fn table(&self) -> Result<SlotTable, Status> {
        let slots = SlotCount::default();
        let mut table = SlotTable::new(CLUSTER, slots);
        let owned = table.set_owners(1, &[(0, slots.get() - 1, 0)]);
        owned.map_err(|error| Status::internal(error.to_string()))?;
        let address = self.address.to_string();
        let primary = Some(Member { name: CLUSTER.into(), run: "1".into(), address });
        table.set_route(Route { shard: 0, epoch: 1, revision: 1, primary, backups: Vec::new() });
        Ok(table)
    }
}

fn answer(request: v1::Request) -> Option<v1::Reply> {
    let key = String::from_utf8_lossy(&request.key).into_owned();
    let mut reply = v1::Reply { id: request.id, ..v1::Reply::default() };
    match key.split_once('/') {
        Some(("code", number)) => {
            reply.code = number.parse().ok()?;
            reply.message = format!("asked for by {key}");
        }
        Some(("status", number)) => reply.status = number.parse().ok()?,
        _ if key == "silent" => return None,
        _ if key == "traceparent" => {
            reply.status = v1::Status::Found as i32;
            reply.value = request.traceparent.into();
            reply.version = 1;
        }
        _ => {
            reply.status = v1::Status::Found as i32;
            reply.value = request.key;
            reply.version = 1;
        }
    }
    Some(reply)
}

type Frames = Pin<Box<dyn Stream<Item = Result<v1::ServerFrame, Status>> + Send>>;

fn unary(_: Request<v1::Request>) -> Result<Response<v1::Reply>, Status> {
    Err(Status::unimplemented("the stream is for that"))
}

#[tonic::async_trait]
impl Store for Service {
    type StreamStream = Frames;

    async fn stream(&self, request: Request<Streaming<v1::ClientFrame>>) -> Result<Response<Frames>, Status> {
        let frames = request.into_inner().map(|frame| {
            let frame = frame?;
            if frame.hello.is_some() {
                let welcome = v1::Welcome {
                    version: 1,
                    cluster_id: CLUSTER.into(),
                    epoch: 1,
                    ..v1::Welcome::default()
                };
                return Ok(v1::ServerFrame { welcome: Some(welcome), ..v1::ServerFrame::default() });
            }
            let replies = frame.requests.into_iter().filter_map(answer).collect();
            Ok(v1::ServerFrame { replies, epoch: 1, ..v1::ServerFrame::default() })
        });
        Ok(Response::new(Box::pin(frames)))
    }

    async fn get(&self, request: Request<v1::Request>) -> Result<Response<v1::Reply>, Status> {
        unary(request)
    }
    async fn has(&self, request: Request<v1::Request>) -> Result<Response<v1::Reply>, Status> {
        unary(request)
    }
    async fn put(&self, request: Request<v1::Request>) -> Result<Response<v1::Reply>, Status> {
        unary(request)
    }
    async fn delete(&self, request: Request<v1::Request>) -> Result<Response<v1::Reply>, Status> {
        unary(request)
    }
    async fn increment(&self, request: Request<v1::Request>) -> Result<Response<v1::Reply>, Status> {
        unary(request)
    }
    async fn count(&self, request: Request<v1::Request>) -> Result<Response<v1::Reply>, Status> {
        unary(request)
    }
    async fn scan(&self, request: Request<v1::Request>) -> Result<Response<v1::Reply>, Status> {
        unary(request)
    }
}

#[tonic::async_trait]
impl Master for Service {
    async fn ping(&self, _: Request<v1::PingRequest>) -> Result<Response<v1::PingReply>, Status> {
        let table = self.table()?;
        Ok(Response::new(v1::PingReply {
            version: 1,
            cluster_id: CLUSTER.into(),
            table_version: table.version(),
            route_revisions: table.route_revisions(),
            leader: true,
            ..v1::PingReply::default()
        }))
    }

    async fn get_slot_table(
        &self,
        request: Request<v1::SlotTableRequest>,
    ) -> Result<Response<v1::TableDelta>, Status> {
        Ok(Response::new(self.table()?.delta_since(request.into_inner().since_version, |_| 0)))
    }

    type WatchSlotTableStream = tokio_stream::Empty<Result<v1::TableDelta, Status>>;

    async fn watch_slot_table(
        &self,
        _: Request<v1::SlotTableRequest>,
    ) -> Result<Response<Self::WatchSlotTableStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }
}
