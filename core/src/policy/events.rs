//! What moves calls on: frames, lost connections, changed tables, time.

use std::{
    mem,
    sync::{Arc, PoisonError},
    time::Duration,
};

use slotkv_proto::{Applied, Code, v1};
use tokio::time::{Instant, sleep_until};

use super::{Batch, Dispatch, attempt::Setback, verdict::deadline_error};
use crate::{
    Error,
    call::{Call, Place, Taken},
    connection::{Failure, Lane, Receiver},
    routing::Observer,
    session::Seen,
    stats::count,
};

/// A time that does not come.
const FAR: Duration = Duration::from_secs(86_400 * 365);

impl Receiver for Dispatch {
    fn frame(
        &self,
        lane: &Arc<Lane>,
        seen: Seen,
        table: Option<v1::TableDelta>,
        replies: &mut Vec<(Arc<Call>, v1::Reply)>,
    ) {
        let mut batch = Batch::default();
        batch.deliveries.reserve(replies.len());
        for (call, reply) in replies.drain(..) {
            match reply.code {
                // The lane has let it go already.
                0 => {
                    if let Some(session) = &call.session {
                        session.note(lane.shard, seen);
                    }
                    self.conclude(&call, |_| Ok(reply), &mut batch);
                }
                number => self.set_back(&call, refused(lane, number, reply), &mut batch),
            }
        }
        if table.is_some() || batch.rerouted {
            self.routing.learn(table);
        }
        self.settle(batch);
    }

    fn failed(&self, lane: &Arc<Lane>, calls: Vec<Arc<Call>>, failure: &Failure) {
        let mut batch = Batch::default();
        for call in calls {
            let mut error = Error::new(failure.code, failure.message.clone());
            error.member = Some(lane.member.address.clone());
            let setback = Setback { error, maybe_applied: failure.sent, asked_ms: 0 };
            self.set_back(&call, setback, &mut batch);
        }
        if batch.rerouted {
            self.routing.learn(None);
        }
        self.settle(batch);
    }

    fn opened(&self, lane: &Arc<Lane>) {
        let mut batch = Batch::default();
        self.retry(self.delays.take_by_route(Some(lane.shard)), Instant::now(), &mut batch);
        self.settle(batch);
    }

    fn broken(&self, _lane: &Arc<Lane>) {
        self.routing.want_refresh();
        self.routing.trouble();
    }
}

/// The error of a reply. A member that does not say why has the code's own text.
fn refused(lane: &Lane, number: u32, reply: v1::Reply) -> Setback {
    let code = Code::from_wire(number);
    let message = match reply.message {
        message if code == Code::Unexpected && number != Code::Unexpected.number() => {
            format!("error {number}, which this client does not know: {message}")
        }
        message if message.is_empty() => code.text().to_owned(),
        message => message,
    };
    let mut error = Error::new(code, message);
    error.member = Some(lane.member.address.clone());
    // INDETERMINATE is of an earlier attempt; this one was not executed.
    let maybe_applied = code.applied() == Applied::Maybe && code != Code::Indeterminate;
    Setback { error, maybe_applied, asked_ms: reply.retry_after_ms }
}

impl Observer for Dispatch {
    fn settled(&self, changed: bool) {
        let rerouted = mem::take(&mut *self.rerouting.lock().unwrap_or_else(PoisonError::into_inner));
        let now = Instant::now();
        let mut batch = Batch::default();
        for call in rerouted {
            if self.elsewhere(&call) {
                count(&self.counters.redirects);
                self.attempt(call, now, &mut batch);
            } else {
                // The member refused and did not say where to go.
                self.routing.want_refresh();
                let inner = call.lock();
                if !matches!(inner.place, Place::Done) {
                    self.delay(&call, inner, 0, &mut batch);
                }
            }
        }
        if changed {
            self.retry(self.delays.take_by_route(None), now, &mut batch);
        }
        self.settle(batch);
    }

    fn returned(&self, calls: Vec<Arc<Call>>) {
        let mut batch = Batch::default();
        let now = Instant::now();
        for call in calls {
            self.attempt(call, now, &mut batch);
        }
        self.settle(batch);
    }
}

impl Dispatch {
    /// Wakes calls whose pause is over and ends those whose deadline passes while they wait, until the client stops.
    pub(super) async fn keep_time(self: Arc<Self>) {
        let _end = End(&self);
        loop {
            let next = [self.delays.next_due(), self.gate.sweep_at()].into_iter().flatten().min();
            let until = next.unwrap_or_else(|| Instant::now() + FAR);
            let woken = async {
                tokio::select! {
                    biased;
                    () = self.clerk.notified() => {}
                    () = sleep_until(until) => {}
                }
            };
            if self.routing.until_stopped(woken).await.is_none() {
                return;
            }
            let now = Instant::now();
            let mut batch = Batch::default();
            self.retry(self.delays.take_due(now), now, &mut batch);
            if self.gate.sweep_at().is_some_and(|at| at <= now) {
                for call in self.gate.expired(now) {
                    self.overdue(&call, &mut batch);
                }
            }
            self.settle(batch);
        }
    }

    fn retry(&self, calls: Vec<Arc<Call>>, now: Instant, batch: &mut Batch) {
        for call in calls {
            if call.deadline <= now {
                self.overdue(&call, batch);
            } else {
                count(&self.counters.retries);
                self.attempt(call, now, batch);
            }
        }
    }

    fn overdue(&self, call: &Call, batch: &mut Batch) {
        self.collect(call, |inner| Err(deadline_error(call.is_write(), &inner.history)), batch);
    }

    /// Whether the call would now go another way than last time.
    fn elsewhere(&self, call: &Call) -> bool {
        let snapshot = self.routing.load();
        let now = snapshot.route(call.slots).ok();
        let now = now.map(|(shard, lane)| Taken { shard: shard.id, epoch: shard.epoch, lane: lane.number });
        now != call.lock().history.taken
    }
}

/// Ends what is open when the runtime is shut down under the client.
struct End<'a>(&'a Dispatch);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}
