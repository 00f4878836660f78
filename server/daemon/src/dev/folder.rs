//! The folder of a `dev` cluster: temporary, or kept and then bound to the shape of the cluster it holds.
//!
//! ```text
//! DIR/dev.json      shards, slots and replicas of the cluster
//! DIR/coordinator/  the embedded coordinator's nodes
//! DIR/worker-0/...  one folder per worker; with several replicas worker-0-0/...
//! ```

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use slotkv_storage::{RealDisk, write_atomic};

use super::DevError;

/// The format this build writes, and the newest it reads.
const FORMAT: u32 = 1;
const FILE: &str = "dev.json";

/// What cannot change once the folder exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    format: u32,
    shards: u32,
    slots: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    replicas: u32,
}

impl Shape {
    /// The shape of a cluster.
    pub fn new(shards: u32, slots: u32, replicas: u32) -> Self {
        Self { format: FORMAT, shards, slots, replicas }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shards and {} slots", self.shards, self.slots)?;
        match self.replicas {
            1 => Ok(()),
            replicas => write!(f, " with {replicas} replicas"),
        }
    }
}

fn one() -> u32 {
    1
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

/// A folder, removed at the end if it is temporary.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Folder {
    /// The folder named, which must hold a cluster of this shape or nothing; else a temporary one.
    pub fn open(named: Option<&Path>, shape: Shape) -> Result<Self, DevError> {
        let Some(path) = named else {
            let temporary =
                tempfile::Builder::new().prefix("slotkv-dev-").tempdir().map_err(DevError::System)?;
            return Ok(Self { path: temporary.path().to_owned(), temporary: Some(temporary) });
        };
        let failed =
            |error: io::Error| DevError::Folder { path: path.display().to_string(), why: error.to_string() };
        fs::create_dir_all(path).map_err(failed)?;
        match fs::read(path.join(FILE)) {
            Ok(bytes) => check(path, &bytes, shape)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => check_empty(path)?,
            Err(error) => return Err(failed(error)),
        }
        Ok(Self { path: path.to_owned(), temporary: None })
    }

    /// Binds the folder to a shape. Called by who holds the coordinator's lock.
    pub async fn bind(&self, shape: Shape) -> Result<(), DevError> {
        let path = self.path.join(FILE);
        if path.exists() {
            return Ok(());
        }
        let text = serde_json::to_vec(&shape).unwrap_or_default();
        write_atomic(&RealDisk::new(), &path, &text)
            .await
            .map_err(|error| DevError::Folder { path: path.display().to_string(), why: error.to_string() })
    }

    /// Where the coordinator keeps its nodes; nowhere if the folder is temporary.
    pub fn coordinator(&self) -> Option<PathBuf> {
        self.temporary.is_none().then(|| self.path.join("coordinator"))
    }

    /// The folder of the worker of this name.
    pub fn worker(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn check(path: &Path, bytes: &[u8], shape: Shape) -> Result<(), DevError> {
    let refuse = |why: String| DevError::Folder { path: path.display().to_string(), why };
    let found: Shape = serde_json::from_slice(bytes).map_err(|error| refuse(format!("{FILE}: {error}")))?;
    if found.format > FORMAT {
        return Err(refuse(format!(
            "{FILE} has format {}; this slotkv reads formats up to {FORMAT}",
            found.format
        )));
    }
    if (Shape { format: FORMAT, ..found }) != shape {
        return Err(refuse(format!("it holds a cluster of {found}, which cannot become {shape} yet")));
    }
    Ok(())
}

/// A folder with other things in it is somebody else's.
fn check_empty(path: &Path) -> Result<(), DevError> {
    let refuse = |why: String| DevError::Folder { path: path.display().to_string(), why };
    for entry in fs::read_dir(path).map_err(|error| refuse(error.to_string()))? {
        let name = entry.map_err(|error| refuse(error.to_string()))?.file_name();
        // What a start that was cut short may have left.
        if name != "coordinator" && name != "lost+found" && !name.to_string_lossy().starts_with(FILE) {
            return Err(refuse(format!("it holds {name:?}, but no {FILE}: not the folder of a dev cluster")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kept_folder_is_bound_to_its_shape() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let shape = Shape::new(3, 1024, 1);
        Folder::open(Some(&path), shape).unwrap().bind(shape).await.unwrap();
        Folder::open(Some(&path), shape).unwrap().bind(shape).await.unwrap();
        let error = Folder::open(Some(&path), Shape::new(5, 1024, 1)).unwrap_err().to_string();
        assert!(error.contains("3 shards and 1024 slots"), "{error}");
        let error = Folder::open(Some(&path), Shape::new(3, 1024, 2)).unwrap_err().to_string();
        assert!(error.contains("3 shards and 1024 slots with 2 replicas"), "{error}");
        fs::write(path.join(FILE), r#"{"format":2,"shards":3,"slots":1024}"#).unwrap();
        let error = Folder::open(Some(&path), shape).unwrap_err().to_string();
        assert!(error.contains("format 2"), "{error}");
    }

    #[test]
    fn a_folder_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("photo.jpg"), "x").unwrap();
        let error = Folder::open(Some(folder.path()), Shape::new(3, 1024, 1)).unwrap_err().to_string();
        assert!(error.contains("photo.jpg"), "{error}");
    }

    #[test]
    fn a_temporary_folder_is_gone_at_the_end() {
        let folder = Folder::open(None, Shape::new(3, 1024, 1)).unwrap();
        let path = folder.path().to_owned();
        assert!(path.exists() && folder.coordinator().is_none());
        drop(folder);
        assert!(!path.exists());
    }
}
