//! What a worker answers, and when it refuses.

mod common;

use bytes::Bytes;
use common::{Caller, Machine, get, get_many, hello, increment, put, request};
use slotkv_proto::{
    Code, SlotCount,
    v1::{ClientFrame, Condition, Operation, Range, Reply, Request, Status},
};

/// A key in the last slot, which shard 0 does not own.
fn foreign_key() -> String {
    let slots = SlotCount::new(common::SLOTS).unwrap();
    (0..).map(|n| format!("k{n}")).find(|key| slotkv_proto::slot(key.as_bytes(), slots) == 15).unwrap()
}

fn own_key(n: usize) -> String {
    let slots = SlotCount::new(common::SLOTS).unwrap();
    (0..)
        .map(|i| format!("o{i}"))
        .filter(|key| slotkv_proto::slot(key.as_bytes(), slots) != 15)
        .nth(n)
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_written_key_is_read_back_with_its_version() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let key = own_key(0);
    assert_eq!(caller.ask(get(&key)).await.status(), Status::NotFound);
    let created = caller.ask(put(&key, "v1")).await;
    assert_eq!((created.code, created.status()), (0, Status::Created));
    let updated = caller.ask(put(&key, "v2")).await;
    assert_eq!(updated.status(), Status::Updated);
    assert!(updated.version > created.version);
    let found = caller.ask(get(&key)).await;
    assert_eq!(
        (found.status(), &found.value[..], found.version),
        (Status::Found, &b"v2"[..], updated.version)
    );
    let deleted = caller.ask(request(Operation::Delete, &key)).await;
    assert_eq!(deleted.status(), Status::Deleted);
    assert!(deleted.version > updated.version);
    assert_eq!(caller.ask(request(Operation::Delete, &key)).await.status(), Status::NotFound);
    let again = caller.ask(put(&key, "v3")).await;
    assert!(again.version > deleted.version, "versions go on over a deletion");
}

#[tokio::test(start_paused = true)]
async fn many_keys_are_read_in_their_order_and_those_of_others_are_left_out() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let (there, absent, foreign) = (own_key(0), own_key(1), foreign_key());
    let version = caller.ask(put(&there, "v")).await.version;
    let reply = caller.ask(get_many(&[&absent, &there, &foreign, &there])).await;
    assert_eq!(reply.code, 0);
    let found: Vec<_> =
        reply.found.iter().map(|found| (found.status(), &found.value[..], found.version)).collect();
    let nothing = |status| (status, &b""[..], 0);
    let value = (Status::Found, &b"v"[..], version);
    assert_eq!(found, [nothing(Status::NotFound), value, nothing(Status::Unspecified), value]);
    let refused = caller.ask(get_many(&[&there, ""])).await;
    assert_eq!((Code::from_wire(refused.code), refused.found.len()), (Code::InvalidArgument, 0));
}

