//! Whoever watches the slot table, over real connections: it hears of every change, reads as slowly as it likes, and is told
//! when its member stops or has no room for it.

use std::time::Duration;

use slotkv_coordination::{
    Coordinator, Expect, Session, paths,
    registers::{Register, Slots},
};
use slotkv_daemon::dev::{Dev, DevOptions};
use slotkv_master::service::WATCHERS_MAX;
use slotkv_proto::{
    Code, SlotTable,
    code::code_of,
    v1::{self, master_client::MasterClient},
};
use slotkv_tests::{WAIT_MAX, until};
use tokio::time::timeout;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

/// With so many slots, a change of every one is a delta of more than 64 KiB.
const SLOTS: u16 = 16384;

async fn dev(masters: usize) -> Dev {
    let options = DevOptions { masters, shards: 1, slots: u32::from(SLOTS), ..DevOptions::default() };
    Dev::start(options).await.unwrap()
}

fn endpoint(address: &str) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}")).unwrap()
}

async fn connect(address: &str) -> MasterClient<Channel> {
    MasterClient::new(endpoint(address).connect().await.unwrap())
}

fn request() -> v1::SlotTableRequest {
    let hello = v1::Hello { version_min: 1, version_max: 1, ..Default::default() };
    v1::SlotTableRequest { hello: Some(hello), ..Default::default() }
}

async fn watch(master: &mut MasterClient<Channel>) -> Result<Watcher, Status> {
    let deltas = master.watch_slot_table(request()).await?.into_inner();
    Ok(Watcher { deltas, table: None, count: 0 })
}

/// A stream of deltas and the table that they make.
struct Watcher {
    deltas: Streaming<v1::TableDelta>,
    table: Option<SlotTable>,
    count: usize,
}

impl Watcher {
    async fn next(&mut self) -> Result<u64, Status> {
        let next = timeout(WAIT_MAX, self.deltas.message()).await.expect("a delta or the end");
        let delta = next?.expect("a stream of deltas ends in a status that says why");
        self.count += 1;
        match &mut self.table {
            Some(table) => drop(table.apply(&delta).unwrap()),
            None => self.table = Some(SlotTable::from_delta(&delta).unwrap()),
        }
        Ok(delta.version)
    }

    /// Reads up to this version of the table.
    async fn reach(&mut self, version: u64) {
        while self.table.as_ref().is_none_or(|table| table.version() < version) {
            self.next().await.unwrap();
        }
        assert_eq!(self.table.as_ref().unwrap().version(), version);
    }

    fn runs(&self) -> Vec<(u16, u16, u32)> {
        self.table.as_ref().unwrap().owner_runs()
    }
}

/// What no master does: slots that move, and back. Every second slot is another shard's, the even or the odd ones.
async fn change(session: &dyn Session, version: u64) -> Vec<(u16, u16, u32)> {
    let owners: Vec<_> = (0..SLOTS)
        .map(|slot| (slot, slot, u32::from((u64::from(slot) + version).is_multiple_of(2))))
        .collect();
    let slots = Slots { version, owners: owners.clone(), ..Slots::default() };
    session.set(paths::SLOTS, slots.encode().unwrap(), Expect::Any).await.unwrap();
    owners
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_of_masters_and_workers_hear_of_every_change() {
    let dev = dev(2).await;
    let session = dev.coordinator().open(Duration::from_secs(5)).await.unwrap();
    let mut watchers = Vec::new();
    for address in dev.master_addresses().iter().chain(&dev.worker_addresses()) {
        let mut watcher = watch(&mut connect(address).await).await.unwrap();
        watcher.reach(1).await;
        assert_eq!(watcher.runs(), [(0, SLOTS - 1, 0)]);
        watchers.push(watcher);
    }
    for version in 2..5 {
        let owners = change(&*session, version).await;
        for watcher in &mut watchers {
            watcher.reach(version).await;
            assert_eq!(watcher.runs(), owners);
        }
    }
    session.close().await;
    drop(watchers);
    dev.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_reads_slowly_skips_states_and_holds_up_nobody() {
    const CHANGES: u64 = 40;
    let dev = dev(1).await;
    let session = dev.coordinator().open(Duration::from_secs(5)).await.unwrap();
    let address = &dev.master_addresses()[0];
    // Room for less than one delta on its way.
    let narrow = endpoint(address).initial_stream_window_size(16 << 10);
    let mut slow = watch(&mut MasterClient::new(narrow.connect().await.unwrap())).await.unwrap();
    slow.reach(1).await;
    let mut quick = watch(&mut connect(address).await).await.unwrap();
    let mut owners = Vec::new();
    for version in 2..2 + CHANGES {
        owners = change(&*session, version).await;
        quick.reach(version).await;
    }
    slow.reach(1 + CHANGES).await;
    assert_eq!((slow.runs(), quick.runs()), (owners.clone(), owners));
    assert!(slow.count < CHANGES as usize / 2, "{} deltas of {CHANGES} changes waited for it", slow.count);
    session.close().await;
    drop((slow, quick));
    dev.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_whose_master_stops_is_told_and_finds_the_other_one() {
    let mut dev = dev(2).await;
    let addresses = dev.master_addresses();
    let mut watcher = watch(&mut connect(&addresses[0]).await).await.unwrap();
    watcher.reach(1).await;
    dev.stop_master(0).await.unwrap();
    let status = loop {
        if let Err(status) = watcher.next().await {
            break status;
        }
    };
    assert_eq!(code_of(&status), Some(Code::ShuttingDown), "{status}");
    let mut other = watch(&mut connect(&addresses[1]).await).await.unwrap();
    other.reach(1).await;
    // A crash tells nobody anything, but its connections break.
    dev.kill_master(1).await.unwrap();
    while other.next().await.is_ok() {}
    dev.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_watcher_past_the_limit_is_refused_until_another_one_leaves() {
    let dev = dev(1).await;
    let address = &dev.master_addresses()[0];
    let mut watchers = Vec::new();
    let mut master = connect(address).await;
    for number in 0..WATCHERS_MAX {
        // A connection takes only so many streams.
        if number % 512 == 0 {
            master = connect(address).await;
        }
        watchers.push(watch(&mut master).await.unwrap());
    }
    let mut late = connect(address).await;
    let refused = watch(&mut late).await.map(drop).unwrap_err();
    assert_eq!(code_of(&refused), Some(Code::Overloaded), "{refused}");
    late.get_slot_table(request()).await.expect("who is refused polls");
    watchers.last_mut().unwrap().reach(1).await;
    watchers.pop();
    until("there is room again", async || watch(&mut late.clone()).await.is_ok()).await;
    late.get_slot_table(request()).await.unwrap();
    drop(watchers);
    dev.shutdown().await;
}
