//! FjallEngines: engines on disk, each in a folder. One that is removed while it is read goes with its last reader.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;

use super::{FjallEngine, FjallOptions};
use crate::{
    engine::{Engine, Engines},
    error::Error,
};

/// Engines on disk.
#[derive(Default)]
pub struct FjallEngines {
    options: FjallOptions,
    opened: Mutex<Vec<Weak<Folder>>>,
}

impl FjallEngines {
    /// Engines with these sizes each.
    pub fn new(options: FjallOptions) -> Self {
        Self { options, opened: Mutex::default() }
    }
}

impl Engines for FjallEngines {
    fn open(&self, folder: &Path) -> Result<Arc<dyn Engine>, Error> {
        let engine = FjallEngine::open(folder, &self.options)?;
        let mut opened = self.opened.lock();
        opened.retain(|folder| folder.strong_count() > 0);
        opened.push(Arc::downgrade(&engine.folder));
        Ok(Arc::new(engine))
    }

    fn remove(&self, folder: &Path) -> Result<(), Error> {
        let opened = self.opened.lock().iter().filter_map(Weak::upgrade).find(|open| open.path == folder);
        match opened {
            Some(open) => {
                open.is_retired.store(true, Ordering::Release);
                Ok(())
            }
            None => remove(folder).map_err(|source| Error::io(folder, "remove", source)),
        }
    }

    fn names(&self, dir: &Path) -> Result<Vec<String>, Error> {
        let failed = |source| Error::io(dir, "list", source);
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            // No folder of ours has a name that is not UTF-8.
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        Ok(names)
    }
}

/// The folder of an open engine; the engine and its snapshots hold it.
pub struct Folder {
    pub path: PathBuf,
    is_retired: AtomicBool,
}

impl Folder {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), is_retired: AtomicBool::new(false) }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is removed again by the next start of its owner.
        if *self.is_retired.get_mut() {
            let _ = remove(&self.path);
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
