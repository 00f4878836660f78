//! Connecting, and calls that wait: the socket is driven by the thread that makes the call.

use std::any::Any;
use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

use slotkv_facade::blocking::BlockingClient;
use slotkv_facade::core::{self, Code, Command, Condition};
use slotkv_facade::error::{FacadeError, Outcome};
use slotkv_facade::many;
use slotkv_facade::settings::Settings;

use crate::SLOTKV_ABI_VERSION;
use crate::bytes::{self, slotkv_bytes};
use crate::code::slotkv_code;
use crate::export::{check_place, export_waiting, hand_over, invalid};
use crate::operation::{self, Order, Work, slotkv_operation, slotkv_pair};
use crate::options::{self, slotkv_call_options, slotkv_connect_options, slotkv_range};
use crate::queue;
use crate::result::slotkv_result;
use crate::shelf::Shelf;

/// Clients that a process may have open.
const CLIENTS_MAX: usize = 10_000;

static CLIENTS: Shelf<Client> = Shelf::new(2, CLIENTS_MAX);

/// A client's handle, for any number of threads. 0 is none.
pub type slotkv_client = u64;

/// What a handle stands for.
pub(crate) struct Client {
    pub uri: String,
    pub settings: Settings,
    pub blocking: BlockingClient,
}

/// Locks until what is returned is dropped.
pub(crate) fn hold() -> Box<dyn Any> {
    CLIENTS.hold()
}

pub(crate) fn find(client: slotkv_client) -> Result<Arc<Client>, FacadeError> {
    CLIENTS.get(client)
}

/// Connects to a cluster. In a forked child the client goes on with connections of its own.
///
/// `abi_version` is SLOTKV_ABI_VERSION. `uri` is slotkv://host:port[,host:port...][/namespace][?option=value] with masters
/// or any members of the cluster. `options` may be NULL. The handle goes to `*client`; close it with slotkv_close.
///
/// Codes: UNSUPPORTED for a library of another ABI and for slotkvs://, INVALID_ARGUMENT, NO_MASTER, TIMEOUT.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_connect(
    abi_version: u32,
    uri: *const c_char,
    options: *const slotkv_connect_options,
    client: *mut slotkv_client,
    result: *mut slotkv_result,
) -> slotkv_code {
    let connect = || {
        if abi_version != SLOTKV_ABI_VERSION {
            let message = format!(
                "this library has ABI {SLOTKV_ABI_VERSION}, and the program was compiled for ABI {abi_version}"
            );
            return Err(FacadeError::new(Code::Unsupported, message));
        }
        check_place(client, "the client's handle")?;
        // SAFETY: the caller's promise.
        let (uri, options) =
            unsafe { (bytes::text(uri, "the URI")?, options::read(options, "the options for connecting")?) };
        let uri = uri.ok_or_else(|| invalid("the URI is NULL"))?;
        // SAFETY: as above.
        let settings = unsafe { options.settings()? };
        let blocking = match options.is_lazy {
            0 => BlockingClient::connect(&uri, settings.clone(), || Ok(()))?,
            _ => BlockingClient::unconnected(&uri, settings.clone()),
        };
        let made = Client { uri, settings, blocking };
        let handle = CLIENTS.put(Arc::new(made))?;
        // SAFETY: as above.
        unsafe { hand_over(client, handle, "the client's handle")? };
        Ok(slotkv_result::ok())
    };
    // SAFETY: as above.
    unsafe { export_waiting(result, connect) }
}

/// Ends the client and its queues' connections, in bounded time: open calls end with CLOSED, and what its queues still hold
/// can be taken. The handle is closed; using it again is CLOSED.
///
/// # Safety
/// `result` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_close(client: slotkv_client, result: *mut slotkv_result) -> slotkv_code {
    let close = || {
        let closed = CLIENTS.take(client)?.blocking.close();
        queue::end_of(client);
        closed.map(|()| slotkv_result::ok())
    };
    // SAFETY: the caller's promise.
    unsafe { export_waiting(result, close) }
}

/// Carries out an operation of any kind. `result` may be NULL, here and everywhere: then the code is all that is told.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_call(
    client: slotkv_client,
    operation: *const slotkv_operation,
    result: *mut slotkv_result,
) -> slotkv_code {
    let call = || {
        // SAFETY: the caller's promise.
        let order = unsafe { operation::read(operation)? };
        carry_out(client, order)
    };
    // SAFETY: as above.
    unsafe { export_waiting(result, call) }
}

