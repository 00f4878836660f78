//! slotkv's logs on their way to a JavaScript function. Each environment that wants them has a sink of its own.

use std::cell::RefCell;

use napi_derive::napi;
use slotkv_facade::core::Code;
use slotkv_facade::error::FacadeError;
use slotkv_facade::log::{self, Level, Sink};
use slotkv_facade::signal::{Callback, Wake};

/// The sink of an environment, if it has one.
#[derive(Default)]
pub struct Logs(RefCell<Option<Sink>>);

/// One event.
#[napi(object, object_from_js = false, js_name = "LogRecord")]
pub struct Record {
    pub level: &'static str,
    pub target: String,
    pub message: String,
    pub dropped_before: f64,
}

impl Logs {
    /// No logs yet.
    pub fn new() -> Result<Self, FacadeError> {
        // Threads look once whether the process has ever had a sink. One that comes later than the runtime is to find
        // something, too.
        drop(Sink::install(Level::Error, Callback(|| {}))?);
        Ok(Self::default())
    }

    /// Asks for records up to `level`, 1 for errors to 5 for everything.
    pub fn set_level(&self, level: Option<u32>, wake: impl Wake) -> Result<(), FacadeError> {
        let Some(level) = level else {
            self.stop();
            return Ok(());
        };
        let level = match level {
            1 => Level::Error,
            2 => Level::Warn,
            3 => Level::Info,
            4 => Level::Debug,
            5 => Level::Trace,
            _ => return Err(FacadeError::new(Code::InvalidArgument, format!("{level} is no level of logs"))),
        };
        if let Some(sink) = &*self.0.borrow() {
            sink.set_level(level);
            return Ok(());
        }
        self.0.replace(Some(Sink::install(level, wake)?));
        Ok(())
    }

    /// Asks for nothing any more.
    pub fn stop(&self) {
        drop(self.0.take());
    }

    /// The records that wait.
    pub fn take(&self) -> Vec<Record> {
        let records = self.0.borrow().as_ref().map(Sink::drain).unwrap_or_default();
        records.into_iter().map(Record::from).collect()
    }
}

impl From<log::Record> for Record {
    fn from(record: log::Record) -> Self {
        Self {
            level: match record.level {
                Level::Error => "error",
                Level::Warn => "warn",
                Level::Info => "info",
                Level::Debug => "debug",
                Level::Trace => "trace",
            },
            target: record.target.replace("::", "."),
            message: record.message,
            dropped_before: record.dropped_before as f64,
        }
    }
}
