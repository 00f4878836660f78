//! Opening a log: what a crash can leave is put in order, anything else is refused.
//!
//! A crash leaves a mark that may be behind, segments that the mark has given up, a last segment whose header is torn
//! and that holds nothing, and behind the last synced record frames that are missing, torn, or zeros (see [`Search`]).
//! A failed sync leaves a file that looks other than it is on the disk. A killed process leaves names that are not
//! synced.

use std::{path::Path, sync::Arc};

use super::{
    Identity, Log, Options, PAYLOAD_BYTES_MAX, Recovery, first_beginning,
    frame::{self, HEADER_BYTES, Header},
    mark::{self, Mark, MarkFile},
    search::Search,
    segment::{self, Beginning, HEADER_BYTES_MAX, Segment, Unfit},
    window::{WINDOW_BYTES, Window},
};
use crate::{
    disk::{Disk, File, Open},
    error::Error,
    keys::Position,
};

/// Opens the log in `dir`, or makes one there.
pub async fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    identity: Identity,
    options: Options,
) -> Result<(Log, Recovery), Error> {
    disk.create_dir_all(dir).map_err(|source| Error::io(dir, "make the folder", source))?;
    let found = find(&*disk, dir)?;
    let marked = match MarkFile::open(&*disk, dir) {
        Err(Error::Damaged { .. }) if found.is_empty() => None,
        marked => marked?,
    };
    let (mark_file, mark, created) = match marked {
        Some((mark_file, mark)) => (mark_file, mark, false),
        None if found.is_empty() => {
            let after = options.start_after;
            let mark = Mark {
                generation: 1,
                first_index: after.index + 1,
                epoch_before: after.epoch,
                synced_index: after.index,
                clean: false,
            };
            (MarkFile::create(&*disk, dir, &mark).await?, mark, true)
        }
        None => {
            let why = "it is missing, and there are segments".into();
            return Err(Error::Damaged { file: dir.join(mark::FILE), offset: 0, index: 0, why });
        }
    };
    let found = sweep(&*disk, dir, &identity, &mark, found)?;
    let walk = Walk::over(&*disk, dir, &identity, &mark, found)?;
    finish(disk, dir, identity, options, mark_file, mark, created, walk).await
}

/// Whether anything of a log is in `dir`.
pub fn exists(disk: &dyn Disk, dir: &Path) -> Result<bool, Error> {
    if !disk.exists(dir).map_err(|source| Error::io(dir, "look for", source))? {
        return Ok(false);
    }
    let mark = dir.join(mark::FILE);
    Ok(disk.exists(&mark).map_err(|source| Error::io(&mark, "look for", source))?
        || !find(disk, dir)?.is_empty())
}

/// First indexes of the segments in the folder, in order.
fn find(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, Error> {
    let names = disk.list(dir).map_err(|source| Error::io(dir, "list", source))?;
    Ok(names.iter().filter_map(|name| segment::first_index_of(name)).collect())
}

/// Removes what truncations at the front and resets have left behind, and returns the rest.
fn sweep(
    disk: &dyn Disk,
    dir: &Path,
    identity: &Identity,
    mark: &Mark,
    found: Vec<u64>,
) -> Result<Vec<u64>, Error> {
    let mut kept = Vec::with_capacity(found.len());
    for &first_index in &found {
        let path = segment::path_of(dir, first_index);
        let old_generation = || -> Result<bool, Error> {
            let file = disk.open(&path, Open::Existing).map_err(|source| Error::io(&path, "open", source))?;
            match read_header(&*file, &path, identity)? {
                Ok((beginning, _)) => Ok(beginning.generation < mark.generation),
                Err(_) => Ok(false),
            }
        };
        if first_index < mark.first_index || old_generation()? {
            disk.remove(&path).map_err(|source| Error::io(&path, "remove", source))?;
        } else {
            kept.push(first_index);
        }
    }
    // Also for the names that a process which was killed has made and not synced.
    disk.sync_dir(dir).map_err(|source| Error::io(dir, "sync the folder", source))?;
    Ok(kept)
}

/// A segment's header; the inner error says why it is broken.
fn read_header(
    file: &dyn File,
    path: &Path,
    identity: &Identity,
) -> Result<Result<(Beginning, u64), &'static str>, Error> {
    let mut bytes = vec![0; HEADER_BYTES_MAX];
    let count = file.read_at(&mut bytes, 0).map_err(|source| Error::io(path, "read", source))?;
    match segment::decode_header(&bytes[..count], path, identity) {
        Ok(header) => Ok(Ok(header)),
        Err(Unfit::Broken(why)) => Ok(Err(why)),
        Err(Unfit::Refused(error)) => Err(error),
    }
}

