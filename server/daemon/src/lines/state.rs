//! The files that let an import or an export go on: small JSON, replaced whole, never half written.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::window::{Counts, Place};
use crate::cli::exit::Failure;

/// The format this build writes, and the newest it reads.
const FORMAT: u32 = 1;
/// Bytes before the place to go on from that tell whether the file is still the same.
const FINGERPRINT_BYTES: u64 = 4096;

/// How far an import has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImportState {
    pub offset: u64,
    pub line: u64,
    /// Of the lines before it.
    pub counts: Counts,
    /// Of the bytes before `offset`.
    pub fingerprint: String,
}

impl ImportState {
    /// The place to go on from.
    pub fn place(&self) -> Place {
        Place { line: self.line, offset: self.offset }
    }
}

/// How far an export has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExportState {
    /// What is exported; another selection cannot go on.
    pub selection: String,
    /// Bytes of the file that are complete.
    pub offset: u64,
    pub records: u64,
    /// Of the scan; empty before its first page.
    pub cursor: String,
    pub complete: bool,
    pub fingerprint: String,
}

#[derive(Serialize, Deserialize)]
struct Stored<S> {
    slotkv_state: u32,
    kind: String,
    #[serde(flatten)]
    state: S,
}

#[derive(Deserialize)]
struct Kind {
    slotkv_state: u32,
    kind: String,
}

/// Reads the state of `path`; `None` if there is no such file.
pub(crate) fn load<S: DeserializeOwned>(path: &Path, kind: &str) -> Result<Option<S>, Failure> {
    let refuse =
        |why: &dyn std::fmt::Display| Failure::usage(format_args!("state file {}: {why}", path.display()));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refuse(&error)),
    };
    let found: Kind = serde_json::from_str(&text).map_err(|error| refuse(&error))?;
    if found.slotkv_state > FORMAT {
        return Err(refuse(&format_args!(
            "it has state format {}; this slotkv reads formats up to {FORMAT}",
            found.slotkv_state
        )));
    }
    if found.kind != kind {
        return Err(refuse(&format_args!("it belongs to an {}, not to an {kind}", found.kind)));
    }
    let stored: Stored<S> = serde_json::from_str(&text).map_err(|error| refuse(&error))?;
    Ok(Some(stored.state))
}

/// Replaces the state of `path`.
pub(crate) fn save<S: Serialize>(path: &Path, kind: &str, state: &S) -> Result<(), Failure> {
    let stored = Stored { slotkv_state: FORMAT, kind: kind.to_owned(), state };
    replace(path, &serde_json::to_vec(&stored).unwrap_or_default())
        .map_err(|error| Failure::io(format_args!("cannot write the state file {}", path.display()), error))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// A fingerprint of the bytes right before `offset`. The file stands at `offset` afterwards.
pub(crate) fn fingerprint(file: &mut File, offset: u64) -> io::Result<String> {
    let length = offset.min(FINGERPRINT_BYTES);
    file.seek(SeekFrom::Start(offset - length))?;
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)?;
    Ok(format!("{:016x}", fnv(&bytes)))
}

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_back_and_a_missing_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert_eq!(load::<ImportState>(&path, "import").unwrap(), None);
        let state = ImportState {
            offset: 7,
            line: 2,
            counts: Counts { created: 1, ..Counts::default() },
            ..Default::default()
        };
        save(&path, "import", &state).unwrap();
        assert_eq!(load::<ImportState>(&path, "import").unwrap(), Some(state));
    }

    #[test]
    fn a_state_of_another_kind_or_a_newer_format_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        save(&path, "export", &ExportState::default()).unwrap();
        let why = load::<ImportState>(&path, "import").unwrap_err().message;
        assert!(why.contains("belongs to an export"), "{why}");
        std::fs::write(&path, r#"{"slotkv_state":2,"kind":"import","offsets":[]}"#).unwrap();
        let why = load::<ImportState>(&path, "import").unwrap_err().message;
        assert!(why.contains("state format 2"), "{why}");
        std::fs::write(&path, "not json").unwrap();
        assert!(load::<ImportState>(&path, "import").is_err());
    }

    #[test]
    fn a_changed_file_has_another_fingerprint() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[b'a'; 5000]).unwrap();
        let before = fingerprint(&mut file, 5000).unwrap();
        assert_eq!(fingerprint(&mut file, 5000).unwrap(), before);
        assert_ne!(fingerprint(&mut file, 10).unwrap(), before);
        file.seek(SeekFrom::Start(4999)).unwrap();
        file.write_all(b"b").unwrap();
        assert_ne!(fingerprint(&mut file, 5000).unwrap(), before);
        assert!(fingerprint(&mut file, 5001).is_err());
    }
}
