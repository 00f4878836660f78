//! Nemesis: kills a worker, mostly a primary, or the leading master, and starts it again; then waits until the cluster is
//! whole, so that there is always one to kill.

use std::{sync::Arc, time::Duration};

use slotkv::Client;
use tokio::time::{Instant, sleep};

use super::{timeline::Timeline, whole};
use crate::{bench::chance::Chance, dev::Dev};

/// Longest time between two steps; the shortest is a fourth of it.
const STEP_MS_MAX: u64 = 2_000;

/// Who is killed, and what of it is down now.
pub(super) struct Nemesis {
    /// `None`: somebody else's cluster, in which nobody is killed.
    dev: Option<Dev>,
    chance: Chance,
    timeline: Arc<Timeline>,
    worker: Option<usize>,
    master: Option<usize>,
    workers: u64,
    masters: u64,
}

impl Nemesis {
    pub fn new(dev: Option<Dev>, seed: u64, timeline: Arc<Timeline>) -> Self {
        Self { dev, chance: Chance::new(!seed), timeline, worker: None, master: None, workers: 0, masters: 0 }
    }

    /// Whether the cluster is the drill's own.
    pub fn is_own(&self) -> bool {
        self.dev.is_some()
    }

    /// Workers and masters killed so far.
    pub fn kills(&self) -> (u64, u64) {
        (self.workers, self.masters)
    }

    /// Until the deadline.
    pub async fn run(&mut self, client: &Client, deadline: Instant) {
        if self.dev.is_none() {
            self.timeline
                .tell("this cluster is not the drill's own: whoever is to be killed is killed by others");
        }
        while Instant::now() < deadline {
            self.pause(deadline).await;
            if self.dev.is_none() || Instant::now() >= deadline {
                continue;
            }
            match self.chance.below(3) {
                0 => self.kill_master(client).await,
                _ => self.kill_worker(client).await,
            }
            self.pause(deadline).await;
            self.restart_all().await;
            if let Err(error) = whole(client, true).await {
                self.timeline.tell(&format!("the cluster is not whole again: {error}"));
                return;
            }
        }
    }

    async fn pause(&mut self, deadline: Instant) {
        let pause = Duration::from_millis(STEP_MS_MAX / 4 + self.chance.below(STEP_MS_MAX * 3 / 4));
        tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
    }

    /// Two of three times the primary of a shard, else any worker.
    async fn kill_worker(&mut self, client: &Client) {
        let (Some(dev), Ok(status)) = (&mut self.dev, client.status().await) else { return };
        let shard = &status.shards[self.chance.below(status.shards.len() as u64) as usize];
        let (name, role) = match self.chance.below(3) {
            0 => {
                let copy = self.chance.below(shard.copies.len() as u64) as usize;
                (&shard.copies[copy].name, "a replica")
            }
            _ => (&shard.primary, "the primary"),
        };
        let Some(index) = dev.worker_named(name) else { return };
        self.timeline.tell(&format!("kills {name}, {role} of shard {}", shard.shard));
        if dev.kill_worker(index).await.is_ok() {
            self.worker = Some(index);
            self.workers += 1;
        }
    }

    async fn kill_master(&mut self, client: &Client) {
        let (Some(dev), Ok(status)) = (&mut self.dev, client.status().await) else { return };
        let Some(leader) = status.masters.iter().find(|master| master.leader) else { return };
        let Some(index) = dev.master_at(&leader.address) else { return };
        self.timeline.tell(&format!("kills master {index}, the leader"));
        if dev.kill_master(index).await.is_ok() {
            self.master = Some(index);
            self.masters += 1;
        }
    }

    /// Starts whatever is down.
    pub async fn restart_all(&mut self) {
        let Some(dev) = &mut self.dev else { return };
        if let Some(index) = self.worker.take() {
            self.timeline.tell(&format!("starts {} again", dev.worker_name(index)));
            if let Err(error) = dev.restart_worker(index).await {
                self.timeline.tell(&format!("it does not start: {error}"));
                self.worker = Some(index);
                sleep(super::PAUSE).await;
            }
        }
        if let Some(index) = self.master.take() {
            self.timeline.tell(&format!("starts master {index} again"));
            if let Err(error) = dev.restart_master(index).await {
                self.timeline.tell(&format!("it does not start: {error}"));
                self.master = Some(index);
            }
        }
    }

    /// Ends the cluster, if it is the drill's own.
    pub async fn shutdown(self) {
        if let Some(dev) = self.dev {
            dev.shutdown().await;
        }
    }
}
