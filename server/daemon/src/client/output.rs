//! stdout, buffered, of which a reader may go away (`slotkv scan | head`): that is no error.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use slotkv::{Delete, Put};

use crate::{
    cli::exit::{Exit, Failure},
    lines::record,
};

/// stdout of a command.
pub(crate) struct Output(BufWriter<Stdout>);

/// A write to stdout: whether somebody still reads.
pub(crate) type Reading = Result<bool, Failure>;

impl Output {
    /// stdout.
    pub fn new() -> Self {
        Self(BufWriter::new(io::stdout()))
    }

    /// Whether a person reads it.
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Reading {
        reading(self.0.write_all(bytes))
    }

    /// Writes a line.
    pub fn line(&mut self, line: &str) -> Reading {
        reading(self.0.write_all(line.as_bytes()).and_then(|()| self.0.write_all(b"\n")))
    }

    /// Hands over what was written.
    pub fn flush(&mut self) -> Reading {
        reading(self.0.flush())
    }

    /// Hands everything over and ends the command.
    pub fn end(mut self, exit: Exit) -> Result<Exit, Failure> {
        reading(self.0.flush()).map(|_| exit)
    }
}

fn reading(outcome: io::Result<()>) -> Reading {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::io("cannot write to stdout", error)),
    }
}

/// Starts a JSON object with a key, as an export line does.
pub(crate) fn object(key: &[u8]) -> Vec<u8> {
    let mut line = vec![b'{'];
    record::push_field(&mut line, "key", key);
    line
}

/// Adds a number to a JSON object.
pub(crate) fn push_number(line: &mut Vec<u8>, name: &str, number: u64) {
    line.extend_from_slice(format!(",\"{name}\":{number}").as_bytes());
}

/// What a put did, in words and with the version that belongs to it.
pub(crate) fn put_words(put: Put) -> (&'static str, u64) {
    match put {
        Put::Created { version } => ("created", version),
        Put::Updated { version } => ("updated", version),
        Put::Unmet { version } => ("unmet", version),
    }
}

/// What a delete did, likewise.
pub(crate) fn delete_words(delete: Delete) -> (&'static str, u64) {
    match delete {
        Delete::Deleted { version } => ("deleted", version),
        Delete::NotFound => ("not found", 0),
        Delete::Unmet { version } => ("unmet", version),
    }
}

/// For an unmet condition: how the key stands.
pub(crate) fn standing(version: u64) -> String {
    match version {
        0 => "the key does not exist".to_owned(),
        version => format!("the key has version {version}"),
    }
}
