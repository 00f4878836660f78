//! A ledger as an engine and a snapshot have it.

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::ledger::{Ledger, Mark, State, Work};

const WHAT: What = What("ledger of hand-overs");

#[derive(Clone, PartialEq, prost::Message)]
struct LedgerWire {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(uint64, tag = "2")]
    version: u64,
    #[prost(uint64, tag = "3")]
    last_index: u64,
    #[prost(message, repeated, tag = "4")]
    marks: Vec<MarkWire>,
    #[prost(message, repeated, tag = "5")]
    work: Vec<WorkWire>,
    /// A release that does not know it has one thing less to tell people.
    #[prost(uint32, repeated, tag = "6")]
    lost: Vec<u32>,
}

/// A run of slots that have the same mark.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct MarkWire {
    #[prost(uint32, tag = "1")]
    first: u32,
    #[prost(uint32, tag = "2")]
    count: u32,
    #[prost(enumeration = "MarkKind", tag = "3")]
    kind: i32,
    #[prost(uint64, tag = "4")]
    id: u64,
    /// Of a sealed slot.
    #[prost(uint64, tag = "5")]
    tenure: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum MarkKind {
    Unspecified = 0,
    Held = 1,
    Sealed = 2,
    Staging = 3,
    Cleaning = 4,
    Gone = 5,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WorkWire {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint32, repeated, tag = "2")]
    slots: Vec<u32>,
    #[prost(uint64, tag = "3")]
    version: u64,
    #[prost(oneof = "StateWire", tags = "4, 5, 6, 7")]
    state: Option<StateWire>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum StateWire {
    #[prost(message, tag = "4")]
    Sealed(PositionWire),
    #[prost(message, tag = "5")]
    Staging(PlaceWire),
    #[prost(message, tag = "6")]
    Imported(ImportedWire),
    #[prost(message, tag = "7")]
    Cleaning(CursorWire),
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImportedWire {}

impl Ledger {
    /// The ledger's bytes.
    pub fn to_bytes(&self) -> Bytes {
        let mut marks: Vec<MarkWire> = Vec::new();
        for (slot, mark) in &*self.marks {
            let (kind, id, tenure) = match *mark {
                Mark::Held(id) => (MarkKind::Held, id, Id(0)),
                Mark::Sealed { id, tenure } => (MarkKind::Sealed, id, tenure),
                Mark::Staging(id) => (MarkKind::Staging, id, Id(0)),
                Mark::Cleaning(id) => (MarkKind::Cleaning, id, Id(0)),
                Mark::Gone(id) => (MarkKind::Gone, id, Id(0)),
            };
            let first = u32::from(*slot);
            let next = MarkWire { first, count: 1, kind: kind.into(), id: id.0, tenure: tenure.0 };
            match marks.last_mut() {
                Some(run) if MarkWire { first: run.first + run.count, count: 1, ..*run } == next => {
                    run.count += 1;
                }
                _ => marks.push(next),
            }
        }
        let work = self.work.iter().map(|(id, work)| WorkWire {
            id: id.0,
            slots: runs(&work.slots),
            version: work.version,
            state: Some(match &work.state {
                State::Sealed(at) => StateWire::Sealed((*at).into()),
                State::Staging(place) => StateWire::Staging(place.into()),
                State::Imported => StateWire::Imported(ImportedWire {}),
                State::Cleaning(cursor) => StateWire::Cleaning(cursor.into()),
            }),
        });
        let (version, last_index) = (self.version, self.last_index);
        let lost = runs(&self.lost().collect::<Vec<_>>());
        encode(&LedgerWire { format: FORMAT, version, last_index, marks, work: work.collect(), lost })
    }

    /// The ledger of some bytes.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        WHAT.check_format(&bytes)?;
        let wire: LedgerWire = WHAT.decode(bytes)?;
        let mut ledger = Ledger {
            version: WHAT.number(wire.version)?,
            last_index: WHAT.number(wire.last_index)?,
            ..Ledger::default()
        };
        let mut marks = BTreeMap::new();
        for run in wire.marks {
            take_marks(&mut marks, run)?;
        }
        ledger.marks = Arc::new(marks);
        for work in wire.work {
            let id = WHAT.id(work.id)?;
            let state = match work.state.ok_or(WHAT.wrong("a hand-over has no state that is known"))? {
                StateWire::Sealed(at) => State::Sealed(WHAT.position(Some(at))?),
                StateWire::Staging(place) => State::Staging(WHAT.place(place)?),
                StateWire::Imported(ImportedWire {}) => State::Imported,
                StateWire::Cleaning(cursor) => State::Cleaning(WHAT.cursor(Some(cursor))?),
            };
            let (slots, version) = (WHAT.slots(&work.slots)?, WHAT.number(work.version)?);
            ledger.work.insert(id, Work { slots, version, state });
        }
        if !wire.lost.is_empty() {
            // Of more than one hand-over.
            ledger.lost = WHAT.slots_upto(&wire.lost, usize::from(Slot::MAX) + 1)?.into_iter().collect();
        }
        match ledger.violation() {
            None => Ok(ledger),
            Some(_) => Err(WHAT.wrong("a mark has no hand-over")),
        }
    }
}

fn take_marks(marks: &mut BTreeMap<Slot, Mark>, run: MarkWire) -> Result<(), Malformed> {
    let (kind, id) = (run.kind(), Id(WHAT.number(run.id)?));
    let tenure = Id(WHAT.number(run.tenure)?);
    let mark = match kind {
        MarkKind::Held => Mark::Held(id),
        MarkKind::Sealed => Mark::Sealed { id, tenure },
        MarkKind::Staging => Mark::Staging(id),
        MarkKind::Cleaning => Mark::Cleaning(id),
        MarkKind::Gone => Mark::Gone(id),
        MarkKind::Unspecified => return Err(WHAT.wrong("a mark is of no kind that is known")),
    };
    let end = run.first.checked_add(run.count).filter(|end| *end <= u32::from(Slot::MAX) + 1);
    let end = end.ok_or(WHAT.wrong("a slot is too large"))?;
    for slot in run.first..end {
        if marks.insert(WHAT.slot(slot)?, mark).is_some() {
            return Err(WHAT.wrong("a slot has two marks"));
        }
    }
    Ok(())
}
