//! The requests on one stream, found by their id.
//!
//! Invariants:
//! - An id is `generation << INDEX_BITS | index`; the generation of an index grows each time it is taken, so that the
//!   reply of a request that is gone finds nothing.
//! - `used` counts open and abandoned entries: the member owes a reply for each of them, and counts them too.

use std::{mem, sync::Arc};

use slotkv_proto::limits;

use crate::call::Call;

const INDEX_BITS: u32 = limits::INFLIGHT_COUNT_MAX.trailing_zeros();
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;

pub(super) enum Held {
    Vacant,
    Open(Arc<Call>),
    /// The caller has gone; the member will still reply.
    Abandoned,
}

struct Entry {
    generation: u64,
    held: Held,
    bytes: usize,
    /// Number of the frame that it was written into.
    frame: u64,
}

#[derive(Default)]
pub(super) struct Slab {
    entries: Vec<Entry>,
    free: Vec<u32>,
    used: usize,
    open: usize,
    bytes: usize,
}

impl Slab {
    /// Requests that the member owes a reply for.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Those among them that somebody waits for.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Whether a request of `bytes` may be added; one that is larger than the bound goes alone.
    pub fn has_room(&self, bytes: usize, count_max: usize, bytes_max: usize) -> bool {
        self.used == 0 || (self.used < count_max && self.bytes + bytes <= bytes_max)
    }

    /// The id that [`Slab::insert`] will give next.
    pub fn next_id(&mut self) -> u64 {
        let index = match self.free.last() {
            Some(&index) => index,
            None => {
                let index = self.entries.len() as u32;
                self.entries.push(Entry { generation: 1, held: Held::Vacant, bytes: 0, frame: 0 });
                self.free.push(index);
                index
            }
        };
        self.entries[index as usize].generation << INDEX_BITS | u64::from(index)
    }

    /// Takes the id that [`Slab::next_id`] gave. The caller has asked [`Slab::has_room`].
    pub fn insert(&mut self, call: Arc<Call>, frame: u64) {
        let Some(index) = self.free.pop() else { return };
        let entry = &mut self.entries[index as usize];
        entry.bytes = call.bytes;
        entry.frame = frame;
        entry.held = Held::Open(call);
        self.used += 1;
        self.open += 1;
        self.bytes += entry.bytes;
    }

    /// Frees an entry; `Vacant` if there is none of this id.
    pub fn remove(&mut self, id: u64) -> Held {
        let index = (id & INDEX_MASK) as usize;
        let Some(entry) = self.entries.get_mut(index).filter(|entry| entry.generation == id >> INDEX_BITS)
        else {
            return Held::Vacant;
        };
        let held = mem::replace(&mut entry.held, Held::Vacant);
        if matches!(held, Held::Vacant) {
            return held;
        }
        entry.generation += 1;
        self.free.push(index as u32);
        self.used -= 1;
        self.open -= usize::from(matches!(held, Held::Open(_)));
        self.bytes -= entry.bytes;
        held
    }

    /// Lets the call of an entry go; the entry stays until the member replies. `None` if there is no such call.
    pub fn abandon(&mut self, id: u64) -> Option<Arc<Call>> {
        let index = (id & INDEX_MASK) as usize;
        let entry = self.entries.get_mut(index).filter(|entry| entry.generation == id >> INDEX_BITS)?;
        if !matches!(entry.held, Held::Open(_)) {
            return None;
        }
        self.open -= 1;
        match mem::replace(&mut entry.held, Held::Abandoned) {
            Held::Open(call) => Some(call),
            _ => None,
        }
    }

    /// The open calls with their ids and frames, by index.
    pub fn calls(&self) -> impl Iterator<Item = (u64, u64, &Arc<Call>)> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| match &entry.held {
            Held::Open(call) => Some((entry.generation << INDEX_BITS | index as u64, entry.frame, call)),
            _ => None,
        })
    }

    /// Frees every entry; the open calls with their frames, by index.
    pub fn clear(&mut self) -> Vec<(u64, Arc<Call>)> {
        let mut calls = Vec::with_capacity(self.open);
        for (index, entry) in self.entries.iter_mut().enumerate() {
            match mem::replace(&mut entry.held, Held::Vacant) {
                Held::Vacant => continue,
                Held::Open(call) => calls.push((entry.frame, call)),
                Held::Abandoned => {}
            }
            entry.generation += 1;
            self.free.push(index as u32);
        }
        (self.used, self.open, self.bytes) = (0, 0, 0);
        calls
    }
}

#[cfg(test)]
mod tests {
    use slotkv_proto::v1;
    use tokio::time::Instant;

    use super::*;

    fn call(bytes: usize) -> Arc<Call> {
        let request = v1::Request { value: vec![0; bytes].into(), ..Default::default() };
        Arc::new(Call::new(request, (0, 0), Instant::now(), tracing::Span::none(), None))
    }

    fn insert(slab: &mut Slab, bytes: usize) -> u64 {
        let id = slab.next_id();
        slab.insert(call(bytes), 0);
        id
    }

    #[test]
    fn a_reply_of_a_request_that_is_gone_finds_nothing() {
        let mut slab = Slab::default();
        let first = insert(&mut slab, 1);
        assert!(matches!(slab.remove(first), Held::Open(_)));
        let second = insert(&mut slab, 1);
        assert_eq!(first & INDEX_MASK, second & INDEX_MASK);
        for stray in [first, 0, u64::MAX, second + 1] {
            assert!(matches!(slab.remove(stray), Held::Vacant));
        }
        assert!(matches!(slab.remove(second), Held::Open(_)));
        assert_eq!((slab.used(), slab.open()), (0, 0));
    }

    #[test]
    fn an_abandoned_request_counts_until_its_reply_comes() {
        let mut slab = Slab::default();
        let id = insert(&mut slab, 10);
        assert!(slab.abandon(id).is_some());
        assert!(slab.abandon(id).is_none());
        assert_eq!((slab.used(), slab.open()), (1, 0));
        assert!(!slab.has_room(1, 1, 100));
        assert!(matches!(slab.remove(id), Held::Abandoned));
        assert_eq!(slab.used(), 0);
    }

    #[test]
    fn room_is_bounded_by_count_and_bytes_and_a_large_request_goes_alone() {
        let mut slab = Slab::default();
        assert!(slab.has_room(1000, 2, 100));
        let id = insert(&mut slab, 60);
        assert!(slab.has_room(40, 2, 100));
        assert!(!slab.has_room(41, 2, 100));
        insert(&mut slab, 1);
        assert!(!slab.has_room(0, 2, 100));
        slab.remove(id);
        assert_eq!(slab.clear().len(), 1);
        assert_eq!((slab.used(), slab.bytes), (0, 0));
        assert!(slab.has_room(1000, 2, 100));
    }
}
