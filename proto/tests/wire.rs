//! Golden files of the wire, `vectors/*.bin`: what a release has sent once must decode to the same fields, and encode
//! to the same bytes, for ever. After an addition, `SLOTKV_WRITE_GOLDEN=1 cargo test -p slotkv-proto --test wire`
//! writes the files that are missing; it never overwrites one.

use std::{fmt::Debug, path::PathBuf};

use bytes::Bytes;
use prost::Message;
use slotkv_proto::v1;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(format!("{name}.bin"))
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{}: {error}", path(name).display()))
}

fn check<M: Message + Default + PartialEq + Debug>(name: &str, expected: M) {
    if std::env::var_os("SLOTKV_WRITE_GOLDEN").is_some() && !path(name).exists() {
        std::fs::write(path(name), expected.encode_to_vec()).unwrap();
    }
    let bytes = golden(name);
    let decoded = M::decode(&bytes[..]).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(decoded, expected, "{name}");
    assert_eq!(decoded.encode_to_vec(), bytes, "{name}");

    let decoded = M::decode(&[&bytes[..], &unknown_fields()[..]].concat()[..]).unwrap();
    assert_eq!(decoded, expected, "{name} with fields of a later release");
}

/// Fields 1000 to 1003, one of each wire type that proto3 writes.
fn unknown_fields() -> Vec<u8> {
    let mut bytes = Vec::new();
    let key = |wire: u32, tag: u32, bytes: &mut Vec<u8>| {
        prost::encoding::encode_varint(u64::from(tag << 3 | wire), bytes);
    };
    key(0, 1000, &mut bytes);
    bytes.extend([0xff, 0x01]);
    key(1, 1001, &mut bytes);
    bytes.extend([7; 8]);
    key(2, 1002, &mut bytes);
    bytes.extend([3, b'n', b'e', b'w']);
    key(5, 1003, &mut bytes);
    bytes.extend([7; 4]);
    bytes
}

fn bytes(text: &'static [u8]) -> Bytes {
    Bytes::from_static(text)
}

fn member(name: &str) -> v1::Member {
    v1::Member {
        name: name.into(),
        run: "1f00000000000001".into(),
        address: "127.0.0.1:7710".into(),
        ..Default::default()
    }
}

fn limits() -> v1::Limits {
    v1::Limits {
        key_bytes_max: 32 << 10,
        value_bytes_max: 16 << 20,
        frame_bytes_max: 20 << 20,
        inflight_count_max: 4096,
        inflight_bytes_max: 32 << 20,
    }
}

fn delta() -> v1::TableDelta {
    v1::TableDelta {
        cluster_id: "5f0c1dbe3a7b4a55".into(),
        slot_count: 1024,
        from_version: 6,
        version: 7,
        ranges: vec![
            v1::SlotRange { first: 0, last: 341, shard: 0 },
            v1::SlotRange { first: 342, last: 1023, shard: 2 },
        ],
        routes: vec![
            v1::Route {
                shard: 0,
                epoch: 3,
                revision: 12,
                primary: Some(member("w0")),
                backups: vec![member("w3"), member("w4")],
            },
            v1::Route { shard: 2, epoch: 9, revision: 10, primary: None, backups: Vec::new() },
        ],
    }
}

fn hello() -> v1::Hello {
    v1::Hello {
        version_min: 1,
        version_max: 1,
        features: 5,
        cluster_id: "5f0c1dbe3a7b4a55".into(),
        client_id: bytes(b"0123456789abcdef"),
        namespace: "billing".into(),
        credentials: bytes(b"\x00secret\xff"),
        client_name: "rust/0.1.0".into(),
        limits: Some(limits()),
    }
}

fn first_frame() -> v1::ClientFrame {
    v1::ClientFrame { hello: Some(hello()), ..v1::ClientFrame::default() }
}

fn welcome() -> v1::ServerFrame {
    v1::ServerFrame {
        welcome: Some(v1::Welcome {
            version: 1,
            features: 1,
            cluster_id: "5f0c1dbe3a7b4a55".into(),
            member: Some(member("w0")),
            shard: 2,
            epoch: 9,
            limits: Some(limits()),
        }),
        applied_index: 41,
        epoch: 9,
        ..v1::ServerFrame::default()
    }
}

