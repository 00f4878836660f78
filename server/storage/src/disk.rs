//! Disk: the files under a worker, as an argument. [`RealDisk`](crate::RealDisk) is the machine's,
//! [`SimDisk`](crate::SimDisk) loses what was not synced. Everything is synchronous but [`File::sync`], which the
//! simulator lets take time.

use std::{io, path::Path};

use futures_util::future::BoxFuture;

use crate::error::Error;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It must not exist.
    Create,
    /// It must exist.
    Existing,
}

/// Folders and files. Durable are: contents after [`File::sync`], names after [`Disk::sync_dir`] of their folder.
pub trait Disk: Send + Sync + 'static {
    /// Makes a folder and those above it, durably.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Names in a folder, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Whether a file or folder is there.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Opens a file for reading and writing.
    fn open(&self, path: &Path, open: Open) -> io::Result<Box<dyn File>>;

    /// A whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Renames a file, over another if there is one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the folder for this process until the lock is dropped. A second holder gets [`Error::Locked`].
    fn lock(&self, dir: &Path) -> Result<Box<dyn Lock>, Error>;

    /// Space left for files under `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file. One task at a time uses it.
pub trait File: Send + Sync {
    /// Its length.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buffer` from `offset`; fewer bytes only at the end of the file. Returns how many.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at the end. After an error a part may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Writes at a place, past the end if need be. After an error a part may have been written.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file, or fills it up with zeros.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Makes everything written before durable, once it is awaited: here, or on another thread while more is written. After an
    /// error nothing is known about what was written since the last success, and a later success says nothing about it.
    fn sync(&self) -> BoxFuture<'static, io::Result<()>>;
}

/// Holds a folder while it lives.
pub trait Lock: Send + Sync + std::fmt::Debug {}

/// Replaces a file as a whole: after a crash it holds the old bytes or the new ones, after the return the new ones.
pub async fn write_atomic(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let dir = path.parent().unwrap_or(Path::new(""));

    let failed = |action| move |source| Error::io(path, action, source);
    if disk.exists(&fresh).map_err(failed("look for"))? {
        disk.remove(&fresh).map_err(failed("remove an unfinished copy of"))?;
    }
    let mut file = disk.open(&fresh, Open::Create).map_err(failed("create"))?;
    file.append(bytes).map_err(failed("write"))?;
    file.sync().await.map_err(failed("sync"))?;
    disk.rename(&fresh, path).map_err(failed("replace"))?;
    disk.sync_dir(dir).map_err(failed("sync the folder of"))
}
