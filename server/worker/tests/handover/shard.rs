//! A shard: a log, a primary's replica that may be restarted, and one that never is.

use std::{
    ops::{Bound, ControlFlow},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use slotkv_migration::{
    Id, Ledger, Message, Options, Party, Position as Place, Record, Regain, Report, ShardId, Slot, Start,
    Table,
};
use slotkv_proto::{SlotCount, v1::Reply};
use slotkv_storage::{
    Engine, Error, Identity, Kind, Log, LogRecord, MemoryEngine, Position, Reader, RowCache, SimDisk, keys,
    log::Options as LogOptions,
};
use slotkv_worker::{
    decide::Change,
    outbox::Outbox,
    queue::Write,
    replica::{Replica, Staged, barrier},
    retry::Ticket,
};

pub const SLOTS: u16 = 16;

/// A client's write.
#[derive(Clone, Debug)]
pub struct Spec {
    pub client: [u8; 16],
    pub sequence: u64,
    pub fence_index: u64,
    pub slot: Slot,
    pub key: String,
    pub change: Change,
}

impl Spec {
    pub fn write(&self, repeated: bool) -> Write {
        Write {
            id: self.sequence,
            slot: self.slot,
            namespace: Arc::from(if self.key.len().is_multiple_of(2) { "" } else { "ns" }),
            key: Bytes::from(self.key.clone()),
            change: self.change.clone(),
            ticket: Ticket {
                client: self.client,
                sequence: self.sequence,
                oldest_open: self.sequence.saturating_sub(8),
                fence_index: self.fence_index,
                repeated,
            },
            expires: None,
            admitted_bytes: 0,
            outbox: Arc::new(Outbox::default()),
        }
    }
}

pub fn load(engine: &MemoryEngine) -> Replica {
    let engine: Arc<dyn Engine> = Arc::new(engine.clone());
    Replica::load(engine, Arc::new(RowCache::new(1 << 16)), SlotCount::new(SLOTS.into()).unwrap()).unwrap()
}

/// Rows of an engine with such a beginning.
pub fn rows(engine: &dyn Reader, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        if key.starts_with(prefix) {
            rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        }
        ControlFlow::Continue(())
    };
    engine.scan((Bound::Unbounded, Bound::Unbounded), &mut visit).unwrap();
    rows
}

/// Users' rows of some slots.
pub fn rows_of(engine: &dyn Reader, slots: &[Slot]) -> Vec<(Bytes, Bytes)> {
    slots.iter().flat_map(|slot| rows(engine, &keys::data_slot_prefix(*slot))).collect()
}

/// What replicas that have applied the same records have in common.
#[derive(Debug, PartialEq)]
pub struct Facts {
    applied: Position,
    ledger: Ledger,
    slot_rows: Vec<slotkv_storage::SlotRow>,
    /// Results, counters, shown index and time among them.
    tally: (Bytes, Bytes),
    rows: Vec<(Bytes, Bytes)>,
    deadlines: Vec<(Bytes, Bytes)>,
}

pub fn facts(replica: &Replica) -> Facts {
    let all: Vec<Slot> = (0..SLOTS).collect();
    let engine = replica.snapshot().unwrap();
    let slot_row = |slot: &Slot| slotkv_storage::SlotRow { forgotten_index: 0, ..replica.slot_row_of(*slot) };
    Facts {
        applied: replica.applied(),
        ledger: replica.ledger().clone(),
        slot_rows: all.iter().map(slot_row).collect(),
        tally: replica.tally(&all),
        rows: rows(&*engine, &keys::data_key_prefix()),
        deadlines: rows(&*engine, &keys::deadline_key_prefix()),
    }
}

pub struct Shard {
    pub id: ShardId,
    pub epoch: u64,
    pub engine: MemoryEngine,
    pub replica: Replica,
    pub log: Log,
    pub twin: Replica,
    pub party: Party,
    pub options: Options,
    pub now_us: u64,
    /// There is a leader.
    pub hears: bool,
    pub wall_ms: u64,
    /// As they travel.
    pub sent: Vec<Bytes>,
    pub reports: Vec<Report>,
    /// Records of hand-overs that were refused.
    pub refused: Vec<String>,
    /// Parts that could not be read on from where the target stood.
    pub gone: usize,
    /// The next read is answered so.
    pub is_gone_next: bool,
    pub largest_part: usize,
}

