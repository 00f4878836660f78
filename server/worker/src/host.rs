//! The host of one replica: owns its log, its data and its folder, and carries out what the machine of
//! `slotkv-replication` decides. One task; nothing else writes.
//!
//! ```text
//! messages of peers ─┐                ┌─► links to peers
//! coordinator ───────┼─► machine ─────┼─► log, promise, snapshot   (writes, in order; then one sync for all of them)
//! time, wishes ──────┘    ▲           ├─► coordinator              (asks)
//! queue of writes ─► decide, log ─────┘   commit ─► apply to the engine ─► answer
//! ```
//!
//! What stands in a log is committed or may be replaced; the engine holds committed records only. A primary decides one
//! group of writes at a time: the next one is decided when it is applied, for it must see its rows.
//!
//! Here is what comes in and in which order it is looked at; what the machine makes of it is carried out in `outputs.rs`, and who
//! leads is told in `lead.rs`.

use std::{
    collections::{HashMap, VecDeque},
    future::pending,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use slotkv_coordination::{
    Session,
    registers::{self, Durability, Health, Primary as Process},
};
use slotkv_proto::{
    SlotCount,
    seam::{Chance, Clock},
    v1::InspectReply,
};
use slotkv_replication::{self as machine, Answer, Message, Name, Standing};
use slotkv_storage::{Disk, Engine, Error, Kind, Log, Position};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, Sleep},
};

use crate::{
    committer::InFlight,
    damage::{self, Reading},
    home::Home,
    link::{Addresses, Links},
    measure::Measures,
    migrations::{self, Migrations, handover, is_waited_for},
    outputs::Errand,
    queue::Write,
    recent::Recent,
    registrar::Registrar,
    replica::Replica,
    runner::Runner,
    scrub::Scrub,
    shard::{Shard, Unconfirmed},
    snapshot::{Loaded, Sources},
};

/// Inputs that are taken before what they asked of the disk is synced.
const INPUTS_MAX: usize = 512;
/// Payload bytes of committed records that are applied as one group.
pub(crate) const APPLY_BYTES: usize = 4 << 20;
/// Records that are applied before inputs are looked at again.
const APPLY_ROUNDS_MAX: usize = 4;
/// A host without anything to do looks up after this time all the same.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// A timer that would be set so little earlier than it is stays as it is.
const ALARM_SLACK: Duration = Duration::from_millis(1);

/// What comes to a host beside messages and writes.
pub enum Input {
    /// The coordinator has answered.
    Answered(u64, Answer),
    /// Something in the coordinator has changed.
    Hint,
    /// Replies that hold if this replica still leads this epoch.
    Confirm(u64, Unconfirmed),
    /// A part of a snapshot was read.
    Loaded(Loaded),
    /// The sync that ran beside the host has ended.
    Synced,
    /// Something that concerns hand-overs.
    Migration(migrations::Event),
    /// Somebody watches this replica.
    Measure(oneshot::Sender<Measures>),
    /// Somebody looks whether it holds what it should.
    Inspect(oneshot::Sender<InspectReply>),
    /// The process is about to stop: the lead shall go to another. Told when it has, or cannot.
    Resign(oneshot::Sender<()>),
}

/// How a host makes things durable and keeps the log short.
pub struct Settings {
    /// When a write counts as durable.
    pub durability: Durability,
    /// Log bytes after which a checkpoint is made.
    pub checkpoint_bytes: u64,
    /// Log bytes that are kept behind a checkpoint for replicas that were away, if there are others.
    pub retain_bytes: u64,
    /// The replica's folder, whose disk must have room.
    pub dir: PathBuf,
    /// Rows kept in memory, in bytes.
    pub cache_bytes: usize,
}

