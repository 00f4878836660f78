//! Calls that do not wait: operations go to a queue, many at once, and their ends come back through it.
//!
//! A queue has connections of its own, driven by the library's thread. The host takes ends from it when its descriptor is
//! readable, or is called back with them on that thread; both cost one wake-up per batch.
//!
//! Invariants:
//! - An operation that was begun ends once: it is taken, called back with, cancelled, or closed with its queue.
//! - While ends wait in `ready` or in the port, the descriptor is readable or about to be.

use std::any::Any;
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use slotkv_facade::core::{CallOptions, Code, Command};
use slotkv_facade::error::FacadeError;
use slotkv_facade::guard::guard;
use slotkv_facade::handle::Handle;
use slotkv_facade::lock::Mutex;
use slotkv_facade::nonblocking::AsyncClient;
use slotkv_facade::port::{Completion, Port, Reply};
use slotkv_facade::signal::{Callback, Signal, Wake};

use crate::client::{self, slotkv_client};
use crate::code::slotkv_code;
use crate::export::{calling_back, check_place, export, export_waiting, hand_over, invalid};
use crate::operation::{self, Order, Work, slotkv_operation};
use crate::options::{self, slotkv_call_options, slotkv_range};
use crate::result::{slotkv_item, slotkv_result};
use crate::shelf::Shelf;

/// Queues that a process may have open.
const QUEUES_MAX: usize = 10_000;
/// Longest time that closing waits for the ends of open calls, and again for the callbacks with them. The core gives open
/// calls 2 s, and then there may be thousands to end.
const CLOSE_MS: u64 = 4_000;
/// Longest time from the core's limit for connecting to its end.
const CONNECT_MARGIN_MS: u64 = 2_000;

static QUEUES: Shelf<Queue> = Shelf::new(4, QUEUES_MAX);
/// Which client each queue is of: it ends with it.
static OF_CLIENTS: Mutex<Vec<(slotkv_client, Weak<Queue>)>> = Mutex::new(Vec::new());

/// A queue's handle, for any number of threads. 0 is none.
pub type slotkv_queue = u64;

/// Names an operation that was begun, on its own queue. 0 is none.
pub type slotkv_pending = u64;

/// The end of an operation.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_completion {
    /// What the operation was begun with.
    pub context: *mut c_void,
    /// How it ended. Free it with slotkv_result_free.
    pub result: slotkv_result,
}

/// Called with ends of operations, oldest first, a whole batch at a time and never twice at once. It runs on the library's
/// thread, for which all queues of the process wait: it must return soon and must not wait. It may begin and cancel
/// operations; calls that wait are refused in it. Results are its to free. It must not throw: that ends the process.
pub type slotkv_callback =
    Option<unsafe extern "C" fn(context: *mut c_void, completions: *mut slotkv_completion, count: usize)>;

/// What a queue has done so far.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_queue_counters {
    /// Operations begun.
    pub submissions: u64,
    /// Times the library's thread was rung for them.
    pub rings: u64,
    /// Ends that came.
    pub completions: u64,
    /// Times the descriptor was made readable, or the callback called, for them.
    pub wakeups: u64,
    /// Operations that are open: begun, and neither taken, called back with nor cancelled.
    pub open: u64,
}

#[derive(Clone, Copy)]
struct Context(*mut c_void);

// SAFETY: the library only hands it back.
unsafe impl Send for Context {}

/// What a handle stands for.
pub(crate) struct Queue {
    port: Port<Context>,
    client: OnceLock<AsyncClient>,
    way: Way,
    /// Ends that the port has given out and nobody has taken yet.
    ready: Mutex<VecDeque<Completion<Context>>>,
    open: Mutex<usize>,
    all_ended: Condvar,
    is_ended: AtomicBool,
}

/// How ends reach the host.
enum Way {
    Descriptor(Arc<Signal>),
    Callback { callback: slotkv_callback, context: Context },
}

// SAFETY: the host gave callback and context for use by the library's thread.
unsafe impl Sync for Way {}
// SAFETY: as above.
unsafe impl Send for Way {}

