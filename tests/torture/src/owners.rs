//! Owners: every slot is served by one shard. The replicas of the shard that the slot table names answer for a key of the
//! slot, and every other worker says that it moved, however it is asked.

use std::collections::{BTreeMap, BTreeSet};

use slotkv_proto::{
    table::SlotTable,
    v1::{ReadLevel, Request, store_client::StoreClient},
};
use tonic::transport::{Channel, Endpoint};

/// Keys that are tried for one of each slot; so many keys miss a slot with a chance of e^-64.
const TRIES_PER_SLOT: usize = 64;

/// A key of each slot.
pub fn keys(table: &SlotTable) -> Result<Vec<String>, String> {
    let count = usize::from(table.slots().get());
    let mut keys = vec![None; count];
    for number in 0..count * TRIES_PER_SLOT {
        let key = format!("owner-{number}");
        keys[usize::from(table.slot(key.as_bytes()))].get_or_insert(key);
    }
    let missing = || "a slot without a key".to_owned();
    keys.into_iter().map(|key| key.ok_or_else(missing)).collect()
}

/// Asks each worker about each slot; how many answers there were, or what was wrong first.
pub async fn check(table: &SlotTable, workers: &[String]) -> Result<usize, String> {
    let keys = keys(table)?;
    let mut count = 0;
    for worker in workers {
        let served = served(worker, &keys).await?;
        for slot in 0..keys.len() as u16 {
            let holders = holders(table, slot);
            let shard = table.owner(slot).ok_or_else(|| format!("slot {slot} has no owner"))?;
            match (holders.contains(worker.as_str()), served.contains(&slot)) {
                (true, false) => {
                    return Err(format!("{worker} does not serve slot {slot} of its shard {shard}"));
                }
                (false, true) => {
                    return Err(format!("{worker} serves slot {slot}, which is shard {shard}'s"));
                }
                _ => count += 1,
            }
        }
    }
    Ok(count)
}

/// Addresses of the replicas that serve a slot.
fn holders(table: &SlotTable, slot: u16) -> BTreeSet<&str> {
    let route = table.owner(slot).and_then(|shard| table.route(shard));
    let members = route.map(|route| route.primary.iter().chain(&route.backups));
    members.into_iter().flatten().map(|member| member.address.as_str()).collect()
}

/// The slots that a worker answers for, without regard to its age.
async fn served(worker: &str, keys: &[String]) -> Result<BTreeSet<u16>, String> {
    let endpoint = Endpoint::from_shared(format!("http://{worker}")).map_err(|error| error.to_string())?;
    let channel = endpoint.connect().await.map_err(|error| format!("{worker}: {error}"))?;
    let mut store = StoreClient::new(channel);
    let mut served = BTreeSet::new();
    for (slot, key) in keys.iter().enumerate() {
        if answers(&mut store, key).await.map_err(|why| format!("{worker}: slot {slot}: {why}"))? {
            served.insert(slot as u16);
        }
    }
    Ok(served)
}

async fn answers(store: &mut StoreClient<Channel>, key: &str) -> Result<bool, String> {
    let mut request = Request { key: key.to_owned().into_bytes().into(), ..Request::default() };
    request.set_read_level(ReadLevel::Stale);
    match store.get(request).await {
        Ok(_) => Ok(true),
        Err(status) if status.message().contains("MOVED") => Ok(false),
        Err(status) => Err(status.to_string()),
    }
}

/// How many slots each shard has, for people.
pub fn shares(table: &SlotTable) -> String {
    let mut shares: BTreeMap<u32, usize> = BTreeMap::new();
    for slot in 0..table.slots().get() {
        *shares.entry(table.owner(slot).unwrap_or(u32::MAX)).or_default() += 1;
    }
    shares.iter().map(|(shard, count)| format!("shard {shard} {count}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotkv_proto::slot::SlotCount;

    #[test]
    fn every_slot_has_a_key_in_it() -> Result<(), String> {
        for count in [1, 1024, 16_384] {
            let table = SlotTable::new("c", SlotCount::new(count).ok_or("no count")?);
            for (slot, key) in keys(&table)?.iter().enumerate() {
                assert_eq!(usize::from(table.slot(key.as_bytes())), slot);
            }
        }
        Ok(())
    }
}
