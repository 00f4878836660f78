//! The room for open calls of a client: bounded by count and bytes, with a share for each shard.
//!
//! Invariants:
//! - A call is open from its admission to its end, whatever happens to it between, pauses included.
//! - No shard has more than half of the room, and a quarter of it is kept for all shards in equal parts: so a living shard
//!   has room however many others are dead.
//! - `borrowed` is what the shards have beyond their parts.
//! - Who finds no room waits, first come first served within a shard.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    call::{Call, Place},
    connection::SWEEP_MS,
    routing::GATE_NOBODY,
};

/// Bytes of keys and values of open calls.
pub(crate) const OPEN_BYTES_MAX: usize = 128 << 20;
/// One part in so many of the room is kept for all shards, in equal parts.
const KEPT: usize = 4;
/// Submitted calls that may wait for room; further ones get OVERLOADED. (Who awaits a call waits with it, unbounded.)
pub(crate) const WAITING_COUNT_MAX: usize = 65_536;
/// Bytes of keys and values of submitted calls that may wait for room.
pub(crate) const WAITING_BYTES_MAX: usize = 128 << 20;

/// What the gate says to a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Admitted,
    /// It waits; whether the gate's next deadline came nearer by it.
    Waiting(bool),
    Overloaded,
    Closed,
}

/// See the module.
pub(crate) struct Gate {
    count_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: u64,
    open: Load,
    waiting: Load,
    borrowed: Load,
    /// What is kept for each shard; nothing if there is one only.
    part: Load,
    shards: usize,
    /// By gate number of the shard.
    shares: Vec<Share>,
    tickets: u64,
    sweep_at: Option<Instant>,
    closed: bool,
}

impl State {
    fn deserted(&self) -> bool {
        self.closed && self.open.count + self.waiting.count == 0
    }

    /// Adds to what is open, or takes from it.
    fn shift(&mut self, gate: usize, by: impl Fn(&mut Load)) {
        by(&mut self.open);
        let part = part_of(gate, self.part);
        let open = &mut self.shares[gate].open;
        let before = open.beyond(part);
        by(open);
        let after = open.beyond(part);
        self.borrowed.count = self.borrowed.count - before.count + after.count;
        self.borrowed.bytes = self.borrowed.bytes - before.bytes + after.bytes;
    }
}

/// What is kept for a gate: calls to slots without an owner have no part, since nobody answers them.
fn part_of(gate: usize, part: Load) -> Load {
    if gate == GATE_NOBODY as usize { Load::default() } else { part }
}

#[derive(Default)]
struct Share {
    open: Load,
    waiting: BTreeMap<u64, Arc<Call>>,
}

#[derive(Clone, Copy, Default)]
struct Load {
    count: usize,
    bytes: usize,
}

impl Load {
    fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
    }

    fn sub(&mut self, load: Load) {
        self.count -= load.count;
        self.bytes -= load.bytes;
    }

    fn beyond(&self, part: Load) -> Load {
        let count = self.count.saturating_sub(part.count);
        Load { count, bytes: self.bytes.saturating_sub(part.bytes) }
    }

    fn fits(&self, bytes: usize, count_max: usize, bytes_max: usize) -> bool {
        self.count < count_max && (self.bytes + bytes <= bytes_max || self.count == 0)
    }
}

/// Room that calls gave back, to be given on at once.
#[derive(Default)]
pub(crate) struct Freed(Vec<(u32, Load)>);

impl Freed {
    pub fn add(&mut self, call: &Call) {
        match self.0.last_mut() {
            Some((gate, load)) if *gate == call.gate => load.add(call.bytes),
            _ => self.0.push((call.gate, Load { count: 1, bytes: call.bytes })),
        }
    }
}

impl Gate {
    pub fn new(count_max: usize) -> Self {
        Self { count_max: count_max.max(1), state: Mutex::default() }
    }