#[tokio::test(start_paused = true)]
async fn reads_of_one_frame_get_each_their_own_answer() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let (there, absent, foreign) = (own_key(0), own_key(1), foreign_key());
    caller.ask(put(&there, "v")).await;
    let long = "k".repeat(slotkv_proto::limits::KEY_BYTES_MAX + 1);
    let elsewhere = Request { namespace: Some("n".repeat(300)), ..get(&there) };
    let requests = vec![
        get(&absent),
        get(&there),
        get(&long),
        put(&absent, "w"),
        get(&foreign),
        elsewhere,
        request(Operation::Has, &there),
        get(&there),
    ];
    let replies = caller.ask_all(requests).await;
    let codes: Vec<_> = replies.iter().map(|reply| Code::from_wire(reply.code)).collect();
    let refused: Vec<_> = [2, 4, 5].map(|at| codes[at]).into();
    assert_eq!(refused, [Code::TooLarge, Code::Retry, Code::TooLarge]);
    let done: Vec<_> =
        [0, 1, 3, 6, 7].map(|at| (replies[at].code, replies[at].status(), &replies[at].value[..])).into();
    assert_eq!(
        done,
        [
            (0, Status::NotFound, &b""[..]),
            (0, Status::Found, b"v"),
            (0, Status::Created, b""),
            (0, Status::Found, b""),
            (0, Status::Found, b"v"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_many_keys_ends_when_it_is_as_large_as_a_frame() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let keys: Vec<_> = (0..5).map(own_key).collect();
    let value = "v".repeat(400 << 10);
    for key in &keys {
        caller.ask(put(key, &value)).await;
    }
    let names: Vec<_> = keys.iter().map(String::as_str).collect();
    let reply = caller.ask(get_many(&names)).await;
    assert_eq!(reply.found.len(), 3, "the one that passes 1 MiB is the last");
    assert!(reply.found.iter().all(|found| found.value.len() == value.len()));
}

#[tokio::test(start_paused = true)]
async fn writes_of_one_frame_see_each_other_in_order() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let key = own_key(0);
    let absent = Request { condition: Condition::Absent as i32, ..put(&key, "second") };
    let replies = caller.ask_all(vec![put(&key, "first"), absent, put(&key, "third")]).await;
    let statuses: Vec<_> = replies.iter().map(|reply| reply.status()).collect();
    assert_eq!(statuses, [Status::Created, Status::Unmet, Status::Updated]);
    assert_eq!(replies[1].version, replies[0].version);
    assert_eq!(&caller.ask(get(&key)).await.value[..], b"third");
}

#[tokio::test(start_paused = true)]
async fn a_slot_of_another_shard_is_refused_with_the_correction() {
    let machine = Machine::new().await;
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    machine.set_slots(2, vec![(0, 14, 0), (15, 15, 7)]).await;
    worker.view().wait_for(|view| view.slots.version >= 2).await.unwrap();
    while worker.shard().ownership().table().version() < 2 {
        tokio::task::yield_now().await;
    }
    let mut read = get(&foreign_key());
    read.id = 1;
    caller.send(ClientFrame {
        requests: vec![read],
        table_version: 1,
        epoch: caller.epoch,
        ..Default::default()
    });
    let frame = caller.next().await.unwrap();
    assert_eq!(frame.replies[0].code, Code::Moved.number());
    let table = frame.table.expect("the refusal carries the correction");
    assert_eq!(table.version, 2);
    assert_eq!((table.ranges[0].first, table.ranges[0].shard), (15, 7));
}

#[tokio::test(start_paused = true)]
async fn an_unallocated_slot_asks_for_patience() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    assert_eq!(caller.ask(get(&foreign_key())).await.code, Code::Retry.number());
}

#[tokio::test(start_paused = true)]
async fn a_worker_behind_the_client_catches_up_before_it_answers() {
    let machine = Machine::new().await;
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    machine.set_slots(2, vec![(0, 14, 0), (15, 15, 0)]).await;
    caller.version = 2;
    assert_eq!(caller.ask(put(&foreign_key(), "v")).await.code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_catch_up_answers_retry() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    caller.version = 9;
    let reply = caller.ask(get(&own_key(0))).await;
    assert_eq!(reply.code, Code::Retry.number());
    assert!(reply.message.contains("version 9"), "{}", reply.message);
}

#[tokio::test(start_paused = true)]
async fn a_stale_epoch_is_refused_with_the_route() {
    let machine = Machine::new().await;
    machine.start().await.shutdown().await;
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    assert_eq!(caller.epoch, 2);
    worker.view().wait_for(|view| view.shards.contains_key(&0)).await.unwrap();
    let mut read = get(&own_key(0));
    read.id = 1;
    caller.send(ClientFrame { requests: vec![read], table_version: 1, epoch: 1, ..Default::default() });
    let frame = caller.next().await.unwrap();
    assert_eq!(frame.replies[0].code, Code::NotPrimary.number());
    assert_eq!(frame.table.expect("the correction").routes[0].epoch, 2);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_write_is_applied_once_also_over_a_restart() {
    let machine = Machine::new().await;
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let key = own_key(0);
    assert_eq!(caller.ask(increment(&key, 5, 1)).await.number, 5);
    let again = caller.ask(increment(&key, 5, 1)).await;
    assert_eq!((again.number, again.replayed), (5, true));
    drop(caller);
    worker.shutdown().await;

    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let again = caller.ask(increment(&key, 5, 1)).await;
    assert_eq!((again.number, again.replayed), (5, true));
    let mut other = Caller::new(&worker, 2).await;
    assert_eq!(other.ask(increment(&key, 5, 1)).await.number, 10);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_write_in_one_frame_is_applied_once() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let key = own_key(0);
    let replies = caller.ask_all(vec![increment(&key, 5, 1), increment(&key, 5, 1)]).await;
    assert_eq!((replies[0].number, replies[1].number), (5, 5));
    assert!(replies[1].replayed && !replies[0].replayed);
}

#[tokio::test(start_paused = true)]
async fn an_answered_sequence_is_never_executed_again() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let key = own_key(0);
    caller.ask(increment(&key, 1, 1)).await;
    caller.ask(Request { oldest_open: 5, ..increment(&key, 1, 5) }).await;
    assert_eq!(caller.ask(increment(&key, 1, 1)).await.code, Code::Indeterminate.number());
    assert_eq!(&caller.ask(get(&key)).await.value[..], b"2");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_comes_after_its_repetition_was_answered_changes_nothing() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let mut other = Caller::new(&worker, 2).await;
    let key = own_key(0);
    let delete = Request { sequence: 1, oldest_open: 1, ..request(Operation::Delete, &key) };
    let repetition = Request { repeated: true, ..delete.clone() };
    assert_eq!(caller.ask(repetition).await.status(), Status::NotFound);
    other.ask(put(&key, "new")).await;
    let late = caller.ask(delete).await;
    assert_eq!((late.status(), late.replayed), (Status::NotFound, true));
    assert_eq!(&caller.ask(get(&key)).await.value[..], b"new");

    let add = Request { repeated: true, ..increment(&key, 1, 2) };
    assert_eq!(caller.ask(add).await.code, Code::NotANumber.number());
    other.ask(put(&key, "5")).await;
    assert_eq!(caller.ask(increment(&key, 1, 2)).await.code, Code::NotANumber.number());
    assert_eq!(&caller.ask(get(&key)).await.value[..], b"5");
}

#[tokio::test(start_paused = true)]
async fn namespaces_do_not_see_each_other() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let key = own_key(0);
    caller.ask(Request { namespace: Some("a".into()), ..put(&key, "in a") }).await;
    assert_eq!(caller.ask(get(&key)).await.status(), Status::NotFound);
    let read = Request { namespace: Some("a".into()), ..get(&key) };
    assert_eq!(&caller.ask(read).await.value[..], b"in a");
}