/// The value of a key: value, version and ttl_ms, SLOTKV_STATUS_FOUND or SLOTKV_STATUS_NOT_FOUND. `options` may be NULL, here and
/// everywhere.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_get(
    client: slotkv_client,
    key: slotkv_bytes,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    // SAFETY: the caller's promise.
    unsafe { call(client, options, result, || Ok(Command::Get { key: key.copy("the key")? })) }
}

/// Whether a key exists: number 1 or 0, SLOTKV_STATUS_FOUND or SLOTKV_STATUS_NOT_FOUND.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_has(
    client: slotkv_client,
    key: slotkv_bytes,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    // SAFETY: the caller's promise.
    unsafe { call(client, options, result, || Ok(Command::Has { key: key.copy("the key")? })) }
}

/// Stores a value: SLOTKV_STATUS_CREATED or SLOTKV_STATUS_UPDATED, and the key's version.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_put(
    client: slotkv_client,
    key: slotkv_bytes,
    value: slotkv_bytes,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    // SAFETY: the caller's promise.
    unsafe { call(client, options, result, || put(key, value, Condition::Always)) }
}

/// Stores a value if the key is absent; otherwise SLOTKV_STATUS_UNMET with the key's version, which is no error.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_put_if_absent(
    client: slotkv_client,
    key: slotkv_bytes,
    value: slotkv_bytes,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    // SAFETY: the caller's promise.
    unsafe { call(client, options, result, || put(key, value, Condition::Absent)) }
}

/// Stores a value if the key exists; otherwise SLOTKV_STATUS_UNMET.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_update_if_present(
    client: slotkv_client,
    key: slotkv_bytes,
    value: slotkv_bytes,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    // SAFETY: the caller's promise.
    unsafe { call(client, options, result, || put(key, value, Condition::Present)) }
}

/// Stores a value if the key exists in `version`; otherwise SLOTKV_STATUS_UNMET with the key's version.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_compare_and_set(
    client: slotkv_client,
    key: slotkv_bytes,
    value: slotkv_bytes,
    version: u64,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    // SAFETY: the caller's promise.
    unsafe { call(client, options, result, || put(key, value, Condition::Version(version))) }
}

/// Gives a key that exists a new lifetime, up to 315360000000 ms from now on; its value stays: SLOTKV_STATUS_UPDATED and the
/// key's new version, or SLOTKV_STATUS_UNMET if there is no such key.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_expire(
    client: slotkv_client,
    key: slotkv_bytes,
    ttl_ms: u64,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    let ttl = Some(Duration::from_millis(ttl_ms));
    // SAFETY: the caller's promise.
    unsafe { call(client, options, result, || Ok(Command::Expire { key: key.copy("the key")?, ttl })) }
}

/// Lets a key that exists live for ever; its value stays: SLOTKV_STATUS_UPDATED and the key's new version, or
/// SLOTKV_STATUS_UNMET if there is no such key.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_persist(
    client: slotkv_client,
    key: slotkv_bytes,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    let persist = || {
        // SAFETY: the caller's promise.
        let (work, call) = unsafe {
            let key = key.copy("the key")?;
            (Work::Call(Command::Expire { key, ttl: None }), options::read(options, "the call's options")?)
        };
        if call.ttl_ms != 0 {
            return Err(invalid("a persist with a ttl_ms among its options"));
        }
        // SAFETY: as above.
        carry_out(client, unsafe { order(work, options)? })
    };
    // SAFETY: as above.
    unsafe { export_waiting(result, persist) }
}

/// Removes a key: SLOTKV_STATUS_DELETED with the version of the deletion, or SLOTKV_STATUS_NOT_FOUND.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_delete(
    client: slotkv_client,
    key: slotkv_bytes,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    // SAFETY: the caller's promise.
    unsafe { call(client, options, result, || delete(key, Condition::Always)) }
}

/// Removes a key if it exists in `version`; otherwise SLOTKV_STATUS_UNMET with the key's version.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_delete_if_version(
    client: slotkv_client,
    key: slotkv_bytes,
    version: u64,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    // SAFETY: the caller's promise.
    unsafe { call(client, options, result, || delete(key, Condition::Version(version))) }
}

