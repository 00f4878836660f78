//! Fleet: the clients that ping this master, and by which version of the slot table each of them goes. A client pings one master
//! at a time, every 300 ms unless its options say otherwise.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use slotkv_proto::{limits::CLIENT_ID_BYTES, v1};
use tokio::time::Instant;

/// Clients that are remembered; of more it is only known that there are.
pub const CLIENTS_MAX: usize = 16_384;
/// A client that has been silent for so long has gone, or pings another master.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Bytes of a client's name that are kept.
const NAME_BYTES_MAX: usize = 64;

/// The clients of one master. Shared by whoever serves its pings and whoever tells of them.
#[derive(Debug, Default)]
pub struct Fleet {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    clients: HashMap<[u8; CLIENT_ID_BYTES], Seen>,
    /// When a client came last for whom there was no room.
    overflow: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    name: String,
    version: u64,
    at: Instant,
}

impl Fleet {
    /// A client says what it knows. One without an id is not counted.
    pub fn note(&self, client_id: &[u8], name: &str, version: u64) {
        let Ok(id) = <[u8; CLIENT_ID_BYTES]>::try_from(client_id) else { return };
        let now = Instant::now();
        let mut known = self.known.lock();
        if let Some(seen) = known.clients.get_mut(&id) {
            (seen.version, seen.at) = (version, now);
            return;
        }
        if known.clients.len() >= CLIENTS_MAX {
            known.clients.retain(|_, seen| now.duration_since(seen.at) <= SILENCE_MAX);
        }
        if known.clients.len() >= CLIENTS_MAX {
            known.overflow = Some(now);
            return;
        }
        let name = name.chars().take(NAME_BYTES_MAX).collect();
        known.clients.insert(id, Seen { name, version, at: now });
    }

    /// Those that are there, the ones with the oldest table first, and whether there are more.
    pub fn clients(&self) -> (Vec<v1::ClientStatus>, bool) {
        let now = Instant::now();
        let mut known = self.known.lock();
        known.clients.retain(|_, seen| now.duration_since(seen.at) <= SILENCE_MAX);
        let more = known.overflow.is_some_and(|at| now.duration_since(at) <= SILENCE_MAX);
        let status = |(id, seen): (&[u8; CLIENT_ID_BYTES], &Seen)| v1::ClientStatus {
            client_id: id.to_vec().into(),
            name: seen.name.clone(),
            table_version: seen.version,
            seen_ms: now.duration_since(seen.at).as_millis() as u64,
        };
        let mut clients: Vec<_> = known.clients.iter().map(status).collect();
        clients.sort_by(|a, b| (a.table_version, &a.client_id).cmp(&(b.table_version, &b.client_id)));
        (clients, more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> [u8; CLIENT_ID_BYTES] {
        let mut id = [0; CLIENT_ID_BYTES];
        id[..8].copy_from_slice(&number.to_le_bytes());
        id
    }

    #[tokio::test(start_paused = true)]
    async fn clients_are_known_by_their_last_ping_until_they_are_silent() {
        let fleet = Fleet::default();
        fleet.note(&id(1), "rust/1", 7);
        fleet.note(&id(2), "python/1", 6);
        fleet.note(b"", "nobody", 1);
        fleet.note(&id(1), "rust/1", 8);
        let versions =
            |fleet: &Fleet| fleet.clients().0.iter().map(|client| client.table_version).collect::<Vec<_>>();
        assert_eq!(versions(&fleet), [6, 8]);
        tokio::time::advance(SILENCE_MAX).await;
        fleet.note(&id(2), "python/1", 8);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(versions(&fleet), [8]);
    }

    #[tokio::test(start_paused = true)]
    async fn past_the_bound_it_is_said_that_there_are_more() {
        let fleet = Fleet::default();
        (0..=CLIENTS_MAX as u64).for_each(|number| fleet.note(&id(number), "", 1));
        let (clients, more) = fleet.clients();
        assert_eq!((clients.len(), more), (CLIENTS_MAX, true));
        tokio::time::advance(SILENCE_MAX * 2).await;
        fleet.note(&id(0), "", 1);
        assert_eq!((fleet.clients().0.len(), fleet.clients().1), (1, false));
    }
}
