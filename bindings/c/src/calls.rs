//! Sequences of calls made of bytes: libFuzzer makes them up (`tests/fuzz`), and the tests here repeat those that it kept.
//! Handles are open ones, closed ones, those of another kind and numbers that never were one; the cluster is in memory.
//!
//! What must hold, whatever is called in whatever order:
//! - Nothing panics, and nothing is read or freed that C does not have.
//! - What was handed over is closed or freed once; a second time is an error.
//! - An operation of a queue that was begun ends once, with its own context, and none ends that was not begun.

mod given;
mod seen;

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::Mutex;

use self::given::{Feed, Given};
use crate::client::*;
use crate::code::{slotkv_code, slotkv_code_name};
use crate::error::slotkv_retry_name;
use crate::fake::{FAKE, MUCH_LATER};
use crate::queue::*;
use crate::result::{slotkv_item, slotkv_result, slotkv_result_free};
use crate::scan::*;
use crate::{SLOTKV_ABI_VERSION, slotkv_abi_version, slotkv_version};

/// Calls of one sequence.
const CALLS_MAX: usize = 48;
/// Clients, scans and queues of one sequence.
const HANDLES_MAX: usize = 12;
/// Results that are held at once: past it, the oldest is freed.
const HELD_MAX: usize = 8;

type Code = slotkv_code;
type Place = *mut slotkv_result;

/// Operations that were begun and have not ended yet, by their contexts.
#[derive(Default)]
struct Open(Mutex<BTreeSet<usize>>);

impl Open {
    fn begin(&self, contexts: impl Iterator<Item = usize>) {
        self.0.lock().unwrap().extend(contexts);
    }

    fn end(&self, context: usize) {
        assert!(self.0.lock().unwrap().remove(&context), "operation {context} ends, and is not open");
    }
}

/// Reads and frees what it gets.
unsafe extern "C" fn call_back(context: *mut c_void, completions: *mut slotkv_completion, count: usize) {
    // SAFETY: what the queue was opened with, and so many completions.
    let (open, ended) =
        unsafe { (&*context.cast::<Open>(), std::slice::from_raw_parts_mut(completions, count)) };
    for completion in ended {
        open.end(completion.context as usize);
        seen::read(&completion.result, &mut Vec::new());
        // SAFETY: results are the callback's.
        assert_eq!(unsafe { slotkv_result_free(&raw mut completion.result) }, Code::Ok);
    }
}

/// What the program holds.
struct Program {
    /// All that were handed over: whatever became of them.
    handles: Vec<u64>,
    clients: Vec<u64>,
    scans: Vec<u64>,
    queues: Vec<u64>,
    pending: Vec<u64>,
    results: Vec<slotkv_result>,
    /// A copy of the last one that was freed.
    freed: Option<slotkv_result>,
    /// Tokens, cursors and values.
    known: Vec<Vec<u8>>,
    open: Box<Open>,
    /// Contexts so far.
    begun: usize,
}

/// Makes the calls that `bytes` stand for.
///
/// # Panics
/// If one of them does what it must not.
pub fn run(bytes: &[u8]) {
    FAKE.with(|fake| fake.forget());
    let mut program = Program {
        handles: Vec::new(),
        clients: Vec::new(),
        scans: Vec::new(),
        queues: Vec::new(),
        pending: Vec::new(),
        results: Vec::new(),
        freed: None,
        known: Vec::new(),
        open: Box::default(),
        begun: 1,
    };
    let mut feed = Feed(bytes);
    for _ in 0..CALLS_MAX {
        if feed.is_empty() {
            break;
        }
        program.call(&mut feed);
    }
    program.end();
}

