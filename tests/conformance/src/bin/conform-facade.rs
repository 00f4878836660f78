//! The driver of the facade alone, `conform-facade blocking|nonblocking URI`: what a binding is without a host. It knows
//! nothing of the core but the values that the facade brings, so no rule of a client can hide in a binding.

use std::io::{BufRead, Write};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use bytes::Bytes;
use slotkv_conformance::{
    step::{Argument, Step},
    text,
};
use slotkv_facade::{
    blocking::{BlockingClient, BlockingScan},
    core::{Answer, CallOptions, Code, Command, Condition, Item, Range, ReadLevel},
    error::FacadeError,
    handle::Handle,
    nonblocking::{AsyncClient, AsyncScan, Next},
    port::{Completion, Port, Reply, Ring},
    settings::Settings,
    signal::Callback,
};

type Result<T> = std::result::Result<T, FacadeError>;

/// Before it is looked again whether a key has ended.
const PAUSE: Duration = Duration::from_millis(5);

const BINDING: &str = "conform-facade/1";

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [mode, uri] if mode == "blocking" => drive(Blocking, uri),
        [mode, uri] if mode == "nonblocking" => drive(Nonblocking::new()?, uri),
        _ => Err("usage: conform-facade blocking|nonblocking URI".into()),
    }
}

fn drive<W: Way>(way: W, uri: &str) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut driver =
        Driver { client: way.connect(uri)?, way, uri: uri.to_owned(), last_scan: None, last_token: None };
    let mut answers = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = match Step::parse(&line?) {
            // As in Rust, where nothing of a wrong type can be said.
            Some(step) if step.is_odd() => "unrepresentable".into(),
            Some(step) => driver.told(&step).unwrap_or_else(|error| {
                driver.last_token = error.token.clone().or(driver.last_token.take());
                error_text(&error)
            }),
            None => "malformed".into(),
        };
        writeln!(answers, "{answer}")?;
        answers.flush()?;
    }
    driver.way.close(&driver.client)?;
    Ok(())
}

/// What differs between the facade's two ways.
trait Way {
    type Client: Clone;
    type Scan;

    fn connect(&self, uri: &str) -> Result<Self::Client>;
    fn close(&self, client: &Self::Client) -> Result<()>;
    fn namespace(&self, client: &Self::Client, name: &str) -> Result<Self::Client>;
    fn with_deadline(&self, client: &Self::Client, deadline: Duration) -> Self::Client;
    fn with_traceparent(&self, client: &Self::Client, traceparent: String) -> Self::Client;
    fn with_read_level(&self, client: &Self::Client, level: ReadLevel) -> Self::Client;
    fn call(&self, client: &Self::Client, command: Command, options: CallOptions) -> Result<Answer>;
    /// Begins an operation and gives it up at once.
    fn cancelled(&self, client: &Self::Client, command: Command) -> Result<bool>;
    fn scan(
        &self,
        client: &Self::Client,
        range: Range,
        cursor: Option<Bytes>,
        items_max: Option<u64>,
    ) -> Self::Scan;
    fn next(&self, scan: &Self::Scan) -> Result<Option<Item>>;
    fn cursor(&self, scan: &Self::Scan) -> Result<Option<Bytes>>;
    fn dump(&self, client: &Self::Client, range: Range) -> Result<Vec<Item>>;
    fn slot(&self, client: &Self::Client, key: &[u8]) -> Result<u16>;
}

struct Driver<W: Way> {
    way: W,
    client: W::Client,
    uri: String,
    /// Range and cursor of the last scan that did not come to its end.
    last_scan: Option<(Range, Option<Bytes>)>,
    /// Of the last error that had one.
    last_token: Option<Bytes>,
}

