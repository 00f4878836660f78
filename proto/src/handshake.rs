//! Protocol versions, and what is checked of whoever calls. Version N talks to N - 1, both ways; the higher common one is used.

use tonic::Status;

use crate::{Code, code::status_of, v1::Hello};

/// The newest version this build speaks.
pub const VERSION_MAX: u32 = 1;
/// The oldest version this build speaks.
pub const VERSION_MIN: u32 = 1;

/// The version to use with a peer that speaks `min` to `max`, or `None` if there is no common one.
pub fn agree(min: u32, max: u32) -> Option<u32> {
    agree_between((VERSION_MIN, VERSION_MAX), (min, max))
}

/// What a peer is told that speaks `min` to `max`, with no version in common.
pub fn refusal(min: u32, max: u32) -> String {
    format!("this member speaks protocol versions {VERSION_MIN} to {VERSION_MAX}, the caller {min} to {max}")
}

/// The version to use with a caller that speaks `min` to `max`.
pub fn check_versions(min: u32, max: u32) -> Result<u32, Status> {
    agree(min, max).ok_or_else(|| status_of(Code::Unsupported, refusal(min, max)))
}

/// The hello of a call, once it is known that this member and the caller understand each other.
pub fn check_hello(hello: Option<&Hello>) -> Result<&Hello, Status> {
    let none = || status_of(Code::InvalidArgument, "the request says no hello: who calls?");
    let hello = hello.ok_or_else(none)?;
    check_versions(hello.version_min, hello.version_max)?;
    Ok(hello)
}

/// Refuses a caller of another cluster.
pub fn check_cluster(ours: &str, theirs: &str) -> Result<(), Status> {
    if ours == theirs {
        return Ok(());
    }
    let text = format!("this member belongs to cluster {ours}, the caller to {theirs}");
    Err(status_of(Code::WrongCluster, text))
}

/// The highest version in both ranges (lowest and highest, both included).
pub fn agree_between(ours: (u32, u32), theirs: (u32, u32)) -> Option<u32> {
    let highest = ours.1.min(theirs.1);
    let lowest = ours.0.max(theirs.0);
    (highest >= lowest && highest > 0).then_some(highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_agree_on_the_older_version_both_ways() {
        assert_eq!(agree_between((1, 2), (1, 1)), Some(1));
        assert_eq!(agree_between((1, 1), (1, 2)), Some(1));
        assert_eq!(agree_between((2, 3), (1, 2)), Some(2));
    }

    #[test]
    fn ranges_that_do_not_meet_are_refused() {
        assert_eq!(agree_between((1, 1), (2, 3)), None);
        assert_eq!(agree_between((1, 1), (0, 0)), None);
        assert_eq!(agree_between((1, 2), (2, 1)), None);
    }
}
