//! Wish: what an operator may want of a shard's primary, and what that changes in the shard's register. A master writes
//! down what is wanted; only the replicas act on it. So nothing here can give a shard two primaries, and a wish that was
//! overtaken by a fail-over does no harm.
//!
//! A wish is made definite once, by [`Wish::settle`], and then applied again and again until it is in the register: of a
//! write whose outcome is unknown the repetition finds what it wanted, and changes nothing.

use slotkv_coordination::{
    View,
    registers::{MemberRecord, Replica, ShardRegister},
    view::ShardView,
};
use slotkv_proto::{Code, table::ShardId};

use crate::replicas;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Another replica in sync shall lead.
    Failover(ShardId),
    /// This replica shall lead, now and whenever it can.
    Promote(String),
    /// A shard without a primary shall go on with what this replica holds.
    Recover(ShardId, String),
}

/// What is wanted, of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which shard.
    pub shard: ShardId,
    /// Its epoch.
    pub epoch: u64,
    /// Who led it.
    pub from: Option<String>,
    /// Who shall.
    pub to: String,
    change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Prefer,
    /// The incarnation of the data.
    Recover(String),
}

/// Why a wish is not granted. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its kind.
    pub code: Code,
    /// For people.
    pub text: String,
}

fn refuse<T>(code: Code, text: String) -> Result<T, Refusal> {
    Err(Refusal { code, text })
}

impl Wish {
    /// What this means now.
    pub fn settle(&self, view: &View) -> Result<Settled, Refusal> {
        match self {
            Wish::Failover(shard) => failover(view, *shard),
            Wish::Promote(name) => promote(view, name),
            Wish::Recover(shard, name) => recover(view, *shard, name),
        }
    }
}

impl Settled {
    fn new(shard: ShardId, register: &ShardRegister, to: &str, change: Change) -> Self {
        let from = register.primary.as_ref().map(|primary| primary.name.clone());
        Self { shard, epoch: register.epoch, from, to: to.to_owned(), change }
    }

    /// The register with it; `None` if it is there, or came true.
    pub fn apply(&self, register: &ShardRegister) -> Option<ShardRegister> {
        match &self.change {
            Change::Prefer => {
                let preferred = Some(self.to.clone());
                (register.preferred != preferred).then(|| ShardRegister { preferred, ..register.clone() })
            }
            Change::Recover(inc) => {
                let recover = Some(format!("{}/{inc}", self.to));
                let is_open = register.epoch == self.epoch && register.recover != recover;
                is_open.then(|| ShardRegister { recover, ..register.clone() })
            }
        }
    }
}

fn shard_of(view: &View, shard: ShardId) -> Result<&ShardView, Refusal> {
    match view.shards.get(&shard) {
        Some(known) => Ok(known),
        None => refuse(Code::InvalidArgument, format!("there is no shard {shard}")),
    }
}

/// The process that has the copy which the register counts.
fn in_sync<'a>(view: &'a View, replica: &Replica) -> Option<&'a MemberRecord> {
    view.member(&replica.name).filter(|member| member.inc == replica.inc)
}

/// Of the others in sync the preferred one, else the one that is so for longest.
fn failover(view: &View, shard: ShardId) -> Result<Settled, Refusal> {
    let register = &shard_of(view, shard)?.register;
    let Some(primary) = &register.primary else {
        return refuse(Code::Retry, format!("shard {shard} has no primary; its replicas elect one"));
    };
    let others: Vec<_> = register
        .isr
        .iter()
        .filter(|replica| replica.name != primary.name && in_sync(view, replica).is_some())
        .collect();
    let preferred = |replica: &&&Replica| Some(&replica.name) == register.preferred.as_ref();
    match others.iter().find(preferred).or(others.first()) {
        Some(to) => Ok(Settled::new(shard, register, &to.name, Change::Prefer)),
        None => {
            let text =
                format!("nobody but {} is in sync in shard {shard}: nobody else can lead it", primary.name);
            refuse(Code::ReadOnly, text)
        }
    }
}

fn promote(view: &View, name: &str) -> Result<Settled, Refusal> {
    let holds = |register: &ShardRegister| register.isr.iter().any(|replica| replica.name == name);
    if let Some((&shard, known)) = view.shards.iter().find(|(_, known)| holds(&known.register)) {
        return Ok(Settled::new(shard, &known.register, name, Change::Prefer));
    }
    let known = view.member(name).or_else(|| view.known.get(name).map(|known| &known.member));
    match known.and_then(|member| member.shard) {
        Some(shard) => {
            refuse(Code::ReadOnly, format!("{name} is not in sync, so it cannot lead shard {shard}"))
        }
        None => refuse(Code::InvalidArgument, format!("there is no replica {name}")),
    }
}

fn recover(view: &View, shard: ShardId, name: &str) -> Result<Settled, Refusal> {
    let register = &shard_of(view, shard)?.register;
    if let Some(primary) = replicas::leading(view, register) {
        let text = format!("shard {shard} has a primary, {}; there is nothing to recover", primary.name);
        return refuse(Code::Retry, text);
    }
    let lives = |member: &&MemberRecord| member.shard == Some(shard) && !member.inc.is_empty();
    match view.member(name).filter(lives) {
        Some(member) => Ok(Settled::new(shard, register, name, Change::Recover(member.inc.clone()))),
        None => {
            let text = format!("no replica {name} of shard {shard} is live: start it on its data first");
            refuse(Code::InvalidArgument, text)
        }
    }
}
