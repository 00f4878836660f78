//! What to do after an attempt that brought no result: pure decisions, no clock, no socket.

use std::{sync::Arc, time::Duration};

use slotkv_proto::{Code, Retry, seam::Chance};

use crate::{Error, Outcome, call::History};

/// Attempts of one call; its deadline nearly always ends it before.
pub(crate) const ATTEMPTS_MAX: u32 = 1000;
/// Redirects that a call follows at once; then it pauses.
pub(crate) const REDIRECTS_AT_ONCE_MAX: u32 = 8;
/// First pause before another attempt, in milliseconds; doubled each time, with jitter.
pub(crate) const PAUSE_MS_FIRST: u64 = 4;
/// Longest pause before another attempt, in milliseconds.
pub(crate) const PAUSE_MS_MAX: u64 = 500;
/// Longest pause after a refusal that [`passes_soon`], in milliseconds, the first [`PAUSES_SOON_MAX`] times.
pub(crate) const PAUSE_SOON_MS_MAX: u64 = 32;
/// So often a call pauses so shortly; then the trouble lasts.
pub(crate) const PAUSES_SOON_MAX: u32 = 60;
/// Longest pause that a member may ask for, in milliseconds.
pub(crate) const PAUSE_ASKED_MS_MAX: u64 = 10_000;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It ends with this error.
    End,
    /// It goes again as soon as the table has been corrected.
    Reroute,
    /// It goes again after a pause.
    Pause,
    /// It goes again at once, as a new write: the member no longer knows whether it saw the old one, and the client
    /// knows that it did not.
    Renew,
}

/// Decides by the code of the latest attempt and by what happened before it.
pub(crate) fn judge(code: Code, write: bool, history: &History) -> Verdict {
    if history.attempts >= ATTEMPTS_MAX {
        return Verdict::End;
    }
    let at_once = history.redirects < REDIRECTS_AT_ONCE_MAX;
    match code {
        Code::ConnectionLost | Code::SteppedDown | Code::Timeout => Verdict::Pause,
        Code::Indeterminate if write && history.unknown.is_none() && at_once => Verdict::Renew,
        Code::Indeterminate if write && history.unknown.is_none() => Verdict::Pause,
        _ => match code.retry() {
            Retry::Reroute if at_once => Verdict::Reroute,
            Retry::Reroute | Retry::Backoff => Verdict::Pause,
            Retry::Never | Retry::Ask => Verdict::End,
        },
    }
}

/// Whether an answer shows that no earlier attempt of the same write was applied: these are decided when the write's turn
/// comes, after the stored results have been looked through.
fn resolves(code: Code) -> bool {
    matches!(code, Code::NotANumber | Code::Overflow)
}

/// The error of a call that ends.
pub(crate) fn verdict_error(mut error: Error, write: bool, history: &History) -> Error {
    error.attempts = history.attempts;
    error.outcome = Outcome::Failed;
    if write
        && !resolves(error.code)
        && let Some(unknown) = &history.unknown
    {
        error.outcome = Outcome::Unknown;
        if unknown.code != error.code {
            error.source = Some(Arc::new(unknown.clone()));
        }
    }
    error.retry = match (error.outcome, error.code) {
        (Outcome::Unknown, _) => Retry::Ask,
        (Outcome::Failed, Code::Timeout | Code::ConnectionLost | Code::SteppedDown) => Retry::Backoff,
        (Outcome::Failed, code) => code.retry(),
    };
    error
}

/// The error of a call whose deadline passes while it is not with a member: that of its last attempt, if there was one.
pub(crate) fn deadline_error(write: bool, history: &History) -> Error {
    let error = match &history.last {
        Some(last) => {
            let mut error = last.clone();
            error.message =
                format!("{} (the deadline passed after {} attempts)", last.message, history.attempts);
            error
        }
        None => Error::new(Code::Timeout, "the deadline passed while the call waited for room in the client"),
    };
    verdict_error(error, write, history)
}

/// How long to pause: doubling, with jitter, and not less than the member asked for.
pub(crate) fn pause(pauses: u32, asked_ms: u32, soon: bool, chance: &dyn Chance) -> Duration {
    let bound = if soon && pauses < PAUSES_SOON_MAX { PAUSE_SOON_MS_MAX } else { PAUSE_MS_MAX };
    let longest = (PAUSE_MS_FIRST << pauses.min(16)).min(bound);
    let own = longest / 2 + chance.below(longest / 2 + 1);
    Duration::from_millis(own.max(u64::from(asked_ms).min(PAUSE_ASKED_MS_MAX)))
}

