//! Requests of a worker whose slots are sealed: they wait, in their order, until it is decided who serves the slots, and no
//! longer than they want to.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt};
use slotkv_migration::{Id, Ledger, Owner, Position, Record, Table};
use slotkv_proto::{
    Code, SlotCount, SlotTable,
    table::{Member, Route},
    v1::{ClientFrame, Operation, Range, ReadLevel, Request, ServerFrame},
};
use slotkv_storage::{MemoryEngine, RowCache};
use slotkv_worker::{
    Runner,
    ownership::without_hand_overs,
    request::{self, Asked, Sender},
    session::Session,
    shard::{self, Leadership, Shard},
    waiting::{self, WAIT_MAX},
};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};
use tonic::Status;

mod common;
use common::{Input, Wall, frames, get, hello, put};

fn member(name: &str) -> Member {
    Member { name: name.into(), run: "run".into(), address: format!("{name}:7710") }
}

/// All slots are shard 0's; from version 2 on they are `owner`'s.
fn table(version: u64, owner: u32) -> Arc<SlotTable> {
    let mut table = SlotTable::new("c1", SlotCount::new(16).unwrap());
    table.set_owners(version, &[(0, 15, owner)]).unwrap();
    for shard in 0..2 {
        let primary = Some(member(&format!("w{shard}")));
        table.set_route(Route { shard, epoch: 4, revision: 4, primary, backups: vec![] });
    }
    Arc::new(table)
}

fn slots(version: u64, owner: u32, tenure: u64) -> Arc<Table> {
    let mut slots = without_hand_overs(&table(version, owner));
    slots.owners.iter_mut().for_each(|slot| *slot = Owner { shard: owner, tenure: Id(tenure) });
    Arc::new(slots)
}

fn ledger(records: &[Record]) -> Option<Arc<Ledger>> {
    let mut ledger = Ledger::default();
    for (index, record) in (1..).zip(records) {
        ledger.apply(Position { epoch: 4, index }, record, None);
    }
    Some(Arc::new(ledger))
}

fn seal() -> Record {
    Record::Seal { id: Id(2), version: 2, slots: (0..16).collect() }
}

struct Bed {
    shard: Arc<Shard>,
    frames: mpsc::UnboundedSender<Result<ClientFrame, Status>>,
    session: Session<Input>,
    answering: JoinHandle<()>,
    _inbox: mpsc::UnboundedReceiver<slotkv_worker::host::Input>,
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

impl Bed {
    /// The primary of shard 0, with a client. Nobody takes its writes from the queue.
    async fn new() -> Self {
        let (inbox, _inbox) = mpsc::unbounded_channel();
        let shard = Arc::new(Shard::new(shard::Parts {
            id: 0,
            member: member("w0"),
            engine: Arc::new(MemoryEngine::new()),
            cache: Arc::new(RowCache::new(1 << 20)),
            runner: Runner::inline(),
            clock: Arc::new(Wall::new()),
            zone: String::new(),
            table: table(1, 0),
            inbox,
        }));
        shard.set_table(table(1, 0), slots(1, 0, 0));
        shard.set_ledger(ledger(&[]));
        shard.lead(Leadership::Serving { epoch: 4, lease_until_us: u64::MAX });
        let (frames, input) = frames();
        let mut session = Session::new(shard.clone(), input);
        frames.send(Ok(ClientFrame { hello: Some(hello(1)), ..ClientFrame::default() })).unwrap();
        assert!(session.next().await.unwrap().unwrap().welcome.is_some());
        let answering = tokio::spawn(waiting::answer(shard.clone()));
        Self { shard, frames, session, answering, _inbox }
    }

    fn ask(&self, requests: Vec<Request>) {
        let frame = ClientFrame { requests, table_version: 1, epoch: 4, ..ClientFrame::default() };
        self.frames.send(Ok(frame)).unwrap();
    }

    /// A frame with replies, if there is one. Frames that only tell of a new slot table come, too.
    fn now(&mut self) -> Option<ServerFrame> {
        loop {
            let frame = self.session.next().now_or_never()?.unwrap().unwrap();
            if !frame.replies.is_empty() {
                return Some(frame);
            }
        }
    }

