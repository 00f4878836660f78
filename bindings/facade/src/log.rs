//! Logs on their way to the host's logger.
//!
//! The core speaks `tracing`. A process belongs to its host, so no global subscriber is installed: the facade's own
//! threads, and a caller's for the time of a blocking call, use the one here, which copies events into a bounded queue.
//! Each [`Sink`] of the process, up to [`SINKS_MAX`], has its own queue: the core's events go to all of them, as several
//! hosts in one process, like Node's workers, cannot know of one another.
//!
//! The host is woken once per batch and takes the records on a thread of its choice; nothing is ever called back from
//! the middle of a call. When the host does not keep up, the newest records are dropped and counted
//! ([`Record::dropped_before`]). Spans are not recorded.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};
use std::sync::{Arc, MutexGuard};

use slotkv_proto::Code;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber, dispatcher, span};

use crate::error::FacadeError;
use crate::fork;
use crate::lock::Mutex;
use crate::signal::Wake;

/// Records that wait for the host; past it new ones are dropped and counted.
pub const RECORDS_MAX: usize = 1024;
/// Longest text of one record, in bytes; the rest is cut.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Sinks that a process may have.
pub const SINKS_MAX: usize = 64;

/// What the targets of records begin with; what libraries below the core say is left out.
const TARGETS: &str = "slotkv";

/// How much a record matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something is not as it should be; slotkv copes.
    Warn = 2,
    /// What an operator wants to read.
    Info = 3,
    /// For whoever looks for a fault.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

impl Level {
    fn from_tracing(level: &tracing::Level) -> Self {
        match *level {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::TRACE => Level::Trace,
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// How much it matters.
    pub level: Level,
    /// The module that speaks, as "slotkv::connection".
    pub target: String,
    /// The text, with its fields as `name=value` behind it.
    pub message: String,
    /// Records that were dropped just before this one, because the queue was full.
    pub dropped_before: u64,
}

/// Where a host gets records. Dropping it ends that; what waits is lost.
pub struct Sink(fork::Owned<Arc<Queue>>);

impl Sink {
    /// Sends records up to `level` here from now on, and wakes the host by `wake` for each batch. In a forked child it
    /// gets none; the child installs its own.
    ///
    /// Errors: OVERLOADED past [`SINKS_MAX`].
    pub fn install(level: Level, wake: impl Wake) -> Result<Self, FacadeError> {
        let queue = Arc::new(Queue {
            level: AtomicU8::new(level as u8),
            waiting: Mutex::default(),
            wake: Box::new(wake),
        });
        // Before the first record can come: a fork while tracing's lock is held would block the child.
        dispatches();
        let registry = registry_or_new();
        let mut queues = registry.queues.lock();
        if queues.len() >= SINKS_MAX {
            let message = format!("{SINKS_MAX} sinks of logs are installed, the limit");
            return Err(FacadeError::new(Code::Overloaded, message));
        }
        queues.push(queue.clone());
        registry.changed(queues);
        Ok(Self(fork::Owned::new(queue)))
    }

    /// Whether it was made in this process, and not before a fork.
    pub fn is_usable(&self) -> bool {
        self.0.get().is_some()
    }

    /// Changes which records are sent.
    pub fn set_level(&self, level: Level) {
        if let (Some(queue), Some(registry)) = (self.0.get(), registry())
            && queue.level.swap(level as u8, Ordering::Relaxed) != level as u8
        {
            registry.changed(registry.queues.lock());
        }
    }

    /// Takes the records that wait.
    pub fn drain(&self) -> Vec<Record> {
        let Some(queue) = self.0.get() else { return Vec::new() };
        queue.wake.clear();
        queue.waiting.lock().records.drain(..).collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let (Some(queue), Some(registry)) = (self.0.get(), registry()) {
            let mut queues = registry.queues.lock();
            queues.retain(|known| !Arc::ptr_eq(known, queue));
            registry.changed(queues);
        }
    }
}

struct Queue {
    level: AtomicU8,
    waiting: Mutex<Waiting>,
    wake: Box<dyn Wake>,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<Record>,
    dropped: u64,
}

impl Queue {
    fn takes(&self, level: Level) -> bool {
        level as u8 <= self.level.load(Ordering::Relaxed)
    }

    /// Puts a record in; true if the host is to be woken.
    fn push(&self, level: Level, target: &str, message: &str) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.records.len() >= RECORDS_MAX {
            waiting.dropped += 1;
            return false;
        }
        let dropped_before = std::mem::take(&mut waiting.dropped);
        waiting.records.push_back(Record {
            level,
            target: target.into(),
            message: message.into(),
            dropped_before,
        });
        waiting.records.len() == 1
    }
}

/// The sinks of one process.
struct Registry {
    queues: Mutex<Vec<Arc<Queue>>>,
    /// The most detailed level of them; 0 if there is none.
    level: AtomicU8,
}

impl Registry {
    /// Sees to it that tracing asks for what the sinks ask for.
    fn changed(&self, queues: MutexGuard<'_, Vec<Arc<Queue>>>) {
        let level = queues.iter().map(|queue| queue.level.load(Ordering::Relaxed)).max().unwrap_or(0);
        self.level.store(level, Ordering::Relaxed);
        drop(queues);
        tracing::callsite::rebuild_interest_cache();
    }

