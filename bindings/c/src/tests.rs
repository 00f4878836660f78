//! The exports as a C program calls them, with a cluster in memory: Miri can run these, and looks at every pointer that
//! goes either way. The programs under `tests/c` try the library as it is built, with a real cluster.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::panic;
use std::ptr::{null, null_mut};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, Once};

use slotkv_facade::guard;

use crate::bytes::slotkv_bytes;
use crate::client::*;
use crate::code::{slotkv_code, slotkv_outcome, slotkv_status};
use crate::export::slotkv_test_panic;
use crate::fake::{FAKE, MUCH_LATER};
use crate::log::{slotkv_level, slotkv_log, slotkv_record};
use crate::operation::{slotkv_operation, slotkv_operation_kind, slotkv_pair};
use crate::options::{slotkv_call_options, slotkv_connect_options, slotkv_range};
use crate::queue::*;
use crate::result::{slotkv_result, slotkv_result_free};
use crate::scan::*;
use crate::session::*;
use crate::{SLOTKV_ABI_VERSION, slotkv_abi_version, slotkv_version};

/// A structure whose fields are all at their defaults, as C's initialisers make it.
macro_rules! defaults {
    ($kind:ty { $($field:ident: $value:expr),* $(,)? }) => {{
        // SAFETY: what `Growing` says of it.
        let mut value: $kind = unsafe { MaybeUninit::zeroed().assume_init() };
        value.size = size_of::<$kind>();
        $(value.$field = $value;)*
        value
    }};
}

fn bytes(text: &str) -> slotkv_bytes {
    slotkv_bytes { data: text.as_ptr().cast(), size: text.len() }
}

fn text(text: *const c_char) -> String {
    assert!(!text.is_null());
    // SAFETY: the library ends its texts with a 0, and lends them until the result is freed.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn read(bytes: slotkv_bytes) -> Vec<u8> {
    assert!(!bytes.data.is_null());
    // SAFETY: the library lends so many bytes until the result is freed.
    unsafe { std::slice::from_raw_parts(bytes.data.cast::<u8>(), bytes.size) }.to_vec()
}

fn slice<T>(first: &*const T, count: usize) -> &[T] {
    // SAFETY: as in `read`; the result outlives what is borrowed here.
    if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(*first, count) } }
}

/// Makes a call that fills in a result, whose place holds nothing before, as on C's stack.
fn called(call: impl FnOnce(*mut slotkv_result) -> slotkv_code) -> slotkv_result {
    let mut place = MaybeUninit::uninit();
    let code = call(place.as_mut_ptr());
    // SAFETY: the library writes all of it.
    let result: slotkv_result = unsafe { place.assume_init() };
    assert_eq!(result.code, code);
    if code != slotkv_code::Ok && !result.error.is_null() {
        // SAFETY: part of the result.
        let error = unsafe { &*result.error };
        assert_eq!((error.code, text(error.kind)), (code, text(crate::code::slotkv_code_name(code as i32))));
        assert!(!text(error.message).is_empty());
        for cause in slice(&error.causes, error.causes_count) {
            assert!(!text(*cause).is_empty());
        }
    }
    result
}

fn free(mut result: slotkv_result) -> slotkv_code {
    // SAFETY: a result that the library has made.
    let code = unsafe { slotkv_result_free(&raw mut result) };
    assert_eq!((result.code, result.memory, result.error.is_null()), (slotkv_code::Ok, 0, true));
    code
}

/// The code of a call whose result is freed at once.
fn code(call: impl FnOnce(*mut slotkv_result) -> slotkv_code) -> slotkv_code {
    let result = called(call);
    let code = result.code;
    assert_eq!(free(result), slotkv_code::Ok);
    code
}

/// Also says what panics say, which the library keeps for its log.
fn speak() {
    static SPEAK: Once = Once::new();
    SPEAK.call_once(|| {
        guard::quiet();
        let log = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            eprintln!("{panic}");
            log(panic);
        }));
    });
}

