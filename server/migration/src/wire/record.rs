//! A record of a hand-over as the log has it.

use super::*;

const WHAT: What = What("record of a hand-over");

#[derive(Clone, PartialEq, prost::Message)]
struct RecordWire {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(uint64, tag = "2")]
    id: u64,
    #[prost(uint64, tag = "3")]
    version: u64,
    #[prost(uint32, repeated, tag = "4")]
    slots: Vec<u32>,
    #[prost(oneof = "BodyWire", tags = "5, 6, 7, 8, 9")]
    body: Option<BodyWire>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum BodyWire {
    #[prost(message, tag = "5")]
    Seal(SealWire),
    #[prost(message, tag = "6")]
    Unseal(UnsealWire),
    #[prost(message, tag = "7")]
    Stage(StageWire),
    #[prost(message, tag = "8")]
    Imported(ImportedWire),
    #[prost(message, tag = "9")]
    Clean(CleanWire),
}

#[derive(Clone, PartialEq, prost::Message)]
struct SealWire {}

#[derive(Clone, PartialEq, prost::Message)]
struct UnsealWire {}

#[derive(Clone, PartialEq, prost::Message)]
struct StageWire {
    #[prost(message, optional, tag = "1")]
    to: Option<PlaceWire>,
    #[prost(bytes = "bytes", tag = "2")]
    bytes: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImportedWire {
    #[prost(message, optional, tag = "1")]
    sealed_at: Option<PositionWire>,
    #[prost(bytes = "bytes", tag = "2")]
    levels: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CleanWire {
    #[prost(bytes = "bytes", tag = "1")]
    upto: Bytes,
    #[prost(bool, tag = "2")]
    is_last: bool,
}

impl Record {
    /// The record's bytes.
    pub fn to_bytes(&self) -> Bytes {
        let (slots, body) = match self {
            Record::Seal { slots, .. } => (runs(slots), BodyWire::Seal(SealWire {})),
            Record::Unseal { .. } => (Vec::new(), BodyWire::Unseal(UnsealWire {})),
            Record::Stage { slots, to, bytes, .. } => {
                (runs(slots), BodyWire::Stage(StageWire { to: Some(to.into()), bytes: bytes.clone() }))
            }
            Record::Imported { sealed_at, levels, .. } => {
                let sealed_at = Some((*sealed_at).into());
                (Vec::new(), BodyWire::Imported(ImportedWire { sealed_at, levels: levels.clone() }))
            }
            Record::Clean { slots, upto, is_last, .. } => {
                (runs(slots), BodyWire::Clean(CleanWire { upto: upto.clone(), is_last: *is_last }))
            }
        };
        let (id, version) = (self.id().0, self.version());
        encode(&RecordWire { format: FORMAT, id, version, slots, body: Some(body) })
    }

    /// The record of some bytes; what it holds shares them.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        WHAT.check_format(&bytes)?;
        let wire: RecordWire = WHAT.decode(bytes)?;
        let (id, version) = (WHAT.id(wire.id)?, WHAT.number(wire.version)?);
        let has_slots = !matches!(wire.body, Some(BodyWire::Unseal(_) | BodyWire::Imported(_)));
        if !has_slots && !wire.slots.is_empty() {
            return Err(WHAT.wrong("it names slots"));
        }
        let slots = if has_slots { WHAT.slots(&wire.slots)? } else { Vec::new() };
        Ok(match wire.body {
            None => return Err(WHAT.wrong("it is of no kind that is known")),
            Some(BodyWire::Seal(SealWire {})) => Record::Seal { id, version, slots },
            Some(BodyWire::Unseal(UnsealWire {})) => Record::Unseal { id, version },
            Some(BodyWire::Stage(StageWire { to, bytes })) => {
                let to = WHAT.place(to.ok_or(WHAT.wrong("it does not say where it leads"))?)?;
                Record::Stage { id, version, slots, to, bytes: WHAT.part(bytes)? }
            }
            Some(BodyWire::Imported(ImportedWire { sealed_at, levels })) => {
                let (sealed_at, levels) = (WHAT.position(sealed_at)?, WHAT.part(levels)?);
                Record::Imported { id, version, sealed_at, levels }
            }
            Some(BodyWire::Clean(CleanWire { upto, is_last })) => {
                Record::Clean { id, version, slots, upto: WHAT.item(upto)?, is_last }
            }
        })
    }
}