impl Program {
    fn call(&mut self, feed: &mut Feed) {
        match feed.byte() % 48 {
            0 | 1 => self.connect(feed),
            2 => self.close(feed),
            3 => self.queue_open(feed),
            4 | 5 => self.submit(feed),
            6 | 7 => self.take(feed),
            8 => self.cancel(feed),
            9 => self.queue_counts(feed),
            10 => self.queue_cursor(feed),
            11 => self.queue_close(feed),
            12 => self.scan(feed),
            13 => self.scan_close(feed),
            14 => self.free(feed),
            15 => FAKE.with(|fake| fake.release()),
            16 => names(feed),
            how => self.simple(how, feed),
        }
    }

    /// A handle of one kind, most of the time.
    fn handle(&self, feed: &mut Feed, own: &[u64]) -> u64 {
        let pick = |known: &[u64], how: u8| match known.len() {
            0 => 0,
            count => known[usize::from(how) % count],
        };
        match feed.byte() {
            255 => 0,
            254 => u64::MAX,
            253 => feed.number(),
            252 => pick(&self.handles, feed.byte()).wrapping_add(MUCH_LATER),
            251 => pick(&self.pending, feed.byte()),
            250 => self.results.last().map_or(1, |result| result.memory),
            how @ 200..=249 => pick(&self.handles, how),
            how => pick(own, how),
        }
    }

    /// Makes a call whose result goes to a new place, to none, or to one that cannot be.
    fn result(&mut self, feed: &mut Feed, call: impl FnOnce(Place) -> Code) -> Code {
        let mut place = [const { MaybeUninit::<slotkv_result>::uninit() }; 2];
        let first = place[0].as_mut_ptr();
        match feed.byte() {
            255 => return call(null_mut()),
            254 => return call(first.wrapping_byte_add(1)),
            _ => {}
        }
        let code = call(first);
        // SAFETY: the library writes all of it.
        let result = unsafe { place[0].assume_init() };
        assert_eq!(result.code, code);
        seen::read(&result, &mut self.known);
        self.hold(result);
        code
    }

    fn hold(&mut self, result: slotkv_result) {
        self.results.push(result);
        if self.results.len() > HELD_MAX {
            let oldest = self.results.remove(0);
            self.free_one(oldest);
        }
    }

    fn free_one(&mut self, mut result: slotkv_result) {
        self.freed = Some(result);
        // SAFETY: a result of the library's that was not freed before.
        assert_eq!(unsafe { slotkv_result_free(&raw mut result) }, Code::Ok);
        assert_eq!((result.code, result.memory), (Code::Ok, 0));
    }

    fn free(&mut self, feed: &mut Feed) {
        match feed.byte() {
            // A copy of one that is freed.
            0..=63 => {
                let Some(mut copy) = self.freed else { return };
                let wanted = if copy.memory == 0 { Code::Ok } else { Code::Closed };
                // SAFETY: the number is all that is read.
                assert_eq!(unsafe { slotkv_result_free(&raw mut copy) }, wanted);
            }
            // One that never was.
            64..=127 => {
                let memory = self.handle(feed, &self.handles);
                let is_held = self.results.iter().any(|result| result.memory == memory);
                let mut made_up = slotkv_result { memory, ..slotkv_result::ok() };
                // SAFETY: as above.
                let code =
                    if is_held { Code::Closed } else { unsafe { slotkv_result_free(&raw mut made_up) } };
                assert_eq!(code == Code::Ok, memory == 0);
            }
            // SAFETY: NULL and misplaced ones are nothing to free.
            128..=131 => assert_eq!(unsafe { slotkv_result_free(null_mut()) }, Code::Ok),
            how => {
                if !self.results.is_empty() {
                    let result = self.results.remove(usize::from(how) % self.results.len());
                    self.free_one(result);
                }
            }
        }
    }

    /// A place for a handle; NULL and misplaced ones are refused.
    fn place_for(feed: &mut Feed, handle: &mut [u64; 2]) -> *mut u64 {
        match feed.byte() {
            255 => null_mut(),
            254 => handle.as_mut_ptr().wrapping_byte_add(1),
            _ => handle.as_mut_ptr(),
        }
    }

    fn is_full(&self) -> bool {
        self.handles.len() >= HANDLES_MAX
    }