/// What the segments hold, read from the first to the last.
struct Walk {
    segments: Vec<Segment>,
    last: Position,
    chain: u32,
    epochs: Vec<Position>,
    /// The highest index that the mark or a frame says was synced.
    synced: u64,
    /// Bytes behind the last intact record of the last segment.
    torn_bytes: u64,
    /// The last file is to be removed: its header is torn and it holds nothing.
    unbegun: Option<u64>,
}

impl Walk {
    fn over(
        disk: &dyn Disk,
        dir: &Path,
        identity: &Identity,
        mark: &Mark,
        found: Vec<u64>,
    ) -> Result<Self, Error> {
        let before = Position { epoch: mark.epoch_before, index: mark.first_index - 1 };
        let mut walk = Self {
            segments: Vec::with_capacity(found.len()),
            last: before,
            chain: first_beginning(mark).chain_before,
            epochs: vec![before],
            synced: mark.synced_index,
            torn_bytes: 0,
            unbegun: None,
        };
        for (at, &first_index) in found.iter().enumerate() {
            walk.segment(disk, dir, identity, mark, first_index, at + 1 == found.len())?;
        }
        if walk.last.index < mark.synced_index {
            let (file, offset) = walk
                .segments
                .last()
                .map_or_else(|| (dir.to_owned(), 0), |segment| (segment.path.clone(), segment.end));
            return Err(Error::Damaged {
                file,
                offset,
                index: walk.last.index + 1,
                why: format!("the log ends here, but records up to {} had been synced", mark.synced_index),
            });
        }
        Ok(walk)
    }

    fn segment(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        identity: &Identity,
        mark: &Mark,
        first_index: u64,
        is_last: bool,
    ) -> Result<(), Error> {
        let path = segment::path_of(dir, first_index);
        let file = disk.open(&path, Open::Existing).map_err(|source| Error::io(&path, "open", source))?;
        let length = file.len().map_err(|source| Error::io(&path, "look at", source))?;
        let damaged =
            |offset, why: String| Err(Error::Damaged { file: path.clone(), offset, index: first_index, why });
        let next = self.last.index + 1;
        if first_index != next {
            return damaged(0, format!("records {next} to {} are missing", first_index.saturating_sub(1)));
        }
        let (beginning, frames_at) = match read_header(&*file, &path, identity)? {
            Ok(header) => header,
            Err(why) => {
                let salt = segment::salt_of(identity, mark.generation, first_index);
                let search =
                    Search { file: &*file, path: &path, salt, index: first_index, start: 0, end: length };
                if !is_last || first_index <= self.synced || search.run()?.is_some() {
                    return damaged(0, why.into());
                }
                self.torn_bytes = length;
                self.unbegun = Some(first_index);
                return Ok(());
            }
        };
        let expected = Beginning {
            generation: mark.generation,
            first_index,
            epoch_before: self.last.epoch,
            ..beginning
        };
        if beginning != expected {
            return damaged(0, format!("its header says {beginning:?} and not {expected:?}"));
        }
        // After a truncation at the front the chain before is known from the header alone.
        if self.segments.is_empty() {
            self.chain = beginning.chain_before;
        } else if self.chain != beginning.chain_before {
            return damaged(0, "its chain does not continue the segment before".into());
        }
        let mut segment = Segment::new(path.clone(), identity, beginning, frames_at);
        if let Some(why) = self.frames(&*file, &mut segment, length)? {
            let index = self.last.index + 1;
            let search = Search {
                file: &*file,
                path: &path,
                salt: segment.salt,
                index,
                start: segment.end,
                end: length,
            };
            if !is_last || !search.is_torn_tail(self.synced)? {
                return Err(segment.damaged(segment.end, index, why));
            }
            self.torn_bytes = length - segment.end;
        }
        self.segments.push(segment);
        Ok(())
    }