/// Whether a member refuses so while its shard gets a primary, which takes a moment and is not told to anybody.
pub(crate) fn passes_soon(code: Code) -> bool {
    matches!(code, Code::NotPrimary | Code::Retry | Code::ReadOnly)
}

/// Whether a changed table may help a call that pauses for this.
pub(crate) fn by_route(code: Code) -> bool {
    matches!(
        code,
        Code::Moved
            | Code::NotPrimary
            | Code::Unavailable
            | Code::ShuttingDown
            | Code::ConnectionLost
            | Code::SteppedDown
    )
}

#[cfg(test)]
mod tests {
    use slotkv_proto::seam::SeededChance;

    use super::*;

    fn unknown() -> History {
        let unknown = Some(Error::new(Code::ConnectionLost, "lost"));
        History { attempts: 2, unknown, ..History::default() }
    }

    #[test]
    fn every_code_has_a_verdict() {
        let first = History { attempts: 1, ..History::default() };
        for &code in Code::ALL {
            let verdict = judge(code, true, &first);
            let expected = match code {
                Code::Moved | Code::NotPrimary => Verdict::Reroute,
                Code::Retry | Code::ReadOnly | Code::Overloaded | Code::Unavailable => Verdict::Pause,
                Code::NoMaster | Code::ShuttingDown => Verdict::Pause,
                Code::Timeout | Code::ConnectionLost | Code::SteppedDown => Verdict::Pause,
                Code::Indeterminate => Verdict::Renew,
                _ => Verdict::End,
            };
            assert_eq!(verdict, expected, "{code}");
        }
    }

    #[test]
    fn nothing_goes_on_for_ever() {
        let mut history = History { attempts: 9, redirects: REDIRECTS_AT_ONCE_MAX, ..History::default() };
        assert_eq!(judge(Code::Moved, true, &history), Verdict::Pause);
        assert_eq!(judge(Code::Indeterminate, true, &history), Verdict::Pause);
        history.attempts = ATTEMPTS_MAX;
        for &code in Code::ALL {
            assert_eq!(judge(code, true, &history), Verdict::End, "{code}");
        }
    }

    #[test]
    fn a_forgotten_result_after_an_attempt_that_may_have_been_applied_is_unknown() {
        assert_eq!(judge(Code::Indeterminate, true, &unknown()), Verdict::End);
        let error = verdict_error(Error::new(Code::Indeterminate, ""), true, &unknown());
        assert_eq!((error.outcome, error.retry), (Outcome::Unknown, Retry::Ask));
    }

    #[test]
    fn a_write_is_failed_only_if_every_attempt_was_provably_not_applied() {
        let refused = Error::new(Code::ReadOnly, "read-only");
        assert_eq!(verdict_error(refused.clone(), true, &History::default()).outcome, Outcome::Failed);
        let error = verdict_error(refused.clone(), true, &unknown());
        assert_eq!((error.outcome, error.retry, error.attempts), (Outcome::Unknown, Retry::Ask, 2));
        assert!(error.source.is_some_and(|source| source.to_string().contains("CONNECTION_LOST")));
        assert_eq!(verdict_error(refused, false, &unknown()).outcome, Outcome::Failed);
        let evaluated = Error::new(Code::Overflow, "");
        assert_eq!(verdict_error(evaluated, true, &unknown()).outcome, Outcome::Failed);
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_honour_the_member_within_another() {
        let chance = SeededChance::new(1);
        for pauses in 0..40 {
            let longest = (PAUSE_MS_FIRST << pauses.min(16)).min(PAUSE_MS_MAX);
            let soon = pause(pauses, 0, true, &chance).as_millis() as u64;
            assert!(soon <= PAUSE_SOON_MS_MAX || pauses >= PAUSES_SOON_MAX, "{pauses}: {soon}");
            let pause = pause(pauses, 0, false, &chance).as_millis() as u64;
            assert!((longest / 2..=longest).contains(&pause), "{pauses}: {pause}");
        }
        assert_eq!(pause(0, 700, false, &chance), Duration::from_millis(700));
        assert_eq!(pause(0, u32::MAX, true, &chance), Duration::from_millis(PAUSE_ASKED_MS_MAX));
    }
}