    fn connect(&mut self, feed: &mut Feed) {
        if self.is_full() {
            return;
        }
        let mut given = Given::default();
        let mut handle = [0; 2];
        let (uri, options) = (given.uri(feed), given.connect_options(feed));
        let place = Self::place_for(feed, &mut handle);
        let abi = if feed.byte() == 255 { feed.byte().into() } else { SLOTKV_ABI_VERSION };
        // SAFETY: what is pointed to is there, here and in all calls below.
        let code = self.result(feed, |to| unsafe { slotkv_connect(abi, uri, options, place, to) });
        assert_eq!(code == Code::Ok, handle[0] != 0);
        if code == Code::Ok {
            self.clients.push(handle[0]);
            self.handles.push(handle[0]);
        }
    }

    fn close(&mut self, feed: &mut Feed) {
        let client = self.handle(feed, &self.clients);
        let code = self.result(feed, |to| unsafe { slotkv_close(client, to) });
        closed(&mut self.clients, client, code);
    }

    fn queue_open(&mut self, feed: &mut Feed) {
        if self.is_full() {
            return;
        }
        let client = self.handle(feed, &self.clients);
        let mut handle = [0; 2];
        let place = Self::place_for(feed, &mut handle);
        let callback: slotkv_callback = if feed.byte().is_multiple_of(2) { None } else { Some(call_back) };
        let context = (&raw const *self.open).cast_mut().cast();
        let code = self.result(feed, |to| unsafe { slotkv_queue_open(client, callback, context, place, to) });
        assert_eq!(code == Code::Ok, handle[0] != 0);
        if code == Code::Ok {
            assert_eq!(slotkv_queue_fd(handle[0]) >= 0, callback.is_none());
            self.queues.push(handle[0]);
            self.handles.push(handle[0]);
        }
    }

    fn submit(&mut self, feed: &mut Feed) {
        let queue = self.handle(feed, &self.queues);
        let mut given = Given::default();
        let (operations, count) = given.operations(feed, &self.known, self.begun);
        let contexts = self.begun..self.begun + count;
        self.begun = contexts.end;
        // Before one of them can end.
        self.open.begin(contexts.clone());
        let mut names = vec![0; count];
        let mut begun = usize::MAX;
        let wants_names = !feed.byte().is_multiple_of(4);
        let pending = if wants_names { names.as_mut_ptr() } else { null_mut() };
        let code = self.result(feed, |to| unsafe {
            slotkv_queue_submit(queue, operations, count, pending, &mut begun, to)
        });
        assert!(begun <= count && (code != Code::Ok || begun == count), "{begun} of {count}: {code:?}");
        contexts.skip(begun).for_each(|context| self.open.end(context));
        if wants_names {
            self.pending.extend(&names[..begun]);
        }
    }

    fn take(&mut self, feed: &mut Feed) {
        let queue = self.handle(feed, &self.queues);
        let capacity = usize::from(feed.byte() % 4);
        let mut ended = Vec::<slotkv_completion>::with_capacity(capacity);
        let place = if feed.byte() == 255 { null_mut() } else { ended.as_mut_ptr() };
        let mut count = usize::MAX;
        let timeout_ms = (feed.byte() % 4).into();
        let code = self.result(feed, |to| unsafe {
            slotkv_queue_take(queue, timeout_ms, place, capacity, &mut count, to)
        });
        assert!(count <= capacity && (code == Code::Ok || count == 0), "{count} of {capacity}: {code:?}");
        // SAFETY: so many were written.
        unsafe { ended.set_len(count) };
        ended.into_iter().for_each(|completion| self.ended(completion));
    }

    fn ended(&mut self, completion: slotkv_completion) {
        self.open.end(completion.context as usize);
        seen::read(&completion.result, &mut self.known);
        self.hold(completion.result);
    }