fn requests() -> v1::ClientFrame {
    let everything = v1::Request {
        id: 300,
        operation: v1::Operation::Put.into(),
        key: bytes(b"{user1000}\x00 /\xff"),
        value: bytes(b"value"),
        condition: v1::Condition::Version.into(),
        version: 77,
        delta: -5,
        deadline_ms: 1500,
        sequence: 1 << 40,
        oldest_open: (1 << 40) - 3,
        fence_index: 99,
        client_id: bytes(b"fedcba9876543210"),
        namespace: Some("orders".into()),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        read_level: v1::ReadLevel::Bounded.into(),
        session_token: bytes(b"\x01\x02"),
        priority: 2,
        staleness_ms: 250,
        ttl_ms: 60_000,
        range: Some(v1::Range {
            slot_first: 1,
            slot_last: 1023,
            prefix: bytes(b"p"),
            start: bytes(b"pa"),
            end: bytes(b"pz"),
            resumed: true,
            after_slot: 17,
            after_key: bytes(b"pk"),
            items_max: 1000,
            bytes_max: 1 << 20,
            keys_only: true,
            ordered: true,
        }),
        // Came after this file; a frame without them decodes to this.
        repeated: false,
        keys: Bytes::new(),
        fence_shard: 0,
    };
    let get = v1::Request {
        id: 1,
        operation: v1::Operation::Get.into(),
        key: bytes(b"foo"),
        deadline_ms: 1000,
        ..v1::Request::default()
    };
    let in_the_namespace_without_a_name = v1::Request {
        id: 2,
        operation: v1::Operation::Delete.into(),
        key: bytes(b"foo"),
        namespace: Some(String::new()),
        ..v1::Request::default()
    };
    v1::ClientFrame {
        hello: None,
        requests: vec![everything, get, in_the_namespace_without_a_name],
        cancels: vec![1, 250, 1 << 33],
        table_version: 7,
        epoch: 9,
    }
}

fn repeated_request() -> v1::Request {
    v1::Request {
        id: 301,
        operation: v1::Operation::Put.into(),
        key: bytes(b"foo"),
        value: bytes(b"bar"),
        sequence: 7,
        oldest_open: 7,
        repeated: true,
        ..v1::Request::default()
    }
}

fn many_request() -> v1::Request {
    v1::Request {
        id: 302,
        operation: v1::Operation::GetMany.into(),
        keys: bytes(b"\x03foo\x01\x00"),
        ..v1::Request::default()
    }
}

fn many_reply() -> v1::Reply {
    let found = v1::Found { status: v1::Status::Found.into(), value: bytes(b"bar"), version: 3, ttl_ms: 0 };
    let not_found = v1::Found { status: v1::Status::NotFound.into(), ..v1::Found::default() };
    v1::Reply {
        id: 302,
        status: v1::Status::Found.into(),
        found: vec![found, not_found, v1::Found::default()],
        ..v1::Reply::default()
    }
}

fn replies() -> v1::ServerFrame {
    let everything = v1::Reply {
        id: 300,
        code: 10,
        status: v1::Status::Page.into(),
        value: bytes(b"\x00\xffvalue"),
        version: 78,
        number: i64::MIN,
        message: "slot 17 belongs to shard 2".into(),
        items: vec![
            v1::Item { key: bytes(b"pk"), value: bytes(b"1"), version: 5, slot: 17, ttl_ms: 0 },
            v1::Item { key: bytes(b"pl"), value: Bytes::new(), version: 6, slot: 1023, ttl_ms: 0 },
        ],
        more: true,
        last_slot: 1023,
        last_key: bytes(b"pl"),
        replayed: true,
        retry_after_ms: 50,
        // Came after this file.
        found: Vec::new(),
        ttl_ms: 0,
    };
    let found = v1::Reply {
        id: 1,
        status: v1::Status::Found.into(),
        value: bytes(b"bar"),
        version: 3,
        ..v1::Reply::default()
    };
    v1::ServerFrame {
        replies: vec![everything, found],
        table: Some(delta()),
        applied_index: 1 << 35,
        epoch: 9,
        ..v1::ServerFrame::default()
    }
}

fn refusal() -> v1::ServerFrame {
    v1::ServerFrame {
        refusal: Some(v1::Refusal { code: 5, message: "this is cluster 5f0c1dbe3a7b4a55".into() }),
        ..v1::ServerFrame::default()
    }
}

fn ping() -> v1::PingRequest {
    v1::PingRequest {
        version_min: 1,
        version_max: 2,
        cluster_id: "5f0c1dbe3a7b4a55".into(),
        client_id: bytes(b"0123456789abcdef"),
        client_name: "python/0.1.0".into(),
        table_version: 7,
        route_revisions: 22,
        features: 5,
        credentials: bytes(b"\x00secret\xff"),
    }
}

