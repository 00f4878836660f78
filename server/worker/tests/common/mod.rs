//! One worker on an embedded coordinator, without a master and without a network.
#![allow(dead_code)]

pub mod data;
pub mod shards;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use slotkv_coordination::{
    Coordinator, Embedded, Expect, Mode, paths,
    registers::{Cluster, Register, Slots},
};
use slotkv_proto::{
    seam::{Clock, SeededChance},
    v1::{self, ClientFrame, Operation, Reply, Request, ServerFrame},
};
use slotkv_storage::{MemoryEngines, SimDisk};
use slotkv_worker::{
    Options, PeerTransport, Runner, Seams, StartError, Worker, runner::Tasks, session::Session,
};
use tokio::{sync::mpsc, time::Instant};
use tonic::Status;

pub const SLOTS: u32 = 16;

/// Nobody else is there.
pub struct NoPeers;

impl PeerTransport for NoPeers {
    fn exchange(&self, _: String, _: BoxStream<'static, v1::PeerFrame>) -> BoxFuture<'static, Status> {
        Box::pin(std::future::ready(Status::unavailable("nobody is there")))
    }
}

/// A wall clock that goes with the tests' time, but for what it is set forward or back by.
pub struct Wall {
    base: Instant,
    ms: AtomicI64,
}

impl Wall {
    pub fn new() -> Self {
        Self { base: Instant::now(), ms: AtomicI64::new(1_790_000_000_000) }
    }

