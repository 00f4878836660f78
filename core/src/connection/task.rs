//! The task of a lane: one session after another until the lane is stopped.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::StreamExt;
use slotkv_proto::{Code, handshake, v1};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use super::{
    Failure, Lane, REARM, RECONNECT_MS_FIRST, RECONNECT_MS_MAX, REOPEN_MS_MAX, SESSION_SOUND_MS, STOP,
    TOO_LARGE, outgoing::Outgoing, state::Bounds,
};
use crate::{
    call::Call,
    session::Seen,
    transport::{Incoming, TransportError},
};

/// How a session ended.
enum Ended {
    /// It did not begin.
    Refused(Failure),
    /// It broke; whether it had done any good before.
    Broken(String, bool),
}

/// What came first while a lane waited for something.
enum Attended<T> {
    Done(T),
    Stopped,
    /// The member owes replies and says nothing.
    Silent,
}

/// The timer of [`super::state::State::sweep_at`]; made once, since frames come often and deadlines do not pass.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: bool,
}

impl Timer {
    fn set(&mut self, at: Option<Instant>) {
        self.armed = at.is_some();
        if let Some(at) = at {
            self.sleep.as_mut().reset(at);
        }
    }

    fn rang(&mut self, cx: &mut Context<'_>) -> bool {
        self.armed && self.sleep.as_mut().poll(cx).is_ready()
    }
}

/// Ends the calls of a lane whose task ends, also when its runtime is shut down under it.
struct End<'a>(&'a Arc<Lane>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Lane {
    /// Keeps the connection until the lane is stopped.
    pub async fn run(self: Arc<Self>) {
        let _end = End(&self);
        let mut timer = Timer { sleep: Box::pin(sleep_until(Instant::now())), armed: false };
        let mut failures = 0u32;
        loop {
            let Some(ended) = self.session(&mut timer).await else { return };
            let (sent, unsent) = self.end_session();
            let member = &self.member.address;
            let (message, longest_ms) = match ended {
                Ended::Refused(failure) => {
                    failures = failures.saturating_add(1);
                    tracing::debug!(%member, code = %failure.code, "no connection: {}", failure.message);
                    let parked = mem::take(&mut self.lock().parked).into_values().collect();
                    self.fail(parked, &failure);
                    (failure.message, RECONNECT_MS_MAX)
                }
                Ended::Broken(message, sound) => {
                    failures = if sound { 0 } else { failures.saturating_add(1) };
                    tracing::debug!(%member, "connection lost: {message}");
                    self.context.counters.connections_lost.fetch_add(1, Ordering::Relaxed);
                    let longest_ms = if sent.is_empty() { RECONNECT_MS_MAX } else { REOPEN_MS_MAX };
                    let failure =
                        |code, sent| Failure { code, message: format!("connection lost: {message}"), sent };
                    self.fail(sent, &failure(Code::ConnectionLost, true));
                    self.fail(unsent, &failure(Code::Unavailable, false));
                    (message, longest_ms)
                }
            };
            self.lock().last_error = message;
            if let Some(receiver) = self.context.receiver.upgrade() {
                receiver.broken(&self);
            }
            let pause = self.reconnect_pause(failures, longest_ms);
            match self.attend(&mut timer, sleep(pause)).await {
                Attended::Stopped => return,
                Attended::Done(()) | Attended::Silent => {}
            }
        }
    }

    /// Ends the session; the calls that may have reached the member, and those that have not.
    fn end_session(&self) -> (Vec<Arc<Call>>, Vec<Arc<Call>>) {
        let mut state = self.lock();
        let calls = state.end_session();
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        calls
    }

    fn reconnect_pause(&self, failures: u32, longest_ms: u64) -> Duration {
        let longest = (RECONNECT_MS_FIRST << failures.min(10)).min(longest_ms);
        Duration::from_millis(longest / 2 + self.context.chance.below(longest / 2 + 1))
    }

