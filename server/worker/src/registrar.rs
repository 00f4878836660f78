//! Registrar: carries out at the coordinator what a replica asks. It translates between the machine's [`Register`], which
//! names who counts, and the shard's node, which holds more: addresses for routes, and what operators wish.
//!
//! A compare-and-set is made of the very version that the machine expects and of the machine's own fields in it: epoch,
//! primary, isr, ack and loss epoch. Everything else stays as it was, but for `recover`, which a higher epoch removes. So an
//! operator's edit in between is another version, which is a conflict, and never lost.
//!
//! Nothing is *failed* here but what the coordinator itself refuses by the version: an answer that did not come, came late
//! or came over a broken connection is [`Answer::Unknown`], and the machine reads again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use slotkv_coordination::{
    Error, Expect, Mode, Node, Session, paths,
    registers::{self, Election, Primary, Register as _, ShardRegister},
    view::READS_MAX,
};
use slotkv_proto::table::ShardId;
use slotkv_replication::{Ack, Answer, Ask, Candidate, Configuration, Member, Position, Register};
use tokio::time::timeout;

/// Longest time that one question may take; past it its outcome is unknown.
pub const ASK_MS_MAX: u64 = 2_000;
/// Versions of the register that are remembered, the newest ones: a machine expects one of the last that it was told.
const VERSIONS_MAX: usize = 8;
/// Candidates of one epoch that are read, the latest; more there are only if processes die and stand faster than the
/// coordinator forgets them.
const CANDIDATES_MAX: usize = 64;

/// Who knows where a member is reached.
pub type AddressOf = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A shard's register and elections, as one replica's process sees them.
pub struct Registrar {
    shard: ShardId,
    own: Primary,
    address_of: AddressOf,
    versions: Mutex<BTreeMap<u64, ShardRegister>>,
    /// An epoch in which this process leads, and what all shards' epochs came to after it had begun.
    sum: Mutex<Option<(u64, u64)>>,
}

impl Registrar {
    /// For this process in this shard.
    pub fn new(shard: ShardId, own: Primary, address_of: AddressOf) -> Self {
        Self { shard, own, address_of, versions: Mutex::default(), sum: Mutex::default() }
    }

    /// The newest register seen, with its version.
    pub fn newest(&self) -> Option<(u64, ShardRegister)> {
        self.versions.lock().last_key_value().map(|(version, register)| (*version, register.clone()))
    }

    /// The sum of all shards' epochs, as it was when this process led in `epoch` already; for a shard that has ever lost
    /// anything.
    ///
    /// It is what numbers that clients know are raised by after a loss, see [`Replica::gap`](crate::replica::Replica::gap). It grows
    /// with every loss anywhere, and is read after the epochs before can tell nobody anything more.
    pub fn epoch_sum(&self, epoch: u64) -> Option<u64> {
        self.sum.lock().filter(|(of, _)| *of == epoch).map(|(_, sum)| sum)
    }

    /// Carries out a question, within [`ASK_MS_MAX`].
    pub async fn ask(&self, session: &dyn Session, ask: Ask) -> Answer {
        self.bounded(async {
            match ask {
                Ask::Read => {
                    let (version, register) = self.read(session).await?;
                    self.sum_up(session, &register).await?;
                    Ok(Answer::Register(told(version, &register)))
                }
                Ask::CompareAndSet(target) => self.compare_and_set(session, target).await,
                Ask::Stand(epoch, candidate) => self.stand(session, epoch, candidate).await,
                Ask::Candidates(epoch) => self.candidates(session, epoch).await,
            }
        })
        .await
    }

    /// Removes what is left of elections up to an epoch. For who has taken office in it; that it may not all succeed does no
    /// harm, the next one tries again.
    pub async fn clear_elections(&self, session: &dyn Session, upto_epoch: u64) {
        let cleared = timeout(Duration::from_millis(ASK_MS_MAX), async {
            let parent = paths::elections(self.shard);
            for name in session.children(&parent).await? {
                if name.parse::<u64>().is_ok_and(|epoch| epoch > upto_epoch) {
                    continue;
                }
                let election = format!("{parent}/{name}");
                for candidate in session.children(&election).await? {
                    gone(session.delete(&format!("{election}/{candidate}"), Expect::Any).await)?;
                }
                gone(session.delete(&election, Expect::Any).await)?;
            }
            Ok::<(), Error>(())
        });
        if let Ok(Err(error)) = cleared.await {
            tracing::debug!(shard = self.shard, %error, "cannot clear old elections");
        }
    }

