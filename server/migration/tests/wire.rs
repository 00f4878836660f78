//! Records, ledgers and messages as bytes: what this crate says it understands, what it would not say is refused, whatever the bytes
//! are, and what an earlier release wrote is read. `golden/1` holds the bytes of format 1; `SLOTKV_GOLDEN=write cargo test -p
//! slotkv-migration --test wire` writes them anew, which only a format that was never released may need.

use std::{fs, path::Path};

use bytes::Bytes;
use proptest::{
    collection::{btree_set, vec},
    option,
    prelude::*,
};
use slotkv_migration::{
    Body, Cursor, Id, Ledger, Malformed, Message, Place, Position, Record, Slot, Stream,
    options::SLOT_COUNT_MAX,
    wire::{ITEM_BYTES_MAX, NUMBER_MAX},
};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..20_u64, 0..=NUMBER_MAX, Just(NUMBER_MAX)]
}

/// Few, so that records concern each other.
fn id() -> impl Strategy<Value = Id> {
    prop_oneof![4 => 1..6_u64, 1 => 1..=NUMBER_MAX].prop_map(Id)
}

fn slots() -> impl Strategy<Value = Vec<Slot>> {
    let few = btree_set(0..12_u16, 1..6);
    let many = btree_set(any::<u16>(), 1..40);
    prop_oneof![few, many, Just((0..SLOT_COUNT_MAX as u16).collect())]
        .prop_map(|slots| slots.into_iter().collect())
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Into::into)
}

fn position() -> impl Strategy<Value = Position> {
    let any = (number(), number()).prop_map(|(epoch, index)| Position { epoch, index });
    prop_oneof![3 => any, 1 => Just(Position::NONE)]
}

fn stream() -> impl Strategy<Value = Stream> {
    (number(), number()).prop_map(|(epoch, number)| Stream { epoch, number })
}

fn cursor() -> impl Strategy<Value = Cursor> {
    prop_oneof![Just(Cursor::Start), bytes().prop_map(Cursor::Behind), Just(Cursor::End)]
}