    fn push(&self, level: Level, target: &str, message: &str) {
        // Hosts are woken without the lock.
        let mut woken = Vec::new();
        for queue in self.queues.lock().iter() {
            if queue.takes(level) && queue.push(level, target, message) {
                woken.push(queue.clone());
            }
        }
        for queue in woken {
            queue.wake.wake();
        }
    }
}

static REGISTRY: AtomicPtr<fork::Owned<Registry>> = AtomicPtr::new(std::ptr::null_mut());

fn registry() -> Option<&'static Registry> {
    // SAFETY: what is stored here was leaked from a box and is never freed.
    unsafe { REGISTRY.load(Ordering::Acquire).as_ref() }?.get()
}

fn registry_or_new() -> &'static Registry {
    loop {
        let known = REGISTRY.load(Ordering::Acquire);
        // SAFETY: as in `registry`.
        if let Some(registry) = unsafe { known.as_ref() }.and_then(fork::Owned::get) {
            return registry;
        }
        let fresh = Registry { queues: Mutex::default(), level: AtomicU8::new(0) };
        let fresh = Box::into_raw(Box::new(fork::Owned::new(fresh)));
        if REGISTRY.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: nobody has seen `fresh`.
            drop(unsafe { Box::from_raw(fresh) });
        }
    }
}

fn level() -> u8 {
    registry().map_or(0, |registry| registry.level.load(Ordering::Relaxed))
}

/// Made once and inherited by forked children: making one takes tracing's lock for writing, which in a child may be held
/// by a thread that it does not have.
struct Dispatches {
    tap: Dispatch,
    /// Never used. While tracing knows one dispatch only, it asks the calling thread's about the interest in an event and
    /// remembers the answer; a thread that captures nothing would switch the event off for all.
    _second: Dispatch,
}

fn dispatches() -> &'static Dispatches {
    static DISPATCHES: AtomicPtr<Dispatches> = AtomicPtr::new(std::ptr::null_mut());
    let known = DISPATCHES.load(Ordering::Acquire);
    // SAFETY: what is stored here was leaked from a box and is never freed.
    if let Some(known) = unsafe { known.as_ref() } {
        return known;
    }
    let fresh = Dispatches { tap: Dispatch::new(Tap), _second: Dispatch::new(Tap) };
    let fresh = Box::into_raw(Box::new(fresh));
    match DISPATCHES.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: as above; `fresh` is leaked now.
        Ok(_) => unsafe { &*fresh },
        Err(other) => {
            // SAFETY: nobody has seen `fresh`; `other` was leaked.
            unsafe {
                drop(Box::from_raw(fresh));
                &*other
            }
        }
    }
}

/// Sends a record of the binding's own. Without a sink that asks for it, it does nothing.
pub fn emit(level: Level, target: &str, message: &str) {
    if let Some(registry) = registry() {
        registry.push(level, target, message);
    }
}

/// Sends this thread's events to the sinks until the guard is dropped. While no sink was ever made it does nothing.
pub fn capture() -> Option<dispatcher::DefaultGuard> {
    registry().map(|_| dispatcher::set_default(&dispatches().tap))
}

/// The subscriber. It has no state: what it needs is the process's sinks.
struct Tap;

