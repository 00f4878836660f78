//! What happens to calls: admission, attempts, pauses, redirects, ends.
//!
//! [`Dispatch`] moves calls between the places where they can be; a call costs no task and no timer of its own. The fast
//! way is one function call on the caller's thread, [`Dispatch::begin`], and one in the lane's task that brings the reply.
//! Everything else ([`verdict`]) happens only to calls that an attempt did not end.

mod attempt;
mod delays;
mod events;
mod gate;
mod sequences;
mod verdict;
mod waiting;

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use slotkv_proto::{Code, seam::Chance, v1};
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    Error, Outcome, Result, Stats, WriteToken,
    call::{Call, Delivery, Inner, Place},
    routing::Routing,
    stats::{Counters, MemberStats},
};
use delays::Delays;
use gate::{Admission, Freed, Gate};
use sequences::Sequences;
use verdict::verdict_error;
pub(crate) use waiting::Waiting;

/// How long `close` waits for open calls before it ends them, in milliseconds.
pub(crate) const CLOSE_CALLS_MS_MAX: u64 = 2_000;
/// How long `close` waits for the client's tasks before it aborts them, in milliseconds.
pub(crate) const CLOSE_TASKS_MS_MAX: u64 = 1_000;

/// See the module.
pub(crate) struct Dispatch {
    pub routing: Arc<Routing>,
    counters: Arc<Counters>,
    chance: Arc<dyn Chance>,
    gate: Gate,
    delays: Delays,
    sequences: Sequences,
    /// Calls that wait for what was learned to be applied.
    rerouting: Mutex<Vec<Arc<Call>>>,
    clerk: Notify,
    idle: Notify,
    /// Set before the places are emptied for the last time: who puts a call into one looks at it afterwards.
    shut: AtomicBool,
}

impl Dispatch {
    /// Nothing runs until [`Dispatch::launch`].
    pub fn new(
        routing: Arc<Routing>,
        counters: Arc<Counters>,
        chance: Arc<dyn Chance>,
        inflight_max: usize,
    ) -> Self {
        Self {
            routing,
            counters,
            chance,
            gate: Gate::new(inflight_max),
            delays: Delays::default(),
            sequences: Sequences::default(),
            rerouting: Mutex::default(),
            clerk: Notify::new(),
            idle: Notify::new(),
            shut: AtomicBool::new(false),
        }
    }

    /// Connects and starts the tasks.
    pub fn launch(self: &Arc<Self>) {
        self.routing.launch();
        self.routing.spawn(self.clone().keep_time());
    }

    /// Begins a call: sends it from this thread if it can be sent.
    pub fn begin(&self, mut call: Call, now: Instant) -> Arc<Call> {
        let shards = {
            let snapshot = self.routing.load();
            call.gate = snapshot.gate(call.slots.0);
            snapshot.shards.len()
        };
        let call = Arc::new(call);
        if call.deadline <= now {
            self.gate.count(&call);
            let error = Error::new(Code::Timeout, "the deadline had passed before the call began");
            self.turn_away(&call, error);
            return call;
        }
        match self.gate.admit(&call, shards) {
            Admission::Admitted => {
                let mut batch = Batch::default();
                self.attempt(call.clone(), now, &mut batch);
                self.settle(batch);
            }
            Admission::Waiting(nearer) => {
                if nearer {
                    self.clerk.notify_one();
                }
            }
            Admission::Overloaded => {
                let (_, open, waiting) = self.gate.counts();
                let message = format!("{open} calls are open and {waiting} wait for room, as many as may");
                self.turn_away(&call, Error::new(Code::Overloaded, message));
            }
            Admission::Closed => self.turn_away(&call, Error::new(Code::Closed, "the client was closed")),
        }
        call
    }

    /// The caller has gone: frees everything the call holds, here and at the worker.
    pub fn cancel(&self, call: &Arc<Call>) {
        self.finish(call, |call, inner| {
            let mut error = Error::new(Code::Cancelled, "the caller cancelled the call");
            error = verdict_error(error, call.is_write(), &inner.history);
            if call.is_write() && matches!(inner.place, Place::Sent(..)) {
                error.outcome = Outcome::Unknown;
            }
            self.counters.calls_cancelled.fetch_add(call.count, Ordering::Relaxed);
            error
        });
    }

    /// Counts and state, the members' included.
    pub fn stats(&self) -> Stats {
        let mut stats = self.counters.stats();
        let (calls, open, waiting) = self.gate.counts();
        (stats.calls, stats.in_flight, stats.waiting) = (calls, open as u64, waiting as u64);
        let snapshot = self.routing.load();
        stats.table_version = snapshot.table.version();
        stats.route_revisions = snapshot.table.route_revisions();
        stats.members = snapshot
            .lanes()
            .into_iter()
            .map(|(shard, lane)| {
                let health = lane.health();
                MemberStats {
                    shard: shard.id,
                    name: lane.member.name.clone(),
                    address: lane.member.address.clone(),
                    connected: health.connected,
                    in_flight: health.in_flight as u64,
                    waiting: health.waiting as u64,
                    last_error: health.last_error,
                }
            })
            .collect();
        stats
    }

    /// Ends every call and tells every task to end.
    pub fn shut_down(&self) {
        self.shut.store(true, Ordering::SeqCst);
        self.gate.close();
        self.routing.stop();
        let rerouting = mem::take(&mut *self.rerouting.lock().unwrap_or_else(PoisonError::into_inner));
        for call in self.gate.waiting_calls().into_iter().chain(self.delays.take_all()).chain(rerouting) {
            self.close_call(&call);
        }
    }

