//! The folder of one replica: whose data it is, its log and its engine, and how they are brought together after a
//! start.
//!
//! ```text
//! DIR/lock          held while the process lives
//! DIR/replica.json  name, shard, incarnation, what was promised, which engine is in force
//! DIR/log/          the shard's log
//! DIR/engine/       what the log amounts to
//! DIR/engine.1/     the next one: a snapshot that is being received, and then in force
//! ```
//!
//! Invariants:
//! - What is in force changes by the replacement of `replica.json` alone. A snapshot is durable before the file names its
//!   engine, and the same file says that the log of before does not count; so a crash leaves the old log with the old
//!   engine or a new log behind the new one.
//! - Engines that the file does not name are what something unfinished left: the next opening removes them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use slotkv_coordination::registers::Durability;
use slotkv_proto::{SlotCount, seam::Chance, table::ShardId};
use slotkv_replication::{History, Promise, history};
use slotkv_storage::{
    Disk, Engine, Engines, Error, Identity, Lock, Log, Position, RowCache, log, write_atomic,
};

use crate::{error::StartError, replica::Replica, snapshot::Receiver};

/// Format of `replica.json`; files of format 1 have no lease, one engine, and a log that is in force.
const FORMAT: u32 = 2;
/// Incarnations that may wait for a register that names the present one. Past it the second oldest is dropped: the oldest
/// is the one that the register is known to have named, the others count only if an answer of the coordinator was lost.
const OPEN_INCS_MAX: usize = 256;
const LOG: &str = "log";
const ENGINE: &str = "engine";

/// Whose data a folder holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identification {
    format: u32,
    /// Which cluster.
    pub cluster_id: String,
    /// The replica's name.
    pub name: String,
    /// Its shard.
    pub shard: ShardId,
    /// Names the data (protocol.md, storage incarnation).
    pub inc: String,
    /// The incarnations since a register last named the present one, the oldest first: each was left because an unsynced
    /// tail may be lost, and the register names one of them or `inc`.
    #[serde(default)]
    open_incs: Vec<String>,
    /// The incarnation that the log's files carry.
    log_inc: String,
    /// The highest epoch this replica has promised.
    pub promised_epoch: u64,
    /// The durability of its last run.
    durability: String,
    /// The longest lease that may have been granted under a promise.
    #[serde(default, skip_serializing_if = "is_zero")]
    lease_us: u64,
    /// The engine in force: 0 is `engine`, 1 is `engine.1`.
    #[serde(default, skip_serializing_if = "is_zero")]
    engine: u64,
    /// The log that is there is not in force: a new one begins behind this record, which the engine holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log_begins: Option<Begin>,
}

/// Where a log begins that is still to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begin {
    epoch: u64,
    index: u64,
}

// The signature that serde asks for.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Identification {
    /// Whether data that the register names so is what this folder holds, but for a tail that may be lost.
    pub fn holds(&self, inc: &str) -> bool {
        self.inc == inc || self.open_incs.iter().any(|open| open == inc)
    }

    fn promise(&self) -> Promise {
        Promise { epoch: self.promised_epoch, lease_us: self.lease_us }
    }

    fn engine_name(&self) -> String {
        engine_name(self.engine)
    }
}

fn engine_name(number: u64) -> String {
    if number == 0 { ENGINE.to_owned() } else { format!("{ENGINE}.{number}") }
}

/// The number of an engine's folder.
fn engine_number(name: &str) -> Option<u64> {
    match name.strip_prefix(ENGINE)? {
        "" => Some(0),
        rest => rest.strip_prefix('.')?.parse().ok().filter(|number| engine_name(*number) == name),
    }
}

/// What `replica.json` holds: no bit of it may change unnoticed, of a promise least of all.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    identification: Identification,
    /// CRC-32C of the identification as JSON without spaces.
    #[serde(default)]
    crc: Option<u32>,
}

impl Stored {
    fn crc_of(identification: &Identification) -> serde_json::Result<u32> {
        serde_json::to_vec(identification).map(|bytes| crc32c::crc32c(&bytes))
    }

    fn encode(identification: Identification) -> serde_json::Result<Vec<u8>> {
        let crc = Some(Self::crc_of(&identification)?);
        serde_json::to_vec_pretty(&Self { identification, crc })
    }
}

/// A locked replica folder, held for as long as anything of it is written.
pub struct Home {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    identification: Option<Identification>,
    engines: Option<Arc<dyn Engines>>,
    staging: Option<Staging>,
    /// Dropped last.
    _lock: Box<dyn Lock>,
}