impl Shard {
    pub async fn new(id: ShardId, seed: u64, options: Options, table: Table) -> Self {
        let identity = Identity { cluster_id: "c".into(), shard: id, incarnation: format!("inc{id}") };
        let log_options = LogOptions { segment_bytes: 2_000, ..LogOptions::default() };
        let disk = Arc::new(SimDisk::new(seed));
        let (log, _) = Log::open(disk, Path::new("/log"), identity, log_options).await.unwrap();
        let engine = MemoryEngine::recoverable(seed);
        let (replica, twin) = (load(&engine), load(&MemoryEngine::new()));
        let party = Party::new(0, options.clone(), start(id, 1, &replica, table.clone()));
        let (sent, reports, refused) = (Vec::new(), Vec::new(), Vec::new());
        let mut shard = Self {
            id,
            epoch: 0,
            engine,
            replica,
            log,
            twin,
            party,
            options,
            now_us: 0,
            hears: true,
            wall_ms: 1_000,
            sent,
            reports,
            refused,
            gone: 0,
            is_gone_next: false,
            largest_part: 0,
        };
        shard.take_office(table).await;
        shard
    }

    pub async fn take_office(&mut self, table: Table) {
        self.begin(table, 0, false).await;
    }

    /// An operator has it go on with what it had up to a record.
    pub async fn recover(&mut self, table: Table, upto: u64, epoch_sum: u64) {
        self.log.truncate_back(upto + 1).await.unwrap();
        self.engine = MemoryEngine::recoverable(1);
        (self.replica, self.twin) = (load(&self.engine), load(&MemoryEngine::new()));
        for replica in [&mut self.replica, &mut self.twin] {
            replica.apply_log(&self.log, 1, upto).unwrap();
        }
        let gap = self.replica.gap(epoch_sum, 0);
        self.begin(table, gap, true).await;
    }

    async fn begin(&mut self, table: Table, gap: u64, has_lost: bool) {
        self.epoch += 1;
        let record = barrier(self.wall_ms, gap);
        self.append(&record).await;
        let mut group = self.replica.begin_logged();
        self.replica.stage_record(&mut group, self.last(), &record).unwrap();
        self.replica.apply(group).unwrap();
        let start = start(self.id, self.epoch, &self.replica, table);
        let start = Start { loss_index: has_lost.then(|| self.last().index), ..start };
        self.party = Party::new(self.now_us, self.options.clone(), start);
        let index = self.last().index;
        self.party.committed(self.now_us, index, index);
        self.carry_out().await;
    }

    pub fn last(&self) -> Position {
        Position { epoch: self.log.last_epoch(), index: self.log.last_index() }
    }

    async fn append(&mut self, record: &LogRecord) {
        self.log.append(self.epoch, &[record.to_bytes()]).unwrap();
        self.log.sync().await.unwrap();
        let at = self.last();
        // As a backup takes it.
        let mut group = self.twin.begin_logged();
        let record = LogRecord::from_bytes(record.to_bytes()).unwrap();
        self.twin.stage_record(&mut group, at, &record).unwrap();
        self.twin.apply(group).unwrap();
    }

    /// Decides a write, as a primary that serves its slot.
    pub async fn write(&mut self, write: &Write) -> Reply {
        let mut group = self.replica.begin(self.wall_ms);
        let at = Position { epoch: self.epoch, index: self.last().index + 1 };
        match self.replica.stage(&mut group, write, at).unwrap() {
            Staged::Answer(reply) => reply,
            Staged::Log(record, reply) => {
                self.append(&record).await;
                self.replica.apply(group).unwrap();
                self.committed().await;
                reply
            }
        }
    }

    /// Lets rows end. Returns how many.
    pub async fn expire(&mut self) -> usize {
        let mut group = self.replica.begin(self.wall_ms);
        let mut position = Position { epoch: self.epoch, index: self.last().index };
        let party = &self.party;
        let records =
            self.replica.stage_expiries(&mut group, &mut position, &|slot| party.serves(slot)).unwrap();
        if records.is_empty() {
            self.replica.take_sweep(group);
            return 0;
        }
        for record in &records {
            self.append(record).await;
        }
        self.replica.apply(group).unwrap();
        self.committed().await;
        records.len()
    }

    async fn committed(&mut self) {
        let index = self.last().index;
        self.party.committed(self.now_us, index, index);
        self.carry_out().await;
    }

    pub async fn tick(&mut self, by_us: u64) {
        self.now_us += by_us;
        if self.hears {
            self.party.heard(self.now_us);
        }
        self.party.tick(self.now_us);
        self.carry_out().await;
    }

    pub async fn table(&mut self, table: &Table) {
        self.party.table(self.now_us, table.clone());
        self.carry_out().await;
    }

    pub async fn step(&mut self, message: Bytes) {
        self.party.step(self.now_us, Message::from_bytes(message).unwrap());
        self.carry_out().await;
    }