    async fn session(self: &Arc<Self>, timer: &mut Timer) -> Option<Ended> {
        let session = self.lock().begin_session();
        let opening = timeout(self.context.connect_timeout, self.handshake(session));
        let mut incoming = match self.attend(timer, opening).await {
            Attended::Stopped => return None,
            Attended::Done(Ok(Ok(incoming))) => incoming,
            Attended::Done(Ok(Err(failure))) => return Some(Ended::Refused(failure)),
            Attended::Done(Err(_)) | Attended::Silent => {
                let message = format!(
                    "no connection to {} within {} ms",
                    self.member.address,
                    self.context.connect_timeout.as_millis()
                );
                return Some(Ended::Refused(Failure::unsent(Code::Unavailable, message)));
            }
        };
        let opened = Instant::now();
        let mut sound = false;
        let mut answered = Vec::new();
        let message = loop {
            match self.attend(timer, incoming.next()).await {
                Attended::Stopped => return None,
                Attended::Silent => break "nothing came although replies are owed".into(),
                Attended::Done(None) => break "the member closed the stream".into(),
                Attended::Done(Some(Err(error))) => break error.message,
                Attended::Done(Some(Ok(frame))) => {
                    sound |= !frame.replies.is_empty();
                    if let Some(refusal) = self.receive(frame, &mut answered) {
                        let code = Code::from_wire(refusal.code);
                        break format!("the member ended the stream: {code}: {}", refusal.message);
                    }
                }
            }
        };
        sound |= opened.elapsed() >= Duration::from_millis(SESSION_SOUND_MS);
        Some(Ended::Broken(message, sound))
    }

    /// Opens the stream and says hello; the member's frames behind the welcome.
    async fn handshake(self: &Arc<Self>, session: u64) -> Result<Incoming, Failure> {
        let outgoing = Box::pin(Outgoing::new(self.clone(), session));
        let address = &self.member.address;
        let unsent =
            |TransportError { code, message }| Failure::unsent(code, format!("{address}: {message}"));
        let mut incoming = self.context.transport.open(address, outgoing).await.map_err(unsent)?;
        let first = match incoming.next().await {
            Some(first) => first.map_err(unsent)?,
            None => {
                let message = format!("{address} closed the stream without a word");
                return Err(Failure::unsent(Code::Unavailable, message));
            }
        };
        let bounds = self.welcomed(&first)?;
        self.context.counters.connects.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(member = %address, shard = self.shard, "connected");
        self.receive(first, &mut Vec::new());
        let mut state = self.lock();
        let is_first = !mem::replace(&mut state.was_open, true);
        let rejected = state.open(self, bounds, Instant::now());
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        self.fail(rejected, &Failure::unsent(Code::TooLarge, TOO_LARGE));
        if is_first && let Some(receiver) = self.context.receiver.upgrade() {
            receiver.opened(self);
        }
        Ok(incoming)
    }

    fn welcomed(&self, frame: &v1::ServerFrame) -> Result<Bounds, Failure> {
        let address = &self.member.address;
        if let Some(refusal) = &frame.refusal {
            let code = Code::from_wire(refusal.code);
            return Err(Failure::unsent(
                code,
                format!("{address} refused the connection: {}", refusal.message),
            ));
        }
        let Some(welcome) = &frame.welcome else {
            let message = format!("the first frame of {address} has neither welcome nor refusal");
            return Err(Failure::unsent(Code::Unexpected, message));
        };
        if handshake::agree(welcome.version, welcome.version).is_none() {
            self.context.counters.wrong_version.fetch_add(1, Ordering::Relaxed);
            let message = format!(
                "{address} speaks protocol version {}; this client speaks {} to {}",
                welcome.version,
                handshake::VERSION_MIN,
                handshake::VERSION_MAX
            );
            return Err(Failure::unsent(Code::Unsupported, message));
        }
        if welcome.cluster_id != self.context.cluster_id {
            self.context.counters.wrong_cluster.fetch_add(1, Ordering::Relaxed);
            let message = format!(
                "{address} belongs to cluster {:?}, the client to {:?}",
                welcome.cluster_id, self.context.cluster_id
            );
            return Err(Failure::unsent(Code::WrongCluster, message));
        }
        if welcome.shard != self.shard {
            let message = format!("{address} serves shard {}, not {}", welcome.shard, self.shard);
            return Err(Failure::unsent(Code::Unavailable, message));
        }
        if let Some(member) = &welcome.member
            && !member.zone.is_empty()
        {
            self.zone.get_or_init(|| member.zone.clone());
        }
        Ok(Bounds::of(welcome.limits.as_ref()))
    }

