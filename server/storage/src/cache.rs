//! RowCache: rows in memory in front of the engine, by engine key, bounded by bytes. A hit takes a shared lock of one
//! of 64 shards and sets a bit; who makes room is found by CLOCK, a hand that passes over rows used since it came by.
//!
//! Readers fill it on a miss, the one writer of a key keeps it true. A reader may come late with a row that has been
//! overwritten since; to be refused, each key belongs to one of its shard's stripes.
//!
//! Invariants:
//! - A stripe's `sequence` grows with every write of one of its keys; `writers` counts those between
//!   [`RowCache::begin`] and [`RowCache::finish`].
//! - A row is filled only if its stripe has no writers now, had none when the ticket was taken, and has the ticket's
//!   sequence. So a filled row was read while no write of its key was under way.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockWriteGuard};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::keys::Row;

const SHARDS: usize = 64;
const STRIPES: usize = 64;
/// What a row costs beside its bytes: its place in a table that is half to fully loaded, and the allocator's share.
const OVERHEAD_BYTES: usize = 120;
/// A row larger than this part of its shard is not kept.
const LARGEST_PART: usize = 4;
/// A value up to this size lies beside its key and is copied out: that takes no longer than to count one more owner,
/// whose counter is one more line of memory to wait for.
const COPIED_BYTES_MAX: usize = 512;

/// Rows by engine key, bounded by bytes.
pub struct RowCache {
    seed: u64,
    shard_bytes_max: usize,
    shards: Box<[RwLock<Shard>]>,
}

/// What a reader takes before it reads the engine after a miss.
#[derive(Clone, Copy, Debug)]
pub struct Ticket(Option<u64>);

