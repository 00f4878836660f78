//! Journals of fjall 3.1, from outside: files `<number>.jnl`, begun one after the other, synced before the next is begun,
//! removed from the oldest on. They are laid out with zeros behind their last batch.
//!
//! A batch is a start (tag 1, number of items, sequence number), items (tag 2, kind, compression, keyspace, lengths of key
//! and value, key, value) and an end (tag 3, checksum of the items, four bytes that never change). The checksum does not
//! cover the sequence number, by which fjall leaves out batches that it has in a table already.
//!
//! fjall refuses to open behind a power cut that left the end of a batch and not its middle, and does not notice a batch
//! whose sequence number has changed. So the journals are read here first.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use bytes::Buf;
use xxhash_rust::xxh3::xxh3_64;

use super::damaged;
use crate::{engine::Reader, error::Error};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
/// An item's kind: a row is put. Any other removes it.
const PUT: u8 = 0;
/// An item's compression: none. It is the only one that the engine asks for.
const PLAIN: u8 = 0;
const START_BYTES: usize = 1 + 4 + 8;
const ITEM_HEADER_BYTES: usize = 1 + 1 + 1 + 8 + 2 + 4 + 4;
const END_BYTES: usize = 1 + 8 + 4;
/// What a batch ends with.
const TRAILER: &[u8; 4] = b"FJL\x03";

/// What journals say that an engine must hold once it has been opened.
pub struct Journals {
    rows_folder: PathBuf,
    /// Rows of the very first batch that no other journaled batch changes. Whether later ones were left out shows in the
    /// order of their sequence numbers.
    first: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

/// Reads the journals before fjall does. Refuses damage, and cuts the torn tail of the last one.
pub fn examine(rows_folder: &Path) -> Result<Journals, Error> {
    let failed = |source| Error::io(rows_folder, "read the journals in", source);
    let numbers = numbers(rows_folder).map_err(failed)?;
    let Some(&last) = numbers.last() else { return Err(damaged(rows_folder, "it has no journal")) };
    if let Some(pair) = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        return Err(damaged(rows_folder, format!("journal {} is missing", pair[0] + 1)));
    }
    let mut walk = Walk { first: None, seqno: 0 };
    for number in numbers {
        let path = rows_folder.join(format!("{number}.jnl"));
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        let end = walk.journal(&file).map_err(failed)?;
        let end = end.map_err(|at| {
            damaged(rows_folder, format!("the batch at byte {at} of journal {number} is out of order"))
        })?;
        if !has_only_zeros(&file, end).map_err(failed)? {
            if number != last {
                let why = format!("journal {number} cannot be read beyond byte {end}");
                return Err(damaged(rows_folder, why));
            }
            file.set_len(end).and_then(|()| file.sync_all()).map_err(failed)?;
        }
    }
    Ok(Journals { rows_folder: rows_folder.into(), first: walk.first.unwrap_or_default() })
}

