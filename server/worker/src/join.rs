//! How a replica becomes the primary of its shard: an election in an ISR of one (protocol.md rules 1, 2 and 6). With one
//! replica, w and n - w + 1 are 1, so the replica's own report suffices; what is left of the rule is the promise, which
//! is durable before the compare-and-set, and the new epoch at every start.

use slotkv_coordination::{
    Error as CoordinatorError, Expect, Mode, Session,
    membership::ATTEMPTS_MAX,
    paths,
    registers::{Ack, Durability, Primary, Register, Replica, ShardRegister},
};
use slotkv_proto::table::ShardId;
use slotkv_replication::Promise;

use crate::{
    error::StartError,
    home::{Home, Identification},
};

/// What an operator may say about a shard; `None` leaves the register as it is.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// When an acknowledged write is on the disk.
    pub durability: Option<Durability>,
    /// Share of the slots, relative to the other shards'.
    pub weight: Option<f64>,
}

/// Takes the lead of a shard in a new epoch. Returns the register as written, which names the present incarnation.
pub async fn lead(
    session: &dyn Session,
    home: &mut Home,
    shard: ShardId,
    process: &Primary,
    wishes: &Wishes,
) -> Result<ShardRegister, StartError> {
    let path = paths::shard(shard);
    let identification = home
        .identification()
        .ok_or_else(|| StartError::Misfit("a replica without identification leads nothing".into()))?
        .clone();
    let own = Replica {
        name: process.name.clone(),
        inc: identification.inc.clone(),
        run: process.run.clone(),
        address: process.address.clone(),
    };
    for _ in 0..ATTEMPTS_MAX {
        session.sync(&path).await?;
        let node = session.get(&path).await?;
        let (register, expect) = match &node {
            None => (first(&own, process, wishes), None),
            Some(node) => {
                let known = ShardRegister::decode(&path, &node.data)?;
                if known.primary.as_ref() == Some(process) {
                    // An earlier attempt whose answer was lost has taken effect.
                    return Ok(known);
                }
                check_electable(shard, &known, &identification)?;
                (next(known, &own, process, wishes), Some(node.version))
            }
        };
        let data = register.encode()?;
        home.set_durability(register.durability).await?;
        home.keep_promise(Promise { epoch: register.epoch, ..home.promise() }).await?;
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

fn first(own: &Replica, process: &Primary, wishes: &Wishes) -> ShardRegister {
    ShardRegister {
        epoch: 1,
        primary: Some(process.clone()),
        isr: vec![own.clone()],
        ack: Ack::default(),
        min_isr: ShardRegister::min_isr_default(1),
        replicas: 1,
        preferred: Some(own.name.clone()),
        durability: wishes.durability.unwrap_or_default(),
        weight: wishes.weight.unwrap_or(1.0),
    }
}

fn next(known: ShardRegister, own: &Replica, process: &Primary, wishes: &Wishes) -> ShardRegister {
    ShardRegister {
        epoch: known.epoch + 1,
        primary: Some(process.clone()),
        isr: vec![own.clone()],
        durability: wishes.durability.unwrap_or(known.durability),
        weight: wishes.weight.unwrap_or(known.weight),
        ..known
    }
}

/// Refuses a replica whose data is not the ISR's. Data that may lack the last interval's writes counts if there is no
/// other: the caller has said so in the log.
fn check_electable(shard: ShardId, known: &ShardRegister, own: &Identification) -> Result<(), StartError> {
    let [only] = &known.isr[..] else {
        return Err(StartError::Misfit(format!(
            "shard {shard} has {} replicas in sync; this release leads shards of one",
            known.isr.len()
        )));
    };
    if only.name != own.name {
        return Err(StartError::Taken { shard, holder: only.name.clone(), name: own.name.clone() });
    }
    if !own.holds(&only.inc) {
        return Err(StartError::DataMissing { shard, name: own.name.clone(), inc: only.inc.clone() });
    }
    Ok(())
}
