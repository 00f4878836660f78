//! Reports: what this shard tells the leader about its hand-overs, by the coordinator. The newest of each hand-over counts; the
//! party says again from time to time what still holds, so what cannot be written is left out.

use std::{
    collections::BTreeMap,
    sync::Arc,
};

use parking_lot::Mutex;
use slotkv_coordination::{
    Session,
    report::{self, HandoverReport},
};
use slotkv_migration::{Id, Report};
use slotkv_proto::table::ShardId;

use crate::runner::Runner;

/// Writes reports, one after the other.
#[derive(Clone)]
pub struct Reporter {
    shard: ShardId,
    run: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// By hand-over and side. There are as many at most as hand-overs are open.
    waiting: BTreeMap<(Id, bool), HandoverReport>,
    is_writing: bool,
}

impl Reporter {
    /// Reports of a shard's process.
    pub fn new(shard: ShardId, run: String) -> Self {
        Self { shard, run, state: Arc::default() }
    }

    /// Writes a report soon, unless a newer one comes before.
    pub fn tell(&self, runner: &Runner, session: &Arc<dyn Session>, epoch: u64, report: Report) {
        let key = (report.id, report.is_source);
        let report = HandoverReport::new(self.shard, epoch, self.run.clone(), report);
        let mut state = self.state.lock();
        state.waiting.insert(key, report);
        if std::mem::replace(&mut state.is_writing, true) {
            return;
        }
        drop(state);
        let (own, session) = (self.clone(), session.clone());
        runner.errand(async move { own.write(&*session).await });
    }

    async fn write(&self, session: &dyn Session) {
        while let Some(report) = self.next() {
            if let Err(error) = report::write(session, &report).await {
                tracing::debug!(%error, "cannot report how a hand-over stands");
            }
        }
    }

    fn next(&self) -> Option<HandoverReport> {
        let mut state = self.state.lock();
        let next = state.waiting.pop_first().map(|(_, report)| report);
        state.is_writing = next.is_some();
        next
    }
}
