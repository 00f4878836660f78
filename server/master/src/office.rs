//! The leader's office: what it may do, and the epoch that fences it.
//!
//! Invariants:
//! - An [`Office`] is taken by one write that needs the leader's place in the queue to exist and increments
//!   `/master_epoch`.
//! - Every write of a leader goes through [`Office::write`], which does it only while `/master_epoch` is still the one
//!   of this office. A leader that does not know yet that it has been replaced changes nothing.
//! - `/cluster` and `/slots` are created once, whoever leads; `/slots` is changed by the mover alone, one version at a time.
//! - A shard's register is the shard's own. A leader changes in it only what operators wish for, by compare-and-set.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use slotkv_coordination::{
    Error, Expect, Mode, Op, OpResult, Session, paths,
    registers::{Cluster, Holds, MasterEpoch, Register, ShardRegister, Slots},
};
use slotkv_proto::{
    seam::Chance,
    table::{ShardId, UNALLOCATED},
};

use crate::{
    options::MasterOptions,
    placement::{self, PlacementError},
};

/// The right to write as the leader, and its fence.
pub(crate) struct Office {
    session: Arc<dyn Session>,
    place: String,
    epoch: u64,
    version: u64,
    /// The cluster's register has been compared with this master's options.
    is_compared: AtomicBool,
}

/// Why the leader's work stopped.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum OfficeError {
    /// Another master has taken office.
    #[error("another master leads")]
    Deposed,
    /// The coordinator's answer.
    #[error(transparent)]
    Coordinator(#[from] Error),
    /// The slots cannot be given out.
    #[error("the slots cannot be given out: {0}")]
    Placement(#[from] PlacementError),
}

/// How far the cluster has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The slots wait for more shards to register.
    Waiting,
    /// Every slot has an owner.
    Allocated,
}

impl Office {
    /// Takes office for the place that is the first of the queue. Another master's attempt in between ends in an
    /// error, and so does an unknown outcome; taking office again then costs an epoch and nothing else.
    pub(crate) async fn take(session: Arc<dyn Session>, place: String) -> Result<Self, OfficeError> {
        session.sync(paths::MASTER_EPOCH).await?;
        let known = session.get(paths::MASTER_EPOCH).await?;
        let (epoch, step) = match &known {
            Some(node) => {
                let epoch = MasterEpoch::decode(paths::MASTER_EPOCH, &node.data)?.epoch + 1;
                let data = MasterEpoch { epoch }.encode()?;
                (epoch, Op::set(paths::MASTER_EPOCH, data, Expect::Version(node.version)))
            }
            None => {
                let data = MasterEpoch { epoch: 1 }.encode()?;
                (1, Op::create(paths::MASTER_EPOCH, data, Mode::Persistent))
            }
        };
        // A place is written once, so its version is 0 for as long as it exists.
        let results = session.multi(vec![Op::check(&place, 0), step]).await?;
        let version = results.last().and_then(OpResult::version).unwrap_or(0);
        Ok(Self { session, place, epoch, version, is_compared: AtomicBool::new(false) })
    }

    /// The master epoch of this office.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Does what there is to do: founds the cluster, gives out the slots. Safe to repeat at any time.
    pub(crate) async fn attend(
        &self,
        options: &MasterOptions,
        chance: &dyn Chance,
    ) -> Result<Progress, OfficeError> {
        self.session.sync("/").await?;
        let cluster = self.found(options, chance).await?;
        if !self.is_compared.swap(true, Ordering::Relaxed) {
            warn_of_differences(&cluster, options);
        }
        self.allocate(&cluster).await
    }

    /// Writes a shard's register, if it still is in this version.
    pub(crate) async fn edit(
        &self,
        shard: ShardId,
        register: &ShardRegister,
        version: u64,
    ) -> Result<(), OfficeError> {
        let data = register.encode()?;
        self.write(vec![Op::set(paths::shard(shard), data, Expect::Version(version))]).await
    }

    /// The session of this office.
    pub(crate) fn session(&self) -> &dyn Session {
        &*self.session
    }

    /// The slots as they are now, and their node's version; `None`: they have not been given out.
    pub(crate) async fn slots(&self) -> Result<Option<(Slots, u64)>, OfficeError> {
        self.read(paths::SLOTS).await
    }

    /// A shard as it is now.
    pub(crate) async fn shard(&self, shard: ShardId) -> Result<Option<(ShardRegister, u64)>, OfficeError> {
        self.read(&paths::shard(shard)).await
    }

    /// What is cancelled, now.
    pub(crate) async fn holds(&self) -> Result<Option<(Holds, u64)>, OfficeError> {
        self.read(paths::HOLDS).await
    }

    /// Puts other holds in the place of those of this version.
    pub(crate) async fn set_holds(&self, holds: &Holds, version: Option<u64>) -> Result<(), OfficeError> {
        self.put(paths::HOLDS, holds, version).await
    }

