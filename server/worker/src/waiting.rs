//! Waiting: requests for a slot that is sealed. It will be decided within a moment who serves it, so they are kept and then
//! answered, by this shard or by the table that says where the slot is. Bounded in count, bytes and time.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use slotkv_proto::{
    Code,
    v1::{ReadLevel, Reply, Request},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{
    intake::Intake,
    outbox::Outbox,
    ownership::Ownership,
    queue::Write,
    request::{self, Refusal, Sender},
    shard::Shard,
};

/// How long a request waits at most, if it does not want to wait for less.
pub const WAIT_MAX: Duration = Duration::from_secs(1);
/// Requests of one shard that may wait; past it they are refused at once.
pub const WAITING_COUNT_MAX: usize = 16_384;
/// Bytes of keys and values of one shard's requests that may wait.
pub const WAITING_BYTES_MAX: usize = 64 << 20;
/// An idle look at what waits, which finds nothing.
const IDLE: Duration = Duration::from_secs(3600);

/// A request that waits.
pub struct Waiter {
    slot: u16,
    what: What,
    /// It waits no longer than this.
    until: Instant,
}

enum What {
    /// One that has just come in.
    Request {
        request: Box<Request>,
        sender: Sender,
        received: Instant,
        outbox: Arc<Outbox>,
        /// What the outbox counts for it.
        admitted_bytes: usize,
    },
    /// A write whose slot was sealed before its turn came.
    Write(Write),
}

impl Waiter {
    /// A write that was admitted.
    pub fn of_write(write: Write) -> Self {
        let until = Instant::now() + WAIT_MAX;
        let until = write.expires.map_or(until, |expires| expires.min(until));
        Self { slot: write.slot, what: What::Write(write), until }
    }

    fn bytes(&self) -> usize {
        match &self.what {
            What::Request { admitted_bytes, .. } => *admitted_bytes,
            What::Write(write) => write.admitted_bytes,
        }
    }

    fn id(&self) -> u64 {
        match &self.what {
            What::Request { request, .. } => request.id,
            What::Write(write) => write.id,
        }
    }

    fn is_closed(&self) -> bool {
        match &self.what {
            What::Request { outbox, .. } => outbox.is_closed(),
            What::Write(write) => write.outbox.is_closed(),
        }
    }

    fn refuse(self, refusal: Refusal) {
        match self.what {
            What::Request { request, outbox, admitted_bytes, .. } => {
                outbox.complete([(request::refuse(request.id, refusal), admitted_bytes)]);
            }
            What::Write(write) => write.refuse(refusal),
        }
    }
}

/// The requests of one shard that wait.
#[derive(Default)]
pub struct Waiting {
    state: Mutex<State>,
    /// How many there are, for those who have none among them.
    count: AtomicUsize,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    waiters: Vec<Waiter>,
    bytes: usize,
    /// How many there are of each slot, with those that are being answered.
    slots: HashMap<u16, usize>,
}

impl Waiting {
    /// Whether requests for this slot wait, behind which a new one is to wait, too: a sender's requests stay in order.
    pub fn has(&self, slot: u16) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.state.lock().slots.contains_key(&slot)
    }

    /// Whether any wait.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Keeps a request, or refuses it if too many wait.
    pub fn keep(&self, waiter: Waiter) {
        let mut state = self.state.lock();
        let is_full = state.waiters.len() >= WAITING_COUNT_MAX
            || (state.bytes > 0 && state.bytes + waiter.bytes() > WAITING_BYTES_MAX);
        if is_full {
            let text = format!("{} requests wait for slots that are sealed", state.waiters.len());
            drop(state);
            return waiter.refuse((Code::Retry, text));
        }
        state.bytes += waiter.bytes();
        *state.slots.entry(waiter.slot).or_default() += 1;
        state.waiters.push(waiter);
        self.count.fetch_add(1, Ordering::AcqRel);
        drop(state);
        self.arrived.notify_one();
    }

    /// Those that need not wait any more, each sender's in its order.
    fn take(&self, now: Instant, ownership: &Ownership, runs: bool) -> Vec<Waiter> {
        let mut state = self.state.lock();
        let waits = |waiter: &Waiter| {
            runs && ownership.is_sealed(waiter.slot) && waiter.until > now && !waiter.is_closed()
        };
        let (stay, mut go): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.waiters).into_iter().partition(waits);
        state.waiters = stay;
        state.bytes -= go.iter().map(Waiter::bytes).sum::<usize>().min(state.bytes);
        // Those that came in late may have been kept before others that stood in the queue of writes.
        go.sort_by_key(Waiter::id);
        go
    }

    /// They are answered, or on their way to be.
    fn done(&self, slot: u16) {
        let mut state = self.state.lock();
        if let Some(count) = state.slots.get_mut(&slot) {
            *count -= 1;
            if *count == 0 {
                state.slots.remove(&slot);
            }
        }
        self.count.fetch_sub(1, Ordering::AcqRel);
    }

    fn next_until(&self) -> Option<Instant> {
        self.state.lock().waiters.iter().map(|waiter| waiter.until).min()
    }
}