    /// Waits for open calls, then ends what is left and joins the tasks; all in bounded time.
    pub async fn close(&self) {
        self.gate.close();
        let end = Instant::now() + Duration::from_millis(CLOSE_CALLS_MS_MAX);
        while !self.gate.deserted() {
            if timeout_at(end, self.idle.notified()).await.is_err() {
                break;
            }
        }
        self.shut_down();
        // What waits for `close` elsewhere need not wait longer.
        self.idle.notify_one();
        let mut tasks = self.routing.take_tasks();
        let joined = async { while tasks.join_next().await.is_some() {} };
        if timeout(Duration::from_millis(CLOSE_TASKS_MS_MAX), joined).await.is_err() {
            tracing::warn!("tasks of the client did not end in time and are aborted");
        }
    }

    /// Ends a call with an error, wherever it is, unless it has ended.
    fn finish(&self, call: &Arc<Call>, error: impl FnOnce(&Call, &Inner) -> Error) {
        let mut batch = Batch::default();
        self.collect(call, |inner| Err(error(call, inner)), &mut batch);
        self.settle(batch);
    }

    /// Ends a call that was not let in.
    fn turn_away(&self, call: &Call, error: Error) {
        let mut batch = Batch::default();
        if let Some((_, delivery)) = call.claim(|_| Err(batch.counted(call, error))) {
            batch.ended += call.count;
            batch.deliveries.push(delivery);
        }
        self.settle(batch);
    }

    fn close_call(&self, call: &Arc<Call>) {
        self.finish(call, closed);
    }

    /// Ends a call as part of a batch, unless it has ended: frees what it holds.
    fn collect(&self, call: &Call, result: impl FnOnce(&Inner) -> Result<v1::Reply>, batch: &mut Batch) {
        match self.conclude(call, result, batch) {
            Some(Place::Gated(ticket)) => self.gate.forget(call, ticket),
            Some(Place::Parked(holder, ticket) | Place::Sent(holder, ticket)) => holder.release(ticket),
            Some(Place::Delayed(at, number)) => self.delays.remove((at, number)),
            Some(Place::Moving | Place::Rerouting | Place::Done) | None => {}
        }
    }

    /// The same for a call that no place holds any more. Where it was.
    fn conclude(
        &self,
        call: &Call,
        result: impl FnOnce(&Inner) -> Result<v1::Reply>,
        batch: &mut Batch,
    ) -> Option<Place> {
        let (mut sequence, mut unknown, mut answered) = (0, false, false);
        let (place, delivery) = call.claim(|inner| {
            sequence = inner.request.sequence;
            let result = result(inner).map_err(|error| self.tokened(call, inner, error));
            // Who gives a call up does not ask for it.
            let kept = |error: &Error| error.outcome == Outcome::Unknown && error.code != Code::Cancelled;
            unknown = result.as_ref().is_err_and(kept);
            answered = call.operation == v1::Operation::Outcome
                && result.is_ok()
                && inner.request.client_id == self.routing.client_id();
            result.map_err(|error| batch.counted(call, error))
        })?;
        match sequence {
            0 => {}
            _ if call.is_write() && unknown => self.sequences.keep(sequence, Instant::now()),
            _ if call.is_write() || answered => self.sequences.end(sequence),
            _ => {}
        }
        batch.ended += call.count;
        batch.deliveries.push(delivery);
        if !matches!(place, Place::Gated(_)) {
            batch.freed.add(call);
        }
        Some(place)
    }

    /// An unknown outcome says by which token it can be asked for.
    fn tokened(&self, call: &Call, inner: &Inner, mut error: Error) -> Error {
        if call.is_write() && error.outcome == Outcome::Unknown {
            let namespace = inner.request.namespace.as_deref().unwrap_or(self.routing.namespace());
            error.token = WriteToken::of(self.routing.client_id(), namespace, inner).map(Arc::new);
        }
        error
    }

    /// Gives on the room that a batch of ended calls freed, hands over their results, and sends the calls that got the
    /// room; again and again while these end at once.
    fn settle(&self, mut batch: Batch) {
        while !batch.is_empty() {
            let count = |counter: &AtomicU64, count: u64| {
                if count > 0 {
                    counter.fetch_add(count, Ordering::Relaxed);
                }
            };
            count(&self.counters.calls_ok, batch.ended - batch.failed - batch.unknown);
            count(&self.counters.calls_failed, batch.failed);
            count(&self.counters.calls_unknown, batch.unknown);
            let (admitted, deserted) = self.gate.free(&batch.freed);
            if deserted {
                self.idle.notify_one();
            }
            for delivery in batch.deliveries {
                delivery.make();
            }
            batch = Batch::default();
            if !admitted.is_empty() {
                let now = Instant::now();
                for call in admitted {
                    self.attempt(call, now, &mut batch);
                }
            }
        }
    }
}

fn closed(call: &Call, inner: &Inner) -> Error {
    verdict_error(Error::new(Code::Closed, "the client was closed"), call.is_write(), &inner.history)
}

/// Calls that end together.
#[derive(Default)]
struct Batch {
    freed: Freed,
    deliveries: Vec<Delivery>,
    /// What these count for, and those among them that failed or may have been applied.
    ended: u64,
    failed: u64,
    unknown: u64,
    /// Whether a call waits for a correction of the table.
    rerouted: bool,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    fn counted(&mut self, call: &Call, error: Error) -> Error {
        match error.outcome {
            Outcome::Failed => self.failed += call.count,
            Outcome::Unknown => self.unknown += call.count,
        }
        error
    }
}
