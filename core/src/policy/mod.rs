//! What happens to calls: admission, attempts, pauses, redirects, ends.
//!
//! [`Dispatch`] moves calls between the places where they can be; a call costs no task and no timer of its own. The fast
//! way is one function call on the caller's thread, [`Dispatch::begin`], and one in the lane's task that brings the reply.
//! Everything else ([`verdict`]) happens only to calls that an attempt did not end.

mod delays;
mod gate;
mod sequences;
mod verdict;

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use slotkv_proto::{Applied, Code, seam::Chance, v1};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use crate::{
    Error, Outcome, Result, Stats,
    call::{Call, Delivery, Inner, Place, Taken},
    connection::{Failure, Lane, Receiver},
    routing::{Observer, Routing, Unroutable},
    stats::{Counters, MemberStats, count},
};
use delays::Delays;
use gate::{Admission, Freed, Gate};
use sequences::Sequences;
use verdict::{Verdict, by_route, deadline_error, judge, pause, verdict_error};

/// How long `close` waits for open calls before it ends them, in milliseconds.
pub(crate) const CLOSE_CALLS_MS_MAX: u64 = 2_000;
/// How long `close` waits for the client's tasks before it aborts them, in milliseconds.
pub(crate) const CLOSE_TASKS_MS_MAX: u64 = 1_000;
/// Times that an attempt looks for a connection while the table changes under it.
const LOOKS_MAX: u32 = 4;

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
        }
    }

    /// Connects and starts the tasks.
    pub fn launch(self: &Arc<Self>) {
        self.routing.launch();
        self.routing.spawn(self.clone().keep_time());
    }

    /// Begins a call: sends it from this thread if it can be sent.
    pub fn begin(self: &Arc<Self>, mut call: Call, now: Instant) -> Arc<Call> {
        call.gate = self.routing.load().gate(call.slots.0);
        let call = Arc::new(call);
        match self.gate.admit(&call) {
            Admission::Admitted => self.attempt(call.clone(), now),
            Admission::Waiting(nearer) => {
                if nearer {
                    self.clerk.notify_one();
                }
            }
            Admission::Overloaded => {
                let message = format!(
                    "{} calls wait for room already, as many as may",
                    self.gate.counts().2
                );
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
            count(&self.counters.calls_cancelled);
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

    /// Sends an admitted call by the present table, or lets it pause.
    fn attempt(self: &Arc<Self>, mut call: Arc<Call>, now: Instant) {
        for _ in 0..LOOKS_MAX {
            let snapshot = self.routing.load();
            let (shard, lane) = match snapshot.route(call.slots) {
                Ok(route) => route,
                Err(unroutable) => return self.cannot_route(&call, unroutable),
            };
            {
                let mut inner = call.lock();
                if matches!(inner.place, Place::Done) {
                    return;
                }
                inner.place = Place::Moving;
                let taken = Taken { shard: shard.id, epoch: shard.epoch, lane: lane.number };
                if call.is_write() {
                    self.number(&mut inner, taken, lane);
                }
                inner.history.taken = Some(taken);
                inner.history.attempts += 1;
            }
            match lane.submit(call, now) {
                Ok(()) => return,
                // The lane was retired or stopped meanwhile.
                Err(back) => call = back,
            }
            call.lock().history.attempts -= 1;
        }
        if self.gate.closed() {
            return self.close_call(&call);
        }
        let error = Error::new(Code::Unavailable, "the slot table changed again and again");
        self.failed_attempt(&call, error, false, 0, None);
    }

    /// Gives a write its number and its fence. Both stay as they are once an attempt may have been applied.
    fn number(&self, inner: &mut Inner, taken: Taken, lane: &Lane) {
        if inner.request.sequence == 0 {
            inner.request.sequence = self.sequences.begin();
            inner.request.fence_index = lane.applied_index();
        } else if inner.history.unknown.is_none()
            && inner.history.taken.is_some_and(|before| before.shard != taken.shard)
        {
            // Log indexes of another shard say nothing here, and nothing was applied there.
            inner.request.fence_index = lane.applied_index();
        }
        inner.request.oldest_open = self.sequences.oldest_open();
    }

    fn cannot_route(self: &Arc<Self>, call: &Arc<Call>, unroutable: Unroutable) {
        let error = match unroutable {
            Unroutable::Unallocated(slot) => Error::new(
                Code::Unavailable,
                format!("slot {slot} is not allocated to any shard yet; the cluster is starting"),
            ),
            Unroutable::NoPrimary(shard) => {
                Error::new(Code::Unavailable, format!("shard {shard} has no primary at present"))
            }
            Unroutable::Split => {
                let error = Error::new(Code::Moved, "the slots of the request have more than one owner now");
                return self.finish(call, |call, inner| verdict_error(error, call.is_write(), &inner.history));
            }
        };
        self.routing.want_refresh();
        call.lock().history.attempts += 1;
        self.failed_attempt(call, error, false, 0, None);
    }

    /// Decides what becomes of a call after an attempt that brought no result. With `batch`, what the call frees is
    /// collected there; else it is freed at once.
    fn failed_attempt(
        self: &Arc<Self>,
        call: &Arc<Call>,
        error: Error,
        maybe_applied: bool,
        asked_ms: u32,
        batch: Option<&mut Batch>,
    ) {
        let mut inner = call.lock();
        if matches!(inner.place, Place::Done) {
            return;
        }
        let write = call.is_write();
        let code = error.code;
        if write && maybe_applied && inner.history.unknown.is_none() {
            inner.history.unknown = Some(error.clone());
        }
        // The caller's deadline, not the member's.
        let over = matches!(code, Code::Timeout) && call.deadline <= Instant::now();
        let verdict = if over { Verdict::End } else { judge(code, write, &inner.history) };
        if verdict != Verdict::End {
            let _entered = call.span.enter();
            tracing::debug!(?verdict, attempt = inner.history.attempts, "{error}");
        }
        if code == Code::Indeterminate && verdict != Verdict::End {
            self.sequences.end(mem::take(&mut inner.request.sequence));
        }
        match verdict {
            Verdict::End => {
                let error = if over && !maybe_applied && inner.history.last.is_some() {
                    deadline_error(write, &inner.history)
                } else {
                    verdict_error(error, write, &inner.history)
                };
                drop(inner);
                match batch {
                    Some(batch) => self.collect(call, Err(error), batch),
                    None => self.finish(call, |_, _| error),
                }
            }
            Verdict::Reroute => {
                inner.history.last = Some(error);
                inner.history.redirects += 1;
                inner.place = Place::Rerouting;
                drop(inner);
                self.rerouting.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
                match batch {
                    Some(batch) => batch.rerouted = true,
                    None => self.routing.learn(None),
                }
            }
            Verdict::Pause => {
                inner.history.last = Some(error);
                self.delay(call, inner, asked_ms);
            }
            Verdict::Renew => {
                inner.history.last = Some(error);
                inner.history.redirects += 1;
                inner.place = Place::Moving;
                drop(inner);
                count(&self.counters.retries);
                self.attempt(call.clone(), Instant::now());
            }
        }
    }

    /// Lets a call pause.
    fn delay(&self, call: &Arc<Call>, mut inner: std::sync::MutexGuard<'_, Inner>, asked_ms: u32) {
        let pause = pause(inner.history.pauses, asked_ms, self.chance.as_ref());
        inner.history.pauses += 1;
        inner.history.redirects = 0;
        let at = (Instant::now() + pause).min(call.deadline);
        let routed = inner.history.last.as_ref().is_some_and(|last| by_route(last.code));
        let ((at, number), first) = self.delays.add(call.clone(), at, routed);
        inner.place = Place::Delayed(at, number);
        drop(inner);
        if first {
            self.clerk.notify_one();
        }
    }

    /// Ends a call with an error, unless it has ended.
    fn finish(&self, call: &Arc<Call>, error: impl FnOnce(&Call, &Inner) -> Error) {
        let mut batch = Batch::default();
        let mut sequence = 0;
        let claimed = call.claim(|inner| {
            sequence = inner.request.sequence;
            Err(batch.tell(error(call, inner)))
        });
        let Some((place, delivery)) = claimed else { return };
        self.sequences.end(sequence);
        match place {
            Place::Gated(ticket) => {
                self.gate.forget(call, ticket);
                batch.not_admitted(delivery);
            }
            place => {
                match place {
                    Place::Parked(holder, ticket) | Place::Sent(holder, ticket) => holder.release(ticket),
                    Place::Delayed(at, number) => self.delays.remove((at, number)),
                    Place::Moving | Place::Rerouting | Place::Gated(_) | Place::Done => {}
                }
                batch.add(call, delivery);
            }
        }
        self.settle(batch);
    }

    /// Ends a call that was never let in.
    fn turn_away(&self, call: &Arc<Call>, error: Error) {
        let mut batch = Batch::default();
        if let Some((_, delivery)) = call.claim(|_| Err(batch.tell(error))) {
            batch.not_admitted(delivery);
            self.settle(batch);
        }
    }

    fn close_call(&self, call: &Arc<Call>) {
        self.finish(call, |call, inner| {
            let error = Error::new(Code::Closed, "the client was closed");
            verdict_error(error, call.is_write(), &inner.history)
        });
    }

    /// Ends a call that no place holds any more, as part of a batch.
    fn collect(&self, call: &Arc<Call>, result: Result<v1::Reply>, batch: &mut Batch) {
        let mut sequence = 0;
        let claimed = call.claim(|inner| {
            sequence = inner.request.sequence;
            result.map_err(|error| batch.tell(error))
        });
        let Some((_, delivery)) = claimed else { return };
        if sequence != 0 {
            self.sequences.end(sequence);
        }
        batch.add(call, delivery);
    }

    /// Gives room on, counts, delivers, and sends the calls that got the room.
    fn settle(&self, batch: Batch) {
        let ok = batch.deliveries.len() as u64 - batch.failed - batch.unknown;
        self.counters.calls_ok.fetch_add(ok, Ordering::Relaxed);
        let add = |counter: &AtomicU64, count: u64| {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        };
        add(&self.counters.calls_failed, batch.failed);
        add(&self.counters.calls_unknown, batch.unknown);
        let admitted = self.gate.free(&batch.freed);
        if self.gate.deserted() {
            self.idle.notify_one();
        }
        for delivery in batch.deliveries {
            delivery.make();
        }
        if !admitted.is_empty() {
            todo!()
        }
    }
}