impl Tap {
    fn takes(metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && Level::from_tracing(metadata.level()) as u8 <= level()
            && metadata.target().starts_with(TARGETS)
    }
}

impl Subscriber for Tap {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if Self::takes(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        Self::takes(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match level() {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(registry) = registry() else { return };
        let metadata = event.metadata();
        let mut text = Text::default();
        event.record(&mut text);
        registry.push(Level::from_tracing(metadata.level()), metadata.target(), &text.finish());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn finish(mut self) -> String {
        if !self.message.is_empty() && !self.fields.is_empty() {
            self.message.push(' ');
        }
        self.message.push_str(&self.fields);
        if self.message.len() > TEXT_BYTES_MAX {
            let end = (0..=TEXT_BYTES_MAX).rev().find(|&end| self.message.is_char_boundary(end));
            self.message.truncate(end.unwrap_or(0));
        }
        self.message
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string does not fail.
        if field.name() == "message" {
            write!(self.message, "{value:?}").ok();
        } else {
            let blank = if self.fields.is_empty() { "" } else { " " };
            write!(self.fields, "{blank}{}={value:?}", field.name()).ok();
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::signal::Callback;

    // One test: the sinks are the process's, and tests of one binary share a process.
    #[test]
    fn events_reach_the_host_in_batches_and_an_overflow_is_counted() {
        let woken = Arc::new(AtomicUsize::new(0));
        tracing::error!("before there is a sink: dropped");
        assert!(capture().is_none());
        let sink = Sink::install(Level::Info, {
            let woken = woken.clone();
            Callback(move || {
                woken.fetch_add(1, Ordering::SeqCst);
            })
        });
        let sink = sink.unwrap();
        let drain = || sink.drain();
        let set_level = |level| sink.set_level(level);
        let guard = capture();
        tracing::info!(member = "h:1", attempt = 2, "connected to {}", "it");
        tracing::warn!(target: "slotkv::x", "second");
        tracing::debug!("not asked for");
        tracing::error!(target: "h2::codec", "of a library");
        let records = drain();
        assert_eq!(records.len(), 2, "{records:?}");
        assert_eq!(records[0].message, "connected to it member=h:1 attempt=2");
        assert_eq!((records[1].level, records[1].target.as_str()), (Level::Warn, "slotkv::x"));
        assert_eq!(woken.load(Ordering::SeqCst), 1, "one wake-up for the batch");

        set_level(Level::Debug);
        tracing::debug!("now it is");
        assert_eq!(drain().len(), 1);

        for _ in 0..RECORDS_MAX + 7 {
            tracing::info!("flood");
        }
        assert_eq!(drain().len(), RECORDS_MAX);
        tracing::info!("{}", "ü".repeat(TEXT_BYTES_MAX));
        let after = drain();
        assert_eq!(after[0].dropped_before, 7);
        assert!(after[0].message.len() <= TEXT_BYTES_MAX);

        // A change of level counts for captures that go on, whoever makes it.
        drop(guard);
        set_level(Level::Warn);
        let guard = capture();
        tracing::info!("no more");
        drop(guard);
        set_level(Level::Info);
        let say = || tracing::info!("met first where nothing is captured");
        say();
        assert!(drain().is_empty());
        let guard = capture();
        say();
        assert_eq!(drain().len(), 1);

        drop(guard);
        tracing::error!("outside of a capture: dropped");
        assert!(drain().is_empty());

        // Sinks do not know of one another.
        let other = Sink::install(Level::Debug, Callback(|| {})).unwrap();
        let guard = capture();
        tracing::debug!("for one");
        tracing::info!("for both");
        emit(Level::Debug, "slotkv::binding", "for one");
        assert_eq!((drain().len(), other.drain().len()), (1, 3));
        drop(other);
        tracing::debug!("for none");
        tracing::info!("for the first");
        assert_eq!(drain().len(), 1);
        drop(guard);

        let many: Vec<_> =
            (1..SINKS_MAX).map(|_| Sink::install(Level::Error, Callback(|| {})).unwrap()).collect();
        let refused = Sink::install(Level::Error, Callback(|| {}));
        assert_eq!(refused.err().unwrap().code, Code::Overloaded);
        drop(many);
        assert!(Sink::install(Level::Error, Callback(|| {})).is_ok());
    }
}