fn connected() -> slotkv_client {
    speak();
    let mut client = 0;
    let options = defaults!(slotkv_connect_options {
        client_name: c"test".as_ptr(),
        namespace_name: c"space".as_ptr(),
        deadline_ms: 60_000,
        connect_timeout_ms: 60_000,
    });
    // SAFETY: what is pointed to is there, here and in all calls below.
    let ended = code(|result| unsafe {
        slotkv_connect(SLOTKV_ABI_VERSION, c"slotkv://fake:1".as_ptr(), &options, &mut client, result)
    });
    assert_eq!(ended, slotkv_code::Ok);
    client
}

fn put(client: slotkv_client, key: &str, value: &str) -> slotkv_result {
    called(|result| unsafe { slotkv_put(client, bytes(key), bytes(value), null(), result) })
}

fn get(client: slotkv_client, key: &str) -> slotkv_result {
    called(|result| unsafe { slotkv_get(client, bytes(key), null(), result) })
}

fn close(client: slotkv_client) {
    assert_eq!(code(|result| unsafe { slotkv_close(client, result) }), slotkv_code::Ok);
}

fn operation(kind: slotkv_operation_kind, key: &'static str, context: usize) -> slotkv_operation {
    defaults!(slotkv_operation {
        kind: kind as u32,
        key: bytes(key),
        value: bytes("v"),
        context: std::ptr::without_provenance_mut::<c_void>(context),
    })
}

#[test]
fn what_a_result_points_to_is_lent_until_it_is_freed_and_freed_once() {
    let client = connected();
    assert_eq!(put(client, "key", "value").status, slotkv_status::Created);
    assert_eq!(put(client, "empty", "").status, slotkv_status::Created);
    let (got, other) = (get(client, "key"), get(client, "key"));
    assert_eq!((got.status, read(got.value)), (slotkv_status::Found, b"value".to_vec()));
    let copy = got;
    assert_eq!(free(got), slotkv_code::Ok);
    assert_eq!(free(copy), slotkv_code::Closed);
    assert_eq!(read(other.value), b"value");
    // By another thread than the one that made the call.
    let memory = other.memory;
    let freed = std::thread::spawn(move || {
        let mut result = slotkv_result { memory, ..slotkv_result::ok() };
        unsafe { slotkv_result_free(&raw mut result) }
    });
    assert_eq!(freed.join().unwrap(), slotkv_code::Ok);
    let empty = get(client, "empty");
    assert_eq!((empty.status, read(empty.value)), (slotkv_status::Found, Vec::new()));
    free(empty);
    let absent = get(client, "absent");
    assert_eq!((absent.status, absent.memory), (slotkv_status::NotFound, 0));
    for memory in [1, u64::MAX, memory + MUCH_LATER, client] {
        let made_up = slotkv_result { memory, ..slotkv_result::ok() };
        assert_eq!(free(made_up), slotkv_code::InvalidArgument);
    }
    assert_eq!(unsafe { slotkv_result_free(null_mut()) }, slotkv_code::Ok);
    // Nobody wants the result: nothing stays lent.
    assert_eq!(unsafe { slotkv_get(client, bytes("key"), null(), null_mut()) }, slotkv_code::Ok);
    assert_eq!(unsafe { slotkv_get(client, bytes(""), null(), null_mut()) }, slotkv_code::InvalidArgument);
    close(client);
}