    /// Logs and applies a record of a hand-over.
    pub async fn handover(&mut self, record: &Record) -> Result<Place, Error> {
        let mut group = self.replica.begin(self.wall_ms);
        let at = Position { epoch: self.epoch, index: self.last().index + 1 };
        let logged = self.replica.stage_handover(&mut group, at, record)?;
        assert_eq!(logged.kind(), Kind::Handover);
        self.append(&logged).await;
        self.replica.apply(group)?;
        Ok(Place { epoch: at.epoch, index: at.index })
    }

    /// Does what the party asks for, until it asks for nothing more.
    async fn carry_out(&mut self) {
        loop {
            let ready = self.party.ready();
            self.sent.extend(ready.messages.iter().map(Message::to_bytes));
            self.reports.extend(ready.reports);
            let is_quiet = ready.appends.is_empty()
                && ready.reads.is_empty()
                && ready.tallies.is_empty()
                && ready.sweeps.is_empty()
                && ready.regains.is_empty();
            for record in ready.appends {
                match self.handover(&record).await {
                    Ok(at) => {
                        self.party.logged(self.now_us, at, record);
                        self.party.committed(self.now_us, at.index, at.index);
                    }
                    Err(Error::Malformed { why, .. }) => {
                        self.refused.push(why);
                        self.party.dropped(self.now_us, record.id());
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            for read in ready.reads {
                let chunk = match std::mem::take(&mut self.is_gone_next) {
                    true => slotkv_migration::Chunk::Gone,
                    false => self.replica.copy(&self.log, &read).unwrap().run().unwrap(),
                };
                match &chunk {
                    slotkv_migration::Chunk::Gone => self.gone += 1,
                    slotkv_migration::Chunk::Part { bytes, .. } => {
                        self.largest_part = self.largest_part.max(bytes.len());
                    }
                    slotkv_migration::Chunk::Later => {}
                }
                self.party.read(self.now_us, read.id, read.from.as_ref(), chunk);
            }
            for tally in ready.tallies {
                let (sums, levels) = self.replica.tally(&tally.slots);
                self.party.tallied(self.now_us, tally.id, sums, levels);
            }
            for sweep in ready.sweeps {
                let (upto, is_last) = self.replica.sweep(&sweep).unwrap();
                self.party.swept(self.now_us, sweep.id, upto, is_last);
            }
            for Regain { id, slots } in ready.regains {
                let (bytes, levels) = self.replica.regain(&slots);
                self.party.regained(self.now_us, id, bytes, levels);
            }
            // A part is larger than it may be if a single item is.
            let is_tiny = self.options.part_bytes_max < 1_000;
            let violation = self.party.violation().filter(|why| !is_tiny || !why.contains("bounded"));
            assert_eq!(violation, None);
            if is_quiet {
                return;
            }
        }
    }

    /// The process stops, and the engine may have lost its last batches.
    pub async fn restart(&mut self, table: Table) {
        self.engine.crash();
        self.replica = load(&self.engine);
        let from = self.replica.checkpoint().index + 1;
        self.replica.apply_log(&self.log, from, self.last().index).unwrap();
        self.check_twin();
        self.take_office(table).await;
    }

    pub fn checkpoint(&mut self) {
        self.replica.checkpoint_rows().unwrap();
        self.engine.persist().unwrap();
    }

    pub fn check_twin(&self) {
        assert_eq!(facts(&self.replica), facts(&self.twin), "shard {}", self.id);
    }

    /// Nothing of a slot is here, and a later owner's begins from nothing.
    pub fn check_nothing_left(&self, slots: &[Slot]) {
        assert_eq!(rows_of(&self.engine, slots), []);
        // Neither rows nor results.
        assert_eq!(self.replica.tally(slots).0, load(&MemoryEngine::new()).tally(slots).0);
        let is_of = |(key, _): &(Bytes, Bytes)| {
            let (_, row) = keys::decode_deadline_key(key).unwrap();
            slots.contains(&keys::DataKey::decode(row).unwrap().slot)
        };
        let mut deadlines = rows(&self.engine, &keys::deadline_key_prefix()).into_iter();
        assert_eq!(deadlines.find(is_of), None);
    }

    pub fn serves(&self, slot: Slot) -> bool {
        self.party.serves(slot)
    }

    pub fn has_said(&self, id: Id, said: &slotkv_migration::Said) -> bool {
        self.reports.iter().any(|report| report.id == id && report.said == *said)
    }
}

fn start(shard: ShardId, epoch: u64, replica: &Replica, table: Table) -> Start {
    let (ledger, commit_index) = (replica.ledger().clone(), replica.applied().index);
    Start { shard, epoch, ledger, tail: Vec::new(), commit_index, table, loss_index: None }
}
