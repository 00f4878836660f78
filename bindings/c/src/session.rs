//! Sessions of their own: their reads are held to what their own calls have seen, whatever else the client does.

use std::any::Any;
use std::sync::Arc;

use slotkv_facade::core::Session;
use slotkv_facade::error::FacadeError;

use crate::bytes::slotkv_bytes;
use crate::code::slotkv_code;
use crate::export::{check_place, export, hand_over};
use crate::result::slotkv_result;
use crate::shelf::Shelf;

/// Sessions that a process may have open.
const SESSIONS_MAX: usize = 1 << 20;

static SESSIONS: Shelf<Session> = Shelf::new(5, SESSIONS_MAX);

/// A session's handle, for any number of threads, and for clients and queues of one cluster. 0 is none.
pub type slotkv_session = u64;

/// The session of a handle.
pub(crate) fn find(session: slotkv_session) -> Result<Session, FacadeError> {
    Ok(SESSIONS.get(session)?.as_ref().clone())
}

/// Locks until what is returned is dropped.
pub(crate) fn hold() -> Box<dyn Any> {
    SESSIONS.hold()
}

/// Opens a session that goes on where a token stands; of no bytes, one that has seen nothing. Calls whose options have it
/// add to it what they write and read. The handle goes to `*session`; close it with slotkv_session_close.
///
/// Codes: INVALID_ARGUMENT for what is no token, UNSUPPORTED for one of a newer library.
///
/// # Safety
/// Pointers are NULL or point to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_session_open(
    token: slotkv_bytes,
    session: *mut slotkv_session,
    result: *mut slotkv_result,
) -> slotkv_code {
    let open = || {
        check_place(session, "the session's handle")?;
        // SAFETY: the caller's promise.
        let token = unsafe { token.copy("the session token")? };
        let handle = SESSIONS.put(Arc::new(Session::from_token(&token)?))?;
        // SAFETY: as above.
        unsafe { hand_over(session, handle, "the session's handle")? };
        Ok(slotkv_result::ok())
    };
    // SAFETY: as above.
    unsafe { export(result, open) }
}

/// What a session has seen: value. Opaque bytes for slotkv_session_open, here or elsewhere.
///
/// # Safety
/// `result` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_session_seen(
    session: slotkv_session,
    result: *mut slotkv_result,
) -> slotkv_code {
    let seen = || slotkv_result::of_value(find(session)?.token());
    // SAFETY: the caller's promise.
    unsafe { export(result, seen) }
}

/// Closes a session's handle. Calls that are open go on with it.
///
/// # Safety
/// `result` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_session_close(
    session: slotkv_session,
    result: *mut slotkv_result,
) -> slotkv_code {
    let close = || -> Result<slotkv_result, FacadeError> {
        SESSIONS.take(session)?;
        Ok(slotkv_result::ok())
    };
    // SAFETY: the caller's promise.
    unsafe { export(result, close) }
}
