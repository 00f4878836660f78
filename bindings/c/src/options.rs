//! Structures that C fills in. The first field is their size as the program was compiled with it, so that they can grow:
//! fields that an older program does not have are 0, and 0 always stands for the default.

use std::ffi::{c_char, c_int, c_void};
use std::time::Duration;

use slotkv_facade::core::{CallOptions, Code, Range, ReadLevel, Session};
use slotkv_facade::error::FacadeError;
#[cfg(not(any(test, fuzzing)))]
use slotkv_facade::settings::Network;
use slotkv_facade::settings::Settings;

use crate::bytes::{self, slotkv_bytes};
use crate::code::slotkv_read_level;
use crate::export::invalid;
use crate::session::{self, slotkv_session};

/// Largest structure that a newer program may bring.
const STRUCTURE_BYTES_MAX: usize = 4096;

/// Asked about every 50 ms during a blocking call that takes that long, on the thread that made it; anything but 0 ends
/// the call with SLOTKV_CODE_CANCELLED.
pub type slotkv_interrupt = Option<unsafe extern "C" fn(context: *mut c_void) -> c_int>;

/// What slotkv_connect may be told. Start from slotkv_connect_options(); 0 and NULL stand for the default. What the URI
/// says of the same thing wins.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_connect_options {
    /// sizeof(slotkv_connect_options_t)
    pub size: usize,
    /// Namespace of calls that name none.
    pub namespace_name: *const c_char,
    /// The client's name, for people.
    pub client_name: *const c_char,
    /// Time for a call that names none, up to 300000; 5000.
    pub deadline_ms: u32,
    /// Time for connecting, and for one connection to a member, up to 300000; 5000.
    pub connect_timeout_ms: u32,
    /// How often the master is pinged, up to 300000; 300.
    pub ping_interval_ms: u32,
    /// Connections to each member, up to 16; 1.
    pub streams_per_member: u32,
    /// Calls open at once; further ones wait. Up to 1048576; 16384.
    pub inflight_max: u32,
    /// Not 0: slotkv_connect returns at once and the first blocking call connects. For programs that use queues only.
    pub is_lazy: u8,
    /// Where the client stands, by the name of a zone: reads that backups may answer go to those of the same zone, if there are
    /// any.
    pub zone: *const c_char,
}

/// What one call may say differently from its client. Start from slotkv_call_options(); 0 and NULL stand for the
/// client's.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_call_options {
    /// sizeof(slotkv_call_options_t)
    pub size: usize,
    /// Time for the call with all its attempts, up to 300000; of a scan, for each page.
    pub deadline_ms: u32,
    /// Namespace; "" for the one without a name.
    pub namespace_name: *const c_char,
    /// W3C traceparent of the caller's span.
    pub traceparent: *const c_char,
    /// Gives the call up, if it waits; not asked by calls on a queue, which slotkv_queue_cancel ends.
    pub interrupt: slotkv_interrupt,
    /// Given to interrupt.
    pub interrupt_context: *mut c_void,
    /// How fresh the answer of a read has to be, a slotkv_read_level_t; 0 for linearizable.
    pub read_level: u32,
    /// With SLOTKV_READ_LEVEL_BOUNDED: how old the answer may be, up to 300000.
    pub staleness_ms: u32,
    /// The same as session by a token, of slotkv_session_token or slotkv_session_seen here or elsewhere, to which the call adds
    /// nothing; NULL data for none.
    pub session_token: slotkv_bytes,
    /// Lifetime of the key, for calls that store something, up to 315360000000 (ten years); 0: it lives for ever.
    pub ttl_ms: u64,
    /// What a session's read may not be older than, of slotkv_session_open; the call adds what it writes and reads. 0 for all
    /// that the client has seen.
    pub session: slotkv_session,
}

/// Which keys: those that begin with prefix, from start on, below end. Start from slotkv_range(), which is all keys.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_range {
    /// sizeof(slotkv_range_t)
    pub size: usize,
    /// What the keys begin with.
    pub prefix: slotkv_bytes,
    /// The first key.
    pub start: slotkv_bytes,
    /// Behind the last key.
    pub end: slotkv_bytes,
    /// Items in a page, up to 10000; 1000.
    pub page_items: u32,
    /// Not 0: in key order, which costs more; else in slot order.
    pub is_ordered: u8,
    /// Not 0: without values.
    pub keys_only: u8,
}