#[test]
fn the_results_of_many_keys_are_freed_with_the_whole() {
    let client = connected();
    let pairs =
        [("a", "1"), ("b", "2")].map(|(key, value)| slotkv_pair { key: bytes(key), value: bytes(value) });
    let stored = called(|result| unsafe { slotkv_put_many(client, pairs.as_ptr(), 2, null(), result) });
    assert_eq!((stored.code, stored.results_count), (slotkv_code::Ok, 2));
    free(stored);
    let keys = [bytes("a"), bytes(""), bytes("b"), bytes("absent")];
    let got = called(|result| unsafe { slotkv_get_many(client, keys.as_ptr(), keys.len(), null(), result) });
    assert_eq!(got.code, slotkv_code::InvalidArgument);
    let each = slice(&got.results, got.results_count);
    assert_eq!((read(each[0].value), read(each[2].value)), (b"1".to_vec(), b"2".to_vec()));
    assert_eq!((each[1].code, each[3].status), (slotkv_code::InvalidArgument, slotkv_status::NotFound));
    assert!(text(unsafe { &*each[1].error }.message).contains("key"));
    assert!(each.iter().all(|result| result.memory == 0));
    free(got);
    let gone = called(|result| unsafe { slotkv_delete_many(client, keys.as_ptr(), 1, null(), result) });
    assert_eq!(slice(&gone.results, gone.results_count)[0].status, slotkv_status::Deleted);
    free(gone);
    let none = called(|result| unsafe { slotkv_get_many(client, null(), 0, null(), result) });
    assert_eq!((none.code, none.results_count), (slotkv_code::Ok, 0));
    free(none);
    assert_eq!(
        code(|result| unsafe { slotkv_get_many(client, null(), 1, null(), result) }),
        slotkv_code::InvalidArgument
    );
    close(client);
}

#[test]
fn a_handle_that_is_closed_or_of_another_kind_or_made_up_is_an_error() {
    let client = connected();
    let (mut scan, mut queue, mut session) = (0, 0, 0);
    let all = slotkv_bytes::NONE;
    assert_eq!(
        code(|to| unsafe { slotkv_scan(client, null(), all, null(), &mut scan, to) }),
        slotkv_code::Ok
    );
    let open = |queue: &mut u64| code(|to| unsafe { slotkv_queue_open(client, None, null_mut(), queue, to) });
    assert_eq!(open(&mut queue), slotkv_code::Ok);
    assert_eq!(code(|to| unsafe { slotkv_session_open(all, &mut session, to) }), slotkv_code::Ok);
    for wrong in [0, 1, u64::MAX, scan, queue, session, client + MUCH_LATER] {
        assert_eq!(code(|to| unsafe { slotkv_close(wrong, to) }), slotkv_code::InvalidArgument, "{wrong:#x}");
        assert_eq!(code(|to| unsafe { slotkv_stats(wrong, to) }), slotkv_code::InvalidArgument, "{wrong:#x}");
    }
    assert_eq!(code(|to| unsafe { slotkv_scan_next(queue, 1, to) }), slotkv_code::InvalidArgument);
    assert_eq!(code(|to| unsafe { slotkv_session_seen(client, to) }), slotkv_code::InvalidArgument);
    let own = |session| defaults!(slotkv_call_options { session: session });
    let get =
        |options: slotkv_call_options| code(|to| unsafe { slotkv_get(client, bytes("key"), &options, to) });
    assert_eq!((get(own(session)), get(own(scan))), (slotkv_code::Ok, slotkv_code::InvalidArgument));
    let seen = called(|to| unsafe { slotkv_session_seen(session, to) });
    let token = seen.value;
    let both = defaults!(slotkv_call_options { session: session, session_token: token });
    assert_eq!(get(both), slotkv_code::InvalidArgument);
    free(seen);
    assert_eq!(code(|to| unsafe { slotkv_session_close(session, to) }), slotkv_code::Ok);
    assert_eq!(code(|to| unsafe { slotkv_session_close(session, to) }), slotkv_code::Closed);
    assert_eq!(get(own(session)), slotkv_code::Closed);
    assert_eq!(code(|to| unsafe { slotkv_queue_stats(scan, to) }), slotkv_code::InvalidArgument);
    assert_eq!(slotkv_queue_fd(client), -1);
    assert_eq!(code(|to| unsafe { slotkv_scan_close(scan, to) }), slotkv_code::Ok);
    assert_eq!(code(|to| unsafe { slotkv_scan_close(scan, to) }), slotkv_code::Closed);
    close(client);
    assert_eq!(code(|to| unsafe { slotkv_close(client, to) }), slotkv_code::Closed);
    assert_eq!(code(|to| unsafe { slotkv_slot(client, bytes("key"), to) }), slotkv_code::Closed);
    // The queue is still there, with a client that has ended.
    let get = operation(slotkv_operation_kind::Get, "key", 0);
    let submit =
        |to: *mut slotkv_result| unsafe { slotkv_queue_submit(queue, &get, 1, null_mut(), null_mut(), to) };
    assert_eq!(code(submit), slotkv_code::Closed);
    assert_eq!(code(|to| unsafe { slotkv_queue_close(queue, to) }), slotkv_code::Ok);
    assert_eq!(code(|to| unsafe { slotkv_queue_close(queue, to) }), slotkv_code::Closed);
}