    /// Lets a new call in, or lets it wait. The room is shared if there are several shards.
    pub fn admit(&self, call: &Arc<Call>, shards: usize) -> Admission {
        let mut state = self.lock();
        if state.shards != shards {
            self.divide(&mut state, shards);
        }
        if state.closed {
            return Admission::Closed;
        }
        state.calls += call.count;
        let gate = call.gate as usize;
        if state.shares.len() <= gate {
            state.shares.resize_with(gate + 1, Share::default);
        }
        if state.shares[gate].waiting.is_empty() && self.has_room(&state, gate, call.bytes) {
            state.shift(gate, |load| load.add(call.bytes));
            return Admission::Admitted;
        }
        if !call.patient && !state.waiting.fits(call.bytes, WAITING_COUNT_MAX, WAITING_BYTES_MAX) {
            return Admission::Overloaded;
        }
        let ticket = state.tickets;
        state.tickets += 1;
        if call.put(Place::Gated(ticket)) {
            state.waiting.add(call.bytes);
            state.shares[gate].waiting.insert(ticket, call.clone());
        }
        let nearer = state.sweep_at.is_none_or(|at| call.deadline + Duration::from_millis(SWEEP_MS) < at);
        if nearer {
            state.sweep_at = Some(call.deadline);
        }
        Admission::Waiting(nearer)
    }

    /// Takes back the room of calls that have ended; the calls that it goes to, now admitted, and whether nobody may come
    /// in and nobody is left.
    pub fn free(&self, freed: &Freed) -> (Vec<Arc<Call>>, bool) {
        let mut state = self.lock();
        for &(gate, load) in &freed.0 {
            state.shift(gate as usize, |open| open.sub(load));
        }
        let mut admitted = Vec::new();
        while state.waiting.count > 0 {
            let Some(gate) = self.next(&state) else { break };
            let Some((_, call)) = state.shares[gate].waiting.pop_first() else { break };
            state.waiting.sub(Load { count: 1, bytes: call.bytes });
            // One that has ended meanwhile is about to be forgotten.
            if call.put(Place::Moving) {
                state.shift(gate, |load| load.add(call.bytes));
                admitted.push(call);
            }
        }
        (admitted, state.deserted())
    }

    /// The share whose first waiting call is the oldest of those there is room for.
    fn next(&self, state: &State) -> Option<usize> {
        let heads = state.shares.iter().enumerate().filter_map(|(gate, share)| {
            let (&ticket, call) = share.waiting.first_key_value()?;
            self.has_room(state, gate, call.bytes).then_some((ticket, gate))
        });
        heads.min().map(|(_, gate)| gate)
    }

    fn has_room(&self, state: &State, gate: usize, bytes: usize) -> bool {
        if !state.open.fits(bytes, self.count_max, OPEN_BYTES_MAX) {
            return false;
        }
        let open = state.shares[gate].open;
        if state.shards <= 1 || open.count == 0 {
            return true;
        }
        let (part, more) =
            (part_of(gate, state.part), Load { count: open.count + 1, bytes: open.bytes + bytes });
        let (now, then) = (open.beyond(part), more.beyond(part));
        let kept = Load { count: state.part.count * state.shards, bytes: state.part.bytes * state.shards };
        open.fits(bytes, self.count_max.div_ceil(2), OPEN_BYTES_MAX / 2)
            && (then.count == now.count || state.borrowed.count < self.count_max - kept.count)
            && (then.bytes == now.bytes
                || state.borrowed.bytes - now.bytes + then.bytes <= OPEN_BYTES_MAX - kept.bytes)
    }

    /// Gives each of so many shards its part.
    fn divide(&self, state: &mut State, shards: usize) {
        state.shards = shards;
        state.part = match shards {
            0 | 1 => Load::default(),
            _ => Load {
                count: self.count_max.div_ceil(KEPT * shards).min(self.count_max / shards),
                bytes: OPEN_BYTES_MAX / (KEPT * shards),
            },
        };
        let part = state.part;
        let beyond =
            state.shares.iter().enumerate().map(|(gate, share)| share.open.beyond(part_of(gate, part)));
        state.borrowed = beyond.fold(Load::default(), |sum, load| Load {
            count: sum.count + load.count,
            bytes: sum.bytes + load.bytes,
        });
    }