    pub fn set_by(&self, ms: i64) {
        self.ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for Wall {
    fn wall_ms(&self) -> u64 {
        (self.ms.load(Ordering::Relaxed) + self.base.elapsed().as_millis() as i64) as u64
    }

    fn uptime_us(&self) -> u64 {
        self.base.elapsed().as_micros() as u64 + 1
    }
}

/// What outlives a worker's process.
pub struct Machine {
    pub wall: Arc<Wall>,
    pub coordinator: Embedded,
    pub disk: SimDisk,
    pub engines: MemoryEngines,
    pub options: Options,
    starts: std::cell::Cell<u64>,
    tasks: std::cell::RefCell<Tasks>,
}

impl Machine {
    /// A machine in a new cluster of 16 slots; shard 0 owns all but the last.
    pub async fn new() -> Self {
        let coordinator = Embedded::new();
        let session = coordinator.open(std::time::Duration::from_secs(5)).await.unwrap();
        let cluster = Cluster {
            cluster_id: "c1".into(),
            slot_count: SLOTS,
            shards_announced: 1,
            placement: "weighted".into(),
        };
        session.create(paths::CLUSTER, cluster.encode().unwrap(), Mode::Persistent).await.unwrap();
        let slots = Slots { version: 1, owners: vec![(0, 14, 0)], ..Slots::default() };
        session.create(paths::SLOTS, slots.encode().unwrap(), Mode::Persistent).await.unwrap();
        session.close().await;
        let mut options = Options::new(PathBuf::from("/replica"), "127.0.0.1:1");
        options.shard = Some(0);
        options.name = Some("w0".into());
        Self {
            wall: Arc::new(Wall::new()),
            coordinator,
            disk: SimDisk::new(1),
            engines: MemoryEngines::recoverable(1),
            options,
            starts: std::cell::Cell::new(0),
            tasks: Default::default(),
        }
    }

    pub fn seams(&self) -> Seams {
        self.starts.set(self.starts.get() + 1);
        self.tasks.replace(Tasks::default());
        Seams {
            coordinator: Arc::new(self.coordinator.clone()),
            disk: Arc::new(self.disk.clone()),
            engines: Arc::new(self.engines.clone()),
            clock: self.wall.clone(),
            chance: Arc::new(SeededChance::new(self.starts.get())),
            runner: Runner::Inline(self.tasks.borrow().clone()),
            peers: Arc::new(NoPeers),
        }
    }

    pub async fn try_start(&self) -> Result<Worker, StartError> {
        let worker = Worker::start(self.options.clone(), self.seams()).await?;
        worker.placed().await?;
        Ok(worker)
    }

    /// Starts the worker and waits until it knows the slot table.
    pub async fn start(&self) -> Worker {
        let worker = self.try_start().await.unwrap();
        let mut views = worker.view();
        views.wait_for(|view| view.slots.version >= 1).await.unwrap();
        while worker.shard().ownership().table().version() < 1 {
            tokio::task::yield_now().await;
        }
        worker
    }

    /// The power goes: nothing of the process runs on, what was not synced may be lost.
    pub fn crash(&self, worker: Worker) {
        self.tasks.borrow().kill();
        drop(worker);
        self.disk.crash();
        self.engines.crash();
    }

    /// Gives the slots out anew.
    pub async fn set_slots(&self, version: u64, owners: Vec<(u16, u16, u32)>) {
        let session = self.coordinator.open(std::time::Duration::from_secs(5)).await.unwrap();
        let slots = Slots { version, owners, ..Slots::default() };
        session.set(paths::SLOTS, slots.encode().unwrap(), Expect::Any).await.unwrap();
        session.close().await;
    }
}

pub type Input = std::pin::Pin<Box<dyn Stream<Item = Result<ClientFrame, Status>> + Send>>;

/// A client that says just what it is told to.
pub struct Caller {
    pub frames: mpsc::UnboundedSender<Result<ClientFrame, Status>>,
    pub session: Session<Input>,
    pub version: u64,
    pub epoch: u64,
    pub applied_index: u64,
    next_id: u64,
}

pub fn hello(client: u8) -> v1::Hello {
    v1::Hello {
        version_min: 1,
        version_max: 1,
        client_id: Bytes::from(vec![client; 16]),
        client_name: "test".into(),
        ..Default::default()
    }
}

/// A client's end of a stream, and the worker's.
pub fn frames() -> (mpsc::UnboundedSender<Result<ClientFrame, Status>>, Input) {
    let (frames, input) = mpsc::unbounded_channel();
    let input = futures_util::stream::unfold(input, |mut input| async {
        input.recv().await.map(|frame| (frame, input))
    });
    (frames, Box::pin(input))
}

impl Caller {
    pub fn raw(worker: &Worker) -> Self {
        let (frames, input) = frames();
        let session = worker.serve_stream(input);
        Self { frames, session, version: 1, epoch: 0, applied_index: 0, next_id: 1 }
    }

    pub async fn new(worker: &Worker, client: u8) -> Self {
        let mut caller = Self::raw(worker);
        caller.send(ClientFrame { hello: Some(hello(client)), ..Default::default() });
        let frame = caller.next().await.unwrap();
        assert!(frame.refusal.is_none(), "{:?}", frame.refusal);
        caller.epoch = frame.welcome.unwrap().epoch;
        caller
    }

    pub fn send(&self, frame: ClientFrame) {
        self.frames.send(Ok(frame)).unwrap();
    }

    pub async fn next(&mut self) -> Option<ServerFrame> {
        self.session.next().await.map(|frame| frame.unwrap())
    }

    /// Sends requests in one frame and gives the replies in their order.
    pub async fn ask_all(&mut self, mut requests: Vec<Request>) -> Vec<Reply> {
        let first = self.next_id;
        for request in &mut requests {
            request.id = self.next_id;
            self.next_id += 1;
        }
        let count = requests.len();
        self.send(ClientFrame {
            requests,
            table_version: self.version,
            epoch: self.epoch,
            ..Default::default()
        });
        let mut replies = Vec::new();
        while replies.len() < count {
            let frame = self.next().await.expect("the stream ended");
            self.applied_index = frame.applied_index;
            replies.extend(frame.replies);
        }
        replies.sort_by_key(|reply| reply.id);
        assert_eq!(replies[0].id, first);
        replies
    }

    pub async fn ask(&mut self, request: Request) -> Reply {
        self.ask_all(vec![request]).await.remove(0)
    }
}

pub fn request(operation: Operation, key: &str) -> Request {
    Request { operation: operation as i32, key: Bytes::from(key.to_owned()), ..Default::default() }
}

pub fn get(key: &str) -> Request {
    request(Operation::Get, key)
}

pub fn get_many(keys: &[&str]) -> Request {
    let mut packed = BytesMut::new();
    keys.iter().for_each(|key| slotkv_proto::keys::append(key.as_bytes(), &mut packed));
    Request { keys: packed.freeze(), ..request(Operation::GetMany, "") }
}

pub fn put(key: &str, value: &str) -> Request {
    Request { value: Bytes::from(value.to_owned()), ..request(Operation::Put, key) }
}

pub fn increment(key: &str, delta: i64, sequence: u64) -> Request {
    Request { delta, sequence, oldest_open: sequence, ..request(Operation::Increment, key) }
}