impl<W: Way> Driver<W> {
    fn told(&mut self, step: &Step) -> Result<String> {
        let client = self.view(step)?;
        if step.number("cancel") == Some(1) {
            let is_cancelled = self.way.cancelled(&client, command(step).ok_or_else(no_command)?)?;
            return Ok(if is_cancelled { "cancelled" } else { "ended" }.into());
        }
        match step.operation.as_str() {
            "connect" => {
                let client = self.way.connect(&String::from_utf8_lossy(&step.bytes_at(0)))?;
                self.way.close(&client)?;
                Ok("done".into())
            }
            "scan" => self.scan(&client, step, step.range(), step.bytes("cursor")),
            "scan_on" => match self.last_scan.take() {
                Some((range, cursor)) => self.scan(&client, step, range, cursor),
                None => Ok("no scan".into()),
            },
            "dump" => Ok(text::items(&self.way.dump(&client, step.range())?, true)),
            "gone" => {
                let has = || Command::Has { key: step.bytes_at(0) };
                while self.way.call(&client, has(), CallOptions::default())? == Answer::Has(true) {
                    std::thread::sleep(PAUSE);
                }
                Ok("gone".into())
            }
            "slot" => Ok(format!("slot {}", self.way.slot(&client, &step.bytes_at(0))?)),
            "outcome" => {
                let token = step.arguments.first().and_then(Argument::bytes).or(self.last_token.clone());
                let Some(token) = token else { return Ok("no token".into()) };
                let asked = self.way.call(&client, Command::Outcome { token }, CallOptions::default())?;
                Ok(answer_text(step, asked))
            }
            _ => match command(step) {
                Some(command) => {
                    let traceparent = step.bytes("traceparent").map(text_of);
                    let options = CallOptions { traceparent, ..CallOptions::default() };
                    Ok(answer_text(step, self.way.call(&client, command, options)?))
                }
                None => Ok("unknown".into()),
            },
        }
    }

    /// The client that the step's options ask for.
    fn view(&self, step: &Step) -> Result<W::Client> {
        let mut client = self.client.clone();
        if let Some(namespace) = step.bytes("namespace") {
            client = self.way.namespace(&client, &text_of(namespace))?;
        }
        if let Some(deadline_ms) = step.number("deadline_ms") {
            client = self.way.with_deadline(&client, Duration::from_millis(deadline_ms));
        }
        if let Some(traceparent) = step.bytes("view_traceparent") {
            client = self.way.with_traceparent(&client, text_of(traceparent));
        }
        if let Some(level) = step.read_level() {
            client = self.way.with_read_level(&client, level);
        }
        if step.number("closed") == Some(1) {
            client = self.way.connect(&self.uri)?;
            self.way.close(&client)?;
        }
        Ok(client)
    }

    fn scan(
        &mut self,
        client: &W::Client,
        step: &Step,
        range: Range,
        cursor: Option<Bytes>,
    ) -> Result<String> {
        let limit = step.number("limit");
        let scan = self.way.scan(client, range.clone(), cursor, limit);
        let mut items = Vec::new();
        while let Some(item) = self.way.next(&scan)? {
            items.push(item);
        }
        let is_complete = limit.is_none_or(|limit| (items.len() as u64) < limit);
        self.last_scan = if is_complete { None } else { Some((range, self.way.cursor(&scan)?)) };
        Ok(text::items(&items, is_complete))
    }
}

/// An operation that is one call.
fn command(step: &Step) -> Option<Command> {
    let (key, value) = (step.bytes_at(0), step.bytes_at(1));
    let ttl = step.number("ttl_ms").map(Duration::from_millis);
    let put = |condition| Command::Put { key: key.clone(), value: value.clone(), condition, ttl };
    let many = |commands: Vec<Command>| Command::Many { commands };
    Some(match step.operation.as_str() {
        "get" | "get_entry" => Command::Get { key },
        "has" => Command::Has { key },
        "put" => put(Condition::Always),
        "put_if_absent" => put(Condition::Absent),
        "update_if_present" => put(Condition::Present),
        "compare_and_set" => put(Condition::Version(step.number_at(2) as u64)),
        "expire" => Command::Expire { key, ttl: Some(Duration::from_millis(step.number_at(1) as u64)) },
        "persist" => Command::Expire { key, ttl: None },
        "delete" => Command::Delete { key, condition: Condition::Always },
        "delete_if_version" => {
            Command::Delete { key, condition: Condition::Version(step.number_at(1) as u64) }
        }
        "increment" => Command::Increment { key, delta: step.number_at(1) as i64 },
        "get_many" => many(step.all().map(|key| Command::Get { key }).collect()),
        "put_many" => {
            let words: Vec<Bytes> = step.all().collect();
            let put = |pair: &[Bytes]| Command::Put {
                key: pair[0].clone(),
                value: pair[1].clone(),
                condition: Condition::Always,
                ttl,
            };
            many(words.chunks_exact(2).map(put).collect())
        }
        "delete_many" => {
            many(step.all().map(|key| Command::Delete { key, condition: Condition::Always }).collect())
        }
        "count" => Command::Count { range: step.range() },
        _ => return None,
    })
}

