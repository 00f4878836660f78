//! RealDisk: the machine's files. A sync is `fdatasync`; a lock is `flock` on the file `lock` of the folder, which the
//! system releases when the process ends, however it ends.

use std::{
    fs::{self, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::Path,
    sync::Arc,
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::{
    disk::{Disk, File, Lock, Open},
    error::Error,
};

/// Name of the file that a locked folder's holder has open; it holds the holder's process id.
pub const LOCK_FILE: &str = "lock";

/// The machine's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// Of this machine.
    pub fn new() -> Self {
        Self
    }
}

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let Some(parent) = dir.parent() else { return Ok(()) };
        if dir.is_dir() {
            // Its maker may have been killed before it synced the name.
            return match self.sync_dir(parent) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                synced => synced,
            };
        }
        if !parent.as_os_str().is_empty() {
            self.create_dir_all(parent)?;
        }
        match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            made => made?,
        }
        self.sync_dir(parent)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // No file of ours has a name that is not UTF-8.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn open(&self, path: &Path, open: Open) -> io::Result<Box<dyn File>> {
        let file = OpenOptions::new().read(true).write(true).create_new(open == Open::Create).open(path)?;
        let end = file.metadata()?.len();
        let synced = Arc::new(SyncedFile { file, has_failed: Mutex::new(false) });
        Ok(Box::new(RealFile { synced, end }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, dir: &Path) -> Result<Box<dyn Lock>, Error> {
        let path = dir.join(LOCK_FILE);
        let failed = |action| move |source| Error::io(dir.join(LOCK_FILE), action, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Whose it is only improves the message; the holder may be about to write it.
                let _ = file.read_to_string(&mut text);
                return Err(Error::Locked { folder: dir.into(), pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(Error::io(path, "lock", source)),
        }
        file.set_len(0).map_err(failed("write"))?;
        writeln!(file, "{}", std::process::id()).map_err(failed("write"))?;
        Ok(Box::new(RealLock { file }))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let path = std::ffi::CString::new(dir.as_os_str().as_bytes())?;
        // SAFETY: statvfs is plain numbers, for which zero is a value.
        let mut room: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: the path ends in NUL and both pointers live through the call.
        if unsafe { libc::statvfs(path.as_ptr(), &mut room) } != 0 {
            return Err(io::Error::last_os_error());
        }
        #[allow(clippy::unnecessary_cast, reason = "the fields' types differ between systems")]
        Ok(room.f_bavail as u64 * room.f_frsize as u64)
    }
}

#[derive(Debug)]
struct RealLock {
    file: fs::File,
}

impl Drop for RealLock {
    /// Closing alone would leave the lock to a child that another thread is just forking.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Lock for RealLock {}

struct RealFile {
    synced: Arc<SyncedFile>,
    end: u64,
}

/// A file whose syncs may run on several threads. The system tells of a failure only once, so that a later sync has to wait for
/// it and repeat it.
struct SyncedFile {
    file: fs::File,
    has_failed: Mutex<bool>,
}

impl SyncedFile {
    fn sync(&self) -> io::Result<()> {
        let mut has_failed = self.has_failed.lock();
        if *has_failed {
            return Err(io::Error::other("an earlier sync of the file has failed"));
        }
        self.file.sync_data().inspect_err(|_| *has_failed = true)
    }
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.synced.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.synced.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.synced.file.write_all_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.synced.file.write_all_at(bytes, offset)?;
        self.end = self.end.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.synced.file.set_len(len)?;
        self.end = len;
        Ok(())
    }

    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        let synced = self.synced.clone();
        Box::pin(async move { synced.sync() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::write_atomic;

    #[test]
    fn second_holder_of_a_folder_is_refused_with_folder_and_pid_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let first = RealDisk::new().lock(dir.path()).unwrap();
        let refusal = RealDisk::new().lock(dir.path()).unwrap_err();
        let Error::Locked { folder, pid } = &refusal else { panic!("{refusal}") };
        assert_eq!((folder.as_path(), *pid), (dir.path(), Some(std::process::id())));
        assert!(refusal.to_string().contains(dir.path().to_str().unwrap()), "{refusal}");
        drop(first);
        RealDisk::new().lock(dir.path()).unwrap();
    }

    #[tokio::test]
    async fn files_are_written_read_cut_renamed_and_listed() {
        let disk = RealDisk::new();
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        disk.create_dir_all(&deep).unwrap();
        let path = deep.join("file");
        let mut file = disk.open(&path, Open::Create).unwrap();
        assert!(disk.open(&path, Open::Create).is_err(), "it exists");
        file.append(b"hello").unwrap();
        file.append(b" world").unwrap();
        file.write_at(b"W", 6).unwrap();
        file.truncate(10).unwrap();
        file.append(b"D").unwrap();
        file.sync().await.unwrap();
        let mut buffer = [0; 32];
        assert_eq!(file.read_at(&mut buffer, 6).unwrap(), 5);
        assert_eq!(&buffer[..5], b"WorlD");
        disk.rename(&path, &deep.join("other")).unwrap();
        disk.sync_dir(&deep).unwrap();
        assert_eq!(disk.list(&deep).unwrap(), ["other"]);
        assert_eq!(disk.read(&deep.join("other")).unwrap(), b"hello WorlD");
        disk.remove(&deep.join("other")).unwrap();
        assert!(!disk.exists(&deep.join("other")).unwrap());
        assert!(disk.free_bytes(&deep).unwrap() > 0);
    }

    #[tokio::test]
    async fn atomic_write_replaces_the_file_and_clears_an_unfinished_copy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity");
        fs::write(dir.path().join("identity.new"), b"half").unwrap();
        for bytes in [&b"one"[..], b"two"] {
            write_atomic(&RealDisk::new(), &path, bytes).await.unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(RealDisk::new().list(dir.path()).unwrap(), ["identity"]);
    }
}
