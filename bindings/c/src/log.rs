//! The library's log on its way to a callback. Without one, nothing is logged anywhere.

use std::any::Any;
use std::ffi::{CString, c_char, c_void};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use slotkv_facade::core::Code;
use slotkv_facade::error::FacadeError;
use slotkv_facade::fork;
use slotkv_facade::lock::Mutex;
use slotkv_facade::log::{Level, Record, Sink};
use slotkv_facade::signal::Callback;

use crate::code::slotkv_code;
use crate::export::{export_waiting, invalid};
use crate::result::slotkv_result;

/// Name of the thread that calls back.
const THREAD_NAME: &str = "slotkv-logs";
/// How long taking a callback away waits for it to return.
const STOP_MS: u64 = 1_000;

/// How much a record matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum slotkv_level {
    /// No records at all.
    Off = 0,
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

/// One record. It lives until the callback returns.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_record {
    /// How much it matters.
    pub level: slotkv_level,
    /// The module that speaks, as "slotkv::connection".
    pub target: *const c_char,
    /// The text, with its fields as name=value behind it.
    pub message: *const c_char,
    /// Records that were dropped just before this one, because the callback did not keep up.
    pub dropped_before: u64,
}

/// Called with records, one at a time, on a thread of the library's own.
pub type slotkv_log_callback =
    Option<unsafe extern "C" fn(context: *mut c_void, record: *const slotkv_record)>;

static PUMP: Mutex<Option<fork::Owned<Pump>>> = Mutex::new(None);

/// Locks until what is returned is dropped.
pub(crate) fn hold() -> Box<dyn Any> {
    Box::new(PUMP.lock())
}

struct Pump {
    tell: Sender<Told>,
    ended: Receiver<()>,
}

enum Told {
    Records,
    Stop,
}

/// Sends records up to `level`, a slotkv_level_t, to `callback` with `context` from now on, in place of the one before;
/// SLOTKV_LEVEL_OFF or NULL for nobody. The one before is not called any more when this returns. It is the process's: all
/// clients speak there. A forked child sets its own.
///
/// Codes: INVALID_ARGUMENT; TIMEOUT if the callback before does not return within a second.
///
/// # Safety
/// `result` is NULL or has room; the callback may be called with the context until another takes its place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_log(
    level: u32,
    callback: slotkv_log_callback,
    context: *mut c_void,
    result: *mut slotkv_result,
) -> slotkv_code {
    let set = || {
        let level = match level {
            0 => None,
            1 => Some(Level::Error),
            2 => Some(Level::Warn),
            3 => Some(Level::Info),
            4 => Some(Level::Debug),
            5 => Some(Level::Trace),
            other => return Err(invalid(format!("{other} is no level"))),
        };
        let before = PUMP.lock().take();
        if let Some(before) = before.and_then(fork::Owned::into_inner) {
            before.stop()?;
        }
        if let (Some(level), Some(callback)) = (level, callback) {
            let pump = Pump::start(level, Host { callback, context })?;
            let other = PUMP.lock().replace(fork::Owned::new(pump));
            // Set by another thread at the same time.
            drop(other);
        }
        Ok(slotkv_result::ok())
    };
    // SAFETY: the caller's promise.
    unsafe { export_waiting(result, set) }
}

struct Host {
    callback: unsafe extern "C" fn(context: *mut c_void, record: *const slotkv_record),
    context: *mut c_void,
}

// SAFETY: the host gave them for use by the library's thread.
unsafe impl Send for Host {}

impl Host {
    fn call(&self, record: Record) {
        let text = |text: String| CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
        let (target, message) = (text(record.target), text(record.message));
        let shown = slotkv_record {
            level: match record.level {
                Level::Error => slotkv_level::Error,
                Level::Warn => slotkv_level::Warn,
                Level::Info => slotkv_level::Info,
                Level::Debug => slotkv_level::Debug,
                Level::Trace => slotkv_level::Trace,
            },
            target: target.as_ptr(),
            message: message.as_ptr(),
            dropped_before: record.dropped_before,
        };
        // SAFETY: the host gave the function for this; the texts outlive the call.
        unsafe { (self.callback)(self.context, &raw const shown) };
    }
}

impl Pump {
    fn start(level: Level, host: Host) -> Result<Self, FacadeError> {
        let (tell, told) = channel();
        let (end, ended) = channel();
        let wake = tell.clone();
        let sink = Sink::install(
            level,
            Callback(move || {
                wake.send(Told::Records).ok();
            }),
        )?;
        let run = move || {
            let _end: Sender<()> = end;
            let host = host;
            while let Ok(Told::Records) = told.recv() {
                sink.drain().into_iter().for_each(|record| host.call(record));
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
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                Err(FacadeError::timed_out("the end of the log callback", bound))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.tell.send(Told::Stop).ok();
    }
}
