//! What calls answer, in one form for all of them.

use std::time::Duration;

use bytes::Bytes;
use slotkv_facade::core::{self, Answer, Delete, Put, WriteStatus};
use slotkv_facade::error::FacadeError;
use slotkv_facade::many;
use slotkv_facade::port::Reply;

use crate::bytes::slotkv_bytes;
use crate::code::{slotkv_code, slotkv_status};
use crate::error::{self, slotkv_error};
use crate::export::export;
use crate::memory::{self, Arena, Memory};
use crate::view::{self, slotkv_client_stats, slotkv_cluster, slotkv_explanation};

/// A key of a scan. Part of a result and freed with it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_item {
    /// The key.
    pub key: slotkv_bytes,
    /// Its value; empty with keys_only.
    pub value: slotkv_bytes,
    /// Its version.
    pub version: u64,
    /// Its slot.
    pub slot: u16,
    /// What is left of its lifetime; 0: it lives for ever.
    pub ttl_ms: u64,
}

impl slotkv_item {
    /// Where it is, without what it holds.
    ///
    /// # Safety
    /// The key is NULL or as many bytes as it says.
    pub(crate) unsafe fn place(&self) -> Result<core::Item, FacadeError> {
        // SAFETY: the caller's promise.
        let key = unsafe { self.key.copy("the item's key")? };
        Ok(core::Item { key, value: Bytes::new(), version: self.version, slot: self.slot, ttl: None })
    }
}

/// How a call ended. The library writes all of it and reads nothing that stood there; a place that is used again is freed
/// before. Where a call takes one it may be NULL: then the code is all that is told.
///
/// The caller owns the structure, and what it points to until slotkv_result_free; copies of the structure share that. What
/// an operation does not answer is 0 or NULL. Another thread may read and free it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_result {
    /// SLOTKV_CODE_OK, or why it did not succeed.
    pub code: slotkv_code,
    /// What a write did, and whether get and has found the key.
    pub status: slotkv_status,
    /// The key's version: of the value that was got; after a write; of the deletion. With SLOTKV_STATUS_UNMET the version
    /// as it stands, 0 if the key is absent.
    pub version: u64,
    /// The sum of increment; how many keys count counted; the slot; 1 or 0 of has.
    pub number: i64,
    /// What is left of the lifetime of the key that get has found; 0: it lives for ever.
    pub ttl_ms: u64,
    /// The value of get, as it came out of the decoded message; the token of slotkv_session_token.
    pub value: slotkv_bytes,
    /// Where a scan goes on; data is NULL where it stands at its beginning or, of a page, has come to its end.
    pub cursor: slotkv_bytes,
    /// Keys of a scan or dump.
    pub items: *const slotkv_item,
    /// How many items there are. Of slotkv_scan_next: 0 behind the last one.
    pub items_count: usize,
    /// Of many keys, in their order. They are not freed by themselves.
    pub results: *const slotkv_result,
    /// How many results there are.
    pub results_count: usize,
    /// More about why; NULL if the code is SLOTKV_CODE_OK. Of many keys: the first error, with the outcome of the worst.
    pub error: *const slotkv_error,
    /// Of slotkv_explain.
    pub explanation: *const slotkv_explanation,
    /// Of slotkv_stats.
    pub stats: *const slotkv_client_stats,
    /// Of slotkv_status.
    pub cluster: *const slotkv_cluster,
    /// The library's name for what this points to; 0 for nothing.
    pub memory: u64,
}

/// What is left of a lifetime; 0: it lives for ever.
fn ms_of(ttl: Option<Duration>) -> u64 {
    ttl.map_or(0, |ttl| ttl.as_millis() as u64)
}

/// Frees what a result points to and empties it. NULL, an empty result and one without memory are nothing to free.
///
/// Codes: CLOSED if a copy of it was freed before, INVALID_ARGUMENT if the library never made it.
///
/// # Safety
/// `result` is NULL or points to a result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_result_free(result: *mut slotkv_result) -> slotkv_code {
    let free = || {
        if !result.is_null() && result.is_aligned() {
            // SAFETY: the caller's promise. Only the number is read, which may be any.
            let memory = unsafe { std::mem::replace(&mut (*result).memory, 0) };
            // SAFETY: as above.
            unsafe { result.write(slotkv_result::ok()) };
            if memory != 0 {
                memory::take_back(memory)?;
            }
        }
        Ok(slotkv_result::ok())
    };
    // SAFETY: NULL has no room to write to.
    unsafe { export(std::ptr::null_mut(), free) }
}

