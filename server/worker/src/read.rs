//! Reads: of one key, of many, and of the keys of a frame ahead of their turn.
//!
//! Rows that no processor's cache holds are what a read waits for. Those of a frame are looked up together, since then one
//! waits for all of them at once ([`RowCache::get_many`](slotkv_storage::RowCache::get_many)).

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

use slotkv_proto::{
    keys::Keys,
    limits::{GET_MANY_KEYS_MAX, KEY_BYTES_MAX, NAMESPACE_BYTES_MAX, REPLY_BYTES_SOFT},
    slot,
    v1::{Found, Operation, ReadLevel, Reply, Request, Status},
};
use slotkv_storage::{Error, Row, keys};

use crate::{
    outbox,
    ownership::Ownership,
    request::{Refusal, Sender},
    shard::{Shard, refusal},
};

/// Requests whose rows are looked up together.
const AHEAD_MAX: usize = 128;

/// What a read of one key came to.
pub enum Looked {
    /// The answer.
    Reply(Reply),
    /// The row's time is over and that is not logged yet: to be asked of the committer, as [`Change::Read`](crate::decide::Change::Read). Where
    /// there is none, as on a backup, it counts as absent.
    Over,
}

/// Engine keys, one behind the other.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    fn push(&mut self, slot: u16, namespace: &str, key: &[u8]) {
        keys::append_data_key(&mut self.bytes, slot, namespace, key);
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, &end)| &self.bytes[begin..end])
    }
}

