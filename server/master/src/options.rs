//! What a master is told at its start.

use std::time::Duration;

use slotkv_coordination::coordinator::SESSION_TIMEOUT_MIN;
use slotkv_migration::LeaderOptions;
use slotkv_proto::{SlotCount, limits::SHARDS_MAX};

use crate::placement::{self, PlacementError};

/// What a master is told at its start. What concerns the whole cluster counts only for the master that creates it;
/// afterwards the cluster's register decides.
#[derive(Clone, Debug)]
pub struct MasterOptions {
    /// `host:port` under which clients reach this master.
    pub advertise: String,
    /// Number of shards that must have registered before the slots are given out.
    pub shards_announced: u32,
    /// Number of slots of the cluster.
    pub slot_count: SlotCount,
    /// Name of the placement.
    pub placement: String,
    /// Bounds and times of hand-overs.
    pub hand_overs: LeaderOptions,
    /// How long the coordinator keeps this master's place after it was last heard of.
    pub session_timeout: Duration,
}

impl MasterOptions {
    /// Options with the defaults: 1024 slots, weighted placement, a session timeout of 5 s.
    pub fn new(advertise: impl Into<String>, shards_announced: u32) -> Self {
        Self {
            advertise: advertise.into(),
            shards_announced,
            slot_count: SlotCount::default(),
            placement: placement::DEFAULT.to_owned(),
            hand_overs: LeaderOptions::default(),
            session_timeout: Duration::from_secs(5),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), OptionsError> {
        if self.shards_announced == 0 || self.shards_announced as usize > SHARDS_MAX {
            return Err(OptionsError::Shards(self.shards_announced));
        }
        if self.advertise.is_empty() || self.advertise.len() > ADVERTISE_BYTES_MAX {
            return Err(OptionsError::Advertise(self.advertise.clone()));
        }
        if self.session_timeout < SESSION_TIMEOUT_MIN {
            return Err(OptionsError::SessionTimeout(self.session_timeout));
        }
        placement::by_name(&self.placement)?;
        Ok(())
    }
}

/// Longest advertised address: a host name of 253 bytes, a colon and a port.
const ADVERTISE_BYTES_MAX: usize = 259;

/// Options that no master can start with.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OptionsError {
    /// A cluster has at least one shard and at most as many as the limit says.
    #[error("{0} shards are announced; a cluster has 1 to {SHARDS_MAX}")]
    Shards(u32),
    /// Clients could not reach that.
    #[error("{0:?} is no host:port of 1 to {ADVERTISE_BYTES_MAX} bytes to advertise")]
    Advertise(String),
    /// The coordinator cannot watch a session so closely.
    #[error("a session timeout of {0:?} is below {SESSION_TIMEOUT_MIN:?}")]
    SessionTimeout(Duration),
    /// The placement is unknown.
    #[error(transparent)]
    Placement(#[from] PlacementError),
}
