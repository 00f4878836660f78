//! What no member and no client of this release says, on a real port: it harms the connection that it came on, if any, and
//! is refused by name.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use prost::Message;
use slotkv::{Client, Code, Outcome};
use slotkv_coordination::{
    Coordinator, Expect, paths,
    registers::{Register, Slots},
};
use slotkv_daemon::dev::{Dev, DevOptions};
use slotkv_proto::{
    code::code_of,
    limits,
    v1::{self, store_client::StoreClient},
};
use slotkv_tests::{load::Load, raw};
use tokio::sync::mpsc;
use tonic::{Streaming, transport::Channel};

const STREAM: &str = "/slotkv.v1.Store/Stream";

async fn dev() -> Dev {
    Dev::start(DevOptions { masters: 1, shards: 1, ..DevOptions::default() }).await.unwrap()
}

async fn client(dev: &Dev) -> Client {
    Client::connect(&dev.uri()).await.unwrap().with_deadline(Duration::from_secs(60))
}

/// A stream of a client that says just what it is told to.
struct Caller {
    frames: mpsc::UnboundedSender<v1::ClientFrame>,
    replies: Streaming<v1::ServerFrame>,
    next_id: u64,
}

fn hello() -> v1::Hello {
    v1::Hello { version_min: 1, version_max: 1, client_id: vec![7; 16].into(), ..Default::default() }
}

fn put(key: &str) -> v1::Request {
    v1::Request {
        operation: v1::Operation::Put as i32,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::from_static(b"v"),
        ..Default::default()
    }
}

async fn store(dev: &Dev) -> StoreClient<Channel> {
    let address = format!("http://{}", dev.worker_addresses()[0]);
    let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
    StoreClient::new(channel).max_encoding_message_size(usize::MAX)
}

impl Caller {
    async fn open(dev: &Dev, hello: v1::Hello) -> (Self, v1::ServerFrame) {
        let (frames, outgoing) = mpsc::unbounded_channel();
        frames.send(v1::ClientFrame { hello: Some(hello), ..Default::default() }).unwrap();
        let outgoing = futures_util::stream::unfold(outgoing, |mut outgoing| async move {
            outgoing.recv().await.map(|frame| (frame, outgoing))
        });
        let replies = store(dev).await.stream(outgoing).await.unwrap().into_inner();
        let mut caller = Self { frames, replies, next_id: 1 };
        let first = caller.next().await;
        (caller, first)
    }

    async fn next(&mut self) -> v1::ServerFrame {
        self.replies.message().await.unwrap().expect("a frame")
    }

    fn send(&mut self, mut request: v1::Request, table_version: u64) {
        request.id = self.next_id;
        self.next_id += 1;
        self.frames
            .send(v1::ClientFrame { requests: vec![request], table_version, ..Default::default() })
            .unwrap();
    }

    async fn ask(&mut self, request: v1::Request, table_version: u64) -> v1::Reply {
        self.send(request, table_version);
        let mut frame = self.next().await;
        while frame.replies.is_empty() {
            frame = self.next().await;
        }
        assert_eq!(frame.replies[0].id, self.next_id - 1);
        frame.replies.remove(0)
    }
}

/// Connections made and lost, and calls sent again.
fn disturbances(client: &Client) -> (u64, u64, u64) {
    let stats = client.stats();
    (stats.connects, stats.connections_lost, stats.retries)
}