fn scan(range: Range) -> Request {
    Request { range: Some(range), ..request(Operation::Scan, "") }
}

#[tokio::test(start_paused = true)]
async fn pages_of_a_scan_go_through_every_key_once_in_both_orders() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let mut keys: Vec<String> = (0..200).map(own_key).collect();
    let puts = keys.iter().map(|key| put(key, &format!("value of {key}"))).collect();
    caller.ask_all(puts).await;
    keys.sort();
    for ordered in [false, true] {
        for (items_max, bytes_max) in [(7, 0), (0, 60), (1000, 0)] {
            let mut range = Range {
                slot_last: 14,
                prefix: Bytes::from_static(b"o"),
                items_max,
                bytes_max,
                ordered,
                ..Range::default()
            };
            let mut seen = Vec::new();
            loop {
                let page = caller.ask(scan(range.clone())).await;
                assert_eq!(page.code, 0, "{}", page.message);
                for item in &page.items {
                    assert_eq!(item.value, format!("value of {}", String::from_utf8_lossy(&item.key)));
                    seen.push(String::from_utf8(item.key.to_vec()).unwrap());
                }
                if !page.more {
                    break;
                }
                assert!(!page.items.is_empty());
                range.resumed = true;
                range.after_slot = page.last_slot;
                range.after_key = page.last_key;
            }
            if !ordered {
                seen.sort();
            }
            assert_eq!(seen, keys, "ordered {ordered}, {items_max} items, {bytes_max} bytes");
        }
    }
    let count =
        Request { operation: Operation::Count as i32, ..scan(Range { slot_last: 14, ..Range::default() }) };
    assert_eq!(caller.ask(count).await.number, 200);
    let bounded = Range {
        slot_last: 14,
        start: Bytes::from(keys[10].clone()),
        end: Bytes::from(keys[20].clone()),
        ordered: true,
        ..Range::default()
    };
    let page = caller.ask(scan(bounded)).await;
    let found: Vec<_> =
        page.items.iter().map(|item| String::from_utf8_lossy(&item.key).into_owned()).collect();
    assert_eq!(found, keys[10..20]);
}