/// Opens a queue of a client, with connections of its own and the client's options.
///
/// Without `callback`, ends are taken with slotkv_queue_take; slotkv_queue_fd tells when there are some. With it, they are
/// given to it with `context`, both of which stay the host's and are used until slotkv_queue_close has returned. The handle
/// goes to `*queue`; close it with slotkv_queue_close.
///
/// Codes: those of slotkv_connect; FORKED in a forked child, which opens a queue of its own.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_queue_open(
    client: slotkv_client,
    callback: slotkv_callback,
    context: *mut c_void,
    queue: *mut slotkv_queue,
    result: *mut slotkv_result,
) -> slotkv_code {
    let open = || {
        check_place(queue, "the queue's handle")?;
        let its = client::find(client)?;
        let opened = Queue::open(&its, callback, Context(context))?;
        {
            let mut queues = OF_CLIENTS.lock();
            queues.retain(|(_, known)| known.strong_count() > 0);
            queues.push((client, Arc::downgrade(&opened)));
        }
        // Closed meanwhile: it did not know of this one.
        if its.blocking.is_closed() {
            opened.end();
            return Err(FacadeError::closed());
        }
        let handle = QUEUES.put(opened)?;
        // SAFETY: the caller's promise.
        unsafe { hand_over(queue, handle, "the queue's handle")? };
        Ok(slotkv_result::ok())
    };
    // SAFETY: as above.
    unsafe { export_waiting(result, open) }
}

/// The descriptor that is readable while ends can be taken: for poll, select, epoll and event loops. It belongs to the
/// queue: it is only watched, never read, and no longer after slotkv_queue_close. -1 for a queue with a callback or a handle
/// that is none.
#[unsafe(no_mangle)]
pub extern "C" fn slotkv_queue_fd(queue: slotkv_queue) -> c_int {
    match QUEUES.get(queue).as_deref() {
        Ok(Queue { way: Way::Descriptor(signal), .. }) => signal.fd(),
        _ => -1,
    }
}

/// Begins operations, all in one batch, and does not wait. Each ends once: in a completion with its context, or by
/// slotkv_queue_cancel, or without a word by slotkv_queue_close.
///
/// `pending` may be NULL; else it has room for `count` names, for cancelling. `begun` may be NULL; else it gets how many were
/// begun: all, or none if one of them is not as it should be, or with OVERLOADED those before the first that was refused.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_queue_submit(
    queue: slotkv_queue,
    operations: *const slotkv_operation,
    count: usize,
    pending: *mut slotkv_pending,
    begun: *mut usize,
    result: *mut slotkv_result,
) -> slotkv_code {
    let mut handles = Vec::new();
    let submit = || {
        let queue = QUEUES.get(queue)?;
        // SAFETY: the caller's promise.
        let orders = unsafe { operation::read_all(operations, count)? };
        handles.reserve(orders.len());
        let submitted = queue.submit(orders, &mut handles);
        if !pending.is_null() {
            for (number, handle) in handles.iter().enumerate() {
                // SAFETY: room for `count`, of which these are the first.
                unsafe { pending.add(number).write_unaligned(handle.number()) };
            }
        }
        submitted.map(|()| slotkv_result::ok())
    };
    // SAFETY: as above.
    let code = unsafe { export(result, submit) };
    if !begun.is_null() {
        // SAFETY: as above.
        unsafe { begun.write_unaligned(handles.len()) };
    }
    code
}

/// Takes ends of operations, oldest first, up to `capacity`, and waits for the first for up to `timeout_ms`: 0 not at all,
/// below 0 without a bound. How many there were goes to `*count`; 0 after the time and after a signal. Any number of threads
/// may take: each end goes to one of them.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_queue_take(
    queue: slotkv_queue,
    timeout_ms: i64,
    completions: *mut slotkv_completion,
    capacity: usize,
    count: *mut usize,
    result: *mut slotkv_result,
) -> slotkv_code {
    let take = || {
        check_place(count, "the number of completions")?;
        // SAFETY: the caller's promise.
        unsafe { count.write(0) };
        let queue = QUEUES.get(queue)?;
        queue.client()?;
        let Way::Descriptor(signal) = &queue.way else {
            return Err(invalid("the ends of this queue go to its callback"));
        };
        if capacity == 0 {
            return Err(invalid("there is no room for completions"));
        }
        check_place(completions, "the completions")?;
        let begun = Instant::now();
        let mut taken = queue.take(capacity);
        // A wake-up may be in vain: its ends were taken with those before, or by another thread.
        while taken.is_empty() && readable(signal, left_ms(timeout_ms, begun)) {
            taken = queue.take(capacity);
        }
        for (number, (context, reply)) in taken.drain(..).enumerate() {
            let ended = slotkv_completion { context: context.0, result: slotkv_result::of_reply(reply) };
            // SAFETY: room for `capacity`, and no more were taken.
            unsafe {
                completions.add(number).write(ended);
                count.write(number + 1);
            }
        }
        Ok(slotkv_result::ok())
    };
    // SAFETY: as above.
    unsafe { export(result, take) }
}