impl Shard {
    /// Reads a key. `request` names it; the caller has checked that the slot is served. `ahead` is its row, if it was looked
    /// up since the request came in; `cold` counts a visit to the engine.
    pub fn read(
        &self,
        slot: u16,
        namespace: &str,
        request: &Request,
        value: bool,
        ahead: Option<Row>,
        cold: &Cell<usize>,
    ) -> Result<Looked, Refusal> {
        thread_local! {
            static ENGINE_KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let row = match ahead {
            Some(row) => Ok(Some(row)),
            None => ENGINE_KEY.with_borrow_mut(|key| {
                key.clear();
                keys::append_data_key(key, slot, namespace, &request.key);
                self.row(key, cold)
            }),
        };
        self.check_still(request.read_level())?;
        let row = row.map_err(refusal)?;
        let time_ms = self.time_of(row.as_ref());
        Ok(match row {
            Some(row) if row.is_over(time_ms) => Looked::Over,
            row => Looked::Reply(reply(request.id, row, value, time_ms)),
        })
    }

    /// The shard's time, if it makes a difference to a row; 0 else.
    fn time_of(&self, row: Option<&Row>) -> u64 {
        row.filter(|row| row.expires_ms != 0).map_or(0, |_| self.now_ms())
    }

    /// Reads the keys of a request that was checked. Those in slots that are not served are left out, as are those that the
    /// engine cannot read: asked for alone, each gets a refusal in words. So are those whose time is over, until that is logged, and
    /// the last ones when the reply is as large as a frame.
    pub fn read_many(
        &self,
        ownership: &Ownership,
        namespace: &str,
        request: &Request,
        cold: &Cell<usize>,
    ) -> Result<Reply, Refusal> {
        let slots = ownership.table().slots();
        let mut names = Names::default();
        let mut owned = Vec::with_capacity(GET_MANY_KEYS_MAX);
        let mut places = Vec::with_capacity(GET_MANY_KEYS_MAX);
        for key in Keys::of(&request.keys).flatten() {
            let slot = slot(key, slots);
            owned.push(ownership.owns(slot));
            places.push(slot);
            if ownership.owns(slot) {
                names.push(slot, namespace, key);
            }
        }
        let mut rows = names.iter().zip(self.rows().cache.get_many(names.iter()));
        let mut reply = Reply { id: request.id, status: Status::Found as i32, ..Reply::default() };
        reply.found.reserve(owned.len());
        let mut bytes = 0;
        let asks = request.read_level() == ReadLevel::Linearizable || self.check_serving().is_ok();
        for is_owned in owned {
            let found = match is_owned.then(|| rows.next()).flatten() {
                Some((_, Some(row))) => self.found(Some(row), asks),
                Some((name, None)) => {
                    self.row(name, cold).map_or_else(|_| Found::default(), |row| self.found(row, asks))
                }
                None => Found::default(),
            };
            bytes += outbox::found_size(&found);
            reply.found.push(found);
            if bytes >= REPLY_BYTES_SOFT {
                break;
            }
        }
        self.check_still(request.read_level())?;
        if !self.is_newest(ownership) {
            let now = self.ownership();
            for (found, slot) in reply.found.iter_mut().zip(places) {
                if !now.still_serves(ownership, slot) {
                    *found = Found::default();
                }
            }
        }
        Ok(reply)
    }

    /// What is in memory of the keys that the first requests read: an entry for each of these requests, none only if there
    /// are none.
    pub fn look_ahead(
        &self,
        ownership: &Ownership,
        requests: &VecDeque<Request>,
        sender: &Sender,
    ) -> VecDeque<Option<Row>> {
        let slots = ownership.table().slots();
        let mut rows: VecDeque<Option<Row>> = requests.iter().take(AHEAD_MAX).map(|_| None).collect();
        if rows.len() < 2 {
            return rows;
        }
        let mut names = Names::default();
        let mut places = Vec::with_capacity(rows.len());
        for (place, request) in requests.iter().take(AHEAD_MAX).enumerate() {
            let namespace = request.namespace.as_deref().unwrap_or(&sender.namespace);
            let is_read = matches!(request.operation(), Operation::Get | Operation::Has);
            // Others are refused when their turn comes.
            if is_read && namespace.len() <= NAMESPACE_BYTES_MAX && request.key.len() <= KEY_BYTES_MAX {
                names.push(slot(&request.key, slots), namespace, &request.key);
                places.push(place);
            }
        }
        for (place, row) in places.into_iter().zip(self.rows().cache.get_many(names.iter())) {
            rows[place] = row;
        }
        rows
    }

    /// Refuses what was read while the lead went elsewhere. The lease is looked at once for all reads of a frame.
    pub(crate) fn check_still(&self, level: ReadLevel) -> Result<(), Refusal> {
        if level == ReadLevel::Linearizable { self.check_serving() } else { self.check_running() }
    }

    /// A record of a reply to many. Of a row that is over nothing is said if `asks` that its key is asked for alone.
    fn found(&self, row: Option<Row>, asks: bool) -> Found {
        let time_ms = self.time_of(row.as_ref());
        match row {
            Some(row) if row.is_over(time_ms) && asks => Found::default(),
            Some(row) if !row.is_over(time_ms) => Found {
                status: Status::Found as i32,
                ttl_ms: row.expires_ms.saturating_sub(time_ms),
                version: row.version,
                value: row.value,
            },
            _ => Found { status: Status::NotFound as i32, ..Found::default() },
        }
    }

    /// The row of an engine key.
    fn row(&self, key: &[u8], cold: &Cell<usize>) -> Result<Option<Row>, Error> {
        let rows = self.rows();
        if let Some(row) = rows.cache.get(key) {
            return Ok(Some(row));
        }
        cold.set(cold.get() + 1);
        let ticket = rows.cache.ticket(key);
        let Some(bytes) = rows.engine.get(key)? else { return Ok(None) };
        let row = Row::decode(bytes)?;
        rows.cache.fill(ticket, key, &row);
        Ok(Some(row))
    }
}

/// The reply to a read of one key, whose row is not over at `time_ms`.
pub fn reply(id: u64, row: Option<Row>, value: bool, time_ms: u64) -> Reply {
    match row {
        None => Reply { id, status: Status::NotFound as i32, ..Reply::default() },
        Some(row) => Reply {
            id,
            status: Status::Found as i32,
            version: row.version,
            ttl_ms: if value { row.expires_ms.saturating_sub(time_ms) } else { 0 },
            value: if value { row.value } else { Default::default() },
            ..Reply::default()
        },
    }
}