#[test]
fn what_is_not_as_it_should_be_is_refused_before_anything_is_read() {
    let (mut client, uri) = (0, c"slotkv://fake:1".as_ptr());
    let connect =
        |abi, uri, options, client| code(|to| unsafe { slotkv_connect(abi, uri, options, client, to) });
    assert_eq!(connect(SLOTKV_ABI_VERSION + 1, uri, null(), &mut client), slotkv_code::Unsupported);
    assert_eq!(connect(SLOTKV_ABI_VERSION, null(), null(), &mut client), slotkv_code::InvalidArgument);
    assert_eq!(connect(SLOTKV_ABI_VERSION, uri, null(), null_mut()), slotkv_code::InvalidArgument);
    assert_eq!(
        connect(SLOTKV_ABI_VERSION, c"http://fake:1".as_ptr(), null(), &mut client),
        slotkv_code::InvalidArgument
    );
    let sizeless = defaults!(slotkv_connect_options { size: 0 });
    assert_eq!(connect(SLOTKV_ABI_VERSION, uri, &sizeless, &mut client), slotkv_code::InvalidArgument);
    assert_eq!(
        connect(SLOTKV_ABI_VERSION, c"\xff".as_ptr(), null(), &mut client),
        slotkv_code::InvalidArgument
    );
    assert_eq!((client, slotkv_abi_version()), (0, SLOTKV_ABI_VERSION));
    assert_eq!(text(slotkv_version()), env!("CARGO_PKG_VERSION"));

    let client = connected();
    let get = |key| code(|to| unsafe { slotkv_get(client, key, null(), to) });
    assert_eq!(get(slotkv_bytes { data: null(), size: 1 }), slotkv_code::InvalidArgument);
    // Nothing is there that could be read.
    let dangling = std::ptr::dangling::<u8>().cast();
    assert_eq!(get(slotkv_bytes { data: dangling, size: usize::MAX }), slotkv_code::TooLarge);
    assert_eq!(code(|to| unsafe { slotkv_call(client, null(), to) }), slotkv_code::InvalidArgument);
    let no_kind = defaults!(slotkv_operation { kind: 99 });
    assert_eq!(code(|to| unsafe { slotkv_call(client, &no_kind, to) }), slotkv_code::InvalidArgument);
    let misplaced = (&raw const no_kind).wrapping_byte_add(1);
    assert_eq!(code(|to| unsafe { slotkv_call(client, misplaced, to) }), slotkv_code::InvalidArgument);
    assert_eq!(code(|to| unsafe { slotkv_test_panic(to) }), slotkv_code::Unexpected);
    close(client);
}

