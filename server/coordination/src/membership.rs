//! Joining and leaving. A member is live while its ephemeral node exists, and known for good: a known member that does not
//! live and did not leave has crashed or is cut off.

use crate::{
    Error, Expect, Mode, Op, Session, paths,
    registers::{KnownMember, MemberRecord, Register, ShardIds},
};
use slotkv_proto::{limits::SHARDS_MAX, table::ShardId};

/// How often a compare-and-set is tried on newer versions before it is given up.
pub const ATTEMPTS_MAX: usize = 32;

/// Makes `member` live in this session and known. Safe to repeat, also in a new session of the same process: a node that an
/// earlier session left behind is replaced, so that its late expiry does not take the member away.
pub async fn join(session: &dyn Session, member: &MemberRecord) -> Result<(), Error> {
    paths::validate_name("member name", &member.name)?;
    paths::validate_name("member run", &member.run)?;
    let path = paths::member(&member.name, &member.run);
    let data = member.encode()?;
    let known = KnownMember { member: member.clone(), left: false };
    for _ in 0..ATTEMPTS_MAX {
        session.sync(&path).await?;
        let mut ops = Vec::new();
        match session.get(&path).await? {
            Some(node) if node.owner == Some(session.id()) => {
                ops.push(Op::set(path.clone(), data.clone(), Expect::Version(node.version)));
            }
            Some(node) => {
                ops.push(Op::delete(path.clone(), Expect::Version(node.version)));
                ops.push(Op::create(path.clone(), data.clone(), Mode::Ephemeral));
            }
            None => ops.push(Op::create(path.clone(), data.clone(), Mode::Ephemeral)),
        }
        ops.push(put(session, &paths::known(&member.name), known.encode()?).await?);
        match session.multi(ops).await {
            Err(Error::NoNode { .. } | Error::NodeExists { .. } | Error::BadVersion { .. }) => continue,
            done => return done.map(drop),
        }
    }
    Err(Error::Unexpected(format!("{path} changed {ATTEMPTS_MAX} times while joining")))
}

/// Says how a member stands, that has joined in this session: its node alone is written, and not its name in `/known`.
pub async fn tell(session: &dyn Session, member: &MemberRecord) -> Result<(), Error> {
    let path = paths::member(&member.name, &member.run);
    session.set(&path, member.encode()?, Expect::Any).await.map(drop)
}

/// Ends `member`'s life and marks it as left. Safe to repeat.
pub async fn leave(session: &dyn Session, member: &MemberRecord) -> Result<(), Error> {
    let path = paths::member(&member.name, &member.run);
    let known_path = paths::known(&member.name);
    for _ in 0..ATTEMPTS_MAX {
        session.sync(&path).await?;
        let mut ops = Vec::new();
        if session.get(&path).await?.is_some() {
            ops.push(Op::delete(path.clone(), Expect::Any));
        }
        if let Some(node) = session.get(&known_path).await? {
            let known = KnownMember::decode(&known_path, &node.data)?;
            // A newer process of the same name has not left.
            if known.member.run == member.run && !known.left {
                let left = KnownMember { left: true, ..known };
                ops.push(Op::set(known_path.clone(), left.encode()?, Expect::Version(node.version)));
            }
        }
        match session.multi(ops).await {
            Err(Error::NoNode { .. } | Error::BadVersion { .. }) => continue,
            done => return done.map(drop),
        }
    }
    Err(Error::Unexpected(format!("{path} changed {ATTEMPTS_MAX} times while leaving")))
}

/// Takes a shard id that was never given. An id whose giving ended unknown is skipped; after [`SHARDS_MAX`] ids there are
/// no more.
pub async fn allocate_shard_id(session: &dyn Session) -> Result<ShardId, Error> {
    for _ in 0..ATTEMPTS_MAX {
        session.sync(paths::SHARD_IDS).await?;
        let node = session.get(paths::SHARD_IDS).await?;
        let ShardIds { next } = match &node {
            Some(node) => ShardIds::decode(paths::SHARD_IDS, &node.data)?,
            None => ShardIds::default(),
        };
        // Ids that operators gave by hand are taken too.
        let taken = session.children(paths::SHARDS).await?;
        let id =
            (next..SHARDS_MAX as ShardId).find(|id| !taken.contains(&id.to_string())).ok_or_else(|| {
                Error::Invalid(format!(
                    "no shard id is left: {next} is next, and a cluster has at most {SHARDS_MAX}"
                ))
            })?;
        let data = ShardIds { next: id + 1 }.encode()?;
        let written = match node {
            Some(node) => session.set(paths::SHARD_IDS, data, Expect::Version(node.version)).await.map(drop),
            None => session.create(paths::SHARD_IDS, data, Mode::Persistent).await.map(drop),
        };
        match written {
            Ok(()) => return Ok(id),
            Err(Error::BadVersion { .. } | Error::NodeExists { .. }) => continue,
            Err(error) => return Err(error),
        }
    }
    Err(Error::Unexpected(format!("{} changed {ATTEMPTS_MAX} times", paths::SHARD_IDS)))
}

/// The step that makes a persistent node hold `data`.
async fn put(session: &dyn Session, path: &str, data: bytes::Bytes) -> Result<Op, Error> {
    Ok(match session.get(path).await? {
        Some(node) => Op::set(path, data, Expect::Version(node.version)),
        None => Op::create(path, data, Mode::Persistent),
    })
}
