//! Reports: what this shard tells the leader about its hand-overs, by the coordinator. The newest of each hand-over counts; the
//! party says again from time to time what still holds, so what cannot be written is left out.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use slotkv_coordination::{
    Session,
    report::{self, HandoverReport},
};
use slotkv_migration::{Id, Report};
use slotkv_proto::table::ShardId;

use crate::runner::Runner;

/// A hand-over in numbers, as one side's primary knows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Sent by the source, or logged by the target.
    pub bytes: u64,
    /// Missing at the target, as far as the source knows.
    pub behind_bytes: u64,
    /// When the source sealed the slots, if it was this process.
    pub sealed_us: Option<u64>,
    /// From there until it was known here who serves them.
    pub pause_us: u64,
}

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
    pub fn tell(
        &self,
        runner: &Runner,
        session: &Arc<dyn Session>,
        epoch: u64,
        report: Report,
        known: &Figures,
    ) {
        let Report { id, is_source, said } = report;
        let report = HandoverReport {
            shard: self.shard,
            epoch,
            run: self.run.clone(),
            id: id.0,
            is_source,
            said,
            sent_bytes: known.bytes,
            behind_bytes: known.behind_bytes,
            pause_us: known.pause_us,
        };
        let mut state = self.state.lock();
        state.waiting.insert((id, is_source), report);
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
