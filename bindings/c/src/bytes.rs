//! Bytes and texts that come from C. They are read during the call, and never past what is allowed.

use std::ffi::{CStr, c_char, c_void};

use bytes::Bytes;
use slotkv_facade::core::Code;
use slotkv_facade::error::FacadeError;

use crate::export::invalid;

/// Longest bytes that are copied; the core's own limits are below it, with errors that name them.
const BYTES_MAX: usize = 20 << 20;
/// Longest text, its end included.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Bytes of any kind, not ended by a 0. In arguments they are the caller's and read during the call only; in results they
/// are the result's.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_bytes {
    /// The first of them. NULL stands for no bytes, where some may be left out.
    pub data: *const c_void,
    /// How many there are.
    pub size: usize,
}

impl slotkv_bytes {
    /// No bytes at all.
    pub(crate) const NONE: Self = Self { data: std::ptr::null(), size: 0 };

    /// A view of `bytes`, for as long as they live. Of none it is a place that there is: hosts with pointers of their own,
    /// as Go, stumble over Rust's, which is 1.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        static EMPTY: u8 = 0;
        let data = if bytes.is_empty() { &raw const EMPTY } else { bytes.as_ptr() };
        Self { data: data.cast(), size: bytes.len() }
    }

    /// Copies what C gave; `what` for the error.
    ///
    /// # Safety
    /// `data` is NULL or points to `size` bytes.
    pub(crate) unsafe fn copy(self, what: &str) -> Result<Bytes, FacadeError> {
        if self.size > BYTES_MAX {
            let message = format!("{what} has {} bytes; at most {BYTES_MAX} can be sent", self.size);
            return Err(FacadeError::new(Code::TooLarge, message));
        }
        if self.size == 0 {
            return Ok(Bytes::new());
        }
        if self.data.is_null() {
            return Err(invalid(format!("{what} is NULL and has {} bytes", self.size)));
        }
        // SAFETY: the caller's promise.
        Ok(Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(self.data.cast(), self.size) }))
    }

    /// The same, where NULL stands for nothing given.
    ///
    /// # Safety
    /// As for [`slotkv_bytes::copy`].
    pub(crate) unsafe fn copy_if_given(self, what: &str) -> Result<Option<Bytes>, FacadeError> {
        if self.data.is_null() && self.size == 0 {
            return Ok(None);
        }
        // SAFETY: the caller's promise.
        unsafe { self.copy(what) }.map(Some)
    }
}

/// A text that C gave, `None` for NULL; `what` for the error.
///
/// # Safety
/// `text` is NULL or ends with a 0.
pub(crate) unsafe fn text(text: *const c_char, what: &str) -> Result<Option<String>, FacadeError> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
    if bytes.len() >= TEXT_BYTES_MAX {
        let message = format!("{what} has {} bytes; it has fewer than {TEXT_BYTES_MAX}", bytes.len());
        return Err(FacadeError::new(Code::TooLarge, message));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| invalid(format!("{what} is not UTF-8")))?;
    Ok(Some(text.into()))
}

/// An array that C gave; `what` for the error.
///
/// # Safety
/// `first` is NULL or points to `count` values that live as long as `'a`.
pub(crate) unsafe fn array<'a, T>(first: *const T, count: usize, what: &str) -> Result<&'a [T], FacadeError> {
    if count == 0 {
        return Ok(&[]);
    }
    if first.is_null() {
        return Err(invalid(format!("{what} is NULL, and there are {count} of them")));
    }
    if !first.is_aligned() || count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(invalid(format!("{what} is no array of {count}")));
    }
    // SAFETY: the caller's promise; aligned and not too long.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}
