//! Many operations on one key each, with a result each, in their order.
//!
//! A window of them is open at a time, with a part for each shard, so that the keys of a dead shard do not hold up those of
//! living ones: what finds the part of its shard full is held back, and what comes behind it goes on.

use std::collections::VecDeque;

use futures_util::{StreamExt, stream::FuturesUnordered};
use slotkv_proto::{Code, v1};
use tokio::{task::yield_now, time::Instant};

use crate::{
    Answer, Client, Command, Error, Result,
    wire::{self, Parsed},
};

/// Requests of one operation on many keys that are open at once, divided among the shards.
pub(crate) const MANY_OPEN_MAX: usize = 1024;
/// The part that a shard has of them at least.
pub(crate) const MANY_OPEN_OF_SHARD_MIN: usize = 16;
/// Requests that are held back since the part of their shard is full; past it none is begun until another has ended.
pub(crate) const MANY_HELD_COUNT_MAX: usize = 1 << 20;
/// Bytes of their keys and values.
pub(crate) const MANY_HELD_BYTES_MAX: usize = 64 << 20;

/// The requests of one shard.
#[derive(Default)]
struct Part {
    open: usize,
    held: VecDeque<Held>,
}

/// A request, and which of the many it is.
struct Held {
    index: usize,
    slot: u16,
    request: v1::Request,
}

impl Client {
    /// Carries out operations on one key each; results in their order.
    pub(crate) async fn many<T>(
        &self,
        commands: impl Iterator<Item = Command>,
        traceparent: &str,
        read: impl Fn(Answer) -> Result<T>,
    ) -> Vec<Result<T>> {
        let end = Instant::now() + self.deadline();
        let namespace_bytes = self.namespace_name().len();
        let mut results: Vec<Option<Result<T>>> = Vec::with_capacity(commands.size_hint().0.min(1 << 20));
        // By gate, which a shard keeps for the life of the client.
        let mut parts: Vec<Part> = Vec::new();
        let (mut held_count, mut held_bytes) = (0, 0);
        let mut open = FuturesUnordered::new();
        let begin = |now: Instant, gate: usize, Held { index, slot, request }: Held| {
            let operation = request.operation();
            let waiting = self.send_one(request, slot, now, end, traceparent);
            async move { (index, gate, operation, waiting.await) }
        };
        let shards = self.snapshot().shards.len().max(1);
        let part_max = (MANY_OPEN_MAX / shards).max(MANY_OPEN_OF_SHARD_MIN);
        let mut commands = commands.fuse();
        loop {
            let mut taken = 0;
            // One for all that begin together: the clock is not cheap.
            let mut now = None;
            while open.len() < part_max * shards
                && held_count < MANY_HELD_COUNT_MAX
                && held_bytes < MANY_HELD_BYTES_MAX
                && let Some(command) = commands.next()
            {
                let index = results.len();
                match wire::parse(command, namespace_bytes) {
                    Ok(Parsed::Single(request)) => {
                        results.push(None);
                        let slot = self.slot(&request.key);
                        let gate = self.gate(slot);
                        if parts.len() <= gate {
                            parts.resize_with(gate + 1, Part::default);
                        }
                        let part = &mut parts[gate];
                        if part.open < part_max {
                            part.open += 1;
                            let now = *now.get_or_insert_with(Instant::now);
                            open.push(begin(now, gate, Held { index, slot, request }));
                        } else {
                            held_count += 1;
                            held_bytes += request.key.len() + request.value.len();
                            part.held.push_back(Held { index, slot, request });
                        }
                    }
                    Ok(Parsed::Composite(_)) => {
                        let error = Error::invalid("an operation among many is one on a single key");
                        results.push(Some(Err(error)));
                    }
                    Err(error) => results.push(Some(Err(error))),
                }
                taken += 1;
                if taken % MANY_OPEN_MAX == 0 {
                    // Who has millions of keys does not keep the thread for himself.
                    yield_now().await;
                    now = None;
                }
            }
            let Some((index, gate, operation, reply)) = open.next().await else { break };
            results[index] = Some(reply.and_then(|reply| wire::answer(operation, reply)).and_then(&read));
            let part = &mut parts[gate];
            match part.held.pop_front() {
                Some(held) => {
                    held_count -= 1;
                    held_bytes -= held.request.key.len() + held.request.value.len();
                    open.push(begin(Instant::now(), gate, held));
                }
                None => part.open -= 1,
            }
        }
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(unanswered()))).collect()
    }
}

/// Every request is open or held until its result is there; so nobody sees this.
fn unanswered() -> Error {
    Error::new(Code::Unexpected, "an operation among many was not carried out")
}
