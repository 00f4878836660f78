//! How many keys a range has.

use futures_util::{StreamExt, TryStreamExt, stream};
use slotkv_proto::{Code, v1};
use tokio::time::Instant;

use crate::{
    Client, Range, Result,
    cursor::Position,
    walk::{PLANS_MAX, Walk, slots_of},
    wire::unexpected,
};

/// Parts of a count that are under way at once.
pub(crate) const COUNTS_AT_ONCE_MAX: usize = 64;

impl Client {
    /// How many keys a range has. Keys that are written meanwhile may be counted or not.
    pub async fn count(&self, range: Range) -> Result<u64> {
        self.count_keys(range, self.traceparent()).await
    }

    pub(crate) async fn count_keys(&self, range: Range, traceparent: &str) -> Result<u64> {
        range.check()?;
        let end = Instant::now() + self.deadline();
        let (mut slot, last) = slots_of(&range, self.slots());
        let snapshot = self.snapshot();
        let mut runs = Vec::new();
        loop {
            let run_end = snapshot.run_end(slot).min(last);
            runs.push((slot, run_end));
            if run_end == last {
                break;
            }
            slot = run_end + 1;
        }
        drop(snapshot);
        let range = &range;
        let counts = runs.into_iter().map(|run| self.count_slots(range, run, end, traceparent));
        stream::iter(counts)
            .buffer_unordered(COUNTS_AT_ONCE_MAX)
            .try_fold(0u64, |sum, count| async move { Ok(sum.saturating_add(count)) })
            .await
    }

    async fn count_slots(
        &self,
        range: &Range,
        (first, last): (u16, u16),
        end: Instant,
        traceparent: &str,
    ) -> Result<u64> {
        let mut walk = Walk::new(Position { slot: first, key: Default::default() }, last);
        let (mut sum, mut plans) = (0u64, 0);
        while !walk.done {
            let (request, covered) = walk.request(range, v1::Operation::Count, &self.snapshot());
            let left = end.saturating_duration_since(Instant::now());
            let reply = match self.send(request, left, traceparent).await {
                Err(error) if error.code == Code::Moved && plans < PLANS_MAX => {
                    plans += 1;
                    continue;
                }
                reply => reply?,
            };
            let number = u64::try_from(reply.number).ok().filter(|_| reply.status() == v1::Status::Counted);
            sum = sum.saturating_add(number.ok_or_else(|| unexpected(v1::Operation::Count, &reply))?);
            walk.advance(covered, &reply)?;
        }
        Ok(sum)
    }
}