#[test]
fn operations_of_another_size_are_read_by_that_size() {
    /// As a newer program has them.
    #[repr(C)]
    struct Newer(slotkv_operation, [u64; 2]);
    let client = connected();
    let newer = ["a", "b"].map(|key| {
        let operation = operation(slotkv_operation_kind::Put, key, 0);
        Newer(slotkv_operation { size: size_of::<Newer>(), ..operation }, [0; 2])
    });
    let many = defaults!(slotkv_operation {
        kind: slotkv_operation_kind::Many as u32,
        operations: newer.as_ptr().cast(),
        operations_count: newer.len(),
    });
    let stored = called(|to| unsafe { slotkv_call(client, &many, to) });
    assert_eq!((stored.code, stored.results_count), (slotkv_code::Ok, 2));
    free(stored);
    // As an older one has it: what lies behind is not its.
    let known = std::mem::offset_of!(slotkv_operation, value);
    let mut older = [const { MaybeUninit::<u64>::uninit() }; size_of::<slotkv_operation>() / 8];
    let operation = slotkv_operation { size: known, ..operation(slotkv_operation_kind::Get, "a", 0) };
    // SAFETY: `known` bytes are there and have room.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const operation).cast(), older.as_mut_ptr().cast::<u8>(), known)
    };
    let got = called(|to| unsafe { slotkv_call(client, older.as_ptr().cast(), to) });
    assert_eq!((got.status, read(got.value)), (slotkv_status::Found, b"v".to_vec()));
    free(got);
    close(client);
}

#[test]
fn a_scan_lends_its_pages_and_goes_on_from_its_cursor() {
    let client = connected();
    for key in ["s1", "s2", "s3", "t"] {
        free(put(client, key, "v"));
    }
    let range = defaults!(slotkv_range { prefix: bytes("s"), page_items: 2 });
    let begin = |cursor| {
        let mut scan = 0;
        let begun = code(|to| unsafe { slotkv_scan(client, &range, cursor, null(), &mut scan, to) });
        assert_eq!(begun, slotkv_code::Ok);
        scan
    };
    let scan = begin(slotkv_bytes::NONE);
    let start = called(|to| unsafe { slotkv_scan_cursor(scan, to) });
    assert!(start.cursor.data.is_null());
    free(start);
    let first = called(|to| unsafe { slotkv_scan_next(scan, 1, to) });
    let cursor = called(|to| unsafe { slotkv_scan_cursor(scan, to) });
    let other = begin(cursor.cursor);
    free(cursor);
    // The page outlives its scan.
    assert_eq!(code(|to| unsafe { slotkv_scan_close(scan, to) }), slotkv_code::Ok);
    let mut keys: Vec<_> = slice(&first.items, first.items_count).iter().map(|item| read(item.key)).collect();
    free(first);
    loop {
        let page = called(|to| unsafe { slotkv_scan_next(other, 100, to) });
        let items = slice(&page.items, page.items_count);
        keys.extend(items.iter().map(|item| read(item.key)));
        assert!(items.iter().all(|item| read(item.value) == b"v"));
        free(page);
        if page.items_count == 0 {
            break;
        }
    }
    assert_eq!(code(|to| unsafe { slotkv_scan_next(other, 0, to) }), slotkv_code::InvalidArgument);
    assert_eq!(code(|to| unsafe { slotkv_scan_close(other, to) }), slotkv_code::Ok);
    keys.sort();
    assert_eq!(keys, [b"s1", b"s2", b"s3"]);
    let dumped = called(|to| unsafe { slotkv_dump(client, &range, null(), to) });
    assert_eq!(dumped.items_count, 3);
    free(dumped);
    close(client);
}

#[test]
fn what_a_client_says_of_itself_is_lent_too() {
    let client = connected();
    free(put(client, "{tag}key", "v"));
    let explained = called(|to| unsafe { slotkv_explain(client, bytes("{tag}key"), to) });
    let explanation = unsafe { &*explained.explanation };
    assert_eq!((read(explanation.tag), text(explanation.cluster_id)), (b"tag".to_vec(), "fake".into()));
    assert_eq!((text(explanation.primary), text(explanation.address)), ("fake".into(), "fake:1".into()));
    assert_eq!((text(explanation.last_error), explanation.backups_count), (String::new(), 0));
    free(explained);
    let told = called(|to| unsafe { slotkv_stats(client, to) });
    let stats = unsafe { &*told.stats };
    assert_eq!((stats.calls, stats.calls_ok), (1, 1));
    let members = slice(&stats.members, stats.members_count);
    assert_eq!((members.len(), text(members[0].address)), (1, "fake:1".into()));
    free(told);
    let slot = called(|to| unsafe { slotkv_slot(client, bytes("{tag}key"), to) });
    assert_eq!((slot.number, slot.memory), (explanation_slot(client).into(), 0));
    close(client);
}