    /// Counts a call that does not come in.
    pub fn count(&self, call: &Call) {
        self.lock().calls += call.count;
    }

    /// Removes a waiting call.
    pub fn forget(&self, call: &Call, ticket: u64) {
        let mut state = self.lock();
        let removed =
            state.shares.get_mut(call.gate as usize).and_then(|share| share.waiting.remove(&ticket));
        if removed.is_some() {
            state.waiting.sub(Load { count: 1, bytes: call.bytes });
        }
    }

    /// When the next deadline of a waiting call may pass.
    pub fn sweep_at(&self) -> Option<Instant> {
        self.lock().sweep_at
    }

    /// Waiting calls whose deadline has passed. They stay, until they are forgotten.
    pub fn expired(&self, now: Instant) -> Vec<Arc<Call>> {
        let mut state = self.lock();
        let (expired, left): (Vec<_>, Vec<_>) = state
            .shares
            .iter()
            .flat_map(|share| share.waiting.values())
            .partition(|call| call.deadline <= now);
        let next = left.iter().map(|call| call.deadline).min();
        let expired = expired.into_iter().cloned().collect();
        state.sweep_at = next.map(|next| next.max(now + Duration::from_millis(SWEEP_MS)));
        expired
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    /// Every waiting call. They stay, until they are forgotten.
    pub fn waiting_calls(&self) -> Vec<Arc<Call>> {
        self.lock().shares.iter().flat_map(|share| share.waiting.values().cloned()).collect()
    }

    /// Calls begun, open and waiting.
    pub fn counts(&self) -> (u64, usize, usize) {
        let state = self.lock();
        (state.calls, state.open.count, state.waiting.count)
    }

    /// Whether nobody may come in and nobody is left.
    pub fn deserted(&self) -> bool {
        self.lock().deserted()
    }

    pub fn closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use slotkv_proto::v1;

    use super::*;

    fn call(gate: u32, bytes: usize, patient: bool) -> Arc<Call> {
        let request = v1::Request { value: vec![0; bytes].into(), ..Default::default() };
        let callback: Option<crate::call::Callback> = if patient { None } else { Some(Box::new(|_| {})) };
        let mut call = Call::new(request, (0, 0), Instant::now(), tracing::Span::none(), callback);
        call.gate = gate;
        Arc::new(call)
    }

    fn free(gate: &Gate, call: &Call) -> Vec<Arc<Call>> {
        let mut freed = Freed::default();
        freed.add(call);
        gate.free(&freed).0
    }

    #[test]
    fn a_shard_that_answers_nothing_leaves_half_of_the_room_to_the_others() {
        let gate = Gate::new(4);
        assert_eq!(gate.admit(&call(2, 1, true), 2), Admission::Admitted);
        let dead: Vec<_> = (0..5).map(|_| gate.admit(&call(1, 1, true), 2)).collect();
        assert_eq!(dead[..2], [Admission::Admitted, Admission::Admitted]);
        assert!(dead[2..].iter().all(|admission| matches!(admission, Admission::Waiting(_))));
        for _ in 0..10 {
            let other = call(2, 1, true);
            assert_eq!(gate.admit(&other, 2), Admission::Admitted);
            assert!(free(&gate, &other).is_empty());
        }
        assert_eq!(gate.counts(), (16, 3, 3));
    }

    #[test]
    fn a_living_shard_has_room_whoever_else_is_dead() {
        for (count_max, shards) in [(3, 3), (100, 3), (1000, 50), (16384, 4096)] {
            let gate = Gate::new(count_max);
            for dead in 1..shards {
                for _ in 0..count_max / 2 + 2 {
                    if gate.admit(&call(dead, 1, true), shards as usize) != Admission::Admitted {
                        break;
                    }
                }
            }
            let part = (count_max / (4 * shards as usize)).max(1);
            let living: Vec<_> = (0..part).map(|_| call(shards, 1, true)).collect();
            for call in &living {
                assert_eq!(gate.admit(call, shards as usize), Admission::Admitted, "{count_max} {shards}");
            }
            assert!(gate.counts().1 <= count_max);
            for call in &living {
                assert!(free(&gate, call).is_empty(), "what a living one gives back is not for a dead one");
            }
        }
    }

    #[test]
    fn what_is_borrowed_is_counted_though_shards_come_and_go() {
        let gate = Gate::new(100);
        let chance = slotkv_proto::seam::SeededChance::new(3);
        let mut open = Vec::new();
        for step in 0..5000 {
            use slotkv_proto::seam::Chance;
            let shards = 1 + chance.below(5) as usize;
            let call = call(chance.below(6) as u32, chance.below(8 << 20) as usize, true);
            if open.is_empty() || chance.below(5) < 3 {
                match gate.admit(&call, shards) {
                    Admission::Admitted => open.push(call),
                    _ => {
                        let Place::Gated(ticket) = call.lock().place else { panic!("not waiting") };
                        gate.forget(&call, ticket);
                    }
                }
            } else {
                let call = open.swap_remove(chance.below(open.len() as u64) as usize);
                assert!(free(&gate, &call).is_empty());
            }
            let mut state = gate.lock();
            let counted = (state.borrowed.count, state.borrowed.bytes);
            let shards = state.shards;
            gate.divide(&mut state, shards);
            assert_eq!(counted, (state.borrowed.count, state.borrowed.bytes), "step {step}");
            assert!(state.open.count <= 100 && state.open.bytes <= OPEN_BYTES_MAX + (8 << 20));
        }
    }

    #[test]
    fn who_waits_longest_goes_first_where_there_is_room() {
        let gate = Gate::new(2);
        let (first, second) = (call(1, 1, true), call(2, 1, true));
        assert_eq!(gate.admit(&first, 2), Admission::Admitted);
        assert_eq!(gate.admit(&second, 2), Admission::Admitted);
        let waiting = [call(2, 1, true), call(1, 1, true), call(1, 1, true)];
        for call in &waiting {
            assert!(matches!(gate.admit(call, 2), Admission::Waiting(_)));
        }
        let next = free(&gate, &first);
        assert!(next.len() == 1 && Arc::ptr_eq(&next[0], &waiting[1]), "the share of 2 is used up");
        let next = free(&gate, &second);
        assert!(next.len() == 1 && Arc::ptr_eq(&next[0], &waiting[0]));
        let Place::Gated(ticket) = waiting[2].lock().place else { panic!("not waiting") };
        gate.forget(&waiting[2], ticket);
        assert_eq!(gate.counts(), (5, 2, 0));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let gate = Gate::new(1000);
        let large = call(1, OPEN_BYTES_MAX - 10, true);
        assert_eq!(gate.admit(&large, 1), Admission::Admitted);
        assert_eq!(gate.admit(&call(1, 10, true), 1), Admission::Admitted);
        assert!(matches!(gate.admit(&call(1, 1, true), 1), Admission::Waiting(_)));
        assert_eq!(free(&gate, &large).len(), 1);
    }

    #[test]
    fn submitted_calls_past_the_bound_of_the_queue_are_refused() {
        let gate = Gate::new(1);
        assert_eq!(gate.admit(&call(1, 1, false), 1), Admission::Admitted);
        assert!(matches!(gate.admit(&call(1, WAITING_BYTES_MAX, false), 1), Admission::Waiting(_)));
        assert_eq!(gate.admit(&call(1, 1, false), 1), Admission::Overloaded);
        assert!(matches!(gate.admit(&call(1, 1, true), 1), Admission::Waiting(_)));
        gate.close();
        assert_eq!(gate.admit(&call(1, 1, true), 1), Admission::Closed);
    }
}