/// A structure that begins with its size and whose zeros are its defaults.
///
/// # Safety
/// Every field may be all zeros, and none refuses any bits; `size` is the first.
pub(crate) unsafe trait Growing: Copy {}

// SAFETY: numbers, pointers and nullable functions; the size is the first.
unsafe impl Growing for slotkv_connect_options {}
// SAFETY: as above.
unsafe impl Growing for slotkv_call_options {}
// SAFETY: as above.
unsafe impl Growing for slotkv_range {}

/// Reads a structure of whatever size the program has it in; NULL stands for the defaults.
///
/// # Safety
/// `place` is NULL or points to as many bytes as its first field says.
pub(crate) unsafe fn read<T: Growing>(place: *const T, what: &str) -> Result<T, FacadeError> {
    // SAFETY: what the trait says.
    let mut value: T = unsafe { std::mem::zeroed() };
    if place.is_null() {
        return Ok(value);
    }
    if !place.is_aligned() {
        return Err(invalid(format!("{what} is not aligned")));
    }
    // SAFETY: the first field.
    let size = unsafe { place.cast::<usize>().read() };
    check_size::<T>(place, size, what)?;
    let known = size.min(size_of::<T>());
    // SAFETY: `known` bytes are there and have room.
    unsafe { std::ptr::copy_nonoverlapping(place.cast::<u8>(), (&raw mut value).cast(), known) };
    Ok(value)
}

/// Refuses a size that cannot be, and fields that this library does not know.
fn check_size<T>(place: *const T, size: usize, what: &str) -> Result<(), FacadeError> {
    // No program has one of half a pointer.
    let is_whole = size.is_multiple_of(align_of::<T>());
    if !is_whole || !(size_of::<usize>()..=STRUCTURE_BYTES_MAX).contains(&size) {
        return Err(invalid(format!("{what} says that it has {size} bytes; set size to its sizeof")));
    }
    if size > size_of::<T>() {
        // SAFETY: so many bytes are there.
        let unknown = unsafe {
            std::slice::from_raw_parts(place.cast::<u8>().add(size_of::<T>()), size - size_of::<T>())
        };
        if unknown.iter().any(|&byte| byte != 0) {
            let message = format!("{what} has options that this library does not know");
            return Err(FacadeError::new(Code::Unsupported, message));
        }
    }
    Ok(())
}

impl slotkv_connect_options {
    /// # Safety
    /// Texts are NULL or end with a 0.
    pub(crate) unsafe fn settings(&self) -> Result<Settings, FacadeError> {
        // SAFETY: the caller's promise.
        let (namespace, client_name, zone) = unsafe {
            (
                bytes::text(self.namespace_name, "the namespace")?,
                bytes::text(self.client_name, "the client's name")?,
                bytes::text(self.zone, "the zone")?,
            )
        };
        let count = |count: u32| (count > 0).then_some(count as usize);
        Ok(Settings {
            namespace,
            client_name,
            zone,
            deadline: time(self.deadline_ms),
            connect_timeout: time(self.connect_timeout_ms),
            ping_interval: time(self.ping_interval_ms),
            inflight_max: count(self.inflight_max),
            streams_per_member: count(self.streams_per_member),
            network: network(),
            ..Settings::new(concat!("c/", env!("CARGO_PKG_VERSION")))
        })
    }
}

impl slotkv_call_options {
    /// What the core is told.
    ///
    /// # Safety
    /// Texts are NULL or end with a 0.
    pub(crate) unsafe fn core(&self) -> Result<CallOptions, FacadeError> {
        // SAFETY: the caller's promise.
        let (namespace, traceparent, token) = unsafe {
            (
                bytes::text(self.namespace_name, "the namespace")?,
                bytes::text(self.traceparent, "the traceparent")?,
                self.session_token.copy_if_given("the session token")?,
            )
        };
        let session = match (token, self.session) {
            (Some(token), 0) => Some(Session::from_token(&token)?),
            (None, 0) => None,
            (None, session) => Some(session::find(session)?),
            (Some(_), _) => return Err(invalid("a session and a session token")),
        };
        let read_level = Some(self.read_level()?);
        Ok(CallOptions { deadline: time(self.deadline_ms), namespace, traceparent, read_level, session })
    }

