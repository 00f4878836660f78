//! SimDisk: a disk in memory that a seed makes fail. It has two planes: what the running process sees, and what the
//! medium holds. A sync copies from the first to the second; [`SimDisk::crash`] copies a random part of the rest and
//! throws the first away.
//!
//! Invariants:
//! - Changes of one file reach the medium in order: a crash keeps a prefix of those not synced, and may tear the next,
//!   at any byte where the file grew, at sectors of 512 bytes where it was overwritten. With
//!   [`SimDisk::set_reordering`] each sector of the changes not synced survives or is lost for itself, but is not torn.
//! - Changes of names in one folder reach the medium in order too; those since the last sync of the folder survive as
//!   a prefix.
//! - After a failed sync the process still sees what it wrote; what of it is on the medium is chance, and a later sync
//!   does not add to it, as on Linux (ATC'20, "Can applications recover from fsync failures?").

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    disk::{Disk, File, Lock, Open},
    error::Error,
};

mod inode;

use inode::{Change, Inode};

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// An empty disk; `seed` decides what survives a crash and how long a sync takes.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            chance: SmallRng::seed_from_u64(seed),
            dirs: BTreeSet::from([PathBuf::new(), PathBuf::from("/")]),
            seen: BTreeMap::new(),
            kept: BTreeMap::new(),
            renames: BTreeMap::new(),
            inodes: BTreeMap::new(),
            inode_next: 0,
            process: 0,
            locks: BTreeSet::new(),
            capacity: None,
            reordering: false,
            sync_delay: Duration::ZERO,
            change_count: 0,
            sync_count: 0,
            sync_failure: None,
            write_failure: None,
            stop: None,
        })))
    }

    /// How long a sync takes, in virtual time: uniformly up to `longest`. Zero, the default, awaits nothing.
    pub fn set_sync_delay(&self, longest: Duration) {
        self.0.lock().sync_delay = longest;
    }

    /// Bytes that fit; the write that passes them is done in part and fails with "no space left". `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// Bytes in files.
    pub fn used_bytes(&self) -> u64 {
        self.0.lock().used()
    }

    /// Whether a crash keeps the sectors of unsynced changes in no particular order. Off unless set.
    pub fn set_reordering(&self, on: bool) {
        self.0.lock().reordering = on;
    }

    /// Fails the `n`th sync of a file from now (0: the next) with EIO.
    pub fn fail_sync(&self, n: u32) {
        self.0.lock().sync_failure = Some(n);
    }

    /// Fails the `n`th write from now (0: the next) with EIO; a part of it is written.
    pub fn fail_write(&self, n: u32) {
        self.0.lock().write_failure = Some(n);
    }

    /// Lets `n` more changes happen, then refuses every operation until [`SimDisk::crash`] or [`SimDisk::kill`]: a
    /// process that dies at any step of what it does.
    pub fn stop_after(&self, n: u32) {
        self.0.lock().stop = Some(n);
    }

    /// Flips one bit of a file, in memory and on the medium. Bits past its end are ignored.
    pub fn flip_bit(&self, path: &Path, bit: u64) {
        let mut state = self.0.lock();
        let Some(&id) = state.seen.get(path) else { return };
        let Some(inode) = state.inodes.get_mut(&id) else { return };
        for plane in [&mut inode.seen, &mut inode.kept] {
            if let Some(byte) = plane.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// The power goes: open files and locks are gone, what was not synced survives in part.
    pub fn crash(&self) {
        self.0.lock().crash();
    }

    /// The process ends but the machine stays: open files and locks are gone, everything written is there.
    pub fn kill(&self) {
        self.0.lock().end_process();
    }

    /// Counts a change that something else makes beside the files, which [`SimDisk::stop_after`] may refuse.
    pub fn count_change(&self) -> io::Result<()> {
        self.0.lock().change()
    }

    /// Number of changes so far, as [`SimDisk::stop_after`] counts them.
    pub fn change_count(&self) -> u64 {
        self.0.lock().change_count
    }

    /// Number of syncs of files that have succeeded.
    pub fn sync_count(&self) -> u64 {
        self.0.lock().sync_count
    }
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.0.lock();
        let files = state.seen.iter().filter_map(|(path, id)| Some((path, state.inodes.get(id)?.seen.len())));
        formatter.debug_map().entries(files).finish()
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        state.alive()?;
        state.dir(dir)?;
        let paths = state.seen.keys().chain(&state.dirs).filter(|path| path.parent() == Some(dir));
        let mut names: Vec<_> =
            paths.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.0.lock();
        state.alive()?;
        Ok(state.seen.contains_key(path) || state.dirs.contains(path))
    }

    fn open(&self, path: &Path, open: Open) -> io::Result<Box<dyn File>> {
        let mut state = self.0.lock();
        state.alive()?;
        let found = state.seen.get(path).copied();
        let id = match (open, found) {
            (Open::Existing, Some(id)) => id,
            (Open::Existing, None) => return Err(absent(path)),
            (Open::Create, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Open::Create, None) => {
                state.dir(parent(path))?;
                state.change()?;
                let id = state.inode_next;
                state.inode_next += 1;
                state.inodes.insert(id, Inode::default());
                state.seen.insert(path.into(), id);
                state.note_name(parent(path), NameChange::Link(path.into(), id));
                id
            }
        };
        Ok(Box::new(SimFile { disk: self.clone(), id, process: state.process }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.0.lock();
        state.alive()?;
        let id = state.seen.get(path).ok_or_else(|| absent(path))?;
        Ok(state.inodes.get(id).map(|inode| inode.seen.clone()).unwrap_or_default())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        let id = state.seen.remove(from).ok_or_else(|| absent(from))?;
        state.seen.insert(to.into(), id);
        state.note_name(parent(to), NameChange::Rename(from.into(), to.into(), id));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        state.seen.remove(path).ok_or_else(|| absent(path))?;
        state.note_name(parent(path), NameChange::Unlink(path.into()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        state.dir(dir)?;
        for change in state.renames.remove(dir).unwrap_or_default() {
            change.apply(&mut state.kept);
        }
        Ok(())
    }

    fn lock(&self, dir: &Path) -> Result<Box<dyn Lock>, Error> {
        let mut state = self.0.lock();
        state.alive().map_err(|source| Error::io(dir, "lock", source))?;
        if !state.locks.insert(dir.into()) {
            return Err(Error::Locked { folder: dir.into(), pid: None });
        }
        Ok(Box::new(SimLock { disk: self.clone(), dir: dir.into(), process: state.process }))
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.0.lock();
        state.alive()?;
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }
}

#[derive(Clone)]
struct SimFile {
    disk: SimDisk,
    id: u64,
    process: u64,
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.0.lock();
        state.alive()?;
        if state.process != self.process {
            return Err(io::Error::other("the process that had opened this file is gone"));
        }
        act(&mut state)
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.inode(self.id)?.seen.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state| {
            let seen = &state.inode(self.id)?.seen;
            let from = seen.get(offset as usize..).unwrap_or_default();
            let count = from.len().min(buffer.len());
            buffer[..count].copy_from_slice(&from[..count]);
            Ok(count)
        })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.with(|state| {
            let end = state.inode(self.id)?.seen.len();
            state.write(self.id, bytes, end)
        })
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|state| state.write(self.id, bytes, offset as usize))
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.with(|state| {
            state.change()?;
            state.inode(self.id)?.change(Change::Truncate(len as usize));
            Ok(())
        })
    }

    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        let file = self.clone();
        let begun = file.with(|state| {
            state.change()?;
            let longest = state.sync_delay.as_micros() as u64;
            let delay =
                Duration::from_micros(if longest == 0 { 0 } else { state.chance.random_range(0..=longest) });
            Ok((state.inode(file.id)?.changes_end(), delay))
        });
        Box::pin(async move {
            let (upto, delay) = begun?;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            file.with(|state| state.sync(file.id, upto))
        })
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    dir: PathBuf,
    process: u64,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.0.lock();
        if state.process == self.process {
            state.locks.remove(&self.dir);
        }
    }
}

