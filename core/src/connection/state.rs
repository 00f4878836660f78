//! What callers' threads and a lane's task share.
//!
//! Invariants:
//! - A call is in `slab` (its request is in a frame of the present session) or in `parked`, never in both.
//! - `slab`, `frame`, `sealed` and `cancels` are empty unless the phase is `Open`.
//! - Frames are numbered from 0 in each session; `frame` has the number `frames_taken + sealed.len()`. Requests in frames
//!   below `frames_taken` may have reached the member, others have not.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
    task::Waker,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use prost::Message;
use slotkv_proto::{limits, v1};
use tokio::time::Instant;

use super::{
    FRAME_BYTES_SOFT, Lane, SILENCE_MS_MAX, SWEEP_MS,
    slab::{Held, Slab},
};
use crate::{
    ReadLevel,
    call::{Call, Place},
};

/// Marks tickets of calls that are parked.
const PARKED: u64 = 1 << 63;
/// Room in a frame for what stands beside the request that made it large.
const FRAME_BYTES_SPARE: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Open,
    Dead,
}

/// Limits of the member, ours where it names none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub count: usize,
    pub bytes: usize,
    pub frame_bytes: usize,
}

impl Bounds {
    pub fn of(limits: Option<&v1::Limits>) -> Self {
        let min = |theirs: u64, ours: usize| match theirs {
            0 => ours,
            _ => usize::try_from(theirs).map_or(ours, |theirs| theirs.min(ours)),
        };
        let theirs = limits.cloned().unwrap_or_default();
        Self {
            count: min(theirs.inflight_count_max.into(), limits::INFLIGHT_COUNT_MAX),
            bytes: min(theirs.inflight_bytes_max, limits::INFLIGHT_BYTES_MAX),
            frame_bytes: min(theirs.frame_bytes_max.into(), limits::FRAME_BYTES_MAX),
        }
    }
}

/// See the module.
pub(super) struct State {
    phase: Phase,
    /// Whether there ever was a connection.
    pub was_open: bool,
    pub session: u64,
    bounds: Bounds,
    pub slab: Slab,
    frame: BytesMut,
    sealed: VecDeque<BytesMut>,
    frames_taken: u64,
    pub cancels: Vec<u64>,
    /// The stream that sends, while it waits for something to send.
    pub writer: Option<Waker>,
    pub parked: BTreeMap<u64, Arc<Call>>,
    parked_next: u64,
    /// When the lane's task looks for passed deadlines next.
    pub sweep_at: Option<Instant>,
    /// Since when replies are owed and nothing has come.
    pub quiet_since: Option<Instant>,
    pub last_error: String,
    /// The request whose reply is timed, and when it was written.
    timed: Option<(u64, Instant)>,
    /// How long replies take, smoothed; 0 before the first one.
    reply_us: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            phase: Phase::Connecting,
            was_open: false,
            session: 0,
            bounds: Bounds::of(None),
            slab: Slab::default(),
            frame: BytesMut::new(),
            sealed: VecDeque::new(),
            frames_taken: 0,
            cancels: Vec::new(),
            writer: None,
            parked: BTreeMap::new(),
            parked_next: 0,
            sweep_at: None,
            quiet_since: None,
            last_error: String::new(),
            timed: None,
            reply_us: 0,
        }
    }
}

impl State {
    pub fn closed(&self) -> bool {
        self.phase == Phase::Dead
    }

    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Sends the call, or parks it while there is no connection or no room. Gives it back if the member's frames cannot
    /// hold it.
    pub fn take(&mut self, lane: &Arc<Lane>, call: Arc<Call>, now: Instant) -> Option<Arc<Call>> {
        if self.is_open() && self.parked.is_empty() && self.has_room(&call) {
            return self.write(lane, call, now);
        }
        let ticket = PARKED | self.parked_next;
        if call.put(Place::Parked(lane.clone(), ticket)) {
            self.parked_next += 1;
            self.parked.insert(ticket, call);
        }
        None
    }

    /// Sends parked calls while there is room; those that the member's frames cannot hold.
    pub fn unpark(&mut self, lane: &Arc<Lane>, now: Instant) -> Vec<Arc<Call>> {
        let mut rejected = Vec::new();
        while let Some(entry) = self.parked.first_entry() {
            if !self.slab.has_room(entry.get().bytes, self.bounds.count, self.bounds.bytes) {
                break;
            }
            let call = entry.remove();
            rejected.extend(self.write(lane, call, now));
        }
        rejected
    }

    fn has_room(&self, call: &Call) -> bool {
        self.slab.has_room(call.bytes, self.bounds.count, self.bounds.bytes)
    }

    /// Writes the request into the frame that is being filled.
    fn write(&mut self, lane: &Arc<Lane>, call: Arc<Call>, now: Instant) -> Option<Arc<Call>> {
        if call.bytes + FRAME_BYTES_SPARE > self.bounds.frame_bytes {
            return call.put(Place::Moving).then_some(call);
        }
        if !self.frame.is_empty() && self.frame.len() + call.bytes > FRAME_BYTES_SOFT {
            self.sealed.push_back(mem::take(&mut self.frame));
        }
        let id = self.slab.next_id();
        if call.encode(lane.clone(), id, now, &mut self.frame) {
            if self.slab.used() == 0 {
                self.quiet_since = Some(now);
            }
            self.timed.get_or_insert((id, now));
            self.slab.insert(call, self.frames_taken + self.sealed.len() as u64);
        }
        None
    }

    /// Whether there is something to send, and whether a whole frame is.
    pub fn pending(&self) -> (bool, bool) {
        let sealed = !self.sealed.is_empty();
        (sealed || !self.frame.is_empty() || !self.cancels.is_empty(), sealed)
    }

