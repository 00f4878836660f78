//! Parts of a snapshot, of which there are two in the bytes, as another replica sends them: what is taken is what the engine
//! holds then, in order, and a snapshot that is whole fits its slot rows and deadlines; everything else is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use bytes::Bytes;
use slotkv_proto::SlotCount;
use slotkv_storage::{Engine, Error, MemoryEngine, Position, Reader, Row, RowCache, SlotRow, keys};
use slotkv_worker::{replica::Replica, snapshot::Receiver};

/// What a part has before its rows: format and checksum, then number and whether it is the last.
const HEAD_BYTES: usize = CRC_BYTES + 5;
const CRC_BYTES: usize = 5;
const SLOTS: u16 = 1_024;
const CACHE_BYTES: usize = 1 << 14;

/// Sums of the rows of each slot.
type Sums = BTreeMap<u16, SlotRow>;

fn count(sums: &mut Sums, key: &[u8], row: &[u8]) {
    let (Ok(key), Ok((version, _, value))) = (keys::DataKey::decode(key), Row::peek(row)) else { return };
    let of_slot = sums.entry(key.slot).or_default();
    of_slot.count += 1;
    of_slot.bytes += (key.key.len() + value.len()) as u64;
    let digest = keys::digest_of(key.namespace, key.key, version, value);
    of_slot.digest = of_slot.digest.wrapping_add(digest);
}

/// Makes slot rows fit the rows before them, which chance never would.
fn fit(mut rows: &mut [u8], sums: &mut Sums) {
    while let Some((head, rest)) = rows.split_first_chunk_mut::<8>() {
        let length = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| head[at + byte])) as usize;
        let Some((key, rest)) = rest.split_at_mut_checked(length(0)) else { return };
        let Some((value, rest)) = rest.split_at_mut_checked(length(4)) else { return };
        count(sums, key, value);
        if let (Ok(slot), Ok(row)) = (keys::decode_slot_key(key), SlotRow::decode(value)) {
            let SlotRow { count, bytes, digest, .. } = sums.remove(&slot).unwrap_or_default();
            value.copy_from_slice(&SlotRow { count, bytes, digest, ..row }.encode());
        }
        rows = rest;
    }
}

/// The part that has this body.
fn sealed(body: &[u8]) -> Bytes {
    [&[1][..], &crc32c::crc32c(body).to_le_bytes(), body].concat().into()
}

fn assert_refused(error: &Error) {
    assert!(error.is_damage() || matches!(error, Error::NewerFormat { .. }), "{error}");
}

fn scan(engine: &dyn Engine, mut each: impl FnMut(&[u8], &[u8])) {
    let mut each = |key: &[u8], value: &[u8]| {
        each(key, value);
        ControlFlow::Continue(())
    };
    engine.scan((Bound::Unbounded, Bound::Unbounded), &mut each).expect("it is in memory");
}

/// What a snapshot that was taken must be.
fn assert_fits(engine: &dyn Engine) {
    let (mut sums, mut shown, mut ending, mut deadlines) =
        (Sums::new(), Sums::new(), BTreeSet::new(), BTreeSet::new());
    scan(engine, |key, value| {
        count(&mut sums, key, value);
        if keys::DataKey::decode(key).is_ok() {
            let (_, expires_ms, _) = Row::peek(value).expect("it was taken");
            if expires_ms != 0 {
                ending.insert(keys::deadline_key(expires_ms, key));
            }
        } else if let Ok(slot) = keys::decode_slot_key(key) {
            let row = SlotRow::decode(value).expect("it was taken");
            shown.insert(slot, row);
        } else if keys::decode_deadline_key(key).is_ok() {
            deadlines.insert(Bytes::copy_from_slice(key));
        }
    });
    assert_eq!(ending, deadlines);
    for slot in sums.keys() {
        assert!(shown.contains_key(slot), "slot {slot} has rows and no slot row");
    }
    for (slot, row) in shown {
        let sums = sums.remove(&slot).unwrap_or_default();
        assert_eq!((row.count, row.bytes, row.digest), (sums.count, sums.bytes, sums.digest), "slot {slot}");
    }
}

/// The rows of parts that were taken.
fn rows(parts: &[Bytes]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut bytes = parts.iter().flat_map(|part| part.slice(HEAD_BYTES..)).peekable();
    let mut rows = Vec::new();
    while bytes.peek().is_some() {
        let mut take = |count: usize| bytes.by_ref().take(count).collect::<Vec<u8>>();
        let length = |bytes: Vec<u8>| u32::from_le_bytes(bytes.try_into().expect("a length")) as usize;
        let (key, value) = (length(take(4)), length(take(4)));
        rows.push((take(key), take(value)));
    }
    rows
}

/// The first byte says whether checksums are made right and whether slot rows are, the next two how long the first part is.
pub fn run(bytes: &[u8]) {
    let Some((&[how, low, high], bytes)) = bytes.split_first_chunk() else { return };
    let Some((first, second)) = bytes.split_at_checked(u16::from_le_bytes([low, high]).into()) else {
        return;
    };
    let mut sums = Sums::new();
    let parts = [first, second].map(|bytes| {
        let mut body = bytes.to_vec();
        if let (2, Some(rows)) = (how & 2, body.get_mut(HEAD_BYTES - CRC_BYTES..)) {
            fit(rows, &mut sums);
        }
        if how & 1 == 0 { sealed(&body) } else { body.into() }
    });

    let engine = MemoryEngine::new();
    let mut receiver = Receiver::new(Arc::new(engine.clone()));
    for part in &parts {
        let before = engine.size();
        if let Err(error) = receiver.add(part) {
            assert_refused(&error);
            assert_eq!(engine.size(), before, "a part that was refused has changed the engine");
            return;
        }
    }
    let sent = rows(&parts);
    let applied_key = keys::applied_key();
    let told = engine.get(&applied_key).expect("it is in memory");
    assert!(told.is_none(), "a snapshot that is not whole says how far it goes");
    let applied = sent.iter().find(|(key, _)| *key == applied_key);
    let at = applied.map_or(Position::default(), |(_, row)| Position::decode(row).expect("it was checked"));
    let whole = match receiver.finish(at) {
        Ok(whole) => whole,
        Err(error) => return assert_refused(&error),
    };
    // Every row is there as it was sent, and nothing else.
    let mut found = Vec::with_capacity(sent.len());
    scan(&*whole, |key, value| found.push((key.to_vec(), value.to_vec())));
    assert_eq!(found, sent);
    assert_fits(&*whole);
    match Replica::load(
        whole,
        Arc::new(RowCache::new(CACHE_BYTES)),
        SlotCount::new(SLOTS.into()).expect("there are some"),
    ) {
        Ok(replica) => assert_eq!((replica.applied(), replica.checkpoint()), (at, at)),
        Err(error) => assert_refused(&error),
    }
}
