//! A member that answers what the key asks for, and neighbours that are no members at all: every error that a member can
//! tell, and everything that comes of a broken one.
//!
//! | key | answer |
//! |---|---|
//! | `code/N` | the error of number N |
//! | `status/N` | success, with status N |
//! | `silent` | none |
//! | `traceparent` | the request's traceparent as the value, in version 1 |
//! | `level` | how fresh the answer has to be, as the value, in version 1 |
//! | `lost/N` | none; and to who asks for the outcome, status N with version 7 and number -5, or INDETERMINATE for 0 |
//! | `slow` | its own key, late |
//! | `twice` · `stray` | its own key, twice · and before that to a request that nobody made |
//! | `cut` | none: the stream ends |
//! | a tag of the table below, as in `{garbage}k` | what its neighbour says |
//! | any other | its own key as the value, in version 1 |
//!
//! Each neighbour owns the slot of its tag; a URI of a scenario reaches it as `<garbage>`.
//!
//! | tag | neighbour |
//! |---|---|
//! | `later` | speaks a later version of the protocol only |
//! | `other` | belongs to another cluster |
//! | `refusing` | refuses every stream |
//! | `garbage` · `http` | answers bytes that are nothing · an error of HTTP/1.1 |
//! | `closing` · `mute` · `gone` | closes every connection · says nothing · is not there |

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    pin::Pin,
    thread,
    time::Duration,
};

use bytes::Bytes;
use slotkv_proto::{
    Code, SlotCount, SlotTable,
    code::status_of,
    keys::Keys,
    slot,
    table::{Member, Route},
    v1::{
        self,
        master_server::{Master, MasterServer},
        store_server::{Store, StoreServer},
    },
};
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::step::{Argument, Step};

const CLUSTER: &str = "strange";
/// How late a slow answer is.
const SLOW: Duration = Duration::from_millis(100);
/// A version of the protocol that there is not yet.
const VERSION_LATER: u32 = 99;

/// The neighbours that speak the protocol, at least until then.
const SPEAKING: [Nature; 4] = [Nature::Member, Nature::Later, Nature::Other, Nature::Refusing];
/// Those that do not.
const BROKEN: [&str; 5] = ["garbage", "http", "closing", "mute", "gone"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Nature {
    Member,
    Later,
    Other,
    Refusing,
}

impl Nature {
    fn tag(self) -> &'static str {
        match self {
            Nature::Member => "member",
            Nature::Later => "later",
            Nature::Other => "other",
            Nature::Refusing => "refusing",
        }
    }
}