impl RowCache {
    /// A cache of at most about `bytes_max` bytes; 0 keeps nothing.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            // Which rows meet in a shard is not for users to choose.
            seed: rand::random(),
            shard_bytes_max: bytes_max / SHARDS,
            shards: (0..SHARDS).map(|_| RwLock::new(Shard::default())).collect(),
        }
    }

    /// The cached row of an engine key.
    pub fn get(&self, key: &[u8]) -> Option<Row> {
        let hash = self.hash(key);
        let shard = self.shard(hash).read();
        let entry = shard.entry(hash, key)?;
        entry.touch();
        Some(entry.row())
    }

    /// The cached rows of many engine keys, in their order. A row in memory that no processor's cache holds takes three
    /// reads, each of which needs the one before; here those of different rows overlap. For that there is no locking while they
    /// are read: it would wait for all of them.
    pub fn get_many<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Vec<Option<Row>> {
        let keys: Vec<(u64, &[u8])> = keys.map(|key| (self.hash(key), key)).collect();
        let mut wanted = [false; SHARDS];
        keys.iter().for_each(|&(hash, _)| wanted[shard_of(hash)] = true);
        // In one order for all: a reader also waits behind a writer that waits, so in any other they could wait in a circle.
        // A writer has one at a time.
        let mut shards = [const { None }; SHARDS];
        for ((held, shard), wanted) in shards.iter_mut().zip(&self.shards).zip(wanted) {
            *held = wanted.then(|| shard.read());
        }
        let entry = |&(hash, _): &(u64, _)| {
            let shard = shards[shard_of(hash)].as_ref()?;
            shard.table.find(hash, |entry| entry.hash == hash)
        };
        let entries: Vec<Option<&Entry>> = keys.iter().map(entry).collect();
        // Only to have them read; the sum is of no use.
        let first = |entry: &Entry| entry.bytes.first().copied().unwrap_or_default();
        std::hint::black_box(entries.iter().flatten().map(|entry| first(entry)).fold(0, u8::wrapping_add));
        let row = |(entry, (hash, key)): (Option<&Entry>, &(u64, &[u8]))| {
            let entry = match entry? {
                entry if entry.is(*hash, key) => entry,
                // Another key of the same hash.
                _ => shards[shard_of(*hash)].as_ref()?.entry(*hash, key)?,
            };
            entry.touch();
            Some(entry.row())
        };
        entries.into_iter().zip(&keys).map(row).collect()
    }

    /// Looks at the cached row of an engine key in place, without a copy. `look` gets version, expiry (0: never) and
    /// value; it holds up the shard's writers and must be short.
    pub fn look<T>(&self, key: &[u8], look: impl FnOnce(u64, u64, &[u8]) -> T) -> Option<T> {
        let hash = self.hash(key);
        let shard = self.shard(hash).read();
        let entry = shard.entry(hash, key)?;
        entry.touch();
        Some(look(entry.version, entry.expires_ms, entry.value()))
    }

    /// To be taken after a miss and before the engine is read.
    pub fn ticket(&self, key: &[u8]) -> Ticket {
        let hash = self.hash(key);
        let stripe = self.shard(hash).read().stripes[stripe_of(hash)];
        Ticket((stripe.writers == 0).then_some(stripe.sequence))
    }

    /// What a reader read from the engine. Ignored, and false returned, if the key may have been written since the
    /// ticket was taken.
    pub fn fill(&self, ticket: Ticket, key: &[u8], row: &Row) -> bool {
        let hash = self.hash(key);
        let mut shard = self.shard(hash).write();
        let stripe = shard.stripes[stripe_of(hash)];
        if stripe.writers > 0 || ticket.0 != Some(stripe.sequence) {
            return false;
        }
        shard.set(hash, key, row, self.shard_bytes_max);
        true
    }

    /// The writer, before it writes the engine, if readers run on other threads: drops the row and lets nobody fill it.
    pub fn begin(&self, key: &[u8]) {
        let hash = self.hash(key);
        let mut shard = self.shard(hash).write();
        let stripe = &mut shard.stripes[stripe_of(hash)];
        stripe.writers += 1;
        stripe.sequence += 1;
        shard.remove(hash, key);
    }

    /// The writer, after it wrote the engine: ends [`RowCache::begin`] and sets the row; `None`: it was deleted. To be
    /// called once for every begin, also if the engine failed (then with `None`).
    pub fn finish(&self, key: &[u8], row: Option<&Row>) {
        let hash = self.hash(key);
        let mut shard = self.end(hash);
        match row {
            Some(row) => shard.set(hash, key, row, self.shard_bytes_max),
            None => shard.remove(hash, key),
        }
    }

    /// The same for a row that nobody has asked for yet: it is set only where that evicts no other.
    pub fn finish_unasked(&self, key: &[u8], row: &Row) {
        let hash = self.hash(key);
        let mut shard = self.end(hash);
        if shard.has_room(key, row, self.shard_bytes_max) {
            shard.set(hash, key, row, self.shard_bytes_max);
        }
    }

    /// Ends [`RowCache::begin`]; the row is not there.
    fn end(&self, hash: u64) -> RwLockWriteGuard<'_, Shard> {
        let mut shard = self.shard(hash).write();
        let stripe = &mut shard.stripes[stripe_of(hash)];
        stripe.writers = stripe.writers.saturating_sub(1);
        stripe.sequence += 1;
        shard
    }

    /// The writer, where readers run on its own thread only: sets the row.
    pub fn insert(&self, key: &[u8], row: &Row) {
        let hash = self.hash(key);
        let mut shard = self.shard(hash).write();
        shard.stripes[stripe_of(hash)].sequence += 1;
        shard.set(hash, key, row, self.shard_bytes_max);
    }

    /// The writer, where readers run on its own thread only: drops the row.
    pub fn remove(&self, key: &[u8]) {
        let hash = self.hash(key);
        let mut shard = self.shard(hash).write();
        shard.stripes[stripe_of(hash)].sequence += 1;
        shard.remove(hash, key);
    }

    /// Drops everything, and what readers are about to fill.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.write();
            let mut stripes = shard.stripes;
            stripes.iter_mut().for_each(|stripe| stripe.sequence += 1);
            *shard = Shard { stripes, ..Shard::default() };
        }
    }

    /// Bytes held now, overhead included.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().bytes).sum()
    }

    /// Rows held now.
    pub fn rows(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().table.len()).sum()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed)
    }

    // The table of a shard uses the lowest and the highest bits of the hash, shard and stripe use others.
    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        &self.shards[shard_of(hash)]
    }
}

fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

fn stripe_of(hash: u64) -> usize {
    (hash >> 48) as usize % STRIPES
}

#[derive(Clone, Copy, Default)]
struct Stripe {
    sequence: u64,
    writers: u32,
}