fn explanation_slot(client: slotkv_client) -> u16 {
    let explained = called(|to| unsafe { slotkv_explain(client, bytes("{tag}"), to) });
    let slot = unsafe { &*explained.explanation }.slot;
    free(explained);
    slot
}

#[test]
fn a_call_whose_host_wants_it_to_end_is_cancelled_and_others_go_on() {
    unsafe extern "C" fn end(context: *mut c_void) -> c_int {
        // SAFETY: what the test gave.
        let asked = unsafe { &*context.cast::<Cell<u32>>() };
        asked.set(asked.get() + 1);
        1
    }
    let client = connected();
    let asked = Cell::new(0);
    let options = defaults!(slotkv_call_options {
        interrupt: Some(end),
        interrupt_context: (&raw const asked).cast_mut().cast(),
        traceparent: c"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".as_ptr(),
    });
    let ended = called(|to| unsafe { slotkv_put(client, bytes("hold"), bytes("v"), &options, to) });
    assert_eq!((ended.code, asked.get()), (slotkv_code::Cancelled, 1));
    assert_eq!(unsafe { &*ended.error }.outcome, slotkv_outcome::Unknown);
    free(ended);
    assert_eq!(put(client, "key", "v").status, slotkv_status::Created);
    FAKE.with(|fake| assert_eq!(fake.traceparents().len(), 1));
    close(client);
}

#[test]
fn ends_of_a_queue_are_taken_with_their_contexts_and_freed_one_by_one() {
    let client = connected();
    let mut queue = 0;
    let opened = code(|to| unsafe { slotkv_queue_open(client, None, null_mut(), &mut queue, to) });
    assert_eq!(opened, slotkv_code::Ok);
    assert!(slotkv_queue_fd(queue) >= 0);
    let operations = [
        operation(slotkv_operation_kind::Put, "a", 1),
        operation(slotkv_operation_kind::Put, "", 2),
        operation(slotkv_operation_kind::Page, "", 3),
        operation(slotkv_operation_kind::Put, "hold", 4),
    ];
    let (mut pending, mut begun) = ([0; 4], 0);
    let submitted = code(|to| unsafe {
        slotkv_queue_submit(queue, operations.as_ptr(), 4, pending.as_mut_ptr(), &mut begun, to)
    });
    assert_eq!((submitted, begun), (slotkv_code::Ok, 4));
    let mut contexts = Vec::new();
    while contexts.len() < 3 {
        let mut ended = [const { MaybeUninit::<slotkv_completion>::uninit() }; 2];
        let mut count = 0;
        let taken = code(|to| unsafe {
            slotkv_queue_take(queue, 60_000, ended.as_mut_ptr().cast(), ended.len(), &mut count, to)
        });
        assert_eq!(taken, slotkv_code::Ok);
        for ended in &ended[..count] {
            // SAFETY: so many were written.
            let completion = unsafe { ended.assume_init() };
            contexts.push((completion.context as usize, completion.result.code));
            assert_eq!(free(completion.result), slotkv_code::Ok);
        }
    }
    contexts.sort_by_key(|context| context.0);
    assert_eq!(contexts, [(1, slotkv_code::Ok), (2, slotkv_code::InvalidArgument), (3, slotkv_code::Ok)]);
    FAKE.with(|fake| fake.wait_until(|fake| fake.held() == 1));
    let mut cancelled = MaybeUninit::uninit();
    let cancel = |pending, place| code(|to| unsafe { slotkv_queue_cancel(queue, pending, place, to) });
    assert_eq!(cancel(pending[3], cancelled.as_mut_ptr()), slotkv_code::Ok);
    // SAFETY: the library wrote it.
    let cancelled: slotkv_completion = unsafe { cancelled.assume_init() };
    assert_eq!((cancelled.context as usize, cancelled.result.code), (4, slotkv_code::Cancelled));
    free(cancelled.result);
    assert_eq!(cancel(pending[3], null_mut()), slotkv_code::Closed);
    assert_eq!(cancel(pending[0], null_mut()), slotkv_code::Closed);
    let mut counters = MaybeUninit::<slotkv_queue_counters>::uninit();
    let counted = code(|to| unsafe { slotkv_queue_counts(queue, counters.as_mut_ptr(), to) });
    assert_eq!(counted, slotkv_code::Ok);
    // SAFETY: as above.
    let counters = unsafe { counters.assume_init() };
    assert_eq!((counters.submissions, counters.open), (4, 0));
    assert_eq!(code(|to| unsafe { slotkv_queue_close(queue, to) }), slotkv_code::Ok);
    close(client);
}

