//! The records of the demo, as JSON Lines that `slotkv import` reads, too: the Debian package index of this machine,
//! and beside it random bytes of every length class, since the index is all text.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

use crate::{Outcome, machine, process, project};

/// Fewer records than this mean that the package index is not there.
const INDEX_RECORDS_MIN: u64 = 60_000;
/// Records of random bytes.
const RANDOM_RECORDS: usize = 10_000;
/// Seed of the random records.
const SEED: u64 = 0x510_7cb;
/// Longest key, longest value (proto's `limits`).
const KEY_BYTES_MAX: usize = 32 << 10;
const VALUE_BYTES_MAX: usize = 16 << 20;

/// A file of records.
pub struct Dataset {
    /// Shown in tables.
    pub name: &'static str,
    /// JSON Lines.
    pub file: PathBuf,
    /// How many.
    pub records: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// Writes both data sets under `dir`.
pub fn produce(dir: &Path) -> Outcome<Vec<Dataset>> {
    fs::create_dir_all(dir)?;
    Ok(vec![package_index(dir)?, random_bytes(dir)?])
}

/// Every record of `apt-cache dumpavail`: key `name/version/architecture`, value the record's exact bytes.
fn package_index(dir: &Path) -> Outcome<Dataset> {
    let dump = || process::output(Command::new("apt-cache").arg("dumpavail"));
    let mut index = dump()?;
    let mut records = split_index(&index);
    if (records.len() as u64) < INDEX_RECORDS_MIN {
        machine::update()?;
        index = dump()?;
        records = split_index(&index);
    }
    if (records.len() as u64) < INDEX_RECORDS_MIN {
        return Err(format!(
            "`apt-cache dumpavail` has {} records, the demo wants {INDEX_RECORDS_MIN}",
            records.len()
        )
        .into());
    }
    let mut writer = Writer::create("Debian package index", dir.join("packages.jsonl"))?;
    let mut seen = BTreeSet::new();
    for record in records {
        let mut key = Vec::new();
        for field in ["Package", "Version", "Architecture"] {
            if !key.is_empty() {
                key.push(b'/');
            }
            key.extend_from_slice(
                field_of(record, field).ok_or_else(|| format!("a record of the index has no {field}"))?,
            );
        }
        if seen.insert(key.clone()) {
            writer.put(&key, record)?;
        }
    }
    writer.finish()
}

/// The records of the index, each with its last line's end, without the empty line behind it.
fn split_index(index: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    let mut rest = index;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\n\n").map_or(rest.len(), |at| at + 1);
        let (record, behind) = rest.split_at(end);
        if record.iter().any(|byte| !byte.is_ascii_whitespace()) {
            records.push(record);
        }
        rest = behind.strip_prefix(b"\n").unwrap_or(behind);
    }
    records
}

fn field_of<'a>(record: &'a [u8], name: &str) -> Option<&'a [u8]> {
    record.split(|&byte| byte == b'\n').find_map(|line| {
        let rest = line.strip_prefix(name.as_bytes())?;
        Some(rest.strip_prefix(b":")?.trim_ascii())
    })
}

/// Keys and values of random bytes, from a seed; every length class occurs, the limits themselves included.
fn random_bytes(dir: &Path) -> Outcome<Dataset> {
    let mut writer = Writer::create("random bytes", dir.join("random.jsonl"))?;
    let mut chance = Chance(SEED);
    let mut seen = BTreeSet::new();
    let mut number = 0;
    while number < RANDOM_RECORDS {
        let length = key_length(number, &mut chance);
        let key = chance.bytes(length);
        if !seen.insert(key.clone()) {
            continue;
        }
        let length = value_length(number, &mut chance);
        let value = chance.bytes(length);
        writer.put(&key, &value)?;
        number += 1;
    }
    writer.finish()
}

fn key_length(number: usize, chance: &mut Chance) -> usize {
    match number {
        0..100 => 1,
        100..104 => KEY_BYTES_MAX,
        104..120 => chance.between(4097, KEY_BYTES_MAX - 1),
        _ => match number % 8 {
            0 => 2,
            1 => chance.between(3, 15),
            2 => 16,
            3 => chance.between(17, 255),
            4 => 256,
            5 => chance.between(257, 4096),
            _ => chance.between(8, 64),
        },
    }
}

fn value_length(number: usize, chance: &mut Chance) -> usize {
    match number {
        // Both extremes meet: a key and a value at their limits.
        100 => VALUE_BYTES_MAX,
        101 => 0,
        1000..1008 => 1 << 20,
        1008..1072 => chance.between(64 << 10, 256 << 10),
        _ => match number % 7 {
            0 => 0,
            1 => 1,
            2 => chance.between(2, 15),
            3 => chance.between(16, 255),
            4 => chance.between(256, 4095),
            5 => 4096,
            _ => chance.between(4097, 16 << 10),
        },
    }
}

/// Random numbers from a seed (SplitMix64): the data set is the same on every machine.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn between(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low + 1) as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// Writes JSON Lines: `key` and `value` as text, or `key_base64` and `value_base64` where the bytes are no text.
struct Writer {
    out: BufWriter<File>,
    set: Dataset,
}

impl Writer {
    fn create(name: &'static str, file: PathBuf) -> Outcome<Self> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&file)?);
        out.write_all(b"{\"slotkv_export\":1}\n")?;
        Ok(Self { out, set: Dataset { name, file, records: 0, bytes: 0 } })
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Outcome<()> {
        let mut line = Map::new();
        for (name, bytes) in [("key", key), ("value", value)] {
            match std::str::from_utf8(bytes) {
                Ok(text) => line.insert(name.to_owned(), Value::from(text)),
                Err(_) => line.insert(format!("{name}_base64"), Value::from(base64(bytes))),
            };
        }
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")?;
        self.set.records += 1;
        self.set.bytes += (key.len() + value.len()) as u64;
        Ok(())
    }

    fn finish(mut self) -> Outcome<Dataset> {
        self.out.flush()?;
        Ok(self.set)
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for place in 0..4 {
            if place <= chunk.len() {
                text.push(char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// Where the demo keeps its records.
pub fn dir() -> PathBuf {
    project::scratch().join("demo")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn index_is_split_into_exact_records() {
        let index = b"Package: a\nVersion: 1\n\nPackage: b\nVersion: 2\n\n";
        let records = split_index(index);
        assert_eq!(records, [&b"Package: a\nVersion: 1\n"[..], &b"Package: b\nVersion: 2\n"[..]]);
        assert_eq!(field_of(records[1], "Version"), Some(&b"2"[..]));
        assert_eq!(field_of(records[1], "Architecture"), None);
    }

    #[test]
    fn random_records_have_every_length_class() {
        let mut chance = Chance(SEED);
        let keys: BTreeSet<usize> = (0..RANDOM_RECORDS).map(|n| key_length(n, &mut chance)).collect();
        let values: BTreeSet<usize> = (0..RANDOM_RECORDS).map(|n| value_length(n, &mut chance)).collect();
        assert!(keys.contains(&1) && keys.contains(&KEY_BYTES_MAX));
        assert!(values.contains(&0) && values.contains(&(1 << 20)) && values.contains(&VALUE_BYTES_MAX));
    }
}
