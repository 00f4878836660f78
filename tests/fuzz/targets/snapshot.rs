//! Parts of a snapshot, of which there are two in the bytes, with checksums that are right or as they come: what is taken is
//! what the engine holds then, in order, and the snapshot is whole or is refused.
#![no_main]

use std::{
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use slotkv_storage::{Engine, Error, MemoryEngine, Position, Reader, keys};
use slotkv_worker::snapshot::Receiver;

/// What a part has before its rows: format, checksum, number and whether it is the last.
const HEAD_BYTES: usize = 10;

/// The part that has this body.
fn sealed(body: &[u8]) -> Bytes {
    [&[1][..], &crc32c::crc32c(body).to_le_bytes(), body].concat().into()
}

fn assert_refused(error: &Error) {
    assert!(error.is_damage() || matches!(error, Error::NewerFormat { .. }), "{error}");
}

// The first byte says whether checksums are made right, the next two how long the first part is.
fuzz_target!(|bytes: &[u8]| {
    let Some((&[how, low, high], bytes)) = bytes.split_first_chunk() else { return };
    let Some((first, second)) = bytes.split_at_checked(u16::from_le_bytes([low, high]).into()) else { return };
    let part = |body: &[u8]| if how % 2 == 0 { sealed(body) } else { Bytes::copy_from_slice(body) };
    let parts = [part(first), part(second)];

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
    // Every row is there as it was sent, and nothing else.
    let mut sent = parts.iter().flat_map(|part| part.slice(HEAD_BYTES..)).peekable();
    let mut take = |count: usize| sent.by_ref().take(count).collect::<Vec<u8>>();
    let length = |bytes: Vec<u8>| u32::from_le_bytes(bytes.try_into().expect("a length")) as usize;
    let mut compare = |key: &[u8], value: &[u8]| {
        assert_eq!((length(take(4)), length(take(4))), (key.len(), value.len()));
        assert_eq!((&take(key.len())[..], &take(value.len())[..]), (key, value));
        ControlFlow::Continue(())
    };
    engine.scan((Bound::Unbounded, Bound::Unbounded), &mut compare).expect("it is in memory");
    assert!(take(1).is_empty());

    let applied = engine.get(&keys::applied_key()).expect("it is in memory");
    let at = applied.map_or(Position::default(), |row| Position::decode(&row).expect("it was checked"));
    match receiver.finish(at) {
        Ok(_) => assert!(engine.get(&keys::applied_key()).expect("it is in memory").is_some()),
        Err(error) => assert_refused(&error),
    }
});
