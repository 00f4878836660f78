//! Segment: one file of the log, `<first index, 20 digits>.log`: a header, then frames with consecutive indexes. Only
//! the last segment grows; the next is begun when everything in it has been synced.

use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};

use super::{
    Identity, Record,
    frame::{self, HEADER_BYTES, Header},
};
use crate::{
    disk::{Disk, File, Open},
    error::Error,
};

const MAGIC: &[u8; 8] = b"SLKVLOG\0";
const FORMAT: u32 = 1;
/// Magic, format and length, which every format has.
const PREAMBLE_BYTES: usize = 16;
/// Longest header of a segment, in bytes.
pub const HEADER_BYTES_MAX: usize = 4096;
/// Longest cluster id and longest incarnation, in bytes.
pub const ID_BYTES_MAX: usize = 1024;
/// Bytes of frames between two places that are remembered.
const PLACE_BYTES: u64 = 64 << 10;
/// Most bytes that one read takes from the disk, one larger record aside.
const READ_BYTES_MAX: usize = 8 << 20;

/// What a segment's header says beside whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    pub generation: u64,
    pub first_index: u64,
    /// Epoch and chain of the frame before.
    pub epoch_before: u64,
    pub chain_before: u32,
}

/// One file of the log.
pub struct Segment {
    pub path: PathBuf,
    pub beginning: Beginning,
    pub salt: u32,
    /// Where its frames begin.
    pub frames_at: u64,
    /// Where its frames end.
    pub end: u64,
    pub last_index: u64,
    /// Index and offset of some frames, the first among them.
    places: Vec<(u64, u64)>,
}

/// Why a header is not one of this log's segment.
pub enum Unfit {
    /// Torn or damaged.
    Broken(&'static str),
    /// Whole, but refused.
    Refused(Error),
}

impl Segment {
    /// Makes a segment's file, durably, its name included. After an error the file may be there.
    pub async fn create(
        disk: &dyn Disk,
        dir: &Path,
        identity: &Identity,
        beginning: Beginning,
    ) -> Result<(Self, Box<dyn File>), Error> {
        let path = path_of(dir, beginning.first_index);
        let failed = |action| {
            let path = path.clone();
            move |source| Error::io(path, action, source)
        };
        let header = encode_header(identity, &beginning);
        let mut file = disk.open(&path, Open::Create).map_err(failed("create"))?;
        file.append(&header).map_err(failed("write"))?;
        file.sync().await.map_err(failed("sync"))?;
        disk.sync_dir(dir).map_err(failed("sync the folder of"))?;
        Ok((Self::new(path, identity, beginning, header.len() as u64), file))
    }

    /// An empty segment whose header ends at `frames_at`.
    pub fn new(path: PathBuf, identity: &Identity, beginning: Beginning, frames_at: u64) -> Self {
        Self {
            path,
            beginning,
            salt: salt_of(identity, beginning.generation, beginning.first_index),
            frames_at,
            end: frames_at,
            last_index: beginning.first_index - 1,
            places: Vec::new(),
        }
    }

    /// Takes note of a frame behind the last.
    pub fn add(&mut self, index: u64, frame_bytes: u64) {
        if self.places.last().is_none_or(|&(_, at)| self.end - at >= PLACE_BYTES) {
            self.places.push((index, self.end));
        }
        self.last_index = index;
        self.end += frame_bytes;
    }

    /// Forgets the frames from `index` on, which begins at `at`.
    pub fn cut(&mut self, index: u64, at: u64) {
        self.places.retain(|&(place, _)| place < index);
        self.last_index = index - 1;
        self.end = at;
    }

    /// Where the frame `index` begins, and the frame before it, if that is in this segment too.
    pub fn locate(&self, file: &dyn File, index: u64) -> Result<(u64, Option<Header>), Error> {
        if index == self.beginning.first_index {
            return Ok((self.frames_at, None));
        }
        let (mut at_index, mut at) = self.place_before(index - 1);
        loop {
            let mut bytes = [0; HEADER_BYTES];
            let count =
                file.read_at(&mut bytes, at).map_err(|source| Error::io(&self.path, "read", source))?;
            let header = Header::decode(&bytes);
            if count < HEADER_BYTES || header.index != at_index {
                return Err(self.damaged(at, at_index, "it is not the record that was written there"));
            }
            at += header.frame_bytes();
            if at_index + 1 == index {
                return Ok((at, Some(header)));
            }
            at_index += 1;
        }
    }

    /// Records from `from_index`, which it holds, on.
    pub fn read(&self, file: &dyn File, from_index: u64, bytes_max: usize) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        let (mut index, mut at) = self.place_before(from_index);
        let mut wanted = bytes_max.saturating_add(PLACE_BYTES as usize).min(READ_BYTES_MAX);
        let mut payload_bytes = 0usize;
        loop {
            let left = self.end.saturating_sub(at);
            if left < HEADER_BYTES as u64 {
                return Err(self.damaged(at, index, "the records before it have changed"));
            }
            let mut buffer = vec![0; (wanted as u64).min(left) as usize];
            let count =
                file.read_at(&mut buffer, at).map_err(|source| Error::io(&self.path, "read", source))?;
            if count < buffer.len() {
                return Err(self.damaged(at + count as u64, index, "the file has got shorter"));
            }
            let buffer = Bytes::from(buffer);
            let mut start = 0;
            let missing = loop {
                if index > self.last_index {
                    return Ok(records);
                }
                let Some(header) = buffer[start..].first_chunk().map(Header::decode) else {
                    break HEADER_BYTES;
                };
                if header.index != index || at + start as u64 + header.frame_bytes() > self.end {
                    return Err(self.damaged(at + start as u64, index, "its header has changed"));
                }
                let end = start + header.frame_bytes() as usize;
                if end > buffer.len() {
                    break end - start;
                }
                if index >= from_index {
                    if !frame::is_intact(&buffer[start..end], self.salt) {
                        return Err(self.damaged(at + start as u64, index, "its checksum is wrong"));
                    }
                    let payload = buffer.slice(start + HEADER_BYTES..end);
                    payload_bytes = payload_bytes.saturating_add(payload.len());
                    if payload_bytes > bytes_max && !records.is_empty() {
                        return Ok(records);
                    }
                    records.push(Record { index, epoch: header.epoch, payload });
                }
                index += 1;
                start = end;
            };
            if !records.is_empty() {
                return Ok(records);
            }
            at += start as u64;
            wanted = wanted.max(missing);
        }
    }