impl slotkv_result {
    /// Nothing but success.
    pub(crate) fn ok() -> Self {
        Self {
            code: slotkv_code::Ok,
            status: slotkv_status::None,
            version: 0,
            number: 0,
            ttl_ms: 0,
            value: slotkv_bytes::NONE,
            cursor: slotkv_bytes::NONE,
            items: std::ptr::null(),
            items_count: 0,
            results: std::ptr::null(),
            results_count: 0,
            error: std::ptr::null(),
            explanation: std::ptr::null(),
            stats: std::ptr::null(),
            cluster: std::ptr::null(),
            memory: 0,
        }
    }

    pub(crate) fn number(number: i64) -> Self {
        Self { number, ..Self::ok() }
    }

    /// An error. Without room for its texts, its code alone.
    pub(crate) fn failed(error: FacadeError) -> Self {
        let mut arena = Arena::default();
        let shown = Self { code: error.code.into(), error: error::keep(&mut arena, error), ..Self::ok() };
        let bare = Self { error: std::ptr::null(), ..shown };
        shown.with(arena).unwrap_or(bare)
    }

    /// A cursor, or none.
    pub(crate) fn of_cursor(cursor: Option<Bytes>) -> Result<Self, FacadeError> {
        let mut arena = Arena::default();
        let cursor = cursor.map_or(slotkv_bytes::NONE, |cursor| arena.bytes(cursor));
        Self { cursor, ..Self::ok() }.with(arena)
    }

    /// A value by itself.
    pub(crate) fn of_value(value: Bytes) -> Result<Self, FacadeError> {
        let shown = slotkv_bytes::of(&value);
        Ok(Self { value: shown, memory: memory::lend(Memory::Bytes(value))?, ..Self::ok() })
    }

    pub(crate) fn of_items(items: Vec<core::Item>) -> Result<Self, FacadeError> {
        let mut arena = Arena::default();
        let shown = Self::items(&mut arena, items);
        shown.with(arena)
    }

    pub(crate) fn of_explanation(explain: core::Explain) -> Result<Self, FacadeError> {
        let mut arena = Arena::default();
        let explanation = view::explanation(&mut arena, explain);
        Self { explanation, ..Self::ok() }.with(arena)
    }

    pub(crate) fn of_stats(stats: core::Stats) -> Result<Self, FacadeError> {
        let mut arena = Arena::default();
        let stats = view::stats(&mut arena, stats);
        Self { stats, ..Self::ok() }.with(arena)
    }

    pub(crate) fn of_cluster(status: core::v1::StatusReply) -> Result<Self, FacadeError> {
        let mut arena = Arena::default();
        let cluster = view::cluster(&mut arena, status);
        Self { cluster, ..Self::ok() }.with(arena)
    }

    pub(crate) fn of_answer(answer: Answer) -> Result<Self, FacadeError> {
        match answer {
            // The common ones need no arena.
            Answer::Entry(Some(entry)) => {
                let value = slotkv_bytes::of(&entry.value);
                let memory = memory::lend(Memory::Bytes(entry.value))?;
                let (status, version, ttl_ms) = (slotkv_status::Found, entry.version, ms_of(entry.ttl));
                Ok(Self { status, version, ttl_ms, value, memory, ..Self::ok() })
            }
            answer @ (Answer::Page(_) | Answer::Many(_)) => {
                let mut arena = Arena::default();
                let shown = Self::answered(&mut arena, answer);
                shown.with(arena)
            }
            answer => Ok(Self::answered(&mut Arena::default(), answer)),
        }
    }

