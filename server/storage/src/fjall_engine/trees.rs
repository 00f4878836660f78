//! Trees of fjall 3.1, from outside: one in each folder of `keyspaces`. Its manifest `v<version>` lists its tables, which
//! are in `tables`; `current` names the version and has the manifest's checksum. fjall writes this checksum and does not
//! compare it, and it removes tables that are not listed. Before it compares the checksum of a table's contents (the
//! sections, at the end of the file), it takes memory for as many as it reads that there are.

use std::{fs, io, os::unix::fs::FileExt, path::Path};

use bytes::Buf;
use xxhash_rust::xxh3::xxh3_128;

use super::damaged;
use crate::error::Error;

/// Version, checksum, kind of checksum.
const CURRENT_BYTES: usize = 8 + 16 + 1;
/// The only kind: XXH3.
const KIND: u8 = 0;
/// A table ends with this, version, kind and bytes of a checksum, and place and length of the contents.
const TRAILER: &[u8; 4] = b"SFA!";
const TRAILER_BYTES: u64 = 4 + 1 + 1 + 16 + 8 + 8;
/// Contents begin with this and the number of sections.
const CONTENTS: &[u8; 4] = b"TOC!";
/// More than a table has.
const SECTIONS_MAX: u32 = 64;

/// Refuses trees whose manifest is not what was written, or whose tables would take the process down.
pub fn check(rows_folder: &Path) -> Result<(), Error> {
    let failed = |source| Error::io(rows_folder, "read the trees in", source);
    for tree in fs::read_dir(rows_folder.join("keyspaces")).map_err(failed)? {
        let tree = tree.map_err(failed)?.path();
        let refused = |why: String| damaged(rows_folder, format!("{}: {why}", tree.display()));
        check_manifest(&tree).map_err(refused)?;
        let tables = match fs::read_dir(tree.join("tables")) {
            Ok(tables) => tables,
            // Copies of a folder may lack what is empty; a table that is listed and missing, fjall finds.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        for table in tables {
            let path = table.map_err(failed)?.path();
            let file = fs::File::open(&path).map_err(failed)?;
            match section_count(&file).map_err(failed)? {
                Some(count) if count > SECTIONS_MAX => {
                    return Err(refused(format!("{} has {count} sections", path.display())));
                }
                // One that a crash has left unfinished is not listed.
                Some(_) | None => {}
            }
        }
    }
    Ok(())
}

fn check_manifest(tree: &Path) -> Result<(), String> {
    let current = fs::read(tree.join("current")).map_err(|error| format!("current: {error}"))?;
    if current.len() != CURRENT_BYTES || current[CURRENT_BYTES - 1] != KIND {
        return Err("current is none".into());
    }
    let mut rest = &current[..];
    let (version, checksum) = (rest.get_u64_le(), rest.get_u128_le());
    let manifest =
        fs::read(tree.join(format!("v{version}"))).map_err(|error| format!("v{version}: {error}"))?;
    if xxh3_128(&manifest) == checksum { Ok(()) } else { Err(format!("the checksum of v{version} is wrong")) }
}

/// How many sections a table's contents say that they have; `None` if it has no contents.
fn section_count(file: &fs::File) -> io::Result<Option<u32>> {
    let length = file.metadata()?.len();
    let Some(trailer_at) = length.checked_sub(TRAILER_BYTES) else { return Ok(None) };
    let mut trailer = [0; TRAILER_BYTES as usize];
    file.read_exact_at(&mut trailer, trailer_at)?;
    let contents_at = (&trailer[TRAILER_BYTES as usize - 16..]).get_u64_le();
    let mut contents = [0; 8];
    let fits = contents_at.checked_add(contents.len() as u64).is_some_and(|end| end <= trailer_at);
    if !trailer.starts_with(TRAILER) || !fits {
        return Ok(None);
    }
    file.read_exact_at(&mut contents, contents_at)?;
    Ok(contents.starts_with(CONTENTS).then(|| (&contents[4..]).get_u32_le()))
}
