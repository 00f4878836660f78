//! The data set: the key and the value of each index. Both follow from the index and the seed, so that a read can be
//! checked byte for byte and a data set loaded once serves many runs.

use bytes::Bytes;

use super::chance::{Chance, mix};

/// Values are slices of a pool this much larger than one value, so that making one costs no copy.
const POOL_BYTES: usize = 1 << 20;
/// Odd and no multiple of 5: multiplying by it modulo a power of ten keeps numbers apart.
const SPREAD: u128 = 618_033_988_749_894_849;
const PREFIX: &[u8] = b"user";

/// Keys and values by index.
#[derive(Clone, Debug)]
pub(crate) struct DataSet {
    key_bytes: usize,
    value_bytes: usize,
    /// Ten to the number of digits in a key.
    numbers: u128,
    seed: u64,
    pool: Bytes,
}

impl DataSet {
    /// Keys of `key_bytes`, at least 12, and values of `value_bytes`.
    pub fn new(key_bytes: usize, value_bytes: usize, seed: u64) -> Self {
        let digits = (key_bytes - PREFIX.len()).min(18) as u32;
        let mut chance = Chance::new(seed);
        let mut pool = Vec::with_capacity(POOL_BYTES + value_bytes);
        while pool.len() < POOL_BYTES + value_bytes {
            pool.extend_from_slice(&chance.next().to_le_bytes());
        }
        Self { key_bytes, value_bytes, numbers: 10u128.pow(digits), seed, pool: pool.into() }
    }

    /// How many keys of this length there are.
    pub fn keys_max(&self) -> u64 {
        self.numbers as u64
    }

    /// The key of an index below [`DataSet::keys_max`]: `user` and digits.
    pub fn key(&self, index: u64) -> Bytes {
        let mut number = ((u128::from(index) * SPREAD) % self.numbers) as u64;
        let mut key = vec![b'0'; self.key_bytes];
        key[..PREFIX.len()].copy_from_slice(PREFIX);
        for digit in key[PREFIX.len()..].iter_mut().rev().take(18) {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        key.into()
    }

    /// The value of an index.
    pub fn value(&self, index: u64) -> Bytes {
        let start = (mix(index ^ self.seed) % POOL_BYTES as u64) as usize;
        self.pool.slice(start..start + self.value_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_have_their_length_and_are_all_different() {
        for key_bytes in [12, 16, 40] {
            let data = DataSet::new(key_bytes, 8, 1);
            let keys: HashSet<Bytes> = (0..10_000).map(|index| data.key(index)).collect();
            assert_eq!(keys.len(), 10_000);
            assert!(keys.iter().all(|key| key.len() == key_bytes && key.starts_with(b"user")));
        }
        let data = DataSet::new(12, 0, 1);
        assert_eq!(data.key(0), "user00000000");
        assert_eq!(data.keys_max(), 100_000_000);
    }

    #[test]
    fn values_follow_from_index_and_seed() {
        let (one, same, other) =
            (DataSet::new(16, 100, 1), DataSet::new(16, 100, 1), DataSet::new(16, 100, 2));
        assert_eq!(one.value(5), same.value(5));
        assert_ne!(one.value(5), one.value(6));
        assert_ne!(one.value(5), other.value(5));
        assert_eq!(one.value(u64::MAX).len(), 100);
        assert_eq!(DataSet::new(16, 0, 1).value(3), "");
    }
}
