//! Engine: what a shard's log amounts to: rows, results, counters, and the ledger. And the payloads that hosts make of it, which
//! the machines do not look into.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use slotkv_migration::{Bug, Cursor, Ledger, Position, Record, Slot};

pub const KEYS: u8 = 3;
pub const CLIENTS: u8 = 3;

/// What a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Barrier,
    Write(Write),
    Handover(Record),
}

/// A client's write and its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    pub slot: Slot,
    pub key: u8,
    /// 0: a delete.
    pub value: u64,
    pub version: u64,
    pub client: u8,
    pub sequence: u64,
    pub time_ms: u64,
}

/// One slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// Value and version by key.
    pub rows: BTreeMap<u8, (u64, u64)>,
    /// By client, its last write and the version that it was told.
    pub results: BTreeMap<u8, (u64, u64)>,
    pub counter: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Engine {
    pub slots: BTreeMap<Slot, Data>,
    pub ledger: Ledger,
    pub time_ms: u64,
    /// What shown indexes are above indexes.
    pub base: u64,
    pub index: u64,
    /// Slots whose data was once deleted here, and came back since; for summaries.
    pub returned: BTreeSet<Slot>,
}

/// Items in the order in which they are copied.
pub fn item_of_client(slot: Slot, client: u8) -> u32 {
    u32::from(slot) * 1000 + u32::from(client)
}

pub fn item_of_key(slot: Slot, key: u8) -> u32 {
    u32::from(slot) * 1000 + 500 + u32::from(key)
}

pub fn is_copied(item: u32, cursor: &Cursor) -> bool {
    match cursor {
        Cursor::Start => false,
        Cursor::Behind(last) => item <= number(last),
        Cursor::End => true,
    }
}

pub fn bytes_of(item: u32) -> Bytes {
    Bytes::copy_from_slice(&item.to_be_bytes())
}

pub fn number(bytes: &Bytes) -> u32 {
    u32::from_be_bytes(bytes[..].try_into().expect("4 bytes"))
}

/// An instruction of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Nothing else is between these items.
    Replace {
        after: u32,
        upto: u32,
    },
    Row {
        slot: Slot,
        key: u8,
        value: u64,
        version: u64,
    },
    Result {
        slot: Slot,
        client: u8,
        sequence: u64,
        version: u64,
    },
    Counter {
        slot: Slot,
        counter: u64,
    },
}

/// Words of an instruction.
const WORDS: usize = 5;

pub fn encode(ops: &[Op]) -> Bytes {
    let words = ops.iter().flat_map(|op| match *op {
        Op::Replace { after, upto } => [0, after.into(), upto.into(), 0, 0],
        Op::Row { slot, key, value, version } => [1, slot.into(), key.into(), value, version],
        Op::Result { slot, client, sequence, version } => [2, slot.into(), client.into(), sequence, version],
        Op::Counter { slot, counter } => [3, slot.into(), counter, 0, 0],
    });
    words.flat_map(u64::to_le_bytes).collect::<Vec<u8>>().into()
}

pub fn decode(bytes: &Bytes) -> Vec<Op> {
    let words: Vec<u64> =
        bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes"))).collect();
    let op = |words: &[u64]| match words {
        [0, after, upto, ..] => Op::Replace { after: *after as u32, upto: *upto as u32 },
        [1, slot, key, value, version] => {
            Op::Row { slot: *slot as Slot, key: *key as u8, value: *value, version: *version }
        }
        [2, slot, client, sequence, version] => {
            Op::Result { slot: *slot as Slot, client: *client as u8, sequence: *sequence, version: *version }
        }
        [_, slot, counter, ..] => Op::Counter { slot: *slot as Slot, counter: *counter },
        _ => unreachable!("an instruction has {WORDS} words"),
    };
    words.chunks(WORDS).map(op).collect()
}

impl Engine {
    pub fn shown(&self) -> u64 {
        self.base + self.index
    }

    pub fn data(&self, slot: Slot) -> Data {
        self.slots.get(&slot).cloned().unwrap_or_default()
    }

