//! What a member tells when it is asked.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use slotkv_coordination::{View, registers::Health};
use slotkv_master::{Movement, SHARD_STATES, Standing};
use slotkv_proto::table::ShardId;
use slotkv_worker::{Standby, measure, shard::Shard};
use tokio::sync::watch;

use super::page::{Labels, Metric, Sample};

/// How long a replica may take to answer. It is asked in turn with everything else that it does; what it does not say in
/// time is left out.
const ASK_MAX: Duration = Duration::from_secs(1);
/// What a worker is while no replica runs in it.
const STANDS_BY: &str = "stands_by";
const BEGINS_ANEW: &str = "begins_anew";

/// A member that can be asked.
#[derive(Clone)]
pub enum Source {
    /// A worker.
    Worker(watch::Receiver<WorkerState>),
    /// A master.
    Master {
        /// As it advertises itself.
        address: String,
        /// The cluster as it sees it.
        view: watch::Receiver<Arc<View>>,
        /// What it is.
        standing: watch::Receiver<Standing>,
        /// How far its hand-overs are.
        movement: watch::Receiver<Arc<Movement>>,
    },
}

/// What runs in a worker.
#[derive(Clone)]
pub enum WorkerState {
    /// Nothing: it waits for a place.
    StandsBy {
        /// Its name.
        name: String,
        /// The cluster as it sees it.
        view: watch::Receiver<Arc<View>>,
    },
    /// A replica.
    Runs {
        /// Which; it is not kept from ending.
        shard: Weak<Shard>,
        /// The cluster as it sees it.
        view: watch::Receiver<Arc<View>>,
    },
    /// Nothing: its replica is begun anew.
    BeginsAnew {
        /// Of which shard.
        shard: ShardId,
        /// Its name.
        name: String,
        /// What it has counted.
        health: Health,
    },
}

impl Source {
    /// A worker that waits for a place.
    pub fn standby(standby: &Standby) -> Self {
        let state = WorkerState::StandsBy { name: standby.name().to_owned(), view: standby.view() };
        Self::Worker(watch::channel(state).1)
    }

    pub(super) async fn tell(&self) -> Vec<Sample> {
        match self {
            Source::Worker(state) => {
                let state = state.borrow().clone();
                tell_worker(state).await
            }
            Source::Master { address, view, standing, movement } => {
                let (view, standing) = (view.borrow().clone(), standing.borrow().clone());
                let movement = movement.borrow().clone();
                tell_master(address, &view, &standing, &movement)
            }
        }
    }
}

/// Samples of one member.
struct Telling {
    labels: Labels,
    samples: Vec<Sample>,
}

impl Telling {
    fn new(labels: Labels) -> Self {
        Self { labels, samples: Vec::new() }
    }

    fn tell(&mut self, metric: Metric, value: impl Into<u64>) {
        self.samples.push(Sample { metric, labels: self.labels.clone(), value: value.into() });
    }

