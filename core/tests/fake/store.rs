//! The data of a fake worker: keys with versions, and the results of writes for exactly-once.

use std::collections::BTreeMap;

use bytes::Bytes;
use slotkv::Code;
use slotkv_proto::{SlotCount, keys::Keys, slot, v1};

/// The keys of a request about many.
pub fn keys_of(request: &v1::Request) -> Vec<Bytes> {
    Keys::of(&request.keys).map(|key| Bytes::copy_from_slice(key.unwrap())).collect()
}

/// See the module.
#[derive(Clone, Default)]
pub struct Store {
    keys: BTreeMap<(String, Bytes), (Bytes, u64)>,
    results: BTreeMap<(Bytes, u64), v1::Reply>,
    /// Log index; a version, too.
    index: u64,
    /// Results up to this index may be forgotten.
    pub forgotten_index: u64,
    /// Writes carried out, by sequence.
    pub executed: Vec<u64>,
    /// Slots whose keys are left out of answers about many.
    pub left_out: Vec<u16>,
    /// How many keys an answer about many tells at most, if not all.
    pub found_max: Option<usize>,
}

impl Store {
    pub fn index(&self) -> u64 {
        self.index
    }

    pub fn set_index(&mut self, index: u64) {
        self.index = index;
    }

    /// Forgets every result, as a worker does that is short of room.
    pub fn forget(&mut self) {
        self.results.clear();
        self.forgotten_index = self.index;
    }

    pub fn put(&mut self, key: &str, value: &str) {
        self.index += 1;
        let key = (String::new(), Bytes::copy_from_slice(key.as_bytes()));
        self.keys.insert(key, (Bytes::copy_from_slice(value.as_bytes()), self.index));
    }

    pub fn value(&self, key: &str) -> Option<Bytes> {
        self.keys
            .get(&(String::new(), Bytes::copy_from_slice(key.as_bytes())))
            .map(|(value, _)| value.clone())
    }

    pub fn take_slot(&mut self, wanted: u16) -> Store {
        let mut taken = Store { index: self.index, ..Store::default() };
        let keys = std::mem::take(&mut self.keys);
        let there = |(_, key): &(String, Bytes)| slot::slot(key, SlotCount::new(16).unwrap()) == wanted;
        let (go, stay) = keys.into_iter().partition(|(key, _)| there(key));
        self.keys = stay;
        taken.keys = go;
        taken
    }

    pub fn absorb(&mut self, other: Store) {
        self.keys.extend(other.keys);
        self.index = self.index.max(other.index);
    }

    pub fn serve(&mut self, request: &v1::Request, hellos: &[v1::Hello]) -> v1::Reply {
        use v1::Operation;
        let hello = hellos.last().cloned().unwrap_or_default();
        let namespace = request.namespace.clone().unwrap_or(hello.namespace);
        let reply = match request.operation() {
            Operation::Get | Operation::Has => match self.keys.get(&(namespace, request.key.clone())) {
                None => status(v1::Status::NotFound),
                Some((value, version)) => v1::Reply {
                    value: if request.operation() == Operation::Get { value.clone() } else { Bytes::new() },
                    version: *version,
                    ..status(v1::Status::Found)
                },
            },
            Operation::GetMany => v1::Reply {
                found: keys_of(request)
                    .into_iter()
                    .take(self.found_max.unwrap_or(usize::MAX))
                    .map(|key| self.found(&namespace, key))
                    .collect(),
                ..status(v1::Status::Found)
            },
            Operation::Count | Operation::Scan => self.range(request, &namespace),
            Operation::Outcome => {
                let id = (request.client_id.clone(), request.sequence);
                match self.results.get(&id) {
                    Some(result) if result.code == 0 => v1::Reply { replayed: true, ..result.clone() },
                    Some(_) => status(v1::Status::NotApplied),
                    None if request.fence_index < self.forgotten_index => super::refused(Code::Indeterminate),
                    None => {
                        self.results.insert(id, super::refused(Code::Cancelled));
                        status(v1::Status::NotApplied)
                    }
                }
            }
            Operation::Put | Operation::Delete | Operation::Increment => {
                let id = (hello.client_id, request.sequence);
                if let Some(result) = self.results.get(&id) {
                    v1::Reply { replayed: true, ..result.clone() }
                } else if request.fence_index < self.forgotten_index {
                    super::refused(Code::Indeterminate)
                } else {
                    let reply = self.write(request, namespace);
                    self.executed.push(request.sequence);
                    self.results.insert(id, reply.clone());
                    reply
                }
            }
            _ => super::refused(Code::Unsupported),
        };
        v1::Reply { id: request.id, ..reply }
    }

