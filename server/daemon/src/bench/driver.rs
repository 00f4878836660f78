//! A driver keeps operations in flight and measures them.
//!
//! Closed loop: a new operation begins when one ends, and its latency counts from there. Open loop: each operation is due
//! at a fixed time, and its latency counts from that time, however late it began; so a stall is seen by every operation
//! that was due in it (no coordinated omission).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use slotkv::{Answer, CallOptions, Client, Command, Condition, Error, Page, Range};

use super::{
    data::DataSet,
    inbox::{Finished, Inbox},
    measures::Measures,
    plan::{Operation, Plan},
};

/// Faults after which a driver gives up.
const FAULTS_MAX: u64 = 100_000;
/// Finest step of the open loop's clock.
const TICK: Duration = Duration::from_micros(50);

/// Where operations come from.
pub(crate) enum Source {
    /// Inserts of every `step`-th index from `next` to below `end`.
    Load { next: u64, step: u64, end: u64 },
    /// A workload.
    Plan(Plan),
}

/// What the drivers of a phase share.
#[derive(Default)]
pub(crate) struct Shared {
    /// Operations that have ended.
    pub ended: AtomicU64,
    /// Nothing new is to begin.
    pub stop: AtomicBool,
}

/// When a driver begins operations, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// At the same time, at most.
    pub in_flight: usize,
    /// In all, after the warm-up.
    pub operations: u64,
    /// Those that begin sooner after the start are not measured.
    pub warm_up: Duration,
    /// After the warm-up nothing begins later than this.
    pub time: Option<Duration>,
    /// Open loop: the time from one to the next.
    pub interval: Option<Duration>,
}

/// An operation under way.
struct Running {
    operation: Operation,
    since: Instant,
    measured: bool,
    /// A read-modify-write's write has begun.
    writing: bool,
    /// Keys that a scan still wants.
    wanted: u32,
}

pub(crate) struct Driver {
    client: Client,
    data: DataSet,
    source: Source,
    pace: Pace,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    running: Vec<Option<Running>>,
    free: Vec<usize>,
    measures: Measures,
    begun: u64,
    start: Instant,
}

impl Driver {
    pub fn new(client: Client, data: DataSet, source: Source, pace: Pace, shared: Arc<Shared>) -> Self {
        Self {
            client,
            data,
            source,
            shared,
            inbox: Arc::default(),
            running: (0..pace.in_flight).map(|_| None).collect(),
            free: (0..pace.in_flight).rev().collect(),
            measures: Measures::new(),
            begun: 0,
            start: Instant::now(),
            pace,
        }
    }

    /// Runs to the end. Also returns how long the measured part took.
    pub async fn run(mut self) -> (Measures, Duration) {
        self.start = Instant::now();
        let _clock = self.pace.interval.map(|interval| Clock::start(self.inbox.clone(), interval));
        let mut batch = Vec::with_capacity(self.pace.in_flight);
        loop {
            let more = self.begin_all();
            if !more && self.free.len() == self.running.len() {
                break;
            }
            self.inbox.take(&mut batch).await;
            for finished in batch.drain(..) {
                self.finish(finished);
            }
        }
        let took = self.start.elapsed().saturating_sub(self.pace.warm_up);
        (self.measures, took)
    }

    /// Begins what is due. Returns whether there is more.
    fn begin_all(&mut self) -> bool {
        let mut now = Instant::now();
        loop {
            let since = match self.pace.interval {
                Some(interval) => self.start + interval.mul_f64(self.begun as f64),
                None => now,
            };
            let age = since.saturating_duration_since(self.start);
            let measured = age >= self.pace.warm_up;
            let late = self.pace.time.is_some_and(|time| age >= self.pace.warm_up + time);
            if late || self.pace.operations == 0 || self.shared.stop.load(Relaxed) {
                return false;
            }
            if self.free.is_empty() || since > now {
                return true;
            }
            let Some(operation) = self.next() else { return false };
            self.pace.operations -= u64::from(measured);
            self.begun += 1;
            self.begin(operation, since, measured);
            if self.pace.interval.is_none() {
                now = Instant::now();
            }
        }
    }

    fn next(&mut self) -> Option<Operation> {
        match &mut self.source {
            Source::Plan(plan) => Some(plan.next()),
            Source::Load { next, step, end } => {
                let index = *next;
                *next += *step;
                (index < *end).then_some(Operation::Insert(index))
            }
        }
    }

