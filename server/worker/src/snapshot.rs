//! Snapshots of a replica's data on their way to another replica: [`Source`] reads one in parts, [`Receiver`] makes an
//! engine of them, [`Sources`] has those that a host sends.
//!
//! A part is a format byte, the CRC-32C of what follows, its number (from 0), a byte that says whether it is the last, and
//! rows of the engine as they lie there: length of the key, length of the value, key, value. Numbers are u32,
//! little-endian. Rows come in the order of their keys, over all parts, so that the rows of a slot come before its slot row,
//! and deadlines last.
//!
//! What arrives comes from a network. Each part is checked by itself, the rows of each slot against the count and the
//! digest of its slot row, deadlines against the rows that have one, so neither a changed bit on the way nor a row that
//! rotted at the source is taken over.

use std::{
    collections::{BTreeMap, HashMap},
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use slotkv_migration::Ledger;
use slotkv_replication::Chunk;
use slotkv_storage::{Batch, Engine, Error, Ingestion, Position, Reader, Row, SlotRow, keys};

use crate::{
    handover::refused,
    replica::{
        self, APPLIED_LEDGER, APPLIED_SHOWN_BASE, CHECKPOINT, LEDGER, LOGGED_TIME, NEEDED_SHOWN, Replica,
        SHOWN_BASE,
    },
    retry::SlotResults,
};

/// Format of a part.
const FORMAT: u8 = 1;
const CRC_BYTES: usize = 5;
const HEAD_BYTES: usize = CRC_BYTES + 5;
const LENGTHS_BYTES: usize = 8;
/// Meta rows that hold a number.
const NUMBERS: [&str; 4] = [LOGGED_TIME, SHOWN_BASE, NEEDED_SHOWN, APPLIED_SHOWN_BASE];

/// A snapshot of a replica's data that is read in parts.
pub struct Source {
    reader: Box<dyn Reader>,
    at: Position,
    /// Of the next part.
    number: u32,
    /// The last key that was read.
    after: Option<Bytes>,
}

impl Source {
    /// Begins a snapshot of what is applied now: rows, slot rows, results, logged time and shown base of one position.
    pub fn open(replica: &mut Replica, engine: &dyn Engine) -> Result<Self, Error> {
        let at = replica.checkpoint_rows()?;
        Ok(Self { reader: engine.snapshot()?, at, number: 0, after: None })
    }

    /// The last record that the snapshot holds.
    pub fn at(&self) -> Position {
        self.at
    }

    /// Reads the next part for [`Sources::loaded`]. Blocks.
    pub fn load(mut self, snapshot: u64, bytes_max: usize) -> Loaded {
        let part = self.chunk(bytes_max);
        Loaded { snapshot, source: self, part }
    }

    /// The next part, of at most `bytes_max` bytes unless a single row is larger, and whether it is the last. Blocks.
    pub fn chunk(&mut self, bytes_max: usize) -> Result<(Bytes, bool), Error> {
        let mut part = BytesMut::with_capacity(bytes_max);
        part.put_u8(FORMAT);
        part.put_u32_le(0);
        part.put_u32_le(self.number);
        part.put_u8(0);
        let mut last = 0..0;
        let mut is_last = true;
        let after = self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.reader.scan((after, Bound::Unbounded), &mut |key, value| {
            let bytes = LENGTHS_BYTES + key.len() + value.len();
            if part.len() > HEAD_BYTES && part.len() + bytes > bytes_max {
                is_last = false;
                return ControlFlow::Break(());
            }
            part.put_u32_le(key.len() as u32);
            part.put_u32_le(value.len() as u32);
            last = part.len()..part.len() + key.len();
            part.put_slice(key);
            part.put_slice(value);
            ControlFlow::Continue(())
        })?;
        part[HEAD_BYTES - 1] = is_last.into();
        let crc = crc32c::crc32c(&part[CRC_BYTES..]);
        part[1..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
        self.number = self.number.wrapping_add(1);
        if !last.is_empty() {
            // Not a slice of the part, which would keep all of it in memory.
            self.after = Some(Bytes::copy_from_slice(&part[last]));
        }
        Ok((part.freeze(), is_last))
    }
}

/// Snapshots on their way out, by number. Their parts are read on other threads, one of each at a time, since a part
/// takes milliseconds.
#[derive(Default)]
pub struct Sources(HashMap<u64, Option<Source>>);

/// A part that was read, and where the next one comes from.
pub struct Loaded {
    /// The number of its snapshot.
    pub snapshot: u64,
    source: Source,
    part: Result<(Bytes, bool), Error>,
}

impl Sources {
    /// Takes out the snapshot, which [`Sources::loaded`] brings back, or opens it if it is new. `None`: it is being read.
    pub fn take(
        &mut self,
        snapshot: u64,
        open: impl FnOnce() -> Result<Source, Error>,
    ) -> Result<Option<Source>, Error> {
        match self.0.get_mut(&snapshot) {
            Some(source) => Ok(source.take()),
            None => {
                let source = open()?;
                self.0.insert(snapshot, None);
                Ok(Some(source))
            }
        }
    }

    /// Takes a snapshot back, unless it was closed meanwhile or cannot be read further. Returns its part.
    pub fn loaded(&mut self, loaded: Loaded) -> Result<Chunk, Error> {
        let Loaded { snapshot, source, part } = loaded;
        let at_index = source.at().index;
        match part {
            Ok((bytes, is_last)) => {
                if let Some(open) = self.0.get_mut(&snapshot) {
                    *open = Some(source);
                }
                Ok(Chunk { at_index, bytes, is_last })
            }
            Err(error) => {
                self.close(snapshot);
                Err(error)
            }
        }
    }

    /// Forgets a snapshot.
    pub fn close(&mut self, snapshot: u64) {
        self.0.remove(&snapshot);
    }
}

/// Makes an engine of the parts of a snapshot.
pub struct Receiver {
    /// Begun by the first part. Dropped before the engine.
    ingestion: Option<Box<dyn Ingestion>>,
    engine: Arc<dyn Engine>,
    /// Rows that say how far the others go: they are written when all of those are there.
    bounds: Batch,
    /// Of the next part.
    number: u32,
    /// The last key that was taken.
    last: Bytes,
    /// What the rows of each slot amount to, until its slot row has come.
    sums: BTreeMap<u16, SlotRow>,
    /// What the rows with a deadline amount to, less the deadlines.
    ending: u128,
    applied: Option<Position>,
    checkpoint: Option<Position>,
    /// The last part has come.
    is_whole: bool,
}

impl Receiver {
    /// Takes the parts into an engine that holds no rows.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self {
            ingestion: None,
            engine,
            bounds: Batch::new(),
            number: 0,
            last: Bytes::new(),
            sums: BTreeMap::new(),
            ending: 0,
            applied: None,
            checkpoint: None,
            is_whole: false,
        }
    }

    /// Takes the next part. After an error the snapshot is of no use. Blocks.
    pub fn add(&mut self, part: &Bytes) -> Result<(), Error> {
        let (number, is_last, mut rest) = checked(part)?;
        if self.is_whole || number != self.number {
            return Err(malformed(format!("part {number} comes when {} of them have come", self.number)));
        }
        self.number = number.wrapping_add(1);
        self.is_whole = is_last;
        let mut rows = Batch::new();
        while !rest.is_empty() {
            let (key, value) = split_row(&mut rest)?;
            if key <= self.last {
                return Err(malformed("its rows are not in the order of their keys"));
            }
            self.last = key.clone();
            match self.check_row(&key, &value)? {
                Tells::Data => rows.put(key, value),
                // The part must not stay in memory for them.
                Tells::Bounds => {
                    self.bounds.put(Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value));
                }
            }
        }
        // Nor for this one.
        self.last = Bytes::copy_from_slice(&self.last);
        if self.ingestion.is_none() {
            self.ingestion = Some(self.engine.clone().ingest()?);
        }
        self.ingestion.as_mut().map_or(Ok(()), |ingestion| ingestion.add(rows))
    }

    /// Checks that the snapshot is whole and holds everything up to `at`. The engine is not durable yet.
    pub fn finish(self, at: Position) -> Result<Arc<dyn Engine>, Error> {
        if !self.is_whole {
            return Err(malformed("its last part is missing"));
        }
        let (applied, checkpoint) = (self.applied, self.checkpoint);
        if (applied, checkpoint) != (Some(at), Some(at)) {
            return Err(malformed(format!(
                "it is to hold everything up to {at:?}; it has rows up to {applied:?} and results up to {checkpoint:?}"
            )));
        }
        if self.ending != 0 {
            return Err(malformed("its deadlines are not those of its rows"));
        }
        if let Some((slot, _)) = self.sums.first_key_value() {
            return Err(malformed(format!("slot {slot} has rows and no slot row")));
        }
        if let Some(ingestion) = self.ingestion {
            ingestion.finish()?;
        }
        self.engine.write(self.bounds)?;
        Ok(self.engine)
    }

    fn check_row(&mut self, key: &[u8], value: &[u8]) -> Result<Tells, Error> {
        if key.starts_with(&keys::data_key_prefix()) {
            let (version, expires_ms, value) = Row::peek(value)?;
            if expires_ms != 0 {
                self.ending = self.ending.wrapping_add(digest_of_deadline(expires_ms, key));
            }
            let key = keys::DataKey::decode(key)?;
            let sums = self.sums.entry(key.slot).or_default();
            replica::add(sums, key.namespace, key.key, version, value);
            return Ok(Tells::Data);
        }
        if key.starts_with(&keys::slot_key_prefix()) {
            let slot = keys::decode_slot_key(key)?;
            let row = SlotRow::decode(value)?;
            let sums = self.sums.remove(&slot).unwrap_or_default();
            if (sums.count, sums.bytes, sums.digest) != (row.count, row.bytes, row.digest) {
                return Err(malformed(format!(
                    "slot {slot} has {} rows of {} bytes with digest {:032x}, and its slot row counts {} of {} with {:032x}",
                    sums.count, sums.bytes, sums.digest, row.count, row.bytes, row.digest
                )));
            }
            return Ok(Tells::Data);
        }
        if key.starts_with(&keys::retry_key_prefix(None)) {
            keys::decode_retry_key(key)?;
            SlotResults::decode(value).map_err(malformed)?;
            return Ok(Tells::Data);
        }
        if key.starts_with(&keys::deadline_key_prefix()) {
            let (expires_ms, data_key) = keys::decode_deadline_key(key)?;
            keys::DataKey::decode(data_key)?;
            if expires_ms == 0 || !value.is_empty() {
                return Err(malformed("a deadline is none"));
            }
            self.ending = self.ending.wrapping_sub(digest_of_deadline(expires_ms, data_key));
            return Ok(Tells::Data);
        }
        if key == keys::applied_key() {
            self.applied = Some(Position::decode(value)?);
        } else if key == keys::meta_key(CHECKPOINT) {
            self.checkpoint = Some(Position::decode(value)?);
        } else if let Some(name) = NUMBERS.into_iter().find(|name| key == keys::meta_key(name)) {
            replica::decode_number(name, value)?;
        } else if [LEDGER, APPLIED_LEDGER].iter().any(|name| key == keys::meta_key(name)) {
            Ledger::from_bytes(Bytes::copy_from_slice(value)).map_err(refused)?;
        } else {
            return Err(malformed("it has a row of a kind that is not known"));
        }
        Ok(Tells::Bounds)
    }
}