/// What a host works with.
pub struct Parts {
    /// What streams share.
    pub shard: Arc<Shard>,
    /// Who decides.
    pub machine: machine::Replica,
    /// The shard's data.
    pub replica: Replica,
    /// The shard's log.
    pub log: Log,
    /// The replica's folder, which nobody else may open meanwhile.
    pub home: Home,
    /// This process.
    pub process: Process,
    /// How many slots the cluster has.
    pub slots: SlotCount,
    /// Durability and checkpoints.
    pub settings: Settings,
    /// What this replica, once it leads, shall make of `ack`.
    pub ack: Option<registers::Ack>,
    /// What this process has counted before.
    pub health: Health,
    /// The machine's clocks.
    pub clock: Arc<dyn Clock>,
    /// The disk under log and engine.
    pub disk: Arc<dyn Disk>,
    /// Numbers for new incarnations.
    pub chance: Arc<dyn Chance>,
    /// The engine under the data.
    pub engine: Arc<dyn Engine>,
    /// Where long work runs.
    pub runner: Runner,
    /// The shard's register at the coordinator.
    pub registrar: Arc<Registrar>,
    /// The session with the coordinator, as it is now.
    pub sessions: watch::Receiver<Arc<dyn Session>>,
    /// The way to other replicas.
    pub links: Links,
    /// Where they are.
    pub addresses: Addresses,
    /// Messages of other replicas.
    pub peers: mpsc::Receiver<Message>,
    /// What hand-overs are carried out with.
    pub migrations: migrations::Parts,
    /// Everything else.
    pub inbox: mpsc::UnboundedReceiver<Input>,
}

/// Why a host does not go on.
#[derive(Debug)]
pub struct Failed {
    /// The reason.
    pub error: Error,
    /// The replica may be begun anew in the same process. If not, as after a failed sync, the process is to end.
    pub begins_anew: bool,
}

/// One replica's only writer.
pub struct Host {
    pub(crate) shard: Arc<Shard>,
    pub(crate) machine: machine::Replica,
    pub(crate) replica: Replica,
    pub(crate) log: Log,
    pub(crate) recent: Recent,
    pub(crate) home: Home,
    pub(crate) process: Process,
    pub(crate) slots: SlotCount,
    pub(crate) settings: Settings,
    pub(crate) ack: Option<registers::Ack>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) chance: Arc<dyn Chance>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) runner: Runner,
    pub(crate) registrar: Arc<Registrar>,
    pub(crate) sessions: watch::Receiver<Arc<dyn Session>>,
    pub(crate) links: Links,
    pub(crate) addresses: Addresses,
    peers: mpsc::Receiver<Message>,
    inbox: mpsc::UnboundedReceiver<Input>,
    /// Inputs that the machine has asked for, or that its outputs lead to.
    pub(crate) errands: VecDeque<Errand>,
    /// The last write that was begun and not reported.
    pub(crate) unreported: Option<u64>,
    /// The last write that was reported.
    pub(crate) reported: u64,
    /// It cannot go on, and another may in the same process: neither the disk nor what is on it is to blame.
    pub(crate) begins_anew: bool,
    /// Others wait for a sync: it does not wait for the interval.
    pub(crate) sync_now: bool,
    /// As it is told to others.
    pub(crate) health: Health,
    pub(crate) scrub: Scrub,
    /// The reading of all rows that is under way.
    pub(crate) reading: Option<Reading>,
    pub(crate) scrub_due_us: u64,
    /// The disk was full: what the machine asks for is left out until it cuts the log.
    pub(crate) leaves_out: bool,
    /// Snapshots that are being read.
    pub(crate) sources: Sources,
    /// Replies that wait for a round, by token.
    pub(crate) confirming: HashMap<u64, Unconfirmed>,
    pub(crate) next_token: u64,
    /// Writes that are decided, logged and not yet committed.
    pub(crate) group: Option<InFlight>,
    /// Groups that were taken and not begun.
    pub(crate) backlog: VecDeque<Vec<Write>>,
    /// Whom the register preferred when this was looked at last.
    pub(crate) preferred: Option<String>,
    pub(crate) register_version: Option<u64>,
    /// What the last refusal of requests was made of; `None` while they are served.
    pub(crate) elsewhere: Option<(Standing, Option<Name>)>,
    pub(crate) resigning: Vec<oneshot::Sender<()>>,
    /// When the host looks up although nothing comes: not later than it has to. Setting a timer that is earlier than all others
    /// wakes the runtime's thread, so it is not done at every turn.
    alarm: Pin<Box<Sleep>>,
    pub(crate) durable: Durable,
    pub(crate) migrations: Migrations,
}

