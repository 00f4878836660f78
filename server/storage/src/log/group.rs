//! Group: records that are appended with one write.

use super::{
    Log, PAYLOAD_BYTES_MAX,
    frame::{self, HEADER_BYTES},
};
use crate::{error::Error, keys::Position};

/// Most bytes of one group; the record that would pass them is refused, the group stays as it was.
pub const GROUP_BYTES_MAX: usize = 128 << 20;
/// A buffer that has grown past this gives its memory back after the group.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// Records that are appended with one write. Dropped without a commit, it leaves nothing.
pub struct Group<'a> {
    log: &'a mut Log,
    last: Position,
    chain: u32,
    /// Bytes of each frame.
    frames: u64,
    /// First records of epochs that begin in the group.
    epochs: Vec<Position>,
}

impl<'a> Group<'a> {
    pub(super) fn new(log: &'a mut Log) -> Self {
        log.buffer.clear();
        log.frame_ends.clear();
        let (last, chain) = (log.last, log.chain);
        Self { log, last, chain, frames: 0, epochs: Vec::new() }
    }

    /// Adds a record; `encode` appends its payload to the buffer and leaves what is there alone. Returns its index.
    /// After an error the group is as before.
    pub fn push(&mut self, epoch: u64, encode: impl FnOnce(&mut Vec<u8>)) -> Result<u64, Error> {
        if epoch < self.last.epoch {
            return Err(Error::Misfit(format!(
                "a record of epoch {epoch} cannot follow one of epoch {}",
                self.last.epoch
            )));
        }
        let buffer = &mut self.log.buffer;
        let start = buffer.len();
        buffer.extend_from_slice(&[0; HEADER_BYTES]);
        encode(buffer);
        let payload_bytes = buffer.len().saturating_sub(start + HEADER_BYTES);
        let too_large = if payload_bytes > PAYLOAD_BYTES_MAX {
            Some(Error::TooLarge { bytes: payload_bytes, max: PAYLOAD_BYTES_MAX })
        } else if buffer.len() > GROUP_BYTES_MAX {
            Some(Error::TooLarge { bytes: buffer.len(), max: GROUP_BYTES_MAX })
        } else {
            None
        };
        if let Some(error) = too_large {
            buffer.truncate(start);
            return Err(error);
        }
        let index = self.last.index + 1;
        let salt = self.log.tail.salt;
        self.chain = frame::seal(buffer, start, salt, self.chain, index, epoch, self.log.mark.synced_index);
        self.log.frame_ends.push(buffer.len());
        if epoch > self.last.epoch {
            self.epochs.push(Position { epoch, index });
        }
        self.frames += 1;
        self.last = Position { epoch, index };
        Ok(index)
    }

    /// Number of records.
    pub fn len(&self) -> u64 {
        self.frames
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Bytes that the group will take.
    pub fn bytes(&self) -> usize {
        self.log.buffer.len()
    }

    /// Writes the group. Returns the index of the log's last record.
    ///
    /// After an error nothing of the group is in the log, and the log goes on, or takes no more writes if a part that
    /// was written could not be taken back. What was taken back is gone for good only after the next
    /// [`Log::sync`]; until then a crash may bring some first records of it back.
    pub fn commit(self) -> Result<u64, Error> {
        let log = self.log;
        log.usable()?;
        if self.frames == 0 {
            return Ok(log.last.index);
        }
        log.remove_unbegun()?;
        if let Err(source) = log.file.append(&log.buffer) {
            let error = Error::io(&log.tail.path, "append to", source);
            match log.file.truncate(log.tail.end) {
                Ok(()) => log.taken_back = true,
                Err(_) => log.poison(&error),
            }
            return Err(error);
        }
        let mut start = 0;
        for (index, &end) in (log.last.index + 1..).zip(&log.frame_ends) {
            log.tail.add(index, (end - start) as u64);
            start = end;
        }
        log.last = self.last;
        log.chain = self.chain;
        log.epochs.extend(self.epochs);
        if log.buffer.capacity() > BUFFER_BYTES_KEPT {
            log.buffer = Vec::new();
        }
        Ok(log.last.index)
    }
}
