//! Pages of scans and counts, in slot order or merged in key order. A page is bounded by records, by bytes and by how
//! many records it looks at; its reply says where it stopped.

use std::{
    cmp::Ordering,
    collections::BinaryHeap,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use bytes::Bytes;
use slotkv_proto::{
    Code,
    limits::PAGE_LOOKS_MAX,
    v1::{Item, ReadLevel, Reply, Status},
};
use slotkv_storage::{Row, keys};

use crate::{
    ownership::Ownership,
    request::{Page, Refusal},
    shard::{Shard, refusal},
};

/// Records between two looks whether anybody still waits.
const CANCEL_CHECK_RECORDS: usize = 256;

impl Shard {
    /// Makes a page of a scan or a count. Every slot of it must be this shard's.
    pub fn page(
        self: &Arc<Self>,
        ownership: &Ownership,
        namespace: &str,
        page: &Page,
        id: u64,
        level: ReadLevel,
        gone: impl Fn() -> bool,
    ) -> Result<Reply, Refusal> {
        if gone() {
            return Err((Code::Cancelled, "nobody waits for the page any more".into()));
        }
        for slot in page.slots.0..=page.slots.1 {
            ownership.check_slot(slot)?;
        }
        let mut walk = Walk { shard: self, namespace, page, gone: &gone, looks: 0, time_ms: self.now_ms() };
        let mut reply = if page.ordered && !page.count_only { walk.merged() } else { walk.by_slot() }?;
        // Slots may have gone while the page was made.
        self.check_still(level)?;
        for slot in page.slots.0..=page.slots.1 {
            self.still_serves(ownership, slot)?;
        }
        reply.id = id;
        Ok(reply)
    }
}

/// Walks the records of a page.
struct Walk<'a> {
    shard: &'a Shard,
    namespace: &'a str,
    page: &'a Page,
    gone: &'a dyn Fn() -> bool,
    looks: usize,
    /// Rows whose time is over then are left out.
    time_ms: u64,
}

/// A record of a page.
struct Seen<'r> {
    key: &'r [u8],
    version: u64,
    ttl_ms: u64,
    value: &'r [u8],
}

/// Looks at a record.
type Visit<'v, 'w> = dyn FnMut(&mut Walk<'w>, Seen<'_>) -> ControlFlow<()> + 'v;

/// Why a slot's walk ended.
enum End {
    Through,
    Full,
}

impl<'w> Walk<'w> {
    /// Slot after slot.
    fn by_slot(&mut self) -> Result<Reply, Refusal> {
        let page = self.page;
        let mut reply = Reply {
            status: if page.count_only { Status::Counted } else { Status::Page } as i32,
            ..Reply::default()
        };
        let mut bytes = 0;
        let first = page.after.as_ref().map_or(page.slots.0, |(slot, _)| (*slot).max(page.slots.0));
        for slot in first..=page.slots.1 {
            let after = page.after.as_ref().filter(|(at, _)| *at == slot).map(|(_, key)| key.clone());
            let end = self.slot(slot, after.as_deref(), &mut |walk, seen| {
                let full = if page.count_only {
                    walk.looks >= PAGE_LOOKS_MAX as usize
                } else {
                    reply.items.len() >= page.items_max
                        || (bytes + seen.key.len() + seen.value.len() > page.bytes_max
                            && !reply.items.is_empty())
                };
                if full {
                    return ControlFlow::Break(());
                }
                reply.number += 1;
                reply.last_slot = u32::from(slot);
                if page.count_only {
                    reply.last_key = Bytes::copy_from_slice(seen.key);
                } else {
                    let item = item(slot, &seen, page.keys_only);
                    bytes += item.key.len() + item.value.len();
                    reply.items.push(item);
                }
                ControlFlow::Continue(())
            })?;
            if matches!(end, End::Full) {
                reply.more = true;
                break;
            }
        }
        if let Some(item) = reply.items.last() {
            reply.last_key = item.key.clone();
        }
        Ok(reply)
    }

