//! What results point into. It is lent to C under a number and freed by it, so that freeing twice is an error.

use std::any::Any;
use std::cell::Cell;
use std::ffi::c_char;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use slotkv_facade::error::FacadeError;
use slotkv_facade::handle::{Handle, Table};
use slotkv_facade::lock::Mutex;

use crate::bytes::slotkv_bytes;
use crate::export::invalid;

/// Results that may be lent at once, per [`SHARDS`]; past it a call ends with OVERLOADED.
const LENT_MAX: usize = 1 << 24;
/// So that threads do not wait for one another.
const SHARDS: usize = 16;
/// Kind of the first shard's handles; the others' follow.
const KIND_FIRST: u8 = 16;

static LENT: [Mutex<Option<Table<Memory>>>; SHARDS] = [const { Mutex::new(None) }; SHARDS];

/// What a result points into. Moving it moves nothing that is pointed to.
#[expect(dead_code, reason = "held and not read: C has the pointers")]
pub(crate) enum Memory {
    /// One value, as it came out of the decoded message.
    Bytes(Bytes),
    /// Everything else.
    Arena(Arena),
}

/// Lends `memory` out; the number is never 0.
pub(crate) fn lend(memory: Memory) -> Result<u64, FacadeError> {
    let shard = shard();
    let mut table = LENT[shard].lock();
    let table = table.get_or_insert_with(|| Table::new(KIND_FIRST + shard as u8, LENT_MAX));
    Ok(table.insert(memory)?.number())
}

/// Takes what was lent under `number` back and frees it.
pub(crate) fn take_back(number: u64) -> Result<(), FacadeError> {
    let shard = usize::from((number >> 56) as u8).wrapping_sub(KIND_FIRST.into());
    let shelf = LENT.get(shard).ok_or_else(|| invalid("not the memory of a result"))?;
    let memory = {
        let mut table = shelf.lock();
        let table = table.as_mut().ok_or_else(|| invalid("not the memory of a result"))?;
        table.remove(Handle::from_number(number))?
    };
    drop(memory);
    Ok(())
}

/// Locks everything that is lent until `held` is dropped.
pub(crate) fn hold(held: &mut Vec<Box<dyn Any>>) {
    for shard in &LENT {
        held.push(Box::new(shard.lock()));
    }
}

fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.get().unwrap_or_else(|| {
        let shard = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        OWN.set(Some(shard));
        shard
    })
}

/// Pieces that live and are freed together.
#[derive(Default)]
pub(crate) struct Arena {
    bytes: Vec<Bytes>,
    slices: Vec<Box<dyn Any>>,
}

// SAFETY: the pieces are plain data; pointers among them point to other pieces of the same arena, or to statics.
unsafe impl Send for Arena {}

impl Arena {
    /// Keeps `bytes`.
    pub(crate) fn bytes(&mut self, bytes: Bytes) -> slotkv_bytes {
        let shown = slotkv_bytes::of(&bytes);
        self.bytes.push(bytes);
        shown
    }

    /// Keeps a text; it ends at the first 0 inside of it, if there is one.
    pub(crate) fn text(&mut self, text: impl Into<Vec<u8>>) -> *const c_char {
        let mut text = text.into();
        text.push(0);
        self.slice(text).0.cast()
    }

    /// Keeps a text, NULL for none.
    pub(crate) fn text_or_null(&mut self, text: Option<String>) -> *const c_char {
        text.map_or(std::ptr::null(), |text| self.text(text))
    }

    /// Keeps texts; their first and how many there are.
    pub(crate) fn texts(&mut self, texts: Vec<String>) -> (*const *const c_char, usize) {
        let texts = texts.into_iter().map(|text| self.text(text)).collect();
        self.slice(texts)
    }

    /// Keeps values; their first, NULL for none, and how many there are.
    pub(crate) fn slice<T: 'static>(&mut self, values: Vec<T>) -> (*const T, usize) {
        if values.is_empty() {
            return (std::ptr::null(), 0);
        }
        let shown = (values.as_ptr(), values.len());
        self.slices.push(Box::new(values));
        shown
    }

    /// Keeps a value.
    pub(crate) fn one<T: 'static>(&mut self, value: T) -> *const T {
        self.slice(vec![value]).0
    }
}