    fn read_level(&self) -> Result<ReadLevel, FacadeError> {
        match self.read_level {
            level if level == slotkv_read_level::Linearizable as u32 => Ok(ReadLevel::Linearizable),
            level if level == slotkv_read_level::Session as u32 => Ok(ReadLevel::Session),
            level if level == slotkv_read_level::Bounded as u32 => {
                Ok(ReadLevel::Bounded(Duration::from_millis(self.staleness_ms.into())))
            }
            level if level == slotkv_read_level::Stale as u32 => Ok(ReadLevel::Stale),
            level => Err(invalid(format!("{level} is no read level"))),
        }
    }

    /// Asks the host whether to go on.
    pub(crate) fn interrupt(&self) -> impl FnMut() -> Result<(), FacadeError> + use<> {
        let (interrupt, context) = (self.interrupt, self.interrupt_context);
        move || match interrupt {
            // SAFETY: the host gave the function for this.
            Some(interrupt) if unsafe { interrupt(context) } != 0 => Err(FacadeError::cancelled()),
            _ => Ok(()),
        }
    }
}

impl slotkv_range {
    /// # Safety
    /// Bytes are NULL or as many as they say.
    pub(crate) unsafe fn core(&self) -> Result<Range, FacadeError> {
        // SAFETY: the caller's promise.
        let (prefix, start, end) = unsafe {
            (
                self.prefix.copy("the range's prefix")?,
                self.start.copy("the range's start")?,
                self.end.copy("the range's end")?,
            )
        };
        Ok(Range {
            prefix,
            start,
            end,
            ordered: self.is_ordered != 0,
            keys_only: self.keys_only != 0,
            items_max: self.page_items,
        })
    }
}

/// The network of every client: the real one.
#[cfg(not(any(test, fuzzing)))]
fn network() -> Option<Network> {
    None
}

#[cfg(any(test, fuzzing))]
use crate::fake::network;

fn time(milliseconds: u32) -> Option<Duration> {
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &slotkv_call_options) -> Result<slotkv_call_options, FacadeError> {
        // SAFETY: it is there, and so are the bytes that it says in these tests.
        unsafe { super::read(options, "options") }
    }

    fn zeroed() -> slotkv_call_options {
        // SAFETY: what the trait says.
        unsafe { std::mem::zeroed() }
    }

    #[test]
    fn an_older_program_s_structure_is_completed_with_defaults() {
        let size = std::mem::offset_of!(slotkv_call_options, namespace_name);
        let older =
            slotkv_call_options { size, deadline_ms: 7, namespace_name: c"behind".as_ptr(), ..zeroed() };
        let read = read(&older).unwrap();
        assert_eq!((read.deadline_ms, read.namespace_name.is_null()), (7, true));
    }

    #[test]
    fn a_newer_program_s_structure_is_taken_while_what_is_unknown_is_unused() {
        #[repr(C)]
        struct Newer(slotkv_call_options, u64);
        let size = size_of::<Newer>();
        let mut newer = Newer(slotkv_call_options { size, deadline_ms: 7, ..zeroed() }, 0);
        // SAFETY: as many bytes as it says.
        let read = |newer: &Newer| unsafe {
            super::read((&raw const *newer).cast::<slotkv_call_options>(), "options")
        };
        assert_eq!(read(&newer).unwrap().deadline_ms, 7);
        newer.1 = 1;
        assert_eq!(read(&newer).err().map(|error| error.code), Some(Code::Unsupported));
    }

    #[test]
    fn a_size_that_cannot_be_is_refused() {
        for size in [0, 1, 7, 20, 28, STRUCTURE_BYTES_MAX + 1, usize::MAX] {
            let error = read(&slotkv_call_options { size, ..zeroed() }).err();
            assert_eq!(error.map(|error| error.code), Some(Code::InvalidArgument), "{size}");
        }
    }
}