/// Gives an operation up. What was not sent will not be; of what was, the worker is told.
///
/// OK: it is over, no completion will come, and `completion`, unless NULL, gets its context and an error CANCELLED whose
/// outcome says whether a write may have been applied. CLOSED: it has ended, and its completion has come or will.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_queue_cancel(
    queue: slotkv_queue,
    pending: slotkv_pending,
    completion: *mut slotkv_completion,
    result: *mut slotkv_result,
) -> slotkv_code {
    let cancel = || {
        let queue = QUEUES.get(queue)?;
        queue.client()?;
        let Some((context, error)) = queue.port.cancel(Handle::from_number(pending)) else {
            return Err(FacadeError::new(Code::Closed, "the operation has ended"));
        };
        queue.ended(1);
        if !completion.is_null() {
            let ended = slotkv_completion { context: context.0, result: slotkv_result::failed(error) };
            // SAFETY: the caller's promise.
            unsafe { completion.write_unaligned(ended) };
        }
        Ok(slotkv_result::ok())
    };
    // SAFETY: as above.
    unsafe { export(result, cancel) }
}

/// What a queue has done so far, to `*counters`.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_queue_counts(
    queue: slotkv_queue,
    counters: *mut slotkv_queue_counters,
    result: *mut slotkv_result,
) -> slotkv_code {
    let count = || {
        let queue = QUEUES.get(queue)?;
        queue.client()?;
        let done = queue.port.counters();
        let shown = slotkv_queue_counters {
            submissions: done.submissions,
            rings: done.rings,
            completions: done.completions.completions,
            wakeups: done.completions.wakeups,
            open: *queue.open.lock() as u64,
        };
        // SAFETY: the caller's promise.
        unsafe { hand_over(counters, shown, "the counters")? };
        Ok(slotkv_result::ok())
    };
    // SAFETY: as above.
    unsafe { export(result, count) }
}

/// What the connections of a queue have done so far, and their state now: stats.
///
/// # Safety
/// `result` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_queue_stats(queue: slotkv_queue, result: *mut slotkv_result) -> slotkv_code {
    let stats = || slotkv_result::of_stats(QUEUES.get(queue)?.client()?.core()?.stats());
    // SAFETY: the caller's promise.
    unsafe { export(result, stats) }
}

/// What the calls of a queue have seen: value. As slotkv_session_token.
///
/// # Safety
/// `result` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_queue_session_token(
    queue: slotkv_queue,
    result: *mut slotkv_result,
) -> slotkv_code {
    let token = || slotkv_result::of_value(QUEUES.get(queue)?.client()?.core()?.session_token());
    // SAFETY: the caller's promise.
    unsafe { export(result, token) }
}

/// Where a scan goes on behind an item of a page: cursor. `range` and `options` are those of the page; of `item` the key and
/// the slot count. Nobody is asked.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_queue_cursor(
    queue: slotkv_queue,
    range: *const slotkv_range,
    item: *const slotkv_item,
    options: *const slotkv_call_options,
    result: *mut slotkv_result,
) -> slotkv_code {
    let cursor = || {
        let queue = QUEUES.get(queue)?;
        if item.is_null() {
            return Err(invalid("the item is NULL"));
        }
        // SAFETY: the caller's promise.
        let (range, options, item) = unsafe {
            (
                options::read(range, "the range")?.core()?,
                options::read(options, "the call's options")?.core()?,
                item.read_unaligned().place()?,
            )
        };
        slotkv_result::of_cursor(Some(queue.client()?.cursor_behind(&range, &item, options)?))
    };
    // SAFETY: as above.
    unsafe { export(result, cursor) }
}

