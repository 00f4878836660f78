//! A cluster in the test's own process: masters and workers behind a [`Transport`] that the test scripts. Workers keep
//! real data with exactly-once results, so that what the client does to them can be checked.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod store;

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use futures_util::{Stream, StreamExt, future::BoxFuture, stream};
use slotkv::{
    Client, Code, Options, Result,
    transport::{Incoming, Outgoing, Transport, TransportError},
};
use slotkv_proto::{
    SlotCount, SlotTable,
    seam::SeededChance,
    table::{Member, Route},
    v1,
};
use tokio::sync::{Notify, mpsc, watch};

pub use store::Store;

pub const CLUSTER: &str = "fake";

/// What a worker does with a request.
pub enum Action {
    /// What a good worker does.
    Serve,
    /// Answers this, without looking at its data.
    Reply(v1::Reply),
    /// The same, with news of the slot table in the same frame.
    Correct(v1::Reply, v1::TableDelta),
    /// Keeps the request; see [`Fake::release`].
    Hold,
    /// Breaks the connection without looking at the request.
    Cut,
    /// Carries the request out and breaks the connection before the reply is sent.
    ServeThenCut,
    /// Sends this instead of a reply.
    Frame(v1::ServerFrame),
}

/// A request as a worker saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub address: String,
    pub request: v1::Request,
    pub table_version: u64,
    pub epoch: u64,
}

type Script = Box<dyn FnMut(&Seen) -> Action + Send>;

#[derive(Default)]
struct Worker {
    up: bool,
    shard: u32,
    store: Store,
    script: Option<Script>,
    welcome: Option<v1::ServerFrame>,
    silent: bool,
    hangs_up: bool,
    cuts: Vec<watch::Sender<bool>>,
    held: Vec<(mpsc::UnboundedSender<Item>, Seen)>,
    opened: u64,
    hellos: Vec<v1::Hello>,
    log: Vec<Seen>,
    cancels: Vec<u64>,
    frames: Vec<usize>,
}

struct Master {
    up: bool,
    hangs: bool,
    cluster_id: String,
    version: u32,
    /// What it tells instead of the truth.
    stale: Option<SlotTable>,
    pings: u64,
    fetches: u64,
}

type Item = std::result::Result<v1::ServerFrame, TransportError>;

struct State {
    truth: SlotTable,
    workers: BTreeMap<String, Worker>,
    masters: BTreeMap<String, Master>,
}

/// See the module.
pub struct Fake(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Told on everything that a worker sees.
    seen: Notify,
}

impl Fake {
    /// Two masters `m0:1` and `m1:1`, and `shards` shards that own 16 slots evenly, each with a worker `w<shard>:1`.
    pub fn new(shards: u32) -> Arc<Fake> {
        let mut truth = SlotTable::new(CLUSTER, SlotCount::new(16).unwrap());
        let mut workers = BTreeMap::new();
        let runs: Vec<_> = (0..shards)
            .map(|shard| ((16 * shard / shards) as u16, (16 * (shard + 1) / shards) as u16 - 1, shard))
            .collect();
        truth.set_owners(1, &runs).unwrap();
        for shard in 0..shards {
            truth.set_route(route(shard, 1, 1, Some(&format!("w{shard}:1"))));
            let worker = Worker { up: true, shard, ..Worker::default() };
            workers.insert(format!("w{shard}:1"), worker);
        }
        let master = || Master {
            up: true,
            hangs: false,
            cluster_id: CLUSTER.into(),
            version: 1,
            stale: None,
            pings: 0,
            fetches: 0,
        };
        let masters = ["m0:1", "m1:1"].map(|address| (address.to_owned(), master())).into();
        let state = Mutex::new(State { truth, workers, masters });
        Arc::new(Fake(Arc::new(Inner { state, seen: Notify::new() })))
    }

    pub async fn client(self: &Arc<Self>) -> Client {
        self.client_with(|options| options).await
    }

    pub async fn client_with(self: &Arc<Self>, change: impl FnOnce(Options) -> Options) -> Client {
        self.connect("slotkv://m0:1,m1:1", change).await.unwrap()
    }

    pub async fn connect(
        self: &Arc<Self>,
        uri: &str,
        change: impl FnOnce(Options) -> Options,
    ) -> Result<Client> {
        let options =
            Options { transport: self.clone(), chance: Arc::new(SeededChance::new(7)), ..Options::default() };
        Client::connect_with(uri, change(options)).await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// A key of the shard: `k<n>` for the lowest n that there is.
    pub fn key_of(&self, shard: u32) -> String {
        self.keys_of(shard, 1).remove(0)
    }

    pub fn keys_of(&self, shard: u32, count: usize) -> Vec<String> {
        let truth = self.truth();
        let keys = (0..).map(|n| format!("k{n}"));
        keys.filter(|key| truth.owner(truth.slot(key.as_bytes())) == Some(shard)).take(count).collect()
    }

    pub fn truth(&self) -> SlotTable {
        self.lock().truth.clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut SlotTable)) {
        change(&mut self.lock().truth);
    }