    fn found(&self, namespace: &str, key: Bytes) -> v1::Found {
        if self.left_out.contains(&slot::slot(&key, SlotCount::new(16).unwrap())) {
            return v1::Found::default();
        }
        match self.keys.get(&(namespace.to_owned(), key)) {
            None => v1::Found { status: v1::Status::NotFound.into(), ..Default::default() },
            Some((value, version)) => v1::Found {
                status: v1::Status::Found.into(),
                value: value.clone(),
                version: *version,
                ttl_ms: 0,
            },
        }
    }

    fn write(&mut self, request: &v1::Request, namespace: String) -> v1::Reply {
        let key = (namespace, request.key.clone());
        let known = self.keys.get(&key).cloned();
        let met = match (request.condition(), &known) {
            (v1::Condition::Always, _) => true,
            (v1::Condition::Absent, known) => known.is_none(),
            (v1::Condition::Present, known) => known.is_some(),
            (v1::Condition::Version, known) => known.as_ref().is_some_and(|known| known.1 == request.version),
        };
        if !met {
            let version = known.map_or(0, |known| known.1);
            return v1::Reply { version, ..status(v1::Status::Unmet) };
        }
        self.index += 1;
        let version = self.index;
        let written = if known.is_some() { v1::Status::Updated } else { v1::Status::Created };
        match request.operation() {
            v1::Operation::Delete if known.is_none() => status(v1::Status::NotFound),
            v1::Operation::Delete => {
                self.keys.remove(&key);
                v1::Reply { version, ..status(v1::Status::Deleted) }
            }
            v1::Operation::Increment => {
                let old = known.map_or(Ok(0), |known| String::from_utf8_lossy(&known.0).parse::<i64>());
                let Ok(old) = old else { return super::refused(Code::NotANumber) };
                let Some(number) = old.checked_add(request.delta) else {
                    return super::refused(Code::Overflow);
                };
                self.keys.insert(key, (number.to_string().into(), version));
                v1::Reply { version, number, ..status(written) }
            }
            _ => {
                self.keys.insert(key, (request.value.clone(), version));
                v1::Reply { version, ..status(written) }
            }
        }
    }

    fn range(&self, request: &v1::Request, namespace: &str) -> v1::Reply {
        let range = request.range.clone().unwrap();
        let slots = SlotCount::new(16).unwrap();
        let mut found: Vec<(u16, Bytes, Bytes, u64)> = self
            .keys
            .iter()
            .filter(|((name, key), _)| {
                let slot = u32::from(slot::slot(key, slots));
                name == namespace
                    && (range.slot_first..=range.slot_last).contains(&slot)
                    && key.starts_with(&range.prefix)
                    && *key >= range.start
                    && (range.end.is_empty() || *key < range.end)
            })
            .map(|((_, key), (value, version))| {
                (slot::slot(key, slots), key.clone(), value.clone(), *version)
            })
            .collect();
        if range.ordered {
            found.sort_by(|a, b| a.1.cmp(&b.1));
            found.retain(|item| !range.resumed || item.1 > range.after_key);
        } else {
            found.sort();
            let after = (range.after_slot as u16, range.after_key.clone());
            found.retain(|item| !range.resumed || (item.0, item.1.clone()) > after);
        }
        // Small pages even for counts, so that continuing is tested.
        let page_max = if request.operation() == v1::Operation::Count { 3 } else { range.items_max as usize };
        let more = found.len() > page_max;
        found.truncate(page_max);
        let last = found.last().cloned();
        let mut reply = v1::Reply {
            more,
            last_slot: last.as_ref().map_or(0, |last| last.0.into()),
            last_key: last.map_or_else(Bytes::new, |last| last.1),
            number: found.len() as i64,
            ..status(v1::Status::Counted)
        };
        if request.operation() == v1::Operation::Scan {
            reply.status = v1::Status::Page as i32;
            reply.items = found
                .into_iter()
                .map(|(slot, key, value, version)| v1::Item {
                    key,
                    value: if range.keys_only { Bytes::new() } else { value },
                    version,
                    slot: slot.into(),
                    ttl_ms: 0,
                })
                .collect();
        }
        reply
    }
}

fn status(status: v1::Status) -> v1::Reply {
    v1::Reply { status: status as i32, ..Default::default() }
}
