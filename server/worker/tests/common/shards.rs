//! Several shards on one embedded coordinator, with a network in memory, a leader that decides by hand, and clients that follow
//! the slots.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use parking_lot::Mutex;
use slotkv_coordination::{
    Coordinator, Embedded, Expect, Mode, Session as CoordinatorSession, SessionId,
    handover::{Mover, Slots},
    paths,
    registers::{Cluster as ClusterRegister, Register},
    report,
};
use slotkv_migration::{Id, Migration, Outcome, Owner, Said, Table};
use slotkv_proto::{
    Code, SlotTable,
    seam::SeededChance,
    v1::{self, ClientFrame, HandoverFrame, Operation, PeerFrame, Reply, Request, ServerFrame},
};
use slotkv_storage::{MemoryEngines, SimDisk, keys};
use slotkv_worker::{
    Options, PeerTransport, Runner, Seams, Worker, bridge::BridgeService, link::PeerService, runner::Tasks,
    session::Session, shard::Shard,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tonic::Status;

use super::{Input, Wall, frames, hello, request};

pub const SLOTS: u16 = 16;
/// Longest wait for anything, in the tests' time.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Who can be reached.
#[derive(Default)]
pub struct Net(Mutex<BTreeMap<String, Node>>);

#[derive(Clone)]
struct Node {
    shard: Arc<Shard>,
    peers: PeerService,
    bridge: BridgeService,
}

impl Net {
    fn node(&self, address: &str) -> Option<Node> {
        self.0.lock().get(address).cloned()
    }
}

struct Peers(Arc<Net>);

impl PeerTransport for Peers {
    fn exchange(&self, address: String, frames: BoxStream<'static, PeerFrame>) -> BoxFuture<'static, Status> {
        let node = self.0.node(&address);
        async move {
            let Some(node) = node else { return Status::unavailable("nobody is there") };
            node.peers.take(frames.map(Ok)).await.err().unwrap_or_else(|| Status::ok(""))
        }
        .boxed()
    }

    fn hand_over(
        &self,
        address: String,
        frames: BoxStream<'static, HandoverFrame>,
    ) -> BoxFuture<'static, Status> {
        let node = self.0.node(&address);
        async move {
            let Some(node) = node else { return Status::unavailable("nobody is there") };
            node.bridge.take(frames.map(Ok)).await.err().unwrap_or_else(|| Status::ok(""))
        }
        .boxed()
    }
}

/// What outlives a replica's process, and the process.
pub struct Machine {
    pub options: Options,
    pub disk: SimDisk,
    engines: MemoryEngines,
    tasks: Tasks,
    session: Option<SessionId>,
    pub worker: Option<Worker>,
    starts: u64,
}

impl Machine {
    pub fn shard(&self) -> &Arc<Shard> {
        self.worker.as_ref().expect("it runs").shard()
    }

    pub fn leads(&self) -> bool {
        self.worker.as_ref().is_some_and(|worker| worker.shard().check_serving().is_ok())
    }

    /// Keys of a slot that lie in its engine.
    pub fn rows_of(&self, slot: u16) -> usize {
        let prefix = keys::data_prefix(slot, "");
        let end = keys::prefix_end(&prefix);
        let mut count = 0;
        let bounds = (
            std::ops::Bound::Included(&prefix[..]),
            end.as_deref().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded),
        );
        let scanned = self.shard().rows().engine.scan(bounds, &mut |_, _| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        });
        scanned.expect("memory can be read");
        count
    }
}

/// All of it.
pub struct Cluster {
    pub coordinator: Embedded,
    pub session: Arc<dyn CoordinatorSession>,
    pub net: Arc<Net>,
    pub wall: Arc<Wall>,
    pub machines: Vec<Machine>,
    /// The leader beats.
    pub beats: Arc<AtomicBool>,
    /// The leader decides; else it only looks.
    pub decides: Arc<AtomicBool>,
    leader: tokio::task::JoinHandle<()>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.leader.abort();
    }
}