    /// Gives slots to shards, in the next version.
    pub fn give(&self, given: &[(u16, u32)]) {
        self.change(|table| give(table, table.version() + 1, given));
    }

    /// The whole truth, as workers append it to replies.
    pub fn delta(&self) -> v1::TableDelta {
        self.lock().truth.full()
    }

    /// A further worker for a shard; routes have to be changed for it to be used.
    pub fn add_worker(&self, address: &str, shard: u32, store: Store) {
        let worker = Worker { up: true, shard, store, ..Worker::default() };
        self.lock().workers.insert(address.into(), worker);
    }

    pub fn script(&self, address: &str, script: impl FnMut(&Seen) -> Action + Send + 'static) {
        self.worker(address, |worker| worker.script = Some(Box::new(script)));
    }

    /// The first requests get these, the others are served.
    pub fn script_first(&self, address: &str, actions: impl IntoIterator<Item = Action>) {
        let mut actions = actions.into_iter().collect::<std::collections::VecDeque<_>>();
        self.script(address, move |_| actions.pop_front().unwrap_or(Action::Serve));
    }

    pub fn unscript(&self, address: &str) {
        self.worker(address, |worker| worker.script = None);
    }

    /// Sends this as the first frame of each stream from now on.
    pub fn welcome(&self, address: &str, frame: v1::ServerFrame) {
        self.worker(address, |worker| worker.welcome = Some(frame));
    }

    /// From now on the worker accepts streams and says nothing on them, also on those that there are.
    pub fn silence(&self, address: &str, silent: bool) {
        self.worker(address, |worker| worker.silent = silent);
    }

    /// From now on the worker breaks each stream right after the welcome.
    pub fn hang_up(&self, address: &str) {
        self.worker(address, |worker| worker.hangs_up = true);
        self.cut(address);
    }

    pub fn set_up(&self, address: &str, up: bool) {
        let mut state = self.lock();
        if let Some(master) = state.masters.get_mut(address) {
            master.up = up;
            return;
        }
        state.workers.get_mut(address).unwrap().up = up;
        drop(state);
        if !up {
            self.cut(address);
        }
    }

    pub fn hang_master(&self, address: &str, hangs: bool) {
        self.lock().masters.get_mut(address).unwrap().hangs = hangs;
    }

    pub fn freeze_master(&self, address: &str, stale: Option<SlotTable>) {
        self.lock().masters.get_mut(address).unwrap().stale = stale;
    }

    pub fn rename_cluster_of_master(&self, address: &str, cluster_id: &str) {
        self.lock().masters.get_mut(address).unwrap().cluster_id = cluster_id.into();
    }

    pub fn set_version_of_master(&self, address: &str, version: u32) {
        self.lock().masters.get_mut(address).unwrap().version = version;
    }

    /// Breaks every connection to the worker.
    pub fn cut(&self, address: &str) {
        self.worker(address, |worker| {
            worker.held.clear();
            for cut in worker.cuts.drain(..) {
                cut.send_replace(true);
            }
        });
    }

    /// Serves every request that is held.
    pub fn release(&self, address: &str) {
        self.worker(address, |worker| {
            for (replies, seen) in std::mem::take(&mut worker.held) {
                let frame = worker.served(&seen);
                let _ = replies.send(Ok(frame));
            }
        });
    }

    pub fn held(&self, address: &str) -> usize {
        self.worker(address, |worker| worker.held.len())
    }

    pub fn log(&self, address: &str) -> Vec<Seen> {
        self.worker(address, |worker| worker.log.clone())
    }

    pub fn cancels(&self, address: &str) -> Vec<u64> {
        self.worker(address, |worker| worker.cancels.clone())
    }

    pub fn frames(&self, address: &str) -> Vec<usize> {
        self.worker(address, |worker| worker.frames.clone())
    }

    pub fn opened(&self, address: &str) -> u64 {
        self.worker(address, |worker| worker.opened)
    }

    pub fn hellos(&self, address: &str) -> Vec<v1::Hello> {
        self.worker(address, |worker| worker.hellos.clone())
    }

    pub fn store<T>(&self, address: &str, look: impl FnOnce(&mut Store) -> T) -> T {
        self.worker(address, |worker| look(&mut worker.store))
    }

