//! Medium: what a disk can hold after a power cut or a kill, of calls that were recorded. It keeps the promises that the
//! system makes and no more: contents are durable after a sync of the file, names after a sync of their folder.

use std::{collections::BTreeMap, fs, os::unix::fs::FileExt, path::Path};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::recorder::Call;

/// What a disk writes whole when it writes over something.
const SECTOR: u64 = 512;

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The process was killed, the system has it all.
    Kept,
    /// Nothing survives.
    Lost,
    /// A first part of the changes of each file and folder survives, and the next one is torn.
    Torn,
    /// The same, and each of its sectors may be missing.
    Scattered,
    /// As torn, and one of the syncs did nothing, which the disk did not say.
    Lied,
}

/// A file, with zeros behind its bytes.
#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    len: u64,
}

#[derive(Default)]
struct Object<'a> {
    is_dir: bool,
    content: Content,
    names: BTreeMap<&'a str, usize>,
    pending: Vec<&'a Call>,
}

/// Makes the image that `calls` leave in `folder`, which is absent.
pub fn build(calls: &[Call], fate: Fate, seed: u64, folder: &Path) {
    let mut chance = SmallRng::seed_from_u64(seed);
    let syncs: Vec<_> = (0..calls.len()).filter(|&at| matches!(calls[at], Call::Sync { .. })).collect();
    let lie = (fate == Fate::Lied && !syncs.is_empty()).then(|| {
        // A late one, or it would have been made good since.
        let back = chance.random_range(1..=syncs.len().min(8));
        syncs[syncs.len() - back]
    });
    let mut objects = BTreeMap::from([(0, Object { is_dir: true, ..Object::default() })]);
    for (at, call) in calls.iter().enumerate() {
        let id = match call {
            Call::Link { dir, id, is_dir, .. } => {
                objects.insert(*id, Object { is_dir: *is_dir, ..Object::default() });
                dir
            }
            Call::Rename { dir, .. } | Call::Unlink { dir, .. } => dir,
            Call::Write { id, .. } | Call::SetLen { id, .. } | Call::Sync { id } => id,
        };
        let object = objects.get_mut(id).expect("it was made before");
        match call {
            Call::Sync { .. } if lie == Some(at) => {}
            Call::Sync { .. } => object.settle(usize::MAX),
            _ => object.pending.push(call),
        }
    }
    objects.values_mut().for_each(|object| object.end(fate, &mut chance));
    write(&objects, 0, folder);
}

fn write(objects: &BTreeMap<usize, Object<'_>>, id: usize, path: &Path) {
    let object = &objects[&id];
    if object.is_dir {
        fs::create_dir(path).expect("an image can be made");
        object.names.iter().for_each(|(name, &id)| write(objects, id, &path.join(name)));
    } else {
        let Content { bytes, len } = &object.content;
        let file = fs::File::create(path).expect("an image can be made");
        file.write_all_at(&bytes[..bytes.len().min(*len as usize)], 0).expect("an image has room");
        file.set_len(*len).expect("an image has room");
    }
}

impl<'a> Object<'a> {
    /// Makes the first pending changes durable.
    fn settle(&mut self, count: usize) {
        let count = count.min(self.pending.len());
        for call in self.pending.drain(..count) {
            match call {
                Call::Link { name, id, .. } => drop(self.names.insert(name, *id)),
                Call::Rename { from, to, .. } => {
                    if let Some(id) = self.names.remove(from.as_str()) {
                        self.names.insert(to, id);
                    }
                }
                Call::Unlink { name, .. } => drop(self.names.remove(name.as_str())),
                Call::Write { offset, bytes, .. } => self.content.write(*offset, bytes),
                Call::SetLen { len, .. } => self.content.set_len(*len),
                Call::Sync { .. } => {}
            }
        }
    }

    /// Settles as many of the pending changes as fate has it, and forgets the others.
    fn end(&mut self, fate: Fate, chance: &mut SmallRng) {
        let count = match fate {
            Fate::Kept => usize::MAX,
            Fate::Lost => 0,
            Fate::Torn | Fate::Scattered | Fate::Lied => chance.random_range(0..=self.pending.len()),
        };
        let before = self.content.clone();
        self.settle(count);
        if let (Fate::Torn | Fate::Lied, Some(Call::Write { offset, bytes, .. })) =
            (fate, self.pending.first())
        {
            let mut count = chance.random_range(0..=bytes.len() as u64);
            if *offset < self.content.len {
                count = ((offset + count) / SECTOR * SECTOR).saturating_sub(*offset);
            } else if chance.random_ratio(1, 4) {
                // The length reached the disk, the bytes did not.
                self.content.set_len(offset + bytes.len() as u64);
            }
            if count > 0 {
                self.content.write(*offset, &bytes[..count as usize]);
            }
        }
        if fate == Fate::Scattered {
            self.content.lose_sectors(&before, chance);
        }
    }
}

impl Content {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        if self.bytes.len() < to {
            self.bytes.resize(to, 0);
        }
        self.bytes[from..to].copy_from_slice(bytes);
        self.len = self.len.max(to as u64);
    }

    fn set_len(&mut self, len: u64) {
        self.bytes.truncate(len as usize);
        self.len = len;
    }

    /// Takes back a random half of the sectors that differ.
    fn lose_sectors(&mut self, before: &Self, chance: &mut SmallRng) {
        for start in (0..self.bytes.len()).step_by(SECTOR as usize) {
            let end = (start + SECTOR as usize).min(self.bytes.len());
            let old = |at: usize| before.bytes.get(at).copied().unwrap_or(0);
            if (start..end).any(|at| self.bytes[at] != old(at)) && chance.random_ratio(1, 2) {
                (start..end).for_each(|at| self.bytes[at] = old(at));
            }
        }
    }
}
