//! Scans: the keys of a range, some at a time, with a cursor to go on from.

use std::any::Any;
use std::sync::Arc;

use slotkv_facade::blocking::BlockingScan;
use slotkv_facade::error::FacadeError;

use crate::bytes::slotkv_bytes;
use crate::client::{self, slotkv_client};
use crate::code::slotkv_code;
use crate::export::{check_place, export, export_waiting, hand_over};
use crate::options::{self, slotkv_call_options, slotkv_range};
use crate::result::slotkv_result;
use crate::shelf::Shelf;

/// Scans that a process may have open.
const SCANS_MAX: usize = 1 << 20;

static SCANS: Shelf<Scan> = Shelf::new(3, SCANS_MAX);

/// A scan's handle, for any number of threads: each item goes to one of them. 0 is none.
pub type slotkv_scan = u64;

/// Locks until what is returned is dropped.
pub(crate) fn hold() -> Box<dyn Any> {
    SCANS.hold()
}

struct Scan {
    scan: BlockingScan,
    call: slotkv_call_options,
}

// SAFETY: of the options only the function for interrupting and its context are used after the scan was made, by the
// threads of the host, which knows what it gave.
unsafe impl Send for Scan {}
// SAFETY: as above.
unsafe impl Sync for Scan {}

/// Begins a scan of a range, in slot order unless the range says otherwise. `range` may be NULL for all keys; `cursor`
/// comes from an earlier scan of the same range, also of another process, or has NULL data. The handle goes to `*scan`;
/// close it with slotkv_scan_close. Nothing is sent yet. What `options` say holds for each page; interrupt and its context
/// are used until the scan is closed.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_scan(
    client: slotkv_client,
    range: *const slotkv_range,
    cursor: slotkv_bytes,
    options: *const slotkv_call_options,
    scan: *mut slotkv_scan,
    result: *mut slotkv_result,
) -> slotkv_code {
    let begin = || {
        check_place(scan, "the scan's handle")?;
        let client = client::find(client)?;
        // SAFETY: the caller's promise.
        let (range, cursor, call) = unsafe {
            (
                options::read(range, "the range")?.core()?,
                cursor.copy_if_given("the cursor")?,
                options::read(options, "the call's options")?,
            )
        };
        // SAFETY: as above.
        let options = unsafe { call.core()? };
        let begun = Scan { scan: client.blocking.scan(range, cursor, None, options), call };
        let handle = SCANS.put(Arc::new(begun))?;
        // SAFETY: as above.
        unsafe { hand_over(scan, handle, "the scan's handle")? };
        Ok(slotkv_result::ok())
    };
    // SAFETY: as above.
    unsafe { export(result, begin) }
}

/// The next items, up to `items_max`: those that are here, and a page is fetched if none is. items_count is 0 behind the
/// last one only. After an error the same place is tried again.
///
/// # Safety
/// `result` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_scan_next(
    scan: slotkv_scan,
    items_max: usize,
    result: *mut slotkv_result,
) -> slotkv_code {
    let next = || {
        if items_max == 0 {
            return Err(crate::export::invalid("items_max is 0"));
        }
        let scan = SCANS.get(scan)?;
        let first = scan.scan.next(scan.call.interrupt())?;
        let more = std::iter::from_fn(|| scan.scan.take());
        slotkv_result::of_items(first.into_iter().chain(more).take(items_max).collect())
    };
    // SAFETY: the caller's promise.
    unsafe { export_waiting(result, next) }
}

/// Where the scan stands, behind the last item that was taken: cursor. Its data is NULL while none was taken and the scan
/// began at the beginning.
///
/// # Safety
/// `result` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_scan_cursor(scan: slotkv_scan, result: *mut slotkv_result) -> slotkv_code {
    let cursor = || {
        let scan = SCANS.get(scan)?;
        slotkv_result::of_cursor(scan.scan.cursor(scan.call.interrupt())?)
    };
    // SAFETY: the caller's promise.
    unsafe { export_waiting(result, cursor) }
}

/// Ends a scan and closes its handle.
///
/// # Safety
/// `result` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_scan_close(scan: slotkv_scan, result: *mut slotkv_result) -> slotkv_code {
    let close = || -> Result<slotkv_result, FacadeError> {
        SCANS.take(scan)?;
        Ok(slotkv_result::ok())
    };
    // SAFETY: the caller's promise.
    unsafe { export(result, close) }
}
