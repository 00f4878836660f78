//! How a replica joins its shard: it makes the shard's first register, or finds its place in the one there is. Who leads
//! is decided by elections.

use std::collections::BTreeSet;

use slotkv_coordination::{
    Error as CoordinatorError, Expect, Mode, Session,
    membership::ATTEMPTS_MAX,
    paths,
    registers::{Ack, Durability, MemberRecord, Register, Replica, ShardRegister},
};
use slotkv_proto::table::ShardId;

use crate::{error::StartError, home::Identification};

/// What an operator may say about a shard; `None` leaves the register as it is.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// When an acknowledged write is on the disk.
    pub durability: Option<Durability>,
    /// Share of the slots, relative to the other shards'.
    pub weight: Option<f64>,
    /// How many copies there shall be, the primary's included.
    pub replicas: Option<u32>,
    /// How many of the ISR a write waits for.
    pub ack: Option<Ack>,
    /// Fewer copies than this in sync: no writes.
    pub min_isr: Option<u32>,
}

/// Makes sure that the shard has a register which has what `wishes` say. Returns it.
pub async fn register(
    session: &dyn Session,
    shard: ShardId,
    own: &Replica,
    identification: &Identification,
    wishes: &Wishes,
) -> Result<ShardRegister, StartError> {
    let path = paths::shard(shard);
    for _ in 0..ATTEMPTS_MAX {
        session.sync(&path).await?;
        let node = session.get(&path).await?;
        let (register, expect) = match &node {
            None => (first(own, wishes), None),
            Some(node) => {
                let known = ShardRegister::decode(&path, &node.data)?;
                check_data(shard, &known, identification)?;
                let wished = edited(known.clone(), wishes);
                if wished == known {
                    return Ok(known);
                }
                (wished, Some(node.version))
            }
        };
        let data = register.encode()?;
        let written = match expect {
            None => session.create(&path, data, Mode::Persistent).await.map(drop),
            Some(version) => session.set(&path, data, Expect::Version(version)).await.map(drop),
        };
        match written {
            Ok(()) => return Ok(register),
            Err(CoordinatorError::BadVersion { .. } | CoordinatorError::NodeExists { .. }) => continue,
            Err(error) if error.is_unknown() => continue,
            Err(error) => return Err(error.into()),
        }
    }
    Err(StartError::Misfit(format!("the register of shard {shard} changed {ATTEMPTS_MAX} times")))
}

fn first(own: &Replica, wishes: &Wishes) -> ShardRegister {
    let replicas = wishes.replicas.unwrap_or(1);
    ShardRegister {
        epoch: 0,
        primary: None,
        isr: vec![own.clone()],
        ack: wishes.ack.unwrap_or_default(),
        min_isr: wishes.min_isr.unwrap_or(ShardRegister::min_isr_default(replicas)),
        replicas,
        preferred: Some(own.name.clone()),
        durability: wishes.durability.unwrap_or_default(),
        weight: wishes.weight.unwrap_or(1.0),
        loss_epoch: 0,
        recover: None,
    }
}

/// Only the primary changes `ack`, so that wish is told to whoever leads (`Wishes::ack`).
fn edited(known: ShardRegister, wishes: &Wishes) -> ShardRegister {
    ShardRegister {
        durability: wishes.durability.unwrap_or(known.durability),
        weight: wishes.weight.unwrap_or(known.weight),
        min_isr: wishes.min_isr.unwrap_or(known.min_isr),
        replicas: wishes.replicas.unwrap_or(known.replicas),
        ..known
    }
}

/// Refuses a folder without the data that the shard cannot do without.
fn check_data(shard: ShardId, known: &ShardRegister, own: &Identification) -> Result<(), StartError> {
    match &known.isr[..] {
        [only] if only.name == own.name && !own.holds(&only.inc) => {
            Err(StartError::DataMissing { shard, name: own.name.clone(), inc: only.inc.clone() })
        }
        _ => Ok(()),
    }
}

/// Refuses a shard that has all of its replicas, before a folder is bound to it. A live member counts, and one in sync,
/// whether it lives or not.
pub async fn check_place(
    session: &dyn Session,
    shard: ShardId,
    name: &str,
    wishes: &Wishes,
) -> Result<(), StartError> {
    let path = paths::shard(shard);
    session.sync(&path).await?;
    let Some(node) = session.get(&path).await? else { return Ok(()) };
    let register = ShardRegister::decode(&path, &node.data)?;
    if let [only] = &register.isr[..]
        && only.name == name
    {
        return Err(StartError::DataMissing { shard, name: name.into(), inc: only.inc.clone() });
    }
    let mut holders: BTreeSet<String> = register.isr.iter().map(|copy| copy.name.clone()).collect();
    for child in session.children(paths::MEMBERS).await? {
        let path = format!("{}/{child}", paths::MEMBERS);
        if let Some(node) = session.get(&path).await? {
            let member = MemberRecord::decode(&path, &node.data)?;
            if member.shard == Some(shard) {
                holders.insert(member.name);
            }
        }
    }
    holders.remove(name);
    let replicas = wishes.replicas.unwrap_or(register.replicas);
    if holders.len() >= replicas as usize {
        let holder = holders.into_iter().collect::<Vec<_>>().join(", ");
        return Err(StartError::Taken { shard, holder, name: name.into(), replicas });
    }
    Ok(())
}
