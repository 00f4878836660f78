//! `slotkv import`: many records on their way at once, each line accounted for.
//!
//! Invariants:
//! - Two lines with the same key are never on their way together, so that the later one wins.
//! - A record is repeated while the cluster does not take it. Putting it again is harmless: each attempt is exactly-once
//!   by itself, and nothing else writes this key meanwhile.
//! - The state file names a place before which every line is acknowledged or refused.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fs::File,
    io::{self, BufReader, Seek, SeekFrom},
    time::Duration,
};

use bytes::Bytes;
use indicatif::ProgressBar;
use serde_json::json;
use slotkv::{Answer, CallOptions, Client, Command, Condition, Error, Outcome, Put, Retry};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{
    progress,
    reader::{self, Parsed, Refused},
    record::{self, Line, LineError, Record},
    state::{self, ImportState},
    window::{Counts, Finish, Place, Window},
};
use crate::{
    cli::{
        exit::{Exit, Failure},
        flags::ImportFlags,
    },
    client::{connect_with, failure, in_flight, namespace_of, output::Output},
    signals,
};

/// Bytes of keys and values on their way at the same time; one larger record still goes.
const INFLIGHT_BYTES_MAX: usize = 32 << 20;
/// Lines begun behind the first that is not finished; bounds what a state file may make us repeat.
const WINDOW_LINES_MAX: usize = 1 << 18;
/// How often the state file is written.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Pause before a record is repeated; doubles up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

const KIND: &str = "import";

/// `slotkv import`.
pub(crate) async fn import(flags: ImportFlags) -> Result<Exit, Failure> {
    let source = Source::open(&flags)?;
    let options = in_flight(flags.in_flight);
    let client = connect_with(&flags.client, options).await?;
    let namespace = namespace_of(&flags.client)?;
    let progress = progress::bytes(source.length);
    let mut import = Import::new(&flags, client.clone(), namespace, &source.state, progress);
    // Only now: before, as while a FIFO waits for its writer, a signal simply ends the process.
    let stop = signals::stop_requested().map_err(|error| Failure::io("cannot wait for signals", error))?;
    let outcome = import.run(source, stop).await;
    let saved = import.save(true);
    import.progress.finish_and_clear();
    client.close().await;
    let exit = if import.counts.refused > 0 { Exit::Partly } else { Exit::Done };
    let told = import.tell(flags.client.json, exit);
    outcome?;
    saved?;
    told
}

/// The file at the place to go on from.
struct Source {
    reader: Box<dyn io::BufRead + Send>,
    length: Option<u64>,
    state: ImportState,
}

impl Source {
    fn open(flags: &ImportFlags) -> Result<Self, Failure> {
        if flags.file.as_os_str() == "-" {
            if flags.resume.is_some() {
                return Err(Failure::usage("--resume wants a file; stdin cannot be read a second time"));
            }
            let reader = Box::new(BufReader::new(io::stdin()));
            return Ok(Self { reader, length: None, state: ImportState::default() });
        }
        let shown = flags.file.display();
        let refuse = |error: io::Error| Failure::usage(format_args!("{shown}: {error}"));
        let mut file = File::open(&flags.file).map_err(refuse)?;
        let found = file.metadata().map_err(refuse)?;
        if !found.is_file() && flags.resume.is_some() {
            return Err(Failure::usage(format_args!(
                "--resume wants a regular file; {shown} cannot be read a second time"
            )));
        }
        let length = found.is_file().then_some(found.len());
        let state: ImportState = match &flags.resume {
            Some(path) => state::load(path, KIND)?.unwrap_or_default(),
            None => ImportState::default(),
        };
        if state.offset > 0 {
            let changed =
                || Failure::usage(format_args!("{shown} is not the file that the state file belongs to"));
            let found = state::fingerprint(&mut file, state.offset).map_err(|_| changed())?;
            if found != state.fingerprint {
                return Err(changed());
            }
            file.seek(SeekFrom::Start(state.offset)).map_err(refuse)?;
        }
        let reader = Box::new(BufReader::with_capacity(1 << 20, file));
        Ok(Self { reader, length, state })
    }
}

/// A record on its way.
struct Job {
    record: Record,
    key: Bytes,
    value: Bytes,
    /// When its first attempt failed.
    failing: Option<Instant>,
    pause: Duration,
}

enum Event {
    /// The cluster's answer for a line.
    Answered(u64, Result<Answer, Error>),
    /// The pause before the next attempt of a line is over.
    Again(u64),
}

