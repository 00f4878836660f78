//! Keys that end: the shard's time, and the deletes that the primary logs of rows whose time is over (protocol.md rule 13).
//!
//! A deadline is a point of *logged time*. Whoever decides by the time, decides by a time that is logged with the decision
//! or was logged before: so no row that was once answered as gone is there again, whatever clocks say and whoever
//! leads. Scans alone go by the shard's time as it is.
//!
//! Deadlines lie in the engine beside the rows, in order of time, and change in the batch that changes their row. So what has ended is
//! found without a look at anything else, also after a restart, and rows without a deadline cost nothing.

use std::{
    ops::{Bound, ControlFlow},
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use slotkv_storage::{Batch, Effect, Engine, Error, Kind, LogRecord, Position, Row, keys, record};
use tokio::time::Instant;

use crate::replica::{Group, Replica};

/// Rows that one group lets end at most; the others are absent for readers all the same, and go with the next groups.
pub const EXPIRIES_PER_GROUP_MAX: usize = 1024;
/// Keys of rows that one group lets end, in bytes; one row is always let.
const EXPIRY_BYTES_MAX: usize = 1 << 20;
/// Deadlines that one group looks at, those of slots that are not served among them.
const DEADLINES_PER_GROUP_MAX: usize = 4 * EXPIRIES_PER_GROUP_MAX;
/// After so much logged time deadlines that were passed over are looked at again: rows of a slot that has come end so much late
/// at most, and are absent all the same.
const AGAIN_MS: u64 = 1_000;
/// Pause while more has ended than one group takes, or none can be logged.
const PAUSE: Duration = Duration::from_millis(10);
/// Wall clocks jump, so nobody waits for a deadline longer than this without a look at them.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// A wall clock that is further from the shard's time than this is worth a warning.
pub const DRIFT_MS_WARN: i64 = 10_000;

/// The time of a shard: not behind the wall clock, never back, and going on at the pace of the monotonic clock while the wall
/// clock is behind. So a wall clock that is set back holds up no deadline, and one that is set forward, or a new primary
/// whose clock is ahead, lets keys end too early by as much, once.
pub struct ShardTime {
    base: Instant,
    /// The shard's time less the monotonic one.
    offset_ms: AtomicI64,
    /// How far the wall clock was off when that was last told.
    told_ms: AtomicI64,
    /// The process has looked at the wall clock before.
    is_known: AtomicBool,
}

impl Default for ShardTime {
    fn default() -> Self {
        Self {
            base: Instant::now(),
            offset_ms: AtomicI64::new(0),
            told_ms: AtomicI64::new(0),
            is_known: AtomicBool::new(false),
        }
    }
}

impl ShardTime {
    /// The time now, with the wall clock at `wall_ms`; also for the logged time of another primary.
    pub fn at(&self, wall_ms: u64) -> u64 {
        let monotonic_ms = self.base.elapsed().as_millis() as i64;
        let wall_ms = wall_ms.min(i64::MAX as u64 / 2) as i64;
        let offset_ms = wall_ms - monotonic_ms;
        // Read first: the line stays in every core's cache.
        let before_ms = match self.offset_ms.load(Ordering::Acquire) {
            known if known >= offset_ms => known,
            _ => self.offset_ms.fetch_max(offset_ms, Ordering::AcqRel),
        };
        (before_ms.max(offset_ms) + monotonic_ms) as u64
    }

    /// The time as it goes on from what is known, without a look at a wall clock.
    pub fn known(&self) -> u64 {
        self.at(0)
    }

    /// As [`Self::at`], and says in the log when the wall clock jumps or is behind.
    pub fn watch(&self, wall_ms: u64) -> u64 {
        let monotonic_ms = self.base.elapsed().as_millis() as i64;
        let expected_ms = self.offset_ms.load(Ordering::Acquire) + monotonic_ms;
        let drift_ms = wall_ms.min(i64::MAX as u64 / 2) as i64 - expected_ms;
        let is_known = self.is_known.swap(true, Ordering::AcqRel);
        if drift_ms > DRIFT_MS_WARN && is_known {
            tracing::warn!(
                drift_ms,
                "the wall clock has gone forward; keys with a lifetime end earlier by as much"
            );
        }
        let behind_ms = drift_ms.min(0);
        let told_ms = self.told_ms.load(Ordering::Acquire);
        if (behind_ms - told_ms).abs() > DRIFT_MS_WARN {
            self.told_ms.store(behind_ms, Ordering::Release);
            if behind_ms < told_ms {
                tracing::warn!(
                    behind_ms = -behind_ms,
                    "the wall clock is behind the shard's time, which goes on without it"
                );
            }
        }
        self.at(wall_ms)
    }
}

/// Where the deadlines of a replica stand. Rows of slots that are not served (they are being handed over) end where they
/// are: their deadlines are passed over, and looked at again now and then, since nobody says when the slot is served.
#[derive(Clone, Default)]
pub(crate) struct Deadlines {
    /// Nothing is to be looked at before this time; `None`: none ends.
    next_ms: Option<u64>,
    /// No deadline's key lies before this one, but for those that were passed over.
    begin: Bytes,
    /// The first of these.
    passed: Option<Bytes>,
    /// When to go back to it.
    again_ms: u64,
}

/// What looking at the deadlines came to, to be taken over when its group is applied.
pub(crate) type Swept = Deadlines;

impl Deadlines {
    pub(crate) fn load(engine: &dyn Engine) -> Result<Self, Error> {
        let mut deadlines = Self { begin: keys::deadline_key_prefix(), ..Self::default() };
        deadlines.next_ms = first(engine, &deadlines.begin)?;
        Ok(deadlines)
    }

    pub(crate) fn sweep(&mut self, swept: Swept) {
        *self = swept;
    }

    /// A row was written that ends so; it may be one of a slot that is not served.
    pub(crate) fn add(&mut self, deadline_key: &Bytes, is_hidden: bool) {
        let Ok((expires_ms, _)) = keys::decode_deadline_key(deadline_key) else { return };
        if is_hidden && *deadline_key < self.begin {
            self.pass(deadline_key);
            self.wake(self.again_ms.max(expires_ms));
            return;
        }
        self.wake(expires_ms);
        if *deadline_key < self.begin {
            self.begin = deadline_key.clone();
        }
    }

    fn pass(&mut self, deadline_key: &Bytes) {
        if self.passed.as_ref().is_none_or(|passed| deadline_key < passed) {
            self.passed = Some(deadline_key.clone());
        }
    }

    fn wake(&mut self, at_ms: u64) {
        self.next_ms = Some(self.next_ms.map_or(at_ms, |next_ms| next_ms.min(at_ms)));
    }
}

/// The time of the first deadline from a key on.
fn first(engine: &dyn Engine, begin: &[u8]) -> Result<Option<u64>, Error> {
    let mut found = None;
    visit(engine, begin, &mut |key| {
        found = Some(keys::decode_deadline_key(key).map(|(expires_ms, _)| expires_ms));
        ControlFlow::Break(())
    })?;
    found.transpose()
}

fn visit(
    engine: &dyn Engine,
    begin: &[u8],
    each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), Error> {
    let end = keys::prefix_end(&keys::deadline_key_prefix());
    let bounds = (Bound::Included(begin), end.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
    engine.scan(bounds, &mut |key, _| each(key))
}

/// Deadlines that are over.
struct Due {
    deadlines: Vec<Bytes>,
    swept: Swept,
}

impl Replica {
    /// How long there is nothing to let end; `None` while no row has a deadline.
    pub fn expiry_wait(&self, wall_ms: u64) -> Option<Duration> {
        let next_ms = self.deadlines().next_ms?;
        let wait = Duration::from_millis(next_ms.saturating_sub(self.time().at(wall_ms)));
        Some(wait.clamp(PAUSE, WAIT_MAX))
    }

    /// Whether the time of some row may be over.
    pub fn is_expiry_due(&self, wall_ms: u64) -> bool {
        self.deadlines().next_ms.is_some_and(|next_ms| next_ms <= self.time().at(wall_ms))
    }

    /// Takes into a group, before anything else, the deletes of rows whose time is over and whose slots are served, up to
    /// [`EXPIRIES_PER_GROUP_MAX`]; returns their records, to be logged behind `position`, which then is the last one's.
    pub fn stage_expiries(
        &self,
        group: &mut Group,
        position: &mut Position,
        serves: &dyn Fn(u16) -> bool,
    ) -> Result<Vec<LogRecord>, Error> {
        let time_ms = group.time_ms();
        if self.deadlines().next_ms.is_none_or(|next_ms| next_ms > time_ms) {
            return Ok(Vec::new());
        }
        let due = self.due(time_ms, serves)?;
        let (mut records, mut idle) = (Vec::with_capacity(due.deadlines.len()), Batch::new());
        for deadline in due.deadlines {
            let (expires_ms, data_key) = keys::decode_deadline_key(&deadline)?;
            let data_key = deadline.slice_ref(data_key);
            match self.row(group, &data_key)? {
                Some(row) if row.expires_ms == expires_ms => {
                    position.index += 1;
                    let key = keys::DataKey::decode(&data_key)?;
                    records.push(self.stage_end(group, key, row, *position));
                }
                // No batch leaves one without its row, but one that was there would be found for ever.
                _ => idle.delete(deadline),
            }
        }
        if !idle.is_empty() {
            tracing::warn!(deadlines = idle.len(), "deadlines without their rows were removed");
            self.engine().write(idle)?;
        }
        group.sweep(due.swept);
        Ok(records)
    }

    fn due(&self, time_ms: u64, serves: &dyn Fn(u16) -> bool) -> Result<Due, Error> {
        let known = self.deadlines();
        let swept = Swept { next_ms: None, ..known.clone() };
        let mut due = Due { deadlines: Vec::new(), swept };
        if known.passed.is_some() && known.again_ms <= time_ms {
            due.swept.begin = due.swept.passed.take().unwrap_or_default();
            due.swept.again_ms = time_ms.saturating_add(AGAIN_MS);
        }
        let begin = due.swept.begin.clone();
        let (mut bytes, mut count, mut failed) = (0, 0, None);
        visit(&**self.engine(), &begin, &mut |key| {
            let (expires_ms, slot) = match keys::decode_deadline_key(key) {
                Ok((expires_ms, data_key)) => (expires_ms, keys::slot_of_data_key(data_key)),
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            };
            let is_full = due.deadlines.len() >= EXPIRIES_PER_GROUP_MAX
                || count >= DEADLINES_PER_GROUP_MAX
                || (bytes + key.len() > EXPIRY_BYTES_MAX && bytes > 0);
            due.swept.begin = Bytes::copy_from_slice(key);
            if expires_ms > time_ms || is_full {
                due.swept.next_ms = Some(expires_ms);
                return ControlFlow::Break(());
            }
            count += 1;
            if slot.is_some_and(|slot| !serves(slot)) {
                let deadline = due.swept.begin.clone();
                due.swept.pass(&deadline);
                return ControlFlow::Continue(());
            }
            bytes += key.len();
            due.deadlines.push(due.swept.begin.clone());
            ControlFlow::Continue(())
        })?;
        if due.swept.passed.is_some() {
            if due.swept.again_ms <= time_ms {
                due.swept.again_ms = time_ms.saturating_add(AGAIN_MS);
            }
            let again_ms = due.swept.again_ms;
            due.swept.wake(again_ms);
        }
        failed.map_or(Ok(due), Err)
    }

    fn stage_end(
        &self,
        group: &mut Group,
        key: keys::DataKey<'_>,
        row: Row,
        position: Position,
    ) -> LogRecord {
        let slot = key.slot;
        let effect = Effect {
            key: Bytes::copy_from_slice(key.key),
            value: None,
            version: self.slot_row(group, slot).version_counter + 1,
            expires_ms: 0,
            replaced_expires_ms: row.expires_ms,
        };
        let engine_key = keys::data_key(slot, key.namespace, key.key);
        self.change(group, slot, key.namespace, engine_key, Some(row), &effect);
        group.reach(position);
        LogRecord {
            format: record::FORMAT,
            time_ms: group.time_ms(),
            kind: Kind::Expiry as i32,
            slot: u32::from(slot),
            namespace: key.namespace.to_owned(),
            slot_row: self.slot_row(group, slot).encode(),
            effects: vec![effect],
            ..LogRecord::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_follows_the_highest_clock_and_goes_on_without_one() {
        let time = ShardTime::default();
        assert_eq!(time.at(5_000), 5_000);
        tokio::time::advance(Duration::from_millis(300)).await;
        assert_eq!((time.known(), time.at(1_000), time.watch(7)), (5_300, 5_300, 5_300));
        assert_eq!((time.at(9_000), time.known()), (9_000, 9_000));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(time.at(u64::MAX), i64::MAX as u64 / 2, "a clock that is broken overflows nothing");
    }

    /// Counts warnings.
    #[derive(Clone, Default)]
    struct Warnings(std::sync::Arc<AtomicI64>);

    impl tracing::Subscriber for Warnings {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            *metadata.level() == tracing::Level::WARN
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_hours_off_is_warned_of_once_and_one_that_is_a_little_off_is_not() {
        const HOURS_MS: u64 = 5 * 3_600_000;
        let warnings = Warnings::default();
        let told = warnings.0.clone();
        let _here = tracing::subscriber::set_default(warnings);
        let told = || told.swap(0, Ordering::Relaxed);
        let time = ShardTime::default();
        // What was logged by a primary whose clock is hours ahead, and this one's own.
        time.at(10 * HOURS_MS);
        let warned: Vec<i64> = [
            9 * HOURS_MS,
            9 * HOURS_MS + 5_000,
            // Set right.
            10 * HOURS_MS,
            10 * HOURS_MS + 5_000,
            // Set forward.
            11 * HOURS_MS,
            11 * HOURS_MS,
            // And back.
            10 * HOURS_MS,
        ]
        .map(|wall_ms| {
            time.watch(wall_ms);
            told()
        })
        .into();
        assert_eq!(warned, [1, 0, 0, 0, 1, 0, 1]);
    }
}