    /// Pings and table fetches that the master has answered.
    pub fn asked(&self, address: &str) -> (u64, u64) {
        let state = self.lock();
        let master = &state.masters[address];
        (master.pings, master.fetches)
    }

    /// Waits until the condition holds; it is looked at whenever a worker sees something, and every 10 ms.
    pub async fn until(&self, condition: impl Fn() -> bool) {
        for _ in 0..100_000 {
            if condition() {
                return;
            }
            tokio::select! {
                biased;
                () = self.0.seen.notified() => {}
                () = tokio::time::sleep(std::time::Duration::from_millis(10)) => {}
            }
        }
        panic!("the condition never held");
    }

    fn worker<T>(&self, address: &str, look: impl FnOnce(&mut Worker) -> T) -> T {
        look(self.lock().workers.get_mut(address).unwrap())
    }

    fn master<T>(
        &self,
        address: &str,
        answer: impl FnOnce(&mut Master, &SlotTable) -> T,
    ) -> std::result::Result<Option<T>, TransportError> {
        let mut state = self.lock();
        let State { truth, masters, workers } = &mut *state;
        if let Some(worker) = workers.get(address).filter(|worker| worker.up) {
            let mut as_master = Master {
                up: true,
                hangs: worker.silent,
                cluster_id: CLUSTER.into(),
                version: 1,
                stale: None,
                pings: 0,
                fetches: 0,
            };
            return Ok((!worker.silent).then(|| answer(&mut as_master, truth)));
        }
        match masters.get_mut(address).filter(|master| master.up) {
            None => Err(unavailable()),
            Some(master) if master.hangs => Ok(None),
            Some(master) => {
                let table = master.stale.clone().unwrap_or_else(|| truth.clone());
                Ok(Some(answer(master, &table)))
            }
        }
    }

    /// What the worker does with a frame; false if it breaks the connection.
    fn receive(
        &self,
        address: &str,
        bytes: usize,
        frame: v1::ClientFrame,
        replies: &mpsc::UnboundedSender<Item>,
    ) -> bool {
        let mut state = self.lock();
        let worker = state.workers.get_mut(address).unwrap();
        if let Some(hello) = frame.hello {
            worker.hellos.push(hello);
            if !worker.silent {
                let welcome = worker.welcome.clone().unwrap_or_else(|| welcome(worker.shard));
                let _ = replies.send(Ok(welcome));
            }
            return !worker.hangs_up;
        }
        worker.frames.push(bytes);
        worker.cancels.extend(frame.cancels);
        let mut out = v1::ServerFrame { applied_index: worker.store.index(), ..Default::default() };
        for request in frame.requests {
            let seen = Seen {
                address: address.into(),
                request,
                table_version: frame.table_version,
                epoch: frame.epoch,
            };
            worker.log.push(seen.clone());
            let mut script = worker.script.take();
            let action = script.as_mut().map_or(Action::Serve, |script| script(&seen));
            worker.script = worker.script.take().or(script);
            match action {
                Action::Serve => {
                    let served = worker.served(&seen);
                    out.replies.extend(served.replies);
                    out.applied_index = served.applied_index;
                }
                Action::Reply(reply) => out.replies.push(v1::Reply { id: seen.request.id, ..reply }),
                Action::Correct(reply, delta) => {
                    out.replies.push(v1::Reply { id: seen.request.id, ..reply });
                    out.table = Some(delta);
                }
                Action::Hold => worker.held.push((replies.clone(), seen)),
                Action::Cut => return false,
                Action::ServeThenCut => {
                    worker.served(&seen);
                    return false;
                }
                Action::Frame(frame) => {
                    let _ = replies.send(Ok(frame));
                }
            }
        }
        if !worker.silent && (!out.replies.is_empty() || out.table.is_some()) {
            let _ = replies.send(Ok(out));
        }
        true
    }
}

impl Worker {
    fn served(&mut self, seen: &Seen) -> v1::ServerFrame {
        let reply = self.store.serve(&seen.request, &self.hellos);
        v1::ServerFrame { replies: vec![reply], applied_index: self.store.index(), ..Default::default() }
    }
}

/// Gives slots to shards and leaves the others where they are.
pub fn give(table: &mut SlotTable, version: u64, given: &[(u16, u32)]) {
    let owners = (0..table.slots().get()).filter_map(|slot| {
        let new = given.iter().find(|(given, _)| *given == slot).map(|(_, shard)| *shard);
        Some((slot, slot, new.or(table.owner(slot))?))
    });
    let owners: Vec<_> = owners.collect();
    table.set_owners(version, &owners).unwrap();
}

