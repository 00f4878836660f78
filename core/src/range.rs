//! Which keys a scan or a count looks at.

use bytes::Bytes;
use slotkv_proto::{limits, slot};

use crate::{Error, Result, payload::IntoBytes};

/// Items of a page when the range does not say.
pub const PAGE_ITEMS_DEFAULT: u32 = 1000;

/// Keys of one namespace: those that have `prefix`, are not below `start` and are below `end`.
///
/// A prefix that holds a whole `{tag}` lies in one slot, and only this slot is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// What the keys begin with; empty for all.
    pub prefix: Bytes,
    /// The first key; empty for no bound.
    pub start: Bytes,
    /// Behind the last key; empty for no bound.
    pub end: Bytes,
    /// In key order, which costs more; else in slot order.
    pub ordered: bool,
    /// Without values: they are empty.
    pub keys_only: bool,
    /// Items in a page, at most 10000; 0 for 1000.
    pub items_max: u32,
}

impl Range {
    /// Every key.
    pub fn all() -> Self {
        Self::default()
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: impl IntoBytes) -> Self {
        Self { prefix: prefix.into_bytes(), ..Self::default() }
    }

    /// The keys from `start` on, `end` excluded.
    pub fn between(start: impl IntoBytes, end: impl IntoBytes) -> Self {
        Self { start: start.into_bytes(), end: end.into_bytes(), ..Self::default() }
    }

    /// The same keys, merged in key order.
    pub fn ordered(self) -> Self {
        Self { ordered: true, ..self }
    }

    /// The same keys, without their values.
    pub fn keys_only(self) -> Self {
        Self { keys_only: true, ..self }
    }

    /// The same keys, in pages of at most `items_max`.
    pub fn items_max(self, items_max: u32) -> Self {
        Self { items_max, ..self }
    }

    /// Items of one page, default and limit applied.
    pub(crate) fn page_items(&self) -> u32 {
        match self.items_max {
            0 => PAGE_ITEMS_DEFAULT,
            items => items.min(limits::PAGE_ITEMS_MAX),
        }
    }

    /// The one slot that all keys of the range are in, if that is known from the prefix.
    pub(crate) fn single_slot(&self, slots: slotkv_proto::SlotCount) -> Option<u16> {
        slot::hash_tag(&self.prefix).map(|_| slot::slot(&self.prefix, slots))
    }

    pub(crate) fn check(&self) -> Result<()> {
        for (name, bytes) in [("prefix", &self.prefix), ("start", &self.start), ("end", &self.end)] {
            if bytes.len() > limits::KEY_BYTES_MAX {
                return Err(Error::new(
                    slotkv_proto::Code::TooLarge,
                    format!(
                        "the range's {name} has {} bytes; a key has at most {}",
                        bytes.len(),
                        limits::KEY_BYTES_MAX
                    ),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_with_a_whole_tag_lies_in_one_slot() {
        let slots = slotkv_proto::SlotCount::default();
        assert_eq!(Range::prefix("{user}.").single_slot(slots), Some(slot::slot(b"{user}.name", slots)));
        assert_eq!(Range::prefix("{user").single_slot(slots), None);
        assert_eq!(Range::prefix("{}x").single_slot(slots), None);
        assert_eq!(Range::all().single_slot(slots), None);
    }
}
