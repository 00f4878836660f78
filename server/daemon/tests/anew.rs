//! A replica that has to stop in a process that goes on: it is begun anew there, a bounded number of times; what the disk is to
//! blame for ends the process instead. Everything runs in the tests' own time, over real sockets.

use std::{sync::Arc, time::Duration};

use futures_util::stream;
use slotkv::Client;
use slotkv_coordination::{
    Coordinator, Embedded, Mode, paths,
    registers::{Cluster, Health, Register, Slots},
};
use slotkv_daemon::{
    metrics::{Source, WorkerState},
    serve::{Listening, WorkerServer},
};
use slotkv_proto::{
    handshake,
    seam::{Clock, SeededChance},
    v1::{self, replica_message, replication_client::ReplicationClient},
};
use slotkv_storage::{MemoryEngines, SimDisk};
use slotkv_worker::{GrpcPeers, Options, Runner, Seams, runner::Tasks};
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tonic::transport::Channel;

const SLOTS: u32 = 16;
const CLUSTER: &str = "c1";
/// So often a replica is begun anew, one time after the other; the pause before the first of them, which doubles.
const ANEW_COUNT: u32 = 8;
const ANEW_PAUSE: Duration = Duration::from_millis(100);
/// After so long without a halt it counts from nothing.
const ANEW_FORGOTTEN: Duration = Duration::from_secs(60);
/// What a start may take beside its pause.
const START_MAX: Duration = Duration::from_secs(5);

struct Time(Instant);

impl Clock for Time {
    fn wall_ms(&self) -> u64 {
        1_790_000_000_000 + self.0.elapsed().as_millis() as u64
    }

    fn uptime_us(&self) -> u64 {
        self.0.elapsed().as_micros() as u64 + 1
    }
}

/// A worker that leads a shard of one replica, while its process is watched over.
struct Process {
    address: String,
    state: watch::Receiver<WorkerState>,
    /// Why the process is to end, once it is.
    ends: JoinHandle<(String, WorkerServer)>,
    disk: SimDisk,
}

impl Process {
    async fn start() -> Self {
        let coordinator = Embedded::new();
        let session = coordinator.open(Duration::from_secs(5)).await.unwrap();
        let cluster = Cluster {
            cluster_id: CLUSTER.into(),
            slot_count: SLOTS,
            shards_announced: 1,
            placement: "weighted".into(),
        };
        session.create(paths::CLUSTER, cluster.encode().unwrap(), Mode::Persistent).await.unwrap();
        let slots = Slots { version: 1, owners: vec![(0, SLOTS as u16 - 1, 0)], ..Slots::default() };
        session.create(paths::SLOTS, slots.encode().unwrap(), Mode::Persistent).await.unwrap();
        session.close().await;

        let disk = SimDisk::new(1);
        let seams = Seams {
            coordinator: Arc::new(coordinator),
            disk: Arc::new(disk.clone()),
            engines: Arc::new(MemoryEngines::recoverable(1)),
            clock: Arc::new(Time(Instant::now())),
            chance: Arc::new(SeededChance::new(1)),
            runner: Runner::Inline(Tasks::default()),
            peers: Arc::new(GrpcPeers),
        };
        let mut options = Options::new("/replica", "");
        options.shard = Some(0);
        options.name = Some("w0".into());
        let listening = Listening::bind("127.0.0.1:0", 0, None).unwrap();
        let mut server = WorkerServer::start(options, listening, 100, seams, |_| ()).await.unwrap();
        let (address, source) = (server.address().to_owned(), server.source());
        let Source::Worker(state) = source else { panic!("a worker") };
        let ends = tokio::spawn(async move { (server.failed().await, server) });
        Self { address, state, ends, disk }
    }

