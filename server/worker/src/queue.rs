//! Writes on their way to the committer: many streams push, one committer takes.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use slotkv_proto::{Code, v1::Reply};
use tokio::{sync::Notify, time::Instant};

use crate::{
    decide::Change,
    outbox::Outbox,
    request::{self, Refusal},
    retry::Ticket,
};

/// Writes that may wait for the committer of one shard; past it new ones are refused as OVERLOADED.
pub const QUEUE_COUNT_MAX: usize = 65_536;
/// Bytes of keys and values that may wait for the committer of one shard.
pub const QUEUE_BYTES_MAX: usize = 256 << 20;

/// A write that waits for its turn.
pub struct Write {
    /// The request's id on its stream.
    pub id: u64,
    /// Slot of the key.
    pub slot: u16,
    /// Namespace of the key.
    pub namespace: Arc<str>,
    /// The key.
    pub key: Bytes,
    /// What to do.
    pub change: Change,
    /// Which write this is an attempt of.
    pub ticket: Ticket,
    /// When the caller stops waiting.
    pub expires: Option<Instant>,
    /// What the outbox counts for it.
    pub admitted_bytes: usize,
    /// Where the reply goes.
    pub outbox: Arc<Outbox>,
}

impl Write {
    /// Why the write need not start any more.
    pub fn is_moot(&self, now: Instant) -> Option<Refusal> {
        if self.outbox.is_closed() || self.outbox.is_cancelled(self.id) {
            return Some((Code::Cancelled, "cancelled before it started".into()));
        }
        let late = self.expires.is_some_and(|expires| expires <= now);
        late.then(|| (Code::Timeout, "the deadline passed before the write started".into()))
    }

    /// Whether it only asks for a key whose time may be over.
    pub fn is_read(&self) -> bool {
        matches!(self.change, Change::Read(_))
    }

    /// Answers the write with a refusal.
    pub fn refuse(&self, refusal: Refusal) {
        self.answer(request::refuse(self.id, refusal));
    }

    /// Answers the write.
    pub fn answer(&self, reply: Reply) {
        self.outbox.complete([(reply, self.admitted_bytes)]);
    }
}

/// The writes of one shard that wait.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    writes: Vec<Write>,
    bytes: usize,
    closed: Option<Refusal>,
}

impl Queue {
    /// Adds writes; answers them at once if the queue is closed. Leaves `writes` empty.
    pub fn push(&self, writes: &mut Vec<Write>) {
        let closed = {
            let mut state = self.state.lock();
            if state.closed.is_none() {
                state.bytes += writes.iter().map(|write| write.admitted_bytes).sum::<usize>();
                state.writes.append(writes);
            }
            state.closed.clone()
        };
        match closed {
            None => self.arrived.notify_one(),
            Some(refusal) => writes.drain(..).for_each(|write| write.refuse(refusal.clone())),
        }
    }

    /// Refuses a write for which there is no room.
    pub fn check_room(&self) -> Result<(), Refusal> {
        let state = self.state.lock();
        if state.writes.len() >= QUEUE_COUNT_MAX || state.bytes >= QUEUE_BYTES_MAX {
            return Err((
                Code::Overloaded,
                format!("{} writes ({} bytes) wait in this shard", state.writes.len(), state.bytes),
            ));
        }
        Ok(())
    }

    /// Waits for writes and takes all of them; empty when the queue is closed.
    pub async fn take(&self) -> Vec<Write> {
        loop {
            let writes = self.take_waiting();
            if !writes.is_empty() || self.is_closed() {
                return writes;
            }
            self.arrived.notified().await;
        }
    }

    /// Takes what waits now.
    pub fn take_waiting(&self) -> Vec<Write> {
        let mut state = self.state.lock();
        state.bytes = 0;
        std::mem::take(&mut state.writes)
    }

    /// From now on writes are refused so; the committer still gets those that wait.
    pub fn close(&self, refusal: Refusal) {
        self.state.lock().closed.get_or_insert(refusal);
        self.arrived.notify_one();
    }

    /// Refuses what waits in a closed queue that nobody takes from any more: it was not begun.
    pub fn refuse_rest(&self) {
        let (writes, closed) = {
            let mut state = self.state.lock();
            state.bytes = 0;
            (std::mem::take(&mut state.writes), state.closed.clone())
        };
        if let Some(refusal) = closed {
            writes.iter().for_each(|write| write.refuse(refusal.clone()));
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.state.lock().writes.is_empty()
    }

    /// Whether the queue was closed.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed.is_some()
    }
}