struct Import<'a> {
    flags: &'a ImportFlags,
    client: Client,
    /// Where lines go that name no namespace.
    namespace: String,
    /// Of every line that has finished, also behind one that has not.
    counts: Counts,
    saved: Place,
    window: Window,
    /// Parsed and not begun.
    waiting: VecDeque<Parsed>,
    jobs: BTreeMap<u64, Job>,
    jobs_bytes: usize,
    /// Keys on their way, with their namespace; `None` is the client's own, also for lines that name it.
    busy: HashSet<(Option<String>, Bytes)>,
    events: mpsc::UnboundedSender<Event>,
    answers: mpsc::UnboundedReceiver<Event>,
    progress: ProgressBar,
    failed: Option<Failure>,
    /// Records that were left out, since their time is over.
    over: u64,
}

impl<'a> Import<'a> {
    fn new(
        flags: &'a ImportFlags,
        client: Client,
        namespace: String,
        state: &ImportState,
        progress: ProgressBar,
    ) -> Self {
        // Bounded by the jobs: each has one event outstanding.
        let (events, answers) = mpsc::unbounded_channel();
        Self {
            flags,
            client,
            namespace,
            counts: state.counts,
            saved: state.place(),
            window: Window::new(state.place(), state.counts),
            waiting: VecDeque::new(),
            jobs: BTreeMap::new(),
            jobs_bytes: 0,
            busy: HashSet::new(),
            events,
            answers,
            progress,
            failed: None,
            over: 0,
        }
    }

    async fn run(&mut self, source: Source, stop: impl Future<Output = &'static str>) -> Result<(), Failure> {
        let mut batches = reader::spawn(source.reader, self.window.done())
            .map_err(|error| Failure::io("cannot start the reading thread", error))?;
        let mut reading = true;
        let mut saves = interval(SAVE_INTERVAL);
        saves.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopped = false;
        tokio::pin!(stop);
        loop {
            self.begin_lines();
            if self.failed.is_some() {
                reading = false;
                self.waiting.clear();
            }
            if !reading && self.waiting.is_empty() && self.jobs.is_empty() {
                return self.failed.take().map_or(Ok(()), Err);
            }
            tokio::select! {
                biased;
                name = &mut stop, if !stopped => {
                    stopped = true;
                    self.fail(Failure::failed(format_args!("stopped by {name}")));
                }
                Some(event) = self.answers.recv() => {
                    self.take(event);
                    while let Ok(event) = self.answers.try_recv() {
                        self.take(event);
                    }
                }
                _ = saves.tick() => self.save(false)?,
                batch = batches.recv(), if reading && self.waiting.is_empty() => match batch {
                    Some(Ok(lines)) => self.waiting.extend(lines),
                    Some(Err(error)) => self.fail(Failure::io(self.flags.file.display(), error)),
                    None => reading = false,
                },
            }
        }
    }

    /// Begins lines while there is room and their keys are free.
    fn begin_lines(&mut self) {
        while self.failed.is_none()
            && self.jobs.len() < self.flags.in_flight as usize
            && self.jobs_bytes < INFLIGHT_BYTES_MAX
            && self.window.len() < WINDOW_LINES_MAX
        {
            let Some(next) = self.waiting.pop_front() else { return };
            match next.line {
                Ok(Line::Record(mut record)) => {
                    record.namespace.take_if(|named| *named == self.namespace);
                    let place = (record.namespace.clone(), Bytes::copy_from_slice(&record.key));
                    if self.busy.contains(&place) {
                        self.waiting.push_front(Parsed { end: next.end, line: Ok(Line::Record(record)) });
                        return;
                    }
                    let line = self.window.begin(next.end);
                    self.begin_record(line, record, place);
                }
                Ok(Line::Header | Line::Blank) => {
                    let line = self.window.begin(next.end);
                    self.finish(line, Finish::Empty);
                }
                Err(why) => {
                    let newer = matches!(why, Refused::Line(LineError::Newer(_)));
                    if newer {
                        return self.fail(Failure::usage(why));
                    }
                    let line = self.window.begin(next.end);
                    self.refuse(line, &why.to_string());
                }
            }
        }
    }

    fn begin_record(&mut self, line: u64, mut record: Record, place: (Option<String>, Bytes)) {
        let key = place.1.clone();
        let value = Bytes::from(std::mem::take(&mut record.value));
        self.jobs_bytes += key.len() + value.len();
        self.busy.insert(place);
        self.jobs.insert(line, Job { record, key, value, failing: None, pause: PAUSE_MIN });
        self.submit(line);
    }

