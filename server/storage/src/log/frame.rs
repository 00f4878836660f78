//! Frame: one record on disk.
//!
//! | bytes | |
//! |---|---|
//! | 0..4 | CRC32C of everything behind the chain, begun with the segment's salt |
//! | 4..8 | chain: CRC32C of the frame's CRC, begun with the chain of the frame before |
//! | 8..12 | bytes of payload |
//! | 12..16 | lag: by how many records the synced mark was behind this one when it was written |
//! | 16..24 | index |
//! | 24..32 | epoch |
//! | 32.. | payload |
//!
//! Numbers are little-endian. The salt comes from whose log it is, so that a copy of another log's frame inside of a
//! payload is no frame. The chain binds a frame to all before it. The lag tells after a crash what had been synced by
//! then.

use super::PAYLOAD_BYTES_MAX;

/// Bytes of a frame without its payload.
pub const HEADER_BYTES: usize = 32;
const CRC_FROM: usize = 8;
/// The mark was further behind than can be told.
const LAG_UNKNOWN: u32 = u32::MAX;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub crc: u32,
    pub chain: u32,
    pub payload_bytes: u32,
    pub lag: u32,
    pub index: u64,
    pub epoch: u64,
}

impl Header {
    /// Reads a header. Any bytes make one.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Self {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        Self {
            crc: u32_at(0),
            chain: u32_at(4),
            payload_bytes: u32_at(8),
            lag: u32_at(12),
            index: u64_at(16),
            epoch: u64_at(24),
        }
    }

    /// Bytes of the whole frame.
    pub fn frame_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.payload_bytes)
    }

    /// Index up to which records had been synced when the frame was written, as far as it tells.
    pub fn synced_index(&self) -> u64 {
        if self.lag == LAG_UNKNOWN { 0 } else { self.index.saturating_sub(self.lag.into()) }
    }
}

/// The chain's next link.
pub fn chained(chain: u32, crc: u32) -> u32 {
    crc32c::crc32c_append(chain, &crc.to_le_bytes())
}

/// Completes the frame that begins at `start` of `buffer`, where [`HEADER_BYTES`] are kept free for its header, and
/// ends with the buffer. Returns its chain.
pub fn seal(
    buffer: &mut [u8],
    start: usize,
    salt: u32,
    chain: u32,
    index: u64,
    epoch: u64,
    synced: u64,
) -> u32 {
    let frame = &mut buffer[start..];
    let payload_bytes = (frame.len() - HEADER_BYTES) as u32;
    let lag = u32::try_from(index.saturating_sub(synced)).unwrap_or(LAG_UNKNOWN);
    frame[8..12].copy_from_slice(&payload_bytes.to_le_bytes());
    frame[12..16].copy_from_slice(&lag.to_le_bytes());
    frame[16..24].copy_from_slice(&index.to_le_bytes());
    frame[24..32].copy_from_slice(&epoch.to_le_bytes());
    let crc = crc32c::crc32c_append(salt, &frame[CRC_FROM..]);
    let chain = chained(chain, crc);
    frame[0..4].copy_from_slice(&crc.to_le_bytes());
    frame[4..8].copy_from_slice(&chain.to_le_bytes());
    chain
}

/// Whether a frame's bytes are what was written, its place in the chain aside.
pub fn is_intact(frame: &[u8], salt: u32) -> bool {
    frame.first_chunk().is_some_and(|header| {
        let header = Header::decode(header);
        header.payload_bytes as usize <= PAYLOAD_BYTES_MAX
            && header.frame_bytes() == frame.len() as u64
            && header.crc == crc32c::crc32c_append(salt, &frame[CRC_FROM..])
    })
}
