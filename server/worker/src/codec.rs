//! How client frames come off the wire: what they repeat is counted in the raw bytes, before anything is allocated for
//! it. A frame within its limit of bytes could otherwise hold ten million empty requests, which take gigabytes.

use bytes::{Buf, Bytes};
use prost::{Message, encoding::decode_varint};
use slotkv_proto::{
    Code,
    code::status_of,
    limits::INFLIGHT_COUNT_MAX,
    v1::{ClientFrame, ServerFrame},
};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// Requests in one frame: no more may be in flight on a stream.
pub const REQUESTS_PER_FRAME_MAX: usize = INFLIGHT_COUNT_MAX;
/// Cancels in one frame: of what is in flight, and of what was answered while the frame was made.
pub const CANCELS_PER_FRAME_MAX: usize = 2 * INFLIGHT_COUNT_MAX;

/// Fields of `ClientFrame` that repeat.
const REQUESTS: u64 = 2;
const CANCELS: u64 = 3;

/// Protobuf with a bound on what a frame repeats; past it the stream ends with TOO_LARGE.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameCodec;

impl Codec for FrameCodec {
    type Encode = ServerFrame;
    type Decode = ClientFrame;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for FrameCodec {
    type Item = ServerFrame;
    type Error = Status;

    fn encode(&mut self, frame: ServerFrame, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        frame.encode(into).map_err(|error| status_of(Code::Unexpected, error))
    }
}

impl Decoder for FrameCodec {
    type Item = ClientFrame;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<ClientFrame>, Status> {
        decode(from.copy_to_bytes(from.remaining())).map(Some)
    }
}

/// The frame of some bytes; keys and values share them.
pub fn decode(bytes: Bytes) -> Result<ClientFrame, Status> {
    check(&bytes).map_err(|text| status_of(Code::TooLarge, text))?;
    ClientFrame::decode(bytes).map_err(|error| Status::internal(error.to_string()))
}

/// Counts what a frame repeats. Bytes that are no frame pass: decoding refuses them with the better words.
fn check(mut bytes: &[u8]) -> Result<(), String> {
    let (mut requests, mut cancels) = (0, 0);
    while let Ok(tag) = decode_varint(&mut bytes) {
        let length = match tag & 7 {
            0 if decode_varint(&mut bytes).is_ok() => 0,
            1 => 8,
            5 => 4,
            2 => match decode_varint(&mut bytes).map(usize::try_from) {
                Ok(Ok(length)) => length,
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        let Some((field, rest)) = bytes.split_at_checked(length) else { return Ok(()) };
        bytes = rest;
        match (tag >> 3, tag & 7) {
            (REQUESTS, _) => requests += 1,
            // Packed: each number ends with the byte whose high bit is clear.
            (CANCELS, 2) => cancels += field.iter().filter(|byte| **byte < 0x80).count(),
            (CANCELS, _) => cancels += 1,
            _ => {}
        }
        for (what, count, limit) in
            [("requests", requests, REQUESTS_PER_FRAME_MAX), ("cancels", cancels, CANCELS_PER_FRAME_MAX)]
        {
            if count > limit {
                return Err(format!("a frame with more than {limit} {what}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use slotkv_proto::v1::Request;

    use super::*;

    fn frame(requests: usize, cancels: usize) -> Vec<u8> {
        ClientFrame {
            requests: vec![Request { id: 7, ..Request::default() }; requests],
            cancels: vec![u64::MAX; cancels],
            table_version: 3,
            ..ClientFrame::default()
        }
        .encode_to_vec()
    }

    #[test]
    fn a_frame_at_its_limits_passes_and_one_more_of_either_is_refused() {
        check(&frame(REQUESTS_PER_FRAME_MAX, CANCELS_PER_FRAME_MAX)).unwrap();
        assert!(check(&frame(REQUESTS_PER_FRAME_MAX + 1, 0)).unwrap_err().contains("requests"));
        assert!(check(&frame(0, CANCELS_PER_FRAME_MAX + 1)).unwrap_err().contains("cancels"));
        // Unpacked, one after the other, each an empty request or a cancel of its own.
        assert!(check(&[0x12, 0].repeat(REQUESTS_PER_FRAME_MAX + 1)).is_err());
        assert!(check(&[0x18, 1].repeat(CANCELS_PER_FRAME_MAX + 1)).is_err());
    }

    #[test]
    fn bytes_that_are_no_frame_are_left_to_the_decoder() {
        for bytes in [&[0x12, 0xff][..], &[0xff; 11], &[0x1b], &[0x12, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
            check(bytes).unwrap();
            assert!(ClientFrame::decode(bytes).is_err());
        }
    }
}