impl Cluster {
    /// Two shards of so many replicas, the first of which owns all slots.
    pub async fn start(replicas: u32, edit: impl Fn(&mut Options)) -> Self {
        let coordinator = Embedded::new();
        let session = coordinator.open(Duration::from_secs(3600)).await.unwrap();
        let register = ClusterRegister {
            cluster_id: "c1".into(),
            slot_count: u32::from(SLOTS),
            shards_announced: 2,
            placement: "weighted".into(),
        };
        session.create(paths::CLUSTER, register.encode().unwrap(), Mode::Persistent).await.unwrap();
        let slots = Slots { version: 1, owners: vec![(0, SLOTS - 1, 0)], ..Slots::default() };
        session.create(paths::SLOTS, slots.encode().unwrap(), Mode::Persistent).await.unwrap();
        let (beats, decides) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
        let leader = tokio::spawn(lead(session.clone(), beats.clone(), decides.clone()));
        let mut cluster = Self {
            coordinator,
            session,
            net: Arc::default(),
            wall: Arc::new(Wall::new()),
            machines: Vec::new(),
            beats,
            decides,
            leader,
        };
        for shard in 0..2 {
            for number in 0..replicas {
                let name = format!("w{shard}-{number}");
                let mut options = Options::new(PathBuf::from("/replica"), format!("{name}:1"));
                options.shard = Some(shard);
                options.name = Some(name);
                options.wishes.replicas = Some(replicas);
                options.migration.resend_us = 50_000;
                options.migration.report_us = 100_000;
                edit(&mut options);
                let seed = u64::from(shard * 10 + number + 1);
                cluster.machines.push(Machine {
                    options,
                    disk: SimDisk::new(seed),
                    engines: MemoryEngines::recoverable(seed),
                    tasks: Tasks::default(),
                    session: None,
                    worker: None,
                    starts: seed * 1000,
                });
                let last = cluster.machines.len() - 1;
                cluster.run(last).await;
            }
        }
        for shard in 0..2 {
            cluster.primary(shard).await;
        }
        cluster
    }

    /// Starts a replica's process.
    pub async fn run(&mut self, at: usize) {
        let before = self.coordinator.faults().sessions();
        let machine = &mut self.machines[at];
        machine.starts += 1;
        machine.tasks = Tasks::default();
        let seams = Seams {
            coordinator: Arc::new(self.coordinator.clone()),
            disk: Arc::new(machine.disk.clone()),
            engines: Arc::new(machine.engines.clone()),
            clock: self.wall.clone(),
            chance: Arc::new(SeededChance::new(machine.starts)),
            runner: Runner::Inline(machine.tasks.clone()),
            peers: Arc::new(Peers(self.net.clone())),
        };
        let worker = Worker::start(machine.options.clone(), seams).await.unwrap();
        let node = Node { shard: worker.shard().clone(), peers: worker.peers(), bridge: worker.bridge() };
        self.net.0.lock().insert(machine.options.address.clone(), node);
        worker.placed().await.unwrap();
        let after = self.coordinator.faults().sessions();
        machine.session = after.into_iter().find(|id| !before.contains(id));
        machine.worker = Some(worker);
    }

    /// The power of a machine goes.
    pub fn crash(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        machine.tasks.kill();
        self.net.0.lock().remove(&machine.options.address);
        machine.worker = None;
        machine.disk.crash();
        machine.engines.crash();
        if let Some(session) = machine.session.take() {
            self.coordinator.faults().expire(session);
        }
    }