fn place() -> impl Strategy<Value = Place> {
    (stream(), cursor(), position()).prop_map(|(stream, cursor, at)| Place { stream, cursor, at })
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        (id(), number(), slots()).prop_map(|(id, version, slots)| Record::Seal { id, version, slots }),
        (id(), number()).prop_map(|(id, version)| Record::Unseal { id, version }),
        (id(), number(), slots(), place(), bytes())
            .prop_map(|(id, version, slots, to, bytes)| { Record::Stage { id, version, slots, to, bytes } }),
        (id(), number(), position(), bytes()).prop_map(|(id, version, sealed_at, levels)| {
            Record::Imported { id, version, sealed_at, levels }
        }),
        (id(), number(), slots(), bytes(), any::<bool>()).prop_map(|(id, version, slots, upto, is_last)| {
            Record::Clean { id, version, slots, upto, is_last }
        }),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        Just(Body::Offer),
        (option::of(place()), place(), bytes()).prop_map(|(from, to, bytes)| Body::Part { from, to, bytes }),
        (stream(), position(), bytes(), bytes()).prop_map(|(stream, at, tally, levels)| Body::Sealed {
            stream,
            at,
            tally,
            levels
        }),
        (option::of(place()), option::of(place()), 0..NUMBER_MAX)
            .prop_map(|(next, held, rest_us)| Body::Holds { next, held, rest_us }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (id(), any::<u32>(), any::<u32>(), number(), body()).prop_map(|(id, from, to, version, body)| Message {
        id,
        from,
        to,
        version,
        body,
    })
}

/// The ledger that some records lead to, if it is one that a shard may have.
fn ledger_of(records: &[Record]) -> Option<Ledger> {
    let mut ledger = Ledger::default();
    for (index, record) in (1..).zip(records) {
        ledger.apply(Position { epoch: 1, index }, record, None);
    }
    ledger.violation().is_none().then_some(ledger)
}

proptest! {
    #[test]
    fn record_is_what_it_was(record in record()) {
        prop_assert_eq!(Record::from_bytes(record.to_bytes()), Ok(record));
    }

    #[test]
    fn message_is_what_it_was(message in message()) {
        prop_assert_eq!(Message::from_bytes(message.to_bytes()), Ok(message));
    }

    #[test]
    fn ledger_of_any_records_is_what_it_was(records in vec(record(), 0..20)) {
        if let Some(ledger) = ledger_of(&records) {
            prop_assert_eq!(Ledger::from_bytes(ledger.to_bytes()), Ok(ledger));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..80)) {
        for bytes in [bytes.clone(), [&[8, 1][..], &bytes].concat()] {
            let bytes = Bytes::from(bytes);
            let _ = (Record::from_bytes(bytes.clone()), Message::from_bytes(bytes.clone()), Ledger::from_bytes(bytes));
        }
    }

    #[test]
    fn record_with_a_byte_changed_is_read_or_refused(record in record(), at: prop::sample::Index, byte: u8) {
        let mut bytes = record.to_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(record) = Record::from_bytes(bytes.into()) {
            // What is taken, a ledger can be asked about.
            Ledger::default().apply(Position::default(), &record, None);
        }
    }
}

#[test]
fn ledger_with_the_lost_slots_of_many_hand_overs_is_what_it_was() {
    let mut ledger = Ledger::default();
    for id in 1..=3 {
        let slots: Vec<Slot> = (0..200).map(|slot| 1000 * id as Slot + 2 * slot).collect();
        let stream = Stream { epoch: 1, number: id };
        let to = Place { stream, cursor: Cursor::End, at: Position::default() };
        let stage = Record::Stage { id: Id(id), version: id, slots, to, bytes: Bytes::new() };
        let (sealed_at, levels) = (Position::NONE, Bytes::new());
        let imported = Record::Imported { id: Id(id), version: id, sealed_at, levels };
        for (index, record) in [stage, imported].iter().enumerate() {
            ledger.apply(Position { epoch: 1, index: 2 * id + index as u64 }, record, None);
        }
    }
    assert_eq!(ledger.lost().count(), 600);
    assert_eq!(Ledger::from_bytes(ledger.to_bytes()), Ok(ledger));
}

#[test]
fn what_this_crate_would_not_say_is_refused() {
    let slots = vec![3, 4, 9];
    let seal = |id: u64, slots: &[Slot]| Record::Seal { id: Id(id), version: 7, slots: slots.to_vec() };
    assert!(Record::from_bytes(seal(7, &slots).to_bytes()).is_ok());
    let to = Place {
        stream: Stream { epoch: 1, number: 1 },
        cursor: Cursor::Behind(vec![0; ITEM_BYTES_MAX + 1].into()),
        at: Position { epoch: 1, index: NUMBER_MAX + 1 },
    };
    let stage = |to: &Place| Record::Stage {
        id: Id(7),
        version: 7,
        slots: slots.clone(),
        to: to.clone(),
        bytes: Bytes::new(),
    };
    let many: Vec<Slot> = (0..=SLOT_COUNT_MAX as u16).collect();
    for (record, why) in [
        (seal(0, &slots), "names no hand-over"),
        (seal(7, &[]), "no slots"),
        (seal(7, &[4, 3]), "ascend"),
        (seal(7, &[3, 3]), "ascend"),
        (seal(7, &many), "too many slots"),
        (Record::Unseal { id: Id(7), version: NUMBER_MAX + 1 }, "too large"),
        (stage(&to), "name of an item is too long"),
        (stage(&Place { cursor: Cursor::End, ..to.clone() }), "too large"),
    ] {
        let refusal = Record::from_bytes(record.to_bytes()).unwrap_err();
        assert!(refusal.to_string().contains(why), "{refusal}");
    }
    for bytes in [&b""[..], &[8, 0], &[8, 1], &[16, 1, 8, 1]] {
        let refusal = Record::from_bytes(Bytes::copy_from_slice(bytes)).unwrap_err();
        assert!(matches!(refusal, Malformed::Wrong { .. }), "{bytes:?}: {refusal}");
    }
}

fn checked(name: &str, today: &[u8]) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/1").join(name);
    if std::env::var_os("SLOTKV_GOLDEN").is_some_and(|wish| wish == "write") {
        fs::write(&path, today).unwrap();
    }
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes, today, "{name}");
    bytes.into()
}