/// How far the disk is.
#[derive(Default)]
pub(crate) struct Durable {
    pub unsynced_since: Option<Instant>,
    pub beside: Option<crate::checkpoint::Beside>,
    /// How long the log was when the last sync began.
    pub synced_log_bytes: u64,
    pub log_bytes_at_checkpoint: u64,
    /// Kept behind a checkpoint, as the register has it.
    pub retain_bytes: u64,
    /// Other replicas take what is logged here.
    pub has_backups: bool,
    pub persisting: Option<Position>,
    pub persisted_index: Arc<AtomicU64>,
    pub free_checked: Option<Instant>,
    /// There is room for records of the shard's own, be there none for clients'.
    pub has_own_room: bool,
    pub records: u64,
    pub syncs: u64,
}

enum Event {
    Message(Message),
    Input(Input),
    Writes(Vec<Write>),
    Handover(slotkv_migration::Message),
    Time,
}

impl Host {
    /// A host over opened data.
    pub fn new(mut parts: Parts) -> Self {
        parts.replica.keep_time(parts.shard.time().clone());
        let now = parts.clock.uptime_us();
        parts.machine.syncs_apart(now, parts.settings.durability != Durability::Sync);
        let durable = Durable {
            persisted_index: Arc::new(AtomicU64::new(parts.replica.checkpoint().index)),
            ..Durable::default()
        };
        parts.shard.set_applied(parts.replica.applied(), parts.replica.shown_index());
        Self {
            shard: parts.shard,
            machine: parts.machine,
            replica: parts.replica,
            log: parts.log,
            recent: Recent::default(),
            home: parts.home,
            process: parts.process,
            slots: parts.slots,
            settings: parts.settings,
            ack: parts.ack,
            clock: parts.clock,
            disk: parts.disk,
            chance: parts.chance,
            engine: parts.engine,
            runner: parts.runner,
            registrar: parts.registrar,
            sessions: parts.sessions,
            links: parts.links,
            addresses: parts.addresses,
            peers: parts.peers,
            inbox: parts.inbox,
            errands: VecDeque::new(),
            unreported: None,
            reported: 0,
            begins_anew: false,
            sync_now: false,
            health: parts.health,
            scrub: Scrub::of_what_stays(),
            reading: None,
            scrub_due_us: now + damage::SCRUB_PAUSE_US,
            leaves_out: false,
            sources: Sources::default(),
            confirming: HashMap::new(),
            next_token: 0,
            group: None,
            backlog: VecDeque::new(),
            preferred: None,
            register_version: None,
            elsewhere: None,
            resigning: Vec::new(),
            alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
            durable,
            migrations: Migrations::new(parts.migrations),
        }
    }

    /// Runs until the queue is closed and what waits is answered, then leaves everything durable; or until the shard is
    /// aborted, and leaves everything as it is. After a failure what is on the disk is recovered by the next start.
    pub async fn run(mut self) -> Result<(), Failed> {
        let outcome = self.serve().await;
        self.give_up_waiting();
        if outcome.is_err() || self.shard.is_aborted() {
            // Whoever opens the files anew in this process is not told if a sync of theirs has failed before.
            let begins_anew =
                self.begins_anew && (self.shard.is_aborted() || self.log.end_elsewhere().await.is_ok());
            return outcome.map_err(|error| Failed { error, begins_anew });
        }
        self.close().await.map_err(|error| Failed { error, begins_anew: false })
    }

