//! Window: a file read from front to back through a buffer.

use std::path::{Path, PathBuf};

use crate::{disk::File, error::Error};

/// Bytes that are read at once.
pub const WINDOW_BYTES: usize = 1 << 20;

/// A file read through a buffer of [`WINDOW_BYTES`], larger for a larger frame.
pub struct Window<'a> {
    file: &'a dyn File,
    path: PathBuf,
    end: u64,
    start: u64,
    buffer: Vec<u8>,
}

impl<'a> Window<'a> {
    /// Reads `file`, whose first `end` bytes count.
    pub fn new(file: &'a dyn File, path: &Path, end: u64) -> Self {
        Self { file, path: path.into(), end, start: 0, buffer: Vec::new() }
    }

    /// Bytes of the file; `None` if it ends before.
    pub fn bytes(&mut self, at: u64, count: u64) -> Result<Option<&[u8]>, Error> {
        if at.saturating_add(count) > self.end {
            return Ok(None);
        }
        let held = self.start..self.start + self.buffer.len() as u64;
        if at < held.start || at + count > held.end {
            let length = (WINDOW_BYTES as u64).max(count).min(self.end - at) as usize;
            self.buffer.resize(length, 0);
            let read = self.file.read_at(&mut self.buffer, at);
            let read = read.map_err(|source| Error::io(&self.path, "read", source))?;
            self.buffer.truncate(read);
            self.start = at;
        }
        let from = (at - self.start) as usize;
        Ok(self.buffer.get(from..from + count as usize))
    }
}
