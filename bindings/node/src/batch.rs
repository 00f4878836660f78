//! What one turn gives to JavaScript: the ends of all calls that have come to their end, in one array.
//!
//! A call into the engine for every number and every string would cost more than the operations themselves. So ends are
//! records of [`WORDS`] 32-bit words in one buffer, which stands first in the array; what is no number stands behind it,
//! and records name its place. Small values share buffers, as those of `Buffer.from` do.
//!
//! | word | is |
//! |---|---|
//! | 0 | the call's number |
//! | 1 | a [`Tag`] |
//! | 2, 3, 4 | bytes: the place of their buffer, offset and length in it; or the place of an object |
//! | 5 | a count of records that follow and belong to this one; or a slot |
//! | 6, 7 | 64 bits: a version or a number |
//!
//! `lib/batch.js` reads this.

use std::time::Duration;

use bytes::Bytes;
use napi::bindgen_prelude::{BufferSlice, ToNapiValue};
use napi::{Env, Result, sys};
use slotkv_facade::core::{self, Answer, Delete, Item, Put};
use slotkv_facade::error::FacadeError;
use slotkv_facade::guard::guard;
use slotkv_facade::many;
use slotkv_facade::port::Reply;

use crate::bridge::{Bridge, Waiting};
use crate::client::Client;
use crate::errors::Failure;
use crate::view::ClusterStatus;

/// Words of a record.
const WORDS: usize = 8;
/// Longer values have a buffer of their own. A value that is kept keeps its whole buffer, so this and the next bound what
/// it costs.
const SHARED_BYTES_MAX: usize = 2 * 1024;
/// Length of a shared buffer.
const BUFFER_BYTES: usize = 8 * 1024;

/// What a record says.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Tag {
    /// An object: an error.
    Failure = 0,
    /// There is no value, or no item any more.
    None = 1,
    /// Bytes with a version.
    Value = 2,
    False = 3,
    True = 4,
    Created = 5,
    Updated = 6,
    PutUnmet = 7,
    Deleted = 8,
    NotFound = 9,
    DeleteUnmet = 10,
    /// A signed number.
    Number = 11,
    Count = 12,
    /// As many results; an object if some are errors: the error of all.
    Many = 13,
    /// As many items.
    Items = 14,
    /// Bytes, slot and version: a key. Its value follows, with what is left of its lifetime instead of the version.
    Item = 15,
    /// An object: a client or a status.
    Object = 16,
    /// It is done, and brings nothing.
    Done = 17,
    /// What came of a write: the status's number in the count, its version; the number follows.
    Outcome = 18,
    /// Bytes with a version. A record follows whose number is what is left of the lifetime, in milliseconds.
    Ending = 19,
}

/// See the module's documentation.
#[derive(Default)]
pub struct Batch {
    words: Vec<u8>,
    objects: Vec<Object>,
    /// The shared buffer that has room, among the objects.
    open: Option<usize>,
}

/// What stands in the array.
pub enum Object {
    Words(Vec<u8>),
    Shared(Vec<u8>),
    Own(Bytes),
    Failure(Box<Failure>),
    Client(Box<Client>),
    Status(Box<ClusterStatus>),
}

#[derive(Default)]
struct Record {
    place: u32,
    offset: u32,
    length: u32,
    count: u32,
    number: u64,
}

impl Batch {
    /// Adds the end of a call.
    pub fn push(
        &mut self,
        bridge: &Bridge,
        waiting: Waiting,
        result: std::result::Result<Reply, FacadeError>,
    ) {
        let (words, objects) = (self.words.len(), self.objects.len());
        let call = waiting.call;
        let pushed = guard(|| match result {
            Ok(reply) => self.reply(bridge, waiting, reply),
            Err(error) => Err(error),
        });
        if let Err(error) = pushed {
            self.words.truncate(words);
            self.objects.truncate(objects);
            self.open = self.open.filter(|&open| open < objects);
            self.failure(call, error);
        }
    }

