//! A network that delays, breaks and cuts connections. A connection is a pair of ordered pipes, as TCP gives them; when
//! it breaks, the client learns of it at once, while frames already sent may still reach the worker.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use slotkv::transport::{Incoming, Outgoing, Transport, TransportError};
use slotkv_master::MasterService;
use slotkv_proto::{
    Code,
    seam::Chance,
    v1::{self, master_server::Master as _},
};
use slotkv_worker::{
    PeerTransport, Worker, bridge::BridgeService, link::PeerService, runner::Tasks, session::Session,
    shard::Shard,
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

/// How long an attempt to reach a member behind a cut takes to fail.
const UNREACHABLE: Duration = Duration::from_secs(3);

/// The network of one world.
pub struct Net {
    chance: Arc<dyn Chance>,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

/// A worker as others reach it.
#[derive(Clone)]
struct Served {
    shard: Arc<Shard>,
    peers: PeerService,
    bridge: BridgeService,
    tasks: Tasks,
}

impl Served {
    fn of(worker: &Worker, tasks: Tasks) -> Self {
        Self { shard: worker.shard().clone(), peers: worker.peers(), bridge: worker.bridge(), tasks }
    }
}

#[derive(Default)]
struct State {
    workers: BTreeMap<String, Served>,
    masters: BTreeMap<String, (MasterService, Tasks)>,
    cut_to: BTreeSet<String>,
    cut_from: BTreeSet<String>,
    /// From whom to whom nothing goes.
    cut: BTreeSet<(String, String)>,
    links: Vec<(String, Weak<Link>)>,
    loss_permille: u64,
    double_permille: u64,
    delay_ms_max: u64,
}

impl State {
    fn is_cut(&self, from: &str, to: &str) -> bool {
        self.cut_to.contains(to)
            || self.cut_from.contains(from)
            || (!self.cut.is_empty() && self.cut.contains(&(from.to_owned(), to.to_owned())))
    }
}

/// One connection; broken for the client first, for the worker a little later.
struct Link {
    /// It is a client's, and not one between two workers.
    is_clients: bool,
    client: watch::Sender<bool>,
    worker: watch::Sender<bool>,
}

impl Link {
    fn new(is_clients: bool) -> Self {
        Self { is_clients, client: watch::Sender::new(false), worker: watch::Sender::new(false) }
    }
}

impl Net {
    /// A network without faults.
    pub fn new(chance: Arc<dyn Chance>) -> Arc<Self> {
        let state = State { delay_ms_max: 2, ..State::default() };
        Arc::new(Self { chance, state: Mutex::new(state), changed: watch::Sender::new(0) })
    }

    /// A worker can be reached at `address`.
    pub fn add_worker(&self, address: &str, worker: &Worker, tasks: Tasks) {
        self.state.lock().workers.insert(address.to_owned(), Served::of(worker, tasks));
    }

    /// A master can be reached at `address`.
    pub fn add_master(&self, address: &str, service: MasterService, tasks: Tasks) {
        self.state.lock().masters.insert(address.to_owned(), (service, tasks));
    }

    /// Nobody listens at `address` any more, and its connections are gone at once, with all that was under way.
    pub fn remove(&self, address: &str) {
        let mut state = self.state.lock();
        state.workers.remove(address);
        state.masters.remove(address);
        for (_, link) in state.links.iter().filter(|(to, _)| to == address) {
            if let Some(link) = link.upgrade() {
                link.worker.send_replace(true);
                link.client.send_replace(true);
            }
        }
    }

    /// Breaks every connection to `address`.
    pub fn break_links(&self, address: &str) {
        let state = self.state.lock();
        for link in state.links.iter().filter(|(to, _)| to == address).filter_map(|(_, link)| link.upgrade())
        {
            link.client.send_replace(true);
        }
    }

    /// Breaks every connection of a client. Those between workers stay: what is on its way to a target arrives.
    pub fn break_client_links(&self) {
        let state = self.state.lock();
        let links = state.links.iter().filter_map(|(_, link)| link.upgrade());
        links.filter(|link| link.is_clients).for_each(|link| {
            link.client.send_replace(true);
        });
    }

    /// The shards of all workers that can be reached.
    pub fn shards(&self) -> Vec<Arc<Shard>> {
        self.state.lock().workers.values().map(|served| served.shard.clone()).collect()
    }

    /// Nothing reaches `address` (`to`), or nothing comes from it, until [`Net::join`].
    pub fn isolate(&self, address: &str, to: bool) {
        let mut state = self.state.lock();
        let set = if to { &mut state.cut_to } else { &mut state.cut_from };
        set.insert(address.to_owned());
    }

    /// Ends that.
    pub fn join(&self, address: &str) {
        let mut state = self.state.lock();
        state.cut_to.remove(address);
        state.cut_from.remove(address);
        drop(state);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Nothing goes from one to the other, until it is mended.
    pub fn cut(&self, from: &str, to: &str) {
        self.state.lock().cut.insert((from.to_owned(), to.to_owned()));
    }

    /// Ends a cut.
    pub fn mend(&self, from: &str, to: &str) {
        self.state.lock().cut.remove(&(from.to_owned(), to.to_owned()));
        self.changed.send_modify(|count| *count += 1);
    }

    /// Frames are lost, with their connection, and doubled so often out of 1000; delays are up to so long.
    pub fn trouble(&self, loss_permille: u64, double_permille: u64, delay_ms_max: u64) {
        let mut state = self.state.lock();
        (state.loss_permille, state.double_permille, state.delay_ms_max) =
            (loss_permille, double_permille, delay_ms_max);
    }

    /// Ends everything of that.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.cut.clear();
        state.cut_to.clear();
        state.cut_from.clear();
        state.links.retain(|(_, link)| link.strong_count() > 0);
        drop(state);
        self.changed.send_modify(|count| *count += 1);
    }

    async fn delay(&self) {
        let longest = self.state.lock().delay_ms_max;
        sleep(Duration::from_micros(self.chance.below(longest * 1000 + 1))).await;
    }

    /// Waits while frames do not pass.
    async fn pass(&self, from: &str, to: &str) {
        let mut changed = self.changed.subscribe();
        while self.is_cut(from, to) && changed.changed().await.is_ok() {}
    }

    fn happens(&self, permille: impl Fn(&State) -> u64) -> bool {
        let permille = permille(&self.state.lock());
        permille > 0 && self.chance.below(1000) < permille
    }

    /// A number below `count`.
    pub fn draw(&self, count: usize) -> usize {
        self.chance.below(count as u64) as usize
    }

    /// Whether nothing goes from one to the other.
    pub fn is_cut(&self, from: &str, to: &str) -> bool {
        self.state.lock().is_cut(from, to)
    }

    /// Takes a while, and as long as a connection takes to fail if none can be made.
    async fn reach(&self, from: &str, to: &str) -> Result<(), TransportError> {
        self.delay().await;
        if self.is_cut(from, to) || self.is_cut(to, from) {
            sleep(UNREACHABLE).await;
            return Err(unavailable(to));
        }
        Ok(())
    }

    /// The master there, once it takes a step.
    async fn master(&self, from: &str, address: &str) -> Result<MasterService, TransportError> {
        self.reach(from, address).await?;
        let master = self.state.lock().masters.get(address).cloned();
        let (service, tasks) = master.ok_or_else(|| unavailable(address))?;
        tasks.within(async {}).await;
        Ok(service)
    }
}

/// The network as one client sees it, which has this name there.
#[derive(Clone)]
pub struct SimTransport(pub Arc<Net>, pub String);

impl Transport for SimTransport {
    fn open<'a>(
        &'a self,
        address: &'a str,
        outgoing: Outgoing,
    ) -> BoxFuture<'a, Result<Incoming, TransportError>> {
        let (net, own) = (self.0.clone(), self.1.clone());
        async move {
            net.reach(&own, address).await?;
            let worker = net.state.lock().workers.get(address).cloned();
            let worker = worker.ok_or_else(|| unavailable(address))?;
            Ok(connect(net, own, address.to_owned(), worker, outgoing))
        }
        .boxed()
    }

    fn ping<'a>(
        &'a self,
        address: &'a str,
        request: v1::PingRequest,
    ) -> BoxFuture<'a, Result<v1::PingReply, TransportError>> {
        async move {
            let reply = self.0.master(&self.1, address).await?.ping(tonic::Request::new(request)).await;
            reply.map(|reply| reply.into_inner()).map_err(refused)
        }
        .boxed()
    }

    fn slot_table<'a>(
        &'a self,
        address: &'a str,
        request: v1::SlotTableRequest,
    ) -> BoxFuture<'a, Result<v1::TableDelta, TransportError>> {
        async move {
            let reply =
                self.0.master(&self.1, address).await?.get_slot_table(tonic::Request::new(request)).await;
            reply.map(|reply| reply.into_inner()).map_err(refused)
        }
        .boxed()
    }

    fn status<'a>(
        &'a self,
        address: &'a str,
        _: v1::StatusRequest,
    ) -> BoxFuture<'a, Result<v1::StatusReply, TransportError>> {
        async move { Err(unavailable(address)) }.boxed()
    }
}

