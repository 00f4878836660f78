//! Deltas of the slot table, of which there are two in the bytes: what is taken keeps the table's invariants, what is
//! refused changes nothing.

use prost::Message;
use slotkv_proto::{table::SlotTable, v1::TableDelta};

pub fn run(bytes: &[u8]) {
    let Some((length, bytes)) = bytes.split_first_chunk() else { return };
    let Some((first, second)) = bytes.split_at_checked(u16::from_le_bytes(*length).into()) else { return };
    let Ok(first) = TableDelta::decode(first) else { return };
    let Ok(mut table) = SlotTable::from_delta(&first) else { return };

    let copy = SlotTable::from_delta(&table.full()).expect("a table's own delta");
    assert_eq!(copy.owner_runs(), table.owner_runs());
    assert!(copy.routes().eq(table.routes()));
    assert_eq!(table.apply(&first), Ok(false), "it is known already");

    let Ok(second) = TableDelta::decode(second) else { return };
    let before = table.clone();
    match table.apply(&second) {
        Err(_) => assert_eq!(table, before),
        Ok(changed) => {
            assert_eq!(changed, table != before);
            assert!(table.version() >= before.version());
            for slot in 0..table.slots().get() {
                assert!(before.owner(slot).is_none() || table.owner(slot).is_some(), "slot {slot}");
            }
            for route in before.routes() {
                let now = table.route(route.shard).expect("a route stays");
                assert!(now.revision >= route.revision && now.epoch >= route.epoch);
            }
            // Who knew the table before gets the same by what has changed since.
            let mut follower = before.clone();
            let known = |shard| before.route(shard).map_or(0, |route| route.revision);
            follower
                .apply(&table.delta_since(before.version(), known))
                .expect("it begins where the follower is");
            assert_eq!(follower.owner_runs(), table.owner_runs());
            assert!(follower.routes().eq(table.routes()));
        }
    }
}
