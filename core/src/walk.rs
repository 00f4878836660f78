//! A way through the slots of a range in slot order, one request after another: what counts and scans have in common.
//!
//! Each request covers slots of one owner. When the owner changes meanwhile, the request ends with MOVED and is planned
//! anew from where the walk stands, so that nothing is looked at twice or left out.

use bytes::Bytes;
use slotkv_proto::{Code, SlotCount, limits, v1};

use crate::{Error, Range, Result, cursor::Position, routing::Snapshot};

/// Bytes of one page of a scan.
pub(crate) const PAGE_BYTES: u32 = 1 << 20;
/// Times that one page or count is planned anew because slots moved under it.
pub(crate) const PLANS_MAX: u32 = 32;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    /// Goes on behind this place.
    pub position: Position,
    pub last: u16,
    pub done: bool,
}

/// The slots that a range may have keys in, first and last.
pub(crate) fn slots_of(range: &Range, slots: SlotCount) -> (u16, u16) {
    range.single_slot(slots).map_or((0, slots.get() - 1), |slot| (slot, slot))
}

/// A request for a range's keys in these slots; to one page.
pub(crate) fn range_request(
    range: &Range,
    operation: v1::Operation,
    (first, last): (u16, u16),
    after: Option<(u16, &Bytes)>,
) -> v1::Request {
    let wire = v1::Range {
        slot_first: first.into(),
        slot_last: last.into(),
        prefix: range.prefix.clone(),
        start: range.start.clone(),
        end: range.end.clone(),
        resumed: after.is_some(),
        after_slot: after.map_or(0, |(slot, _)| slot.into()),
        after_key: after.map_or_else(Bytes::new, |(_, key)| key.clone()),
        items_max: range.page_items(),
        bytes_max: PAGE_BYTES.min(limits::PAGE_BYTES_MAX),
        keys_only: range.keys_only,
        ordered: range.ordered,
    };
    v1::Request { operation: operation as i32, range: Some(wire), ..Default::default() }
}

impl Walk {
    /// From behind `position` to the end of slot `last`.
    pub fn new(position: Position, last: u16) -> Self {
        let done = position.slot > last;
        Self { position, last, done }
    }

    /// The next request, and the last slot that it covers.
    pub fn request(
        &self,
        range: &Range,
        operation: v1::Operation,
        snapshot: &Snapshot,
    ) -> (v1::Request, u16) {
        let Position { slot, key } = &self.position;
        let last = snapshot.run_end(*slot).min(self.last);
        // Every key is behind the empty one.
        let after = (!key.is_empty()).then_some((*slot, key));
        (range_request(range, operation, (*slot, last), after), last)
    }

    /// Goes on behind what a reply looked at; `covered` is the last slot of its request.
    pub fn advance(&mut self, covered: u16, reply: &v1::Reply) -> Result<()> {
        if reply.more {
            let slot = u16::try_from(reply.last_slot).unwrap_or(u16::MAX);
            let next = Position { slot, key: reply.last_key.clone() };
            if slot > covered || next <= self.position {
                return Err(no_progress());
            }
            self.position = next;
        } else if covered < self.last {
            self.position = Position { slot: covered + 1, key: Bytes::new() };
        } else {
            self.done = true;
        }
        Ok(())
    }
}

/// The error of a member whose pages lead nowhere.
pub(crate) fn no_progress() -> Error {
    Error::new(Code::Unexpected, "the member says that there is more, but not where to go on")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(slot: u16, key: &'static [u8]) -> Position {
        Position { slot, key: Bytes::from_static(key) }
    }

    fn more(slot: u32, key: &'static [u8]) -> v1::Reply {
        v1::Reply { more: true, last_slot: slot, last_key: key.into(), ..Default::default() }
    }

    #[test]
    fn a_walk_ends_behind_its_last_slot() {
        let mut walk = Walk::new(at(3, b""), 9);
        walk.advance(5, &more(4, b"k")).unwrap();
        assert_eq!(walk.position, at(4, b"k"));
        walk.advance(5, &v1::Reply::default()).unwrap();
        assert_eq!((walk.position.clone(), walk.done), (at(6, b""), false));
        walk.advance(9, &v1::Reply::default()).unwrap();
        assert!(walk.done);
    }

    #[test]
    fn a_member_that_leads_in_circles_is_not_followed() {
        let mut walk = Walk::new(at(4, b"k"), 9);
        for reply in [more(4, b"k"), more(4, b"a"), more(3, b"z"), more(6, b"a"), more(70_000, b"")] {
            assert_eq!(walk.advance(5, &reply).unwrap_err().code, Code::Unexpected);
        }
        walk.advance(5, &more(5, b"")).unwrap();
    }
}