    /// The array.
    pub fn finish(mut self) -> Vec<Object> {
        let words = std::mem::take(&mut self.words);
        let mut all = Vec::with_capacity(1 + self.objects.len());
        all.push(Object::Words(words));
        all.extend(self.objects);
        all
    }

    fn reply(
        &mut self,
        bridge: &Bridge,
        waiting: Waiting,
        reply: Reply,
    ) -> std::result::Result<(), FacadeError> {
        let Waiting { call, turn } = waiting;
        match (reply, turn) {
            (Reply::Answer(Answer::Page(page)), Some(turn)) => match turn.finish(page) {
                Some(item) => self.item(call, &item),
                None => self.plain(call, Tag::None, 0),
            },
            (Reply::Answer(answer), None) => self.answer(call, answer)?,
            (Reply::Client(client), None) => {
                let client = Object::Client(Box::new(Client::new(bridge.clone(), *client)));
                self.object(call, Tag::Object, client);
            }
            (Reply::Items(items), None) => self.items(call, &items),
            (Reply::Status(status), None) => {
                self.object(call, Tag::Object, Object::Status(Box::new((*status).into())));
            }
            (Reply::Closed, None) => self.plain(call, Tag::Done, 0),
            (reply, _) => return Err(FacadeError::unexpected(format!("{reply:?} as a reply"))),
        }
        Ok(())
    }

    fn answer(&mut self, call: u32, answer: Answer) -> std::result::Result<(), FacadeError> {
        match answer {
            Answer::Entry(None) => self.plain(call, Tag::None, 0),
            Answer::Entry(Some(entry)) => match entry.ttl {
                None => self.bytes(call, Tag::Value, &entry.value, entry.version),
                Some(_) => {
                    self.bytes(call, Tag::Ending, &entry.value, entry.version);
                    self.plain(call, Tag::Number, ms_of(entry.ttl));
                }
            },
            Answer::Has(false) => self.plain(call, Tag::False, 0),
            Answer::Has(true) => self.plain(call, Tag::True, 0),
            Answer::Put(put) => {
                let tag = match put {
                    Put::Created { .. } => Tag::Created,
                    Put::Updated { .. } => Tag::Updated,
                    Put::Unmet { .. } => Tag::PutUnmet,
                };
                self.plain(call, tag, put.version());
            }
            Answer::Delete(delete) => match delete {
                Delete::Deleted { version } => self.plain(call, Tag::Deleted, version),
                Delete::NotFound => self.plain(call, Tag::NotFound, 0),
                Delete::Unmet { version } => self.plain(call, Tag::DeleteUnmet, version),
            },
            Answer::Number(number) => self.plain(call, Tag::Number, number as u64),
            Answer::Count(count) => self.plain(call, Tag::Count, count),
            Answer::Outcome(outcome) => {
                let count = outcome.status as u32;
                let record = Record { count, number: outcome.version, ..Record::default() };
                self.record(call, Tag::Outcome, record);
                self.plain(call, Tag::Number, outcome.number as u64);
            }
            Answer::Many(answers) => self.many(call, answers)?,
            Answer::Page(_) => return Err(FacadeError::unexpected("a page as an answer")),
        }
        Ok(())
    }

    fn many(
        &mut self,
        call: u32,
        answers: Vec<core::Result<Answer>>,
    ) -> std::result::Result<(), FacadeError> {
        let mut record = Record { count: answers.len() as u32, ..Record::default() };
        if let Some(failure) = many::failure(&answers) {
            record.place = self.put(Object::Failure(Box::new(failure.into())));
        }
        self.record(call, Tag::Many, record);
        for answer in answers {
            match answer {
                Ok(Answer::Many(_)) => return Err(FacadeError::unexpected("many answers to one operation")),
                Ok(answer) => self.answer(call, answer)?,
                Err(error) => self.failure(call, error.into()),
            }
        }
        Ok(())
    }