/// A snapshot that is being received, in an engine of its own.
struct Staging {
    number: u64,
    receiver: Receiver,
}

/// Log and data of a replica, brought together.
pub struct Opened {
    /// The log. Behind what the data has applied it may hold records that are not committed.
    pub log: Log,
    /// The log's outline.
    pub history: History,
    /// The data.
    pub replica: Replica,
    /// The engine under the data.
    pub engine: Arc<dyn Engine>,
    /// Rows in memory.
    pub cache: Arc<RowCache>,
    /// Records whose results were read from the log.
    pub replayed_count: u64,
}

/// The data of a snapshot that has taken the place of what was there.
pub struct Installed {
    /// The data.
    pub replica: Replica,
    /// The engine under it.
    pub engine: Arc<dyn Engine>,
}

impl Home {
    /// Takes the folder for this process, making it if there is none.
    pub fn lock(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, Error> {
        disk.create_dir_all(dir).map_err(|error| Error::io(dir, "create", error))?;
        let lock = disk.lock(dir)?;
        let file = dir.join("replica.json");
        let identification = match disk.exists(&file).map_err(|error| Error::io(&file, "look for", error))? {
            false => None,
            true => {
                let bytes = disk.read(&file).map_err(|error| Error::io(&file, "read", error))?;
                Some(parse(&file, &bytes)?)
            }
        };
        Ok(Self { disk, dir: dir.to_owned(), identification, engines: None, staging: None, _lock: lock })
    }

    /// Whose data the folder holds; `None` if it is empty.
    pub fn identification(&self) -> Option<&Identification> {
        self.identification.as_ref()
    }

    /// Says whose data an empty folder is going to hold.
    pub async fn identify(
        &mut self,
        cluster_id: &str,
        name: &str,
        shard: ShardId,
        chance: &dyn Chance,
    ) -> Result<(), Error> {
        let inc = new_inc(chance);
        self.store(Identification {
            format: FORMAT,
            cluster_id: cluster_id.into(),
            name: name.into(),
            shard,
            inc: inc.clone(),
            open_incs: Vec::new(),
            log_inc: inc,
            promised_epoch: 0,
            durability: Durability::Sync.to_string(),
            lease_us: 0,
            engine: 0,
            log_begins: None,
        })
        .await
    }

    /// What has been promised, as it is on the disk.
    pub fn promise(&self) -> Promise {
        self.identification.as_ref().map(Identification::promise).unwrap_or_default()
    }

    /// Keeps a promise: returns once it is durable (protocol.md rule 2).
    pub async fn keep_promise(&mut self, promise: Promise) -> Result<(), Error> {
        let known = self.known()?;
        if promise.epoch < known.promised_epoch {
            let text = format!("epoch {} is promised, {} is lower", known.promised_epoch, promise.epoch);
            return Err(Error::Misfit(text));
        }
        if promise == known.promise() {
            return Ok(());
        }
        let Promise { epoch, lease_us } = promise;
        self.store(Identification { promised_epoch: epoch, lease_us, ..known }).await
    }

    /// Says when what is logged from now on is durable, which decides at the next start whether a tail may be lost.
    /// Returns once that is durable. The log must have been synced before it goes over to [`Durability::Sync`].
    pub async fn set_durability(&mut self, durability: Durability) -> Result<(), Error> {
        let (known, durability) = (self.known()?, durability.to_string());
        if durability == known.durability {
            return Ok(());
        }
        self.store(Identification { durability, ..known }).await
    }

    /// The incarnations that this data was before unclean stops that may have taken a tail, since a register last named
    /// the present one; the oldest first.
    pub fn remains_of(&self) -> Vec<String> {
        self.identification.as_ref().map(|known| known.open_incs.clone()).unwrap_or_default()
    }

    /// A register names the present incarnation, so that no earlier one counts any more.
    pub async fn confirm_inc(&mut self) -> Result<(), Error> {
        let known = self.known()?;
        if known.open_incs.is_empty() {
            return Ok(());
        }
        self.store(Identification { open_incs: Vec::new(), ..known }).await
    }

    /// Opens log and engine, removes what an unfinished snapshot left, and brings back results and slot rows of what the
    /// engine holds. Records behind that stay in the log: whether they are committed is not known here. Under `interval`
    /// durability an unclean stop makes a new incarnation: acknowledged writes of the last interval may be missing.
    pub async fn open(
        &mut self,
        engines: &Arc<dyn Engines>,
        cache: Arc<RowCache>,
        slots: SlotCount,
        segment_bytes: u64,
        chance: &dyn Chance,
    ) -> Result<Opened, StartError> {
        self.engines = Some(engines.clone());
        self.staging = None;
        let known = self.known()?;
        let log_dir = self.dir.join(LOG);
        let begins = known.log_begins.map(|Begin { epoch, index }| Position { epoch, index });
        if begins.is_some() {
            self.drop_log(&log_dir)?;
        } else if known.promised_epoch > 0 && !Log::exists(&*self.disk, &log_dir)? {
            let Identification { shard, name, inc, .. } = known;
            return Err(StartError::DataMissing { shard, name, inc });
        }
        self.drop_other_engines()?;
        let identity = Identity {
            cluster_id: known.cluster_id.clone(),
            shard: known.shard,
            incarnation: known.log_inc.clone(),
        };
        let options = log::Options { segment_bytes, start_after: begins.unwrap_or_default() };
        let (mut log, recovery) = Log::open(self.disk.clone(), &log_dir, identity, options).await?;
        if begins.is_some() {
            self.store(Identification { log_begins: None, ..known.clone() }).await?;
        }
        if recovery.cut_bytes > 0 {
            tracing::warn!(bytes = recovery.cut_bytes, "cut the torn tail of the log");
        }
        let engine = engines.open(&self.dir.join(known.engine_name()))?;
        let mut replica = Replica::load(engine.clone(), cache.clone(), slots)?;

        let tail_may_be_lost =
            !recovery.created && !recovery.clean && known.durability != Durability::Sync.to_string();
        if tail_may_be_lost {
            self.renew(chance).await?;
        }
        let applied = replica.applied();
        let replayed_count = if tail_may_be_lost && applied.index > log.last_index() {
            // The engine's batches reached the disk, the log's last records did not: the engine is the longer copy. The
            // log begins behind what the engine holds, so the engine must hold it whatever happens next.
            if replica.checkpoint() < applied {
                replica.recount()?;
            }
            engine.persist()?;
            log.reset(applied).await?;
            0
        } else {
            log.check_joins(applied)?;
            let from = replica.checkpoint().index + 1;
            replica.apply_log(&log, from, applied.index)?
        };
        let starts = log.epochs().iter().map(|&Position { epoch, index }| history::Position { epoch, index });
        let history = History::restore(starts.collect(), log.last_index());
        Ok(Opened { log, history, replica, engine, cache, replayed_count })
    }

    /// Begins to receive a snapshot, beside the data; what was received of another is dropped.
    pub async fn begin_snapshot(&mut self) -> Result<(), Error> {
        self.staging = None;
        let highest = self.drop_other_engines()?;
        let number = highest + 1;
        let engine = self.engines()?.open(&self.dir.join(engine_name(number)))?;
        self.staging = Some(Staging { number, receiver: Receiver::new(engine) });
        Ok(())
    }

    /// Adds the next part of the snapshot. After an error the snapshot is of no use, and begins anew. Blocks.
    pub fn add_part(&mut self, bytes: &Bytes) -> Result<(), Error> {
        let staging = self.staging.as_mut().ok_or_else(|| Error::Misfit("no snapshot was begun".into()))?;
        staging.receiver.add(bytes)
    }

    /// Puts the snapshot, which holds everything up to `at`, in the place of log and data: at once or not at all. The log
    /// goes on behind `at`. `cache` must be one that nobody fills from the old engine any more. After an error the process
    /// is to end, unless it [`Error::is_damage`]: then the snapshot was no good, and everything is as it was.
    pub async fn install(
        &mut self,
        log: &mut Log,
        at: Position,
        cache: Arc<RowCache>,
        slots: SlotCount,
    ) -> Result<Installed, Error> {
        let staging = self.staging.take().ok_or_else(|| Error::Misfit("no snapshot was begun".into()))?;
        let engine = staging.receiver.finish(at)?;
        let replica = Replica::load(engine.clone(), cache, slots)?;
        engine.persist()?;
        let known = self.known()?;
        let log_begins = Some(Begin { epoch: at.epoch, index: at.index });
        self.store(Identification { engine: staging.number, log_begins, ..known.clone() }).await?;
        log.reset(at).await?;
        self.store(Identification { engine: staging.number, log_begins: None, ..known.clone() }).await?;
        // What cannot be removed now is by the next opening.
        if let Err(error) = self.engines()?.remove(&self.dir.join(known.engine_name())) {
            tracing::warn!(%error, "the engine of before stays on the disk");
        }
        Ok(Installed { replica, engine })
    }

    /// Gives the data up, log and all: the next [`Home::open`] begins with none, under a new incarnation. What was promised
    /// stays promised.
    pub async fn discard(&mut self, chance: &dyn Chance) -> Result<(), Error> {
        self.staging = None;
        let known = self.known()?;
        let inc = new_inc(chance);
        let others =
            self.engines.as_ref().map_or(Ok(Vec::new()), |engines| self.engine_numbers(&**engines))?;
        let engine = others.into_iter().fold(known.engine, u64::max) + 1;
        self.store(Identification {
            inc: inc.clone(),
            open_incs: Vec::new(),
            log_inc: inc,
            engine,
            log_begins: Some(Begin { epoch: 0, index: 0 }),
            ..known
        })
        .await
    }

    async fn renew(&mut self, chance: &dyn Chance) -> Result<(), Error> {
        let mut known = self.known()?;
        tracing::warn!(
            durability = known.durability,
            "stopped without a sync: acknowledged writes of the last interval may be missing"
        );
        known.open_incs.push(std::mem::replace(&mut known.inc, new_inc(chance)));
        if known.open_incs.len() > OPEN_INCS_MAX {
            known.open_incs.remove(1);
        }
        self.store(known).await
    }

    /// Removes the files of a log that is not in force.
    fn drop_log(&self, dir: &Path) -> Result<(), Error> {
        if !self.disk.exists(dir).map_err(|error| Error::io(dir, "look for", error))? {
            return Ok(());
        }
        for name in self.disk.list(dir).map_err(|error| Error::io(dir, "list", error))? {
            let file = dir.join(name);
            self.disk.remove(&file).map_err(|error| Error::io(&file, "remove", error))?;
        }
        self.disk.sync_dir(dir).map_err(|error| Error::io(dir, "sync the folder", error))
    }

    /// Removes every engine but the one in force. Returns the highest number that was found.
    fn drop_other_engines(&self) -> Result<u64, Error> {
        let (engines, in_force) = (self.engines()?, self.known()?.engine);
        let mut highest = in_force;
        for number in self.engine_numbers(&*engines)? {
            highest = highest.max(number);
            if number != in_force {
                engines.remove(&self.dir.join(engine_name(number)))?;
            }
        }
        Ok(highest)
    }

    fn engine_numbers(&self, engines: &dyn Engines) -> Result<Vec<u64>, Error> {
        Ok(engines.names(&self.dir)?.iter().filter_map(|name| engine_number(name)).collect())
    }

    fn engines(&self) -> Result<Arc<dyn Engines>, Error> {
        self.engines.clone().ok_or_else(|| Error::Misfit("the replica's data has not been opened".into()))
    }

    fn known(&self) -> Result<Identification, Error> {
        let none = || Error::Misfit("a replica without identification has no data".into());
        self.identification.clone().ok_or_else(none)
    }

    async fn store(&mut self, identification: Identification) -> Result<(), Error> {
        let identification = Identification { format: FORMAT, ..identification };
        let file = self.dir.join("replica.json");
        let bytes = Stored::encode(identification.clone())
            .map_err(|error| Error::Misfit(format!("cannot encode {}: {error}", file.display())))?;
        write_atomic(&*self.disk, &file, &bytes).await?;
        self.identification = Some(identification);
        Ok(())
    }
}

fn new_inc(chance: &dyn Chance) -> String {
    format!("{:016x}", chance.next_u64())
}

fn parse(file: &Path, bytes: &[u8]) -> Result<Identification, Error> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let because = |why: String| Error::Damaged { file: file.into(), offset: 0, index: 0, why };
    let damaged = |error: serde_json::Error| because(error.to_string());
    let Head { format } = serde_json::from_slice(bytes).map_err(damaged)?;
    if format > FORMAT {
        let what = file.display().to_string();
        return Err(Error::NewerFormat { what, found: format, known: FORMAT });
    }
    let Stored { identification, crc } = serde_json::from_slice(bytes).map_err(damaged)?;
    let expected = Stored::crc_of(&identification).map_err(damaged)?;
    if crc.is_some_and(|crc| crc != expected) {
        return Err(because("its checksum is wrong".into()));
    }
    Ok(identification)
}