    /// Takes the next record of the log.
    pub fn apply(&mut self, at: Position, entry: &Entry, bug: Option<Bug>) {
        self.index = at.index;
        match entry {
            Entry::Barrier => {}
            Entry::Write(write) => {
                self.time_ms = self.time_ms.max(write.time_ms);
                let data = self.slots.entry(write.slot).or_default();
                data.take(write);
            }
            Entry::Handover(record) => {
                let slots = self.ledger.apply(at, record, bug);
                match record {
                    Record::Stage { bytes, .. } => self.stage(&slots, &decode(bytes)),
                    Record::Imported { levels, .. } if bug != Some(Bug::KeepsLevels) && !slots.is_empty() => {
                        let mut levels = levels
                            .chunks(8)
                            .map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
                        let (shown, time_ms) = (levels.next().unwrap_or(0), levels.next().unwrap_or(0));
                        self.base += shown.saturating_sub(self.shown());
                        self.time_ms = self.time_ms.max(time_ms);
                        self.returned.extend(slots);
                    }
                    Record::Clean { upto, is_last, .. } => {
                        for slot in slots {
                            if *is_last {
                                self.slots.remove(&slot);
                            } else if let Some(data) = self.slots.get_mut(&slot) {
                                data.drop_items(slot, |item| item <= number(upto));
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn stage(&mut self, slots: &[Slot], ops: &[Op]) {
        for op in ops {
            let slot = match *op {
                Op::Replace { after, upto } => {
                    for slot in slots {
                        let data = self.slots.entry(*slot).or_default();
                        data.drop_items(*slot, |item| after < item && item <= upto);
                    }
                    continue;
                }
                Op::Row { slot, .. } | Op::Result { slot, .. } | Op::Counter { slot, .. } => slot,
            };
            if !slots.contains(&slot) {
                continue;
            }
            let data = self.slots.entry(slot).or_default();
            match *op {
                Op::Row { key, value: 0, .. } => drop(data.rows.remove(&key)),
                Op::Row { key, value, version, .. } => drop(data.rows.insert(key, (value, version))),
                Op::Result { client, sequence, version, .. } => {
                    data.results.insert(client, (sequence, version));
                }
                Op::Counter { counter, .. } => data.counter = counter,
                Op::Replace { .. } => {}
            }
        }
    }

    /// The items of some slots behind a cursor, `count` at most, as instructions; and up to which item that is.
    pub fn items(&self, slots: &[Slot], after: &Cursor, count: usize) -> (Vec<Op>, Cursor) {
        let mut found: Vec<(u32, Op)> = Vec::new();
        for slot in slots {
            let Some(data) = self.slots.get(slot) else { continue };
            let results = data.results.iter().map(|(client, (sequence, version))| {
                let op = Op::Result { slot: *slot, client: *client, sequence: *sequence, version: *version };
                (item_of_client(*slot, *client), op)
            });
            let rows = data.rows.iter().map(|(key, (value, version))| {
                let op = Op::Row { slot: *slot, key: *key, value: *value, version: *version };
                (item_of_key(*slot, *key), op)
            });
            found.extend(results.chain(rows));
        }
        found.sort_unstable_by_key(|(item, _)| *item);
        found.retain(|(item, _)| !is_copied(*item, after));
        let is_all = found.len() <= count;
        found.truncate(count);
        let upto = match found.last() {
            Some((item, _)) if !is_all => Cursor::Behind(bytes_of(*item)),
            _ => Cursor::End,
        };
        (found.into_iter().map(|(_, op)| op).collect(), upto)
    }

    pub fn tally(&self, slots: &[Slot]) -> Bytes {
        let data: Vec<Data> = slots.iter().map(|slot| self.data(*slot)).collect();
        format!("{data:?}").into_bytes().into()
    }

    pub fn levels(&self) -> Bytes {
        [self.shown(), self.time_ms].into_iter().flat_map(u64::to_le_bytes).collect::<Vec<u8>>().into()
    }
}

impl Data {
    pub fn take(&mut self, write: &Write) {
        match write.value {
            0 => drop(self.rows.remove(&write.key)),
            value => drop(self.rows.insert(write.key, (value, write.version))),
        }
        self.counter = self.counter.max(write.version);
        self.results.insert(write.client, (write.sequence, write.version));
    }

    fn drop_items(&mut self, slot: Slot, is: impl Fn(u32) -> bool) {
        self.rows.retain(|key, _| !is(item_of_key(slot, *key)));
        self.results.retain(|client, _| !is(item_of_client(slot, *client)));
    }
}
