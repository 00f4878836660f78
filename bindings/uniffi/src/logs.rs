//! slotkv's logs on their way to the host.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use slotkv_facade::core::Code;
use slotkv_facade::error::FacadeError;
use slotkv_facade::fork;
use slotkv_facade::guard::guard;
use slotkv_facade::lock::Mutex;
use slotkv_facade::log::{self, Sink};
use slotkv_facade::signal::Callback;

use crate::errors::SlotkvError;

/// Name of the thread that calls the logger.
const THREAD_NAME: &str = "slotkv-logs";
/// How long taking a logger away waits for it to return.
const STOP_MS: u64 = 1_000;

/// How much a record matters.
#[derive(Clone, Copy, uniffi::Enum)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is not as it should be; slotkv copes.
    Warn,
    /// What an operator wants to read.
    Info,
    /// For whoever looks for a fault.
    Debug,
    /// Everything.
    Trace,
}

/// Something that slotkv has to say.
#[derive(uniffi::Record)]
pub struct LogRecord {
    /// How much it matters.
    pub level: LogLevel,
    /// The part that speaks, as `slotkv.connection`.
    pub target: String,
    /// The text, with its fields as `name=value` behind it.
    pub message: String,
    /// Records that were dropped just before this one, because the logger did not keep up.
    pub dropped_before: u64,
}

/// Who takes the logs.
#[uniffi::export(with_foreign)]
pub trait Logger: Send + Sync {
    /// Called with what there is to say, a batch at a time and never twice at once, on a thread of the library's.
    fn log(&self, records: Vec<LogRecord>);
}

static PUMP: Mutex<Option<fork::Owned<Pump>>> = Mutex::new(None);

struct Pump {
    tell: Sender<Told>,
    ended: Receiver<()>,
}

enum Told {
    Records,
    Stop,
}

/// Has the logs of this process's clients handed to `logger`, up to `level`, in place of the one before; none: nobody gets
/// them. The one before is not called any more when this returns; TIMEOUT if it does not return within a second.
#[uniffi::export(default(level = None))]
pub fn set_logger(logger: Option<Arc<dyn Logger>>, level: Option<LogLevel>) -> Result<(), SlotkvError> {
    let set = || {
        let before = PUMP.lock().take();
        if let Some(before) = before.and_then(fork::Owned::into_inner) {
            before.stop()?;
        }
        let pump = logger.map(|logger| Pump::start(logger, level.unwrap_or(LogLevel::Info))).transpose()?;
        let other = std::mem::replace(&mut *PUMP.lock(), pump.map(fork::Owned::new));
        // Set by another thread at the same time.
        drop(other);
        Ok(())
    };
    Ok(guard(set)?)
}

impl Pump {
    fn start(logger: Arc<dyn Logger>, level: LogLevel) -> Result<Self, FacadeError> {
        let (tell, told) = channel();
        let (end, ended) = channel();
        let wake = tell.clone();
        let sink = Sink::install(
            level.into(),
            Callback(move || {
                wake.send(Told::Records).ok();
            }),
        )?;
        let run = move || {
            let _end: Sender<()> = end;
            // Dropped before the end is told: a logger calls its host once more then.
            let (logger, sink) = (logger, sink);
            while let Ok(Told::Records) = told.recv() {
                let records: Vec<LogRecord> = sink.drain().into_iter().map(LogRecord::from).collect();
                if !records.is_empty() {
                    // A logger that throws has lost its records, and gets the next ones.
                    guard(|| {
                        logger.log(records);
                        Ok(())
                    })
                    .ok();
                }
            }
        };
        std::thread::Builder::new().name(THREAD_NAME.into()).spawn(run).map_err(|error| {
            FacadeError::new(Code::Unexpected, format!("cannot start the thread for logs: {error}"))
        })?;
        Ok(Self { tell, ended })
    }

    fn stop(&self) -> Result<(), FacadeError> {
        self.tell.send(Told::Stop).ok();
        let bound = Duration::from_millis(STOP_MS);
        match self.ended.recv_timeout(bound) {
            Err(RecvTimeoutError::Timeout) => Err(FacadeError::timed_out("the end of the logger", bound)),
            _ => Ok(()),
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.tell.send(Told::Stop).ok();
    }
}

impl From<LogLevel> for log::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => log::Level::Error,
            LogLevel::Warn => log::Level::Warn,
            LogLevel::Info => log::Level::Info,
            LogLevel::Debug => log::Level::Debug,
            LogLevel::Trace => log::Level::Trace,
        }
    }
}

impl From<log::Record> for LogRecord {
    fn from(record: log::Record) -> Self {
        Self {
            level: match record.level {
                log::Level::Error => LogLevel::Error,
                log::Level::Warn => LogLevel::Warn,
                log::Level::Info => LogLevel::Info,
                log::Level::Debug => LogLevel::Debug,
                log::Level::Trace => LogLevel::Trace,
            },
            target: record.target.replace("::", "."),
            message: record.message,
            dropped_before: record.dropped_before,
        }
    }
}
