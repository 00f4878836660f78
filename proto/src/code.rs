//! The table of error codes: a stable number for each kind, whether a retry can help, and whether the operation may
//! have been applied. Numbers are never used again; a number that this build does not know becomes
//! [`Code::Unexpected`].

/// What a client may do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The same call will fail again.
    Never,
    /// At once, by the corrected route.
    Reroute,
    /// After a pause.
    Backoff,
    /// The caller decides: the operation may have been applied.
    Ask,
}

impl Retry {
    /// Lower-case name, as documentation and bindings show it.
    pub const fn name(self) -> &'static str {
        match self {
            Retry::Never => "never",
            Retry::Reroute => "reroute",
            Retry::Backoff => "backoff",
            Retry::Ask => "ask",
        }
    }
}

/// Whether the attempt that met the error was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Applied {
    /// Provably not.
    No,
    /// It may have been.
    Maybe,
}

macro_rules! codes {
    ($($number:literal $variant:ident $name:literal $retry:ident $applied:ident $text:literal;)*) => {
        /// An error kind; see [`Code::ALL`] for the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Code {
            $(#[doc = $text] $variant = $number,)*
        }

        impl Code {
            /// Every code, by number.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// The code of a number on the wire; `None` for one that this build does not know.
            pub const fn from_number(number: u32) -> Option<Code> {
                match number {
                    $($number => Some(Code::$variant),)*
                    _ => None,
                }
            }

            /// Stable upper-case name.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// What a client may do.
            pub const fn retry(self) -> Retry {
                match self { $(Code::$variant => Retry::$retry,)* }
            }

            /// Whether the attempt was applied.
            pub const fn applied(self) -> Applied {
                match self { $(Code::$variant => Applied::$applied,)* }
            }

            /// One sentence for people.
            pub const fn text(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }
        }
    };
}

codes! {
    1  InvalidArgument "INVALID_ARGUMENT" Never No "An argument is not of the form the operation takes.";
    2  TooLarge "TOO_LARGE" Never No "A key, value, batch or frame is past its limit.";
    3  Unsupported "UNSUPPORTED" Never No "The other side does not know this operation, version or option.";
    4  Denied "DENIED" Never No "The credentials do not allow this.";
    5  WrongCluster "WRONG_CLUSTER" Never No "The member belongs to another cluster.";
    6  NotANumber "NOT_A_NUMBER" Never No "The value to increment is not a decimal number of 64 bits.";
    7  Overflow "OVERFLOW" Never No "The sum does not fit into 64 bits.";
    10 Moved "MOVED" Reroute No "The slot belongs to another shard; the reply carries the correction.";
    11 Retry "RETRY" Backoff No "The member is behind the client's slot table, or the slot is being handed over.";
    12 NotPrimary "NOT_PRIMARY" Reroute No "The member is not the primary of its shard in this epoch.";
    13 ReadOnly "READ_ONLY" Backoff No "The shard has too few replicas in sync, or no room on its disk, and takes no writes.";
    14 Overloaded "OVERLOADED" Backoff No "A limit of requests in flight is reached.";
    15 Unavailable "UNAVAILABLE" Backoff No "No connection to the member could be made; nothing was sent.";
    16 NoMaster "NO_MASTER" Backoff No "None of the named members answered with a slot table.";
    17 ShuttingDown "SHUTTING_DOWN" Backoff No "The member is stopping and takes no new requests.";
    20 Timeout "TIMEOUT" Ask Maybe "The deadline passed.";
    21 ConnectionLost "CONNECTION_LOST" Ask Maybe "The connection broke after the request was sent.";
    22 SteppedDown "STEPPED_DOWN" Ask Maybe "The primary stepped down after it had appended the write.";
    23 Indeterminate "INDETERMINATE" Ask Maybe "The result of an earlier attempt is no longer kept; this attempt was not executed.";
    24 Cancelled "CANCELLED" Ask Maybe "The caller cancelled the call.";
    30 Damaged "DAMAGED" Never Maybe "Stored data failed its checks and is not served.";
    40 Closed "CLOSED" Never No "The client was closed.";
    41 Forked "FORKED" Never No "The client was made before a fork; make a new one in the child.";
    50 Unexpected "UNEXPECTED" Ask Maybe "An error that this build does not know; its text says more.";
}

