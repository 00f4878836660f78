//! Steps: what a party does, by the name of the step.

use crate::{Cursor, Outcome, Record, Said, Step, message::Body};

pub(crate) fn of_message(body: &Body) -> Step {
    match body {
        Body::Offer => Step::Offered,
        Body::Part { .. } => Step::PartSent,
        Body::Sealed { .. } => Step::TallySent,
        Body::Holds { .. } => Step::Answered,
    }
}

pub(crate) fn of_appended(record: &Record, is_source: bool) -> Step {
    match record {
        Record::Seal { .. } => Step::SealAppended,
        Record::Unseal { .. } => Step::UnsealAppended,
        Record::Stage { .. } => Step::StageAppended,
        Record::Imported { .. } => Step::ImportedAppended,
        Record::Clean { .. } if is_source => Step::CleanAppended,
        Record::Clean { .. } => Step::DiscardAppended,
    }
}

pub(crate) fn of_committed(record: &Record, is_source: bool) -> [Option<Step>; 2] {
    let step = match record {
        Record::Seal { .. } => Step::SealCommitted,
        Record::Unseal { .. } => Step::UnsealCommitted,
        Record::Stage { to, .. } => {
            let last = (to.cursor == Cursor::End).then_some(Step::LastStageCommitted);
            return [Some(Step::StageCommitted), last];
        }
        Record::Imported { .. } => Step::ImportedCommitted,
        Record::Clean { is_last, .. } => match (is_source, is_last) {
            (true, false) => Step::CleanHalfDone,
            (true, true) => Step::CleanDone,
            (false, false) => Step::DiscardHalfDone,
            (false, true) => Step::DiscardDone,
        },
    };
    [Some(step), None]
}

pub(crate) fn of_decision(outcome: Outcome, is_source: bool) -> Step {
    match (outcome, is_source) {
        (Outcome::Moved, true) => Step::SwitchReadBySource,
        (Outcome::Moved, false) => Step::SwitchReadByTarget,
        (Outcome::Aborted, true) => Step::AbortReadBySource,
        (Outcome::Aborted, false) => Step::AbortReadByTarget,
    }
}

pub(crate) fn of_report(said: &Said, outcome: Option<Outcome>, is_source: bool) -> Option<Step> {
    match (said, outcome, is_source) {
        (Said::Sealed, None, _) => Some(Step::SealReported),
        (Said::Imported, None, _) => Some(Step::ImportedReported),
        (Said::Done, Some(Outcome::Moved), true) => Some(Step::SourceReleased),
        (Said::Done, Some(Outcome::Moved), false) => Some(Step::TargetReleased),
        (Said::Done, Some(Outcome::Aborted), true) => Some(Step::SourceAborted),
        (Said::Done, Some(Outcome::Aborted), false) => Some(Step::TargetAborted),
        _ => None,
    }
}
