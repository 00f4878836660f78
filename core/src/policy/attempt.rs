//! One attempt of a call, and what follows when it brings no result.

use std::{
    mem,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
};

use bytes::Bytes;
use slotkv_proto::{Code, table::UNALLOCATED};
use tokio::time::Instant;

use super::{
    Batch, Dispatch, closed,
    verdict::{
        REDIRECTS_AT_ONCE_MAX, Verdict, by_route, deadline_error, judge, passes_soon, pause, verdict_error,
    },
};
use crate::{
    Error, ReadLevel,
    call::{Call, Inner, Place, Taken},
    connection::{Lane, TOO_LARGE, Unfit},
    routing::{Shard, Snapshot, Unroutable},
    stats::count,
};

/// Replicas that a read tries to reach before it goes to the primary.
const REPLICAS_TRIED_MAX: u32 = 2;
/// Times that an attempt looks for a connection while the table changes under it.
const LOOKS_MAX: u32 = 4;

/// The error of an attempt.
pub(super) struct Setback {
    pub error: Error,
    /// Whether this attempt may have been applied.
    pub maybe_applied: bool,
    /// The pause that the member asked for.
    pub asked_ms: u32,
}

impl Setback {
    /// Of an attempt that provably was not applied.
    pub fn harmless(error: Error) -> Self {
        Self { error, maybe_applied: false, asked_ms: 0 }
    }
}

impl Dispatch {
    /// Sends an admitted call by the present table, or lets it pause.
    pub(super) fn attempt(&self, mut call: Arc<Call>, now: Instant, batch: &mut Batch) {
        for _ in 0..LOOKS_MAX {
            let snapshot = self.routing.load();
            let replica = self.replica(&snapshot, &call);
            let (shard, lane) = match &replica {
                Some((shard, lane)) => (*shard, lane),
                None => match snapshot.route(call.slots) {
                    Ok(route) => route,
                    Err(unroutable) => return self.cannot_route(&call, unroutable, batch),
                },
            };
            let taken = Taken { shard: shard.id, epoch: shard.epoch, lane: lane.number };
            if !self.prepare(&call, taken, lane, replica.is_some()) {
                return;
            }
            match lane.submit(call, now) {
                Ok(()) => return,
                Err(Unfit::TooLarge(call)) => {
                    let error = Error::new(Code::TooLarge, TOO_LARGE);
                    return self.set_back(&call, Setback::harmless(error), batch);
                }
                // Retired or stopped meanwhile: there is a newer snapshot, or none will come.
                Err(Unfit::Closed(back)) => call = back,
            }
            call.lock().history.attempts -= 1;
        }
        let error = if self.gate.closed() {
            Error::new(Code::Closed, "the client was closed")
        } else {
            Error::new(Code::Unavailable, "the slot table changed again and again")
        };
        self.set_back(&call, Setback::harmless(error), batch);
    }