/// Answers what waits in a shard as soon as it need not wait any more.
pub async fn answer(shard: Arc<Shard>) {
    let mut turns = shard.turns();
    loop {
        let next = shard.waiting().next_until().unwrap_or_else(|| Instant::now() + IDLE);
        tokio::select! {
            biased;
            changed = turns.changed() => if changed.is_err() { return },
            () = shard.waiting().arrived.notified() => {}
            () = sleep_until(next) => {}
        }
        if shard.waiting().is_empty() {
            continue;
        }
        // What came in behind them meanwhile waits for its turn only.
        loop {
            let ownership = shard.ownership();
            let ready = shard.waiting().take(Instant::now(), &ownership, shard.check_running().is_ok());
            if ready.is_empty() {
                break;
            }
            for waiter in ready {
                let slot = waiter.slot;
                go_on(&shard, &ownership, waiter);
                shard.waiting().done(slot);
            }
        }
    }
}

/// Answers a request that has waited, or lets it be answered.
fn go_on(shard: &Arc<Shard>, ownership: &Arc<Ownership>, waiter: Waiter) {
    if let Err(refusal) = shard.check_running() {
        return waiter.refuse(refusal);
    }
    let slot = waiter.slot;
    if ownership.is_sealed(slot) {
        return waiter.refuse(too_late(slot));
    }
    match waiter.what {
        What::Write(write) => match shard.check_serving().and_then(|()| ownership.check_slot(write.slot)) {
            Ok(()) => shard.queue().push(&mut vec![write]),
            Err(refusal) => write.refuse(refusal),
        },
        What::Request { request, sender, received, outbox, admitted_bytes } => {
            let (id, level) = (request.id, request.read_level());
            let intake = Intake {
                shard,
                ownership,
                sender: &sender,
                outbox: &outbox,
                received,
                many_reads: Cell::new(0),
                cold_reads: Cell::new(0),
                has_waited: true,
            };
            let mut writes = Vec::new();
            let started =
                admit(shard, level, &request).and_then(|()| intake.start(*request, None, &mut writes));
            if !writes.is_empty() {
                shard.queue().push(&mut writes);
            }
            answer_one(shard, ownership, &outbox, level, started, (id, admitted_bytes));
        }
    }
}

fn admit(shard: &Shard, level: ReadLevel, request: &Request) -> Result<(), Refusal> {
    match level {
        ReadLevel::Linearizable => shard.check_serving(),
        level => shard.check_level(level, request).unwrap_or_else(|| shard.check_serving()),
    }
}

fn answer_one(
    shard: &Shard,
    ownership: &Ownership,
    outbox: &Arc<Outbox>,
    level: ReadLevel,
    started: Result<Option<Reply>, Refusal>,
    (id, admitted_bytes): (u64, usize),
) {
    match started {
        // Whoever answers it counts it for himself.
        Ok(None) => outbox.release(admitted_bytes),
        Ok(Some(reply)) if level == ReadLevel::Linearizable => {
            shard.confirm(ownership.epoch(), outbox, vec![(reply, admitted_bytes)]);
        }
        Ok(Some(reply)) => outbox.complete([(reply, admitted_bytes)]),
        Err(refusal) => outbox.complete([(request::refuse(id, refusal), admitted_bytes)]),
    }
}

fn too_late(slot: u16) -> Refusal {
    (Code::Retry, format!("slot {slot} is sealed, and nobody has decided in time who serves it"))
}

impl Intake<'_> {
    /// Whether a request for this slot is better kept waiting than answered now.
    pub(crate) fn waits(&self, ownership: &Ownership, slot: u16) -> bool {
        let is_behind_others = || ownership.epoch() > 0 && self.shard.waiting().has(slot);
        !self.has_waited && (ownership.is_sealed(slot) || is_behind_others())
    }

    /// Keeps a request until it is decided who serves the slot.
    pub(crate) fn wait(&self, slot: u16, request: Request) -> Result<Option<Reply>, Refusal> {
        let admitted_bytes = request.key.len() + request.value.len() + request.keys.len();
        self.outbox.admit(admitted_bytes)?;
        let until = self.received + WAIT_MAX;
        let until = self.expires(request.deadline_ms).map_or(until, |expires| expires.min(until));
        let what = What::Request {
            request: Box::new(request),
            sender: self.sender.clone(),
            received: self.received,
            outbox: self.outbox.clone(),
            admitted_bytes,
        };
        self.shard.waiting().keep(Waiter { slot, what, until });
        Ok(None)
    }
}
