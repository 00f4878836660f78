//! The embedded coordinator's folder: one file with every persistent node, replaced whole by each change (write to a
//! temporary file, sync, rename, sync the folder), and a lock that keeps a second process out.
//!
//! The file is one line `slotkv-coordinator <format> <crc32c> <length>`, then JSON. Ephemeral nodes are not in it: the
//! sessions that own them end with the process.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::tree::{Stored, Tree};
use crate::Error;

const MAGIC: &str = "slotkv-coordinator";
const FORMAT: u32 = 1;
const FILE: &str = "coordinator.json";
const TEMPORARY: &str = "coordinator.json.new";
const LOCK: &str = "coordinator.lock";

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    _lock: Lock,
    /// Why nothing can be written any more.
    broken: Option<String>,
}

/// What the file holds.
#[derive(Debug)]
pub(super) struct Saved {
    pub tree: Tree,
    /// How often the folder was opened: makes session ids unique over restarts.
    pub run: u32,
}

impl Folder {
    /// Opens or makes the folder and reads what it holds.
    pub fn open(dir: &Path) -> Result<(Folder, Saved), Error> {
        let failed =
            |error: io::Error| Error::Storage { path: dir.display().to_string(), why: error.to_string() };
        fs::create_dir_all(dir).map_err(failed)?;
        let lock = match Lock::take(&dir.join(LOCK)) {
            Ok(lock) => lock,
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { path: dir.display().to_string() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        };
        let path = dir.join(FILE);
        let saved = match fs::read(&path) {
            Ok(bytes) => decode(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Saved { tree: Tree::new(), run: 0 },
            Err(error) => return Err(failed(error)),
        };
        Ok((Folder { dir: dir.to_owned(), _lock: lock, broken: None }, saved))
    }

    /// Makes `tree` what the next open reads. An error means that it is not, unless the system cannot even say so;
    /// then nothing is ever written again.
    pub fn save(&mut self, tree: &Tree, run: u32) -> Result<(), Error> {
        let path = self.dir.join(FILE);
        let failed = |why: String| Error::Storage { path: path.display().to_string(), why };
        if let Some(why) = &self.broken {
            return Err(failed(format!("an earlier write failed: {why}")));
        }
        let temporary = self.dir.join(TEMPORARY);
        write(&temporary, &encode(tree, run)).map_err(|error| failed(error.to_string()))?;
        let replaced = fs::rename(&temporary, &path).and_then(|()| File::open(&self.dir)?.sync_all());
        replaced.map_err(|error| {
            self.broken = Some(error.to_string());
            Error::Unexpected(format!("{}: {error}", path.display()))
        })
    }
}

/// Released by name, not by closing the file: a child process that is just being started may hold a copy for a moment.
#[derive(Debug)]
struct Lock(File);

impl Lock {
    fn take(path: &Path) -> Result<Self, TryLockError> {
        let file = File::create(path).map_err(TryLockError::Error)?;
        file.try_lock()?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The end of the process releases it too.
        let _ = self.0.unlock();
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[derive(Serialize, Deserialize)]
struct Document {
    run: u32,
    nodes: Vec<SavedNode>,
}

#[derive(Serialize, Deserialize)]
struct SavedNode {
    path: String,
    version: u64,
    counter: u64,
    data: SavedBytes,
}

/// Registers are text, and people may want to read them.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SavedBytes {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&Bytes> for SavedBytes {
    fn from(bytes: &Bytes) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => SavedBytes::Text(text.to_owned()),
            Err(_) => SavedBytes::Bytes(bytes.to_vec()),
        }
    }
}

impl From<SavedBytes> for Bytes {
    fn from(saved: SavedBytes) -> Self {
        match saved {
            SavedBytes::Text(text) => text.into(),
            SavedBytes::Bytes(bytes) => bytes.into(),
        }
    }
}

fn encode(tree: &Tree, run: u32) -> Vec<u8> {
    let nodes = tree
        .nodes()
        .filter(|(_, node)| node.owner.is_none())
        .map(|(path, node)| SavedNode {
            path: path.to_owned(),
            version: node.version,
            counter: node.counter,
            data: SavedBytes::from(&node.data),
        })
        .collect();
    // Plain structs with text keys: serde_json cannot fail on them.
    let json = serde_json::to_vec(&Document { run, nodes }).unwrap_or_default();
    let mut bytes = format!("{MAGIC} {FORMAT} {:08x} {}\n", crc32c::crc32c(&json), json.len()).into_bytes();
    bytes.extend_from_slice(&json);
    bytes
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Saved, Error> {
    let name = path.display().to_string();
    let damaged = |why: &str| Error::Damaged { path: name.clone(), why: why.to_owned() };
    let end =
        bytes.iter().take(128).position(|&byte| byte == b'\n').ok_or_else(|| damaged("no first line"))?;
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| damaged("the first line is not text"))?;
    let mut words = line.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(damaged("not a file of the coordinator"));
    }
    let format = words.next().and_then(|word| word.parse().ok()).filter(|&format| format > 0);
    let format = format.ok_or_else(|| damaged("no format"))?;
    if format > FORMAT {
        return Err(Error::NewerFormat { path: name, format, known: FORMAT });
    }
    let crc = words
        .next()
        .and_then(|word| u32::from_str_radix(word, 16).ok())
        .ok_or_else(|| damaged("no checksum"))?;
    let length: usize =
        words.next().and_then(|word| word.parse().ok()).ok_or_else(|| damaged("no length"))?;
    let json = &bytes[end + 1..];
    if json.len() != length || crc32c::crc32c(json) != crc {
        return Err(damaged("its checksum does not match"));
    }
    let document: Document = serde_json::from_slice(json).map_err(|error| damaged(&error.to_string()))?;
    let nodes: BTreeMap<String, Stored> = document
        .nodes
        .into_iter()
        .map(|node| {
            let SavedNode { path, version, counter, data } = node;
            (path, Stored { data: data.into(), version, owner: None, counter })
        })
        .collect();
    let tree = Tree::from_nodes(nodes).ok_or_else(|| damaged("a node lacks its parent"))?;
    Ok(Saved { tree, run: document.run })
}