    /// The smallest keys of all slots together. Each slot is read only as far as its keys can still be among them.
    fn merged(&mut self) -> Result<Reply, Refusal> {
        let page = self.page;
        let mut smallest: BinaryHeap<Ordered> = BinaryHeap::new();
        let mut bytes = 0;
        // The smallest key that had to be left out: it and all behind it come with a later page.
        let mut ceiling: Option<Bytes> = None;
        let after = page.after.as_ref().map(|(_, key)| key.clone());
        for slot in page.slots.0..=page.slots.1 {
            self.slot(slot, after.as_deref(), &mut |_, seen| {
                if ceiling.as_ref().is_some_and(|ceiling| seen.key >= &ceiling[..]) {
                    return ControlFlow::Break(());
                }
                let item = item(slot, &seen, page.keys_only);
                bytes += item.key.len() + item.value.len();
                smallest.push(Ordered(item));
                while smallest.len() > page.items_max || (bytes > page.bytes_max && smallest.len() > 1) {
                    if let Some(Ordered(item)) = smallest.pop() {
                        bytes -= item.key.len() + item.value.len();
                        ceiling = Some(item.key);
                    }
                }
                ControlFlow::Continue(())
            })?;
        }
        let items: Vec<Item> = smallest.into_sorted_vec().into_iter().map(|ordered| ordered.0).collect();
        let last = items.last();
        Ok(Reply {
            status: Status::Page as i32,
            more: ceiling.is_some(),
            last_slot: last.map_or(0, |item| item.slot),
            last_key: last.map_or_else(Bytes::new, |item| item.key.clone()),
            number: items.len() as i64,
            items,
            ..Reply::default()
        })
    }

    /// Visits one slot's records in the range, behind `after`.
    fn slot(&mut self, slot: u16, after: Option<&[u8]>, visit: &mut Visit<'_, 'w>) -> Result<End, Refusal> {
        let page = self.page;
        let prefix = keys::data_prefix(slot, self.namespace);
        let whole = |key: &[u8]| [&prefix[..], key].concat();
        let lowest = whole(if page.start > page.prefix { &page.start } else { &page.prefix });
        let (lower, excluded) = match after.map(whole) {
            Some(after) if after >= lowest => (after, true),
            _ => (lowest, false),
        };
        let upper = match (page.end.is_empty(), keys::prefix_end(&whole(&page.prefix))) {
            (true, end) => end.map(Vec::from),
            (false, None) => Some(whole(&page.end)),
            (false, Some(end)) => Some(whole(&page.end).min(Vec::from(end))),
        };
        if upper.as_ref().is_some_and(|upper| *upper <= lower) {
            return Ok(End::Through);
        }
        let lower = if excluded { Bound::Excluded(&lower[..]) } else { Bound::Included(&lower[..]) };
        let upper = upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded);

        let (mut end, mut failed) = (End::Through, None);
        let shard = self.shard;
        let scanned = shard.rows().engine.scan((lower, upper), &mut |key, value| {
            self.looks += 1;
            if self.looks.is_multiple_of(CANCEL_CHECK_RECORDS) && (self.gone)() {
                failed = Some((Code::Cancelled, "cancelled while the page was made".to_string()));
                return ControlFlow::Break(());
            }
            match Row::peek(value) {
                Ok((_, expires_ms, _)) if keys::is_over(expires_ms, self.time_ms) => {
                    ControlFlow::Continue(())
                }
                Ok((version, expires_ms, value)) => {
                    let ttl_ms = expires_ms.saturating_sub(self.time_ms);
                    let step = visit(self, Seen { key: &key[prefix.len()..], version, ttl_ms, value });
                    if step.is_break() {
                        end = End::Full;
                    }
                    step
                }
                Err(error) => {
                    failed = Some(refusal(error));
                    ControlFlow::Break(())
                }
            }
        });
        scanned.map_err(refusal)?;
        failed.map_or(Ok(end), Err)
    }
}

/// An item that orders by key; a key is in one slot only.
struct Ordered(Item);

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

fn item(slot: u16, seen: &Seen<'_>, keys_only: bool) -> Item {
    Item {
        key: Bytes::copy_from_slice(seen.key),
        value: if keys_only { Bytes::new() } else { Bytes::copy_from_slice(seen.value) },
        version: seen.version,
        slot: u32::from(slot),
        ttl_ms: seen.ttl_ms,
    }
}