struct State {
    chance: SmallRng,
    dirs: BTreeSet<PathBuf>,
    seen: BTreeMap<PathBuf, u64>,
    kept: BTreeMap<PathBuf, u64>,
    /// Changes of names not synced yet, by folder.
    renames: BTreeMap<PathBuf, Vec<NameChange>>,
    inodes: BTreeMap<u64, Inode>,
    inode_next: u64,
    /// Changes with every crash and kill, so that handles of an earlier process are known.
    process: u64,
    locks: BTreeSet<PathBuf>,
    capacity: Option<u64>,
    reordering: bool,
    sync_delay: Duration,
    change_count: u64,
    sync_count: u64,
    sync_failure: Option<u32>,
    write_failure: Option<u32>,
    stop: Option<u32>,
}

impl State {
    fn alive(&self) -> io::Result<()> {
        match self.stop {
            Some(0) => Err(io::Error::other("the simulated process has been stopped")),
            _ => Ok(()),
        }
    }

    /// Counts a change towards [`SimDisk::stop_after`].
    fn change(&mut self) -> io::Result<()> {
        self.alive()?;
        if let Some(left) = &mut self.stop {
            *left -= 1;
        }
        self.change_count += 1;
        Ok(())
    }

    fn dir(&self, dir: &Path) -> io::Result<()> {
        if self.dirs.contains(dir) { Ok(()) } else { Err(absent(dir)) }
    }