/// The member and its neighbours. They serve until the process ends.
pub struct Strange {
    /// Each by its tag; the member itself is the first.
    places: Vec<(&'static str, SocketAddr)>,
}

impl Strange {
    /// Serves on free ports, on threads of its own.
    pub fn start() -> io::Result<Self> {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let speaking = SPEAKING.map(|nature| bind().map(|listener| (nature, listener)));
        let speaking: Vec<(Nature, TcpListener)> = speaking.into_iter().collect::<io::Result<_>>()?;
        let mut places = Vec::new();
        for (nature, listener) in &speaking {
            places.push((nature.tag(), listener.local_addr()?));
        }
        for tag in BROKEN {
            let listener = bind()?;
            places.push((tag, listener.local_addr()?));
            // Nobody listens on the port of one that is gone.
            if tag != "gone" {
                thread::spawn(move || answer_broken(tag, &listener));
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let table = table(&places).map_err(io::Error::other)?;
        thread::spawn(move || {
            let serve = |(shard, (nature, listener)): (usize, (Nature, TcpListener))| {
                serve(listener, Service { nature, shard: shard as u32, table: table.clone() })
            };
            let served = runtime.block_on(async {
                let mut serving = tokio::task::JoinSet::new();
                for task in speaking.into_iter().enumerate().map(serve) {
                    serving.spawn(task);
                }
                serving.join_next().await
            });
            if let Some(Ok(Err(error))) = served {
                eprintln!("the strange member: {error}");
            }
        });
        Ok(Self { places })
    }

    /// Where it is.
    pub fn uri(&self) -> String {
        format!("slotkv://{}", self.places[0].1)
    }

    /// A step with the addresses of the neighbours that its arguments name.
    pub fn placed(&self, mut step: Step) -> Step {
        for argument in &mut step.arguments {
            if let Argument::Bytes(bytes) = argument
                && let Ok(text) = std::str::from_utf8(bytes)
            {
                let place = |text: String, (tag, address): &(&str, SocketAddr)| {
                    text.replace(&format!("<{tag}>"), &address.to_string())
                };
                let placed = self.places.iter().fold(text.to_owned(), place);
                *bytes = placed.into();
            }
        }
        step
    }
}

/// Each neighbour has the slot of its tag, the member itself all others.
fn table(places: &[(&'static str, SocketAddr)]) -> Result<SlotTable, String> {
    let slots = SlotCount::default();
    let mut owners = vec![0; usize::from(slots.get())];
    for (shard, (tag, _)) in (0..).zip(places).skip(1) {
        owners[usize::from(slot::slot(tag.as_bytes(), slots))] = shard;
    }
    let runs: Vec<_> = (0..).zip(&owners).map(|(slot, &shard)| (slot, slot, shard)).collect();
    let mut table = SlotTable::new(CLUSTER, slots);
    table.set_owners(1, &runs).map_err(|error| error.to_string())?;
    for (shard, (tag, address)) in (0..).zip(places) {
        let primary = Some(Member { name: (*tag).into(), run: "1".into(), address: address.to_string() });
        // The member is its own backup, so that reads have a choice.
        let backups = if shard == 0 {
            vec![Member { name: (*tag).into(), run: "2".into(), address: address.to_string() }]
        } else {
            Vec::new()
        };
        table.set_route(Route { shard, epoch: 1, revision: 1, primary, backups });
    }
    Ok(table)
}

/// Answers every connection as a neighbour that does not speak the protocol.
fn answer_broken(tag: &str, listener: &TcpListener) {
    for connection in listener.incoming() {
        let Ok(mut connection) = connection else { continue };
        let answer = match tag {
            "garbage" => (0..4096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
            "http" => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "closing" => continue,
            _ => Vec::new(),
        };
        thread::spawn(move || {
            // Whoever asked may be gone by now.
            connection.write_all(&answer).ok();
            let mut said = [0; 1024];
            while connection.read(&mut said).is_ok_and(|read| read > 0) {}
        });
    }
}

async fn serve(listener: TcpListener, member: Service) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
    tonic::transport::Server::builder()
        .add_service(StoreServer::new(member.clone()))
        .add_service(MasterServer::new(member))
        .serve_with_incoming(incoming)
        .await
        .map_err(io::Error::other)
}

#[derive(Clone)]
struct Service {
    nature: Nature,
    shard: u32,
    table: SlotTable,
}

impl Service {
    /// What a stream is greeted with.
    fn greeting(&self) -> v1::ServerFrame {
        let mut welcome = v1::Welcome {
            version: 1,
            cluster_id: CLUSTER.into(),
            epoch: 1,
            shard: self.shard,
            ..v1::Welcome::default()
        };
        match self.nature {
            Nature::Member => {}
            Nature::Later => welcome.version = VERSION_LATER,
            Nature::Other => welcome.cluster_id = "another".into(),
            Nature::Refusing => {
                let refusal = v1::Refusal { code: Code::Denied.number(), message: "never".into() };
                return v1::ServerFrame { refusal: Some(refusal), ..v1::ServerFrame::default() };
            }
        }
        v1::ServerFrame { welcome: Some(welcome), ..v1::ServerFrame::default() }
    }
}

/// What a frame of requests is answered with: replies, and whether the stream ends then.
fn answers(requests: Vec<v1::Request>) -> (Vec<v1::Reply>, bool) {
    let is_cut = requests.iter().any(|request| request.key == "cut");
    let mut replies = Vec::new();
    for request in requests {
        let Some(reply) = answer(request) else { continue };
        let tells = |key: &str| reply.value == key || reply.found.iter().any(|found| found.value == key);
        if tells("stray") {
            replies.push(v1::Reply { id: reply.id + 1_000_000, ..reply.clone() });
        }
        if tells("twice") {
            replies.push(reply.clone());
        }
        replies.push(reply);
    }
    (replies, is_cut)
}

/// What a key of many is answered with: one with an answer of another kind has to be asked for alone.
fn found(key: &[u8], asked: &v1::Request) -> v1::Found {
    let key = Bytes::copy_from_slice(key);
    let is_late = key == "slow";
    let one = v1::Request { key, operation: v1::Operation::Get.into(), keys: Bytes::new(), ..asked.clone() };
    match answer(one) {
        Some(reply) if !is_late && reply.code == 0 && reply.version == 1 => v1::Found {
            status: reply.status,
            value: reply.value,
            version: reply.version,
            ttl_ms: reply.ttl_ms,
        },
        _ => v1::Found::default(),
    }
}

/// How fresh the answer has to be, in words.
fn level_of(request: &v1::Request) -> String {
    match request.read_level() {
        v1::ReadLevel::Linearizable => "linearizable".into(),
        v1::ReadLevel::Session => format!("session {}", request.session_token.len()),
        v1::ReadLevel::Bounded => format!("bounded {}", request.staleness_ms),
        v1::ReadLevel::Stale => "stale".into(),
    }
}

fn answer(request: v1::Request) -> Option<v1::Reply> {
    let key = String::from_utf8_lossy(&request.key).into_owned();
    let mut reply = v1::Reply { id: request.id, ..v1::Reply::default() };
    if request.operation() == v1::Operation::GetMany {
        reply.status = v1::Status::Found as i32;
        let keys = Keys::of(&request.keys).flatten();
        reply.found = keys.map(|key| found(key, &request)).collect();
        return Some(reply);
    }
    match key.split_once('/') {
        Some(("code", number)) => {
            reply.code = number.parse().ok()?;
            reply.message = format!("asked for by {key}");
        }
        Some(("status", number)) => reply.status = number.parse().ok()?,
        Some(("lost", number)) if request.operation() == v1::Operation::Outcome => {
            reply.status = number.parse().ok()?;
            (reply.version, reply.number) = (7, -5);
            reply.code = if reply.status == 0 { Code::Indeterminate.number() } else { 0 };
        }
        Some(("lost", _)) => return None,
        _ if key == "level" => {
            reply.status = v1::Status::Found as i32;
            reply.value = level_of(&request).into();
            reply.version = 1;
        }
        _ if key == "silent" || key == "cut" => return None,
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
        let greeting = self.greeting();
        let frames = request.into_inner().then(move |frame| {
            let greeting = greeting.clone();
            async move {
                let frame = frame?;
                if frame.hello.is_some() {
                    return Ok(greeting);
                }
                if frame.requests.iter().any(|request| request.key == "slow") {
                    tokio::time::sleep(SLOW).await;
                }
                match answers(frame.requests) {
                    (_, true) => Err(Status::unavailable("cut")),
                    (replies, false) => {
                        Ok(v1::ServerFrame { replies, epoch: 1, ..v1::ServerFrame::default() })
                    }
                }
            }
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
        Ok(Response::new(v1::PingReply {
            version: if self.nature == Nature::Later { VERSION_LATER } else { 1 },
            cluster_id: if self.nature == Nature::Other { "another" } else { CLUSTER }.into(),
            table_version: self.table.version(),
            route_revisions: self.table.route_revisions(),
            leader: true,
            ..v1::PingReply::default()
        }))
    }

    async fn get_slot_table(
        &self,
        request: Request<v1::SlotTableRequest>,
    ) -> Result<Response<v1::TableDelta>, Status> {
        match self.nature {
            Nature::Later => Err(status_of(Code::Unsupported, "only later versions")),
            Nature::Refusing => Err(status_of(Code::Denied, "never")),
            _ => Ok(Response::new(self.table.delta_since(request.into_inner().since_version, |_| 0))),
        }
    }

    type WatchSlotTableStream = tokio_stream::Empty<Result<v1::TableDelta, Status>>;

    async fn watch_slot_table(
        &self,
        _: Request<v1::SlotTableRequest>,
    ) -> Result<Response<Self::WatchSlotTableStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }
}
