//! Many operations on one key each, with a result each, in their order.
//!
//! A window of them is open at a time, with a part for each shard, so that the keys of a dead shard do not hold up those of
//! living ones: what finds the part of its shard full is held back, and what comes behind it goes on. Reads of one shard
//! travel together, up to [`GET_MANY_KEYS_MAX`] in a request; what else there is has a request of its own, as has a key that
//! the worker left out: it may have moved.

use std::{collections::VecDeque, future::Future, mem};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::FuturesUnordered};
use slotkv_proto::{Code, keys, limits::GET_MANY_KEYS_MAX, v1};
use tokio::{task::yield_now, time::Instant};

use crate::{
    Answer, Client, Command, Entry, Error, Result,
    wire::{self, Parsed},
};

/// Operations of one call on many keys that are open at once, divided among the shards.
pub(crate) const MANY_OPEN_MAX: usize = 1024;
/// The part that a shard has of them at least.
pub(crate) const MANY_OPEN_OF_SHARD_MIN: usize = 16;
/// Operations that are held back since the part of their shard is full; past it none is begun until another has ended.
pub(crate) const MANY_HELD_COUNT_MAX: usize = 1 << 20;
/// Bytes of their keys and values.
pub(crate) const MANY_HELD_BYTES_MAX: usize = 64 << 20;
/// Bytes of keys that travel together.
const TOGETHER_BYTES_MAX: usize = 1 << 20;

/// What is under way of one call on many keys.
struct Many<'a> {
    client: &'a Client,
    traceparent: &'a str,
    end: Instant,
    part_max: usize,
    /// By gate, which a shard keeps for the life of the client.
    parts: Vec<Part>,
    /// Gates of the parts that may have something to send.
    touched: Vec<usize>,
    open: usize,
    open_max: usize,
    held: usize,
    held_bytes: usize,
    /// Taken since the last were sent.
    fresh: usize,
}

/// The operations of one shard.
#[derive(Default)]
struct Part {
    open: usize,
    held: VecDeque<Held>,
    is_touched: bool,
}

/// An operation that has not been sent, and which of the many it is.
struct Held {
    index: usize,
    slot: u16,
    ask: Ask,
}

enum Ask {
    /// A read that may travel with others.
    Together(Bytes),
    Alone(Box<v1::Request>),
}

/// What was sent in one request.
enum Sent {
    Together(Vec<Held>),
    Alone(usize, v1::Operation),
}

impl Client {
    /// Carries out operations on one key each; results in their order.
    pub(crate) async fn many<T>(
        &self,
        commands: impl Iterator<Item = Command>,
        traceparent: &str,
        read: impl Fn(Answer) -> Result<T>,
    ) -> Vec<Result<T>> {
        let mut many = Many::new(self, traceparent);
        let mut results: Vec<Option<Result<T>>> = Vec::with_capacity(commands.size_hint().0.min(1 << 20));
        let mut requests = FuturesUnordered::new();
        let mut commands = Some(commands);
        loop {
            while let Some(more) = &mut commands
                && many.has_room()
            {
                let Some(command) = more.next() else {
                    commands = None;
                    break;
                };
                let asked = self.ask(command);
                results.push(asked.as_ref().err().map(|error| Err(error.clone())));
                if let Ok((slot, ask)) = asked {
                    many.hold(Held { index: results.len() - 1, slot, ask });
                }
            }
            requests.extend(many.send());
            if commands.is_some() && many.has_room() {
                // Who has millions of keys does not keep the thread for himself.
                yield_now().await;
                continue;
            }
            let Some((gate, sent, reply)) = requests.next().await else { break };
            many.ended(gate, &sent);
            match sent {
                Sent::Alone(index, operation) => {
                    let answer = wire::answer_of(operation, reply);
                    results[index] = Some(answer.and_then(&read));
                }
                Sent::Together(keys) => {
                    many.found(keys, reply, |index, answer| results[index] = Some(answer.and_then(&read)));
                }
            }
        }
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(unanswered()))).collect()
    }

    /// Checks an operation; its slot and how it asks.
    fn ask(&self, command: Command) -> Result<(u16, Ask)> {
        let namespace_bytes = self.namespace_name().len();
        match command {
            Command::Get { key } => {
                wire::check_key(&key, namespace_bytes)?;
                Ok((self.slot(&key), Ask::Together(key)))
            }
            other => match wire::parse(other, namespace_bytes)? {
                Parsed::Single(request) => Ok((self.slot(&request.key), Ask::Alone(Box::new(request)))),
                Parsed::Composite(_) => Err(Error::invalid("an operation among many is one on a single key")),
            },
        }
    }
}

impl<'a> Many<'a> {
    fn new(client: &'a Client, traceparent: &'a str) -> Self {
        let shards = client.snapshot().shards.len().max(1);
        let part_max = (MANY_OPEN_MAX / shards).max(MANY_OPEN_OF_SHARD_MIN);
        Self {
            client,
            traceparent,
            end: Instant::now() + client.deadline(),
            part_max,
            parts: Vec::new(),
            touched: Vec::new(),
            open: 0,
            open_max: part_max * shards,
            held: 0,
            held_bytes: 0,
            fresh: 0,
        }
    }

    /// Whether a further operation may be taken.
    fn has_room(&self) -> bool {
        self.open + self.fresh < self.open_max
            && self.held < MANY_HELD_COUNT_MAX
            && self.held_bytes < MANY_HELD_BYTES_MAX
    }