    /// Reads frames to the end of the file; returns why the one behind the last is invalid, if there is one.
    fn frames(
        &mut self,
        file: &dyn File,
        segment: &mut Segment,
        length: u64,
    ) -> Result<Option<String>, Error> {
        let mut window = Window::new(file, &segment.path.clone(), length);
        while segment.end < length {
            let Some(header) =
                window.bytes(segment.end, HEADER_BYTES as u64)?.and_then(|bytes| bytes.first_chunk())
            else {
                return Ok(Some("its header is cut off".into()));
            };
            let header = Header::decode(header);
            let index = self.last.index + 1;
            if header.payload_bytes as usize > PAYLOAD_BYTES_MAX {
                return Ok(Some(format!("its length says {} bytes", header.payload_bytes)));
            }
            if header.index != index {
                return Ok(Some(format!("its index says {}", header.index)));
            }
            let Some(bytes) = window.bytes(segment.end, header.frame_bytes())? else {
                return Ok(Some(format!("it is cut off; its length says {} bytes", header.payload_bytes)));
            };
            if !frame::is_intact(bytes, segment.salt) {
                return Ok(Some("its checksum is wrong".into()));
            }
            if header.chain != frame::chained(self.chain, header.crc) {
                return Ok(Some("its chain does not continue the record before".into()));
            }
            if header.epoch < self.last.epoch {
                return Ok(Some(format!("its epoch {} is below {}", header.epoch, self.last.epoch)));
            }
            if header.epoch > self.last.epoch {
                self.epochs.push(Position { epoch: header.epoch, index });
            }
            self.last = Position { epoch: header.epoch, index };
            self.chain = header.chain;
            self.synced = self.synced.max(header.synced_index());
            segment.add(index, header.frame_bytes());
        }
        Ok(None)
    }
}

/// Cuts the torn tail, makes what is left durable, and puts the log together.
#[allow(clippy::too_many_arguments, reason = "the parts of one log")]
async fn finish(
    disk: Arc<dyn Disk>,
    dir: &Path,
    identity: Identity,
    options: Options,
    mut mark_file: MarkFile,
    mark: Mark,
    created: bool,
    walk: Walk,
) -> Result<(Log, Recovery), Error> {
    let Walk { segments: mut closed, last, chain, epochs, synced, torn_bytes, unbegun } = walk;
    if let Some(first_index) = unbegun {
        let path = segment::path_of(dir, first_index);
        disk.remove(&path).map_err(|source| Error::io(&path, "remove", source))?;
        disk.sync_dir(dir).map_err(|source| Error::io(dir, "sync the folder", source))?;
    }
    let (tail, file) = match closed.pop() {
        Some(tail) => {
            let mut file = disk
                .open(&tail.path, Open::Existing)
                .map_err(|source| Error::io(&tail.path, "open", source))?;
            // Cuts the torn tail, too.
            rewrite(&mut *file, &tail, mark.synced_index)?;
            file.sync().await.map_err(|source| Error::io(&tail.path, "sync", source))?;
            (tail, file)
        }
        None => Segment::create(&*disk, dir, &identity, first_beginning(&mark)).await?,
    };
    let recovery = Recovery {
        created,
        first_index: mark.first_index,
        last_index: last.index,
        last_epoch: last.epoch,
        synced_index: synced,
        cut_bytes: torn_bytes,
        clean: mark.clean,
    };
    let mark = Mark { synced_index: last.index, clean: false, ..mark };
    mark_file.write_synced(&mark).await?;
    let log = Log {
        disk,
        dir: dir.into(),
        identity,
        segment_bytes: options.segment_bytes,
        mark_file,
        mark,
        closed,
        tail,
        file,
        last,
        chain,
        synced: last.index,
        epochs,
        buffer: Vec::new(),
        frame_ends: Vec::new(),
        taken_back: false,
        unbegun: None,
        elsewhere: None,
        poisoned: None,
    };
    Ok((log, recovery))
}

/// Writes again what no mark says is on the disk, and cuts again what is not to be there. If a sync had failed before,
/// the system may show the file as it was written without having it so on the disk, and without writing it at the next
/// sync (ATC'20).
fn rewrite(file: &mut dyn File, tail: &Segment, synced: u64) -> Result<(), Error> {
    let failed = |action| move |source| Error::io(&tail.path, action, source);
    file.truncate(tail.end + 1).map_err(failed("cut"))?;
    file.truncate(tail.end).map_err(failed("cut"))?;
    if tail.last_index <= synced {
        return Ok(());
    }
    let (mut at, _) = tail.locate(file, (synced + 1).max(tail.beginning.first_index))?;
    let mut buffer = vec![0; WINDOW_BYTES];
    while at < tail.end {
        let count = (tail.end - at).min(WINDOW_BYTES as u64) as usize;
        let count = file.read_at(&mut buffer[..count], at).map_err(failed("read"))?;
        if count == 0 {
            return Err(tail.damaged(at, 0, "the file has got shorter"));
        }
        file.write_at(&buffer[..count], at).map_err(failed("write again"))?;
        at += count as u64;
    }
    Ok(())
}
