//! Search for intact frames behind an invalid one: what tells damage from a torn tail.
//!
//! An invalid frame is a torn tail if it is in the last segment, not below the mark, and no intact frame lies behind it.
//! An intact frame behind it means damage, with one exception: a disk that writes sectors in no particular order can
//! lose one in the middle of what was not synced. That is taken for a torn tail only if a whole sector of zeros lies
//! between, and no frame behind says that the missing one had been synced before.

use std::path::Path;

use super::{
    PAYLOAD_BYTES_MAX,
    frame::{self, HEADER_BYTES, Header},
    window::Window,
};
use crate::{disk::File, error::Error};

/// The smallest piece that a disk writes whole.
const SECTOR_BYTES: u64 = 512;
/// Bytes whose CRC is computed at most in one search. Past them the tail is not cut.
const SEARCH_BYTES_MAX: u64 = 1 << 30;

/// Looks for intact frames behind an invalid one.
pub struct Search<'a> {
    pub file: &'a dyn File,
    pub path: &'a Path,
    pub salt: u32,
    /// The record that should be at `start`.
    pub index: u64,
    /// Where the invalid frame begins.
    pub start: u64,
    /// Where the file ends.
    pub end: u64,
}

/// The intact frames behind an invalid one.
pub struct Behind {
    first_at: u64,
    /// The highest index that one of them says was synced.
    synced: u64,
}

impl Search<'_> {
    /// Whether a crash may have left the invalid frame; records up to `synced` had been synced.
    pub fn is_torn_tail(&self, synced: u64) -> Result<bool, Error> {
        if self.index <= synced {
            return Ok(false);
        }
        match self.run()? {
            None => Ok(true),
            Some(behind) => Ok(self.index > behind.synced && self.lacks_a_sector(behind.first_at)?),
        }
    }

    /// The intact frames there are. Fails as damaged if it cannot tell within bounds.
    pub fn run(&self) -> Result<Option<Behind>, Error> {
        let mut window = Window::new(self.file, self.path, self.end);
        // No more frames than this fit, so an index beyond is none of theirs.
        let index_max = self.index + (self.end - self.start) / HEADER_BYTES as u64;
        let mut behind: Option<Behind> = None;
        let mut summed_bytes = 0;
        let mut at = self.start + 1;
        while let Some(bytes) = window.bytes(at, HEADER_BYTES as u64)? {
            let Some(header) = bytes.first_chunk().map(Header::decode) else { break };
            let plausible = (self.index..=index_max).contains(&header.index)
                && header.payload_bytes as usize <= PAYLOAD_BYTES_MAX
                && at + header.frame_bytes() <= self.end;
            if !plausible {
                at += 1;
                continue;
            }
            summed_bytes += header.frame_bytes();
            if summed_bytes > SEARCH_BYTES_MAX {
                let why = "too much behind it looks like records to tell a torn tail from damage".into();
                return Err(Error::Damaged {
                    file: self.path.into(),
                    offset: self.start,
                    index: self.index,
                    why,
                });
            }
            let intact = window
                .bytes(at, header.frame_bytes())?
                .is_some_and(|frame| frame::is_intact(frame, self.salt));
            if intact {
                let synced = header.synced_index();
                let behind = behind.get_or_insert(Behind { first_at: at, synced });
                behind.synced = behind.synced.max(synced);
                at += header.frame_bytes();
            } else {
                at += 1;
            }
        }
        Ok(behind)
    }

    /// Whether a whole sector that begins before `upto` is zeros: it never got to the disk. Of the sector in which the
    /// invalid frame begins only its own part counts; the first bytes of the frame at `upto` may be zeros themselves.
    fn lacks_a_sector(&self, upto: u64) -> Result<bool, Error> {
        let mut window = Window::new(self.file, self.path, self.end);
        let mut at = self.start;
        while at < upto {
            let sector_end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
            let sector = window.bytes(at, sector_end.min(self.end) - at)?;
            if sector.is_some_and(|bytes| bytes.iter().all(|&byte| byte == 0)) {
                return Ok(true);
            }
            at = sector_end;
        }
        Ok(false)
    }
}