/// Adds to a decimal number of 64 bits: number is the sum. An absent key counts as 0.
///
/// Codes: NOT_A_NUMBER, OVERFLOW; then nothing was changed.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_increment(
    client: slotkv_client,
    key: slotkv_bytes,
    delta: i64,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    // SAFETY: the caller's promise.
    unsafe { call(client, options, result, || Ok(Command::Increment { key: key.copy("the key")?, delta })) }
}

/// What came of a write whose outcome is unknown, by the token of its error: status, version and, of an increment, number.
/// SLOTKV_STATUS_NOT_APPLIED if it was not applied: then it never will be. SLOTKV_STATUS_FORGOTTEN if nobody knows any more; results
/// are kept for this for 60 s after the call has ended.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_outcome(
    client: slotkv_client,
    token: slotkv_bytes,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    // SAFETY: the caller's promise.
    unsafe { call(client, options, result, || Ok(Command::Outcome { token: token.copy("the token")? })) }
}

/// The values of many keys: results, in their order. If a key fails, the code is the first error's, and results has what
/// became of each.
///
/// # Safety
/// Pointers are NULL or point to what they say, `keys` to `count` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_get_many(
    client: slotkv_client,
    keys: *const slotkv_bytes,
    count: usize,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    // SAFETY: the caller's promise.
    let get = |key: slotkv_bytes| Ok(Command::Get { key: unsafe { key.copy("a key")? } });
    // SAFETY: as above.
    unsafe { call(client, options, result, || operation::many(keys, count, get)) }
}

/// Stores many values: results, in their order. Errors are as in slotkv_get_many.
///
/// # Safety
/// Pointers are NULL or point to what they say, `pairs` to `count` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_put_many(
    client: slotkv_client,
    pairs: *const slotkv_pair,
    count: usize,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    // SAFETY: the caller's promise.
    let store = |pair: slotkv_pair| unsafe { put(pair.key, pair.value, Condition::Always) };
    // SAFETY: as above.
    unsafe { call(client, options, result, || operation::many(pairs, count, store)) }
}

/// Removes many keys: results, in their order. Errors are as in slotkv_get_many.
///
/// # Safety
/// Pointers are NULL or point to what they say, `keys` to `count` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_delete_many(
    client: slotkv_client,
    keys: *const slotkv_bytes,
    count: usize,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    // SAFETY: the caller's promise.
    let remove = |key: slotkv_bytes| unsafe { delete(key, Condition::Always) };
    // SAFETY: as above.
    unsafe { call(client, options, result, || operation::many(keys, count, remove)) }
}

/// How many keys a range has: number. `range` may be NULL for all.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_count(
    client: slotkv_client,
    range: *const slotkv_range,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    // SAFETY: the caller's promise.
    unsafe {
        call(client, options, result, || {
            Ok(Command::Count { range: options::read(range, "the range")?.core()? })
        })
    }
}

/// Every item of a range, in key order: items. For debugging: they have to fit into memory.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_dump(
    client: slotkv_client,
    range: *const slotkv_range,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    let dump = || {
        // SAFETY: the caller's promise.
        let order = unsafe { order(Work::Dump(options::read(range, "the range")?.core()?), options)? };
        carry_out(client, order)
    };
    // SAFETY: as above.
    unsafe { export_waiting(result, dump) }
}

/// What a master says of the whole cluster: cluster. Of `options`, the deadline and interrupt count.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_status(
    client: slotkv_client,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    let status = || {
        // SAFETY: the caller's promise.
        let order = unsafe { order(Work::Status, options)? };
        carry_out(client, order)
    };
    // SAFETY: as above.
    unsafe { export_waiting(result, status) }
}

/// The slot of a key: number.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_slot(
    client: slotkv_client,
    key: slotkv_bytes,
    result: *mut slotkv_result,
) -> slotkv_code {
    let slot = || {
        // SAFETY: the caller's promise.
        let key = unsafe { key.copy("the key")? };
        let slot = find(client)?.core()?.slot(&key);
        Ok(slotkv_result::number(slot.into()))
    };
    // SAFETY: as above.
    unsafe { export_waiting(result, slot) }
}