    fn hold(&mut self, held: Held) {
        let gate = self.client.gate(held.slot);
        if self.parts.len() <= gate {
            self.parts.resize_with(gate + 1, Part::default);
        }
        self.fresh += 1;
        self.held += 1;
        self.held_bytes += held.bytes();
        self.parts[gate].held.push_back(held);
        self.touch(gate);
    }

    fn touch(&mut self, gate: usize) {
        if !mem::replace(&mut self.parts[gate].is_touched, true) {
            self.touched.push(gate);
        }
    }

    /// Sends what is held of each shard while its part has room: requests with their replies.
    fn send(&mut self) -> Vec<impl Future<Output = (usize, Sent, Result<v1::Reply>)> + use<'a>> {
        self.fresh = 0;
        let mut requests = Vec::new();
        // One for all that begin together: the clock is not cheap.
        let mut now = None;
        for gate in mem::take(&mut self.touched) {
            self.parts[gate].is_touched = false;
            while let Some((slot, request, sent)) = self.next(gate) {
                let now = *now.get_or_insert_with(Instant::now);
                let reply = self.client.send_one(request, slot, now, self.end, self.traceparent);
                requests.push(async move { (gate, sent, reply.await) });
            }
        }
        requests
    }

    /// The next request of a part, if it has room and holds something.
    fn next(&mut self, gate: usize) -> Option<(u16, v1::Request, Sent)> {
        let part = &mut self.parts[gate];
        let room = self.part_max.saturating_sub(part.open);
        let together = part.together(room.min(GET_MANY_KEYS_MAX));
        let (slot, request, sent) = if together > 1 {
            let keys: Vec<_> = part.held.drain(..together).collect();
            self.held_bytes -= keys.iter().map(Held::bytes).sum::<usize>();
            (keys[0].slot, get_many(&keys), Sent::Together(keys))
        } else if room > 0 {
            let held = part.held.pop_front()?;
            self.held_bytes -= held.bytes();
            let request = held.ask.alone();
            let sent = Sent::Alone(held.index, request.operation());
            (held.slot, request, sent)
        } else {
            return None;
        };
        let count = sent.count();
        part.open += count;
        self.open += count;
        self.held -= count;
        Some((slot, request, sent))
    }

    fn ended(&mut self, gate: usize, sent: &Sent) {
        self.parts[gate].open -= sent.count();
        self.open -= sent.count();
        self.touch(gate);
    }

    /// Gives each of the keys that were sent together its answer, or holds it again.
    fn found(
        &mut self,
        sent: Vec<Held>,
        reply: Result<v1::Reply>,
        mut give: impl FnMut(usize, Result<Answer>),
    ) {
        let found = match reply {
            Ok(reply) if (1..=sent.len()).contains(&reply.found.len()) => Ok(reply.found),
            Ok(reply) => Err(wire::unexpected(v1::Operation::GetMany, &reply)),
            Err(error) => Err(error),
        };
        let mut found = match found {
            Ok(found) => found.into_iter(),
            Err(error) => return sent.iter().for_each(|held| give(held.index, Err(error.clone()))),
        };
        for held in sent {
            match found.next().map(|found| (found.status(), found)) {
                Some((v1::Status::Found, v1::Found { value, version, ttl_ms, .. })) => {
                    let entry = Entry { value, version, ttl: wire::ttl_left(ttl_ms) };
                    give(held.index, Ok(Answer::Entry(Some(entry))));
                }
                Some((v1::Status::NotFound, _)) => give(held.index, Ok(Answer::Entry(None))),
                Some(_) => self.hold(Held { ask: Ask::Alone(Box::new(held.ask.alone())), ..held }),
                None => self.hold(held),
            }
        }
    }
}

impl Part {
    /// How many of the first that are held may travel together.
    fn together(&self, count_max: usize) -> usize {
        let mut bytes = 0;
        let fits = |held: &&Held| {
            bytes += held.bytes();
            matches!(held.ask, Ask::Together(_)) && bytes <= TOGETHER_BYTES_MAX
        };
        self.held.iter().take(count_max).take_while(fits).count()
    }
}

impl Held {
    fn bytes(&self) -> usize {
        match &self.ask {
            Ask::Together(key) => key.len(),
            Ask::Alone(request) => request.key.len() + request.value.len(),
        }
    }
}

impl Ask {
    fn alone(self) -> v1::Request {
        match self {
            Ask::Together(key) => {
                v1::Request { operation: v1::Operation::Get as i32, key, ..v1::Request::default() }
            }
            Ask::Alone(request) => *request,
        }
    }
}

impl Sent {
    fn count(&self) -> usize {
        match self {
            Sent::Together(keys) => keys.len(),
            Sent::Alone(..) => 1,
        }
    }
}

fn get_many(sent: &[Held]) -> v1::Request {
    // A length takes up to three bytes.
    let mut packed = BytesMut::with_capacity(sent.iter().map(|held| held.bytes() + 3).sum());
    for held in sent {
        if let Ask::Together(key) = &held.ask {
            keys::append(key, &mut packed);
        }
    }
    v1::Request { operation: v1::Operation::GetMany as i32, keys: packed.freeze(), ..v1::Request::default() }
}

/// Every operation is open or held until its result is there; so nobody sees this.
fn unanswered() -> Error {
    Error::new(Code::Unexpected, "an operation among many was not carried out")
}