    /// Which machine leads a shard, once one does.
    pub async fn primary(&self, shard: u32) -> usize {
        let begun = Instant::now();
        loop {
            let of = |machine: &Machine| machine.options.shard == Some(shard) && machine.leads();
            if let Some(at) = self.machines.iter().position(of) {
                return at;
            }
            assert!(begun.elapsed() < PATIENCE, "nobody leads shard {shard}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn table(&self) -> Table {
        read_slots(&*self.session).await.0.to_table()
    }

    /// Plans a hand-over, and gives its name.
    pub async fn plan(&self, slots: Vec<u16>, source: u32, target: u32) -> Id {
        let mut id = Id(0);
        change(&*self.session, |table| {
            id = Id(table.version + 1);
            table.migrations.push(Migration { id, slots: slots.clone(), source, target, outcome: None });
            true
        })
        .await;
        id
    }

    /// Decides one, as a leader would.
    pub async fn decide(&self, id: Id, outcome: Outcome) {
        change(&*self.session, |table| decide(table, id, outcome)).await;
    }

    /// Waits until a side has said something.
    pub async fn said(&self, id: Id, is: impl Fn(bool, &Said) -> bool) {
        let begun = Instant::now();
        loop {
            let reports = report::read_all(&*self.session).await.unwrap();
            if reports.iter().any(|report| report.id == id.0 && is(report.is_source, &report.said)) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{reports:?} {:?}", self.table().await.migrations);
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a hand-over is closed.
    pub async fn closed(&self, id: Id) {
        let begun = Instant::now();
        while self.table().await.migration(id).is_some() {
            if begun.elapsed() > PATIENCE {
                let reports = report::read_all(&*self.session).await.unwrap();
                panic!("hand-over {id} stays open: {reports:?} {:?}", self.table().await.migrations);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn client(&self, id: u8) -> Client {
        Client::new(self.net.clone(), id)
    }
}

async fn read_slots(session: &dyn CoordinatorSession) -> (Slots, u64) {
    session.sync(paths::SLOTS).await.unwrap();
    let node = session.get(paths::SLOTS).await.unwrap().unwrap();
    (Slots::decode(paths::SLOTS, &node.data).unwrap(), node.version)
}

/// Changes the table by compare-and-set, if there is anything to change.
async fn change(session: &dyn CoordinatorSession, mut edit: impl FnMut(&mut Table) -> bool) {
    loop {
        let (slots, version) = read_slots(session).await;
        let mut table = slots.to_table();
        if !edit(&mut table) {
            return;
        }
        table.version += 1;
        let data = Slots::of(&table, &slots, |_| 0).encode().unwrap();
        if session.set(paths::SLOTS, data, Expect::Version(version)).await.is_ok() {
            return;
        }
    }
}

fn decide(table: &mut Table, id: Id, outcome: Outcome) -> bool {
    let Some(migration) = table.migrations.iter_mut().find(|found| found.id == id) else { return false };
    if migration.outcome.is_some() {
        return false;
    }
    migration.outcome = Some(outcome);
    if outcome == Outcome::Moved {
        for slot in &migration.slots {
            table.owners[usize::from(*slot)] = Owner { shard: migration.target, tenure: id };
        }
    }
    true
}

/// Looks after what is planned.
async fn lead(session: Arc<dyn CoordinatorSession>, beats: Arc<AtomicBool>, decides: Arc<AtomicBool>) {
    let mut beat = 0;
    loop {
        sleep(Duration::from_millis(20)).await;
        if beats.load(Ordering::Relaxed) {
            beat += 1;
            let data = Mover { epoch: 1, beat }.encode().unwrap();
            if session.set(paths::MOVER, data.clone(), Expect::Any).await.is_err() {
                let _ = session.create(paths::MOVER, data, Mode::Persistent).await;
            }
        }
        if !decides.load(Ordering::Relaxed) {
            continue;
        }
        let reports = report::read_all(&*session).await.unwrap();
        let mut closed = Vec::new();
        change(&*session, |table| {
            closed.clear();
            let mut changed = false;
            for migration in table.migrations.clone() {
                let id = migration.id;
                let said = |is_source| {
                    let of =
                        |report: &&report::HandoverReport| report.id == id.0 && report.is_source == is_source;
                    reports.iter().find(of).map(|report| report.said.clone())
                };
                match (migration.outcome, said(true), said(false)) {
                    (None, Some(Said::Failed(_)), _) | (None, _, Some(Said::Failed(_))) => {
                        changed |= decide(table, id, Outcome::Aborted);
                    }
                    (None, _, Some(Said::Imported)) => changed |= decide(table, id, Outcome::Moved),
                    (Some(_), Some(Said::Done), Some(Said::Done)) => {
                        table.migrations.retain(|found| found.id != id);
                        closed.push(id);
                        changed = true;
                    }
                    _ => {}
                }
            }
            changed
        })
        .await;
        for id in closed {
            report::forget(&*session, id.0).await.unwrap();
        }
    }
}

/// A stream to one worker.
struct Line {
    shard: Arc<Shard>,
    frames: mpsc::UnboundedSender<Result<ClientFrame, Status>>,
    session: Session<Input>,
    applied_index: u64,
}

impl Line {
    async fn open(shard: Arc<Shard>, id: u8) -> Option<Self> {
        let (frames, input) = frames();
        let mut session = Session::new(shard.clone(), input);
        frames.send(Ok(ClientFrame { hello: Some(hello(id)), ..ClientFrame::default() })).unwrap();
        let frame = session.next().await?.ok()?;
        frame.welcome.is_some().then_some(Self { shard, frames, session, applied_index: 0 })
    }
}

/// A client that follows the slots, one request at a time.
pub struct Client {
    net: Arc<Net>,
    id: u8,
    pub table: SlotTable,
    lines: HashMap<String, Line>,
    sequence: u64,
    next_id: u64,
    /// Answers that said where the slot is.
    pub moves: usize,
    /// Answers that said nothing but that it should come again.
    pub retries: usize,
    last: String,
}

impl Client {
    fn new(net: Arc<Net>, id: u8) -> Self {
        let table = net.0.lock().values().next().expect("somebody runs").shard.ownership().table().clone();
        Self {
            net,
            id,
            table,
            lines: HashMap::new(),
            sequence: 0,
            next_id: 0,
            moves: 0,
            retries: 0,
            last: String::new(),
        }
    }

    /// Asks anybody for a newer table.
    fn refresh(&mut self) {
        for node in self.net.0.lock().values() {
            let newer = node.shard.ownership().table().full();
            let _ = self.table.apply(&newer);
        }
    }

    pub fn slot(&self, key: &str) -> u16 {
        slotkv_proto::slot(key.as_bytes(), self.table.slots())
    }

    /// Puts a write's ticket into a request.
    pub fn ticket(&mut self, request: Request) -> Request {
        self.sequence += 1;
        Request { sequence: self.sequence, oldest_open: self.sequence, ..request }
    }

    pub async fn increment(&mut self, key: &str) -> i64 {
        let request = self.ticket(Request { delta: 1, ..request(Operation::Increment, key) });
        self.ask(request).await.number
    }

    pub async fn put(&mut self, key: &str, value: &str) {
        let request =
            Request { value: Bytes::copy_from_slice(value.as_bytes()), ..request(Operation::Put, key) };
        let request = self.ticket(request);
        self.ask(request).await;
    }

    pub async fn get(&mut self, key: &str) -> Option<String> {
        let reply = self.ask(request(Operation::Get, key)).await;
        let found = reply.status == v1::Status::Found as i32;
        found.then(|| String::from_utf8(reply.value.to_vec()).unwrap())
    }

    /// Asks until it is answered, wherever the key's slot is.
    pub async fn ask(&mut self, request: Request) -> Reply {
        let slot = slotkv_proto::slot(&request.key, self.table.slots());
        self.ask_slot(slot, request).await
    }

    /// The same of a request about a slot.
    pub async fn ask_slot(&mut self, slot: u16, mut request: Request) -> Reply {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "no answer to {request:?}: {:?}", self.last);
            let Some(frame) = self.attempt(slot, &request).await else {
                request.repeated = true;
                self.last = format!(
                    "nobody answers: {slot} {:?}",
                    self.table.route(self.table.owner(slot).unwrap_or(9))
                );
                self.refresh();
                sleep(Duration::from_millis(20)).await;
                continue;
            };
            let reply = frame.replies.into_iter().next().expect("a reply");
            self.last = format!(
                "{slot} {} {:?}",
                reply.message,
                self.table.route(self.table.owner(slot).unwrap_or(9))
            );
            match Code::from_number(reply.code) {
                None => return reply,
                Some(Code::Moved) => {
                    assert!(frame.table.is_some(), "MOVED comes with the way");
                    self.moves += 1;
                }
                Some(Code::NotPrimary | Code::SteppedDown | Code::ShuttingDown) => {
                    request.repeated = true;
                    self.refresh();
                    sleep(Duration::from_millis(20)).await;
                }
                Some(Code::Retry | Code::ReadOnly) => {
                    self.retries += 1;
                    sleep(Duration::from_millis(20)).await;
                }
                Some(code) => panic!("{code:?}: {} to {request:?}", reply.message),
            }
        }
    }

    /// What one attempt comes to.
    pub async fn attempt_code(&mut self, request: Request) -> Option<Code> {
        let slot = slotkv_proto::slot(&request.key, self.table.slots());
        let frame = self.attempt(slot, &request).await.expect("an answer");
        Code::from_number(frame.replies[0].code)
    }

    /// One attempt at where the slot is thought to be; `None`: nobody answered.
    async fn attempt(&mut self, slot: u16, request: &Request) -> Option<ServerFrame> {
        let route = self.table.route(self.table.owner(slot)?)?;
        let address = route.primary.as_ref()?.address.clone();
        let (version, epoch) = (self.table.version(), route.epoch);
        // The end of a process breaks its connections.
        let shard = self.net.node(&address).map(|node| node.shard);
        let is_same = |line: &Line| shard.as_ref().is_some_and(|shard| Arc::ptr_eq(shard, &line.shard));
        self.lines.retain(|to, line| *to != address || is_same(line));
        if !self.lines.contains_key(&address) {
            let shard = shard?;
            let line = timeout(Duration::from_secs(1), Line::open(shard, self.id)).await.ok()??;
            self.lines.insert(address.clone(), line);
        }
        let line = self.lines.get_mut(&address)?;
        self.next_id += 1;
        let request = Request { id: self.next_id, ..request.clone() };
        let frame =
            ClientFrame { requests: vec![request], table_version: version, epoch, ..ClientFrame::default() };
        let answer = match line.frames.send(Ok(frame)) {
            Ok(()) => timeout(Duration::from_secs(3), next_reply(line)).await.ok().flatten(),
            Err(_) => None,
        };
        match answer.as_ref().map(|frame| &frame.table) {
            None => drop(self.lines.remove(&address)),
            Some(Some(delta)) if self.table.apply(delta).is_err() => self.refresh(),
            Some(_) => {}
        }
        answer
    }
}

async fn next_reply(line: &mut Line) -> Option<ServerFrame> {
    loop {
        let frame = line.session.next().await?.ok()?;
        line.applied_index = frame.applied_index;
        if !frame.replies.is_empty() {
            return Some(frame);
        }
    }
}