fn pong() -> v1::PingReply {
    v1::PingReply {
        version: 1,
        cluster_id: "5f0c1dbe3a7b4a55".into(),
        table_version: 8,
        route_revisions: 23,
        masters: vec!["127.0.0.1:7700".into(), "[::1]:7701".into()],
        leader: true,
        master_epoch: 4,
    }
}

fn slot_table_request() -> v1::SlotTableRequest {
    v1::SlotTableRequest {
        hello: Some(hello()),
        since_version: 6,
        known_routes: vec![
            v1::KnownRoute { shard: 0, revision: 11 },
            v1::KnownRoute { shard: 2, revision: 10 },
        ],
    }
}

#[test]
fn frames_of_version_1_decode_to_the_same_fields_and_encode_to_the_same_bytes() {
    check("hello", first_frame());
    check("welcome", welcome());
    check("requests", requests());
    check("request_repeated", repeated_request());
    check("request_many", many_request());
    check("reply_many", many_reply());
    check("replies", replies());
    check("refusal", refusal());
    check("table_delta", delta());
    check("ping_request", ping());
    check("ping_reply", pong());
    check("slot_table_request", slot_table_request());
    check("status_request", v1::StatusRequest { hello: Some(hello()) });
}

#[test]
fn a_message_of_defaults_is_empty_and_a_cut_one_is_an_error() {
    assert_eq!(v1::ClientFrame::default().encode_to_vec(), b"");
    assert_eq!(v1::ClientFrame::decode(&b""[..]), Ok(v1::ClientFrame::default()));
    let whole = golden("hello");
    for length in 1..whole.len() {
        assert!(v1::ClientFrame::decode(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
    }
}

#[test]
fn unknown_fields_inside_a_request_are_ignored() {
    let request = requests().requests.remove(0);
    let later = [request.encode_to_vec(), unknown_fields()].concat();
    assert_eq!(v1::Request::decode(&later[..]), Ok(request.clone()));

    let mut frame = Vec::new();
    prost::encoding::encode_key(2, prost::encoding::WireType::LengthDelimited, &mut frame);
    prost::encoding::encode_varint(later.len() as u64, &mut frame);
    frame.extend(later);
    assert_eq!(v1::ClientFrame::decode(&frame[..]).unwrap().requests, [request]);
}

/// `request_later.bin` is what a later release may send: operation 12, condition 9, read level 9, fields 25 and 1000 to 1003.
#[test]
fn unknown_enum_numbers_survive_as_numbers() {
    let later = v1::Request {
        id: 5,
        operation: 12,
        key: bytes(b"foo"),
        condition: 9,
        read_level: 9,
        ..v1::Request::default()
    };
    let mut expected = later.encode_to_vec();
    prost::encoding::encode_key(25, prost::encoding::WireType::LengthDelimited, &mut expected);
    expected.extend([2, b'h', b'i']);
    expected.extend(unknown_fields());
    if std::env::var_os("SLOTKV_WRITE_GOLDEN").is_some() && !path("request_later").exists() {
        std::fs::write(path("request_later"), &expected).unwrap();
    }

    let bytes = golden("request_later");
    assert_eq!(bytes, expected);
    let decoded = v1::Request::decode(&bytes[..]).unwrap();
    assert_eq!(decoded, later);
    assert!(v1::Operation::try_from(decoded.operation).is_err());
    assert!(v1::Condition::try_from(decoded.condition).is_err());
    assert!(v1::ReadLevel::try_from(decoded.read_level).is_err());
    assert_eq!(v1::Request::decode(&decoded.encode_to_vec()[..]), Ok(decoded));

    let reply = v1::Reply { id: 5, code: 4711, status: 99, ..v1::Reply::default() };
    let decoded = v1::Reply::decode(&reply.encode_to_vec()[..]).unwrap();
    assert_eq!((decoded.code, decoded.status), (4711, 99));
    assert!(v1::Status::try_from(decoded.status).is_err());
}

#[test]
fn an_absent_namespace_and_an_empty_one_are_told_apart() {
    let frame = v1::ClientFrame::decode(&golden("requests")[..]).unwrap();
    let namespaces: Vec<_> = frame.requests.iter().map(|request| request.namespace.as_deref()).collect();
    assert_eq!(namespaces, [Some("orders"), None, Some("")]);
}
