//! A message between the primaries of two shards.

use super::*;
use crate::message::{Body, Message};

const WHAT: What = What("message of a hand-over");

#[derive(Clone, PartialEq, prost::Message)]
struct MessageWire {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(uint64, tag = "2")]
    id: u64,
    #[prost(uint32, tag = "3")]
    from: u32,
    #[prost(uint32, tag = "4")]
    to: u32,
    #[prost(uint64, tag = "5")]
    version: u64,
    #[prost(oneof = "BodyWire", tags = "6, 7, 8, 9")]
    body: Option<BodyWire>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum BodyWire {
    #[prost(message, tag = "6")]
    Offer(OfferWire),
    #[prost(message, tag = "7")]
    Part(PartWire),
    #[prost(message, tag = "8")]
    Sealed(SealedWire),
    #[prost(message, tag = "9")]
    Holds(HoldsWire),
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfferWire {}

#[derive(Clone, PartialEq, prost::Message)]
struct PartWire {
    #[prost(message, optional, tag = "1")]
    from: Option<PlaceWire>,
    #[prost(message, optional, tag = "2")]
    to: Option<PlaceWire>,
    #[prost(bytes = "bytes", tag = "3")]
    bytes: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SealedWire {
    #[prost(message, optional, tag = "1")]
    stream: Option<StreamWire>,
    #[prost(message, optional, tag = "2")]
    at: Option<PositionWire>,
    #[prost(bytes = "bytes", tag = "3")]
    tally: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    levels: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HoldsWire {
    #[prost(message, optional, tag = "1")]
    next: Option<PlaceWire>,
    #[prost(message, optional, tag = "2")]
    held: Option<PlaceWire>,
    #[prost(uint64, tag = "3")]
    rest_us: u64,
}

impl Message {
    /// The message's bytes.
    pub fn to_bytes(&self) -> Bytes {
        let body = match &self.body {
            Body::Offer => BodyWire::Offer(OfferWire {}),
            Body::Part { from, to, bytes } => BodyWire::Part(PartWire {
                from: from.as_ref().map(Into::into),
                to: Some(to.into()),
                bytes: bytes.clone(),
            }),
            Body::Sealed { stream, at, tally, levels } => BodyWire::Sealed(SealedWire {
                stream: Some((*stream).into()),
                at: Some((*at).into()),
                tally: tally.clone(),
                levels: levels.clone(),
            }),
            Body::Holds { next, held, rest_us } => BodyWire::Holds(HoldsWire {
                next: next.as_ref().map(Into::into),
                held: held.as_ref().map(Into::into),
                rest_us: *rest_us,
            }),
        };
        let (id, version) = (self.id.0, self.version);
        encode(&MessageWire { format: FORMAT, id, from: self.from, to: self.to, version, body: Some(body) })
    }

    /// The message of some bytes; what it holds shares them.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        WHAT.check_format(&bytes)?;
        let wire: MessageWire = WHAT.decode(bytes)?;
        let place = |place: Option<PlaceWire>| place.map(|place| WHAT.place(place)).transpose();
        let body = match wire.body.ok_or(WHAT.wrong("it is of no kind that is known"))? {
            BodyWire::Offer(OfferWire {}) => Body::Offer,
            BodyWire::Part(PartWire { from, to, bytes }) => {
                let to = place(to)?.ok_or(WHAT.wrong("a part does not say where it leads"))?;
                Body::Part { from: place(from)?, to, bytes: WHAT.part(bytes)? }
            }
            BodyWire::Sealed(SealedWire { stream, at, tally, levels }) => Body::Sealed {
                stream: WHAT.stream(stream)?,
                at: WHAT.position(at)?,
                tally: WHAT.part(tally)?,
                levels: WHAT.part(levels)?,
            },
            BodyWire::Holds(HoldsWire { next, held, rest_us }) => {
                Body::Holds { next: place(next)?, held: place(held)?, rest_us: WHAT.number(rest_us)? }
            }
        };
        let (id, version) = (WHAT.id(wire.id)?, WHAT.number(wire.version)?);
        Ok(Message { id, from: wire.from, to: wire.to, version, body })
    }
}
