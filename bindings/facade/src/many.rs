//! Calls on many keys: when some of them failed, the call as a whole has one error.

use slotkv::{Answer, Code, Error, Outcome};

use crate::error::FacadeError;

/// The answer of a call on `count` keys by a closed client: a call on many keys fails by the key, as the core has it.
pub fn closed(count: usize) -> Answer {
    Answer::Many(vec![Err(Error::new(Code::Closed, FacadeError::closed().message)); count])
}

/// The error of a call on many keys whose results are `answers`; `None` if no key failed.
///
/// It is the first key's that failed, with the number of those that did. Its outcome is unknown if any key's is, and it
/// may be repeated without thinking only if every error may.
pub fn failure(answers: &[slotkv::Result<Answer>]) -> Option<FacadeError> {
    let errors = || answers.iter().filter_map(|answer| answer.as_ref().err());
    let mut failure = FacadeError::from(errors().next()?.clone());
    let mut count = 0;
    for error in errors() {
        count += 1;
        if error.outcome == Outcome::Unknown {
            failure.outcome = Outcome::Unknown;
        }
        if failure.may_help() && !FacadeError::from(error.clone()).may_help() {
            failure.retry = error.retry;
        }
    }
    failure.message =
        format!("{count} of {} keys failed, the first with: {}", answers.len(), failure.message);
    Some(failure)
}

#[cfg(test)]
mod tests {
    use slotkv::{Code, Error, Retry};

    use super::*;

    #[test]
    fn without_errors_there_is_none() {
        assert_eq!(failure(&[]), None);
        assert_eq!(failure(&[Ok(Answer::Has(true))]), None);
    }

    #[test]
    fn the_first_speaks_for_all_and_the_worst_decides_about_repeating() {
        let busy = || Err(Error::new(Code::Overloaded, "busy"));
        let error = failure(&[Ok(Answer::Has(true)), busy(), busy()]).unwrap();
        assert_eq!(error.message, "2 of 3 keys failed, the first with: busy");
        assert!(error.is_retryable());

        let error = failure(&[busy(), Err(Error::new(Code::TooLarge, "large"))]).unwrap();
        assert_eq!((error.code, error.retry, error.is_retryable()), (Code::Overloaded, Retry::Never, false));

        let mut lost = Error::new(Code::ConnectionLost, "lost");
        lost.outcome = Outcome::Unknown;
        let error = failure(&[busy(), Err(lost)]).unwrap();
        assert_eq!((error.code, error.outcome), (Code::Overloaded, Outcome::Unknown));
    }
}
