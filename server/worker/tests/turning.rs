//! A stream of a worker whose shard's lead is on its way, to it or away from it: requests wait a moment, and go on or
//! learn where to go.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt};
use slotkv_proto::{
    Code, SlotCount, SlotTable,
    table::{Member, Route},
    v1::{self, ClientFrame, ReadLevel, Request, ServerFrame},
};
use slotkv_storage::{MemoryEngine, RowCache};
use slotkv_worker::{
    Runner,
    ownership::without_hand_overs,
    session::{Session, TURN_MS_MAX},
    shard::{self, Leadership, Shard},
};
use tokio::{sync::mpsc, time::Instant};
use tonic::Status;

mod common;
use common::{Input, Wall, frames, get, hello};

const SERVING: Leadership = Leadership::Serving { epoch: 4, lease_until_us: u64::MAX };

fn member(name: &str) -> Member {
    Member { name: name.into(), run: "run".into(), address: format!("{name}:7710") }
}

/// A table in which `primary` leads in `epoch`.
fn table(epoch: u64, primary: &str) -> Arc<SlotTable> {
    let mut table = SlotTable::new("c1", SlotCount::new(16).unwrap());
    table.set_owners(1, &[(0, 15, 0)]).unwrap();
    let primary = Some(member(primary));
    table.set_route(Route { shard: 0, epoch, revision: epoch, primary, backups: vec![] });
    Arc::new(table)
}

struct Bed {
    shard: Arc<Shard>,
    frames: mpsc::UnboundedSender<Result<ClientFrame, Status>>,
    session: Session<Input>,
    _inbox: mpsc::UnboundedReceiver<slotkv_worker::host::Input>,
}

impl Bed {
    /// The worker w0 of shard 0, which knows this table and does not serve.
    async fn new(table: Arc<SlotTable>) -> Self {
        let (inbox, _inbox) = mpsc::unbounded_channel();
        let shard = Arc::new(Shard::new(shard::Parts {
            id: 0,
            member: member("w0"),
            engine: Arc::new(MemoryEngine::new()),
            cache: Arc::new(RowCache::new(1 << 20)),
            runner: Runner::inline(),
            clock: Arc::new(Wall::new()),
            zone: String::new(),
            table: table.clone(),
            inbox,
        }));
        shard.set_table(table.clone(), Arc::new(without_hand_overs(&table)));
        shard.set_ledger(Some(Arc::default()));
        let (frames, input) = frames();
        let mut session = Session::new(shard.clone(), input);
        frames.send(Ok(ClientFrame { hello: Some(hello(1)), ..ClientFrame::default() })).unwrap();
        assert!(session.next().await.unwrap().unwrap().welcome.is_some());
        Self { shard, frames, session, _inbox }
    }

    fn set_table(&self, table: Arc<SlotTable>) {
        let slots = Arc::new(without_hand_overs(&table));
        self.shard.set_table(table, slots);
    }

    fn ask(&self, epoch: u64, level: ReadLevel) {
        let request = Request { id: 1, read_level: level as i32, ..get("k") };
        let frame =
            ClientFrame { requests: vec![request], table_version: 1, epoch, ..ClientFrame::default() };
        self.frames.send(Ok(frame)).unwrap();
    }

    fn now(&mut self) -> Option<ServerFrame> {
        self.session.next().now_or_never().map(|frame| frame.unwrap().unwrap())
    }

    async fn answer(&mut self) -> ServerFrame {
        self.session.next().await.unwrap().unwrap()
    }
}

fn code(frame: &ServerFrame) -> Option<Code> {
    let [reply] = &frame.replies[..] else { panic!("{} replies", frame.replies.len()) };
    Code::from_number(reply.code)
}

#[tokio::test(start_paused = true)]
async fn request_to_a_primary_that_has_not_begun_is_answered_once_it_has() {
    // What the worker knows itself of the epoch may come later than the client.
    for known in [table(4, "w0"), table(3, "w1")] {
        let mut bed = Bed::new(known).await;
        bed.ask(4, ReadLevel::Linearizable);
        assert!(bed.now().is_none());
        bed.shard.lead(SERVING);
        assert_eq!(code(&bed.answer().await), None);
    }
}

#[tokio::test(start_paused = true)]
async fn request_to_a_primary_that_has_stopped_is_told_the_next_one() {
    let mut bed = Bed::new(table(4, "w0")).await;
    bed.shard.lead(SERVING);
    bed.shard.lead(Leadership::Elsewhere((Code::NotPrimary, "led by w1".into())));
    bed.ask(4, ReadLevel::Linearizable);
    assert!(bed.now().is_none());
    bed.set_table(table(5, "w1"));
    let frame = bed.answer().await;
    assert_eq!(code(&frame), Some(Code::NotPrimary));
    let routes: Vec<v1::Route> = frame.table.unwrap().routes;
    assert_eq!(routes[0].epoch, 5);
    // One that comes after that is not held up.
    bed.ask(4, ReadLevel::Linearizable);
    assert_eq!(bed.now().as_ref().map(code), Some(Some(Code::NotPrimary)));
}

#[tokio::test(start_paused = true)]
async fn request_is_refused_when_nobody_leads_for_too_long() {
    let mut bed = Bed::new(table(4, "w0")).await;
    let begun = Instant::now();
    bed.ask(4, ReadLevel::Linearizable);
    assert_eq!(code(&bed.answer().await), Some(Code::NotPrimary));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(TURN_MS_MAX) && took < Duration::from_millis(2 * TURN_MS_MAX));
}

#[tokio::test(start_paused = true)]
async fn request_that_another_turn_would_not_help_is_answered_at_once() {
    // Another leads, or an earlier process did, or the client does not know; and a stale read needs no primary.
    let mut restarted = Arc::unwrap_or_clone(table(4, "w0"));
    let primary = Some(Member { run: "before".into(), ..member("w0") });
    restarted.set_route(Route { shard: 0, epoch: 4, revision: 9, primary, backups: vec![] });
    for (known, epoch, level, expected) in [
        (table(4, "w1"), 4, ReadLevel::Linearizable, Some(Code::NotPrimary)),
        (Arc::new(restarted), 4, ReadLevel::Linearizable, Some(Code::NotPrimary)),
        (table(4, "w0"), 0, ReadLevel::Linearizable, Some(Code::NotPrimary)),
        (table(4, "w0"), 4, ReadLevel::Stale, None),
    ] {
        let mut bed = Bed::new(known).await;
        bed.ask(epoch, level);
        assert_eq!(bed.now().as_ref().map(code), Some(expected), "{epoch} {level:?}");
    }
}
