//! The published vectors of key → slot, which every language's tests read.

use serde::Deserialize;
use slotkv_proto::{
    SlotCount, slot,
    slot::{HASH_SLOTS, hash_slot},
};

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    key_hex: String,
    hash_slot: u16,
}

fn vectors() -> Vec<(Vec<u8>, u16)> {
    let file: File = serde_json::from_str(include_str!("../vectors/slots.json")).unwrap();
    file.vectors.into_iter().map(|vector| (unhex(&vector.key_hex), vector.hash_slot)).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    assert_eq!(hex.len() % 2, 0, "{hex}");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// CRC16/XMODEM bit by bit, as its definition reads.
fn crc16_by_the_bit(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0u16, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[test]
fn at_least_two_hundred_vectors_are_published() {
    let mut keys: Vec<_> = vectors().into_iter().map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    assert!(keys.len() >= 200, "{} different keys", keys.len());
    assert!(keys.iter().any(|key| key.contains(&0)), "a key with NUL");
    assert!(keys.iter().any(|key| std::str::from_utf8(key).is_err()), "a key that is no text");
    assert!(keys.iter().any(|key| key.contains(&b'{') && key.contains(&b'}')), "a key with a hash tag");
    assert!(keys.iter().any(|key| key.len() >= 256), "a long key");
}

#[test]
fn every_vector_holds_for_every_slot_count() {
    for (key, expected) in vectors() {
        assert!(expected < HASH_SLOTS);
        assert_eq!(hash_slot(&key), expected, "{key:02x?}");
        for bits in 0..=14 {
            let slots = SlotCount::new(1 << bits).unwrap();
            assert_eq!(slot(&key, slots), expected >> (14 - bits), "{key:02x?} of {} slots", slots.get());
        }
    }
}

#[test]
fn the_well_known_slots_of_redis_cluster_are_among_them() {
    let vectors = vectors();
    let published = |key: &[u8]| vectors.iter().find(|vector| vector.0 == key).map(|vector| vector.1);
    assert_eq!(published(b"foo"), Some(12182));
    assert_eq!(published(b"bar"), Some(5061));
    assert_eq!(published(b"hello"), Some(866));
    assert_eq!(published(b"{user1000}.following"), published(b"{user1000}.followers"));
    assert!(published(b"{user1000}.following").is_some());
    assert_eq!(published(b"foo{}{bar}"), Some(crc16_by_the_bit(b"foo{}{bar}") % HASH_SLOTS));
    assert_eq!(published(b"foo{{bar}}zap"), Some(crc16_by_the_bit(b"{bar") % HASH_SLOTS));
}

proptest::proptest! {
    #[test]
    fn keys_without_a_tag_hash_whole_and_keys_with_one_by_the_tag(
        key in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64),
        tag in "[a-z0-9{]{1,8}",
    ) {
        let bare: Vec<u8> = key.into_iter().filter(|byte| !b"{}".contains(byte)).collect();
        proptest::prop_assert_eq!(hash_slot(&bare), crc16_by_the_bit(&bare) % HASH_SLOTS);
        let tagged = [&bare[..], b"{", tag.as_bytes(), b"}", &bare[..]].concat();
        proptest::prop_assert_eq!(hash_slot(&tagged), crc16_by_the_bit(tag.as_bytes()) % HASH_SLOTS);
    }
}
