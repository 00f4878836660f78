//! Logs on their way to the host's logger.
//!
//! The core speaks `tracing`. A process belongs to its host, so no global subscriber is installed: the facade's own
//! threads, and a caller's for the time of a blocking call, use the one here, which copies events into a bounded queue.
//! The host is woken once per batch and takes the records on a thread of its choice; nothing is ever called back from
//! the middle of a call. When the host does not keep up, the newest records are dropped and counted
//! ([`Record::dropped_before`]). Spans are not recorded.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber, dispatcher, span};

use crate::fork;
use crate::lock::Mutex;
use crate::signal::Wake;

/// Records that wait for the host; past it new ones are dropped and counted.
pub const RECORDS_MAX: usize = 1024;
/// Longest text of one record, in bytes; the rest is cut.
pub const TEXT_BYTES_MAX: usize = 4096;

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

struct Sink {
    level: AtomicU8,
    waiting: Mutex<Waiting>,
    wake: Box<dyn Wake>,
    dispatch: Dispatch,
    /// Never used. While tracing knows one dispatch only, it asks the calling thread's about the interest in an event and
    /// remembers the answer; a thread that captures nothing would switch the event off for all.
    _second: Dispatch,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<Record>,
    dropped: u64,
}

impl Sink {
    fn push(&self, level: Level, target: &str, message: String) {
        let mut waiting = self.waiting.lock();
        if waiting.records.len() >= RECORDS_MAX {
            waiting.dropped += 1;
            return;
        }
        let dropped_before = std::mem::take(&mut waiting.dropped);
        waiting.records.push_back(Record { level, target: target.into(), message, dropped_before });
        let is_first = waiting.records.len() == 1;
        drop(waiting);
        if is_first {
            self.wake.wake();
        }
    }
}

static SINK: AtomicPtr<fork::Owned<Sink>> = AtomicPtr::new(std::ptr::null_mut());

fn sink() -> Option<&'static Sink> {
    // SAFETY: what is stored here was leaked from a box and is never freed.
    unsafe { SINK.load(Ordering::Acquire).as_ref() }?.get()
}

/// Whether this process has a sink; one made before a fork does not count.
pub fn is_installed() -> bool {
    sink().is_some()
}

/// Sends records up to `level` to the queue from now on, and wakes the host by `wake` for each batch. Takes the place
/// of an earlier sink, whose waiting records are lost.
pub fn install(level: Level, wake: impl Wake) {
    let sink = Sink {
        level: AtomicU8::new(level as u8),
        waiting: Mutex::default(),
        wake: Box::new(wake),
        dispatch: Dispatch::new(Tap),
        _second: Dispatch::new(Tap),
    };
    // The earlier one stays leaked: threads may be using it. A process installs one or two in its life.
    SINK.store(Box::into_raw(Box::new(fork::Owned::new(sink))), Ordering::Release);
    tracing::callsite::rebuild_interest_cache();
}

/// Changes which records are sent.
pub fn set_level(level: Level) {
    if let Some(sink) = sink()
        && sink.level.swap(level as u8, Ordering::Relaxed) != level as u8
    {
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Takes the records that wait.
pub fn drain() -> Vec<Record> {
    let Some(sink) = sink() else { return Vec::new() };
    sink.wake.clear();
    sink.waiting.lock().records.drain(..).collect()
}

/// Sends a record of the binding's own. Without a sink, or when it is not asked for, it does nothing.
pub fn emit(level: Level, target: &str, message: String) {
    if let Some(sink) = sink()
        && level as u8 <= sink.level.load(Ordering::Relaxed)
    {
        sink.push(level, target, message);
    }
}

/// Sends this thread's events to the sink until the guard is dropped. Without a sink it does nothing.
pub fn capture() -> Option<dispatcher::DefaultGuard> {
    sink().map(|sink| dispatcher::set_default(&sink.dispatch))
}

/// The subscriber. It has no state: what it needs is the process's sink.
struct Tap;

impl Tap {
    fn takes(metadata: &Metadata<'_>) -> bool {
        let level = sink().map_or(0, |sink| sink.level.load(Ordering::Relaxed));
        metadata.is_event()
            && Level::from_tracing(metadata.level()) as u8 <= level
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
        let level = sink().map_or(0, |sink| sink.level.load(Ordering::Relaxed));
        Some(match level {
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
        let Some(sink) = sink() else { return };
        let metadata = event.metadata();
        let mut text = Text::default();
        event.record(&mut text);
        sink.push(Level::from_tracing(metadata.level()), metadata.target(), text.finish());
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
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::signal::Callback;

    // One test: the sink is the process's, and tests of one binary share a process.
    #[test]
    fn events_reach_the_host_in_batches_and_an_overflow_is_counted() {
        let woken = Arc::new(AtomicUsize::new(0));
        tracing::error!("before there is a sink: dropped");
        assert!(capture().is_none());
        install(Level::Info, {
            let woken = woken.clone();
            Callback(move || {
                woken.fetch_add(1, Ordering::SeqCst);
            })
        });
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
    }
}