    async fn serve(&mut self) -> Result<(), Error> {
        self.publish_ledger();
        self.carry_out().await?;
        self.publish();
        loop {
            let event = self.next().await;
            if self.shard.is_aborted() {
                return Ok(());
            }
            let closing = self.shard.queue().is_closed();
            self.take(event).await?;
            for _ in 0..INPUTS_MAX {
                let Some(event) = self.try_next() else { break };
                self.take(event).await?;
            }
            self.drive_migrations()?;
            self.begin_group().await?;
            self.flush().await?;
            self.apply()?;
            self.drive_migrations()?;
            self.tell_check().await?;
            self.go_on().await?;
            self.publish();
            self.note_beside().await?;
            self.sync_if_wished().await?;
            self.sync_if_due().await?;
            self.checkpoint_if_due().await?;
            self.scrub_if_due().await?;
            if closing && self.group.is_none() && self.backlog.is_empty() && self.shard.queue().is_empty() {
                return Ok(());
            }
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.uptime_us()
    }

    /// Writes are taken while a primary can decide them, and while there is none, to be refused.
    fn takes_writes(&self) -> bool {
        self.group.is_none() && self.backlog.is_empty() && (self.machine.leads().is_none() || self.serves())
    }

    async fn next(&mut self) -> Event {
        if self.may_begin_backlog() || self.has_unapplied() {
            return Event::Time;
        }
        let now = self.now();
        let deadline =
            self.machine.next_deadline_us().map(|at| Duration::from_micros(at.saturating_sub(now)));
        let migrations = self.migrations.wait(now);
        let wait = deadline
            .into_iter()
            .chain(self.idle_wait())
            .chain(migrations)
            .min()
            .unwrap_or(IDLE_MAX)
            .min(IDLE_MAX);
        let takes_writes = self.takes_writes();
        let queue = self.shard.clone();
        let until = Instant::now() + wait;
        if self.alarm.is_elapsed() || until + ALARM_SLACK < self.alarm.deadline() {
            self.alarm.as_mut().reset(until);
        }
        tokio::select! {
            biased;
            Some(message) = self.peers.recv() => Event::Message(message),
            Some(input) = self.inbox.recv() => Event::Input(input),
            Some(message) = self.migrations.message() => Event::Handover(message),
            writes = async { if takes_writes { queue.queue().take().await } else { pending().await } } => {
                Event::Writes(writes)
            }
            () = &mut self.alarm => Event::Time,
        }
    }

    /// Begins at once what has come meanwhile: its records tell the backups, too, how far the ones before are committed. If nothing
    /// has, they are told so.
    async fn go_on(&mut self) -> Result<(), Error> {
        if self.takes_writes() && self.machine.leads().is_some() {
            let writes = self.shard.queue().take_waiting();
            self.backlog.extend(crate::committer::groups(writes));
            self.begin_backlog().await?;
            self.flush().await?;
        }
        if self.group.is_none() {
            let now = self.now();
            self.machine.tell_commit(now);
            self.carry_out().await?;
        }
        Ok(())
    }

    fn try_next(&mut self) -> Option<Event> {
        if let Ok(message) = self.peers.try_recv() {
            return Some(Event::Message(message));
        }
        if let Ok(input) = self.inbox.try_recv() {
            return Some(Event::Input(input));
        }
        self.migrations.try_message().map(Event::Handover)
    }

    async fn take(&mut self, event: Event) -> Result<(), Error> {
        let now = self.now();
        match event {
            Event::Message(message) => self.machine.step(now, message),
            Event::Input(Input::Answered(id, answer)) => {
                let is_register = matches!(answer, Answer::Register(_) | Answer::Written(_));
                self.machine.answered(now, id, answer);
                if is_register {
                    self.carry_out().await?;
                    self.learn_register().await?;
                }
            }
            Event::Input(Input::Loaded(loaded)) => self.loaded(loaded),
            // Looked at in each turn.
            Event::Input(Input::Synced) => {}
            Event::Input(Input::Migration(event)) => self.hear_migration(event)?,
            Event::Handover(message) => self.hear_shard(message)?,
            Event::Input(Input::Hint) => self.machine.hint(now),
            Event::Input(Input::Confirm(epoch, unconfirmed)) if self.machine.leads() == Some(epoch) => {
                self.confirm(unconfirmed);
            }
            Event::Input(Input::Confirm(_, unconfirmed)) => unconfirmed.refuse(self.not_primary()),
            Event::Input(Input::Measure(told)) => drop(told.send(self.measures())),
            Event::Input(Input::Inspect(told)) => drop(told.send(self.inspect())),
            Event::Input(Input::Resign(told)) => {
                // Refused if there is nobody to lead instead: then the shard waits for this replica, or for an election.
                if self.machine.wish_successor(now).is_ok() {
                    self.resigning.push(told);
                }
            }
            Event::Writes(writes) => self.backlog.extend(crate::committer::groups(writes)),
            Event::Time => {}
        }
        self.carry_out().await?;
        if self.machine.next_deadline_us().is_some_and(|at| at <= now) {
            self.machine.tick(now);
        }
        if cfg!(debug_assertions)
            && let Some(violation) = self.machine.violation()
        {
            return Err(Error::Misfit(format!("an invariant of replication does not hold: {violation}")));
        }
        self.carry_out().await
    }

    /// Makes durable what was begun, and reports it.
    async fn flush(&mut self) -> Result<(), Error> {
        while let Some(id) = self.unreported.take() {
            self.make_durable().await?;
            let now = self.now();
            self.machine.written(now, id);
            self.reported = id;
            self.carry_out().await?;
        }
        Ok(())
    }

    /// A client's records were appended: they are reported under this id.
    pub(crate) fn begun(&mut self, id: Option<u64>) {
        self.unreported = id.or(self.unreported);
    }

    fn has_unapplied(&self) -> bool {
        self.replica.applied().index < self.machine.commit_index()
            && self.group.as_ref().is_none_or(|group| self.machine.commit_index() >= group.last_index)
    }

    /// Brings the engine up to the commit index.
    fn apply(&mut self) -> Result<(), Error> {
        for _ in 0..APPLY_ROUNDS_MAX {
            let commit = self.machine.commit_index();
            let applied = self.replica.applied().index;
            if applied >= commit {
                break;
            }
            if let Some(group) = &self.group {
                if group.last_index > commit {
                    break;
                }
                self.finish_group()?;
                continue;
            }
            let records = self.read_log(applied + 1, APPLY_BYTES)?;
            let mut group = self.replica.begin_logged();
            for record in records.into_iter().take_while(|record| record.index <= commit) {
                let position = Position { epoch: record.epoch, index: record.index };
                let logged = slotkv_storage::LogRecord::from_bytes(record.payload)?;
                self.replica.stage_record(&mut group, position, &logged)?;
                // What a record ends must be told to readers before rows go by a later one.
                let ends = logged.kind() == Kind::Handover && is_waited_for(&handover(&logged)?);
                if ends || group.ends_with_check() {
                    break;
                }
            }
            self.replica.apply(group)?;
            self.publish_ledger();
            if self.replica.applied().index == applied {
                return Err(Error::Misfit(format!("record {} is committed and not in the log", applied + 1)));
            }
            self.shard.set_applied(self.replica.applied(), self.replica.shown_index());
        }
        Ok(())
    }

    /// Whether clients' writes can be decided: this replica serves its epoch and has applied all of its log.
    pub(crate) fn serves(&self) -> bool {
        self.machine.is_serving() && self.replica.applied().index >= self.machine.commit_index()
    }

    async fn close(mut self) -> Result<(), Error> {
        self.sync_all().await?;
        self.replica.checkpoint_rows()?;
        self.engine.persist()?;
        let upto = self.droppable();
        drop(self.log.truncate_front(upto).await?);
        let Durable { records, syncs, .. } = self.durable;
        tracing::info!(records, syncs, "the log is closed");
        self.log.close().await
    }
}

/// Whether a replica in this state has taken its place in the shard.
pub fn is_placed(standing: &Standing) -> bool {
    !matches!(standing, Standing::Alone | Standing::Electing { .. } | Standing::Beginning)
}