/// One line of memory, then the bytes.
#[repr(align(64))]
struct Entry {
    hash: u64,
    /// The key, and behind it a small value.
    bytes: Box<[u8]>,
    large_value: Option<Box<Bytes>>,
    version: u64,
    expires_ms: u64,
    key_bytes: u32,
    used: AtomicBool,
}

impl Entry {
    fn new(hash: u64, key: &[u8], row: &Row) -> Self {
        let is_small = row.value.len() <= COPIED_BYTES_MAX;
        let bytes = if is_small { [key, &row.value].concat().into() } else { key.into() };
        // A copy, since the value may be a slice of a whole block or frame, which it would keep in memory.
        let large_value = (!is_small).then(|| Box::new(Bytes::copy_from_slice(&row.value)));
        let Row { version, expires_ms, .. } = *row;
        Self {
            hash,
            bytes,
            large_value,
            version,
            expires_ms,
            key_bytes: key.len() as u32,
            used: AtomicBool::new(false),
        }
    }

    fn is(&self, hash: u64, key: &[u8]) -> bool {
        self.hash == hash && self.bytes[..self.key_bytes as usize] == *key
    }

    fn touch(&self) {
        // Read first: a row in common use stays in every core's cache.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    fn value(&self) -> &[u8] {
        match &self.large_value {
            Some(value) => value,
            None => &self.bytes[self.key_bytes as usize..],
        }
    }

    fn row(&self) -> Row {
        let value = match &self.large_value {
            Some(value) => Bytes::clone(value),
            None => Bytes::copy_from_slice(self.value()),
        };
        Row { version: self.version, expires_ms: self.expires_ms, value }
    }

    fn cost(&self) -> usize {
        self.bytes.len() + self.large_value.as_ref().map_or(0, |value| value.len()) + OVERHEAD_BYTES
    }
}

struct Shard {
    table: HashTable<Entry>,
    hand: usize,
    bytes: usize,
    stripes: [Stripe; STRIPES],
}

impl Default for Shard {
    fn default() -> Self {
        Self { table: HashTable::new(), hand: 0, bytes: 0, stripes: [Stripe::default(); STRIPES] }
    }
}

impl Shard {
    fn entry(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.table.find(hash, |entry| entry.is(hash, key))
    }

    fn set(&mut self, hash: u64, key: &[u8], row: &Row, bytes_max: usize) {
        if key.len() + row.value.len() + OVERHEAD_BYTES > bytes_max / LARGEST_PART {
            return self.remove(hash, key);
        }
        let mut entry = Entry::new(hash, key, row);
        if let Some(old) = self.table.find_mut(hash, |entry| entry.is(hash, key)) {
            *entry.used.get_mut() = *old.used.get_mut();
            self.bytes = self.bytes - old.cost() + entry.cost();
            *old = entry;
            self.make_room(0, bytes_max);
        } else {
            self.make_room(entry.cost(), bytes_max);
            self.bytes += entry.cost();
            self.table.insert_unique(hash, entry, |entry| entry.hash);
        }
    }

    fn has_room(&self, key: &[u8], row: &Row, bytes_max: usize) -> bool {
        self.bytes + key.len() + row.value.len() + OVERHEAD_BYTES <= bytes_max
    }

    fn remove(&mut self, hash: u64, key: &[u8]) {
        if let Ok(entry) = self.table.find_entry(hash, |entry| entry.is(hash, key)) {
            self.bytes -= entry.remove().0.cost();
        }
    }

