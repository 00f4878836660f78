//! Numbers that C knows by names.

use std::ffi::{CStr, c_char};

use slotkv_facade::core::{Code, Outcome, Retry};

/// How a call ended. Numbers are stable; a newer library may have more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum slotkv_code {
    /// It succeeded.
    Ok = 0,
    /// An argument is not of the form the operation takes.
    InvalidArgument = 1,
    /// A key, value, batch or frame is past its limit.
    TooLarge = 2,
    /// The other side does not know this operation, version or option.
    Unsupported = 3,
    /// The credentials do not allow this.
    Denied = 4,
    /// The member belongs to another cluster.
    WrongCluster = 5,
    /// The value to increment is not a decimal number of 64 bits.
    NotANumber = 6,
    /// The sum does not fit into 64 bits.
    Overflow = 7,
    /// The slot belongs to another shard; the reply carries the correction.
    Moved = 10,
    /// The member is behind the client's slot table, or the slot is being handed over.
    Retry = 11,
    /// The member is not the primary of its shard in this epoch.
    NotPrimary = 12,
    /// The shard has too few replicas in sync, or no room on its disk, and takes no writes.
    ReadOnly = 13,
    /// A limit of requests in flight is reached.
    Overloaded = 14,
    /// No connection to the member could be made; nothing was sent.
    Unavailable = 15,
    /// None of the named members answered with a slot table.
    NoMaster = 16,
    /// The member is stopping and takes no new requests.
    ShuttingDown = 17,
    /// The deadline passed.
    Timeout = 20,
    /// The connection broke after the request was sent.
    ConnectionLost = 21,
    /// The primary stepped down after it had appended the write.
    SteppedDown = 22,
    /// The result of an earlier attempt is no longer kept; this attempt was not executed.
    Indeterminate = 23,
    /// The caller cancelled the call.
    Cancelled = 24,
    /// Stored data failed its checks and is not served.
    Damaged = 30,
    /// The client was closed.
    Closed = 40,
    /// The client was made before a fork; make a new one in the child.
    Forked = 41,
    /// An error that this build does not know; its text says more.
    Unexpected = 50,
}

// Beside the enumeration, because cbindgen does not look into macros.
macro_rules! codes {
    ($($variant:ident $name:literal)*) => {
        impl slotkv_code {
            pub(crate) fn name(self) -> &'static CStr {
                match self {
                    slotkv_code::Ok => c"OK",
                    $(slotkv_code::$variant => $name,)*
                }
            }

            fn from_number(number: i32) -> Option<Self> {
                let known = [slotkv_code::Ok, $(slotkv_code::$variant),*];
                known.into_iter().find(|&known| known as i32 == number)
            }
        }

        impl From<Code> for slotkv_code {
            fn from(code: Code) -> Self {
                match code { $(Code::$variant => slotkv_code::$variant,)* }
            }
        }
    };
}

codes! {
    InvalidArgument c"INVALID_ARGUMENT"
    TooLarge c"TOO_LARGE"
    Unsupported c"UNSUPPORTED"
    Denied c"DENIED"
    WrongCluster c"WRONG_CLUSTER"
    NotANumber c"NOT_A_NUMBER"
    Overflow c"OVERFLOW"
    Moved c"MOVED"
    Retry c"RETRY"
    NotPrimary c"NOT_PRIMARY"
    ReadOnly c"READ_ONLY"
    Overloaded c"OVERLOADED"
    Unavailable c"UNAVAILABLE"
    NoMaster c"NO_MASTER"
    ShuttingDown c"SHUTTING_DOWN"
    Timeout c"TIMEOUT"
    ConnectionLost c"CONNECTION_LOST"
    SteppedDown c"STEPPED_DOWN"
    Indeterminate c"INDETERMINATE"
    Cancelled c"CANCELLED"
    Damaged c"DAMAGED"
    Closed c"CLOSED"
    Forked c"FORKED"
    Unexpected c"UNEXPECTED"
}

/// Name of a code, as "TIMEOUT"; "UNEXPECTED" for a number that the library does not know. Static; nobody frees it.
#[unsafe(no_mangle)]
pub extern "C" fn slotkv_code_name(code: i32) -> *const c_char {
    slotkv_code::from_number(code).unwrap_or(slotkv_code::Unexpected).name().as_ptr()
}

/// Whether an operation that did not succeed was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum slotkv_outcome {
    /// Provably not, by none of its attempts.
    Failed = 1,
    /// It may have been applied, or may yet be.
    Unknown = 2,
}

impl From<Outcome> for slotkv_outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Failed => slotkv_outcome::Failed,
            Outcome::Unknown => slotkv_outcome::Unknown,
        }
    }
}

/// What may be done after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum slotkv_retry {
    /// The same call will fail again.
    Never = 1,
    /// The same call, at once.
    Reroute = 2,
    /// The same call, after a pause.
    Backoff = 3,
    /// The caller decides: the operation may have been applied.
    Ask = 4,
}

impl slotkv_retry {
    pub(crate) fn name(self) -> &'static CStr {
        match self {
            slotkv_retry::Never => c"never",
            slotkv_retry::Reroute => c"reroute",
            slotkv_retry::Backoff => c"backoff",
            slotkv_retry::Ask => c"ask",
        }
    }
}

impl From<Retry> for slotkv_retry {
    fn from(retry: Retry) -> Self {
        match retry {
            Retry::Never => slotkv_retry::Never,
            Retry::Reroute => slotkv_retry::Reroute,
            Retry::Backoff => slotkv_retry::Backoff,
            Retry::Ask => slotkv_retry::Ask,
        }
    }
}

/// What an operation did or found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum slotkv_status {
    /// The operation has no status.
    None = 0,
    /// Of a put: the key is new.
    Created = 1,
    /// Of a put: the key existed.
    Updated = 2,
    /// The condition did not hold and nothing was changed.
    Unmet = 3,
    /// Of a delete: the key is gone.
    Deleted = 4,
    /// There is no such key.
    NotFound = 5,
    /// The key exists.
    Found = 6,
    /// Of slotkv_outcome: the write was not applied and never will be.
    NotApplied = 7,
    /// Of slotkv_outcome: nobody knows any more.
    Forgotten = 8,
}

/// How fresh the answer of a read has to be. All but the first are answered by any replica that is fresh enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum slotkv_read_level {
    /// What the key holds at the time of the read. The primary answers.
    Linearizable = 0,
    /// Not older than what the session has written or read before.
    Session = 1,
    /// Older by no more than staleness_ms.
    Bounded = 2,
    /// Perhaps old, by however much.
    Stale = 3,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_table_has_its_number_and_name() {
        for &code in Code::ALL {
            let shown = slotkv_code::from(code);
            assert_eq!((shown as u32, shown.name().to_str()), (code.number(), Ok(code.name())));
            assert_eq!(slotkv_code::from_number(shown as i32), Some(shown));
        }
    }

    #[test]
    fn retry_classes_have_the_names_that_are_written_everywhere() {
        for retry in [Retry::Never, Retry::Reroute, Retry::Backoff, Retry::Ask] {
            assert_eq!(slotkv_retry::from(retry).name().to_str(), Ok(retry.name()));
        }
    }
}
