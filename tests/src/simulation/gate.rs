//! Gate: watches one hand-over, the first that is planned once it is armed, and holds the step at which a fault is to come. Parties tell it what
//! they reach (`slotkv_migration::failpoint`); what a leader does it sees on the way to the coordinator and back.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use slotkv_coordination::{
    Op,
    embedded::Faults,
    paths,
    registers::{Register, Slots},
};
use slotkv_migration::{Id, Outcome, Step};
use slotkv_proto::table::ShardId;
use tokio::sync::watch;

use super::net::Net;

/// The hand-over that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Which.
    pub id: u64,
    /// Who gives.
    pub source: ShardId,
    /// Who gets.
    pub target: ShardId,
}

/// See above.
pub struct Gate {
    step: Step,
    net: Arc<Net>,
    state: Mutex<State>,
    is_hit: watch::Sender<bool>,
    is_open: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    is_armed: bool,
    chosen: Option<Chosen>,
    seen: BTreeSet<Step>,
    /// Links that are cut once the source has sealed, so that the hand-over has to be aborted.
    cuts: Vec<(String, String)>,
}

impl Gate {
    /// One that waits for `step`.
    pub fn new(step: Step, net: Arc<Net>) -> Self {
        let (is_hit, is_open) = (watch::Sender::new(false), watch::Sender::new(false));
        Self { step, net, state: Mutex::default(), is_hit, is_open }
    }

    /// The next hand-over that is planned is the one. If it is to be aborted, these links are cut once it is sealed.
    pub fn arm(&self, links: Vec<(String, String)>) {
        let mut state = self.state.lock();
        state.is_armed = true;
        if self.step.outcome() == Outcome::Aborted {
            state.cuts = links;
        }
    }

    /// Which it is, if it is planned.
    pub fn chosen(&self) -> Option<Chosen> {
        self.state.lock().chosen
    }

    /// Steps of it that were reached so far.
    pub fn seen(&self) -> BTreeSet<Step> {
        self.state.lock().seen.clone()
    }

    /// Until the step is reached.
    pub async fn hit(&self) {
        let mut hit = self.is_hit.subscribe();
        let _ = hit.wait_for(|hit| *hit).await;
    }

    /// Whoever stands at the gate goes on.
    pub fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// The links of the two shards are whole again.
    pub fn mend(&self) {
        let cuts = std::mem::take(&mut self.state.lock().cuts);
        cuts.iter().for_each(|(from, to)| self.net.mend(from, to));
    }

    /// A party has reached a step.
    pub fn reached(&self, step: Step, id: Id) {
        let mut state = self.state.lock();
        if state.chosen.is_none_or(|chosen| chosen.id != id.0) {
            return;
        }
        state.seen.insert(step);
        if step == Step::SealAppended {
            state.cuts.iter().for_each(|(from, to)| self.net.cut(from, to));
        }
        drop(state);
        if step == self.step {
            self.is_hit.send_replace(true);
        }
    }

    /// A master is about to write this. If that is the step, it stands here until the fault has come.
    pub async fn before(&self, ops: &[Op]) {
        let Some((step, id)) = ops.iter().find_map(|op| self.sends(op)) else { return };
        self.reached(step, id);
        self.stand(step).await;
    }

    /// A master has written something. If that is the step, it stands here without knowing what came of it.
    pub async fn after(&self, coordinator: &Faults) {
        let Some(slots) = coordinator.look(paths::SLOTS).and_then(decoded) else { return };
        for step in self.take(&slots) {
            if let Some(chosen) = self.chosen() {
                self.reached(step, Id(chosen.id));
                self.stand(step).await;
            }
        }
    }

    async fn stand(&self, step: Step) {
        if step == self.step {
            let mut open = self.is_open.subscribe();
            let _ = open.wait_for(|open| *open).await;
        }
    }

    /// The decision that a write asks for.
    fn sends(&self, op: &Op) -> Option<(Step, Id)> {
        let Op::Set { path, data, .. } = op else { return None };
        if path != paths::SLOTS {
            return None;
        }
        let id = self.chosen()?.id;
        let slots = decoded(data.clone())?;
        let step = match slots.migration(id)?.outcome? {
            Outcome::Moved => Step::SwitchSent,
            Outcome::Aborted => Step::AbortSent,
        };
        let is_taken = self.has([Step::SwitchTaken, Step::AbortTaken]);
        (!is_taken).then_some((step, Id(id)))
    }

    fn has(&self, steps: [Step; 2]) -> bool {
        let state = self.state.lock();
        steps.iter().any(|step| state.seen.contains(step))
    }

    /// What the table says about it that it has not said before.
    fn take(&self, slots: &Slots) -> Vec<Step> {
        let mut state = self.state.lock();
        let Some(chosen) = state.chosen else {
            let planned = slots.migrations.iter().find(|_| state.is_armed);
            state.chosen = planned.map(|it| Chosen { id: it.id, source: it.source, target: it.target });
            return planned.map(|_| Step::Planned).into_iter().collect();
        };
        let step = match slots.migration(chosen.id).map(|migration| migration.outcome) {
            Some(None) => return Vec::new(),
            Some(Some(Outcome::Moved)) => Step::SwitchTaken,
            Some(Some(Outcome::Aborted)) => Step::AbortTaken,
            None if state.seen.contains(&Step::AbortTaken) => Step::AbortClosed,
            None => Step::Closed,
        };
        let is_news = !state.seen.contains(&step);
        drop(state);
        if step == Step::AbortTaken {
            self.mend();
        }
        is_news.then_some(step).into_iter().collect()
    }
}

fn decoded(data: Bytes) -> Option<Slots> {
    Slots::decode(paths::SLOTS, &data).ok()
}