/// Closes a queue, its connections and its handle, in bounded time. Open operations end first, with CLOSED: a callback is
/// called with them, and is not called any more after this. Of a queue without one, what nobody has taken is freed and its
/// contexts are forgotten; slotkv_close of the client ends them so that they can be taken before.
///
/// Codes: TIMEOUT if a callback does not return within seconds: it is the last one, and may go on using its context.
///
/// # Safety
/// `result` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_queue_close(queue: slotkv_queue, result: *mut slotkv_result) -> slotkv_code {
    let close = || {
        let queue = QUEUES.take(queue)?;
        if queue.client().is_err() {
            return Ok(slotkv_result::ok());
        }
        queue.end();
        let has_ended = matches!(queue.way, Way::Descriptor(_)) || queue.wait_for_ends();
        queue.port.abandon();
        if has_ended {
            return Ok(slotkv_result::ok());
        }
        let message = format!("the queue's callback did not return within {CLOSE_MS} ms");
        Err(FacadeError::new(Code::Timeout, message))
    };
    // SAFETY: the caller's promise.
    unsafe { export_waiting(result, close) }
}

/// Ends the queues of a client.
pub(crate) fn end_of(client: slotkv_client) {
    let its: Vec<_> = OF_CLIENTS.lock().extract_if(.., |(of, _)| *of == client).collect();
    for queue in its.iter().filter_map(|(_, queue)| queue.upgrade()) {
        queue.end();
    }
}

/// Locks what all queues share until `held` is dropped.
pub(crate) fn hold(held: &mut Vec<Box<dyn Any>>) {
    held.push(QUEUES.hold());
    held.push(Box::new(OF_CLIENTS.lock()));
}

impl Queue {
    fn open(
        client: &client::Client,
        callback: slotkv_callback,
        context: Context,
    ) -> Result<Arc<Self>, FacadeError> {
        let own = Arc::new(OnceLock::<Weak<Self>>::new());
        let (port, way) = if callback.is_some() {
            let own = own.clone();
            let wake = move || {
                if let Some(queue) = own.get().and_then(Weak::upgrade) {
                    // A panic here would end the wake-ups of all queues.
                    guard(|| {
                        queue.call_back();
                        Ok(())
                    })
                    .ok();
                }
            };
            (Port::shared(Callback(wake))?, Way::Callback { callback, context })
        } else {
            let signal = Signal::new()
                .map_err(|error| FacadeError::new(Code::Unexpected, format!("no descriptor: {error}")))?;
            let signal = Arc::new(signal);
            (Port::shared(Shared(signal.clone()))?, Way::Descriptor(signal))
        };
        let queue = Arc::new(Self {
            port,
            client: OnceLock::new(),
            way,
            ready: Mutex::default(),
            open: Mutex::default(),
            all_ended: Condvar::new(),
            is_ended: AtomicBool::new(false),
        });
        own.set(Arc::downgrade(&queue)).ok();
        let settings = client.settings.clone();
        let bound = settings.options().connect_timeout + Duration::from_millis(CONNECT_MARGIN_MS);
        let connect = |port: &Port<()>| AsyncClient::connect(port, client.uri.clone(), settings, ());
        match wait_for(connect, bound)? {
            Reply::Client(client) => queue.client.set(*client).ok(),
            other => return Err(FacadeError::unexpected(format!("{other:?} as the reply of connecting"))),
        };
        Ok(queue)
    }

    /// Its client, in the process that made it. In another nothing of the queue is touched: threads that are not there
    /// may hold its locks.
    fn client(&self) -> Result<&AsyncClient, FacadeError> {
        let client = self.client.get().ok_or_else(FacadeError::closed)?;
        client.core()?;
        Ok(client)
    }

    fn submit(&self, orders: Vec<Order>, handles: &mut Vec<Handle>) -> Result<(), FacadeError> {
        let client = self.client()?;
        if self.is_ended.load(Ordering::Acquire) {
            return Err(FacadeError::closed());
        }
        // Counted before any of them can end.
        let count = orders.len();
        *self.open.lock() += count;
        let mut batch: Vec<(Command, CallOptions, Context)> = Vec::with_capacity(count);
        let mut submitted = Ok(());
        for order in orders {
            let context = Context(order.context);
            let other = match order.work {
                Work::Call(command) => {
                    batch.push((command, order.options, context));
                    continue;
                }
                other => other,
            };
            submitted = client.submit_many(&self.port, batch.drain(..), handles).and_then(|_| {
                handles.push(match other {
                    Work::Dump(range) => client.dump(&self.port, range, order.options, context)?,
                    _ => status(client, order.options, &self.port, context)?,
                });
                Ok(())
            });
            if submitted.is_err() {
                break;
            }
        }
        if submitted.is_ok() && !batch.is_empty() {
            submitted = client.submit_many(&self.port, batch, handles).map(|_| ());
        }
        self.ended(count - handles.len());
        submitted
    }