/// The same with backups.
pub fn replicated(shard: u32, epoch: u64, revision: u64, address: Option<&str>, backups: &[&str]) -> Route {
    let member = |address: &&str| Member {
        name: format!("b{shard}"),
        run: (*address).into(),
        address: (*address).into(),
    };
    Route { backups: backups.iter().map(member).collect(), ..route(shard, epoch, revision, address) }
}

/// A route with a primary at an address.
pub fn route(shard: u32, epoch: u64, revision: u64, address: Option<&str>) -> Route {
    let primary = address.map(|address| Member {
        name: format!("s{shard}"),
        run: format!("{address}-{epoch}"),
        address: address.into(),
    });
    Route { shard, epoch, revision, primary, backups: Vec::new() }
}

pub fn welcome(shard: u32) -> v1::ServerFrame {
    let welcome =
        v1::Welcome { version: 1, cluster_id: CLUSTER.into(), shard, epoch: 1, ..Default::default() };
    v1::ServerFrame { welcome: Some(welcome), ..Default::default() }
}

pub fn refused(code: Code) -> v1::Reply {
    v1::Reply { code: code.number(), message: format!("the fake says {code}"), ..Default::default() }
}

fn unavailable() -> TransportError {
    TransportError { code: Code::Unavailable, message: "connection refused".into() }
}

impl Transport for Fake {
    fn open<'a>(
        &'a self,
        address: &'a str,
        mut outgoing: Outgoing,
    ) -> BoxFuture<'a, std::result::Result<Incoming, TransportError>> {
        Box::pin(async move {
            let (cut, mut was_cut) = watch::channel(false);
            {
                let mut state = self.lock();
                let worker = state.workers.get_mut(address).filter(|worker| worker.up);
                let worker = worker.ok_or_else(unavailable)?;
                worker.opened += 1;
                worker.cuts.push(cut);
            }
            let (replies, received) = mpsc::unbounded_channel::<Item>();
            let this = Fake(self.0.clone());
            let address = address.to_owned();
            tokio::spawn(async move {
                loop {
                    let frame = tokio::select! {
                        biased;
                        _ = was_cut.wait_for(|&cut| cut) => None,
                        frame = outgoing.next() => frame,
                    };
                    let Some(frame) = frame else { break };
                    let bytes = frame.bytes().len();
                    let open = this.receive(&address, bytes, frame.decode().unwrap(), &replies);
                    this.0.seen.notify_waiters();
                    if !open {
                        break;
                    }
                }
                let _ = replies.send(Err(TransportError { code: Code::Unavailable, message: "cut".into() }));
            });
            let incoming =
                stream::unfold(
                    received,
                    |mut received| async move { Some((received.recv().await?, received)) },
                );
            Ok(Box::pin(incoming) as Pin<Box<dyn Stream<Item = Item> + Send>>)
        })
    }

    fn ping<'a>(
        &'a self,
        address: &'a str,
        _request: v1::PingRequest,
    ) -> BoxFuture<'a, std::result::Result<v1::PingReply, TransportError>> {
        Box::pin(async move {
            let reply = self.master(address, |master, table| {
                master.pings += 1;
                v1::PingReply {
                    version: master.version,
                    cluster_id: master.cluster_id.clone(),
                    table_version: table.version(),
                    route_revisions: table.route_revisions(),
                    masters: vec!["m0:1".into(), "m1:1".into()],
                    leader: address == "m0:1",
                    master_epoch: 1,
                }
            })?;
            answered(reply).await
        })
    }

    fn slot_table<'a>(
        &'a self,
        address: &'a str,
        request: v1::SlotTableRequest,
    ) -> BoxFuture<'a, std::result::Result<v1::TableDelta, TransportError>> {
        Box::pin(async move {
            let delta = self.master(address, |master, table| {
                master.fetches += 1;
                let known = |shard| {
                    request
                        .known_routes
                        .iter()
                        .find(|known| known.shard == shard)
                        .map_or(0, |known| known.revision)
                };
                let mut delta = table.delta_since(request.since_version, known);
                delta.cluster_id = master.cluster_id.clone();
                delta
            })?;
            answered(delta).await
        })
    }

    fn status<'a>(
        &'a self,
        address: &'a str,
        _: v1::StatusRequest,
    ) -> BoxFuture<'a, std::result::Result<v1::StatusReply, TransportError>> {
        Box::pin(async move {
            let status = self.master(address, |master, table| v1::StatusReply {
                cluster_id: master.cluster_id.clone(),
                table_version: table.version(),
                ..Default::default()
            })?;
            answered(status).await
        })
    }
}

async fn answered<T>(answer: Option<T>) -> std::result::Result<T, TransportError> {
    match answer {
        Some(answer) => Ok(answer),
        None => std::future::pending().await,
    }
}
