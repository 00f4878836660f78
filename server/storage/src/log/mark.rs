//! Mark: the file `synced`. It tells which segments belong to the log and up to where the log had been synced, so that
//! damage below can be told from a torn tail. It is written after every sync and not synced itself, so it may be
//! behind; before the log gets shorter at either end it is synced.
//!
//! It holds two copies, each in a sector of its own, written in turn; the one with the higher turn counts. So a write
//! that tears leaves the one before, and that one is never wrong, only behind: what lowers the mark or moves the log's
//! beginning is synced into both.

use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut};

use crate::{
    disk::{Disk, File, Open},
    error::Error,
};

/// The mark's file.
pub const FILE: &str = "synced";
const MAGIC: &[u8; 8] = b"SLKVMRK\0";
const FORMAT: u32 = 1;
const COPY_AT: [u64; 2] = [0, 512];
const COPY_BYTES: usize = 8 + 4 + 8 + 1 + 8 * 4 + 4;

/// What the mark says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Segments of an earlier generation are what a reset left behind.
    pub generation: u64,
    /// Segments that begin before this index are what a truncation at the front left behind.
    pub first_index: u64,
    /// Epoch of the record before it.
    pub epoch_before: u64,
    /// Every record up to here has been synced.
    pub synced_index: u64,
    /// The log was closed in order.
    pub clean: bool,
}

/// The open file.
pub struct MarkFile {
    path: PathBuf,
    file: Box<dyn File>,
    turn: u64,
}

impl MarkFile {
    /// Makes the file, durably.
    pub async fn create(disk: &dyn Disk, dir: &Path, mark: &Mark) -> Result<Self, Error> {
        let path = dir.join(FILE);
        let failed = |action| move |source| Error::io(dir.join(FILE), action, source);
        if disk.exists(&path).map_err(failed("look for"))? {
            disk.remove(&path).map_err(failed("remove an unfinished"))?;
        }
        let mut file = disk.open(&path, Open::Create).map_err(failed("create"))?;
        file.append(&[0; 1024]).map_err(failed("write"))?;
        let mut mark_file = Self { path: path.clone(), file, turn: 0 };
        mark_file.write_synced(mark).await?;
        disk.sync_dir(dir).map_err(failed("sync the folder of"))?;
        Ok(mark_file)
    }

    /// Reads the file; `None` if there is none. The error is [`Error::Damaged`] if neither copy is intact.
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Option<(Self, Mark)>, Error> {
        let path = dir.join(FILE);
        let failed = |action| move |source| Error::io(dir.join(FILE), action, source);
        if !disk.exists(&path).map_err(failed("look for"))? {
            return Ok(None);
        }
        let bytes = disk.read(&path).map_err(failed("read"))?;
        let mut latest = None;
        for at in COPY_AT {
            let copy = bytes.get(at as usize..).and_then(|rest| rest.get(..COPY_BYTES)).unwrap_or_default();
            match decode(copy) {
                Copy::Intact(turn, mark) if latest.is_none_or(|(latest, _)| turn > latest) => {
                    latest = Some((turn, mark));
                }
                Copy::Intact(..) | Copy::Broken => {}
                Copy::Newer(found) => {
                    return Err(Error::NewerFormat {
                        what: path.display().to_string(),
                        found,
                        known: FORMAT,
                    });
                }
            }
        }
        let (turn, mark) = latest.ok_or_else(|| Error::Damaged {
            file: path.clone(),
            offset: 0,
            index: 0,
            why: "neither copy of the synced mark is intact".into(),
        })?;
        let file = disk.open(&path, Open::Existing).map_err(failed("open"))?;
        Ok(Some((Self { path, file, turn }, mark)))
    }

    /// Writes the mark; a crash may bring back the one before.
    pub fn write(&mut self, mark: &Mark) -> Result<(), Error> {
        self.turn += 1;
        let copy = encode(self.turn, mark);
        let at = COPY_AT[(self.turn % 2) as usize];
        self.file.write_at(&copy, at).map_err(|source| Error::io(&self.path, "write", source))
    }

    /// Writes the mark, durably and into both copies, so that no crash brings back what it said before.
    pub async fn write_synced(&mut self, mark: &Mark) -> Result<(), Error> {
        for _ in COPY_AT {
            self.write(mark)?;
            self.file.sync().await.map_err(|source| Error::io(&self.path, "sync", source))?;
        }
        Ok(())
    }
}

enum Copy {
    Intact(u64, Mark),
    Newer(u32),
    Broken,
}

fn encode(turn: u64, mark: &Mark) -> [u8; COPY_BYTES] {
    let mut copy = [0; COPY_BYTES];
    let mut rest = &mut copy[..];
    rest.put_slice(MAGIC);
    rest.put_u32_le(FORMAT);
    rest.put_u64_le(turn);
    rest.put_u8(mark.clean.into());
    rest.put_u64_le(mark.generation);
    rest.put_u64_le(mark.first_index);
    rest.put_u64_le(mark.epoch_before);
    rest.put_u64_le(mark.synced_index);
    let crc = crc32c::crc32c(&copy[..COPY_BYTES - 4]);
    copy[COPY_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    copy
}

fn decode(copy: &[u8]) -> Copy {
    let Some((body, mut crc)) = copy.split_last_chunk::<4>().map(|(body, crc)| (body, &crc[..])) else {
        return Copy::Broken;
    };
    let Some(mut rest) = body.strip_prefix(MAGIC) else { return Copy::Broken };
    let format = rest.get_u32_le();
    if format > FORMAT {
        return Copy::Newer(format);
    }
    if crc.get_u32_le() != crc32c::crc32c(body) {
        return Copy::Broken;
    }
    let turn = rest.get_u64_le();
    let clean = rest.get_u8() != 0;
    Copy::Intact(
        turn,
        Mark {
            clean,
            generation: rest.get_u64_le(),
            first_index: rest.get_u64_le(),
            epoch_before: rest.get_u64_le(),
            synced_index: rest.get_u64_le(),
        },
    )
}
