//! Staged: records of hand-overs on their way into the log, with a group.

use slotkv_migration::{Id, Record};
use slotkv_storage::{Error, LogRecord, Position};

use crate::{group::Group, handover::refused, replica::Replica};

/// Records of hand-overs in a group.
#[derive(Default)]
pub(crate) struct Staged {
    pub records: Vec<Record>,
    /// Of these there will be none: what another shard has sent cannot be carried out.
    pub dropped: Vec<Id>,
}

impl Staged {
    pub fn take_dropped(&mut self) -> Vec<Id> {
        std::mem::take(&mut self.dropped)
    }

    /// Whether others wait until one of them is settled.
    pub fn is_waited_for(&self) -> bool {
        self.records.iter().any(is_waited_for)
    }
}

/// Takes records into a group, behind everything else in it, and hands each to `log`.
pub(crate) fn stage(
    replica: &Replica,
    group: &mut Group,
    position: &mut Position,
    records: Vec<Record>,
    mut log: impl FnMut(&LogRecord) -> Result<(), Error>,
) -> Result<Staged, Error> {
    let mut staged = Staged::default();
    for record in records {
        let next = Position { index: position.index + 1, ..*position };
        match replica.stage_handover(group, next, &record) {
            Ok(logged) => {
                log(&logged)?;
                *position = next;
                staged.records.push(record);
            }
            Err(error @ (Error::Malformed { .. } | Error::NewerFormat { .. })) => {
                tracing::error!(%error, id = %record.id(), "a part of a hand-over is left out");
                staged.dropped.push(record.id());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(staged)
}

/// The record of a hand-over that a record of the log holds.
pub(crate) fn handover(logged: &LogRecord) -> Result<Record, Error> {
    Record::from_bytes(logged.handover.clone()).map_err(refused)
}

/// Whether others wait until a record is settled.
pub(crate) fn is_waited_for(record: &Record) -> bool {
    !matches!(record, Record::Stage { .. } | Record::Clean { is_last: false, .. })
}
