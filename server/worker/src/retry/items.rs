//! What of a slot's results goes to another shard, client by client, and is taken there. Results keep their (shown) indexes: the
//! target's shown index is not behind the source's once it serves.

use std::collections::hash_map::Entry;

use prost::Message;
use slotkv_storage::keys;

use super::{
    CLIENTS_PER_SLOT_MAX, Client, ClientId, ClientRow, RESULTS_PER_CLIENT_MAX, ResultRow, SlotResults, Stored,
};

/// Clients of a slot that a target keeps while it stages; past it those that wrote longest ago go. The source forgets some of them
/// and tells so only by its forgotten index.
const STAGED_CLIENTS_MAX: usize = 4 * CLIENTS_PER_SLOT_MAX;

/// A client's results, or one of them, on the way.
#[derive(Clone, Debug)]
pub(crate) struct ClientItem(Client);

impl ClientItem {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let row = ClientRow::decode(bytes).map_err(|error| error.to_string())?;
        if row.results.len() > RESULTS_PER_CLIENT_MAX {
            return Err(format!("a client has {} results", row.results.len()));
        }
        Ok(Self(Client::of(row)))
    }
}

impl SlotResults {
    /// The clients with results, in order.
    pub(crate) fn clients(&self) -> Vec<ClientId> {
        let mut clients: Vec<ClientId> = self.clients.keys().copied().collect();
        clients.sort_unstable();
        clients
    }

    /// All results of a client, as [`ClientItem`] has them.
    pub(crate) fn encode_client(&self, id: &ClientId) -> Option<Vec<u8>> {
        self.clients.get(id).map(|client| client.row(id, client.results.iter()).encode_to_vec())
    }

    /// What a write of a client has changed, if anything of it is still kept.
    pub(crate) fn encode_result(&self, id: &ClientId, sequence: u64) -> Option<Vec<u8>> {
        let client = self.clients.get(id)?;
        let stored = client.find(sequence).ok().map(|at| &client.results[at]);
        Some(client.row(id, stored.into_iter()).encode_to_vec())
    }

    /// Replaces a client's results.
    pub(crate) fn set_client(&mut self, id: ClientId, item: ClientItem) {
        self.entries += 1 + item.0.results.len();
        if let Some(before) = self.clients.insert(id, item.0) {
            self.entries -= 1 + before.results.len();
        }
    }

    /// Takes a further result of a client.
    pub(crate) fn merge_client(&mut self, id: ClientId, item: ClientItem) {
        let ClientItem(item) = item;
        let client = match self.clients.entry(id) {
            Entry::Occupied(client) => client.into_mut(),
            Entry::Vacant(place) => {
                self.entries += 1;
                place.insert(Client::default())
            }
        };
        let before = client.results.len();
        client.last_index = client.last_index.max(item.last_index);
        client.last_time_ms = client.last_time_ms.max(item.last_time_ms);
        if item.oldest_open > client.oldest_open {
            client.oldest_open = item.oldest_open;
            client.results.retain(|stored| stored.sequence >= item.oldest_open);
        }
        for stored in item.results {
            match client.find(stored.sequence) {
                Ok(at) => client.results[at] = stored,
                Err(at) => client.results.insert(at, stored),
            }
        }
        while client.results.len() > RESULTS_PER_CLIENT_MAX {
            // What the source has forgotten has the lowest indexes.
            let oldest = client.results.iter().enumerate().min_by_key(|(_, stored)| stored.index);
            let Some((at, _)) = oldest else { break };
            client.results.remove(at);
        }
        self.entries = self.entries + client.results.len() - before;
    }

    /// Drops clients: they are not this shard's, or not any more.
    pub(crate) fn drop_clients(&mut self, is_gone: impl Fn(&ClientId) -> bool) {
        let entries = &mut self.entries;
        self.clients.retain(|id, client| {
            let is_gone = is_gone(id);
            if is_gone {
                *entries -= 1 + client.results.len();
            }
            !is_gone
        });
    }

    /// The source's forgotten index is this. Clients that it may have forgotten go, if there are too many.
    pub(crate) fn set_forgotten_index(&mut self, index: u64) {
        self.forgotten_index = index;
        if self.clients.len() <= CLIENTS_PER_SLOT_MAX {
            return;
        }
        let mut ages: Vec<u64> = self.clients.values().map(|client| client.last_index).collect();
        ages.sort_unstable();
        let surplus = |max: usize| ages.len().checked_sub(max + 1).map(|at| ages[at]);
        let spare = surplus(CLIENTS_PER_SLOT_MAX).map(|until| until.min(index));
        if let Some(until) = spare.max(surplus(STAGED_CLIENTS_MAX)) {
            self.forget_until(until);
        }
    }

    /// Records up to this index may be forgotten.
    pub(crate) fn raise_forgotten_index(&mut self, index: u64) {
        self.forgotten_index = self.forgotten_index.max(index);
    }

    /// How many results there are above the forgotten index, and the sum of their digests: everybody who has the slot's results has
    /// these.
    pub(crate) fn sum(&self) -> (u64, u128) {
        let (mut count, mut sum) = (0, 0_u128);
        for (id, client) in &self.clients {
            let mut is_known = false;
            for stored in client.results.iter().filter(|stored| stored.index > self.forgotten_index) {
                let row = stored.row().encode_to_vec();
                sum = sum.wrapping_add(keys::digest_of("result", id, stored.sequence, &row));
                count += 1;
                is_known = true;
            }
            if is_known {
                sum = sum.wrapping_add(keys::digest_of("client", id, client.oldest_open, b""));
            }
        }
        (count, sum)
    }
}

impl Client {
    fn row<'a>(&self, id: &ClientId, results: impl Iterator<Item = &'a Stored>) -> ClientRow {
        ClientRow {
            id: bytes::Bytes::copy_from_slice(id),
            oldest_open: self.oldest_open,
            last_index: self.last_index,
            last_time_ms: self.last_time_ms,
            results: results.map(Stored::row).collect(),
        }
    }

    fn of(row: ClientRow) -> Self {
        let stored = |row: ResultRow| Stored {
            sequence: row.sequence,
            index: row.index,
            result: row.result.unwrap_or_default(),
        };
        let mut results: Vec<Stored> = row.results.into_iter().map(stored).collect();
        results.sort_by_key(|stored| stored.sequence);
        results.dedup_by_key(|stored| stored.sequence);
        Self {
            oldest_open: row.oldest_open,
            last_index: row.last_index,
            last_time_ms: row.last_time_ms,
            results,
        }
    }
}

impl Stored {
    fn row(&self) -> ResultRow {
        ResultRow { sequence: self.sequence, index: self.index, result: Some(self.result) }
    }
}