    async fn answer(&mut self) -> ServerFrame {
        loop {
            let frame = self.session.next().await.unwrap().unwrap();
            if !frame.replies.is_empty() {
                return frame;
            }
        }
    }
}

fn codes(frame: &ServerFrame) -> Vec<Option<Code>> {
    frame.replies.iter().map(|reply| Code::from_number(reply.code)).collect()
}

fn numbered(id: u64, request: Request) -> Request {
    Request { id, ..request }
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_told_the_new_owner_with_the_way_there() {
    let mut bed = Bed::new().await;
    bed.shard.set_ledger(ledger(&[seal()]));
    bed.ask(vec![numbered(1, get("a")), numbered(2, put("b", "x"))]);
    assert!(bed.now().is_none());
    bed.shard.set_table(table(3, 1), slots(3, 1, 2));
    let frame = bed.answer().await;
    assert_eq!(codes(&frame), [Some(Code::Moved); 2]);
    let way = frame.table.unwrap();
    assert!(
        way.ranges.iter().all(|range| range.shard == 1) && way.routes.iter().any(|route| route.shard == 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_is_told_of_a_new_table_although_nothing_is_owed_to_it() {
    let mut bed = Bed::new().await;
    bed.shard.set_table(table(2, 0), slots(2, 0, 0));
    assert!(bed.session.next().now_or_never().is_none(), "one that has sent nothing learns it later");
    bed.ask(vec![numbered(1, get("a"))]);
    assert_eq!(bed.answer().await.table.unwrap().version, 2);
    bed.shard.set_table(table(3, 1), slots(3, 1, 2));
    let news = bed.session.next().await.unwrap().unwrap();
    let told = news.table.unwrap();
    assert!(news.replies.is_empty() && told.version == 3 && told.ranges.iter().all(|range| range.shard == 1));
    assert!(bed.session.next().now_or_never().is_none(), "once");
}

#[tokio::test(start_paused = true)]
async fn what_waits_goes_on_in_its_order_once_the_slot_stays() {
    let mut bed = Bed::new().await;
    bed.ask(vec![numbered(1, put("a", "1"))]);
    assert!(bed.now().is_none());
    let early = bed.shard.queue().take_waiting();
    bed.shard.set_ledger(ledger(&[seal()]));
    bed.ask(vec![numbered(2, put("a", "2")), numbered(3, get("a"))]);
    assert!(bed.now().is_none());
    // Its turn came after the seal, and it stood in the queue before the others were kept.
    for write in early {
        bed.shard.waiting().keep(waiting::Waiter::of_write(write));
    }
    bed.shard.set_table(table(3, 0), slots(3, 0, 0));
    assert!(bed.now().is_none(), "it is served again when the log says so, too");
    bed.shard.set_ledger(ledger(&[seal(), Record::Unseal { id: Id(2), version: 3 }]));
    assert_eq!(codes(&bed.answer().await), [None], "the read");
    let ids: Vec<u64> = bed.shard.queue().take_waiting().iter().map(|write| write.id).collect();
    assert_eq!(ids, [1, 2]);
    assert!(bed.shard.waiting().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_longer_than_it_wants_to_or_than_the_bound() {
    let mut bed = Bed::new().await;
    bed.shard.set_ledger(ledger(&[seal()]));
    let begun = Instant::now();
    bed.ask(vec![numbered(1, Request { deadline_ms: 100, ..get("a") }), numbered(2, get("b"))]);
    let frame = bed.answer().await;
    assert_eq!((codes(&frame), frame.replies[0].id), (vec![Some(Code::Retry)], 1));
    assert!(begun.elapsed() >= Duration::from_millis(100) && begun.elapsed() < Duration::from_millis(200));
    let frame = bed.answer().await;
    assert_eq!((codes(&frame), frame.replies[0].id), (vec![Some(Code::Retry)], 2));
    assert!(begun.elapsed() >= WAIT_MAX && begun.elapsed() < WAIT_MAX + Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_refused_when_the_lead_goes_or_the_worker_stops() {
    let mut bed = Bed::new().await;
    let begun = Instant::now();
    bed.shard.set_ledger(ledger(&[seal()]));
    bed.ask(vec![numbered(1, get("a"))]);
    assert!(bed.now().is_none());
    bed.shard.lead(Leadership::Elsewhere((Code::NotPrimary, "led by w9".into())));
    assert_eq!(codes(&bed.answer().await), [Some(Code::NotPrimary)]);
    bed.shard.lead(Leadership::Serving { epoch: 4, lease_until_us: u64::MAX });
    bed.ask(vec![numbered(2, get("a"))]);
    assert!(bed.now().is_none());
    bed.shard.stop((Code::ShuttingDown, "it stops".into()));
    assert_eq!(codes(&bed.answer().await), [Some(Code::ShuttingDown)]);
    assert!(begun.elapsed() < WAIT_MAX, "at once, and not when they would not wait any longer");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_read_before_a_seal_is_not_answered_behind_it() {
    let bed = Bed::new().await;
    let admitted = bed.shard.ownership();
    assert_eq!(bed.shard.still_serves(&admitted, 3), Ok(()));
    bed.shard.set_ledger(ledger(&[seal()]));
    assert_eq!(bed.shard.still_serves(&admitted, 3).unwrap_err().0, Code::Retry);
    bed.shard.set_table(table(3, 1), slots(3, 1, 2));
    assert_eq!(bed.shard.still_serves(&admitted, 3).unwrap_err().0, Code::Moved);
}

#[tokio::test(start_paused = true)]
async fn a_page_whose_slots_are_sealed_while_it_is_made_is_not_answered() {
    let bed = Bed::new().await;
    let admitted = bed.shard.ownership();
    let range = Range { slot_last: 15, items_max: 10, ..Range::default() };
    let asked = Request { operation: Operation::Scan.into(), range: Some(range), ..Request::default() };
    let sender = Sender { client: [1; 16], namespace: "".into() };
    let Ok(Asked::Page(page)) = request::check(&asked, &sender, 16) else { panic!("it is a page") };
    let make = |meanwhile: &dyn Fn()| {
        let gone = || {
            meanwhile();
            false
        };
        bed.shard.page(&admitted, "", &page, 1, ReadLevel::Linearizable, gone)
    };
    assert!(make(&|| {}).is_ok());
    let refusal = make(&|| bed.shard.set_ledger(ledger(&[seal()]))).unwrap_err();
    assert_eq!(refusal.0, Code::Retry, "{}", refusal.1);
}
