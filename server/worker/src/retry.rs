//! Exactly-once results (protocol.md rule 11, after RIFL): for each slot, what earlier writes of each client came to.
//!
//! Nouns: a *result* answers a repeated write without executing it; the *oldest open* sequence of a client says which
//! results it can no longer ask for; the *forgotten index* of a slot is the highest log index of a record whose result
//! was dropped for room or age.
//!
//! Invariants:
//! - A result is dropped either because its sequence lies below the client's `oldest_open`, or `forgotten_index` rises
//!   to its log index at least.
//! - `entries` counts `clients` and their `results`.
//! - A write with no result is executed only if its sequence is not below `oldest_open` and its fence (the applied
//!   index its client knew before it first sent the write) is not below `forgotten_index`: then no earlier attempt of
//!   it can have been executed and forgotten. No clock takes part in that decision; logged time only decides when room
//!   is made.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use slotkv_storage::Outcome;

pub(crate) mod items;

/// Clients whose results one slot keeps; past it the client that wrote longest ago is forgotten.
pub const CLIENTS_PER_SLOT_MAX: usize = 256;
/// Results one slot keeps for one client; past it the oldest is forgotten.
pub const RESULTS_PER_CLIENT_MAX: usize = 512;
/// Results and clients that all slots of a shard keep together, at some hundred bytes each; past it the clients that wrote
/// longest ago are forgotten, an eighth of the bound at once.
pub const ENTRIES_PER_SHARD_MAX: usize = 1 << 20;
/// Age in logged time after which a client's results are forgotten.
pub const RESULT_AGE_MS_MAX: u64 = 15 * 60 * 1000;

/// Identifies a client object: 16 random bytes.
pub type ClientId = [u8; slotkv_proto::limits::CLIENT_ID_BYTES];

/// Which write an attempt belongs to, as its client says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// Who writes.
    pub client: ClientId,
    /// The write's number, unique for this client; 0 means that the client wants no exactly-once.
    pub sequence: u64,
    /// Every sequence below this one is answered.
    pub oldest_open: u64,
    /// The shard's applied index the client knew before it first sent this write.
    pub fence_index: u64,
    /// An earlier attempt may have been applied, or may still be on its way.
    pub repeated: bool,
}

/// What to do with an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No earlier attempt was executed: execute it.
    Execute,
    /// An earlier attempt was executed, with this result.
    Replay(Outcome),
    /// An earlier attempt may have been executed and forgotten: do not execute it.
    Forgotten,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Client {
    oldest_open: u64,
    last_index: u64,
    last_time_ms: u64,
    /// By sequence, ascending.
    results: Vec<Stored>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    sequence: u64,
    index: u64,
    result: Outcome,
}

impl Client {
    fn find(&self, sequence: u64) -> Result<usize, usize> {
        self.results.binary_search_by_key(&sequence, |stored| stored.sequence)
    }
}

/// The results of one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotResults {
    clients: HashMap<ClientId, Client>,
    /// Clients and results.
    entries: usize,
    forgotten_index: u64,
}

impl SlotResults {
    /// Judges an attempt; changes nothing.
    pub fn judge(&self, ticket: &Ticket) -> Verdict {
        if ticket.sequence == 0 {
            return Verdict::Execute;
        }
        if let Some(client) = self.clients.get(&ticket.client) {
            if let Ok(at) = client.find(ticket.sequence) {
                return Verdict::Replay(client.results[at].result);
            }
            if ticket.sequence < client.oldest_open {
                return Verdict::Forgotten;
            }
        }
        if ticket.fence_index < self.forgotten_index { Verdict::Forgotten } else { Verdict::Execute }
    }