#[tokio::test(start_paused = true)]
async fn a_page_with_a_foreign_slot_is_refused_whole() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let page = caller.ask(scan(Range { slot_last: 15, ..Range::default() })).await;
    assert_eq!(page.code, Code::Retry.number());
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_a_fitting_hello_is_refused_by_name() {
    let worker = Machine::new().await.start().await;
    let mut wrong_cluster = hello(1);
    wrong_cluster.cluster_id = "other".into();
    let mut too_new = hello(1);
    (too_new.version_min, too_new.version_max) = (2, 3);
    let mut short_id = hello(1);
    short_id.client_id = Bytes::from_static(b"x");
    let cases = [
        (Some(wrong_cluster), Code::WrongCluster),
        (Some(too_new), Code::Unsupported),
        (Some(short_id), Code::InvalidArgument),
        (None, Code::InvalidArgument),
    ];
    for (hello, code) in cases {
        let mut caller = Caller::raw(&worker);
        caller.send(ClientFrame { hello, ..Default::default() });
        let refusal = caller.next().await.unwrap().refusal.unwrap();
        assert_eq!(refusal.code, code.number(), "{}", refusal.message);
        assert!(caller.next().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_client_that_also_speaks_our_version_is_welcome() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::raw(&worker);
    let mut newer = hello(1);
    (newer.version_max, newer.features) = (2, u64::MAX);
    caller.send(ClientFrame { hello: Some(newer), ..Default::default() });
    assert_eq!(caller.next().await.unwrap().welcome.unwrap().version, 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_ended_after_the_handshake_time() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::raw(&worker);
    let refusal = caller.next().await.unwrap().refusal.unwrap();
    assert_eq!(refusal.code, Code::Timeout.number());
}

#[tokio::test(start_paused = true)]
async fn a_stopping_worker_refuses_and_keeps_what_it_acknowledged() {
    let machine = Machine::new().await;
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let key = own_key(0);
    assert_eq!(caller.ask(put(&key, "v")).await.code, 0);
    let shard = worker.shard().clone();
    worker.shutdown().await;
    assert_eq!(shard.check_serving().unwrap_err().0, Code::ShuttingDown);
    assert_eq!(caller.ask(put(&key, "w")).await.code, Code::ShuttingDown.number());
    machine.disk.crash();
    machine.engines.crash();
    let worker = machine.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    assert_eq!(&caller.ask(get(&key)).await.value[..], b"v");
}

#[tokio::test(start_paused = true)]
async fn pages_that_nobody_reads_are_bounded_by_the_bytes_of_a_stream() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let value = "v".repeat(1 << 20);
    for n in 0..5 {
        assert_eq!(caller.ask(put(&own_key(n), &value)).await.code, 0);
    }
    let range = Range { slot_last: 14, ..Range::default() };
    let replies = caller.ask_all(vec![scan(range); 30]).await;
    let bytes: usize = replies.iter().flat_map(|reply| &reply.items).map(|item| item.value.len()).sum();
    assert!(bytes <= slotkv_proto::limits::INFLIGHT_BYTES_MAX, "{bytes} bytes were held");
    let refused = replies.iter().filter(|reply| reply.code == Code::Overloaded.number()).count();
    assert!((1..30).contains(&refused), "{refused} were refused");
}

#[tokio::test(start_paused = true)]
async fn reads_of_the_engine_give_way_to_other_streams() {
    let worker = Machine::new().await.start().await;
    let mut caller = Caller::new(&worker, 1).await;
    let requests = (1..=200).map(|id| Request { id, ..get(&own_key(0)) }).collect();
    caller.send(ClientFrame { requests, table_version: 1, epoch: caller.epoch, ..Default::default() });
    let (mut replies, mut gave_way) = (0, 0);
    while replies < 200 {
        match futures_util::poll!(futures_util::StreamExt::next(&mut caller.session)) {
            std::task::Poll::Ready(frame) => {
                let count = frame.unwrap().unwrap().replies.len();
                assert!(count <= 64, "{count} replies in one turn");
                replies += count;
            }
            std::task::Poll::Pending => gave_way += 1,
        }
    }
    assert!(gave_way >= 3, "it gave way {gave_way} times");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_in_another_epoch_is_not_answered_under_this_ones_lease() {
    let machine = Machine::new().await;
    let worker = machine.start().await;
    let epoch = worker.shard().ownership().epoch();
    for (read_in, code) in [(epoch, 0), (epoch + 1, Code::NotPrimary.number())] {
        let outbox = std::sync::Arc::new(slotkv_worker::outbox::Outbox::default());
        outbox.hold(1);
        worker.shard().confirm(read_in, &outbox, vec![(Reply { id: 1, ..Default::default() }, 0)]);
        let (mut replies, mut bytes) = (Vec::new(), 0);
        while replies.is_empty() {
            tokio::task::yield_now().await;
            outbox.take(&mut replies, &mut bytes);
        }
        assert_eq!(replies[0].code, code);
    }
}