/// The network as one worker sees it, which is reached at this address.
pub struct SimPeers(pub Arc<Net>, pub String);

impl PeerTransport for SimPeers {
    fn exchange(
        &self,
        address: String,
        frames: BoxStream<'static, v1::PeerFrame>,
    ) -> BoxFuture<'static, tonic::Status> {
        let taken = |worker: Served, input| async move { drop(worker.peers.take(input).await) }.boxed();
        carry(self.0.clone(), self.1.clone(), address, frames, taken).boxed()
    }

    fn hand_over(
        &self,
        address: String,
        frames: BoxStream<'static, v1::HandoverFrame>,
    ) -> BoxFuture<'static, tonic::Status> {
        let taken = |worker: Served, input| async move { drop(worker.bridge.take(input).await) }.boxed();
        carry(self.0.clone(), self.1.clone(), address, frames, taken).boxed()
    }
}

/// Frames of one type on their way through the network.
type Frames<T> = BoxStream<'static, Result<T, tonic::Status>>;

/// A pipe from one worker to another, until it breaks.
async fn carry<T: Send + 'static>(
    net: Arc<Net>,
    own: String,
    address: String,
    mut frames: BoxStream<'static, T>,
    take: impl FnOnce(Served, Frames<T>) -> BoxFuture<'static, ()> + Send,
) -> tonic::Status {
    if net.reach(&own, &address).await.is_err() {
        return tonic::Status::unavailable("nobody answers");
    }
    let worker = net.state.lock().workers.get(&address).cloned();
    let Some(worker) = worker else { return tonic::Status::unavailable("nobody listens") };
    let link = Arc::new(Link::new(false));
    {
        let mut state = net.state.lock();
        state.links.push((address.clone(), Arc::downgrade(&link)));
        state.links.push((own.clone(), Arc::downgrade(&link)));
    }
    let (sent, arrived) = mpsc::unbounded_channel();
    let carry = async {
        while let Some(frame) = frames.next().await {
            net.delay().await;
            net.pass(&own, &address).await;
            if net.happens(|state| state.loss_permille) || sent.send(Ok(frame)).is_err() {
                return;
            }
        }
    };
    let input = stream::unfold(arrived, |mut input| async { input.recv().await.map(|frame| (frame, input)) });
    let tasks = worker.tasks.clone();
    let taking = tasks.within(take(worker, input.boxed()));
    let (mut gone, mut broken) = (link.worker.subscribe(), link.client.subscribe());
    tokio::select! {
        biased;
        _ = gone.wait_for(|gone| *gone) => {}
        _ = broken.wait_for(|broken| *broken) => {}
        () = carry => {}
        () = taking => {}
    }
    tonic::Status::unavailable("the connection broke")
}