/// Where calls for a key go, and why: explanation.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_explain(
    client: slotkv_client,
    key: slotkv_bytes,
    result: *mut slotkv_result,
) -> slotkv_code {
    let explain = || {
        // SAFETY: the caller's promise.
        let key = unsafe { key.copy("the key")? };
        slotkv_result::of_explanation(find(client)?.core()?.explain(&key))
    };
    // SAFETY: as above.
    unsafe { export_waiting(result, explain) }
}

/// What this client has done so far, and its state now: stats. Its queues count for themselves, see slotkv_queue_stats.
///
/// # Safety
/// `result` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_stats(client: slotkv_client, result: *mut slotkv_result) -> slotkv_code {
    let stats = || slotkv_result::of_stats(find(client)?.core()?.stats());
    // SAFETY: the caller's promise.
    unsafe { export_waiting(result, stats) }
}

/// What the session has seen, which is all that this client's calls have: value. Opaque bytes for session_token of a call's
/// options, here or elsewhere. Its queues see for themselves, see slotkv_queue_session_token.
///
/// # Safety
/// `result` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_session_token(
    client: slotkv_client,
    result: *mut slotkv_result,
) -> slotkv_code {
    let token = || slotkv_result::of_value(find(client)?.core()?.session_token());
    // SAFETY: the caller's promise.
    unsafe { export_waiting(result, token) }
}

impl Client {
    /// The core's client, for what needs no waiting once it is connected.
    pub(crate) fn core(&self) -> Result<&core::Client, FacadeError> {
        self.blocking.core(|| Ok(()))
    }
}

/// Carries out one command.
///
/// # Safety
/// Pointers are NULL or point to what they say.
unsafe fn call(
    client: slotkv_client,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
    command: impl FnOnce() -> Result<Command, FacadeError>,
) -> slotkv_code {
    let call = || {
        // SAFETY: the caller's promise.
        let order = unsafe { order(Work::Call(command()?), options)? };
        carry_out(client, order)
    };
    // SAFETY: as above.
    unsafe { export_waiting(result, call) }
}

/// # Safety
/// `options` are NULL or there.
unsafe fn order(work: Work, options: *const slotkv_call_options) -> Result<Order, FacadeError> {
    // SAFETY: the caller's promise.
    unsafe {
        let call = options::read(options, "the call's options")?;
        let options = call.core()?;
        let work = operation::lasting(work, call.ttl_ms)?;
        Ok(Order { work, call, options, context: std::ptr::null_mut() })
    }
}

fn carry_out(client: slotkv_client, order: Order) -> Result<slotkv_result, FacadeError> {
    let Order { work, call, options, .. } = order;
    let client = match (find(client), &work) {
        (Ok(client), _) => client,
        // Many keys fail by the key, as everywhere.
        (Err(error), Work::Call(Command::Many { commands })) if error.code == Code::Closed => {
            return slotkv_result::of_answer(many::closed(commands.len()));
        }
        (Err(error), _) => return Err(error),
    };
    let may_write = matches!(&work, Work::Call(command) if command.may_write());
    let blocking = &client.blocking;
    let interrupt = call.interrupt();
    let ended = match work {
        Work::Call(command) => blocking.call(command, options, interrupt).and_then(slotkv_result::of_answer),
        Work::Dump(range) => blocking.dump(range, options, interrupt).and_then(slotkv_result::of_items),
        Work::Status => {
            let blocking = match options.deadline {
                Some(deadline) => blocking.with_deadline(deadline),
                None => blocking.clone(),
            };
            blocking.status(interrupt).and_then(slotkv_result::of_cluster)
        }
    };
    ended.map_err(|error| match error.code {
        // Interrupted; a read has changed nothing.
        Code::Cancelled if !may_write => error.with_outcome(Outcome::Failed),
        _ => error,
    })
}

/// # Safety
/// Bytes are NULL or as many as they say.
unsafe fn put(key: slotkv_bytes, value: slotkv_bytes, condition: Condition) -> Result<Command, FacadeError> {
    // SAFETY: the caller's promise.
    let (key, value) = unsafe { (key.copy("the key")?, value.copy("the value")?) };
    Ok(Command::Put { key, value, condition, ttl: None })
}

/// # Safety
/// Bytes are NULL or as many as they say.
unsafe fn delete(key: slotkv_bytes, condition: Condition) -> Result<Command, FacadeError> {
    // SAFETY: the caller's promise.
    unsafe { Ok(Command::Delete { key: key.copy("the key")?, condition }) }
}