/// What a row is about.
enum Tells {
    Data,
    /// How far the data goes.
    Bounds,
}

/// The number of a part that is as it was sent, whether it is the last, and its rows.
fn checked(part: &Bytes) -> Result<(u32, bool, Bytes), Error> {
    let Some((head, body)) = part.split_first_chunk::<CRC_BYTES>() else {
        return Err(malformed("a part is shorter than its head"));
    };
    let [format, crc @ ..] = *head;
    match format {
        FORMAT => {}
        0 => return Err(malformed("a part has format 0")),
        _ => {
            let (found, known) = (format.into(), FORMAT.into());
            return Err(Error::NewerFormat { what: "part of a snapshot".into(), found, known });
        }
    }
    if u32::from_le_bytes(crc) != crc32c::crc32c(body) {
        return Err(malformed("a part's checksum is wrong"));
    }
    match body.split_first_chunk::<5>() {
        Some((&[number @ .., is_last @ 0..=1], _)) => {
            Ok((u32::from_le_bytes(number), is_last == 1, part.slice(HEAD_BYTES..)))
        }
        _ => Err(malformed("a part does not say which it is")),
    }
}

/// Takes the first row off; key and value share the part's bytes.
fn split_row(rows: &mut Bytes) -> Result<(Bytes, Bytes), Error> {
    let cut_off = || malformed("a part ends inside of a row");
    if rows.len() < LENGTHS_BYTES {
        return Err(cut_off());
    }
    let (key, value) = (rows.get_u32_le() as usize, rows.get_u32_le() as usize);
    if key > rows.len() || value > rows.len() - key {
        return Err(cut_off());
    }
    Ok((rows.split_to(key), rows.split_to(value)))
}

fn digest_of_deadline(expires_ms: u64, data_key: &[u8]) -> u128 {
    keys::digest_of("", data_key, expires_ms, b"")
}

fn malformed(why: impl Into<String>) -> Error {
    Error::Malformed { what: "snapshot", why: why.into() }
}
