//! Scans and counts over several members, also while slots move.

mod fake;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use fake::{Action, Fake, refused};
use slotkv::{Answer, CallOptions, Client, Code, Command, Item, Range};
use slotkv_proto::{slot, v1};

async fn filled(fake: &Arc<Fake>, count: usize) -> (Client, BTreeMap<Bytes, Bytes>) {
    let client = fake.client().await;
    let pairs: BTreeMap<_, _> =
        (0..count).map(|n| (Bytes::from(format!("key{n:04}")), Bytes::from(format!("value{n}")))).collect();
    for put in client.put_many(pairs.clone()).await {
        put.unwrap();
    }
    (client, pairs)
}

async fn all(client: &Client, range: Range) -> Vec<Item> {
    let mut scan = client.scan(range).unwrap();
    let mut items = Vec::new();
    while let Some(item) = scan.next().await {
        items.push(item.unwrap());
    }
    items
}

fn sorted(items: &[Item]) -> BTreeMap<Bytes, Bytes> {
    items.iter().map(|item| (item.key.clone(), item.value.clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_scan_gives_every_key_once_in_slot_order_or_in_key_order() {
    let fake = Fake::new(3);
    let (client, pairs) = filled(&fake, 500).await;
    for items_max in [0, 1, 7, 499, 500, 10_000] {
        let items = all(&client, Range::all().items_max(items_max)).await;
        assert_eq!((items.len(), &sorted(&items)), (500, &pairs));
        assert!(items.is_sorted_by_key(|item| (item.slot, item.key.clone())));
        assert!(items.iter().all(|item| item.version > 0 && client.slot(&item.key) == item.slot));

        let items = all(&client, Range::all().items_max(items_max).ordered()).await;
        assert_eq!((items.len(), &sorted(&items)), (500, &pairs));
        assert!(items.is_sorted_by_key(|item| item.key.clone()));
    }
    assert_eq!(client.count(Range::all()).await.unwrap(), 500);
}

#[tokio::test(start_paused = true)]
async fn prefix_start_and_end_select() {
    let fake = Fake::new(3);
    let (client, pairs) = filled(&fake, 300).await;
    for (range, selected) in [
        (Range::prefix("key01"), pairs.range(Bytes::from("key01")..Bytes::from("key02"))),
        (Range::between("key0100", "key0250"), pairs.range(Bytes::from("key0100")..Bytes::from("key0250"))),
    ] {
        let selected: BTreeMap<_, _> = selected.map(|(key, value)| (key.clone(), value.clone())).collect();
        assert_eq!(sorted(&all(&client, range.clone()).await), selected);
        assert_eq!(sorted(&all(&client, range.clone().ordered()).await), selected);
        assert_eq!(client.count(range).await.unwrap(), selected.len() as u64);
    }
    let keys = all(&client, Range::prefix("key00").keys_only()).await;
    assert!(keys.len() == 100 && keys.iter().all(|item| item.value.is_empty()));
    assert!(all(&client, Range::prefix("nothing")).await.is_empty());
    assert_eq!(client.count(Range::prefix("nothing")).await.unwrap(), 0);
    let error = client.scan(Range::prefix(vec![0u8; 40_000])).unwrap_err();
    assert_eq!(error.code, Code::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_prefix_with_a_whole_tag_asks_one_member_for_one_slot() {
    let fake = Fake::new(3);
    let client = fake.client().await;
    for n in 0..50 {
        client.put(format!("{{user}}.{n}"), "v").await.unwrap();
        client.put(format!("other{n}"), "v").await.unwrap();
    }
    let before: Vec<_> = (0..3).map(|shard| fake.log(&format!("w{shard}:1")).len()).collect();
    assert_eq!(all(&client, Range::prefix("{user}.")).await.len(), 50);
    assert_eq!(all(&client, Range::prefix("{user}.").ordered()).await.len(), 50);
    assert_eq!(client.count(Range::prefix("{user}.")).await.unwrap(), 50);
    let tagged = u32::from(client.slot(b"{user}."));
    let mut asked = 0;
    for shard in 0..3 {
        let log = fake.log(&format!("w{shard}:1"));
        let new = &log[before[shard]..];
        asked += usize::from(!new.is_empty());
        for seen in new {
            let range = seen.request.range.as_ref().unwrap();
            assert_eq!((range.slot_first, range.slot_last), (tagged, tagged));
        }
    }
    assert_eq!(asked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_scan_goes_on_from_its_cursor_in_another_client() {
    let fake = Fake::new(3);
    let (client, pairs) = filled(&fake, 200).await;
    for ordered in [false, true] {
        let range = Range { ordered, items_max: 13, ..Range::all() };
        // Page by page, each by a new client.
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let client = fake.client().await;
            let command = Command::ScanPage { range: range.clone(), cursor };
            let answer = client.call(command, &CallOptions::default()).await.unwrap();
            let Answer::Page(page) = answer else { panic!("no page") };
            assert!(page.items.len() <= 13);
            items.extend(page.items);
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!((items.len(), sorted(&items)), (200, pairs.clone()));

        // From the middle of a page, wherever that is.
        for taken in [0, 1, 12, 13, 14, 100, 199, 200] {
            let mut scan = client.scan(range.clone()).unwrap();
            let mut first = Vec::new();
            for _ in 0..taken {
                first.push(scan.next().await.unwrap().unwrap());
            }
            let mut scan = client.scan_from(range.clone(), &scan.cursor()).unwrap();
            let mut rest = Vec::new();
            while let Some(page) = scan.next_page().await {
                rest.extend(page.unwrap().items);
            }
            assert_eq!(first.len() + rest.len(), 200, "ordered {ordered}, {taken} taken");
            first.extend(rest);
            assert_eq!(first, items);
        }
    }
    let cursor = client.scan(Range::all()).unwrap().cursor();
    assert_eq!(client.scan_from(Range::prefix("x"), &cursor).unwrap_err().code, Code::InvalidArgument);
    assert_eq!(client.scan_from(Range::all(), b"\x02newer").unwrap_err().code, Code::Unsupported);
}

/// Makes the workers refuse ranges with slots that they do not own, as good workers do.
fn strict(fake: &Arc<Fake>) {
    for shard in 0..3 {
        let truth = fake.clone();
        let table = Arc::new(std::sync::Mutex::new(truth.truth()));
        let newest = table.clone();
        fake.script(&format!("w{shard}:1"), move |seen| {
            let table = newest.lock().unwrap();
            let range = seen.request.range.clone().unwrap_or_default();
            let mut slots = range.slot_first as u16..=range.slot_last as u16;
            if slots.all(|slot| table.owner(slot) == Some(shard)) {
                Action::Serve
            } else {
                Action::Correct(refused(Code::Moved), table.full())
            }
        });
        TABLES.with(|tables| tables.borrow_mut().push(table));
    }
}

thread_local! {
    static TABLES: std::cell::RefCell<Vec<Arc<std::sync::Mutex<slotkv_proto::SlotTable>>>> =
        const { std::cell::RefCell::new(Vec::new()) };
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_or_doubled_when_slots_move_under_a_scan() {
    for ordered in [false, true] {
        let fake = Fake::new(3);
        let (client, pairs) = filled(&fake, 300).await;
        strict(&fake);
        let mut scan = client.scan(Range { ordered, items_max: 10, ..Range::all() }).unwrap();
        let mut items = Vec::new();
        let mut moves = 0;
        while let Some(item) = scan.next().await {
            items.push(item.unwrap());
            if items.len() % 40 == 0 {
                // Some slot goes to the next shard, with its data.
                let moved = (moves * 5 + 2) % 16;
                moves += 1;
                let truth = fake.truth();
                let from = truth.owner(moved).unwrap();
                let to = (from + 1) % 3;
                fake.give(&[(moved, to)]);
                let data = fake.store(&format!("w{from}:1"), |store| store.take_slot(moved));
                fake.store(&format!("w{to}:1"), |store| store.absorb(data));
                TABLES.with(|tables| {
                    for table in tables.borrow().iter() {
                        *table.lock().unwrap() = fake.truth();
                    }
                });
            }
        }
        assert_eq!((items.len(), sorted(&items)), (300, pairs), "ordered {ordered}");
        assert_eq!(client.count(Range::all()).await.unwrap(), 300);
        TABLES.with(|tables| tables.borrow_mut().clear());
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_error_a_scan_tries_the_same_place_again() {
    for ordered in [false, true] {
        let fake = Fake::new(2);
        let (client, pairs) = filled(&fake, 100).await;
        let mut scan = client.scan(Range { ordered, items_max: 9, ..Range::all() }).unwrap();
        let mut items = Vec::new();
        let mut errors = 0;
        let mut count = 0;
        fake.script("w1:1", move |_| {
            count += 1;
            if count % 3 == 0 { Action::Reply(refused(Code::Damaged)) } else { Action::Serve }
        });
        while let Some(item) = scan.next().await {
            match item {
                Ok(item) => items.push(item),
                Err(error) => {
                    assert_eq!(error.code, Code::Damaged);
                    errors += 1;
                }
            }
        }
        // In slot order the page that was asked for ahead hides the error: it is simply asked for again.
        assert!(errors > 0 || !ordered);
        assert_eq!((items.len(), sorted(&items)), (100, pairs));
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_pages_make_no_sense_is_an_error() {
    let fake = Fake::new(1);
    let (client, _) = filled(&fake, 10).await;
    let page = v1::Reply { status: v1::Status::Page as i32, ..Default::default() };
    let strange = [
        v1::Reply { more: true, ..page.clone() },
        v1::Reply { items: vec![v1::Item { slot: 16, ..Default::default() }], ..page.clone() },
        v1::Reply { status: v1::Status::Counted as i32, ..Default::default() },
    ];
    for reply in strange {
        for ordered in [false, true] {
            fake.script("w0:1", {
                let reply = reply.clone();
                move |_| Action::Reply(reply.clone())
            });
            let mut scan = client.scan(Range { ordered, ..Range::all() }).unwrap();
            assert_eq!(scan.next().await.unwrap().unwrap_err().code, Code::Unexpected);
        }
    }
    fake.script("w0:1", move |_| {
        Action::Reply(v1::Reply { number: -1, status: v1::Status::Counted as i32, ..Default::default() })
    });
    assert_eq!(client.count(Range::all()).await.unwrap_err().code, Code::Unexpected);
    assert_eq!(slot::hash_tag(b"{a}"), Some(&b"a"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_scan_whose_futures_are_dropped_anywhere_loses_and_doubles_nothing() {
    for ordered in [false, true] {
        for patience in 0..24 {
            let fake = Fake::new(3);
            let (client, pairs) = filled(&fake, 120).await;
            let range = Range { ordered, items_max: 30, ..Range::all() };
            let mut scan = client.scan(range.clone()).unwrap();
            let mut items = Vec::new();
            let mut dropped = 0;
            loop {
                // Looks at the future so many times and drops it; each time it gets nowhere once more.
                let looks = async {
                    for _ in 0..patience + dropped {
                        tokio::task::yield_now().await;
                    }
                };
                let next = tokio::select! {
                    biased;
                    next = scan.next() => next,
                    () = looks => {
                        dropped += 1;
                        if dropped % 5 == 0 {
                            scan = client.scan_from(range.clone(), &scan.cursor()).unwrap();
                        }
                        continue;
                    }
                };
                match next {
                    Some(item) => items.push(item.unwrap()),
                    None => break,
                }
                dropped = 0;
            }
            assert_eq!((items.len(), sorted(&items)), (120, pairs), "ordered {ordered}, patience {patience}");
            assert!(!ordered || items.is_sorted_by_key(|item| item.key.clone()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_in_key_order_is_divided_among_the_members() {
    let fake = Fake::new(3);
    let (client, _) = filled(&fake, 3000).await;
    let before: Vec<_> = (0..3).map(|shard| fake.log(&format!("w{shard}:1")).len()).collect();
    let range = Range::all().ordered().items_max(1000);
    let command = Command::ScanPage { range, cursor: None };
    let Ok(Answer::Page(page)) = client.call(command, &CallOptions::default()).await else {
        panic!("no page")
    };
    assert_eq!(page.items.len(), 1000);
    let mut asked = (0, 0);
    for (shard, &before) in before.iter().enumerate() {
        for seen in &fake.log(&format!("w{shard}:1"))[before..] {
            let range = seen.request.range.as_ref().unwrap();
            asked = (asked.0 + range.items_max, asked.1 + range.bytes_max);
        }
    }
    assert!((1000..1500).contains(&asked.0), "{} items for a page of 1000", asked.0);
    assert!(asked.1 <= 2 << 20, "{} bytes", asked.1);
}

#[tokio::test(start_paused = true)]
async fn a_page_in_key_order_asks_few_runs_of_slots_at_once() {
    let fake = Fake::new(2);
    let (client, pairs) = filled(&fake, 200).await;
    let every_other: Vec<_> = (0..16).map(|slot| (slot, u32::from(slot % 2))).collect();
    fake.give(&every_other);
    for (from, to) in [(0, 1), (1, 0)] {
        for slot in (0..16).filter(|&slot| u32::from(slot % 2) == to) {
            let data = fake.store(&format!("w{from}:1"), |store| store.take_slot(slot));
            fake.store(&format!("w{to}:1"), |store| store.absorb(data));
        }
    }
    fake.until(|| client.slot_table().version() == 2).await;
    for address in ["w0:1", "w1:1"] {
        fake.script(address, |_| Action::Hold);
    }
    let scanned = {
        let client = client.clone();
        tokio::spawn(async move { all(&client, Range::all().ordered()).await })
    };
    let held = || fake.held("w0:1") + fake.held("w1:1");
    fake.until(|| held() == 8).await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert_eq!(held(), 8, "of 16 runs");
    for address in ["w0:1", "w1:1"] {
        fake.unscript(address);
        fake.release(address);
    }
    assert_eq!(sorted(&scanned.await.unwrap()), pairs);
}
