//! A driver keeps operations in flight and measures them.
//!
//! Closed loop: a new operation begins when one ends, and its latency counts from there. Open loop: each operation is due
//! at a fixed time, and its latency counts from that time, however late it began; so a stall is seen by every operation
//! that was due in it (no coordinated omission).

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use slotkv::{Answer, CallOptions, Client, Command, Condition, Error, Page, Range};

use super::{
    cpu_time,
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
    /// CPU time of this process when the first measured operation began.
    pub cpu_before: OnceLock<Duration>,
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
    error_told: bool,
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
            error_told: false,
            begun: 0,
            start: Instant::now(),
            pace,
        }
    }

    /// Runs to the end. Also returns how long the measured part took.
    pub async fn run(mut self) -> (Measures, Duration) {
        self.start = Instant::now();
        let _clock = self.schedule().map(|schedule| Clock::start(self.inbox.clone(), schedule));
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

    /// Of the open loop.
    fn schedule(&self) -> Option<Schedule> {
        self.pace.interval.map(|interval| Schedule { start: self.start, interval })
    }

    /// Begins what is due. Returns whether there is more.
    fn begin_all(&mut self) -> bool {
        let schedule = self.schedule();
        let mut now = Instant::now();
        loop {
            let since = schedule.map_or(now, |schedule| schedule.due(self.begun));
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
            if measured {
                self.shared.cpu_before.get_or_init(cpu_time);
                self.pace.operations -= 1;
            }
            self.begun += 1;
            self.begin(operation, since, measured);
            if schedule.is_none() {
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
            ttl: None,
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
            Err(error) => self.take_error(&error, running.measured),
        }
        self.shared.ended.fetch_add(1, Relaxed);
        self.free.push(place);
    }

    /// Checks what came; returns the operation's next step, if it has one.
    fn take_answer(&mut self, running: &mut Running, answer: Answer) -> Option<Command> {
        match (running.operation, answer) {
            (Operation::Read(index), Answer::Entry(entry)) => {
                self.check(index, entry.map(|entry| entry.value), running.measured)
            }
            (Operation::ReadModifyWrite(index), Answer::Entry(entry)) if !running.writing => {
                self.check(index, entry.map(|entry| entry.value), running.measured);
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
                self.measures.scanned += if running.measured { u64::from(count) } else { 0 };
                running.wanted = running.wanted.saturating_sub(count);
                if running.wanted > 0 && cursor.is_some() {
                    return Some(self.scan(index, running.wanted, cursor));
                }
            }
            _ => {}
        }
        None
    }

    fn check(&mut self, index: u64, value: Option<bytes::Bytes>, measured: bool) {
        match value {
            _ if !measured => {}
            None => self.measures.missing += 1,
            Some(value) if value != self.data.value(index) => self.measures.wrong += 1,
            Some(_) => {}
        }
    }

    fn take_error(&mut self, error: &Error, measured: bool) {
        if !std::mem::replace(&mut self.error_told, true) {
            eprintln!("slotkv: the first error: {}", crate::members::explained(error));
        }
        if !measured {
            return;
        }
        self.measures.failed(error.code.name());
        if self.measures.faults() >= FAULTS_MAX {
            self.shared.stop.store(true, Relaxed);
        }
    }
}

/// When the operations of an open loop are due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    start: Instant,
    interval: Duration,
}

impl Schedule {
    /// When the `index`-th operation is due.
    fn due(self, index: u64) -> Instant {
        let nanos = self.interval.as_nanos().saturating_mul(index.into());
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// When to look again after `now`: when the next operation is due, or in steps of [`TICK`] if they come faster. Counts
    /// from the start, so that one late wake-up does not make the later ones late.
    fn next_after(self, now: Instant) -> Instant {
        let steps = Self { interval: self.interval.max(TICK), ..self };
        let passed = now.saturating_duration_since(self.start).as_nanos() / steps.interval.as_nanos();
        steps.due(u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1))
    }
}

/// A thread that wakes the driver when operations are due; the runtime's own timers have steps of a millisecond.
struct Clock(Arc<AtomicBool>);

impl Clock {
    fn start(inbox: Arc<Inbox>, schedule: Schedule) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let tick = move || {
            wake_precisely();
            while !stopped.load(Relaxed) {
                let now = Instant::now();
                std::thread::sleep(schedule.next_after(now).saturating_duration_since(now));
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

/// Linux wakes a thread up to 50 us late unless it asks for less, and all of it would count as latency.
fn wake_precisely() {
    #[cfg(target_os = "linux")]
    // SAFETY: a plain system call with plain numbers, about the calling thread alone.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_wake_ups_do_not_add_up() {
        let schedule = Schedule { start: Instant::now(), interval: Duration::from_millis(10) };
        let mut now = schedule.start;
        for index in 1..1000 {
            let wake = schedule.next_after(now);
            assert_eq!(wake, schedule.due(index));
            now = wake + Duration::from_micros(60);
        }
        let missed = schedule.due(1000) + Duration::from_millis(25);
        assert_eq!(schedule.next_after(missed), schedule.due(1003));
    }

    #[test]
    fn operations_that_come_faster_than_the_clock_are_begun_together() {
        let schedule = Schedule { start: Instant::now(), interval: Duration::from_nanos(700) };
        assert_eq!(schedule.next_after(schedule.start), schedule.start + TICK);
        assert_eq!(schedule.due(1000), schedule.start + Duration::from_micros(700));
        let none = Schedule { interval: Duration::ZERO, ..schedule };
        assert_eq!(none.due(5), none.start);
        assert_eq!(none.next_after(none.start), none.start + TICK);
    }
}