    /// A complaint about this file.
    pub fn damaged(&self, offset: u64, index: u64, why: impl Into<String>) -> Error {
        Error::Damaged { file: self.path.clone(), offset, index, why: why.into() }
    }

    fn place_before(&self, index: u64) -> (u64, u64) {
        let after = self.places.partition_point(|&(place, _)| place <= index);
        after.checked_sub(1).map_or((self.beginning.first_index, self.frames_at), |at| self.places[at])
    }
}

/// The file of a segment.
pub fn path_of(dir: &Path, first_index: u64) -> PathBuf {
    dir.join(format!("{first_index:020}.log"))
}

/// The first index of the segment with this file name.
pub fn first_index_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 20)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// With what the CRCs of a segment's frames begin.
pub fn salt_of(identity: &Identity, generation: u64, first_index: u64) -> u32 {
    let mut salt = crc32c::crc32c(identity.cluster_id.as_bytes());
    salt = crc32c::crc32c_append(salt, identity.incarnation.as_bytes());
    for number in [identity.shard.into(), generation, first_index] {
        salt = crc32c::crc32c_append(salt, &number.to_le_bytes());
    }
    salt
}

fn encode_header(identity: &Identity, beginning: &Beginning) -> Vec<u8> {
    let mut header = Vec::with_capacity(128);
    header.put_slice(MAGIC);
    header.put_u32_le(FORMAT);
    header.put_u32_le(0);
    header.put_u32_le(identity.shard);
    header.put_u64_le(beginning.generation);
    header.put_u64_le(beginning.first_index);
    header.put_u64_le(beginning.epoch_before);
    header.put_u32_le(beginning.chain_before);
    for id in [&identity.cluster_id, &identity.incarnation] {
        header.put_u16_le(id.len() as u16);
        header.put_slice(id.as_bytes());
    }
    let bytes = header.len() as u32 + 4;
    header[12..PREAMBLE_BYTES].copy_from_slice(&bytes.to_le_bytes());
    header.put_u32_le(crc32c::crc32c(&header));
    header
}

/// Reads the header that a file of at most [`HEADER_BYTES_MAX`] bytes begins with. Returns also its length.
pub fn decode_header(bytes: &[u8], path: &Path, identity: &Identity) -> Result<(Beginning, u64), Unfit> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or(Unfit::Broken("it does not begin as a segment"))?;
    let short = || Unfit::Broken("its header is cut off");
    let format = rest.try_get_u32_le().map_err(|_| short())?;
    if format > FORMAT {
        let what = path.display().to_string();
        return Err(Unfit::Refused(Error::NewerFormat { what, found: format, known: FORMAT }));
    }
    let length = rest.try_get_u32_le().map_err(|_| short())? as usize;
    let (body, crc) = bytes
        .get(..length)
        .filter(|_| length <= HEADER_BYTES_MAX)
        .and_then(|header| header.split_last_chunk::<4>())
        .ok_or_else(short)?;
    if u32::from_le_bytes(*crc) != crc32c::crc32c(body) {
        return Err(Unfit::Broken("the checksum of its header is wrong"));
    }
    let mut fields = body.get(PREAMBLE_BYTES..).ok_or_else(short)?;
    let fields = &mut fields;
    let mut read = || -> Option<_> {
        let shard = fields.try_get_u32_le().ok()?;
        let beginning = Beginning {
            generation: fields.try_get_u64_le().ok()?,
            first_index: fields.try_get_u64_le().ok()?,
            epoch_before: fields.try_get_u64_le().ok()?,
            chain_before: fields.try_get_u32_le().ok()?,
        };
        Some((shard, beginning, read_id(fields)?, read_id(fields)?))
    };
    let (shard, beginning, cluster_id, incarnation) = read().ok_or_else(short)?;
    let owners = [
        ("cluster", cluster_id, identity.cluster_id.clone()),
        ("shard", shard.to_string(), identity.shard.to_string()),
        ("incarnation", incarnation, identity.incarnation.clone()),
    ];
    for (what, found, expected) in owners {
        if found != expected {
            return Err(Unfit::Refused(Error::Foreign { file: path.into(), what, found, expected }));
        }
    }
    if beginning.first_index == 0 {
        return Err(Unfit::Broken("its first index is 0"));
    }
    Ok((beginning, length as u64))
}

fn read_id(fields: &mut &[u8]) -> Option<String> {
    let length = fields.try_get_u16_le().ok()?;
    let (id, rest) = fields.split_at_checked(length.into())?;
    *fields = rest;
    String::from_utf8(id.to_vec()).ok()
}