    fn items(&mut self, call: u32, items: &[Item]) {
        let count = items.len() as u32;
        self.record(call, Tag::Items, Record { count, ..Record::default() });
        for item in items {
            self.item(call, item);
        }
    }

    fn item(&mut self, call: u32, item: &Item) {
        let key = self.place(&item.key);
        let record = Record { count: item.slot.into(), number: item.version, ..key };
        self.record(call, Tag::Item, record);
        self.bytes(call, Tag::Value, &item.value, ms_of(item.ttl));
    }

    fn failure(&mut self, call: u32, error: FacadeError) {
        self.object(call, Tag::Failure, Object::Failure(Box::new(error.into())));
    }

    fn object(&mut self, call: u32, tag: Tag, object: Object) {
        let place = self.put(object);
        self.record(call, tag, Record { place, ..Record::default() });
    }

    fn plain(&mut self, call: u32, tag: Tag, number: u64) {
        self.record(call, tag, Record { number, ..Record::default() });
    }

    fn bytes(&mut self, call: u32, tag: Tag, bytes: &Bytes, number: u64) {
        let record = self.place(bytes);
        self.record(call, tag, Record { number, ..record });
    }

    /// Takes bytes in, and says where they are.
    fn place(&mut self, bytes: &Bytes) -> Record {
        let length = bytes.len() as u32;
        if bytes.len() > SHARED_BYTES_MAX {
            let place = self.put(Object::Own(bytes.clone()));
            return Record { place, length, ..Record::default() };
        }
        let has_room = |object: &Object| match object {
            Object::Shared(shared) => shared.len() + bytes.len() <= BUFFER_BYTES,
            _ => false,
        };
        let open = match self.open.filter(|&open| self.objects.get(open).is_some_and(has_room)) {
            Some(open) => open,
            None => {
                self.objects.push(Object::Shared(Vec::new()));
                self.objects.len() - 1
            }
        };
        self.open = Some(open);
        let mut offset = 0;
        if let Some(Object::Shared(shared)) = self.objects.get_mut(open) {
            offset = shared.len() as u32;
            shared.extend_from_slice(bytes);
        }
        Record { place: open as u32 + 1, offset, length, ..Record::default() }
    }

    fn put(&mut self, object: Object) -> u32 {
        self.objects.push(object);
        // The records stand before the objects.
        self.objects.len() as u32
    }

    fn record(&mut self, call: u32, tag: Tag, record: Record) {
        let mut bytes = [0; WORDS * 4];
        let words = [call, tag as u32, record.place, record.offset, record.length, record.count];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes[24..].copy_from_slice(&record.number.to_ne_bytes());
        self.words.extend_from_slice(&bytes);
    }
}

/// What is left of a lifetime; 0 stands for one without end.
fn ms_of(ttl: Option<Duration>) -> u64 {
    ttl.map_or(0, |ttl| ttl.as_millis() as u64)
}

impl ToNapiValue for Object {
    unsafe fn to_napi_value(env: sys::napi_env, object: Self) -> Result<sys::napi_value> {
        let buffer = |bytes: &[u8]| {
            let buffer = BufferSlice::copy_from(&Env::from_raw(env), bytes)?;
            // SAFETY: `env` is live, as the caller says; the same below.
            unsafe { ToNapiValue::to_napi_value(env, &buffer) }
        };
        // SAFETY: see above.
        unsafe {
            match object {
                Object::Words(bytes) | Object::Shared(bytes) => buffer(&bytes),
                Object::Own(bytes) => buffer(&bytes),
                Object::Failure(failure) => Failure::to_napi_value(env, *failure),
                Object::Client(client) => Client::to_napi_value(env, *client),
                Object::Status(status) => ClusterStatus::to_napi_value(env, *status),
            }
        }
    }
}