    pub(crate) fn of_reply(reply: Result<Reply, FacadeError>) -> Self {
        let shown = reply.and_then(|reply| match reply {
            Reply::Answer(answer) => Self::of_answer(answer),
            Reply::Items(items) => Self::of_items(items),
            Reply::Status(status) => Self::of_cluster(*status),
            Reply::Closed => Ok(Self::ok()),
            Reply::Client(_) => Err(FacadeError::unexpected("a client as the reply to an operation")),
        });
        shown.unwrap_or_else(Self::failed)
    }

    /// Frees what it points to.
    pub(crate) fn free(self) -> Result<(), FacadeError> {
        if self.memory == 0 { Ok(()) } else { memory::take_back(self.memory) }
    }

    fn with(self, arena: Arena) -> Result<Self, FacadeError> {
        Ok(Self { memory: memory::lend(Memory::Arena(arena))?, ..self })
    }

    fn items(arena: &mut Arena, items: Vec<core::Item>) -> Self {
        let mut shown = Vec::with_capacity(items.len());
        for item in items {
            let (version, slot, ttl_ms) = (item.version, item.slot, ms_of(item.ttl));
            let (key, value) = (arena.bytes(item.key), arena.bytes(item.value));
            shown.push(slotkv_item { key, value, version, slot, ttl_ms });
        }
        let (items, items_count) = arena.slice(shown);
        Self { items, items_count, ..Self::ok() }
    }

    fn answered(arena: &mut Arena, answer: Answer) -> Self {
        let done = |status, version| Self { status, version, ..Self::ok() };
        match answer {
            Answer::Entry(None) => done(slotkv_status::NotFound, 0),
            Answer::Entry(Some(entry)) => {
                let value = arena.bytes(entry.value);
                Self { value, ttl_ms: ms_of(entry.ttl), ..done(slotkv_status::Found, entry.version) }
            }
            Answer::Has(true) => Self { number: 1, ..done(slotkv_status::Found, 0) },
            Answer::Has(false) => done(slotkv_status::NotFound, 0),
            Answer::Put(put) => {
                let status = match put {
                    Put::Created { .. } => slotkv_status::Created,
                    Put::Updated { .. } => slotkv_status::Updated,
                    Put::Unmet { .. } => slotkv_status::Unmet,
                };
                done(status, put.version())
            }
            Answer::Delete(Delete::Deleted { version }) => done(slotkv_status::Deleted, version),
            Answer::Delete(Delete::NotFound) => done(slotkv_status::NotFound, 0),
            Answer::Delete(Delete::Unmet { version }) => done(slotkv_status::Unmet, version),
            Answer::Number(number) => Self::number(number),
            Answer::Outcome(outcome) => {
                let status = match outcome.status {
                    WriteStatus::Created => slotkv_status::Created,
                    WriteStatus::Updated => slotkv_status::Updated,
                    WriteStatus::Deleted => slotkv_status::Deleted,
                    WriteStatus::NotFound => slotkv_status::NotFound,
                    WriteStatus::Unmet => slotkv_status::Unmet,
                    WriteStatus::NotApplied => slotkv_status::NotApplied,
                    WriteStatus::Forgotten => slotkv_status::Forgotten,
                };
                Self { number: outcome.number, ..done(status, outcome.version) }
            }
            Answer::Count(count) => Self::number(count.try_into().unwrap_or(i64::MAX)),
            Answer::Page(page) => {
                let cursor = page.cursor.map_or(slotkv_bytes::NONE, |cursor| arena.bytes(cursor));
                Self { cursor, ..Self::items(arena, page.items) }
            }
            Answer::Many(answers) => Self::many(arena, answers),
        }
    }

    fn many(arena: &mut Arena, answers: Vec<core::Result<Answer>>) -> Self {
        let failure = many::failure(&answers);
        let mut shown = Vec::with_capacity(answers.len());
        for answer in answers {
            shown.push(match answer {
                Ok(answer) => Self::answered(arena, answer),
                Err(error) => Self::error(arena, error.into()),
            });
        }
        let (results, results_count) = arena.slice(shown);
        let whole = failure.map_or_else(Self::ok, |failure| Self::error(arena, failure));
        Self { results, results_count, ..whole }
    }

    fn error(arena: &mut Arena, error: FacadeError) -> Self {
        Self { code: error.code.into(), error: error::keep(arena, error), ..Self::ok() }
    }
}