    fn tell_with(&mut self, metric: Metric, label: (&'static str, &str), value: impl Into<u64>) {
        let mut labels = self.labels.clone();
        labels.push((label.0, label.1.to_owned()));
        self.samples.push(Sample { metric, labels, value: value.into() });
    }

    fn tell_standing(&mut self, word: &str) {
        let of_worker = [STANDS_BY, BEGINS_ANEW];
        for known in measure::STANDINGS.iter().chain(&of_worker) {
            self.tell_with(Metric::replica_standing, ("standing", *known), *known == word);
        }
    }

    fn tell_health(&mut self, health: &Health) {
        self.tell(Metric::replica_in_doubt, !health.trouble.is_empty());
        self.tell(Metric::replica_checks, health.checks);
        self.tell(Metric::replica_different_copies, health.different);
        self.tell(Metric::replica_rotten_slots, health.rotten_slots);
        self.tell(Metric::replica_copies_begun, health.copies_begun);
        self.tell(Metric::replica_copies_installed, health.copies_installed);
        self.tell(Metric::replica_restarts, health.restarts);
    }
}

/// A standby belongs to no shard: its label is empty.
fn of_replica(shard: Option<ShardId>, name: &str) -> Telling {
    let shard = shard.map_or_else(String::new, |shard| shard.to_string());
    Telling::new(vec![("shard", shard), ("replica", name.to_owned())])
}

async fn tell_worker(state: WorkerState) -> Vec<Sample> {
    let (shard, view) = match state {
        WorkerState::StandsBy { name, view } => {
            let mut telling = of_replica(None, &name);
            telling.tell(Metric::coordinator_connected, view.borrow().connected);
            telling.tell_standing(STANDS_BY);
            telling.tell(Metric::replica_leads, false);
            return telling.samples;
        }
        WorkerState::BeginsAnew { shard, name, health } => {
            let mut telling = of_replica(Some(shard), &name);
            telling.tell_standing(BEGINS_ANEW);
            telling.tell(Metric::replica_leads, false);
            telling.tell_health(&health);
            return telling.samples;
        }
        WorkerState::Runs { shard, view } => (shard, view),
    };
    let Some(shard) = shard.upgrade() else { return Vec::new() };
    let mut telling = of_replica(Some(shard.id()), &shard.member().name);
    let view = view.borrow().clone();
    telling.tell(Metric::coordinator_connected, view.connected);
    let stand = shard.standing().borrow().clone();
    telling.tell_standing(measure::word(&stand.standing));
    telling.tell(Metric::replica_leads, shard.check_serving().is_ok());
    telling.tell(Metric::replica_applied_index, shard.applied().index);
    telling.tell(Metric::replica_shown_index, shard.applied_index());
    telling.tell_health(&stand.health);
    if let Some(known) = view.shards.get(&shard.id()) {
        let register = &known.register;
        telling.tell(Metric::shard_replicas_in_sync, register.isr.len() as u64);
        telling.tell(Metric::shard_replicas_wanted, register.replicas);
        telling.tell(Metric::shard_replicas_needed, register.min_isr);
    }
    let asked = shard.measure();
    // Whoever waits here keeps nothing of it alive.
    drop(shard);
    if let Ok(Ok(measures)) = tokio::time::timeout(ASK_MAX, asked).await {
        telling.tell(Metric::replica_epoch, measures.epoch);
        telling.tell(Metric::replica_commit_index, measures.commit_index);
        telling.tell(Metric::replica_last_index, measures.last_index);
        telling.tell(Metric::replica_log_bytes, measures.log_bytes);
    }
    telling.samples
}

fn tell_master(address: &str, view: &View, standing: &Standing, movement: &Movement) -> Vec<Sample> {
    let status = slotkv_master::admin::status(view, standing, address);
    let mut telling = Telling::new(vec![("master", address.to_owned())]);
    telling.tell(Metric::coordinator_connected, view.connected);
    telling.tell(Metric::master_leads, standing.leads());
    telling.tell(Metric::master_epoch, status.master_epoch);
    telling.tell(Metric::table_version, status.table_version);
    telling.tell(Metric::masters_live, status.masters.len() as u64);
    telling.tell(Metric::members_live, status.members.iter().filter(|member| member.live).count() as u64);
    let gone = view.known.values().filter(|known| !known.left && view.member(&known.member.name).is_none());
    telling.tell(Metric::members_gone, gone.count() as u64);
    for state in SHARD_STATES {
        let count = status.shards.iter().filter(|shard| shard.state == state).count() as u64;
        let word = state.replace([' ', '-'], "_");
        telling.tell_with(Metric::shards, ("state", word.as_str()), count);
    }
    telling.tell(Metric::hand_overs_open, view.slots.migrations.len() as u64);
    if standing.leads() {
        let left: usize = movement.left.iter().map(|one| one.slots).sum();
        telling.tell(Metric::slots_to_move, left as u64);
        telling.tell(Metric::slots_moved, movement.totals.slots);
        telling.tell(Metric::slot_bytes_moved, movement.totals.bytes);
        telling.tell(Metric::hand_overs_aborted, movement.totals.aborted);
    }
    telling.samples
}