    /// Evicts until `wanted` bytes more fit. Ends after two rounds at the latest: the first clears every `used`.
    fn make_room(&mut self, wanted: usize, bytes_max: usize) {
        while self.bytes + wanted > bytes_max && !self.table.is_empty() {
            self.hand = (self.hand + 1) % self.table.num_buckets();
            if let Ok(mut entry) = self.table.get_bucket_entry(self.hand)
                && !std::mem::take(entry.get_mut().used.get_mut())
            {
                self.bytes -= entry.remove().0.cost();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc};

    use proptest::prelude::*;

    use super::*;

    fn row(version: u64, bytes: usize) -> Row {
        Row { version, expires_ms: 0, value: vec![version as u8; bytes].into() }
    }

    #[test]
    fn late_fill_of_an_overwritten_row_is_refused() {
        let cache = RowCache::new(1 << 20);
        let ticket = cache.ticket(b"k");
        cache.insert(b"k", &row(2, 1));
        assert!(!cache.fill(ticket, b"k", &row(1, 1)));
        assert_eq!(cache.get(b"k"), Some(row(2, 1)));

        let ticket = cache.ticket(b"k");
        cache.remove(b"k");
        assert!(!cache.fill(ticket, b"k", &row(2, 1)));
        assert_eq!(cache.get(b"k"), None);
    }

    #[test]
    fn nobody_fills_between_begin_and_finish() {
        let cache = RowCache::new(1 << 20);
        let before = cache.ticket(b"k");
        cache.insert(b"k", &row(1, 1));
        cache.begin(b"k");
        assert_eq!(cache.get(b"k"), None);
        let during = cache.ticket(b"k");
        assert!(!cache.fill(before, b"k", &row(1, 1)));
        assert!(!cache.fill(during, b"k", &row(1, 1)));
        cache.finish(b"k", Some(&row(2, 1)));
        assert!(!cache.fill(during, b"k", &row(1, 1)));
        assert_eq!(cache.get(b"k"), Some(row(2, 1)));
        assert!(cache.fill(cache.ticket(b"k"), b"k", &row(2, 1)));
    }

    #[test]
    fn row_that_nobody_has_asked_for_is_set_where_that_evicts_no_other() {
        let cache = RowCache::new(64 * 4096);
        let finish_unasked = |key: &[u8], row: &Row| {
            cache.begin(key);
            let during = cache.ticket(key);
            cache.finish_unasked(key, row);
            assert!(!cache.fill(during, key, row), "it was under way");
        };
        for key in (0..10_000u32).map(u32::to_be_bytes) {
            finish_unasked(&key, &row(1, 100));
        }
        let held = cache.rows();
        assert!(held > 500, "{held}");
        finish_unasked(&0u32.to_be_bytes(), &row(2, 100));
        assert_eq!(
            (cache.get(&0u32.to_be_bytes()), cache.rows()),
            (Some(row(2, 100)), held),
            "as large as before"
        );
        cache.clear();
        cache.insert(b"hot", &row(1, 900));
        finish_unasked(b"hot", &row(2, 4000));
        assert_eq!(cache.get(b"hot"), None, "what was there is not kept in place of what is");
    }

    #[test]
    fn rows_past_the_bound_make_room_and_used_ones_stay() {
        let cache = RowCache::new(64 * 4096);
        let keys: Vec<_> = (0..10_000u32).map(u32::to_be_bytes).collect();
        cache.insert(b"hot", &row(1, 100));
        for key in &keys {
            cache.insert(key, &row(1, 100));
            assert!(cache.get(b"hot").is_some());
        }
        assert!(cache.bytes() <= 64 * 4096, "{}", cache.bytes());
        let held = keys.iter().filter(|key| cache.get(*key).is_some()).count();
        assert!(held > 500, "{held}");
        assert_eq!(held + 1, cache.rows());
        cache.insert(b"hot", &row(2, 100_000));
        assert_eq!(cache.get(b"hot"), None, "larger than a shard keeps");
        cache.clear();
        assert_eq!((cache.bytes(), cache.rows()), (0, 0));
    }

    #[test]
    fn cache_of_no_bytes_keeps_nothing() {
        let cache = RowCache::new(0);
        cache.insert(b"k", &row(1, 0));
        assert_eq!(cache.get(b"k"), None);
    }

    proptest! {
        #[test]
        fn whatever_is_served_is_what_was_written_last(
            steps in proptest::collection::vec((0u8..20, 0..3u8, 0usize..300), 1..400),
        ) {
            let cache = RowCache::new(64 * 1500);
            let mut written: HashMap<u8, Row> = HashMap::new();
            for (version, (key, step, bytes)) in (1..).zip(steps) {
                let name = [key];
                match step {
                    0 => {
                        cache.insert(&name, &row(version, bytes));
                        written.insert(key, row(version, bytes));
                    }
                    1 => {
                        cache.remove(&name);
                        written.remove(&key);
                    }
                    _ => {
                        if let Some(row) = written.get(&key) {
                            prop_assert!(cache.fill(cache.ticket(&name), &name, row));
                        }
                    }
                }
                let names: Vec<_> = (0..20).map(|key| [key]).collect();
                let many = cache.get_many(names.iter().map(|name| &name[..]));
                prop_assert_eq!(many, names.iter().map(|name| cache.get(name)).collect::<Vec<_>>());
                for key in 0..20 {
                    if let Some(served) = cache.get(&[key]) {
                        prop_assert_eq!(Some(&served), written.get(&key));
                    }
                }
                prop_assert!(cache.bytes() <= 64 * 1500);
            }
        }
    }

    #[test]
    fn readers_of_many_and_writers_never_wait_in_a_circle() {
        let cache = Arc::new(RowCache::new(64 * 2048));
        let (done, ended) = std::sync::mpsc::channel();
        let names: Arc<[[u8; 4]]> = (0..200u32).map(u32::to_be_bytes).collect();
        for thread in 0..4u64 {
            let (cache, names, done) = (cache.clone(), names.clone(), done.clone());
            std::thread::spawn(move || {
                for round in 0..4000 {
                    match thread {
                        0 => drop(cache.get_many(names.iter().map(|name| &name[..]))),
                        1 => drop(cache.get_many(names.iter().rev().map(|name| &name[..]))),
                        _ => (0..50).for_each(|at| cache.insert(&names[(round + at) % 200], &row(thread, 8))),
                    }
                }
                done.send(()).ok();
            });
        }
        for _ in 0..4 {
            ended.recv_timeout(std::time::Duration::from_secs(60)).expect("nobody waits for ever");
        }
    }

    #[test]
    fn readers_on_other_threads_never_see_versions_go_back() {
        let cache = RowCache::new(64 * 2048);
        let engine: Vec<RwLock<u64>> = (0..200u32).map(|_| RwLock::new(1)).collect();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut seen = vec![0; engine.len()];
                    while !done.load(Ordering::Relaxed) {
                        for (at, key) in (0..engine.len()).map(|at| (at, (at as u32).to_be_bytes())) {
                            let version = cache.get(&key).map_or_else(
                                || {
                                    let ticket = cache.ticket(&key);
                                    let version = *engine[at].read();
                                    cache.fill(ticket, &key, &row(version, 64));
                                    version
                                },
                                |row| row.version,
                            );
                            assert!(version >= seen[at], "{version} after {}", seen[at]);
                            seen[at] = version;
                        }
                    }
                });
            }
            for version in 2..20_000u64 {
                let at = (version * 7919) as usize % engine.len();
                let key = (at as u32).to_be_bytes();
                cache.begin(&key);
                *engine[at].write() = version;
                cache.finish(&key, Some(&row(version, 64)));
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    /// CPU time of the thread: builds and other tests may run beside it.
    fn cpu_ns() -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a timespec that lives through the call.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    /// `cargo test --release -p slotkv-storage hit_time -- --ignored --nocapture`
    #[test]
    #[ignore = "prints a measurement"]
    fn hit_time() {
        for count in [10_000, 1_000_000] {
            let cache = RowCache::new(1 << 30);
            let keys: Vec<_> = (0..count as u64)
                .map(|n| crate::keys::data_key((n % 1024) as u16, "", format!("key{n:013}").as_bytes()))
                .collect();
            for key in &keys {
                cache.insert(key, &row(1, 100));
            }
            for threads in [1, 2] {
                std::thread::scope(|scope| {
                    for thread in 0..threads {
                        let (cache, keys) = (&cache, &keys);
                        scope.spawn(move || {
                            let started = cpu_ns();
                            let mut at = thread * 777;
                            for _ in 0..2_000_000 {
                                at = (at + 611_953) % keys.len();
                                std::hint::black_box(cache.get(&keys[at]));
                            }
                            let each = (cpu_ns() - started) / 2_000_000;
                            let started = cpu_ns();
                            for _ in 0..2_000_000 / 32 {
                                let many = [(); 32].map(|()| {
                                    at = (at + 611_953) % keys.len();
                                    &keys[at][..]
                                });
                                std::hint::black_box(cache.get_many(many.into_iter()));
                            }
                            let many = (cpu_ns() - started) / 2_000_000;
                            println!("{count} rows, {threads} threads: {each} ns per hit, {many} among 32");
                        });
                    }
                });
            }
        }
    }
}