    /// Up to `capacity` ends.
    fn take(&self, capacity: usize) -> Vec<Completion<Context>> {
        let mut ready = self.ready.lock();
        if ready.len() < capacity {
            let mut batch = Vec::new();
            self.port.drain(&mut batch);
            ready.extend(batch);
        }
        let count = ready.len().min(capacity);
        let taken: Vec<_> = ready.drain(..count).collect();
        let is_more = !ready.is_empty();
        drop(ready);
        self.ended(taken.len());
        // The port has cleared it.
        if let Way::Descriptor(signal) = &self.way
            && is_more
        {
            signal.wake();
        }
        taken
    }

    /// Gives what has ended to the callback. On the library's thread.
    fn call_back(&self) {
        let Way::Callback { callback: Some(callback), context } = &self.way else { return };
        let mut batch = Vec::new();
        self.port.drain(&mut batch);
        if batch.is_empty() {
            return;
        }
        let mut ended: Vec<slotkv_completion> = batch
            .into_iter()
            .map(|(context, reply)| slotkv_completion {
                context: context.0,
                result: slotkv_result::of_reply(reply),
            })
            .collect();
        // SAFETY: the host gave the function for this.
        calling_back(|| unsafe { callback(context.0, ended.as_mut_ptr(), ended.len()) });
        self.ended(ended.len());
    }

    fn ended(&self, count: usize) {
        if count > 0 {
            let mut open = self.open.lock();
            *open = open.saturating_sub(count);
            if *open == 0 {
                self.all_ended.notify_all();
            }
        }
    }

    /// Whether everything ended.
    fn wait_for_ends(&self) -> bool {
        let end = Instant::now() + Duration::from_millis(CLOSE_MS);
        let mut open = self.open.lock();
        while *open > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            open = self.all_ended.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Ends the connections and with them what is open.
    pub(crate) fn end(&self) {
        if self.is_ended.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(client) = self.client.get() {
            // Forked, or the library's thread was stopped: then nothing of it runs.
            wait_for(|port| client.close(port, ()), Duration::from_millis(CLOSE_MS)).ok();
        }
    }
}

/// A signal that the queue holds, too.
struct Shared(Arc<Signal>);

impl Wake for Shared {
    fn wake(&self) {
        self.0.wake();
    }

    fn clear(&self) {
        self.0.clear();
    }
}

fn status(
    client: &AsyncClient,
    options: CallOptions,
    port: &Port<Context>,
    context: Context,
) -> Result<Handle, FacadeError> {
    match options.deadline {
        Some(deadline) => client.with_deadline(deadline).status(port, context),
        None => client.status(port, context),
    }
}

/// Has the library's thread do something and waits for it, for at most `bound`.
fn wait_for(
    begin: impl FnOnce(&Port<()>) -> Result<Handle, FacadeError>,
    bound: Duration,
) -> Result<Reply, FacadeError> {
    let (tell, told) = channel();
    let port = Port::shared(Callback(move || {
        tell.send(()).ok();
    }))?;
    begin(&port)?;
    let end = Instant::now() + bound;
    let mut ended = Vec::new();
    loop {
        port.drain(&mut ended);
        if let Some(((), reply)) = ended.pop() {
            return reply;
        }
        match told.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => {
                return Err(FacadeError::timed_out("the library's thread", bound));
            }
            Err(RecvTimeoutError::Disconnected) => return Err(FacadeError::closed()),
        }
    }
}

/// What is left of the time to wait; below 0 without a bound.
fn left_ms(timeout_ms: i64, begun: Instant) -> i64 {
    let waited = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
    if timeout_ms < 0 { -1 } else { timeout_ms.saturating_sub(waited).max(0) }
}

/// Miri has no poll: whoever waits looks again.
#[cfg(miri)]
fn readable(_: &Signal, timeout_ms: i64) -> bool {
    std::thread::sleep(Duration::from_millis(1));
    timeout_ms != 0
}

/// Waits until there is a signal; false after the time, and after a signal of the system's.
#[cfg(not(miri))]
fn readable(signal: &Signal, timeout_ms: i64) -> bool {
    let timeout = if timeout_ms < 0 { -1 } else { c_int::try_from(timeout_ms).unwrap_or(c_int::MAX) };
    let mut poll = libc::pollfd { fd: signal.fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, live for the call.
    unsafe { libc::poll(&raw mut poll, 1, timeout) == 1 }
}
