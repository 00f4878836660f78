//! Arguments out of JavaScript. Keys and values are `Uint8Array` or strings, which stand for their UTF-8. `lib/` has
//! checked the types, so what is refused here is a mistake of it.

use std::time::Duration;

use bytes::Bytes;
use napi::bindgen_prelude::FromNapiValue;
use napi::{Error, Result, Status, check_status, sys};
use napi_derive::napi;
use slotkv_facade::core::{CallOptions, Condition, ReadLevel};
use slotkv_facade::{core, settings};

/// Strings up to this length are read in one call.
const TEXT_BYTES_READ: usize = 512;

/// A key, a value or other bytes.
pub struct Payload(pub Bytes);

impl FromNapiValue for Payload {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        let mut kind = 0;
        // SAFETY: `env` and `value` are the engine's, live for this call, as for all calls below.
        check_status!(unsafe { sys::napi_typeof(env, value, &mut kind) })?;
        let bytes = if kind == sys::ValueType::napi_string { text(env, value)? } else { copy(env, value)? };
        Ok(Self(bytes))
    }
}

fn text(env: sys::napi_env, value: sys::napi_value) -> Result<Bytes> {
    let mut buffer = [0u8; TEXT_BYTES_READ];
    let mut length = 0;
    // SAFETY: the buffer has the length that is said.
    check_status!(unsafe {
        sys::napi_get_value_string_utf8(env, value, buffer.as_mut_ptr().cast(), buffer.len(), &mut length)
    })?;
    // A last character that did not fit is left out whole, of four bytes at most; one byte is for a NUL.
    if length + 5 <= buffer.len() {
        return Ok(Bytes::copy_from_slice(&buffer[..length]));
    }
    // SAFETY: without a buffer only the length is asked for.
    check_status!(unsafe {
        sys::napi_get_value_string_utf8(env, value, std::ptr::null_mut(), 0, &mut length)
    })?;
    let mut text = vec![0u8; length + 1];
    // SAFETY: as above.
    check_status!(unsafe {
        sys::napi_get_value_string_utf8(env, value, text.as_mut_ptr().cast(), text.len(), &mut length)
    })?;
    text.truncate(length);
    Ok(text.into())
}

fn copy(env: sys::napi_env, value: sys::napi_value) -> Result<Bytes> {
    let (mut kind, mut length, mut data) = (0, 0, std::ptr::null_mut());
    // SAFETY: the array's buffer and offset are not asked for.
    check_status!(unsafe {
        sys::napi_get_typedarray_info(
            env,
            value,
            &mut kind,
            &mut length,
            &mut data,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    })?;
    if kind != sys::TypedarrayType::uint8_array {
        return Err(Error::new(Status::InvalidArg, "bytes are a Uint8Array"));
    }
    if data.is_null() || length == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the engine says that so many bytes are there, and no JavaScript runs meanwhile.
    Ok(Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) }))
}

/// What `connect` is told; what is missing is the core's default.
#[napi(object, object_to_js = false)]
pub struct Settings {
    pub namespace: Option<String>,
    pub deadline_ms: Option<f64>,
    pub connect_timeout_ms: Option<f64>,
    pub ping_interval_ms: Option<f64>,
    pub inflight_max: Option<f64>,
    pub streams_per_member: Option<f64>,
    pub client_name: Option<String>,
    pub zone: Option<String>,
}

impl From<Settings> for settings::Settings {
    fn from(told: Settings) -> Self {
        let count = |count: Option<f64>| count.map(|count| count as usize);
        Self {
            namespace: told.namespace,
            deadline: told.deadline_ms.and_then(time),
            connect_timeout: told.connect_timeout_ms.and_then(time),
            ping_interval: told.ping_interval_ms.and_then(time),
            inflight_max: count(told.inflight_max),
            streams_per_member: count(told.streams_per_member),
            client_name: told.client_name,
            zone: told.zone,
            ..Self::new(concat!("node/", env!("CARGO_PKG_VERSION")))
        }
    }
}

/// Which keys.
#[napi(object, object_to_js = false)]
pub struct Range {
    pub prefix: Option<Payload>,
    pub start: Option<Payload>,
    pub end: Option<Payload>,
    pub ordered: Option<bool>,
    pub keys_only: Option<bool>,
    pub page_items: Option<u32>,
}

impl From<Range> for core::Range {
    fn from(told: Range) -> Self {
        let bytes = |bytes: Option<Payload>| bytes.map(|Payload(bytes)| bytes).unwrap_or_default();
        Self {
            prefix: bytes(told.prefix),
            start: bytes(told.start),
            end: bytes(told.end),
            ordered: told.ordered.unwrap_or(false),
            keys_only: told.keys_only.unwrap_or(false),
            items_max: told.page_items.unwrap_or(0),
        }
    }
}

/// What one call says differently from its client; 0 stands for no deadline of its own.
pub fn call_options(deadline_ms: f64) -> CallOptions {
    CallOptions { deadline: time(deadline_ms), ..CallOptions::default() }
}

/// A time in milliseconds; 0 stands for none.
pub fn time(ms: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(ms / 1000.0).ok().filter(|time| !time.is_zero())
}

/// How fresh reads are, as `lib/client.js` numbers it.
pub fn read_level(number: u32, staleness_ms: f64) -> Result<ReadLevel> {
    match number {
        0 => Ok(ReadLevel::Linearizable),
        1 => Ok(ReadLevel::Session),
        2 => Ok(ReadLevel::Bounded(time(staleness_ms).unwrap_or_default())),
        3 => Ok(ReadLevel::Stale),
        _ => Err(Error::new(Status::InvalidArg, format!("read level {number}"))),
    }
}

/// What must hold for a write, as `lib/client.js` numbers it.
pub fn condition(number: u32, version: u64) -> Result<Condition> {
    match number {
        0 => Ok(Condition::Always),
        1 => Ok(Condition::Absent),
        2 => Ok(Condition::Present),
        3 => Ok(Condition::Version(version)),
        _ => Err(Error::new(Status::InvalidArg, format!("condition {number}"))),
    }
}