/// What the callback of a queue has to do with.
struct Host {
    queue: Mutex<slotkv_queue>,
    client: slotkv_client,
    ended: Sender<(usize, slotkv_code)>,
}

/// Frees what it gets, finds that it must not wait, and begins one more operation.
unsafe extern "C" fn call_back(context: *mut c_void, completions: *mut slotkv_completion, count: usize) {
    // SAFETY: what the test gave, and so many completions.
    let (host, ended) =
        unsafe { (&*context.cast::<Host>(), std::slice::from_raw_parts_mut(completions, count)) };
    for completion in ended {
        let code = completion.result.code;
        // SAFETY: results are the callback's.
        unsafe { slotkv_result_free(&raw mut completion.result) };
        if completion.context as usize == 1 {
            let waited = unsafe { slotkv_get(host.client, bytes("a"), null(), null_mut()) };
            assert_eq!(waited, slotkv_code::InvalidArgument);
            let more = operation(slotkv_operation_kind::Get, "a", 2);
            let queue = *host.queue.lock().unwrap();
            unsafe { slotkv_queue_submit(queue, &more, 1, null_mut(), null_mut(), null_mut()) };
        }
        host.ended.send((completion.context as usize, code)).unwrap();
    }
}

#[test]
fn a_queue_s_callback_gets_every_end_and_none_after_the_close() {
    let client = connected();
    let (ended, ends): (_, Receiver<(usize, slotkv_code)>) = channel();
    let host = Box::into_raw(Box::new(Host { queue: Mutex::default(), client, ended }));
    let mut queue = 0;
    let opened =
        code(|to| unsafe { slotkv_queue_open(client, Some(call_back), host.cast(), &mut queue, to) });
    assert_eq!(opened, slotkv_code::Ok);
    // SAFETY: the test's own, until the queue is closed.
    *unsafe { &*host }.queue.lock().unwrap() = queue;
    let submit = |operation: slotkv_operation| {
        code(|to| unsafe { slotkv_queue_submit(queue, &operation, 1, null_mut(), null_mut(), to) })
    };
    assert_eq!(submit(operation(slotkv_operation_kind::Put, "a", 1)), slotkv_code::Ok);
    let mut count = 0;
    let mut room = MaybeUninit::uninit();
    let take = code(|to| unsafe { slotkv_queue_take(queue, 0, room.as_mut_ptr(), 1, &mut count, to) });
    assert_eq!((take, slotkv_queue_fd(queue)), (slotkv_code::InvalidArgument, -1));
    assert_eq!([ends.recv(), ends.recv()], [Ok((1, slotkv_code::Ok)), Ok((2, slotkv_code::Ok))]);
    assert_eq!(submit(operation(slotkv_operation_kind::Put, "hold", 3)), slotkv_code::Ok);
    FAKE.with(|fake| fake.wait_until(|fake| fake.held() == 1));
    assert_eq!(code(|to| unsafe { slotkv_queue_close(queue, to) }), slotkv_code::Ok);
    assert_eq!(ends.try_recv(), Ok((3, slotkv_code::Closed)));
    // SAFETY: nobody calls back any more.
    drop(unsafe { Box::from_raw(host) });
    assert!(ends.recv().is_err());
    close(client);
}