fn answer_text(step: &Step, answer: Answer) -> String {
    match answer {
        Answer::Entry(entry) if step.operation == "get_entry" => text::entry(entry),
        Answer::Entry(entry) => text::value(entry.as_ref().map(|entry| &entry.value[..])),
        Answer::Has(has) => has.to_string(),
        Answer::Put(put) => text::put(put),
        Answer::Delete(delete) => text::delete(delete),
        Answer::Number(number) => format!("number {number}"),
        Answer::Count(count) => format!("count {count}"),
        Answer::Many(answers) => text::many(answers.into_iter().map(|answer| match answer {
            Ok(answer) => answer_text(step, answer),
            Err(error) => error_text(&error.into()),
        })),
        Answer::Outcome(outcome) => text::outcome(outcome),
        Answer::Page(_) => "a page".into(),
    }
}

fn error_text(error: &FacadeError) -> String {
    text::error(error.code, error.outcome, error.retry)
}

fn text_of(bytes: Bytes) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn no_command() -> FacadeError {
    FacadeError::unexpected("only single calls are cancelled")
}

/// Calls on this thread.
struct Blocking;

/// Nobody interrupts.
fn patient() -> Result<()> {
    Ok(())
}

impl Way for Blocking {
    type Client = BlockingClient;
    type Scan = BlockingScan;

    fn connect(&self, uri: &str) -> Result<BlockingClient> {
        BlockingClient::connect(uri, Settings::new(BINDING), patient)
    }

    fn close(&self, client: &BlockingClient) -> Result<()> {
        client.close()
    }

    fn namespace(&self, client: &BlockingClient, name: &str) -> Result<BlockingClient> {
        client.namespace(name, patient)
    }

    fn with_deadline(&self, client: &BlockingClient, deadline: Duration) -> BlockingClient {
        client.with_deadline(deadline)
    }

    fn with_traceparent(&self, client: &BlockingClient, traceparent: String) -> BlockingClient {
        client.with_traceparent(traceparent)
    }

    fn with_read_level(&self, client: &BlockingClient, level: ReadLevel) -> BlockingClient {
        client.with_read_level(level)
    }

    fn call(&self, client: &BlockingClient, command: Command, options: CallOptions) -> Result<Answer> {
        client.call(command, options, patient)
    }

