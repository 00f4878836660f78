//! The folder of one replica: whose data it is, its log and its engine, and how they are brought together after a
//! start.
//!
//! ```text
//! DIR/lock          held while the process lives
//! DIR/replica.json  name, shard, incarnation, highest promised epoch
//! DIR/log/          the shard's log
//! DIR/engine/       what the log amounts to
//! ```

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use slotkv_coordination::registers::Durability;
use slotkv_proto::{SlotCount, seam::Chance, table::ShardId};
use slotkv_storage::{
    Disk, Engine, Error, Identity, Lock, Log, LogRecord, Position, RowCache, log, write_atomic,
};

use crate::{error::StartError, replica::Replica};

/// Format of `replica.json`.
const FORMAT: u32 = 1;
/// Log bytes replayed as one group.
const REPLAY_BYTES: usize = 4 << 20;
/// Incarnations that may wait for a lead to be confirmed. Past it the second oldest is dropped: the oldest is the one that
/// the register is known to have named, the others count only if an answer of the coordinator was lost.
const OPEN_INCS_MAX: usize = 256;
/// By how much log indexes and version counters are raised once the last interval's writes may be lost. They were
/// acknowledged and read, so their numbers must not be given again; nobody logs as many in an interval.
pub const LOSS_GAP: u64 = 1 << 32;

/// Opens the engine in a folder.
pub type OpenEngine = Arc<dyn Fn(&Path) -> Result<Arc<dyn Engine>, Error> + Send + Sync>;

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
    /// The incarnations since the last confirmed lead, the oldest first: each was left because an unsynced tail may be
    /// lost, and the register names one of them or `inc`.
    #[serde(default)]
    open_incs: Vec<String>,
    /// The incarnation that the log's files carry.
    log_inc: String,
    /// The highest epoch this replica has promised.
    pub promised_epoch: u64,
    /// The durability of its last run.
    durability: String,
}

