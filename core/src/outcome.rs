//! What came of a write whose call ended with an unknown outcome: the token by which it can be asked for, and the answer.
//!
//! Layout of a token: format (1), client id (16 bytes), sequence (u64 LE), shard and fence (u32 and u64 LE), length of the
//! namespace (u16 LE), the namespace and the key. The first byte changes when anything else does.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use slotkv_proto::{Code, limits, v1};

use crate::{Error, Result, call::Inner};

/// The format of write tokens that this build writes.
pub const WRITE_TOKEN_FORMAT: u8 = 1;

const HEADER_BYTES: usize = 1 + limits::CLIENT_ID_BYTES + 8 + 4 + 8 + 2;

/// Stands for a write that ended with an unknown outcome: opaque bytes, which also another process or language can ask
/// [`Client::outcome`](crate::Client::outcome) about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WriteToken(Bytes);

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOutcome {
    /// What it did.
    pub status: WriteStatus,
    /// The key's version as the write told it; 0 if it told none.
    pub version: u64,
    /// The sum, if it was an increment.
    pub number: i64,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteStatus {
    /// It was applied: the key was new.
    Created,
    /// It was applied: the key existed.
    Updated,
    /// It was applied: the key is gone.
    Deleted,
    /// It was carried out and found no key to delete.
    NotFound,
    /// It was carried out and its condition did not hold.
    Unmet,
    /// It was not applied and never will be.
    NotApplied,
    /// Nobody knows any more: results were forgotten since that may have been this one's.
    Forgotten,
}

impl WriteStatus {
    /// Lower-case name, as documentation and bindings show it.
    pub const fn name(self) -> &'static str {
        match self {
            WriteStatus::Created => "created",
            WriteStatus::Updated => "updated",
            WriteStatus::Deleted => "deleted",
            WriteStatus::NotFound => "not_found",
            WriteStatus::Unmet => "unmet",
            WriteStatus::NotApplied => "not_applied",
            WriteStatus::Forgotten => "forgotten",
        }
    }
}

impl WriteOutcome {
    /// Whether the write changed something.
    pub fn applied(&self) -> bool {
        matches!(self.status, WriteStatus::Created | WriteStatus::Updated | WriteStatus::Deleted)
    }

    pub(crate) fn forgotten() -> Self {
        Self { status: WriteStatus::Forgotten, version: 0, number: 0 }
    }

    /// What a reply to OUTCOME says; `None` if it is no such reply.
    pub(crate) fn of(reply: &v1::Reply) -> Option<Self> {
        let status = match reply.status() {
            v1::Status::Created => WriteStatus::Created,
            v1::Status::Updated => WriteStatus::Updated,
            v1::Status::Deleted => WriteStatus::Deleted,
            v1::Status::NotFound => WriteStatus::NotFound,
            v1::Status::Unmet => WriteStatus::Unmet,
            v1::Status::NotApplied => WriteStatus::NotApplied,
            _ => return None,
        };
        Some(Self { status, version: reply.version, number: reply.number })
    }
}

impl WriteToken {
    /// The bytes, to be kept or handed on.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The token of these bytes.
    ///
    /// Errors: `UNSUPPORTED` for a token of a newer format, `INVALID_ARGUMENT` for what is none.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self> {
        let bytes = bytes.into();
        request(&bytes)?;
        Ok(Self(bytes))
    }

    /// The token of a write as it was sent last.
    pub(crate) fn of(client_id: &[u8], namespace: &str, inner: &Inner) -> Option<Self> {
        let request = &inner.request;
        let taken = inner.history.taken.filter(|_| request.sequence > 0)?;
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + namespace.len() + request.key.len());
        bytes.put_u8(WRITE_TOKEN_FORMAT);
        bytes.put_slice(client_id);
        bytes.put_u64_le(request.sequence);
        bytes.put_u32_le(taken.shard);
        bytes.put_u64_le(request.fence_index);
        // Namespaces have less than 64 KiB.
        bytes.put_u16_le(namespace.len() as u16);
        bytes.put_slice(namespace.as_bytes());
        bytes.put_slice(&request.key);
        Some(Self(bytes.freeze()))
    }
}

/// The request that asks for what a token stands for.
pub(crate) fn request(token: &Bytes) -> Result<v1::Request> {
    match token.first() {
        Some(&WRITE_TOKEN_FORMAT) | None => {}
        Some(format) => {
            let text =
                format!("the write token has format {format}; this client knows format {WRITE_TOKEN_FORMAT}");
            return Err(Error::new(Code::Unsupported, text));
        }
    }
    let none = || Error::invalid(format!("a write token has not {} bytes as these are", token.len()));
    if token.len() < HEADER_BYTES {
        return Err(none());
    }
    let mut rest = token.clone();
    rest.advance(1);
    let client_id = rest.split_to(limits::CLIENT_ID_BYTES);
    let (sequence, fence_shard, fence_index) = (rest.get_u64_le(), rest.get_u32_le(), rest.get_u64_le());
    let namespace_bytes = usize::from(rest.get_u16_le());
    if rest.len() <= namespace_bytes || rest.len() > limits::KEY_BYTES_MAX || sequence == 0 {
        return Err(none());
    }
    let namespace = rest.split_to(namespace_bytes);
    let namespace = std::str::from_utf8(&namespace).map_err(|_| none())?.to_owned();
    Ok(v1::Request {
        operation: v1::Operation::Outcome as i32,
        key: rest,
        namespace: Some(namespace),
        client_id,
        sequence,
        fence_index,
        fence_shard,
        repeated: true,
        ..v1::Request::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_format_1_are_the_golden_ones() {
        let golden =
            "01000102030405060708090a0b0c0d0e0f0700000000000000020000000901000000000000030061707075736572";
        let bytes: Vec<u8> = (0..golden.len() / 2)
            .map(|i| u8::from_str_radix(&golden[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        let request = request(&bytes.clone().into()).unwrap();
        assert_eq!((request.sequence, request.fence_shard, request.fence_index), (7, 2, 265));
        assert_eq!((request.namespace.as_deref(), &request.key[..]), (Some("app"), &b"user"[..]));
        assert_eq!(request.client_id, (0..16).collect::<Vec<u8>>());
        for cut in 1..bytes.len() - 4 {
            assert_eq!(
                WriteToken::from_bytes(bytes[..cut].to_vec()).unwrap_err().code,
                Code::InvalidArgument
            );
        }
        let newer = [&[2][..], &bytes[1..]].concat();
        assert_eq!(WriteToken::from_bytes(newer).unwrap_err().code, Code::Unsupported);
    }
}