    /// The replica that a read goes to which the primary need not answer.
    fn replica<'s>(&self, snapshot: &'s Snapshot, call: &Call) -> Option<(&'s Shard, Arc<Lane>)> {
        if call.level == ReadLevel::Linearizable {
            return None;
        }
        let avoided = {
            let inner = call.lock();
            if inner.history.to_primary {
                return None;
            }
            inner.history.taken.map(|taken| taken.lane)
        };
        self.routing.replica(snapshot, call.slots, avoided)
    }

    /// Notes the route, says how fresh a read has to be, and gives a write its number and its fence; false if the call has ended.
    fn prepare(&self, call: &Call, taken: Taken, lane: &Lane, at_replica: bool) -> bool {
        let mut inner = call.lock();
        if matches!(inner.place, Place::Done) {
            return false;
        }
        inner.place = Place::Moving;
        let before = inner.history.taken.replace(taken);
        inner.history.attempts += 1;
        if call.level != ReadLevel::Linearizable {
            inner.history.at_replica = at_replica;
            inner.history.replicas_tried += u32::from(at_replica);
            let level = if at_replica { call.level } else { ReadLevel::Linearizable };
            let (read_level, staleness_ms) = level.wire();
            inner.request.read_level = read_level as i32;
            inner.request.staleness_ms = staleness_ms;
            let session = || call.session.as_ref().map_or_else(|| lane.heard(), |own| own.seen(lane.shard));
            inner.request.session_token =
                if level == ReadLevel::Session { session().wire() } else { Bytes::new() };
        }
        if call.is_write() {
            if inner.request.sequence == 0 {
                inner.request.sequence = self.sequences.begin();
                inner.request.fence_index = lane.applied_index();
            } else if before.is_some_and(|before| before.shard != taken.shard) {
                // The log indexes of another shard say nothing here. If nothing can have been applied there, those of this
                // one hold; else the write counts as begun before anything that this shard may have forgotten.
                let harmless = inner.history.unknown.is_none();
                inner.request.fence_index = if harmless { lane.applied_index() } else { 0 };
            }
            inner.request.repeated = inner.history.unknown.is_some();
            inner.request.oldest_open = self.sequences.oldest_open();
        }
        true
    }

    fn cannot_route(&self, call: &Arc<Call>, unroutable: Unroutable, batch: &mut Batch) {
        let error = match unroutable {
            Unroutable::Split => {
                let error = Error::new(Code::Moved, "the slots of the request have more than one owner now");
                let end = |inner: &Inner| Err(verdict_error(error, call.is_write(), &inner.history));
                return self.collect(call, end, batch);
            }
            Unroutable::Unallocated(slot) => Error::new(
                Code::Unavailable,
                format!("slot {slot} is not allocated to any shard; the cluster is starting"),
            ),
            Unroutable::NoPrimary(shard) => {
                Error::new(Code::Unavailable, format!("shard {shard} has no primary at present"))
            }
        };
        self.routing.want_refresh();
        self.routing.trouble();
        call.lock().history.attempts += 1;
        self.set_back(call, Setback::harmless(error), batch);
    }

    /// Decides what becomes of a call after an attempt that brought no result.
    pub(super) fn set_back(&self, call: &Arc<Call>, setback: Setback, batch: &mut Batch) {
        let Setback { error, maybe_applied, asked_ms } = setback;
        let mut inner = call.lock();
        if matches!(inner.place, Place::Done) {
            return;
        }
        let write = call.is_write();
        if write && maybe_applied && inner.history.unknown.is_none() {
            inner.history.unknown = Some(error.clone());
        }
        // The caller's deadline; a member may have had a nearer one.
        let over = error.code == Code::Timeout && call.deadline <= Instant::now();
        let verdict = if over { Verdict::End } else { judge(error.code, write, &inner.history) };
        if verdict == Verdict::End {
            let unsent = over && !maybe_applied && inner.history.last.is_some();
            drop(inner);
            let end = |inner: &Inner| {
                Err(if unsent {
                    deadline_error(write, &inner.history)
                } else {
                    verdict_error(error, write, &inner.history)
                })
            };
            return self.collect(call, end, batch);
        }
        if mem::take(&mut inner.history.at_replica) {
            let unreached =
                matches!(error.code, Code::Unavailable | Code::ConnectionLost | Code::ShuttingDown);
            inner.history.to_primary = !unreached || inner.history.replicas_tried >= REPLICAS_TRIED_MAX;
            if verdict != Verdict::Reroute || error.code != Code::Moved {
                inner.history.last = Some(error);
                inner.place = Place::Moving;
                drop(inner);
                count(&self.counters.redirects);
                return self.attempt(call.clone(), Instant::now(), batch);
            }
        }
        call.span.in_scope(|| tracing::debug!(?verdict, attempts = inner.history.attempts, "{error}"));
        if error.code == Code::Indeterminate {
            // It was not executed and never will be: the write goes on under a new number, with a fresh fence.
            self.sequences.end(mem::take(&mut inner.request.sequence));
        }
        inner.history.last = Some(error);
        match verdict {
            Verdict::Pause => self.delay(call, inner, asked_ms, batch),
            Verdict::Reroute => {
                inner.history.redirects += 1;
                inner.place = Place::Rerouting;
                drop(inner);
                self.rerouting.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
                batch.rerouted = true;
                self.close_if_shut(call, batch);
            }
            Verdict::Renew | Verdict::End => {
                inner.history.redirects += 1;
                inner.place = Place::Moving;
                drop(inner);
                count(&self.counters.retries);
                self.attempt(call.clone(), Instant::now(), batch);
            }
        }
    }

    /// Lets a call pause.
    pub(super) fn delay(
        &self,
        call: &Arc<Call>,
        mut inner: MutexGuard<'_, Inner>,
        asked_ms: u32,
        batch: &mut Batch,
    ) {
        let last = inner.history.last.as_ref().map(|last| last.code);
        let pause =
            pause(inner.history.pauses, asked_ms, last.is_some_and(passes_soon), self.chance.as_ref());
        inner.history.pauses += 1;
        (inner.history.to_primary, inner.history.replicas_tried) = (false, 0);
        let at = (Instant::now() + pause).min(call.deadline);
        // Who was sent in circles pauses indeed.
        let redirects = mem::take(&mut inner.history.redirects);
        let routed = redirects < REDIRECTS_AT_ONCE_MAX && last.is_some_and(by_route);
        // A call that found no route waits for whoever gets its slot.
        let routed = routed.then(|| inner.history.taken.map_or(UNALLOCATED, |taken| taken.shard));
        let ((at, number), first) = self.delays.add(call.clone(), at, routed);
        inner.place = Place::Delayed(at, number);
        drop(inner);
        if first {
            self.clerk.notify_one();
        }
        self.close_if_shut(call, batch);
    }

    /// Ends a call that was put where nobody looks any more.
    fn close_if_shut(&self, call: &Call, batch: &mut Batch) {
        if self.shut.load(Ordering::SeqCst) {
            self.collect(call, |inner| Err(closed(call, inner)), batch);
        }
    }
}