    /// Keeps the result of the write that the log holds at `index`, and drops what is no longer needed.
    /// `time_ms` is logged time.
    pub fn keep(&mut self, ticket: &Ticket, index: u64, time_ms: u64, result: Outcome) {
        if ticket.sequence == 0 {
            return;
        }
        if !self.clients.contains_key(&ticket.client) && self.clients.len() >= CLIENTS_PER_SLOT_MAX {
            self.make_room(time_ms);
        }
        let client = self.clients.entry(ticket.client).or_insert_with(|| {
            self.entries += 1;
            Client::default()
        });
        client.last_index = index;
        let before = client.results.len();
        client.last_time_ms = time_ms;
        if ticket.oldest_open > client.oldest_open {
            client.oldest_open = ticket.oldest_open;
            client.results.retain(|stored| stored.sequence >= ticket.oldest_open);
        }
        let stored = Stored { sequence: ticket.sequence, index, result };
        match client.find(ticket.sequence) {
            Ok(at) => client.results[at] = stored,
            Err(at) => client.results.insert(at, stored),
        }
        if client.results.len() > RESULTS_PER_CLIENT_MAX {
            let dropped = client.results.remove(0);
            self.forgotten_index = self.forgotten_index.max(dropped.index);
        }
        self.entries = self.entries + client.results.len() - before;
    }

    /// How many clients and results it keeps.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Highest log index of a record whose result was dropped for room or age.
    pub fn forgotten_index(&self) -> u64 {
        self.forgotten_index
    }

    /// Drops clients that have not written to the slot for [`RESULT_AGE_MS_MAX`] of logged time. Returns whether any was.
    pub fn expire(&mut self, time_ms: u64) -> bool {
        self.retain(|client| time_ms.saturating_sub(client.last_time_ms) < RESULT_AGE_MS_MAX)
    }

    /// Drops clients that have not written to the slot since the log's record `index`. Returns whether any was.
    fn forget_until(&mut self, index: u64) -> bool {
        self.retain(|client| client.last_index > index)
    }

    fn retain(&mut self, keep: impl Fn(&Client) -> bool) -> bool {
        let (forgotten, entries) = (&mut self.forgotten_index, &mut self.entries);
        let before = self.clients.len();
        self.clients.retain(|_, client| {
            let keep = keep(client);
            if !keep {
                *forgotten = (*forgotten).max(client.last_index);
                *entries -= 1 + client.results.len();
            }
            keep
        });
        self.clients.len() < before
    }

    /// Drops everything; no record up to `index` is known any more.
    pub fn forget(&mut self, index: u64) {
        self.clients.clear();
        self.entries = 0;
        self.forgotten_index = self.forgotten_index.max(index);
    }

    /// First the expired ones; if there are none, the client that wrote longest ago.
    fn make_room(&mut self, time_ms: u64) {
        if self.expire(time_ms) {
            return;
        }
        if let Some(oldest) = self.clients.values().map(|client| client.last_index).min() {
            self.forget_until(oldest);
        }
    }

    /// The slot's results as stored with a checkpoint.
    pub fn encode(&self) -> Vec<u8> {
        let mut clients: Vec<ClientRow> = self
            .clients
            .iter()
            .map(|(id, client)| ClientRow {
                id: Bytes::copy_from_slice(id),
                oldest_open: client.oldest_open,
                last_index: client.last_index,
                last_time_ms: client.last_time_ms,
                results: client
                    .results
                    .iter()
                    .map(|stored| ResultRow {
                        sequence: stored.sequence,
                        index: stored.index,
                        result: Some(stored.result),
                    })
                    .collect(),
            })
            .collect();
        clients.sort_by(|a, b| a.id.cmp(&b.id));
        SlotRows { format: FORMAT, forgotten_index: self.forgotten_index, clients }.encode_to_vec()
    }

    /// Reads what [`Self::encode`] wrote; the error says what was wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let rows = SlotRows::decode(bytes).map_err(|error| error.to_string())?;
        if rows.format > FORMAT {
            return Err(format!(
                "results of format {} are newer than this build's format {FORMAT}",
                rows.format
            ));
        }
        let mut clients = HashMap::with_capacity(rows.clients.len());
        for row in rows.clients {
            let id = ClientId::try_from(&row.id[..])
                .map_err(|_| format!("a client id of {} bytes", row.id.len()))?;
            let mut results: Vec<Stored> = row
                .results
                .into_iter()
                .map(|row| Stored {
                    sequence: row.sequence,
                    index: row.index,
                    result: row.result.unwrap_or_default(),
                })
                .collect();
            results.sort_by_key(|stored| stored.sequence);
            clients.insert(
                id,
                Client {
                    oldest_open: row.oldest_open,
                    last_index: row.last_index,
                    last_time_ms: row.last_time_ms,
                    results,
                },
            );
        }
        let entries = clients.values().map(|client: &Client| 1 + client.results.len()).sum();
        Ok(Self { clients, entries, forgotten_index: rows.forgotten_index })
    }
}