    /// Waits until the replica serves, and gives its epoch and what has been counted.
    async fn serves(&self) -> (u64, Health) {
        loop {
            let state = self.state.borrow().clone();
            if let WorkerState::Runs { shard, .. } = state
                && let Some(shard) = shard.upgrade()
                && shard.check_serving().is_ok()
            {
                return (shard.ownership().epoch(), shard.standing().borrow().health.clone());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Says as another replica that it leads the epoch that this one leads, which neither can go on from.
    async fn contradict(&self, epoch: u64) {
        let hello = v1::PeerHello {
            version_min: handshake::VERSION_MIN,
            version_max: handshake::VERSION_MAX,
            cluster_id: CLUSTER.into(),
            shard: 0,
            name: "other".into(),
            address: "127.0.0.1:1".into(),
        };
        let from = v1::ReplicaMember { name: "other".into(), inc: "i".into(), run: "r".into() };
        let body = replica_message::Body::Committed(replica_message::Committed { commit: 0 });
        let message = v1::ReplicaMessage { from: Some(from), to: "w0".into(), epoch, body: Some(body) };
        let frames = [
            v1::PeerFrame { hello: Some(hello), messages: vec![] },
            v1::PeerFrame { hello: None, messages: vec![message] },
        ];
        let channel =
            Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap();
        // The connection breaks with the replica.
        let answers = ReplicationClient::new(channel).exchange(stream::iter(frames)).await;
        let Ok(answers) = answers else { return };
        let mut answers = answers.into_inner();
        while let Ok(Some(_)) = answers.message().await {}
    }

    /// Waits until the process is to end, and says why.
    async fn ends(&mut self) -> (String, WorkerServer) {
        let ended = tokio::time::timeout(ANEW_PAUSE * 2_u32.pow(ANEW_COUNT + 1), &mut self.ends).await;
        ended.expect("the process goes on").unwrap()
    }

    /// Halts the replica and waits until it is begun anew; how long that took.
    async fn halt(&mut self) -> Duration {
        let (epoch, before) = self.serves().await;
        self.contradict(epoch).await;
        let is_anew = |state: &WorkerState| matches!(state, WorkerState::BeginsAnew { .. });
        self.state.wait_for(is_anew).await.unwrap();
        let begun = Instant::now();
        self.state.wait_for(|state| !is_anew(state)).await.unwrap();
        let took = begun.elapsed();
        let (now, health) = self.serves().await;
        assert!(now > epoch, "an epoch is not led twice: {now} after {epoch}");
        assert_eq!(health.restarts, before.restarts + 1);
        took
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_halts_is_begun_anew_with_its_data_after_pauses_that_grow_and_at_last_ends_its_process()
 {
    let mut process = Process::start().await;
    let client = Client::connect(&format!("slotkv://{}", process.address)).await.unwrap();
    for round in 0..ANEW_COUNT {
        client.put(format!("k{round}"), "v").await.unwrap();
        let took = process.halt().await;
        let pause = ANEW_PAUSE * 2_u32.pow(round);
        assert!(took >= pause && took < pause + START_MAX, "{took:?} after {round} times, not {pause:?}");
    }
    for round in 0..ANEW_COUNT {
        assert_eq!(client.get(format!("k{round}")).await.unwrap().unwrap(), "v", "{round}");
    }
    let (epoch, health) = process.serves().await;
    assert_eq!(health.restarts, u64::from(ANEW_COUNT));
    process.contradict(epoch).await;
    let (why, _server) = process.ends().await;
    assert!(why.contains("halts") && why.contains("leads epoch"), "{why}");
    assert!(!matches!(*process.state.borrow(), WorkerState::BeginsAnew { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_has_run_for_a_while_is_begun_anew_as_if_it_never_had_been() {
    let mut process = Process::start().await;
    for _ in 0..3 {
        process.halt().await;
    }
    assert!(process.halt().await >= ANEW_PAUSE * 8);
    tokio::time::sleep(ANEW_FORGOTTEN).await;
    assert!(process.halt().await < ANEW_PAUSE * 8);
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_ends_the_process_and_nothing_is_begun_anew() {
    let mut process = Process::start().await;
    let client = Client::connect(&format!("slotkv://{}", process.address)).await.unwrap();
    client.put("before", "v").await.unwrap();
    process.disk.fail_sync(0);
    let writing = tokio::spawn(async move { client.put("lost", "v").await });
    let (why, server) = process.ends().await;
    assert!(why.contains("sync"), "{why}");
    let WorkerState::Runs { shard, .. } = process.state.borrow().clone() else { panic!("begun anew") };
    assert_eq!(shard.upgrade().unwrap().standing().borrow().health.restarts, 0);
    server.shutdown(Duration::from_secs(1)).await;
    assert!(writing.await.unwrap().is_err(), "a write whose sync has failed is not acknowledged");
}