    /// Takes a frame: frees the room of the requests that it answers, fills the room, hands the replies on.
    fn receive(
        self: &Arc<Self>,
        frame: v1::ServerFrame,
        answered: &mut Vec<(Arc<Call>, v1::Reply)>,
    ) -> Option<v1::Refusal> {
        let now = Instant::now();
        let counters = &self.context.counters;
        counters.frames_received.fetch_add(1, Ordering::Relaxed);
        let seen = Seen { epoch: frame.epoch, index: frame.applied_index };
        self.heard.note(seen);
        let mut late = 0;
        let mut state = self.lock();
        for reply in frame.replies {
            match state.answer(reply.id, now) {
                (Some(call), _) => answered.push((call, reply)),
                (None, _) => late += 1,
            }
        }
        state.heard(now);
        let rejected =
            if state.is_open() && !state.parked.is_empty() { state.unpark(self, now) } else { Vec::new() };
        let (pending, _) = state.pending();
        let writer = if pending { state.writer.take() } else { None };
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        if late > 0 {
            counters.replies_late.fetch_add(late, Ordering::Relaxed);
        }
        self.fail(rejected, &Failure::unsent(Code::TooLarge, TOO_LARGE));
        if (frame.table.is_some() || !answered.is_empty())
            && let Some(receiver) = self.context.receiver.upgrade()
        {
            receiver.frame(self, seen, frame.table, answered);
        }
        answered.clear();
        frame.refusal
    }

    /// Waits for `future`, and meanwhile ends calls whose deadline passes. Deadlines and stopping come first, so that a
    /// member that never pauses cannot hold them up.
    async fn attend<F: Future>(self: &Arc<Self>, timer: &mut Timer, future: F) -> Attended<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.task.register(cx.waker());
            if self.signals.load(Ordering::Acquire) != 0 {
                let signals = self.signals.fetch_and(!REARM, Ordering::AcqRel);
                if signals & STOP != 0 {
                    return Poll::Ready(Attended::Stopped);
                }
                timer.set(self.lock().sweep_at);
            }
            while timer.rang(cx) {
                if self.sweep(timer) {
                    return Poll::Ready(Attended::Silent);
                }
            }
            future.as_mut().poll(cx).map(Attended::Done)
        })
        .await
    }

    /// Ends calls whose deadline has passed and sets the timer for the next ones. Whether the member is silent.
    fn sweep(self: &Arc<Self>, timer: &mut Timer) -> bool {
        let mut state = self.lock();
        let (sent, unsent, silent) = state.sweep(Instant::now());
        timer.set(state.sweep_at);
        let writer = if state.cancels.is_empty() { None } else { state.writer.take() };
        let connected = state.is_open();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        let address = &self.member.address;
        let what =
            if connected { "waiting for room on the connection to" } else { "waiting for a connection to" };
        let failure = |message, sent| Failure { code: Code::Timeout, message, sent };
        self.fail(sent, &failure(format!("the deadline passed before {address} answered"), true));
        self.fail(unsent, &failure(format!("the deadline passed while {what} {address}"), false));
        silent
    }
}