impl Code {
    /// The number on the wire.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The code of a number on the wire; unknown ones become [`Code::Unexpected`].
    pub const fn from_wire(number: u32) -> Code {
        match Code::from_number(number) {
            Some(code) => code,
            None => Code::Unexpected,
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// An error as unary gRPC calls carry it: the nearest gRPC code for tools that know no other, and number and name of
/// ours at the start of the message, as in `5 WRONG_CLUSTER: this is cluster 4f, the request is for 5e`.
pub fn status_of(code: Code, text: impl std::fmt::Display) -> tonic::Status {
    tonic::Status::new(grpc_code_of(code), format!("{} {}: {text}", code.number(), code.name()))
}

/// The code that [`status_of`] put into a status; `None` if another party made the status, as gRPC itself does when a
/// connection breaks. A number that this build does not know is [`Code::Unexpected`].
pub fn code_of(status: &tonic::Status) -> Option<Code> {
    let (head, _) = status.message().split_once(": ")?;
    let (number, name) = head.split_once(' ')?;
    let code = number.parse().ok().map(Code::from_wire)?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    (is_name && number != "0").then_some(code)
}

fn grpc_code_of(code: Code) -> tonic::Code {
    match code {
        Code::InvalidArgument | Code::TooLarge => tonic::Code::InvalidArgument,
        Code::Unsupported => tonic::Code::Unimplemented,
        Code::Denied => tonic::Code::PermissionDenied,
        Code::WrongCluster
        | Code::NotANumber
        | Code::Moved
        | Code::NotPrimary
        | Code::ReadOnly
        | Code::Closed
        | Code::Forked => tonic::Code::FailedPrecondition,
        Code::Overflow => tonic::Code::OutOfRange,
        Code::Overloaded => tonic::Code::ResourceExhausted,
        Code::Retry | Code::Unavailable | Code::NoMaster | Code::ShuttingDown | Code::ConnectionLost => {
            tonic::Code::Unavailable
        }
        Code::Timeout => tonic::Code::DeadlineExceeded,
        Code::SteppedDown | Code::Indeterminate => tonic::Code::Aborted,
        Code::Cancelled => tonic::Code::Cancelled,
        Code::Damaged => tonic::Code::DataLoss,
        Code::Unexpected => tonic::Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_golden_file() {
        let table: String = Code::ALL
            .iter()
            .map(|code| {
                let applied = if code.applied() == Applied::No { "no" } else { "maybe" };
                format!("{} {} {} {applied}\n", code.number(), code.name(), code.retry().name())
            })
            .collect();
        assert_eq!(table, include_str!("../vectors/codes.txt"));
    }

    #[test]
    fn an_unknown_number_becomes_unexpected() {
        assert_eq!(Code::from_wire(4711), Code::Unexpected);
        for &code in Code::ALL {
            assert_eq!(Code::from_wire(code.number()), code);
        }
    }

    #[test]
    fn every_code_survives_the_way_through_a_grpc_status() {
        for &code in Code::ALL {
            let status = status_of(code, "one: two");
            assert_eq!(code_of(&status), Some(code));
            assert_ne!(status.code(), tonic::Code::Ok);
            assert_eq!(status.message(), format!("{} {}: one: two", code.number(), code.name()));
        }
    }

    #[test]
    fn a_status_of_another_party_has_no_code_of_ours() {
        for message in
            ["", "transport error", "5", "5 : x", "5 wrong: x", "0 OK: x", "-1 X: x", "tcp 10 A: x"]
        {
            assert_eq!(code_of(&tonic::Status::unavailable(message)), None, "{message:?}");
        }
        assert_eq!(code_of(&tonic::Status::unavailable("4711 NEW_KIND: x")), Some(Code::Unexpected));
    }

    #[test]
    fn what_may_be_rerouted_was_provably_not_applied() {
        for &code in Code::ALL {
            if matches!(code.retry(), Retry::Reroute | Retry::Backoff) {
                assert_eq!(code.applied(), Applied::No, "{code}");
            }
        }
    }
}