    fn cancel(&mut self, feed: &mut Feed) {
        let queue = self.handle(feed, &self.queues);
        let pending = self.handle(feed, &self.pending);
        let mut cancelled = MaybeUninit::uninit();
        let code = self
            .result(feed, |to| unsafe { slotkv_queue_cancel(queue, pending, cancelled.as_mut_ptr(), to) });
        if code == Code::Ok {
            // SAFETY: the library wrote it.
            self.ended(unsafe { cancelled.assume_init() });
        }
    }

    fn queue_counts(&mut self, feed: &mut Feed) {
        let queue = self.handle(feed, &self.queues);
        let mut counters = MaybeUninit::<slotkv_queue_counters>::uninit();
        let code = self.result(feed, |to| unsafe { slotkv_queue_counts(queue, counters.as_mut_ptr(), to) });
        if code == Code::Ok {
            // SAFETY: the library wrote it.
            let counters = unsafe { counters.assume_init() };
            assert!(counters.completions <= counters.submissions && counters.open <= counters.submissions);
        }
    }

    fn queue_cursor(&mut self, feed: &mut Feed) {
        let queue = self.handle(feed, &self.queues);
        let mut given = Given::default();
        let (range, options) = (given.range(feed, &self.known), given.call_options(feed, &self.known));
        let (key, slot) = (given.bytes(feed, &self.known), feed.number() as u16);
        let item = slotkv_item { key, value: key, version: feed.number(), slot, ttl_ms: 0 };
        self.result(feed, |to| unsafe { slotkv_queue_cursor(queue, range, &item, options, to) });
    }

    fn queue_close(&mut self, feed: &mut Feed) {
        let queue = self.handle(feed, &self.queues);
        let code = self.result(feed, |to| unsafe { slotkv_queue_close(queue, to) });
        closed(&mut self.queues, queue, code);
    }

    fn scan(&mut self, feed: &mut Feed) {
        if self.is_full() {
            return;
        }
        let client = self.handle(feed, &self.clients);
        let mut given = Given::default();
        let (range, cursor) = (given.range(feed, &self.known), given.bytes(feed, &self.known));
        let options = given.call_options(feed, &self.known);
        let mut handle = [0; 2];
        let place = Self::place_for(feed, &mut handle);
        let code = self.result(feed, |to| unsafe { slotkv_scan(client, range, cursor, options, place, to) });
        assert_eq!(code == Code::Ok, handle[0] != 0);
        if code == Code::Ok {
            self.scans.push(handle[0]);
            self.handles.push(handle[0]);
        }
    }

    fn scan_close(&mut self, feed: &mut Feed) {
        let scan = self.handle(feed, &self.scans);
        let code = self.result(feed, |to| unsafe { slotkv_scan_close(scan, to) });
        closed(&mut self.scans, scan, code);
    }