    /// The next frame, stamped.
    pub fn take_frame(&mut self, table_version: u64, epoch: u64) -> Bytes {
        let cancels = mem::take(&mut self.cancels);
        let trailer = v1::ClientFrame { table_version, epoch, cancels, ..Default::default() };
        self.frames_taken += 1;
        let mut frame = match self.sealed.pop_front() {
            Some(frame) => frame,
            // What is left keeps the buffer, which is used again when the frame has been sent.
            None if self.frame.capacity() <= FRAME_BYTES_SOFT => self.frame.split(),
            None => mem::take(&mut self.frame),
        };
        // `BytesMut` grows as needed, so there is always room.
        let _ = trailer.encode(&mut frame);
        frame.freeze()
    }

    /// Lets a call go: one that was sent is cancelled at the member.
    pub fn release(&mut self, ticket: u64) -> Option<Arc<Call>> {
        if ticket & PARKED != 0 {
            return self.parked.remove(&ticket);
        }
        let call = self.slab.abandon(ticket);
        if call.is_some() {
            self.cancels.push(ticket);
        }
        call
    }

    /// Begins a session: frames of the one before are void.
    pub fn begin_session(&mut self) -> u64 {
        self.session += 1;
        self.session
    }

    /// The member has welcomed us.
    pub fn open(&mut self, lane: &Arc<Lane>, bounds: Bounds, now: Instant) -> Vec<Arc<Call>> {
        if self.phase == Phase::Dead {
            return Vec::new();
        }
        self.phase = Phase::Open;
        self.bounds = bounds;
        self.unpark(lane, now)
    }

    /// Ends the session: the calls that may have reached the member, and those that have not.
    pub fn end_session(&mut self) -> (Vec<Arc<Call>>, Vec<Arc<Call>>) {
        self.session += 1;
        if self.phase == Phase::Open {
            self.phase = Phase::Connecting;
        }
        self.frame = BytesMut::new();
        self.sealed.clear();
        self.cancels.clear();
        self.quiet_since = None;
        self.timed = None;
        let taken = mem::take(&mut self.frames_taken);
        let (sent, unsent): (Vec<_>, Vec<_>) =
            self.slab.clear().into_iter().partition(|&(frame, _)| frame < taken);
        let calls = |calls: Vec<(u64, Arc<Call>)>| calls.into_iter().map(|(_, call)| call).collect();
        (calls(sent), calls(unsent))
    }

    pub fn die(&mut self) {
        self.phase = Phase::Dead;
    }

    /// Takes out the calls whose deadline has passed: those that may have reached the member, and those that have not.
    /// Plans the next look. Also tells whether the connection is suspiciously silent.
    pub fn sweep(&mut self, now: Instant) -> (Vec<Arc<Call>>, Vec<Arc<Call>>, bool) {
        let mut next: Option<Instant> = None;
        let mut passed = |call: &Arc<Call>| {
            let passed = call.deadline <= now;
            if !passed {
                next = Some(next.map_or(call.deadline, |next| next.min(call.deadline)));
            }
            passed
        };
        let late: Vec<u64> =
            self.slab.calls().filter(|(_, _, call)| passed(call)).map(|(id, _, _)| id).collect();
        let parked: Vec<u64> =
            self.parked.iter().filter(|(_, call)| passed(call)).map(|(&ticket, _)| ticket).collect();
        self.sweep_at = next.map(|next| next.max(now + Duration::from_millis(SWEEP_MS)));

        let sent: Vec<_> = late.into_iter().filter_map(|id| self.release(id)).collect();
        let unsent: Vec<_> = parked.into_iter().filter_map(|ticket| self.release(ticket)).collect();
        let silence = Duration::from_millis(SILENCE_MS_MAX);
        let silent = !sent.is_empty() && self.quiet_since.is_some_and(|since| now - since >= silence);
        (sent, unsent, silent)
    }

    /// Takes out the reads of keys that another replica may answer. (Those of ranges may take long.)
    pub fn recall_reads(&mut self) -> Vec<Arc<Call>> {
        let movable = |call: &Arc<Call>| {
            call.level != ReadLevel::Linearizable && call.is_of_keys() && call.lock().history.at_replica
        };
        let calls = self.slab.calls().filter(|(_, _, call)| movable(call));
        let ids: Vec<u64> = calls.map(|(id, _, _)| id).collect();
        ids.into_iter().filter_map(|id| self.release(id)).collect()
    }

    /// How long a further request will take, about, in microseconds: as long as others did, and longer with each that waits, or
    /// if none is answered.
    pub fn cost(&self, now: Instant) -> u64 {
        let quiet_us =
            self.quiet_since.map_or(0, |since| now.saturating_duration_since(since).as_micros() as u64);
        let ahead = (self.slab.used() + self.parked.len()) as u64;
        self.reply_us.max(quiet_us).max(1).saturating_mul(1 + ahead)
    }

    /// Frees the entry of a reply that came now: its call, if somebody still waits; whether there was such an entry at all.
    pub fn answer(&mut self, id: u64, now: Instant) -> (Option<Arc<Call>>, bool) {
        if let Some((_, written)) = self.timed.take_if(|(timed, _)| *timed == id) {
            let took_us = now.saturating_duration_since(written).as_micros() as u64;
            self.reply_us = if self.reply_us == 0 { took_us } else { (7 * self.reply_us + took_us) / 8 };
        }
        match self.slab.remove(id) {
            Held::Open(call) => (Some(call), true),
            Held::Abandoned => (None, true),
            Held::Vacant => (None, false),
        }
    }

    /// Notes that something came.
    pub fn heard(&mut self, now: Instant) {
        self.quiet_since = (self.slab.used() > 0).then_some(now);
    }
}