    fn submit(&mut self, line: u64) {
        let Some(job) = self.jobs.get(&line) else { return };
        let ttl = job.record.expires_ms.map(record::ttl_until);
        if ttl == Some(None) {
            // Its time is over: it ends as a record that was written in time would have.
            self.over += 1;
            return self.finish(line, Finish::Empty);
        }
        let (key, value) = (job.key.clone(), job.value.clone());
        let command = Command::Put { key, value, condition: Condition::Always, ttl: ttl.flatten() };
        let options = CallOptions { namespace: job.record.namespace.clone(), ..CallOptions::default() };
        let events = self.events.clone();
        // Nobody waits for the answer any more once the import has ended.
        let _ = self
            .client
            .submit(command, options, move |answer| drop(events.send(Event::Answered(line, answer))));
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Again(line) => self.submit(line),
            Event::Answered(line, Ok(answer)) => {
                let created = matches!(answer, Answer::Put(Put::Created { .. }));
                self.finish(line, if created { Finish::Created } else { Finish::Updated });
            }
            Event::Answered(line, Err(error)) => self.take_error(line, error),
        }
    }

    fn take_error(&mut self, line: u64, error: Error) {
        if error.retry == Retry::Never && error.outcome == Outcome::Failed {
            return self.refuse(line, &crate::members::explained(&error));
        }
        let patience = self.flags.patience;
        let Some(job) = self.jobs.get_mut(&line) else { return };
        let since = *job.failing.get_or_insert_with(Instant::now);
        if self.failed.is_some() || since.elapsed() >= patience {
            let mut failure = failure(error);
            failure.message = format!("line {line}: {} (given up after {patience:?})", failure.message);
            self.fail(failure);
            // Neither finished nor refused: the state file stays before this line.
            return self.forget(line);
        }
        let (pause, events) = (job.pause, self.events.clone());
        job.pause = (job.pause * 2).min(PAUSE_MAX);
        tokio::spawn(async move {
            sleep(pause).await;
            let _ = events.send(Event::Again(line));
        });
    }

    fn refuse(&mut self, line: u64, why: &str) {
        progress::say(&self.progress, format!("line {line}: {why}"));
        self.finish(line, Finish::Refused);
        if self.counts.refused >= self.flags.refused_max.max(1) {
            let message = format!("{} lines refused (--refused-max), stopped", self.counts.refused);
            self.fail(Failure { exit: Exit::Partly, message });
        }
    }

    fn finish(&mut self, line: u64, finish: Finish) {
        self.forget(line);
        self.counts.add(finish);
        self.window.finish(line, finish);
        self.progress.set_position(self.window.done().offset);
    }

    fn forget(&mut self, line: u64) {
        if let Some(job) = self.jobs.remove(&line) {
            self.jobs_bytes -= job.key.len() + job.value.len();
            self.busy.remove(&(job.record.namespace, job.key));
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failed.get_or_insert(failure);
    }

    /// Writes the state file, if there is one and anything has changed.
    fn save(&mut self, last: bool) -> Result<(), Failure> {
        let place = self.window.done();
        self.progress.set_message(format!("{} records", self.counts.created + self.counts.updated));
        let Some(path) = &self.flags.resume else { return Ok(()) };
        if !last && place == self.saved {
            return Ok(());
        }
        let shown = self.flags.file.display();
        let mut file = File::open(&self.flags.file).map_err(|error| Failure::io(&shown, error))?;
        let fingerprint =
            state::fingerprint(&mut file, place.offset).map_err(|error| Failure::io(&shown, error))?;
        let counts = self.window.counts();
        let state = ImportState { line: place.line, offset: place.offset, counts, fingerprint };
        state::save(path, KIND, &state)?;
        self.saved = place;
        Ok(())
    }

    /// The counts, on stdout.
    fn tell(&self, json: bool, exit: Exit) -> Result<Exit, Failure> {
        let Counts { created, updated, refused } = self.counts;
        if self.over > 0 {
            eprintln!("{} records were left out: their time is over", self.over);
        }
        let mut output = Output::new();
        if json {
            let lines = self.window.done().line;
            let counts =
                json!({ "lines": lines, "created": created, "updated": updated, "refused": refused });
            output.line(&counts.to_string())?;
        } else {
            let records = created + updated;
            output.line(&format!(
                "imported {records} records: {created} created, {updated} updated; {refused} lines refused"
            ))?;
        }
        output.end(exit)
    }
}
