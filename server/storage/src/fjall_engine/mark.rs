//! The mark: format of the engine's folder, and the position that had been applied at the last persist.

use std::{fs, io, io::Write, path::Path};

use bytes::{Buf, BufMut};

use super::damaged;
use crate::{error::Error, keys::Position};

const FILE: &str = "mark";
const UNFINISHED_FILE: &str = "mark.new";
const MAGIC: &[u8; 8] = b"SLKVENG\0";
/// Format of the engine's folder.
const FORMAT: u32 = 1;
const BYTES: usize = 8 + 4 + 8 + 8 + 4;

/// The position of the last persist; `None` if there is no engine here yet.
pub fn read(folder: &Path) -> Result<Option<Position>, Error> {
    let path = folder.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path, "read", error)),
    };
    let mut rest = &bytes[..];
    if bytes.len() < 12 || !rest.starts_with(MAGIC) {
        return Err(damaged(folder, "its mark is none"));
    }
    rest.advance(8);
    let format = rest.get_u32_le();
    if format > FORMAT {
        let what = path.display().to_string();
        return Err(Error::NewerFormat { what, found: format, known: FORMAT });
    }
    if bytes.len() != BYTES || (&bytes[BYTES - 4..]).get_u32_le() != crc32c::crc32c(&bytes[..BYTES - 4]) {
        return Err(damaged(folder, "the checksum of its mark is wrong"));
    }
    Ok(Some(Position { epoch: rest.get_u64_le(), index: rest.get_u64_le() }))
}

/// Replaces the mark, durably.
pub fn write(folder: &Path, applied: Position) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.put_slice(MAGIC);
    bytes.put_u32_le(FORMAT);
    bytes.put_u64_le(applied.epoch);
    bytes.put_u64_le(applied.index);
    bytes.put_u32_le(crc32c::crc32c(&bytes));
    let unfinished = folder.join(UNFINISHED_FILE);
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(unfinished, folder.join(FILE))?;
    fs::File::open(folder)?.sync_all()
}