    /// Calls that take what they are given, and hand nothing over but their result.
    fn simple(&mut self, how: u8, feed: &mut Feed) {
        let own: &[u64] = match how {
            38 | 39 => &self.queues,
            40..=42 => &self.scans,
            _ => &self.clients,
        };
        let on = self.handle(feed, own);
        let mut given = Given::default();
        let options = given.call_options(feed, &self.known);
        let known = &self.known;
        match how {
            17 => {
                let key = given.bytes(feed, known);
                self.result(feed, |to| unsafe { slotkv_get(on, key, options, to) })
            }
            18 => {
                let key = given.bytes(feed, known);
                self.result(feed, |to| unsafe { slotkv_has(on, key, options, to) })
            }
            19..=22 => {
                let (key, value) = (given.bytes(feed, known), given.bytes(feed, known));
                let version = feed.number();
                self.result(feed, |to| unsafe {
                    match how {
                        19 => slotkv_put(on, key, value, options, to),
                        20 => slotkv_put_if_absent(on, key, value, options, to),
                        21 => slotkv_update_if_present(on, key, value, options, to),
                        _ => slotkv_compare_and_set(on, key, value, version, options, to),
                    }
                })
            }
            23..=27 => {
                let (key, number) = (given.bytes(feed, known), feed.number());
                self.result(feed, |to| unsafe {
                    match how {
                        23 => slotkv_expire(on, key, number, options, to),
                        24 => slotkv_persist(on, key, options, to),
                        25 => slotkv_delete(on, key, options, to),
                        26 => slotkv_delete_if_version(on, key, number, options, to),
                        _ => slotkv_increment(on, key, number as i64, options, to),
                    }
                })
            }
            28 => {
                let token = given.bytes(feed, known);
                self.result(feed, |to| unsafe { slotkv_outcome(on, token, options, to) })
            }
            29 | 30 => {
                let (keys, count) = given.several(feed, known);
                self.result(feed, |to| unsafe {
                    match how {
                        29 => slotkv_get_many(on, keys, count, options, to),
                        _ => slotkv_delete_many(on, keys, count, options, to),
                    }
                })
            }
            31 => {
                let (pairs, count) = given.pairs(feed, known);
                self.result(feed, |to| unsafe { slotkv_put_many(on, pairs, count, options, to) })
            }
            32 | 33 => {
                let range = given.range(feed, known);
                self.result(feed, |to| unsafe {
                    match how {
                        32 => slotkv_count(on, range, options, to),
                        _ => slotkv_dump(on, range, options, to),
                    }
                })
            }
            34 => self.result(feed, |to| unsafe { slotkv_status(on, options, to) }),
            35 => {
                let key = given.bytes(feed, known);
                self.result(feed, |to| unsafe { slotkv_slot(on, key, to) })
            }
            36 => {
                let key = given.bytes(feed, known);
                self.result(feed, |to| unsafe { slotkv_explain(on, key, to) })
            }
            37 => self.result(feed, |to| unsafe { slotkv_stats(on, to) }),
            38 => self.result(feed, |to| unsafe { slotkv_queue_stats(on, to) }),
            39 => self.result(feed, |to| unsafe { slotkv_queue_session_token(on, to) }),
            40 | 41 => {
                let items_max = feed.number() as usize;
                self.result(feed, |to| unsafe { slotkv_scan_next(on, items_max, to) })
            }
            42 => self.result(feed, |to| unsafe { slotkv_scan_cursor(on, to) }),
            43 => self.result(feed, |to| unsafe { slotkv_session_token(on, to) }),
            _ => {
                let (operation, _) = given.operations(feed, known, 0);
                self.result(feed, |to| unsafe { slotkv_call(on, operation, to) })
            }
        };
    }

    /// Closes and frees what is left, in an order that is not the one in which it was made.
    fn end(mut self) {
        for client in std::mem::take(&mut self.clients) {
            assert_eq!(unsafe { slotkv_close(client, null_mut()) }, Code::Ok);
        }
        for scan in std::mem::take(&mut self.scans) {
            assert_eq!(unsafe { slotkv_scan_close(scan, null_mut()) }, Code::Ok);
        }
        for queue in std::mem::take(&mut self.queues) {
            assert_eq!(unsafe { slotkv_queue_close(queue, null_mut()) }, Code::Ok);
        }
        for result in std::mem::take(&mut self.results) {
            self.free_one(result);
        }
    }
}

/// A handle that was closed is closed, once; one that was not is what it was.
fn closed(own: &mut Vec<u64>, handle: u64, code: Code) {
    let before = own.len();
    own.retain(|&known| known != handle);
    assert_eq!(code == Code::Ok, own.len() < before, "{handle:#x}: {code:?}");
}

fn names(feed: &mut Feed) {
    let number = feed.number() as i32;
    assert!(!slotkv_code_name(number).is_null() && !slotkv_version().is_null());
    assert_eq!(slotkv_retry_name(number).is_null(), !(1..=4).contains(&number));
    assert_eq!((slotkv_abi_version(), slotkv_queue_fd(feed.byte().into())), (SLOTKV_ABI_VERSION, -1));
}