#[test]
fn ends_that_nobody_has_taken_are_freed_with_their_queue() {
    let client = connected();
    let mut queue = 0;
    let opened = code(|to| unsafe { slotkv_queue_open(client, None, null_mut(), &mut queue, to) });
    assert_eq!(opened, slotkv_code::Ok);
    let operations =
        [operation(slotkv_operation_kind::Put, "a", 1), operation(slotkv_operation_kind::Put, "hold", 2)];
    let submitted =
        code(|to| unsafe { slotkv_queue_submit(queue, operations.as_ptr(), 2, null_mut(), null_mut(), to) });
    assert_eq!(submitted, slotkv_code::Ok);
    FAKE.with(|fake| fake.wait_until(|fake| fake.held() == 1));
    // Its client's end is its own.
    close(client);
    let mut ended = [const { MaybeUninit::<slotkv_completion>::uninit() }; 1];
    let mut count = 0;
    let taken =
        code(|to| unsafe { slotkv_queue_take(queue, 60_000, ended.as_mut_ptr().cast(), 1, &mut count, to) });
    assert_eq!((taken, count), (slotkv_code::Ok, 1));
    // SAFETY: one was written.
    free(unsafe { ended[0].assume_init() }.result);
    assert_eq!(code(|to| unsafe { slotkv_queue_close(queue, to) }), slotkv_code::Ok);
}

#[test]
fn a_record_lives_until_the_callback_returns() {
    unsafe extern "C" fn say(context: *mut c_void, record: *const slotkv_record) {
        // SAFETY: what the test gave, and a record.
        let (said, record) = unsafe { (&*context.cast::<Sender<(String, String)>>(), &*record) };
        said.send((text(record.target), text(record.message))).unwrap();
    }
    speak();
    let (said, heard) = channel::<(String, String)>();
    let said = Box::into_raw(Box::new(said));
    let log = |level: slotkv_level, callback| {
        code(|to| unsafe { slotkv_log(level as u32, callback, said.cast(), to) })
    };
    assert_eq!(log(slotkv_level::Error, Some(say)), slotkv_code::Ok);
    assert_eq!(code(|to| unsafe { slotkv_test_panic(to) }), slotkv_code::Unexpected);
    // Another test of this process may panic on purpose at the same time.
    let (target, message) = heard.recv().unwrap();
    assert!(target == "slotkv::panic" && message.contains("on purpose"), "{target}: {message}");
    assert_eq!(log(slotkv_level::Off, None), slotkv_code::Ok);
    // SAFETY: nobody calls back any more.
    drop(unsafe { Box::from_raw(said) });
}

#[test]
fn threads_share_a_client() {
    let client = connected();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..3 {
                    let sum = called(|to| unsafe { slotkv_increment(client, bytes("n"), 1, null(), to) });
                    assert_eq!((sum.code, free(sum)), (slotkv_code::Ok, slotkv_code::Ok));
                }
            });
        }
    });
    let sum = called(|to| unsafe { slotkv_increment(client, bytes("n"), 0, null(), to) });
    assert_eq!(sum.number, 12);
    close(client);
}

/// What libFuzzer has kept of the sequences that it made up.
#[test]
#[cfg_attr(miri, ignore = "hundreds of calls")]
fn sequences_of_calls_that_were_made_up_before_harm_nobody() {
    speak();
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/c_calls");
    let inputs: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!inputs.is_empty());
    for input in inputs {
        let bytes = std::fs::read(&input).unwrap();
        assert!(panic::catch_unwind(|| crate::calls::run(&bytes)).is_ok(), "{}", input.display());
    }
}
