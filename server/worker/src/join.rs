//! How a replica joins its shard: it makes the shard's first register, or finds its place in the one there is. Who leads
//! is decided by elections.

use std::collections::BTreeSet;

use slotkv_coordination::{
    Error as CoordinatorError, Expect, Mode, Session,
    membership::ATTEMPTS_MAX,
    paths,
    registers::{self, Ack, Durability, MemberRecord, REPLICAS_MAX, Register, Replica, ShardRegister},
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

impl Wishes {
    /// Refuses what no shard can be, before anything is done.
    pub fn check(&self) -> Result<(), StartError> {
        if let Some(weight) = self.weight.filter(|weight| !(weight.is_finite() && *weight >= 0.0)) {
            let limit = "a weight is a finite number from 0 on".into();
            return Err(StartError::OutOfBounds { what: "weight", found: weight.to_string(), limit });
        }
        if let Some(replicas) = self.replicas {
            check_replicas(replicas)?;
        }
        match (self.min_isr, self.replicas) {
            (Some(min_isr), replicas) => check_min_isr(min_isr, replicas.unwrap_or(REPLICAS_MAX)),
            (None, _) => Ok(()),
        }
    }

    /// A register with what operators may change at any time: all but `ack`, which is the primary's, and the weight, which counts when
    /// the shard is made: a worker that starts again with its old flags must not undo a drain. Another number of replicas
    /// brings its own `min_isr`, unless one is wished for.
    pub fn edit(&self, known: ShardRegister) -> Result<ShardRegister, StartError> {
        let replicas = self.replicas.unwrap_or(known.replicas);
        let min_isr = match self.min_isr {
            Some(min_isr) => min_isr,
            None if replicas == known.replicas => known.min_isr,
            None => ShardRegister::min_isr_default(replicas),
        };
        check_replicas(replicas)?;
        check_min_isr(min_isr, replicas)?;
        Ok(ShardRegister {
            replicas,
            min_isr,
            durability: self.durability.unwrap_or(known.durability),
            ..known
        })
    }
}

fn check_replicas(replicas: u32) -> Result<(), StartError> {
    registers::validate_replicas(replicas).map_err(|_| StartError::OutOfBounds {
        what: "replicas",
        found: replicas.to_string(),
        limit: format!("a shard has 1 to {REPLICAS_MAX} replicas"),
    })
}

fn check_min_isr(min_isr: u32, replicas: u32) -> Result<(), StartError> {
    registers::validate_min_isr(min_isr, replicas).map_err(|_| StartError::OutOfBounds {
        what: "min_isr",
        found: min_isr.to_string(),
        limit: format!("it is 1 to the number of replicas, which is {replicas}"),
    })
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
            None => (wishes.edit(first(own, wishes))?, None),
            Some(node) => {
                let known = ShardRegister::decode(&path, &node.data)?;
                check_data(shard, &known, identification)?;
                let wished = wishes.edit(known.clone())?;
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

/// Nobody leads yet: the first epoch is elected like any other.
fn first(own: &Replica, wishes: &Wishes) -> ShardRegister {
    ShardRegister {
        epoch: 0,
        primary: None,
        isr: vec![own.clone()],
        ack: wishes.ack.unwrap_or_default(),
        min_isr: ShardRegister::min_isr_default(1),
        replicas: 1,
        preferred: Some(own.name.clone()),
        durability: Durability::default(),
        weight: wishes.weight.unwrap_or(1.0),
        loss_epoch: 0,
        recover: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn register() -> ShardRegister {
        let own = Replica { name: "w".into(), inc: "i".into(), run: "r".into(), address: "a:1".into() };
        ShardRegister { replicas: 3, min_isr: 3, ..first(&own, &Wishes::default()) }
    }

    fn refused(wishes: Wishes) -> String {
        let error = wishes.check().and_then(|()| wishes.edit(register()).map(drop)).unwrap_err();
        assert!(matches!(error, StartError::OutOfBounds { .. }), "{error}");
        error.to_string()
    }

    #[test]
    fn what_no_shard_can_be_is_refused_with_its_limit() {
        let replicas = |replicas| Wishes { replicas: Some(replicas), ..Wishes::default() };
        assert_eq!(refused(replicas(0)), "replicas 0; a shard has 1 to 7 replicas");
        assert_eq!(refused(replicas(REPLICAS_MAX + 1)), "replicas 8; a shard has 1 to 7 replicas");
        let min_isr = |min_isr, wishes| Wishes { min_isr: Some(min_isr), ..wishes };
        assert_eq!(
            refused(min_isr(3, replicas(2))),
            "min_isr 3; it is 1 to the number of replicas, which is 2"
        );
        // Against what the register has.
        assert!(min_isr(4, Wishes::default()).check().is_ok());
        assert!(refused(min_isr(4, Wishes::default())).contains("which is 3"));
        assert!(refused(min_isr(0, Wishes::default())).contains("min_isr 0"));
        assert!(refused(Wishes { weight: Some(-1.0), ..Wishes::default() }).contains("weight -1"));
    }

    #[test]
    fn a_weight_counts_when_the_shard_is_made_and_a_worker_that_starts_again_does_not_undo_a_drain() {
        let own = Replica { name: "w".into(), inc: "i".into(), run: "r".into(), address: "a:1".into() };
        let wishes = Wishes { weight: Some(2.0), ..Wishes::default() };
        let made = wishes.edit(first(&own, &wishes)).unwrap();
        assert_eq!(made.weight, 2.0);
        let drained = ShardRegister { weight: 0.0, ..made };
        assert_eq!(wishes.edit(drained).unwrap().weight, 0.0);
    }

    #[test]
    fn another_number_of_replicas_brings_its_own_min_isr_unless_one_is_wished_for() {
        let edit = |replicas, min_isr| {
            let edited = Wishes { replicas, min_isr, ..Wishes::default() }.edit(register()).unwrap();
            (edited.replicas, edited.min_isr)
        };
        assert_eq!(edit(None, None), (3, 3));
        assert_eq!(edit(Some(3), None), (3, 3));
        assert_eq!(edit(Some(2), None), (2, 1));
        assert_eq!(edit(Some(5), None), (5, 3));
        assert_eq!(edit(Some(5), Some(4)), (5, 4));
    }
}
