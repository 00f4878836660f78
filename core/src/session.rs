//! How fresh a read has to be, and what a session has seen.
//!
//! Layout of a session token: format (1), count (u32 LE), then for each shard its id (u32 LE), epoch and log index (u64 LE
//! each). The first byte changes when anything else does.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use slotkv_proto::{
    Code,
    limits::{self, SHARDS_MAX},
    table::ShardId,
    v1,
};

use crate::{Error, Result};

/// The format of session tokens that this build writes.
pub const SESSION_FORMAT: u8 = 1;

const SHARD_BYTES: usize = 4 + 8 + 8;

/// How fresh the answer of a read has to be. All but linearizable reads are answered by any replica that is fresh enough,
/// primary or backup: by a near and quick one if there is a choice. If none is, the primary answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadLevel {
    /// What the key holds at the time of the read. The primary answers.
    #[default]
    Linearizable,
    /// Not older than what the session has written or read before.
    Session,
    /// Older by no more than this; at most 300 s.
    Bounded(Duration),
    /// Perhaps old, by however much.
    Stale,
}

impl ReadLevel {
    /// What a request says of it.
    pub(crate) fn wire(self) -> (v1::ReadLevel, u32) {
        match self {
            ReadLevel::Linearizable => (v1::ReadLevel::Linearizable, 0),
            ReadLevel::Session => (v1::ReadLevel::Session, 0),
            ReadLevel::Bounded(age) => {
                (v1::ReadLevel::Bounded, age.as_millis().min(u128::from(limits::DEADLINE_MS_MAX)) as u32)
            }
            ReadLevel::Stale => (v1::ReadLevel::Stale, 0),
        }
    }
}

/// A place in the history of a shard. Those of one shard are ordered as its states are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub epoch: u64,
    pub index: u64,
}

impl Seen {
    /// The token of a request.
    pub fn wire(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(1 + 8 + 8);
        bytes.put_u8(SESSION_FORMAT);
        bytes.put_u64_le(self.epoch);
        bytes.put_u64_le(self.index);
        bytes.freeze()
    }
}

/// The newest place that a shard's members have told of. The two grow by themselves, so what is read may be ahead of
/// all that was told, and is never behind.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    epoch: AtomicU64,
    index: AtomicU64,
}

impl Heard {
    pub fn note(&self, seen: Seen) {
        if self.epoch.load(Ordering::Relaxed) < seen.epoch {
            self.epoch.fetch_max(seen.epoch, Ordering::Relaxed);
        }
        self.index.fetch_max(seen.index, Ordering::Relaxed);
    }

    pub fn index(&self) -> u64 {
        self.index.load(Ordering::Relaxed)
    }

    pub fn seen(&self) -> Seen {
        Seen { epoch: self.epoch.load(Ordering::Relaxed), index: self.index() }
    }
}

/// What the calls of a session have seen, by shard. Clones are the same session.
#[derive(Clone, Debug, Default)]
pub struct Session(Arc<Mutex<BTreeMap<ShardId, Seen>>>);

impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Session {}

impl Session {
    /// The session that a token stands for; of no bytes, one that has seen nothing.
    ///
    /// Errors: `UNSUPPORTED` for a token of a newer format, `INVALID_ARGUMENT` for what is none.
    pub fn from_token(mut token: &[u8]) -> Result<Self> {
        let length = token.len();
        let none = || Error::invalid(format!("a session token has not {length} bytes as these are"));
        let mut shards = BTreeMap::new();
        match token.first() {
            None => return Ok(Self::default()),
            Some(&SESSION_FORMAT) => token.advance(1),
            Some(format) => {
                let text = format!(
                    "the session token has format {format}; this client knows format {SESSION_FORMAT}"
                );
                return Err(Error::new(Code::Unsupported, text));
            }
        }
        let count = if token.len() < 4 { return Err(none()) } else { token.get_u32_le() as usize };
        if count > SHARDS_MAX || token.len() != count * SHARD_BYTES {
            return Err(none());
        }
        for _ in 0..count {
            let (shard, epoch, index) = (token.get_u32_le(), token.get_u64_le(), token.get_u64_le());
            shards.insert(shard, Seen { epoch, index });
        }
        Ok(Self(Arc::new(Mutex::new(shards))))
    }

    /// Opaque bytes, for another process or language to go on with.
    pub fn token(&self) -> Bytes {
        encode(self.lock().iter().map(|(&shard, &seen)| (shard, seen)))
    }

    pub(crate) fn note(&self, shard: ShardId, seen: Seen) {
        let mut shards = self.lock();
        // Shards that a foreign token made up are not added to for ever.
        if shards.len() < SHARDS_MAX || shards.contains_key(&shard) {
            let known = shards.entry(shard).or_default();
            *known = (*known).max(seen);
        }
    }

    pub(crate) fn seen(&self, shard: ShardId) -> Seen {
        self.lock().get(&shard).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token of what was seen of some shards.
pub(crate) fn encode(shards: impl Iterator<Item = (ShardId, Seen)>) -> Bytes {
    let shards: Vec<_> = shards.collect();
    let mut bytes = BytesMut::with_capacity(1 + 4 + shards.len() * SHARD_BYTES);
    bytes.put_u8(SESSION_FORMAT);
    bytes.put_u32_le(shards.len() as u32);
    for (shard, seen) in shards {
        bytes.put_u32_le(shard);
        bytes.put_u64_le(seen.epoch);
        bytes.put_u64_le(seen.index);
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_format_1_are_the_golden_ones() {
        let session = Session::default();
        session.note(3, Seen { epoch: 2, index: 258 });
        session.note(3, Seen { epoch: 1, index: 900 });
        let token = session.token();
        let hex: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "01010000000300000002000000000000000201000000000000");
        assert_eq!(Session::from_token(&token).unwrap().token(), token);
        assert_eq!(Session::from_token(b"").unwrap().seen(3), Seen::default());
    }

    #[test]
    fn what_is_no_token_is_refused_by_name() {
        let token = encode([(1, Seen::default())].into_iter());
        let newer = [&[2][..], &token[1..]].concat();
        for (bytes, code) in [
            (&newer[..], Code::Unsupported),
            (&token[..token.len() - 1], Code::InvalidArgument),
            (&token[..3], Code::InvalidArgument),
            (&[1, 0xff, 0xff, 0xff, 0xff][..], Code::InvalidArgument),
        ] {
            assert_eq!(Session::from_token(bytes).unwrap_err().code, code, "{bytes:?}");
        }
    }
}
