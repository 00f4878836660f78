//! A cluster's masters on an embedded coordinator, in virtual time.
#![allow(dead_code)]

pub mod meddler;

use std::{sync::Arc, time::Duration};

use slotkv_coordination::{
    Coordinator, Embedded, Expect, Mode, Session, SessionId, View,
    membership::join,
    paths,
    registers::{
        Ack, Cluster, Durability, MasterEpoch, MemberRecord, Primary, Register, Replica, Role, ShardRegister,
        Slots,
    },
};
use slotkv_master::{AdminService, Master, MasterOptions};
use slotkv_proto::{seam::SeededChance, table::ShardId};
use tokio::time::sleep;

/// How long the masters' sessions live on in silence.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a condition that has no event of its own is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Virtual time after which a condition is taken to be never met.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Virtual time after which a test that waits for something that never comes fails.
const TEST_MAX: Duration = Duration::from_secs(3600);

/// Runs a test in virtual time, on one thread.
pub fn run<F: Future<Output = ()>>(test: F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { tokio::time::timeout(TEST_MAX, test).await.expect("the test never ends") });
}

/// Masters that share a coordinator, and a look at the coordinator from outside.
pub struct Masters {
    pub coordinator: Embedded,
    pub outside: Arc<dyn Session>,
    pub masters: Vec<Master>,
}

impl Masters {
    /// No master yet.
    pub async fn none() -> Self {
        let coordinator = Embedded::new();
        let outside = coordinator.open(SESSION_TIMEOUT).await.unwrap();
        Self { coordinator, outside, masters: Vec::new() }
    }

    /// `count` masters, the first of which leads.
    pub async fn start(count: usize, shards_announced: u32) -> Self {
        let mut masters = Self::none().await;
        for number in 0..count {
            masters.add(options(number, shards_announced));
            masters.queue_is(number + 1).await;
        }
        masters.leads(0).await;
        masters
    }

    pub fn add(&mut self, options: MasterOptions) {
        self.add_on(Arc::new(self.coordinator.clone()), options);
    }

    /// Adds a master that sees the coordinator through another one.
    pub fn add_on(&mut self, coordinator: Arc<dyn Coordinator>, options: MasterOptions) {
        let chance = Arc::new(SeededChance::new(self.masters.len() as u64));
        self.masters.push(Master::start(options, coordinator, chance).unwrap());
    }

    /// What a master serves to operators.
    pub fn admin(&self, which: usize) -> AdminService {
        let master = &self.masters[which];
        let address = format!("127.0.0.1:{}", 7700 + which);
        AdminService::new(master.view(), master.standing(), master.operator(), master.movement(), address)
    }

    /// Waits until so many masters stand in the queue.
    pub async fn queue_is(&self, count: usize) {
        eventually(|| async { self.outside.children(paths::MASTERS).await.unwrap().len() == count }).await;
    }

    /// Waits until this master leads, and returns its epoch.
    pub async fn leads(&self, which: usize) -> u64 {
        let mut standing = self.masters[which].standing();
        standing.wait_for(|standing| standing.leads()).await.unwrap().epoch
    }

    /// Waits until this master does not lead.
    pub async fn stands_by(&self, which: usize) {
        let mut standing = self.masters[which].standing();
        standing.wait_for(|standing| !standing.leads()).await.unwrap();
    }

    /// The masters that call themselves leader.
    pub fn leaders(&self) -> Vec<usize> {
        (0..self.masters.len()).filter(|&which| self.masters[which].standing().borrow().leads()).collect()
    }

    /// The session of the master that stands at this place of the queue.
    pub async fn session_at(&self, place: usize) -> SessionId {
        let queue = self.outside.children(paths::MASTERS).await.unwrap();
        let path = format!("{}{}", paths::master_prefix(), queue[place]);
        self.outside.get(&path).await.unwrap().unwrap().owner.unwrap()
    }

    /// Waits for a view of this master.
    pub async fn view(&self, which: usize, wanted: impl Fn(&View) -> bool) -> Arc<View> {
        self.masters[which].view().wait_for(|view| wanted(view)).await.unwrap().clone()
    }

    /// Writes a shard's register from outside.
    pub async fn put_shard(&self, shard: ShardId, register: &ShardRegister) {
        let path = paths::shard(shard);
        match self.outside.get(&path).await.unwrap() {
            Some(_) => drop(self.outside.set(&path, register.encode().unwrap(), Expect::Any).await.unwrap()),
            None => {
                drop(self.outside.create(&path, register.encode().unwrap(), Mode::Persistent).await.unwrap())
            }
        }
    }

    /// Makes a process live from outside.
    pub async fn put_member(&self, name: &str, run: &str) {
        let member = MemberRecord {
            name: name.into(),
            run: run.into(),
            inc: "i".into(),
            role: Role::Worker,
            address: "127.0.0.1:7710".into(),
            shard: Some(0),
            zone: String::new(),
            standing: String::new(),
            since_ms: 0,
            health: Default::default(),
        };
        join(&*self.outside, &member).await.unwrap();
    }

    pub async fn slots(&self) -> Option<(Slots, u64)> {
        let node = self.outside.get(paths::SLOTS).await.unwrap()?;
        Some((Slots::decode(paths::SLOTS, &node.data).unwrap(), node.version))
    }

    pub async fn cluster(&self) -> Option<(Cluster, u64)> {
        let node = self.outside.get(paths::CLUSTER).await.unwrap()?;
        Some((Cluster::decode(paths::CLUSTER, &node.data).unwrap(), node.version))
    }

    pub async fn epoch(&self) -> u64 {
        match self.outside.get(paths::MASTER_EPOCH).await.unwrap() {
            Some(node) => MasterEpoch::decode(paths::MASTER_EPOCH, &node.data).unwrap().epoch,
            None => 0,
        }
    }
}

pub fn options(number: usize, shards_announced: u32) -> MasterOptions {
    MasterOptions {
        session_timeout: SESSION_TIMEOUT,
        ..MasterOptions::new(format!("127.0.0.1:{}", 7700 + number), shards_announced)
    }
}

/// The register of a shard that has a primary.
pub fn shard(weight: f64) -> ShardRegister {
    ShardRegister {
        epoch: 1,
        primary: Some(Primary { name: "w".into(), run: "r".into(), address: "127.0.0.1:7710".into() }),
        isr: vec![Replica {
            name: "w".into(),
            inc: "i".into(),
            run: "r".into(),
            address: "127.0.0.1:7710".into(),
        }],
        ack: Ack::All,
        min_isr: 1,
        replicas: 1,
        preferred: None,
        durability: Durability::Sync,
        weight,
        loss_epoch: 0,
        recover: None,
    }
}

/// Waits, in virtual time, for what has no event of its own.
pub async fn eventually<F: AsyncFn() -> bool>(condition: F) {
    let waited = tokio::time::timeout(WAIT_MAX, async {
        while !condition().await {
            sleep(LOOK_INTERVAL).await;
        }
    });
    waited.await.expect("what was waited for never came");
}
