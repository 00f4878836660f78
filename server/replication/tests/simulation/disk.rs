//! Disk: what of a replica's log and promise is written, and what of it survives a crash.

use std::collections::VecDeque;

use bytes::Bytes;
use rand::{Rng, rngs::SmallRng};
use slotkv_replication::{History, Position, Promise, Write};

/// One record: where it stands and which it is.
pub type Entry = (Position, u64);

/// Content of a disk. The records up to `begin` are in the engine and not in the log any more.
#[derive(Clone, Debug, Default)]
pub struct Plane {
    pub entries: Vec<Entry>,
    pub begin: u64,
    pub applied: u64,
    pub promise: Promise,
    /// What has come of a snapshot. Opening the disk drops it.
    pub staged: Vec<Entry>,
}

/// A write on its way to the disk.
#[derive(Clone, Debug)]
pub struct Pending {
    pub id: u64,
    pub change: Change,
}

#[derive(Clone, Debug)]
pub enum Change {
    Append(Vec<Entry>),
    Cut(u64),
    /// Begins a snapshot, or adds to it.
    Stage {
        begins: bool,
        entries: Vec<Entry>,
    },
    Install,
    Promise(Promise),
    Nothing,
}

impl Change {
    pub fn of(write: Write, barrier: u64) -> Self {
        match write {
            Write::Append(records) => {
                let entry = |record: slotkv_replication::Record| {
                    (record.position, u64::from_le_bytes(record.payload[..8].try_into().unwrap()))
                };
                Change::Append(records.into_iter().map(entry).collect())
            }
            Write::Barrier(position) => Change::Append(vec![(position, barrier)]),
            Write::Cut(index) => Change::Cut(index),
            Write::Part(part) => Change::Stage { begins: part.number == 0, entries: unpack(&part.bytes) },
            Write::Install(_) => Change::Install,
            Write::Promise(promise) => Change::Promise(promise),
        }
    }
}

/// Records as a part of a snapshot.
pub fn pack(entries: &[Entry]) -> Bytes {
    let words = entries.iter().flat_map(|(position, id)| [position.epoch, position.index, *id]);
    words.flat_map(u64::to_le_bytes).collect()
}

fn unpack(bytes: &[u8]) -> Vec<Entry> {
    let words: Vec<u64> =
        bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
    let entry = |words: &[u64]| (Position { epoch: words[0], index: words[1] }, words[2]);
    words.chunks_exact(3).map(entry).collect()
}

impl Plane {
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Append(entries) => self.entries.extend(entries),
            Change::Cut(index) => self.entries.truncate(*index as usize),
            Change::Stage { begins, entries } => {
                if *begins {
                    self.staged.clear();
                }
                self.staged.extend(entries);
            }
            Change::Install => {
                self.entries = std::mem::take(&mut self.staged);
                self.begin = self.entries.len() as u64;
                self.applied = self.begin;
            }
            Change::Promise(promise) => self.promise = *promise,
            Change::Nothing => {}
        }
    }

    pub fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The outline of the log as opening it would find it.
    pub fn history(&self) -> History {
        let begin = match self.begin {
            0 => Position::default(),
            index => self.entries[index as usize - 1].0,
        };
        let mut starts = vec![begin];
        for (position, _) in &self.entries[self.begin as usize..] {
            if position.epoch > starts[starts.len() - 1].epoch {
                starts.push(*position);
            }
        }
        History::restore(starts, self.last())
    }
}

/// What is certain and what the process sees.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub durable: Plane,
    pub view: Plane,
    pub pending: VecDeque<Pending>,
    /// Under `interval` durability: what was reported and is not synced.
    pub cached: VecDeque<Change>,
    pub is_interval: bool,
    /// The last write that the present process was told to be done.
    pub done_id: u64,
    /// The engine's copy on the disk, as far as it is ahead of the log's.
    pub ahead: Vec<Entry>,
}

impl Disk {
    pub fn begin(&mut self, pending: Pending) {
        self.view.apply(&pending.change);
        self.pending.push_back(pending);
    }

    pub fn done(&mut self, id: u64) {
        while let Some(pending) = self.pending.front()
            && pending.id <= id
        {
            let pending = self.pending.pop_front().unwrap();
            self.done_id = pending.id;
            match pending.change {
                Change::Promise(_) => self.durable.apply(&pending.change),
                // As `Log::truncate_back` does it: synced, with everything before it, under either durability.
                Change::Cut(_) => {
                    self.sync();
                    self.durable.apply(&pending.change);
                }
                Change::Install => {
                    self.sync();
                    self.durable.apply(&pending.change);
                    self.ahead.clear();
                }
                change if self.is_interval => self.cached.push_back(change),
                change => self.durable.apply(&change),
            }
        }
    }

    /// What was reported is certain now.
    pub fn sync(&mut self) {
        for change in self.cached.drain(..) {
            self.durable.apply(&change);
        }
    }

    /// What is not certain will not survive.
    pub fn forget(&mut self) {
        self.cached.clear();
        self.pending.clear();
    }

    /// Everything is written and synced, as by a process that ends well.
    pub fn close(&mut self) {
        self.done(u64::MAX);
        self.sync();
        self.reopen();
    }

    /// Of what was being written some of the first may be there, of the next a part.
    pub fn crash(&mut self, rng: &mut SmallRng) {
        let lost = rng.random_bool(0.7).then(|| rng.random_range(0..=self.cached.len()));
        if let Some(kept) = lost.filter(|kept| *kept < self.cached.len()) {
            self.cached.truncate(kept);
            // Promises and cuts are synced by themselves; nothing else that was begun can be there.
            self.pending.clear();
        }
        self.sync();
        let survives = if rng.random_bool(0.5) { 0 } else { rng.random_range(0..=self.pending.len()) };
        for pending in self.pending.drain(..).take(survives) {
            self.durable.apply(&pending.change);
        }
        if let Some(Pending { change: Change::Append(entries), .. }) = self.pending.pop_front() {
            let part = rng.random_range(0..=entries.len());
            self.durable.entries.extend(&entries[..part]);
        }
        self.pending.clear();
        self.reopen();
    }

    fn reopen(&mut self) {
        self.durable.applied = self.durable.applied.min(self.durable.last());
        self.durable.staged.clear();
        if self.ahead.len() > self.durable.entries.len() {
            self.durable.entries.clone_from(&self.ahead);
            self.durable.begin = self.ahead.len() as u64;
            self.durable.applied = self.durable.begin;
        }
        self.ahead.clear();
        self.done_id = 0;
        self.view = self.durable.clone();
    }
}
