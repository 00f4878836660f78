//! What the nodes are called.

use slotkv_proto::{limits::SHARDS_MAX, table::ShardId};

use crate::Error;

/// Longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;
/// Longest name of a member, a zone or a migration, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// The cluster's identity, written once.
pub const CLUSTER: &str = "/cluster";
/// Under it the masters that live; the lowest leads.
pub const MASTERS: &str = "/masters";
/// Counts the masters that have led.
pub const MASTER_EPOCH: &str = "/master_epoch";
/// Under it the processes that live.
pub const MEMBERS: &str = "/members";
/// Under it the members that were ever seen, live or not.
pub const KNOWN: &str = "/known";
/// Under it the shards' registers.
pub const SHARDS: &str = "/shards";
/// Which shard owns which slot.
pub const SLOTS: &str = "/slots";
/// Under it what the shards tell the leader about hand-overs.
pub const MIGRATIONS: &str = "/migrations";
/// Says that a leader looks after the hand-overs.
pub const MOVER: &str = "/mover";
/// What operators have cancelled.
pub const HOLDS: &str = "/holds";
/// Counts the shard ids given.
pub const SHARD_IDS: &str = "/shard_ids";

/// What to create, ephemeral and sequential, to stand for leading master.
pub fn master_prefix() -> String {
    format!("{MASTERS}/")
}

/// A living process.
pub fn member(name: &str, run: &str) -> String {
    format!("{MEMBERS}/{name}-{run}")
}

/// A member that was ever seen.
pub fn known(name: &str) -> String {
    format!("{KNOWN}/{name}")
}

/// A shard's register.
pub fn shard(shard: ShardId) -> String {
    format!("{SHARDS}/{shard}")
}

/// The shard whose register is at `path`; `None` for another path and for one that names no shard: a shard has one path,
/// and an id that [`validate_shard`] takes.
pub fn shard_of(path: &str) -> Option<ShardId> {
    let name = child_of(path, SHARDS)?;
    name.parse().ok().filter(|&shard: &ShardId| validate_shard(shard).is_ok() && shard.to_string() == name)
}

/// Refuses an id past the limit: ids are below [`SHARDS_MAX`], so that there are never more shards than a slot table takes.
pub fn validate_shard(shard: ShardId) -> Result<(), Error> {
    if shard as usize >= SHARDS_MAX {
        return Err(Error::Invalid(format!("shard {shard}: a shard has an id from 0 to {}", SHARDS_MAX - 1)));
    }
    Ok(())
}

/// Under it the elections of a shard, by epoch.
pub fn elections(shard: ShardId) -> String {
    format!("{SHARDS}/{shard}/election")
}

/// Under it the replicas that stand for primary of `epoch`.
pub fn election(shard: ShardId, epoch: u64) -> String {
    format!("{}/{epoch}", elections(shard))
}

/// The place of a shard's lost replica, held by the standby that takes it.
pub fn claim(shard: ShardId) -> String {
    format!("{SHARDS}/{shard}/claim")
}

/// What a side of a hand-over says of it.
pub fn report(id: u64, is_source: bool) -> String {
    format!("{MIGRATIONS}/{id}-{}", if is_source { "source" } else { "target" })
}

/// The hand-over and the side whose word is at `path`; `None` for another path.
pub fn report_of(path: &str) -> Option<(u64, bool)> {
    let (id, side) = child_of(path, MIGRATIONS)?.split_once('-')?;
    let number: u64 = id.parse().ok().filter(|number: &u64| number.to_string() == id)?;
    match side {
        "source" => Some((number, true)),
        "target" => Some((number, false)),
        _ => None,
    }
}

/// The name of the node at `path` if `parent` is the node right above it.
pub fn child_of<'a>(path: &'a str, parent: &str) -> Option<&'a str> {
    let name = path.strip_prefix(parent)?.strip_prefix('/')?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// Whether `path` is `root` or below it.
pub fn is_within(path: &str, root: &str) -> bool {
    root == "/" || path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The node right above; `None` for the root.
pub fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        end => Some(&path[..end]),
    }
}

/// Refuses a name that cannot be part of a path: it must have 1 to [`NAME_BYTES_MAX`] letters, digits, `.`, `_` or `-`
/// and must not begin with a dot.
pub fn validate_name(what: &str, name: &str) -> Result<(), Error> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('.') || !name.bytes().all(fine) {
        return Err(Error::Invalid(format!(
            "{what} {name:?} is not 1 to {NAME_BYTES_MAX} letters, digits, '.', '_' or '-', the first no dot"
        )));
    }
    Ok(())
}

/// Refuses a path that a coordinator would not take. The prefix of a sequential node may end in `/`.
pub fn validate(path: &str, sequential: bool) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::Invalid(format!("path {path:?} {why}")));
    if path.len() > PATH_BYTES_MAX {
        return Err(Error::TooLarge { what: "a path".into(), bytes: path.len(), max: PATH_BYTES_MAX });
    }
    let Some(names) = path.strip_prefix('/') else { return refuse("does not begin with '/'") };
    if names.is_empty() {
        return Ok(());
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse("has a byte that is not a visible ASCII character");
    }
    let names = if sequential { names.strip_suffix('/').unwrap_or(names) } else { names };
    match names.split('/').find(|name| matches!(*name, "" | "." | "..")) {
        Some("") => refuse("has an empty name"),
        Some(_) => refuse("has a relative name"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_and_children_of_paths() {
        assert_eq!(parent("/"), None);
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(parent("/masters/"), Some("/masters"));
        assert_eq!(child_of("/members/a-1", MEMBERS), Some("a-1"));
        assert_eq!(child_of("/members", MEMBERS), None);
        assert_eq!(child_of("/members/a/b", MEMBERS), None);
        assert_eq!(shard_of("/shards/12"), Some(12));
        assert_eq!(shard_of("/shards/12/election"), None);
        assert_eq!(shard_of("/shards/4095"), Some(4095));
        for name in ["4096", "4294967295", "4294967296", "-1", "+1", "01", "x"] {
            assert_eq!(shard_of(&format!("/shards/{name}")), None, "{name}");
        }
        for (id, is_source) in [(7, true), (u64::MAX, false)] {
            assert_eq!(report_of(&report(id, is_source)), Some((id, is_source)));
        }
        for name in ["7", "7-", "7-both", "07-source", "-source", "7-source/x"] {
            assert_eq!(report_of(&format!("{MIGRATIONS}/{name}")), None, "{name}");
        }
        assert!(is_within("/a/b", "/a") && is_within("/a", "/a") && is_within("/a", "/"));
        assert!(!is_within("/ab", "/a"));
    }

    #[test]
    fn paths_that_no_coordinator_takes_are_refused() {
        for path in ["", "a", "/a/", "//a", "/a//b", "/a/./b", "/..", "/a b", "/ä", "/a\0"] {
            assert!(matches!(validate(path, false), Err(Error::Invalid(_))), "{path:?}");
        }
        assert!(validate("/masters/", true).is_ok());
        assert!(validate("/masters//", true).is_err());
        assert!(validate("/", false).is_ok());
        assert!(validate(&format!("/{}", "a".repeat(PATH_BYTES_MAX)), false).is_err());
    }

    #[test]
    fn names_that_would_break_a_path_are_refused() {
        for name in ["", ".", "..", "a/b", "a b", "ä", &"a".repeat(NAME_BYTES_MAX + 1)] {
            assert!(validate_name("member name", name).is_err(), "{name:?}");
        }
        assert!(validate_name("member name", "worker-1.rack_2").is_ok());
    }
}
