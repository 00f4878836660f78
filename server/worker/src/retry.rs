//! Exactly-once results (protocol.md rule 11, after RIFL): for each slot, what earlier writes of each client came to.
//!
//! Nouns: a *result* answers a repeated write without executing it; the *oldest open* sequence of a client says which
//! results it can no longer ask for; the *forgotten index* of a slot is the highest log index of a record whose result
//! was dropped for room or age.
//!
//! Invariants:
//! - A result is dropped either because its sequence lies below the client's `oldest_open`, or `forgotten_index` rises
//!   to its log index at least.
//! - A write with no result is executed only if its sequence is not below `oldest_open` and its fence (the applied
//!   index its client knew before it first sent the write) is not below `forgotten_index`: then no earlier attempt of
//!   it can have been executed and forgotten. No clock takes part in that decision; logged time only decides when room
//!   is made.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use slotkv_storage::Outcome;

/// Clients whose results one slot keeps; past it the client that wrote longest ago is forgotten.
pub const CLIENTS_PER_SLOT_MAX: usize = 256;
/// Results one slot keeps for one client; past it the oldest is forgotten.
pub const RESULTS_PER_CLIENT_MAX: usize = 512;
/// Age in logged time after which a client's results are forgotten.
pub const RESULT_AGE_MS_MAX: u64 = 15 * 60 * 1000;

/// Identifies a client object: 16 random bytes.
pub type ClientId = [u8; slotkv_proto::limits::CLIENT_ID_BYTES];

/// Which write an attempt belongs to, as its client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let client = self.clients.entry(ticket.client).or_default();
        client.last_index = index;
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
    }

    /// Highest log index of a record whose result was dropped for room or age.
    pub fn forgotten_index(&self) -> u64 {
        self.forgotten_index
    }

    /// Drops clients that have not written to the slot for [`RESULT_AGE_MS_MAX`] of logged time. Returns whether any was.
    pub fn expire(&mut self, time_ms: u64) -> bool {
        let forgotten = &mut self.forgotten_index;
        let before = self.clients.len();
        self.clients.retain(|_, client| {
            let keep = time_ms.saturating_sub(client.last_time_ms) < RESULT_AGE_MS_MAX;
            if !keep {
                *forgotten = (*forgotten).max(client.last_index);
            }
            keep
        });
        self.clients.len() < before
    }

    /// Drops everything; no record up to `index` is known any more.
    pub fn forget(&mut self, index: u64) {
        self.clients.clear();
        self.forgotten_index = self.forgotten_index.max(index);
    }

    /// First the expired ones; if there are none, the client that wrote longest ago.
    fn make_room(&mut self, time_ms: u64) {
        if self.expire(time_ms) {
            return;
        }
        let oldest = self.clients.iter().min_by_key(|(_, client)| client.last_index).map(|(id, _)| *id);
        if let Some(client) = oldest.and_then(|id| self.clients.remove(&id)) {
            self.forgotten_index = self.forgotten_index.max(client.last_index);
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
        Ok(Self { clients, forgotten_index: rows.forgotten_index })
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
