//! Shard: an abstract replicated log that rules 1 to 10 have made safe, and the primary on top of it. A fail-over keeps what is
//! committed and any part of the rest.

use std::collections::BTreeMap;

use bytes::Bytes;
use slotkv_migration::{
    Bug, Chunk, Cursor, Id, Options, Party, Position, Read, ShardId, Start, Sweep, Table,
};

use crate::engine::{Engine, Entry, Op, encode, is_copied, item_of_client, item_of_key, number};

pub struct Shard {
    pub id: ShardId,
    pub epoch: u64,
    pub run: u64,
    pub log: Vec<(Position, Entry)>,
    pub commit: usize,
    /// Records before this one are no more in the log.
    pub begin: usize,
    pub engine: Engine,
    /// With what is not committed.
    pub appended: Engine,
    pub party: Option<Party>,
    pub clock_ms: i64,
    pub paused_until: u64,
    pub slow_until: u64,
    /// What a mistaken host reads items from.
    stale: BTreeMap<Id, Engine>,
    pub bug: Option<Bug>,
}

impl Shard {
    pub fn new(id: ShardId, clock_ms: i64, bug: Option<Bug>) -> Self {
        Self {
            id,
            epoch: 0,
            run: 0,
            log: Vec::new(),
            commit: 0,
            begin: 0,
            engine: Engine::default(),
            appended: Engine::default(),
            party: None,
            clock_ms,
            paused_until: 0,
            slow_until: 0,
            stale: BTreeMap::new(),
            bug,
        }
    }

    /// The primary is gone; of what is not committed the next one has so many records.
    pub fn fail(&mut self, kept: usize) {
        self.party = None;
        self.run += 1;
        self.log.truncate(self.commit + kept);
        self.stale.clear();
    }

    pub fn take_office(&mut self, now_us: u64, options: &Options, table: Table) {
        self.epoch += 1;
        self.appended = self.engine.clone();
        let tail: Vec<_> = self.log[self.commit..].to_vec();
        for (at, entry) in &tail {
            self.appended.apply(*at, entry, self.bug);
        }
        let records = tail.into_iter().filter_map(|(at, entry)| match entry {
            Entry::Handover(record) => Some((at, record)),
            _ => None,
        });
        let start = Start {
            shard: self.id,
            epoch: self.epoch,
            ledger: self.engine.ledger.clone(),
            tail: records.collect(),
            commit_index: self.commit as u64,
            table,
            loss_index: None,
        };
        self.append(Entry::Barrier);
        self.party = Some(Party::new(now_us, options.clone(), start));
    }

    pub fn append(&mut self, entry: Entry) -> Position {
        let at = Position { epoch: self.epoch, index: self.log.len() as u64 + 1 };
        self.appended.apply(at, &entry, self.bug);
        self.log.push((at, entry));
        at
    }

    /// The next record is committed, and applied.
    pub fn commit_next(&mut self) -> Option<Entry> {
        let (at, entry) = self.log.get(self.commit)?.clone();
        self.commit += 1;
        self.engine.apply(at, &entry, self.bug);
        Some(entry)
    }

    /// What the host makes of a read.
    pub fn read(&mut self, read: &Read, count: usize) -> Chunk {
        let upto = (read.upto_index as usize).min(self.log.len());
        let uncommitted = upto > self.commit;
        let engine = if uncommitted { self.appended.clone() } else { self.engine.clone() };
        let upto = upto.max(self.commit);
        let Some((at, _)) = upto.checked_sub(1).and_then(|at| self.log.get(at)) else { return Chunk::Later };
        let (mut ops, mut cursor) = (Vec::new(), Cursor::Start);
        if read.from.is_none() {
            self.stale.insert(read.id, engine.clone());
        }
        if let Some(from) = &read.from {
            let index = from.at.index as usize;
            let holds = index <= upto
                && index >= self.begin
                && self.log.get(index.wrapping_sub(1)).is_some_and(|(at, _)| *at == from.at);
            if !holds {
                return Chunk::Gone;
            }
            let end = upto.min(index + count);
            for (_, entry) in &self.log[index..end] {
                let Entry::Write(write) = entry else { continue };
                if !read.slots.contains(&write.slot) {
                    continue;
                }
                let (slot, version) = (write.slot, write.version);
                let all = self.bug == Some(Bug::ItemOverNewer);
                if all || is_copied(item_of_key(slot, write.key), &from.cursor) {
                    ops.push(Op::Row { slot, key: write.key, value: write.value, version });
                }
                if all || is_copied(item_of_client(slot, write.client), &from.cursor) {
                    ops.push(Op::Result { slot, client: write.client, sequence: write.sequence, version });
                }
                ops.push(Op::Counter { slot, counter: version });
            }
            if end < upto || from.cursor == Cursor::End || !read.with_items {
                self.spoil(&mut ops);
                let behind = (upto - end) as u64 * 64;
                return Chunk::Part {
                    cursor: from.cursor.clone(),
                    at: self.log[end - 1].0,
                    bytes: encode(&ops),
                    item_bytes: 0,
                    behind,
                };
            }
            cursor = from.cursor.clone();
        }
        let items = match self.bug {
            Some(Bug::ItemOverNewer) => self.stale.get(&read.id).unwrap_or(&engine),
            _ => &engine,
        };
        let (found, next) = items.items(&read.slots, &cursor, count);
        let place = |cursor: &Cursor| match cursor {
            Cursor::Start => 0,
            Cursor::Behind(item) => number(item),
            Cursor::End => u32::MAX,
        };
        if self.bug != Some(Bug::ItemOverNewer) {
            ops.push(Op::Replace { after: place(&cursor), upto: place(&next) });
        }
        ops.extend(found);
        let counters = read.slots.iter().filter(|slot| engine.slots.contains_key(slot));
        ops.extend(counters.map(|slot| Op::Counter { slot: *slot, counter: engine.data(*slot).counter }));
        self.spoil(&mut ops);
        let bytes = encode(&ops);
        Chunk::Part { cursor: next, at: *at, item_bytes: bytes.len(), bytes, behind: 0 }
    }

    fn spoil(&self, ops: &mut Vec<Op>) {
        if self.bug == Some(Bug::ForgetsResults) {
            ops.retain(|op| !matches!(op, Op::Result { .. }));
        }
    }

    /// The last item of a piece to be deleted, and whether it is the last of all.
    pub fn sweep(&self, sweep: &Sweep) -> (Bytes, bool) {
        match self.engine.items(&sweep.slots, &sweep.after, sweep.count_max).1 {
            Cursor::Behind(item) => (item, false),
            _ => (Bytes::new(), true),
        }
    }
}