    fn begin(&mut self, operation: Operation, since: Instant, measured: bool) {
        let Some(place) = self.free.pop() else { return };
        let (command, wanted) = match operation {
            Operation::Read(index) | Operation::ReadModifyWrite(index) => (self.get(index), 0),
            Operation::Update(index) | Operation::Insert(index) => (self.put(index), 0),
            Operation::Scan(index, count) => (self.scan(index, count, None), count),
        };
        self.running[place] = Some(Running { operation, since, measured, writing: false, wanted });
        self.submit(place, command);
    }

    fn get(&self, index: u64) -> Command {
        Command::Get { key: self.data.key(index) }
    }

    fn put(&self, index: u64) -> Command {
        Command::Put {
            key: self.data.key(index),
            value: self.data.value(index),
            condition: Condition::Always,
        }
    }

    fn scan(&self, index: u64, count: u32, cursor: Option<bytes::Bytes>) -> Command {
        let range =
            Range { start: self.data.key(index), ordered: true, items_max: count, ..Range::default() };
        Command::ScanPage { range, cursor }
    }

    fn submit(&self, place: usize, command: Command) {
        let inbox = self.inbox.clone();
        let _ = self.client.submit(command, CallOptions::default(), move |answer| inbox.put(place, answer));
    }

    fn finish(&mut self, finished: Finished) {
        let Finished { place, answer, at } = finished;
        let Some(mut running) = self.running[place].take() else { return };
        match answer {
            Ok(answer) => {
                if let Some(next) = self.take_answer(&mut running, answer) {
                    self.running[place] = Some(running);
                    return self.submit(place, next);
                }
                if running.measured {
                    self.measures
                        .succeeded(running.operation.kind(), at.saturating_duration_since(running.since));
                }
            }
            Err(error) => self.take_error(&error),
        }
        self.shared.ended.fetch_add(1, Relaxed);
        self.free.push(place);
    }

    /// Checks what came; returns the operation's next step, if it has one.
    fn take_answer(&mut self, running: &mut Running, answer: Answer) -> Option<Command> {
        match (running.operation, answer) {
            (Operation::Read(index), Answer::Entry(entry)) => {
                self.check(index, entry.map(|entry| entry.value))
            }
            (Operation::ReadModifyWrite(index), Answer::Entry(entry)) if !running.writing => {
                self.check(index, entry.map(|entry| entry.value));
                running.writing = true;
                return Some(self.put(index));
            }
            (Operation::Insert(index), Answer::Put(_)) => {
                if let Source::Plan(plan) = &mut self.source {
                    plan.inserted(index);
                }
            }
            (Operation::Scan(index, _), Answer::Page(Page { items, cursor })) => {
                let count = items.len() as u32;
                self.measures.scanned += u64::from(count);
                running.wanted = running.wanted.saturating_sub(count);
                if running.wanted > 0 && cursor.is_some() {
                    return Some(self.scan(index, running.wanted, cursor));
                }
            }
            _ => {}
        }
        None
    }

    fn check(&mut self, index: u64, value: Option<bytes::Bytes>) {
        match value {
            None => self.measures.missing += 1,
            Some(value) if value != self.data.value(index) => self.measures.wrong += 1,
            Some(_) => {}
        }
    }

    fn take_error(&mut self, error: &Error) {
        if self.measures.errors.is_empty() {
            eprintln!("slotkv: the first error: {}", crate::client::explained(error));
        }
        self.measures.failed(error.code.name());
        if self.measures.faults() >= FAULTS_MAX {
            self.shared.stop.store(true, Relaxed);
        }
    }
}

/// A thread that wakes the driver when operations are due; the runtime's own timers have steps of a millisecond.
struct Clock(Arc<AtomicBool>);

impl Clock {
    fn start(inbox: Arc<Inbox>, interval: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let tick = move || {
            while !stopped.load(Relaxed) {
                std::thread::sleep(interval.max(TICK));
                inbox.wake();
            }
        };
        if let Err(error) = std::thread::Builder::new().name("slotkv-clock".into()).spawn(tick) {
            eprintln!("slotkv: cannot start the clock: {error}");
        }
        Self(stop)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