    async fn bounded(&self, asking: impl Future<Output = Result<Answer, Error>>) -> Answer {
        match timeout(Duration::from_millis(ASK_MS_MAX), asking).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::debug!(shard = self.shard, %error, "the coordinator does not say");
                Answer::Unknown
            }
            Err(_) => Answer::Unknown,
        }
    }

    async fn read(&self, session: &dyn Session) -> Result<(u64, ShardRegister), Error> {
        let path = paths::shard(self.shard);
        session.sync(&path).await?;
        let Some(node) = session.get(&path).await? else { return Err(Error::NoNode { path }) };
        let register = ShardRegister::decode(&path, &node.data)?;
        self.remember(node.version, &register);
        Ok((node.version, register))
    }

    fn remember(&self, version: u64, register: &ShardRegister) {
        let mut versions = self.versions.lock();
        versions.insert(version, register.clone());
        while versions.len() > VERSIONS_MAX {
            versions.pop_first();
        }
    }

    /// Reads what all shards' epochs come to, if this process may have to go on behind a loss: once for each epoch that it leads.
    async fn sum_up(&self, session: &dyn Session, register: &ShardRegister) -> Result<(), Error> {
        let ShardRegister { epoch, loss_epoch, primary, .. } = register;
        let is_own = |primary: &Primary| primary.name == self.own.name && primary.run == self.own.run;
        let leads = primary.as_ref().is_some_and(is_own);
        if !leads || *loss_epoch == 0 || self.epoch_sum(*epoch).is_some() {
            return Ok(());
        }
        let sum = sum_of_epochs(session).await?;
        *self.sum.lock() = Some((*epoch, sum));
        Ok(())
    }

    /// The register of the version expected, or what is answered because it is not there.
    async fn expected(
        &self,
        session: &dyn Session,
        version: u64,
    ) -> Result<Result<ShardRegister, Answer>, Error> {
        let known = self.versions.lock().get(&version).cloned();
        if let Some(known) = known {
            return Ok(Ok(known));
        }
        let (found, register) = self.read(session).await?;
        Ok(match found {
            _ if found == version => Ok(register),
            // An old read says nothing of now.
            _ if found < version => Err(Answer::Unknown),
            _ => Err(Answer::Conflict),
        })
    }

    async fn compare_and_set(&self, session: &dyn Session, target: Register) -> Result<Answer, Error> {
        match self.expected(session, target.version).await? {
            Ok(known) => self.write(session, known, target).await,
            Err(answer) => Ok(answer),
        }
    }

    async fn write(
        &self,
        session: &dyn Session,
        known: ShardRegister,
        target: Register,
    ) -> Result<Answer, Error> {
        let path = paths::shard(self.shard);
        let version = target.version;
        let register = self.changed(known, target)?;
        match session.set(&path, register.encode()?, Expect::Version(version)).await {
            Ok(written) => {
                self.remember(written, &register);
                // If that fails the outcome is unknown, and the machine reads, which comes to the same.
                self.sum_up(session, &register).await?;
                Ok(Answer::Written(written))
            }
            Err(Error::BadVersion { .. }) => Ok(Answer::Conflict),
            Err(error) => Err(error),
        }
    }

    /// What is known, with the machine's own fields replaced.
    fn changed(&self, known: ShardRegister, target: Register) -> Result<ShardRegister, Error> {
        let Register { epoch, primary, configuration, loss_epoch, .. } = target;
        let primary = match primary {
            None => None,
            Some((name, run)) => {
                let (name, run) = (name.to_string(), run.to_string());
                let address = self.address(&known, &name, &run)?;
                Some(Primary { name, run, address })
            }
        };
        let replica = |copy: &Member| {
            let (name, run) = (copy.name.to_string(), copy.run.to_string());
            let address = self.address(&known, &name, &run)?;
            Ok(registers::Replica { name, inc: copy.inc.to_string(), run, address })
        };
        let isr = configuration.isr.iter().map(replica).collect::<Result<_, Error>>()?;
        let ack = ack_kept(configuration.ack);
        let recover = known.recover.clone().filter(|_| epoch == known.epoch);
        Ok(ShardRegister { epoch, primary, isr, ack, loss_epoch, recover, ..known })
    }

    /// Where a process is reached: of what is known about it, what is surest. A process never changes its address.
    fn address(&self, known: &ShardRegister, name: &str, run: &str) -> Result<String, Error> {
        if (name, run) == (self.own.name.as_str(), self.own.run.as_str()) {
            return Ok(self.own.address.clone());
        }
        let primary = known.primary.iter().map(|primary| (&primary.name, &primary.run, &primary.address));
        let isr = known.isr.iter().map(|replica| (&replica.name, &replica.run, &replica.address));
        let mut places = primary.chain(isr).filter(|place| place.0 == name);
        places
            .clone()
            .find(|place| place.1 == run)
            .map(|place| place.2.clone())
            .or_else(|| (self.address_of)(name))
            .or_else(|| places.next().map(|place| place.2.clone()))
            .ok_or_else(|| Error::Invalid(format!("nobody knows where {name} is reached")))
    }

    async fn stand(&self, session: &dyn Session, epoch: u64, candidate: Candidate) -> Result<Answer, Error> {
        let Candidate { member, last, remains_of } = candidate;
        let record = Election {
            name: member.name.to_string(),
            inc: member.inc.to_string(),
            run: member.run.to_string(),
            last_epoch: last.epoch,
            last_index: last.index,
            remains_of: remains_of.map(|inc| inc.to_string()),
        };
        let prefix = format!("{}/", paths::election(self.shard, epoch));
        session.create(&prefix, record.encode()?, Mode::EphemeralSequential).await?;
        Ok(Answer::Standing)
    }

    /// In the order of their nodes.
    async fn candidates(&self, session: &dyn Session, epoch: u64) -> Result<Answer, Error> {
        let parent = paths::election(self.shard, epoch);
        session.sync(&parent).await?;
        let mut names = session.children(&parent).await?;
        names.drain(..names.len().saturating_sub(CANDIDATES_MAX));
        let paths: Vec<String> = names.iter().map(|name| format!("{parent}/{name}")).collect();
        let reads: Vec<_> = paths
            .into_iter()
            .map(|path| {
                async move {
                    let node = session.get(&path).await;
                    (path, node)
                }
                .boxed()
            })
            .collect();
        let mut nodes = stream::iter(reads).buffered(READS_MAX);
        let mut candidates = Vec::new();
        while let Some((path, node)) = nodes.next().await {
            // One that is gone meanwhile does not stand any more.
            if let Some(node) = node? {
                candidates.extend(candidate(&path, &node));
            }
        }
        Ok(Answer::Candidates(candidates))
    }
}

