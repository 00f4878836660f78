//! The commands that are clients: how they reach the cluster, how their answers are shown.

pub(crate) mod check;
pub(crate) mod fleet;
pub(crate) mod listing;
pub(crate) mod moves;
pub(crate) mod operator;
pub(crate) mod output;
pub(crate) mod restart;
pub(crate) mod single;
pub(crate) mod slot;
pub(crate) mod status;
pub(crate) mod table;
mod watch;

use std::{ffi::OsString, time::Duration};

use slotkv::{Client, Error, Options, Outcome, Range, uri::Target};

use crate::{
    cli::{
        exit::{Exit, Failure},
        flags::{ClientFlags, RangeFlags},
    },
    members::explained,
    text,
};

/// Connects as the flags say.
pub(crate) async fn connect(flags: &ClientFlags) -> Result<Client, Failure> {
    connect_with(flags, Options::default()).await
}

/// Connects as the flags say, and as `options` where they say nothing.
pub(crate) async fn connect_with(flags: &ClientFlags, mut options: Options) -> Result<Client, Failure> {
    options.client_name = concat!("slotkv/", env!("CARGO_PKG_VERSION")).to_owned();
    let mut client = Client::connect_with(&flags.uri, options).await.map_err(failure)?;
    if let Some(deadline_ms) = flags.deadline_ms {
        client = client.with_deadline(Duration::from_millis(deadline_ms));
    }
    if let Some(namespace) = &flags.namespace {
        client = client.namespace(namespace).map_err(failure)?;
    }
    Ok(client)
}

/// Options of a client that has so many calls open at once, all to one shard if it so happens.
pub(crate) fn in_flight(count: u32) -> Options {
    let default = Options::default();
    Options { inflight_max: default.inflight_max.max(2 * count as usize), ..default }
}

/// The namespace that the flags, or else the URI, name.
pub(crate) fn namespace_of(flags: &ClientFlags) -> Result<String, Failure> {
    match &flags.namespace {
        Some(namespace) => Ok(namespace.clone()),
        None => Ok(Target::parse(&flags.uri).map_err(failure)?.namespace),
    }
}

/// How a command ends that met an error.
pub(crate) fn failure(error: Error) -> Failure {
    let exit = match (error.outcome, error.code) {
        (Outcome::Unknown, _) => Exit::Unknown,
        (_, slotkv::Code::InvalidArgument | slotkv::Code::TooLarge | slotkv::Code::Unsupported) => {
            Exit::Usage
        }
        _ => Exit::Failed,
    };
    Failure { exit, message: explained(&error) }
}

/// The bytes of an argument, with `escaped` after its escapes were read.
pub(crate) fn bytes_of(argument: &OsString, escaped: bool) -> Result<Vec<u8>, Failure> {
    let bytes = argument.as_encoded_bytes();
    if escaped { text::unescape(bytes).map_err(Failure::usage) } else { Ok(bytes.to_vec()) }
}

/// The range that flags name.
pub(crate) fn range_of(flags: &RangeFlags) -> Result<Range, Failure> {
    let bytes = |argument: &Option<OsString>| match argument {
        Some(argument) => bytes_of(argument, flags.escaped).map(Into::into),
        None => Ok(Default::default()),
    };
    Ok(Range {
        prefix: bytes(&flags.prefix)?,
        start: bytes(&flags.start)?,
        end: bytes(&flags.end)?,
        ..Range::default()
    })
}

#[cfg(test)]
mod tests {
    use slotkv::Code;

    use super::*;

    #[test]
    fn exit_codes_tell_wrong_usage_failure_and_unknown_outcome_apart() {
        let exit = |code, outcome| {
            let mut error = Error::new(code, "x");
            error.outcome = outcome;
            failure(error).exit
        };
        assert_eq!(exit(Code::TooLarge, Outcome::Failed), Exit::Usage);
        assert_eq!(exit(Code::Unavailable, Outcome::Failed), Exit::Failed);
        assert_eq!(exit(Code::Timeout, Outcome::Failed), Exit::Failed);
        assert_eq!(exit(Code::Timeout, Outcome::Unknown), Exit::Unknown);
    }

    #[test]
    fn an_error_is_shown_with_where_and_whether() {
        let mut error = Error::new(Code::Timeout, "no answer in 5 s");
        error.outcome = Outcome::Unknown;
        error.member = Some("127.0.0.1:7702".into());
        error.attempts = 3;
        let expected =
            "TIMEOUT: no answer in 5 s (it may have been applied, member 127.0.0.1:7702, 3 attempts)";
        assert_eq!(explained(&error), expected);
    }
}
