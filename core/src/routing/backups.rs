//! Which replica answers a read that the primary need not answer.
//!
//! A backup is connected to when such a read first comes, so who wants none of them pays for none. Of two that are drawn the
//! one wins that is quicker, as measured, with what is on its way to it; those of the client's zone are preferred to all
//! others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slotkv_proto::table::Member;

use super::{Routing, Snapshot, snapshot::Shard};
use crate::connection::{Lane, Standing};

/// See the module. Snapshots share it, so that a connection that is made is found in those that come later.
pub(crate) struct Backup {
    pub member: Member,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lane: Option<Arc<Lane>>,
    /// It is no backup any more.
    left: bool,
}

impl Backup {
    pub fn new(member: Member) -> Self {
        Self { member, state: Mutex::default() }
    }

    /// The connection, if there is one.
    pub fn known(&self) -> Option<Arc<Lane>> {
        self.lock().lane.clone()
    }

    /// The connection, made if there is none; `None` once it has left.
    fn lane(&self, make: impl FnOnce() -> Arc<Lane>) -> Option<Arc<Lane>> {
        let mut state = self.lock();
        if state.left {
            return None;
        }
        Some(state.lane.get_or_insert_with(make).clone())
    }

    /// It is no backup any more; the connection, which is the caller's now.
    pub fn leave(&self) -> Option<Arc<Lane>> {
        let mut state = self.lock();
        state.left = true;
        state.lane.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Routing {
    /// The replica that a read of these slots goes to, not by the connection `avoided` if there is another one. `None` if there is
    /// no choice: then the primary is asked.
    pub fn replica<'s>(
        &self,
        snapshot: &'s Snapshot,
        slots: (u16, u16),
        avoided: Option<u64>,
    ) -> Option<(&'s Shard, Arc<Lane>)> {
        let shard = snapshot.owner(slots).ok()?;
        if shard.backups.is_empty() || *self.stop.borrow() {
            return None;
        }
        let primary = shard.primary.as_ref().map(|primary| primary.lane(slots.0).clone());
        let backups = shard.backups.iter().filter_map(|backup| {
            backup.lane(|| {
                let lane = self.make_lane(shard.id, backup.member.clone(), shard.heard.clone());
                lane.stamp(snapshot.table.version(), shard.epoch);
                lane
            })
        });
        let lanes = primary.into_iter().chain(backups).filter(|lane| Some(lane.number) != avoided);
        let mut standings: Vec<(Standing, Arc<Lane>)> =
            lanes.map(|lane| (lane.standing(), lane)).filter(|(standing, _)| standing.usable).collect();
        let near = standings.iter().filter(|(standing, _)| standing.near).count();
        if near > 0 {
            standings.retain(|(standing, _)| standing.near);
        }
        let drawn = |standings: &mut Vec<(Standing, Arc<Lane>)>| match standings.len() {
            0 => None,
            count => Some(standings.swap_remove(self.setup.context.chance.below(count as u64) as usize)),
        };
        let first = drawn(&mut standings)?;
        let best = match drawn(&mut standings) {
            Some(second) if second.0.cost < first.0.cost => second,
            _ => first,
        };
        Some((shard, best.1))
    }
}
