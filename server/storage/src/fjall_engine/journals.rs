//! Journals of fjall, from outside: files `<number>.jnl`, begun one after the other, synced before the next is begun,
//! removed from the oldest on. They are laid out with zeros behind their last entry, and no entry ends in zero.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use super::damaged;
use crate::error::Error;

/// A journal that is not the last, held open since fjall removes it when it has been flushed.
pub struct Sealed {
    number: u64,
    file: fs::File,
    /// Where its last entry ends.
    end: u64,
}

/// Looks at the journals before fjall opens them.
pub fn examine(rows_folder: &Path) -> Result<Vec<Sealed>, Error> {
    let failed = |source| Error::io(rows_folder, "list the journals in", source);
    let numbers = numbers(rows_folder).map_err(failed)?;
    let Some((_last, sealed)) = numbers.split_last() else {
        return Err(damaged(rows_folder, "it has no journal"));
    };
    if let Some(pair) = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        return Err(damaged(rows_folder, format!("journal {} is missing", pair[0] + 1)));
    }
    let examine = |&number: &u64| {
        let mut file = fs::File::open(rows_folder.join(format!("{number}.jnl")))?;
        let end = end_of_data(&mut file)?;
        Ok(Sealed { number, file, end })
    };
    sealed.iter().map(examine).collect::<io::Result<_>>().map_err(failed)
}

/// Refuses journals of which fjall has cut off entries.
pub fn check(rows_folder: &Path, journals: &[Sealed]) -> Result<(), Error> {
    for Sealed { number, file, end } in journals {
        let length = file.metadata().map_err(|source| Error::io(rows_folder, "look at", source))?.len();
        if length < *end {
            let why = format!("journal {number} cannot be read beyond byte {length} of {end}");
            return Err(damaged(rows_folder, why));
        }
    }
    Ok(())
}

/// Makes what the journals hold durable, while fjall goes on writing.
pub fn sync(rows_folder: &Path) -> io::Result<()> {
    for number in numbers(rows_folder)? {
        match fs::File::open(rows_folder.join(format!("{number}.jnl"))) {
            Ok(file) => file.sync_data()?,
            // fjall has flushed and removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The journals' numbers, ascending.
fn numbers(rows_folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(rows_folder)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.strip_suffix(".jnl")?.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn end_of_data(file: &mut fs::File) -> io::Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let chunk = &mut buffer[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(chunk)?;
        if let Some(last) = chunk.iter().rposition(|&byte| byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
