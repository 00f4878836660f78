//! The gRPC face of a worker, over TCP: what a language without a core calls, and what the wire may not carry.

mod common;

use bytes::Bytes;
use common::{Machine, SLOTS, get, hello, increment, put, request};
use slotkv_proto::{
    Code, SlotCount,
    code::code_of,
    v1::{ClientFrame, Operation, Range, Request, Status, store_client::StoreClient},
};
use slotkv_worker::{Worker, codec::REQUESTS_PER_FRAME_MAX};
use tonic::transport::{Channel, Endpoint, Server, server::TcpIncoming};

/// A key of the slot that shard 0 does not own, or of one that it owns.
fn key(own: bool) -> String {
    let slots = SlotCount::new(SLOTS).unwrap();
    let fits = |key: &String| (slotkv_proto::slot(key.as_bytes(), slots) != 15) == own;
    (0..).map(|n| format!("k{n}")).find(fits).unwrap()
}

async fn connect(worker: &Worker) -> StoreClient<Channel> {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(worker.store_server()).serve_with_incoming(incoming));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    StoreClient::new(channel)
}

#[tokio::test]
async fn every_unary_call_does_what_its_name_says() {
    let worker = Machine::new().await.start().await;
    let mut client = connect(&worker).await;
    let key = key(true);
    assert_eq!(client.get(get(&key)).await.unwrap().get_ref().status(), Status::NotFound);
    // The name of the call counts, not what the request says of it.
    let created = client.put(Request { operation: 0, ..put(&key, "41") }).await.unwrap().into_inner();
    assert_eq!(created.status(), Status::Created);
    let named = Request { client_id: Bytes::from(vec![7; 16]), ..increment(&key, 1, 1) };
    let first = client.increment(named.clone()).await.unwrap().into_inner();
    assert_eq!((first.number, first.replayed), (42, false));
    let again = client.increment(named).await.unwrap().into_inner();
    assert_eq!((again.number, again.version, again.replayed), (42, first.version, true));
    // Without a client's name a sequence means nothing.
    assert_eq!(client.increment(increment(&key, 1, 1)).await.unwrap().get_ref().number, 43);
    let found = client.get(get(&key)).await.unwrap().into_inner();
    assert_eq!((found.status(), &found.value[..]), (Status::Found, &b"43"[..]));
    let has = client.has(request(Operation::Has, &key)).await.unwrap().into_inner();
    assert_eq!((has.status(), has.value.len()), (Status::Found, 0));
    let range = |operation| Request {
        range: Some(Range { slot_last: 14, ..Range::default() }),
        ..request(operation, "")
    };
    assert_eq!(client.count(range(Operation::Count)).await.unwrap().get_ref().number, 1);
    let page = client.scan(range(Operation::Scan)).await.unwrap().into_inner();
    assert_eq!((&page.items[0].key[..], &page.items[0].value[..]), (key.as_bytes(), &b"43"[..]));
    let deleted = client.delete(request(Operation::Delete, &key)).await.unwrap().into_inner();
    assert_eq!(deleted.status(), Status::Deleted);
}

#[tokio::test]
async fn a_unary_call_is_refused_by_code_when_it_is_moved_or_late() {
    let machine = Machine::new().await;
    let worker = machine.start().await;
    let mut client = connect(&worker).await;
    machine.set_slots(2, vec![(0, 14, 0), (15, 15, 7)]).await;
    worker.shard().catch_up(2).await;
    let moved = client.get(get(&key(false))).await.unwrap_err();
    assert_eq!(code_of(&moved), Some(Code::Moved));
    machine.disk.set_sync_delay(std::time::Duration::from_secs(3600));
    let late = Request { deadline_ms: 20, ..put(&key(true), "v") };
    assert_eq!(code_of(&client.put(late).await.unwrap_err()), Some(Code::Timeout));
}

#[tokio::test]
async fn unary_calls_past_the_bytes_of_the_process_are_refused_until_others_are_done() {
    let machine = Machine::new().await;
    let worker = machine.start().await;
    let client = connect(&worker).await;
    machine.disk.set_sync_delay(std::time::Duration::from_secs(3600));
    let value = "v".repeat(15 << 20);
    let calls = (0..12).map(|_| {
        let (mut client, put) = (client.clone(), put(&key(true), &value));
        async move { client.put(Request { deadline_ms: 3_000, ..put }).await.unwrap_err() }
    });
    let codes: Vec<_> = futures_util::future::join_all(calls).await.iter().map(code_of).collect();
    assert!(codes.contains(&Some(Code::Overloaded)) && codes.contains(&Some(Code::Timeout)), "{codes:?}");
    let read = client.clone().get(get(&key(true))).await.unwrap().into_inner();
    assert_eq!(read.status(), Status::NotFound);
}

#[tokio::test]
async fn a_frame_of_more_requests_than_may_be_in_flight_ends_the_stream_by_name() {
    let worker = Machine::new().await.start().await;
    let mut client = connect(&worker).await;
    let first = ClientFrame { hello: Some(hello(1)), ..ClientFrame::default() };
    let flood = ClientFrame {
        requests: vec![Request::default(); REQUESTS_PER_FRAME_MAX + 1],
        ..ClientFrame::default()
    };
    let mut replies =
        client.stream(futures_util::stream::iter([first, flood.clone()])).await.unwrap().into_inner();
    assert!(replies.message().await.unwrap().unwrap().welcome.is_some());
    let refused = replies.message().await.unwrap_err();
    assert_eq!(code_of(&refused), Some(Code::TooLarge));
    assert!(refused.message().contains("4096 requests"), "{}", refused.message());

    let mut replies = client.stream(futures_util::stream::iter([flood])).await.unwrap().into_inner();
    let refusal = replies.message().await.unwrap().unwrap().refusal.unwrap();
    assert_eq!(refusal.code, Code::TooLarge.number());
}