/// Does what must not disturb `client`. A machine that stands still for seconds disturbs it too, but not each time.
async fn undisturbed(client: &Client, what: impl AsyncFn()) {
    let mut seen = Vec::new();
    for _ in 0..3 {
        let before = disturbances(client);
        what().await;
        let after = disturbances(client);
        if before == after {
            return;
        }
        seen.push((before, after));
    }
    panic!("the client is disturbed each time: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_bytes_harm_only_their_own_connection() {
    let dev = dev().await;
    let client = client(&dev).await;
    let mut load = Load::start(&client, 2, Duration::from_millis(5));
    load.goes_on(30).await;
    let worker = dev.worker_addresses()[0].clone();
    undisturbed(&client, async || {
        say_malformed(&worker).await;
        // Whatever it has done to the client's connection, the client has noticed by now.
        client.put("after", "v").await.unwrap();
    })
    .await;
    load.goes_on(30).await;
    load.end(&client).await;
    client.close().await;
    dev.shutdown().await;
}

async fn say_malformed(worker: &str) {
    let connect = || async { raw::Http2::connect(worker).await.unwrap() };
    // The server may have closed the connection before we have said everything.
    let said = |_: std::io::Result<()>| ();

    let mut garbage = connect().await;
    said(garbage.bytes(&[0xa5; 4096]).await);
    assert!(garbage.is_ended().await, "bytes that are no HTTP/2");

    let mut huge = connect().await;
    said(huge.frame(0, 0, 1, &vec![0; (2 << 20) + 1]).await);
    assert!(huge.is_ended().await, "an HTTP/2 frame of 2 MiB");

    let hello = v1::ClientFrame { hello: Some(hello()), ..Default::default() }.encode_to_vec();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("bytes that are no protobuf", raw::message(&[0xff; 64])),
        (
            "a good hello and then bytes that are no protobuf",
            [raw::message(&hello), raw::message(&[0xff; 64])].concat(),
        ),
        ("a message cut off in the middle", raw::message(&hello)[..hello.len()].to_vec()),
        ("a message that says it has 4 GiB", [vec![0], vec![0xff; 4], vec![0; 64]].concat()),
        ("a message that says it is compressed", [vec![1, 0, 0, 0, 4], vec![0xff; 4]].concat()),
        ("a message with an unknown flag", [vec![9, 0, 0, 0, 4], vec![0xff; 4]].concat()),
        (
            "a frame one byte past the limit",
            [vec![0], (limits::FRAME_BYTES_MAX as u32 + 1).to_be_bytes().to_vec(), vec![0; 64]].concat(),
        ),
    ];
    for (what, bytes) in cases {
        let mut caller = connect().await;
        caller.call(STREAM).await.unwrap();
        // Only the end makes a message that is cut off a bad one; the others are bad while their sender still listens.
        said(caller.data(&bytes, what.contains("cut off")).await);
        assert!(caller.is_ended().await, "{what}");
    }
    let mut nowhere = connect().await;
    nowhere.call("/slotkv.v1.Store/Explode").await.unwrap();
    said(nowhere.data(&raw::message(&hello), true).await);
    assert!(nowhere.is_ended().await, "a method that there is not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_past_a_limit_is_refused_with_the_limit_on_both_sides() {
    let dev = dev().await;
    let client = client(&dev).await;
    let value = Bytes::from(vec![7; limits::VALUE_BYTES_MAX]);
    let key = vec![b'k'; limits::KEY_BYTES_MAX];
    client.put(&key, value.clone()).await.unwrap();
    assert!(client.get(&key).await.unwrap().unwrap() == value, "16 MiB come back as they went");

    let too_long = vec![b'k'; limits::KEY_BYTES_MAX + 1];
    let too_large = Bytes::from(vec![7; limits::VALUE_BYTES_MAX + 1]);
    let refusals = [
        (client.put(&too_long, "v").await.unwrap_err(), limits::KEY_BYTES_MAX),
        (client.put("k", too_large.clone()).await.unwrap_err(), limits::VALUE_BYTES_MAX),
    ];
    for (error, limit) in refusals {
        assert_eq!((error.code, error.outcome, error.attempts), (Code::TooLarge, Outcome::Failed, 0));
        assert!(error.message.contains(&limit.to_string()), "{error}");
    }

    // The worker does not rely on its clients.
    let mut store = store(&dev).await;
    let long_key = v1::Request { key: too_long.clone().into(), ..put("k") };
    let large_value = v1::Request { value: too_large.clone(), ..put("k") };
    let long_namespace =
        v1::Request { namespace: Some("n".repeat(limits::NAMESPACE_BYTES_MAX + 1)), ..put("k") };
    for (request, limit) in [
        (long_key, limits::KEY_BYTES_MAX),
        (large_value, limits::VALUE_BYTES_MAX),
        (long_namespace, limits::NAMESPACE_BYTES_MAX),
    ] {
        let status = store.put(request.clone()).await.unwrap_err();
        assert_eq!(code_of(&status), Some(Code::TooLarge), "{status}");
        assert!(status.message().contains(&limit.to_string()), "{status}");
        let (mut caller, _) = Caller::open(&dev, hello()).await;
        let reply = caller.ask(request, 0).await;
        assert_eq!(reply.code, Code::TooLarge.number());
        assert!(reply.message.contains(&limit.to_string()), "{}", reply.message);
        // The stream goes on.
        assert_eq!(caller.ask(put("k"), 0).await.code, 0);
    }
    let status = store.put(put("")).await.unwrap_err();
    assert_eq!(code_of(&status), Some(Code::InvalidArgument), "{status}");

    // A frame past its limit ends its stream with the limit, and nothing else.
    undisturbed(&client, async || {
        let (mut caller, _) = Caller::open(&dev, hello()).await;
        let giant = v1::Request { value: vec![0; limits::FRAME_BYTES_MAX].into(), ..put("giant") };
        caller.send(giant, 0);
        assert!(
            !matches!(caller.replies.message().await, Ok(Some(_))),
            "a frame past the limit was answered"
        );
        assert_eq!(client.get("giant").await.unwrap(), None);
    })
    .await;
    client.close().await;
    dev.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_client_is_refused_by_name_unless_it_speaks_our_version_too() {
    let dev = dev().await;
    let versions =
        |version_min, version_max| v1::Hello { version_min, version_max, features: u64::MAX, ..hello() };
    for (min, max) in [(2, 3), (0, 0), (5, 4)] {
        let (mut caller, first) = Caller::open(&dev, versions(min, max)).await;
        let refusal = first.refusal.expect("a refusal");
        assert_eq!(refusal.code, Code::Unsupported.number(), "{}", refusal.message);
        assert!(refusal.message.contains(&max.to_string()), "{}", refusal.message);
        assert!(caller.replies.next().await.is_none(), "the stream has ended");
    }
    let (mut caller, first) = Caller::open(&dev, versions(1, 9)).await;
    assert_eq!(first.welcome.expect("a welcome").version, 1);
    assert_eq!(caller.ask(put("k"), 0).await.code, 0);
    dev.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_of_a_later_release_are_refused_one_by_one_and_their_stream_goes_on() {
    let dev = dev().await;
    let (mut caller, _) = Caller::open(&dev, hello()).await;
    let later = [
        (v1::Request { operation: 9, ..put("k") }, "operation 9"),
        (v1::Request { operation: -1, ..put("k") }, "operation -1"),
        (v1::Request { operation: 0, ..put("k") }, "operation 0"),
        (v1::Request { condition: 77, ..put("k") }, "condition 77"),
        (v1::Request { read_level: 12, operation: v1::Operation::Get as i32, ..put("k") }, "read level 12"),
    ];
    for (request, named) in later {
        let reply = caller.ask(request, 0).await;
        assert_eq!(reply.code, Code::Unsupported.number(), "{named}: {}", reply.message);
        assert!(reply.message.contains(named), "{}", reply.message);
    }
    let mut read = put("k");
    read.operation = v1::Operation::Get as i32;
    assert_eq!(caller.ask(read, 0).await.status, v1::Status::NotFound as i32, "none of them was applied");
    dev.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_behind_its_client_catches_up_before_it_answers_or_asks_for_patience() {
    let dev = dev().await;
    let (mut caller, _) = Caller::open(&dev, hello()).await;
    let session = Arc::new(dev.coordinator().open(Duration::from_secs(5)).await.unwrap());
    let node = session.get(paths::SLOTS).await.unwrap().unwrap();
    let mut slots = Slots::decode(paths::SLOTS, &node.data).unwrap();

    // Nobody knows such a version yet: a bounded wait, then RETRY, and nothing is applied.
    for version in [u64::MAX, slots.version + 1] {
        let reply = caller.ask(put("too early"), version).await;
        assert_eq!(reply.code, Code::Retry.number(), "{}", reply.message);
        assert!(reply.retry_after_ms > 0);
    }
    let mut read = put("too early");
    read.operation = v1::Operation::Get as i32;
    assert_eq!(caller.ask(read, slots.version).await.status, v1::Status::NotFound as i32);

    // The worker is told nothing of the next versions, the first of which it was asked for in vain before. It finds out
    // because a client knows more.
    for _ in 0..3 {
        slots.version += 1;
        dev.coordinator().faults().lose_hints(1000);
        session.set(paths::SLOTS, slots.encode().unwrap(), Expect::Any).await.unwrap();
        assert_eq!(caller.ask(put("in time"), slots.version).await.code, 0);
    }

    // And one that takes its last slot away: the request of a client that knows is not served by what the worker knew.
    let slot = slotkv_proto::slot(b"gone", slotkv_proto::SlotCount::new(1024).unwrap());
    slots.version += 1;
    slots.owners = vec![(slot, slot, 9)];
    if slot > 0 {
        slots.owners.insert(0, (0, slot - 1, 0));
    }
    if slot < 1023 {
        slots.owners.push((slot + 1, 1023, 0));
    }
    dev.coordinator().faults().lose_hints(1000);
    session.set(paths::SLOTS, slots.encode().unwrap(), Expect::Any).await.unwrap();
    let reply = caller.ask(put("gone"), slots.version).await;
    assert_eq!(reply.code, Code::Moved.number(), "{}", reply.message);
    session.close().await;
    dev.shutdown().await;
}