/// Two pipes between a client and a session of a worker.
fn connect(net: Arc<Net>, own: String, address: String, worker: Served, mut outgoing: Outgoing) -> Incoming {
    let link = Arc::new(Link::new(true));
    net.state.lock().links.push((address.clone(), Arc::downgrade(&link)));
    let (to_worker, at_worker) = mpsc::unbounded_channel::<Result<v1::ClientFrame, tonic::Status>>();
    let (to_client, at_client) = mpsc::unbounded_channel();

    let up = {
        let (net, own, address, link) = (net.clone(), own.clone(), address.clone(), link.clone());
        async move {
            while let Some(frame) = outgoing.next().await {
                net.delay().await;
                net.pass(&own, &address).await;
                if net.happens(|state| state.loss_permille) {
                    link.client.send_replace(true);
                }
                let Ok(mut frame) = frame.decode() else { return };
                if net.happens(|state| state.double_permille) {
                    // TCP doubles nothing. What a client sends twice says so, so that an answer is kept which changes nothing.
                    frame.requests.iter_mut().for_each(|request| request.repeated = true);
                    let _ = to_worker.send(Ok(frame.clone()));
                }
                if to_worker.send(Ok(frame)).is_err() {
                    return;
                }
            }
        }
    };
    let down = {
        let (net, link) = (net.clone(), link.clone());
        async move {
            let input = stream::unfold(at_worker, |mut input| async {
                input.recv().await.map(|frame| (frame, input))
            });
            let Served { shard, tasks, .. } = worker;
            let mut session = Session::new(shard, Box::pin(input));
            while let Some(Ok(frame)) = tasks.within(session.next()).await {
                net.delay().await;
                net.pass(&address, &own).await;
                if net.happens(|state| state.loss_permille) {
                    link.client.send_replace(true);
                }
                if to_client.send(frame).is_err() {
                    return;
                }
            }
        }
    };
    let both = {
        let link = link.clone();
        async move {
            let mut gone = link.worker.subscribe();
            let mut broken = link.client.subscribe();
            tokio::select! {
                biased;
                _ = gone.wait_for(|gone| *gone) => {}
                _ = async {
                    let _ = broken.wait_for(|broken| *broken).await;
                    // Frames that were on their way arrive for some time.
                    net.delay().await;
                    net.delay().await;
                } => {}
                _ = async { tokio::join!(up, down) } => {}
            }
        }
    };
    tokio::spawn(both);

    let broken = link.client.subscribe();
    Box::pin(stream::unfold((at_client, broken, link), |(mut frames, mut broken, link)| async move {
        if *broken.borrow() {
            return None;
        }
        let next = tokio::select! {
            biased;
            _ = broken.wait_for(|broken| *broken) => None,
            frame = frames.recv() => frame,
        };
        match next {
            Some(frame) => Some((Ok(frame), (frames, broken, link))),
            None => {
                link.client.send_replace(true);
                let lost =
                    TransportError { code: Code::ConnectionLost, message: "the connection broke".into() };
                Some((Err(lost), (frames, broken, link)))
            }
        }
    }))
}

fn unavailable(address: &str) -> TransportError {
    TransportError { code: Code::Unavailable, message: format!("nobody answers at {address}") }
}

fn refused(status: tonic::Status) -> TransportError {
    let code = slotkv_proto::code::code_of(&status).unwrap_or(Code::Unavailable);
    TransportError { code, message: status.message().to_owned() }
}