    fn cancelled(&self, client: &BlockingClient, command: Command) -> Result<bool> {
        match client.call(command, CallOptions::default(), || Err(FacadeError::cancelled())) {
            Ok(_) => Ok(false),
            Err(error) if error.code == Code::Cancelled => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn scan(
        &self,
        client: &BlockingClient,
        range: Range,
        cursor: Option<Bytes>,
        items_max: Option<u64>,
    ) -> BlockingScan {
        client.scan(range, cursor, items_max, CallOptions::default())
    }

    fn next(&self, scan: &BlockingScan) -> Result<Option<Item>> {
        scan.next(patient)
    }

    fn cursor(&self, scan: &BlockingScan) -> Result<Option<Bytes>> {
        scan.cursor(patient)
    }

    fn dump(&self, client: &BlockingClient, range: Range) -> Result<Vec<Item>> {
        client.dump(range, CallOptions::default(), patient)
    }

    fn slot(&self, client: &BlockingClient, key: &[u8]) -> Result<u16> {
        Ok(client.core(patient)?.slot(key))
    }
}

/// Calls through a port, as from an event loop whose turns have one call each.
struct Nonblocking {
    port: Port<()>,
    woken: Receiver<()>,
}

impl Nonblocking {
    fn new() -> Result<Self> {
        let (wake, woken) = mpsc::channel();
        let port = Port::new(Callback(move || {
            wake.send(()).ok();
        }))?;
        Ok(Self { port, woken })
    }

    /// The end of the only call that is open.
    fn end(&self) -> Result<Reply> {
        let mut ended: Vec<Completion<()>> = Vec::new();
        while ended.is_empty() {
            self.woken.recv().map_err(|_| FacadeError::unexpected("nobody is left to wake"))?;
            self.port.drain(&mut ended);
            self.port.ring();
        }
        ended.remove(0).1
    }

    fn submitted(&self, client: &AsyncClient, command: Command, options: CallOptions) -> Result<Handle> {
        let (call, ring) = client.submit(&self.port, command, options, ())?;
        if ring == Ring::AtEndOfTurn {
            self.port.ring();
        }
        Ok(call)
    }
}

fn other(reply: &Reply) -> FacadeError {
    FacadeError::unexpected(format!("the reply {reply:?}"))
}

impl Way for Nonblocking {
    type Client = AsyncClient;
    type Scan = AsyncScan;

    fn connect(&self, uri: &str) -> Result<AsyncClient> {
        AsyncClient::connect(&self.port, uri.to_owned(), Settings::new(BINDING), ())?;
        match self.end()? {
            Reply::Client(client) => Ok(*client),
            reply => Err(other(&reply)),
        }
    }

    fn close(&self, client: &AsyncClient) -> Result<()> {
        client.close(&self.port, ())?;
        self.end().map(|_| ())
    }

    fn namespace(&self, client: &AsyncClient, name: &str) -> Result<AsyncClient> {
        client.namespace(name)
    }

    fn with_deadline(&self, client: &AsyncClient, deadline: Duration) -> AsyncClient {
        client.with_deadline(deadline)
    }

    fn with_traceparent(&self, client: &AsyncClient, traceparent: String) -> AsyncClient {
        client.with_traceparent(traceparent)
    }

    fn with_read_level(&self, client: &AsyncClient, level: ReadLevel) -> AsyncClient {
        client.with_read_level(level)
    }

    fn call(&self, client: &AsyncClient, command: Command, options: CallOptions) -> Result<Answer> {
        self.submitted(client, command, options)?;
        match self.end()? {
            Reply::Answer(answer) => Ok(answer),
            reply => Err(other(&reply)),
        }
    }

    fn cancelled(&self, client: &AsyncClient, command: Command) -> Result<bool> {
        let call = self.submitted(client, command, CallOptions::default())?;
        match self.port.cancel(call) {
            Some((_, error)) => Ok(error.code == Code::Cancelled),
            None => self.end().map(|_| false),
        }
    }

    fn scan(
        &self,
        client: &AsyncClient,
        range: Range,
        cursor: Option<Bytes>,
        items_max: Option<u64>,
    ) -> AsyncScan {
        client.scan(range, cursor, items_max, CallOptions::default())
    }

    fn next(&self, scan: &AsyncScan) -> Result<Option<Item>> {
        match scan.next() {
            Next::Item(item) => Ok(Some(item)),
            Next::End => Ok(None),
            Next::Busy => Err(FacadeError::unexpected("a page that nobody asked for is under way")),
            Next::Fetch(turn) => {
                self.port.spawn(turn.work()?, ())?;
                match self.end()? {
                    Reply::Answer(Answer::Page(page)) => Ok(turn.finish(page)),
                    reply => Err(other(&reply)),
                }
            }
        }
    }

    fn cursor(&self, scan: &AsyncScan) -> Result<Option<Bytes>> {
        scan.cursor()
    }

    fn dump(&self, client: &AsyncClient, range: Range) -> Result<Vec<Item>> {
        client.dump(&self.port, range, CallOptions::default(), ())?;
        match self.end()? {
            Reply::Items(items) => Ok(items),
            reply => Err(other(&reply)),
        }
    }

    fn slot(&self, client: &AsyncClient, key: &[u8]) -> Result<u16> {
        Ok(client.core()?.slot(key))
    }
}
