//! What happens to one request when it comes in: reads are answered at once, writes go to the committer, pages to a
//! thread. Streams and unary calls both come through here.

use std::{cell::Cell, sync::Arc, time::Duration};

use slotkv_proto::{
    limits::DEADLINE_MS_MAX,
    v1::{ReadLevel, Reply, Request},
};
use slotkv_storage::Row;
use tokio::time::Instant;

use crate::{
    decide::Change,
    outbox::Outbox,
    ownership::Ownership,
    queue::Write,
    read::{self, Looked},
    request::{self, Asked, Refusal, Sender},
    retry::Ticket,
    shard::Shard,
};

/// One sender's requests that came in together.
pub struct Intake<'a> {
    /// The shard that serves them.
    pub shard: &'a Arc<Shard>,
    /// The slot table they are judged by.
    pub ownership: &'a Arc<Ownership>,
    /// Who sends.
    pub sender: &'a Sender,
    /// Where replies go that are not made at once.
    pub outbox: &'a Arc<Outbox>,
    /// When they came in.
    pub received: Instant,
    /// Keys among them that were read with others.
    pub many_reads: Cell<usize>,
    /// Reads among them that went to the engine.
    pub cold_reads: Cell<usize>,
    /// They have waited for a slot to be decided, and do not again.
    pub has_waited: bool,
}

impl Intake<'_> {
    /// Answers a request, by the row that was looked up ahead if it is a read and there is one, or returns `None` and lets it be answered through the outbox. Writes are added to `writes`,
    /// which the caller pushes to the shard's queue.
    pub fn start(
        &self,
        request: Request,
        ahead: Option<Row>,
        writes: &mut Vec<Write>,
    ) -> Result<Option<Reply>, Refusal> {
        tell_trace(&request);
        self.shard.note_asked();
        let slots = self.ownership.table().slots();
        match request::check(&request, self.sender, slots.get())? {
            Asked::Read { value } => {
                let slot = slotkv_proto::slot(&request.key, slots);
                if self.waits(self.ownership, slot) {
                    return self.wait(slot, request);
                }
                self.ownership.check_slot(slot)?;
                let namespace = self.namespace(&request);
                let looked = self.shard.read(slot, namespace, &request, value, ahead, &self.cold_reads)?;
                if let Err(refusal) = self.shard.still_serves(self.ownership, slot) {
                    return match self.waits(&self.shard.ownership(), slot) {
                        true => self.wait(slot, request),
                        false => Err(refusal),
                    };
                }
                match looked {
                    Looked::Reply(reply) => Ok(Some(reply)),
                    // Nothing can be logged, here or now.
                    Looked::Over if self.ends_unlogged(&request) => {
                        Ok(Some(read::reply(request.id, None, value, 0)))
                    }
                    Looked::Over => self.queue(request, slot, Change::Read(value), Ticket::default(), writes),
                }
            }
            Asked::ReadMany => {
                let reply = self.shard.read_many(
                    self.ownership,
                    self.namespace(&request),
                    &request,
                    &self.cold_reads,
                )?;
                self.many_reads.set(self.many_reads.get() + reply.found.len());
                Ok(Some(reply))
            }
            Asked::Write(change, mut ticket) => {
                if change == Change::Outcome && request.fence_shard != self.shard.id() {
                    ticket.fence_index = 0;
                }
                let slot = slotkv_proto::slot(&request.key, slots);
                if self.waits(self.ownership, slot) {
                    return self.wait(slot, request);
                }
                self.ownership.check_slot(slot)?;
                self.queue(request, slot, change, ticket, writes)
            }
            Asked::Page(page) => {
                let (first, last) = page.slots;
                if self.ownership.has_sealed()
                    && let Some(slot) = (first..=last).find(|slot| self.waits(self.ownership, *slot))
                {
                    return self.wait(slot, request);
                }
                let making = self.shard.begin_page()?;
                let admitted_bytes = if page.count_only { 0 } else { page.bytes_max };
                self.outbox.admit(admitted_bytes)?;
                let namespace = request::namespace(&request, self.sender);
                let (shard, ownership, outbox) =
                    (self.shard.clone(), self.ownership.clone(), self.outbox.clone());
                let (id, level) = (request.id, request.read_level());
                let expires = self.expires(request.deadline_ms);
                self.shard.runner().blocking(move || {
                    let gone = || {
                        outbox.is_closed()
                            || outbox.is_cancelled(id)
                            || expires.is_some_and(|expires| expires <= Instant::now())
                    };
                    let reply = shard
                        .page(&ownership, &namespace, &page, id, level, gone)
                        .unwrap_or_else(|refusal| request::refuse(id, refusal));
                    drop(making);
                    match level {
                        ReadLevel::Linearizable => {
                            shard.confirm(ownership.epoch(), &outbox, vec![(reply, admitted_bytes)]);
                        }
                        _ => outbox.complete([(reply, admitted_bytes)]),
                    }
                });
                Ok(None)
            }
        }
    }

    /// Whether a key whose time is over is told to be absent before that is logged: a backup logs nothing.
    fn ends_unlogged(&self, request: &Request) -> bool {
        let asks_primary = request.read_level() == ReadLevel::Linearizable;
        self.shard.check_disk().is_err() || (!asks_primary && self.shard.check_serving().is_err())
    }

    /// Hands over to the committer what only it can answer.
    fn queue(
        &self,
        request: Request,
        slot: u16,
        change: Change,
        ticket: Ticket,
        writes: &mut Vec<Write>,
    ) -> Result<Option<Reply>, Refusal> {
        self.shard.queue().check_room()?;
        let admitted_bytes = request.key.len() + request.value.len();
        self.outbox.admit(admitted_bytes)?;
        writes.push(Write {
            id: request.id,
            slot,
            namespace: request::namespace(&request, self.sender),
            expires: self.expires(request.deadline_ms),
            key: request.key,
            change,
            ticket,
            admitted_bytes,
            outbox: self.outbox.clone(),
        });
        Ok(None)
    }

    fn namespace<'a>(&'a self, request: &'a Request) -> &'a str {
        request.namespace.as_deref().unwrap_or(&self.sender.namespace)
    }

    pub(crate) fn expires(&self, deadline_ms: u32) -> Option<Instant> {
        let deadline = Duration::from_millis(u64::from(deadline_ms.min(DEADLINE_MS_MAX)));
        (deadline_ms > 0).then(|| self.received + deadline)
    }
}

/// Longest traceparent that appears in the log; a W3C one has 55 bytes.
const TRACEPARENT_BYTES_SHOWN_MAX: usize = 256;

/// Who follows a caller's trace finds its requests in the log.
fn tell_trace(request: &Request) {
    let traceparent = &request.traceparent;
    if !traceparent.is_empty() && traceparent.len() <= TRACEPARENT_BYTES_SHOWN_MAX {
        let operation = request.operation().as_str_name();
        tracing::debug!(?traceparent, operation, "a request of a trace");
    }
}