/// The same bytes with another format.
fn newer(bytes: &Bytes) -> Bytes {
    assert_eq!(bytes[..2], [8, 1]);
    [&[8, 2], &bytes[2..]].concat().into()
}

#[test]
fn what_an_earlier_release_wrote_is_read_and_what_a_later_one_writes_is_refused_by_number() {
    let (id, version) = (Id(7), 9);
    let at = Position { epoch: 4, index: 12_345 };
    let stream = Stream { epoch: 4, number: 2 };
    let to = Place { stream, cursor: Cursor::Behind("an item".into()), at };
    let slots = vec![3, 4, 5, 1023];
    let records = [
        ("record-seal.bin", Record::Seal { id, version, slots: slots.clone() }),
        ("record-unseal.bin", Record::Unseal { id, version }),
        (
            "record-stage.bin",
            Record::Stage { id, version, slots: slots.clone(), to: to.clone(), bytes: "a part".into() },
        ),
        ("record-imported.bin", Record::Imported { id, version, sealed_at: at, levels: "levels".into() }),
        (
            "record-clean.bin",
            Record::Clean { id, version, slots: slots.clone(), upto: "an item".into(), is_last: false },
        ),
    ];
    for (name, record) in &records {
        let bytes = checked(name, &record.to_bytes());
        assert_eq!(Record::from_bytes(bytes.clone()).as_ref(), Ok(record));
        let refusal = Record::from_bytes(newer(&bytes));
        assert_eq!(refusal, Err(Malformed::Newer { what: "record of a hand-over", found: 2 }));
    }

    let place = Place { cursor: Cursor::End, ..to.clone() };
    let bodies = [
        ("message-offer.bin", Body::Offer),
        (
            "message-part.bin",
            Body::Part { from: Some(to.clone()), to: place.clone(), bytes: "a part".into() },
        ),
        ("message-sealed.bin", Body::Sealed { stream, at, tally: "a tally".into(), levels: "levels".into() }),
        ("message-holds.bin", Body::Holds { next: Some(place), held: None, rest_us: 0 }),
    ];
    for (name, body) in bodies {
        let message = Message { id, from: 1, to: 2, version, body };
        let bytes = checked(name, &message.to_bytes());
        assert_eq!(Message::from_bytes(bytes.clone()), Ok(message));
        assert!(matches!(Message::from_bytes(newer(&bytes)), Err(Malformed::Newer { found: 2, .. })));
    }

    // Every mark, and every state of a hand-over.
    let stage = |id: u64, slot: Slot| Record::Stage {
        id: Id(id),
        version: id,
        slots: vec![slot],
        to: to.clone(),
        bytes: Bytes::new(),
    };
    let imported =
        |id: u64| Record::Imported { id: Id(id), version: id, sealed_at: at, levels: Bytes::new() };
    let clean = |id: u64, slot: Slot, is_last| Record::Clean {
        id: Id(id),
        version: id,
        slots: vec![slot],
        upto: "an item".into(),
        is_last,
    };
    let ledger = ledger_of(&[
        stage(3, 8),
        stage(4, 9),
        imported(4),
        stage(5, 10),
        clean(5, 10, false),
        stage(6, 11),
        clean(6, 11, true),
        Record::Seal { id, version, slots },
    ]);
    let ledger = ledger.unwrap();
    let bytes = checked("ledger.bin", &ledger.to_bytes());
    assert_eq!(Ledger::from_bytes(bytes.clone()), Ok(ledger));
    assert!(matches!(Ledger::from_bytes(newer(&bytes)), Err(Malformed::Newer { found: 2, .. })));

    // One with slots that were lost; a release before this one leaves them out.
    let out_of_nothing =
        Record::Imported { id: Id(3), version: 3, sealed_at: Position::NONE, levels: Bytes::new() };
    let ledger = ledger_of(&[stage(3, 8), out_of_nothing]).unwrap();
    assert!(ledger.lost().eq([8]));
    let bytes = checked("ledger-lost.bin", &ledger.to_bytes());
    assert_eq!(Ledger::from_bytes(bytes), Ok(ledger));
}