    /// Writes a register whose node has this version, or none yet.
    pub(crate) async fn put(
        &self,
        path: &str,
        register: &impl Register,
        version: Option<u64>,
    ) -> Result<(), OfficeError> {
        let data = register.encode()?;
        let op = match version {
            Some(version) => Op::set(path, data, Expect::Version(version)),
            None => Op::create(path, data, Mode::Persistent),
        };
        self.write(vec![op]).await
    }

    async fn read<R: Register>(&self, path: &str) -> Result<Option<(R, u64)>, OfficeError> {
        self.session.sync(path).await?;
        let Some(node) = self.session.get(path).await? else { return Ok(None) };
        Ok(Some((R::decode(path, &node.data)?, node.version)))
    }

    /// The only way in which a leader writes: all of it or nothing.
    pub(crate) async fn write(&self, ops: Vec<Op>) -> Result<(), OfficeError> {
        let fence = Op::check(paths::MASTER_EPOCH, self.version);
        match self.session.multi([vec![fence], ops].concat()).await {
            Ok(_) => Ok(()),
            Err(Error::BadVersion { path } | Error::NoNode { path }) if path == paths::MASTER_EPOCH => {
                Err(OfficeError::Deposed)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The cluster's register, created if there is none.
    async fn found(&self, options: &MasterOptions, chance: &dyn Chance) -> Result<Cluster, OfficeError> {
        if let Some(node) = self.session.get(paths::CLUSTER).await? {
            return Ok(Cluster::decode(paths::CLUSTER, &node.data)?);
        }
        let cluster = Cluster {
            cluster_id: format!("{:016x}{:016x}", chance.next_u64(), chance.next_u64()),
            slot_count: u32::from(options.slot_count.get()),
            shards_announced: options.shards_announced,
            placement: options.placement.clone(),
        };
        self.put(paths::CLUSTER, &cluster, None).await?;
        tracing::info!(cluster_id = cluster.cluster_id, slots = cluster.slot_count, "cluster founded");
        Ok(cluster)
    }

    /// Gives out the slots, once in the life of a cluster, when the announced shards have registered.
    async fn allocate(&self, cluster: &Cluster) -> Result<Progress, OfficeError> {
        if self.session.get(paths::SLOTS).await?.is_some() {
            return Ok(Progress::Allocated);
        }
        let weights = self.ready_shards().await?;
        if weights.len() < cluster.shards_announced as usize {
            return Ok(Progress::Waiting);
        }
        let nobody = vec![UNALLOCATED; usize::from(cluster.slots()?.get())];
        let owners = placement::by_name(&cluster.placement)?.plan(&weights, &nobody)?;
        let slots = Slots { version: 1, owners: placement::runs(&owners), ..Slots::default() };
        self.put(paths::SLOTS, &slots, None).await?;
        tracing::info!(shards = weights.len(), placement = cluster.placement, "slots given out");
        Ok(Progress::Allocated)
    }

    /// The weights of the shards that have registered, can be used and have a primary.
    async fn ready_shards(&self) -> Result<BTreeMap<ShardId, f64>, OfficeError> {
        let mut weights = BTreeMap::new();
        for name in self.session.children(paths::SHARDS).await? {
            let path = format!("{}/{name}", paths::SHARDS);
            let Some(shard) = paths::shard_of(&path) else { continue };
            let Some(node) = self.session.get(&path).await? else { continue };
            match ShardRegister::decode(&path, &node.data) {
                Ok(register) if register.primary.is_some() => drop(weights.insert(shard, register.weight)),
                Ok(_) => {}
                // The others need not wait for it. The status of the cluster names it.
                Err(error) => tracing::debug!(path, %error, "a shard that cannot be used gets no slots"),
            }
        }
        Ok(weights)
    }

    /// Whether this is still the office of the leading master, as far as the coordinator knows.
    pub(crate) async fn confirm(&self) -> Result<(), OfficeError> {
        let place = self.session.get(&self.place).await?;
        let epoch = self.session.get(paths::MASTER_EPOCH).await?;
        let is_held = place.is_some() && epoch.is_some_and(|node| node.version == self.version);
        if is_held { Ok(()) } else { Err(OfficeError::Deposed) }
    }
}

/// Options that differ from what the cluster was founded with have no effect, which nobody should have to guess.
fn warn_of_differences(cluster: &Cluster, options: &MasterOptions) {
    let ours = (u32::from(options.slot_count.get()), options.shards_announced, options.placement.as_str());
    let founded = (cluster.slot_count, cluster.shards_announced, cluster.placement.as_str());
    if ours != founded {
        tracing::warn!(
            ?ours,
            ?founded,
            "slots, shards and placement differ from what the cluster was founded with, which is what counts"
        );
    }
}