impl Journals {
    /// Refuses an engine in which the first batch is missing.
    pub fn check(&self, engine: &dyn Reader) -> Result<(), Error> {
        for (key, value) in &self.first {
            if engine.get(key)?.as_deref() != value.as_deref() {
                return Err(damaged(&self.rows_folder, "it does not hold the first batch of its journals"));
            }
        }
        Ok(())
    }
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

/// What has been seen of the journals' batches.
struct Walk {
    first: Option<HashMap<Vec<u8>, Option<Vec<u8>>>>,
    /// The last batch's.
    seqno: u64,
}

impl Walk {
    /// Reads a journal up to where its last intact batch ends; the inner error is where a batch is out of order.
    fn journal(&mut self, file: &fs::File) -> io::Result<Result<u64, u64>> {
        let length = file.metadata()?.len();
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut end = 0;
        let mut items = Vec::new();
        while let Some(batch) = Batch::read(&mut reader, length - end, &mut items)? {
            if batch.seqno <= self.seqno && self.first.is_some() {
                return Ok(Err(end));
            }
            self.seqno = batch.seqno;
            match &mut self.first {
                Some(first) if first.is_empty() => {}
                Some(first) => rows_of(&items).for_each(|(key, _)| drop(first.remove(key))),
                None => {
                    let rows = rows_of(&items);
                    self.first =
                        Some(rows.map(|(key, value)| (key.into(), value.map(<[u8]>::to_vec))).collect());
                }
            }
            end += batch.bytes;
        }
        Ok(Ok(end))
    }
}

struct Batch {
    seqno: u64,
    /// Its length.
    bytes: u64,
}

impl Batch {
    /// Reads a batch and puts its items into `items`, as they are in the journal; `None` if there is no whole and intact
    /// one in the `left` bytes.
    fn read(reader: &mut impl Read, left: u64, items: &mut Vec<u8>) -> io::Result<Option<Self>> {
        items.clear();
        let mut left = left;
        let mut start = [0; START_BYTES];
        if !take(reader, &mut left, &mut start)? || start[0] != START {
            return Ok(None);
        }
        let mut rest = &start[1..];
        let (count, seqno) = (rest.get_u32_le(), rest.get_u64_le());
        for _ in 0..count {
            let at = items.len();
            if left < ITEM_HEADER_BYTES as u64 {
                return Ok(None);
            }
            items.resize(at + ITEM_HEADER_BYTES, 0);
            take(reader, &mut left, &mut items[at..])?;
            let Some(Item { key_bytes, value_bytes, .. }) = Item::decode(&items[at..]) else {
                return Ok(None);
            };
            if left < (key_bytes + value_bytes) as u64 {
                return Ok(None);
            }
            let at = items.len();
            items.resize(at + key_bytes + value_bytes, 0);
            take(reader, &mut left, &mut items[at..])?;
        }
        let mut end = [0; END_BYTES];
        if !take(reader, &mut left, &mut end)? || end[0] != END || !end.ends_with(TRAILER) {
            return Ok(None);
        }
        let is_intact = (&end[1..]).get_u64_le() == xxh3_64(items);
        Ok(is_intact.then_some(Self { seqno, bytes: (START_BYTES + items.len() + END_BYTES) as u64 }))
    }
}

/// An item's header.
struct Item {
    is_put: bool,
    key_bytes: usize,
    value_bytes: usize,
}

impl Item {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(..ITEM_HEADER_BYTES)?;
        let (tag, kind, compression, _keyspace) =
            (rest.get_u8(), rest.get_u8(), rest.get_u8(), rest.get_u64_le());
        let (key_bytes, value_bytes, stored_bytes) =
            (rest.get_u16_le(), rest.get_u32_le(), rest.get_u32_le());
        let fits = tag == ITEM && compression == PLAIN && value_bytes == stored_bytes;
        fits.then_some(Self {
            is_put: kind == PUT,
            key_bytes: key_bytes.into(),
            value_bytes: value_bytes as usize,
        })
    }
}

/// The rows of a batch's items: keys with their new values, `None` where they are removed.
fn rows_of(items: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let Item { is_put, key_bytes, value_bytes } = Item::decode(rest)?;
        let (key, behind) = rest[ITEM_HEADER_BYTES..].split_at(key_bytes);
        let (value, behind) = behind.split_at(value_bytes);
        rest = behind;
        Some((key, is_put.then_some(value)))
    })
}

/// Fills a buffer, if so much is left.
fn take(reader: &mut impl Read, left: &mut u64, buffer: &mut [u8]) -> io::Result<bool> {
    let Some(behind) = left.checked_sub(buffer.len() as u64) else { return Ok(false) };
    *left = behind;
    reader.read_exact(buffer).map(|()| true)
}

fn has_only_zeros(mut file: &fs::File, from: u64) -> io::Result<bool> {
    use std::io::Seek;
    file.seek(io::SeekFrom::Start(from))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(true),
            count if buffer[..count].iter().any(|&byte| byte != 0) => return Ok(false),
            _ => {}
        }
    }
}