/// Up to which log index clients have to have written last, so that at least `count` entries go with them.
fn oldest_until<'a>(slots: impl Iterator<Item = &'a SlotResults>, count: usize) -> u64 {
    let clients = slots.flat_map(|slot| slot.clients.values());
    let mut ages: Vec<(u64, usize)> =
        clients.map(|client| (client.last_index, 1 + client.results.len())).collect();
    ages.sort_unstable();
    let mut found = 0;
    let last = ages.into_iter().take_while(|(_, entries)| {
        let needed = found < count;
        found += entries;
        needed
    });
    last.last().map_or(0, |(index, _)| index)
}

/// Forgets the clients that wrote longest ago, so that `count` entries fewer are kept at least. Calls `changed` with the
/// place of each slot that forgot any.
pub fn forget_oldest(slots: &mut [&mut SlotResults], count: usize, mut changed: impl FnMut(usize)) {
    let until = oldest_until(slots.iter().map(|slot| &**slot), count);
    for (place, slot) in slots.iter_mut().enumerate() {
        if slot.forget_until(until) {
            changed(place);
        }
    }
}

const FORMAT: u32 = 1;

#[derive(Clone, PartialEq, prost::Message)]
struct SlotRows {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(uint64, tag = "2")]
    forgotten_index: u64,
    #[prost(message, repeated, tag = "3")]
    clients: Vec<ClientRow>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ClientRow {
    #[prost(bytes = "bytes", tag = "1")]
    id: Bytes,
    #[prost(uint64, tag = "2")]
    oldest_open: u64,
    #[prost(uint64, tag = "3")]
    last_index: u64,
    #[prost(uint64, tag = "4")]
    last_time_ms: u64,
    #[prost(message, repeated, tag = "5")]
    results: Vec<ResultRow>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResultRow {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(uint64, tag = "2")]
    index: u64,
    #[prost(message, optional, tag = "3")]
    result: Option<Outcome>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(client: u8, sequence: u64, oldest_open: u64, fence_index: u64) -> Ticket {
        Ticket { client: [client; 16], sequence, oldest_open, fence_index, repeated: false }
    }

    fn result(version: u64) -> Outcome {
        Outcome { version, ..Outcome::default() }
    }

    #[test]
    fn a_repeated_write_is_answered_by_its_stored_result() {
        let mut slot = SlotResults::default();
        assert_eq!(slot.judge(&ticket(1, 7, 5, 0)), Verdict::Execute);
        slot.keep(&ticket(1, 7, 5, 0), 10, 0, result(3));
        assert_eq!(slot.judge(&ticket(1, 7, 5, 0)), Verdict::Replay(result(3)));
        assert_eq!(slot.judge(&ticket(2, 7, 5, 0)), Verdict::Execute);
    }

    #[test]
    fn a_sequence_below_the_oldest_open_is_never_executed() {
        let mut slot = SlotResults::default();
        slot.keep(&ticket(1, 7, 5, 0), 10, 0, result(3));
        slot.keep(&ticket(1, 9, 8, 0), 11, 0, result(4));
        assert_eq!(slot.judge(&ticket(1, 7, 5, 0)), Verdict::Forgotten);
        assert_eq!(slot.judge(&ticket(1, 6, 5, 100)), Verdict::Forgotten);
        assert_eq!(slot.judge(&ticket(1, 10, 8, 0)), Verdict::Execute);
    }

    #[test]
    fn a_result_forgotten_by_age_is_not_executed_again_but_a_fresh_write_is() {
        let mut slot = SlotResults::default();
        slot.keep(&ticket(1, 7, 5, 3), 10, 1_000, result(3));
        assert!(!slot.expire(1_000 + RESULT_AGE_MS_MAX - 1));
        assert!(slot.expire(1_000 + RESULT_AGE_MS_MAX));
        assert_eq!(slot.judge(&ticket(1, 7, 5, 3)), Verdict::Forgotten);
        assert_eq!(slot.judge(&ticket(1, 8, 8, 9)), Verdict::Forgotten);
        assert_eq!(slot.judge(&ticket(1, 8, 8, 10)), Verdict::Execute);
    }

    #[test]
    fn a_full_slot_forgets_the_client_that_wrote_longest_ago() {
        let mut slot = SlotResults::default();
        for client in 0..CLIENTS_PER_SLOT_MAX as u64 {
            let mut t = ticket(0, 1, 1, 0);
            t.client[..8].copy_from_slice(&client.to_le_bytes());
            slot.keep(&t, 100 + client, 0, result(client));
        }
        assert_eq!(slot.forgotten_index(), 0);
        slot.keep(&ticket(0xff, 1, 1, 0), 1_000, 0, result(1));
        assert_eq!(slot.forgotten_index(), 100);
        assert_eq!(slot.judge(&ticket(0, 1, 1, 99)), Verdict::Forgotten);
        assert_eq!(slot.clients.len(), CLIENTS_PER_SLOT_MAX);
    }

    #[test]
    fn one_clients_results_are_bounded() {
        let mut slot = SlotResults::default();
        for sequence in 1..=(RESULTS_PER_CLIENT_MAX as u64 + 1) {
            slot.keep(&ticket(1, sequence, 1, 0), 100 + sequence, 0, result(sequence));
        }
        assert_eq!(slot.forgotten_index(), 101);
        assert_eq!(slot.judge(&ticket(1, 1, 1, 0)), Verdict::Forgotten);
        assert_eq!(slot.judge(&ticket(1, 2, 1, 0)), Verdict::Replay(result(2)));
    }

    #[test]
    fn a_full_shard_forgets_the_clients_that_wrote_longest_ago_in_whatever_slot() {
        let mut slots = vec![SlotResults::default(), SlotResults::default()];
        for index in 1..=10_u64 {
            slots[index as usize % 2].keep(&ticket(index as u8, 1, 1, 0), index, 0, result(index));
        }
        let entries = |slots: &[SlotResults]| slots.iter().map(SlotResults::entries).sum::<usize>();
        assert_eq!(entries(&slots), 20);
        let mut changed = Vec::new();
        forget_oldest(&mut slots.iter_mut().collect::<Vec<_>>(), 5, |place| changed.push(place));
        assert_eq!((entries(&slots), changed), (14, vec![0, 1]));
        assert_eq!([slots[0].forgotten_index(), slots[1].forgotten_index()], [2, 3]);
        assert_eq!(slots[1].judge(&ticket(3, 1, 1, 2)), Verdict::Forgotten);
        assert_eq!(slots[1].judge(&ticket(5, 1, 1, 0)), Verdict::Replay(result(5)));
    }

    #[test]
    fn entries_are_counted_however_they_go() {
        let mut slot = SlotResults::default();
        for sequence in 1..=(RESULTS_PER_CLIENT_MAX as u64 + 5) {
            slot.keep(&ticket(1, sequence, 1, 0), sequence, 0, result(1));
        }
        assert_eq!(slot.entries(), 1 + RESULTS_PER_CLIENT_MAX);
        assert_eq!(SlotResults::decode(&slot.encode()).unwrap().entries(), slot.entries());
        slot.keep(&ticket(1, 600, 600, 0), 600, 0, result(1));
        assert_eq!(slot.entries(), 2);
        slot.expire(RESULT_AGE_MS_MAX);
        assert_eq!(slot.entries(), 0);
    }

    #[test]
    fn stored_results_come_back_as_they_were() {
        let mut slot = SlotResults::default();
        slot.keep(&ticket(1, 7, 5, 0), 10, 5, result(3));
        slot.keep(&ticket(2, 1, 1, 0), 11, 6, result(4));
        slot.forgotten_index = 4;
        assert_eq!(SlotResults::decode(&slot.encode()).unwrap(), slot);
        assert!(SlotResults::decode(&[0xff]).is_err());
        let newer = SlotRows { format: FORMAT + 1, forgotten_index: 0, clients: vec![] }.encode_to_vec();
        assert!(SlotResults::decode(&newer).unwrap_err().contains("newer"));
    }
}