/// What the epochs of all shards come to.
async fn sum_of_epochs(session: &dyn Session) -> Result<u64, Error> {
    session.sync(paths::SHARDS).await?;
    let names = session.children(paths::SHARDS).await?;
    let paths = names.iter().map(|name| format!("{}/{name}", paths::SHARDS));
    let reads: Vec<_> = paths
        .map(|path| {
            async move {
                // Never deleted: who does not find one does not know the sum.
                let node = session.get(&path).await?.ok_or_else(|| Error::NoNode { path: path.clone() })?;
                // Each epoch is a change of the node, so the version of one that is damaged, or of a newer format, is as good.
                let register = ShardRegister::decode(&path, &node.data);
                Ok::<_, Error>(register.map_or(node.version, |register| register.epoch))
            }
            .boxed()
        })
        .collect();
    let mut epochs = stream::iter(reads).buffered(READS_MAX);
    let mut sum = 0_u64;
    while let Some(epoch) = epochs.next().await {
        sum = sum.saturating_add(epoch?);
    }
    Ok(sum)
}

/// A report that cannot be read is none.
fn candidate(path: &str, node: &Node) -> Option<Candidate> {
    match Election::decode(path, &node.data) {
        Ok(Election { name, inc, run, last_epoch, last_index, remains_of }) => Some(Candidate {
            member: Member { name: name.into(), inc: inc.into(), run: run.into() },
            last: Position { epoch: last_epoch, index: last_index },
            remains_of: remains_of.map(Into::into),
        }),
        Err(error) => {
            tracing::warn!(path, %error, "a candidate cannot be read");
            None
        }
    }
}

/// The register as the machine knows it.
pub fn told(version: u64, register: &ShardRegister) -> Register {
    let copy = |replica: &registers::Replica| Member {
        name: replica.name.as_str().into(),
        inc: replica.inc.as_str().into(),
        run: replica.run.as_str().into(),
    };
    let primary = register.primary.as_ref();
    Register {
        version,
        epoch: register.epoch,
        primary: primary.map(|primary| (primary.name.as_str().into(), primary.run.as_str().into())),
        configuration: Configuration {
            isr: register.isr.iter().map(copy).collect(),
            ack: ack_told(register.ack),
        },
        min_isr: register.min_isr as usize,
        replicas: register.replicas as usize,
        preferred: register.preferred.as_deref().map(Into::into),
        loss_epoch: register.loss_epoch,
    }
}

/// How [`ShardRegister::recover`] names a replica's data.
pub fn recovered(member: &Member) -> String {
    format!("{}/{}", member.name, member.inc)
}

/// How the machine knows it.
pub fn ack_told(ack: registers::Ack) -> Ack {
    match ack {
        registers::Ack::All => Ack::All,
        registers::Ack::One => Ack::One,
    }
}

fn ack_kept(ack: Ack) -> registers::Ack {
    match ack {
        Ack::All => registers::Ack::All,
        Ack::One => registers::Ack::One,
    }
}

/// That somebody else was faster, or goes on using it, is fine.
fn gone(deleted: Result<(), Error>) -> Result<(), Error> {
    match deleted {
        Err(Error::NoNode { .. } | Error::NotEmpty { .. }) => Ok(()),
        other => other,
    }
}