    fn inode(&mut self, id: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&id).ok_or_else(|| io::Error::other("the file has been removed"))
    }

    fn used(&self) -> u64 {
        self.seen.values().filter_map(|id| self.inodes.get(id)).map(|inode| inode.seen.len() as u64).sum()
    }

    fn note_name(&mut self, dir: &Path, change: NameChange) {
        self.renames.entry(dir.into()).or_default().push(change);
    }

    fn write(&mut self, id: u64, bytes: &[u8], offset: usize) -> io::Result<()> {
        self.change()?;
        let (mut fits, mut failure) = (bytes.len(), None);
        if fire(&mut self.write_failure) {
            fits = self.chance.random_range(0..=bytes.len());
            failure = Some(io::Error::from_raw_os_error(libc::EIO));
        } else if let Some(capacity) = self.capacity {
            let len = self.inode(id)?.seen.len();
            let room = len.saturating_add(capacity.saturating_sub(self.used()) as usize);
            if offset + bytes.len() > len.max(room) {
                fits = room.saturating_sub(offset).min(bytes.len());
                failure = Some(io::Error::from_raw_os_error(libc::ENOSPC));
            }
        }
        if fits > 0 {
            self.inode(id)?.change(Change::Write { offset, bytes: bytes[..fits].to_vec() });
        }
        failure.map_or(Ok(()), Err)
    }

    fn sync(&mut self, id: u64, upto: u64) -> io::Result<()> {
        if fire(&mut self.sync_failure) {
            let Self { chance, inodes, reordering, .. } = self;
            if let Some(inode) = inodes.get_mut(&id) {
                inode.keep_some(chance, *reordering);
            }
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.inode(id)?.keep(upto);
        self.sync_count += 1;
        Ok(())
    }

    fn end_process(&mut self) {
        self.process += 1;
        self.locks.clear();
        (self.stop, self.sync_failure, self.write_failure) = (None, None, None);
    }

    fn crash(&mut self) {
        self.end_process();
        for changes in std::mem::take(&mut self.renames).into_values() {
            let survivors = self.chance.random_range(0..=changes.len());
            for change in changes.into_iter().take(survivors) {
                change.apply(&mut self.kept);
            }
        }
        self.seen = self.kept.clone();
        let linked: BTreeSet<u64> = self.kept.values().copied().collect();
        self.inodes.retain(|id, _| linked.contains(id));
        for inode in self.inodes.values_mut() {
            inode.keep_some(&mut self.chance, self.reordering);
            inode.seen = inode.kept.clone();
        }
    }
}

enum NameChange {
    Link(PathBuf, u64),
    Rename(PathBuf, PathBuf, u64),
    Unlink(PathBuf),
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Link(path, id) => {
                names.insert(path, id);
            }
            Self::Rename(from, to, id) => {
                names.remove(&from);
                names.insert(to, id);
            }
            Self::Unlink(path) => {
                names.remove(&path);
            }
        }
    }
}

fn fire(countdown: &mut Option<u32>) -> bool {
    match countdown {
        Some(0) => {
            *countdown = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn absent(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}

#[cfg(test)]
mod tests;