impl Identification {
    /// Whether data that the register names so is what this folder holds, but for a tail that may be lost.
    pub fn holds(&self, inc: &str) -> bool {
        self.inc == inc || self.open_incs.iter().any(|open| open == inc)
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

/// A locked replica folder.
pub struct Home {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    lock: Box<dyn Lock>,
    identification: Option<Identification>,
}

/// Log and data of a replica, brought together.
pub struct Opened {
    /// The log.
    pub log: Log,
    /// The data.
    pub replica: Replica,
    /// The engine under the data.
    pub engine: Arc<dyn Engine>,
    /// Rows in memory.
    pub cache: Arc<RowCache>,
    /// Records that were replayed.
    pub replayed_count: u64,
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
        Ok(Self { disk, dir: dir.to_owned(), lock, identification })
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
        let inc = format!("{:016x}", chance.next_u64());
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
        })
        .await
    }

    /// Promises an epoch: returns once the promise is durable (protocol.md rule 2).
    pub async fn promise(&mut self, epoch: u64, durability: Durability) -> Result<(), Error> {
        let Some(mut identification) = self.identification.clone() else {
            return Err(Error::Misfit("a replica without identification promises nothing".into()));
        };
        if epoch < identification.promised_epoch {
            return Err(Error::Misfit(format!(
                "epoch {} is promised, {epoch} is lower",
                identification.promised_epoch
            )));
        }
        identification.promised_epoch = epoch;
        identification.durability = durability.to_string();
        self.store(identification).await
    }

    /// The register names the present incarnation, so that no earlier one counts any more.
    pub async fn confirm_lead(&mut self) -> Result<(), Error> {
        match &self.identification {
            Some(known) if !known.open_incs.is_empty() => {
                self.store(Identification { open_incs: Vec::new(), ..known.clone() }).await
            }
            _ => Ok(()),
        }
    }

    /// What keeps other processes out of the folder: for whoever writes to it last.
    pub fn into_lock(self) -> Box<dyn Lock> {
        self.lock
    }

    /// Opens log and engine and replays what the engine lacks. Under `interval` durability an unclean stop makes a new
    /// incarnation, whose log and versions go on behind a gap: acknowledged writes of the last interval may be missing.
    pub async fn open(
        &mut self,
        open_engine: &OpenEngine,
        cache: Arc<RowCache>,
        slots: SlotCount,
        segment_bytes: u64,
        chance: &dyn Chance,
    ) -> Result<Opened, StartError> {
        let Some(identification) = self.identification.clone() else {
            return Err(Error::Misfit("a replica without identification has no data".into()).into());
        };
        let log_dir = self.dir.join("log");
        if identification.promised_epoch > 0 && !Log::exists(&*self.disk, &log_dir)? {
            let Identification { shard, name, inc, .. } = identification;
            return Err(StartError::DataMissing { shard, name, inc });
        }
        let engine_dir = self.dir.join("engine");
        let identity = Identity {
            cluster_id: identification.cluster_id.clone(),
            shard: identification.shard,
            incarnation: identification.log_inc.clone(),
        };
        let options = log::Options { segment_bytes, ..log::Options::default() };
        let (mut log, recovery) = Log::open(self.disk.clone(), &log_dir, identity, options).await?;
        if recovery.cut_bytes > 0 {
            tracing::warn!(bytes = recovery.cut_bytes, "cut the torn tail of the log");
        }
        let engine = open_engine(&engine_dir)?;
        let mut replica = Replica::load(engine.clone(), cache.clone(), slots)?;

        let tail_may_be_lost =
            !recovery.created && !recovery.clean && identification.durability != Durability::Sync.to_string();
        if tail_may_be_lost {
            self.renew(identification, chance).await?;
        }
        let replayed_count = if tail_may_be_lost && replica.applied().index > log.last_index() {
            // The engine's batches reached the disk, the log's last records did not: the engine is the longer copy.
            if replica.checkpoint() < replica.applied() {
                replica.recount()?;
            }
            0
        } else {
            log.check_joins(replica.applied())?;
            replay(&mut replica, &log)?
        };
        if tail_may_be_lost {
            replica.skip(LOSS_GAP)?;
            // The new log begins behind what the engine holds, so the engine must hold it whatever happens next.
            engine.persist()?;
            log.reset(replica.applied()).await?;
        }
        Ok(Opened { log, replica, engine, cache, replayed_count })
    }

    async fn renew(&mut self, mut identification: Identification, chance: &dyn Chance) -> Result<(), Error> {
        let inc = format!("{:016x}", chance.next_u64());
        tracing::warn!(
            durability = identification.durability,
            "stopped without a sync: acknowledged writes of the last interval may be missing"
        );
        identification.open_incs.push(std::mem::replace(&mut identification.inc, inc));
        if identification.open_incs.len() > OPEN_INCS_MAX {
            identification.open_incs.remove(1);
        }
        self.store(identification).await
    }

    async fn store(&mut self, identification: Identification) -> Result<(), Error> {
        let file = self.dir.join("replica.json");
        let bytes = Stored::encode(identification.clone())
            .map_err(|error| Error::Misfit(format!("cannot encode {}: {error}", file.display())))?;
        write_atomic(&*self.disk, &file, &bytes).await?;
        self.identification = Some(identification);
        Ok(())
    }
}

/// Brings rows and results up to the end of the log. Returns how many records it took.
fn replay(replica: &mut Replica, log: &Log) -> Result<u64, Error> {
    let from = replica.checkpoint().index + 1;
    let mut next = from;
    loop {
        let records = log.read(next, REPLAY_BYTES)?;
        let Some(last) = records.last() else { break };
        next = last.index + 1;
        let mut group = replica.begin(0);
        for record in records {
            let position = Position { epoch: record.epoch, index: record.index };
            replica.stage_record(&mut group, position, &LogRecord::from_bytes(record.payload)?)?;
        }
        replica.apply(group)?;
    }
    Ok(next - from)
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
