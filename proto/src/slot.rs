//! Key to slot, as Redis Cluster does it: CRC16/XMODEM of the key or of its hash tag, modulo 16384; slotkv then keeps
//! the high bits, so that a cluster may have fewer slots. Published vectors: `vectors/slots.json`.

/// Slots that the hash itself knows; a cluster has this many or a smaller power of two.
pub const HASH_SLOTS: u16 = 16384;

/// How many slots a cluster has: a power of two, 1 to 16384, fixed when the cluster is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotCount {
    bits: u8,
}

impl SlotCount {
    /// `None` unless `count` is a power of two up to [`HASH_SLOTS`].
    pub const fn new(count: u32) -> Option<Self> {
        if count.is_power_of_two() && count <= HASH_SLOTS as u32 {
            Some(Self { bits: count.trailing_zeros() as u8 })
        } else {
            None
        }
    }

    /// The number of slots.
    pub const fn get(self) -> u16 {
        1 << self.bits
    }
}

impl Default for SlotCount {
    /// 1024 slots.
    fn default() -> Self {
        Self { bits: 10 }
    }
}

/// The slot of `key` in a cluster with `slots` slots. Namespaces are not hashed.
pub fn slot(key: &[u8], slots: SlotCount) -> u16 {
    hash_slot(key) >> (14 - slots.bits)
}

/// The slot among [`HASH_SLOTS`], before the shift to the cluster's slot count; equal to Redis Cluster's `KEYSLOT`.
pub fn hash_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key).unwrap_or(key)) % HASH_SLOTS
}

/// The bytes between the first `{` and the first `}` behind it, if there are any.
pub fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|&byte| byte == b'{')?;
    let rest = &key[open + 1..];
    let close = rest.iter().position(|&byte| byte == b'}')?;
    (close > 0).then(|| &rest[..close])
}

const TABLE: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// CRC16/XMODEM: polynomial 0x1021, initial value 0, not reflected.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ TABLE[((crc >> 8) as u8 ^ byte) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_of_the_check_string_is_the_published_one() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn a_tag_is_the_first_closed_pair_of_braces_with_something_inside() {
        assert_eq!(hash_tag(b"{user1000}.following"), Some(&b"user1000"[..]));
        assert_eq!(hash_tag(b"foo{}{bar}"), None);
        assert_eq!(hash_tag(b"foo{{bar}}zap"), Some(&b"{bar"[..]));
        assert_eq!(hash_tag(b"foo{bar}{zap}"), Some(&b"bar"[..]));
        assert_eq!(hash_tag(b"foo{bar"), None);
        assert_eq!(hash_tag(b"foo}bar{"), None);
    }

    #[test]
    fn counts_that_are_no_power_of_two_or_too_large_are_refused() {
        for count in [0, 3, 1023, 32768, u32::MAX] {
            assert_eq!(SlotCount::new(count), None, "{count}");
        }
        for bits in 0..=14 {
            assert_eq!(SlotCount::new(1 << bits).unwrap().get(), 1 << bits);
        }
    }

    #[test]
    fn every_slot_count_keeps_the_high_bits() {
        for bits in 0..=14u32 {
            let slots = SlotCount::new(1 << bits).unwrap();
            assert_eq!(slot(b"foo", slots), 12182 >> (14 - bits));
        }
    }
}
