//! `admin restart`: every process of the cluster, one after the other, so that no shard is without a copy that answers and no
//! request fails.
//!
//! Of each shard the backups come first, then the primary, whose lead goes to another copy before; of the masters the leader
//! comes last. The next one begins when the one before is back and its shard is as whole as it was, and if its own shard takes writes
//! without it.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use slotkv::{Client, Error};
use slotkv_proto::{
    Code,
    table::{ShardId, UNALLOCATED},
    v1::{self, StatusReply, admin_client::AdminClient, process_client::ProcessClient},
};
use tokio::time::{Instant, sleep};

use super::{connect, failure, output::Output};
use crate::{
    cli::{
        exit::{Exit, Failure},
        flags::RestartFlags,
    },
    members,
};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A process that is to restart.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Worker { name: String, shard: ShardId, address: String },
    Master { address: String },
}

impl Place {
    fn name(&self) -> &str {
        match self {
            Place::Worker { name, .. } => name,
            Place::Master { address } => address,
        }
    }

    fn address(&self) -> &str {
        match self {
            Place::Worker { address, .. } | Place::Master { address } => address,
        }
    }
}

/// `admin restart`.
pub(crate) async fn restart(flags: RestartFlags) -> Result<Exit, Failure> {
    let client = connect(&flags.client).await?;
    let mut output = Output::new();
    let restarted = rolled(&client, &flags, &mut output).await;
    client.close().await;
    restarted?;
    output.end(Exit::Done)
}

async fn rolled(client: &Client, flags: &RestartFlags, output: &mut Output) -> Result<(), Failure> {
    let status = client.status().await.map_err(failure)?;
    let places = places(&status, &flags.members)?;
    check(&status, &places)?;
    let mut done = Vec::new();
    for place in &places {
        let begun = Instant::now();
        match Turn::of(client, place, begun + flags.wait).take().await {
            Ok(version) => {
                let ms = begun.elapsed().as_millis() as u64;
                let name = place.name();
                let line = match flags.client.json {
                    true => json!({ "member": name, "version": version, "ms": ms }).to_string(),
                    false => format!("{name} runs again after {ms} ms, version {version}"),
                };
                output.line(&line)?;
                output.flush()?;
                done.push(name);
            }
            Err(error) => {
                let left: Vec<&str> = places[done.len() + 1..].iter().map(Place::name).collect();
                let message = format!(
                    "{}: {}; restarted before it: {}; not begun: {}",
                    place.name(),
                    members::explained(&error),
                    listed(&done),
                    listed(&left)
                );
                let exit = if done.is_empty() { failure(error).exit } else { Exit::Partly };
                return Err(Failure { exit, message });
            }
        }
    }
    Ok(())
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

/// Whom to restart, in order: all, or those that are named.
fn places(status: &StatusReply, named: &[String]) -> Result<Vec<Place>, Failure> {
    let mut places = Vec::new();
    for shard in &status.shards {
        let worker = |copy: &v1::ReplicaStatus| Place::Worker {
            name: copy.name.clone(),
            shard: shard.shard,
            address: copy.address.clone(),
        };
        let (primary, backups): (Vec<_>, Vec<_>) =
            shard.copies.iter().filter(|copy| copy.live).partition(|copy| copy.name == shard.primary);
        places.extend(backups.into_iter().chain(primary).map(worker));
    }
    let in_shards: BTreeSet<String> = places.iter().map(|place| place.name().to_owned()).collect();
    let spares = status.members.iter().filter(|member| member.live && !in_shards.contains(&member.name));
    places.extend(spares.map(|member| Place::Worker {
        name: member.name.clone(),
        shard: member.shard,
        address: member.address.clone(),
    }));
    let (leader, standbys): (Vec<_>, Vec<_>) = status.masters.iter().partition(|master| master.leader);
    places.extend(
        standbys.into_iter().chain(leader).map(|master| Place::Master { address: master.address.clone() }),
    );
    if named.is_empty() {
        return Ok(places);
    }
    if let Some(unknown) = named.iter().find(|name| !places.iter().any(|place| place.name() == name.as_str()))
    {
        return Err(Failure::usage(format_args!(
            "no process that lives is called {unknown:?}; workers go by their name, masters by their address: see admin status"
        )));
    }
    places.retain(|place| named.iter().any(|name| name == place.name()));
    Ok(places)
}

/// Refuses before anything is begun what no waiting could make possible.
fn check(status: &StatusReply, places: &[Place]) -> Result<(), Failure> {
    for place in places {
        let Place::Worker { name, shard, .. } = place else { continue };
        let Some(known) = status.shards.iter().find(|known| known.shard == *shard) else { continue };
        let v1::ShardStatus { slots, replicas, min_isr, .. } = *known;
        if slots > 0 && replicas > 1 && replicas <= min_isr {
            return Err(Failure::failed(format_args!(
                "{name}: shard {shard} takes no writes below {min_isr} copies in sync and is to have {replicas}, so none of them can be \
                 away; give it one more copy (--replicas) or a smaller --min-isr; nobody was restarted"
            )));
        }
    }
    Ok(())
}

fn in_sync_count(shard: &v1::ShardStatus) -> usize {
    shard.copies.iter().filter(|copy| copy.live && copy.in_isr).count()
}

/// Why a shard is not whole: it is, once it has a primary and as many copies in sync as it is to have, or every copy that lives.
fn unsettled(shard: &v1::ShardStatus) -> Option<String> {
    if shard.primary.is_empty() {
        return Some(format!("it has no primary: {}", shard.reason));
    }
    let behind = shard.copies.iter().filter(|copy| copy.live && !copy.in_isr);
    let behind: Vec<&str> = behind.map(|copy| copy.name.as_str()).collect();
    let is_whole = behind.is_empty() || in_sync_count(shard) >= shard.replicas as usize;
    (!is_whole).then(|| format!("not in sync: {}", behind.join(", ")))
}

/// Whether a copy lives that others are there in place of.
fn has_no_place(shard: &v1::ShardStatus, name: &str) -> bool {
    let is_outside = shard.copies.iter().any(|copy| copy.name == name && copy.live && !copy.in_isr);
    is_outside && in_sync_count(shard) >= shard.replicas as usize
}

/// Why a copy is not stopped now. A shard that is to have one copy is away with it in any case.
fn in_the_way(shard: &v1::ShardStatus, name: &str) -> Option<String> {
    if shard.replicas <= 1 { None } else { members::lacking_without(shard, name) }
}

/// The restart of one process.
struct Turn<'a> {
    client: &'a Client,
    place: &'a Place,
    until: Instant,
    last: String,
}

impl<'a> Turn<'a> {
    fn of(client: &'a Client, place: &'a Place, until: Instant) -> Self {
        Self { client, place, until, last: String::new() }
    }

    /// Returns the version that runs now.
    async fn take(mut self) -> Result<String, Error> {
        match self.place {
            Place::Worker { name, shard, .. } => match self.present_shard(name, *shard).await {
                UNALLOCATED => self.restart_process().await,
                shard => self.restart_copy(name, shard).await,
            },
            Place::Master { address } => {
                let version = self.restart_process().await?;
                self.await_leader(address).await?;
                Ok(version)
            }
        }
    }

    async fn restart_copy(&mut self, name: &str, shard: ShardId) -> Result<String, Error> {
        let before = self.await_spare(shard, name).await?;
        if has_no_place(&before, name) {
            return self.restart_process().await;
        }
        let others = before.isr.iter().filter(|other| *other != name).count();
        if before.primary == *name && others > 0 {
            self.hand_over(shard, name).await?;
            self.await_spare(shard, name).await?;
        }
        let version = self.restart_process().await?;
        self.await_copy(shard, name, before.isr.len()).await?;
        Ok(version)
    }

    /// The shard of a worker: one that stood by may have a place by now.
    async fn present_shard(&self, name: &str, known: ShardId) -> ShardId {
        let Ok(status) = self.client.status().await else { return known };
        let has = |shard: &&v1::ShardStatus| shard.copies.iter().any(|copy| copy.live && copy.name == name);
        status.shards.iter().find(has).map_or(known, |shard| shard.shard)
    }

    /// Waits until a shard is whole and can do without this copy for a while.
    async fn await_spare(&mut self, shard: ShardId, name: &str) -> Result<v1::ShardStatus, Error> {
        loop {
            let whole = self.await_whole(shard).await?;
            let Some(why) = in_the_way(&whole, name) else { return Ok(whole) };
            if Instant::now() >= self.until {
                let text = format!("it is not stopped: {why}, and that has not changed within --wait");
                return Err(Error::new(Code::ReadOnly, text));
            }
            self.last = why;
            self.pause().await?;
        }
    }

    /// Waits until a shard is whole.
    async fn await_whole(&mut self, shard: ShardId) -> Result<v1::ShardStatus, Error> {
        loop {
            if let Ok(status) = self.client.status().await
                && let Some(found) = status.shards.into_iter().find(|found| found.shard == shard)
            {
                let Some(why) = unsettled(&found) else { return Ok(found) };
                self.last = format!("shard {shard} is not whole: {}: {why}", found.state);
            }
            self.pause().await?;
        }
    }

    async fn hand_over(&mut self, shard: ShardId, name: &str) -> Result<(), Error> {
        members::ask_leader(self.client, self.until, async |mut admin: AdminClient<_>, hello| {
            admin.failover(v1::FailoverRequest { hello: Some(hello), shard }).await
        })
        .await?;
        loop {
            let whole = self.await_whole(shard).await?;
            if whole.primary != name {
                return Ok(());
            }
            self.last = format!("{name} still leads shard {shard}");
            self.pause().await?;
        }
    }

    /// Asks the process to restart, and waits for the next one.
    async fn restart_process(&mut self) -> Result<String, Error> {
        let address = self.place.address();
        let run = describe(self.client, address).await?.run;
        let ask = async |channel, hello| {
            let request = v1::RestartRequest { hello: Some(hello), run: run.clone() };
            ProcessClient::new(channel).restart(request).await
        };
        match members::at(self.client, address, ask).await {
            // It may have been faster than its answer.
            Ok(_) => {}
            Err(error) if matches!(error.code, Code::ConnectionLost | Code::Unavailable) => {}
            Err(error) => return Err(error),
        }
        loop {
            let address = self.present_address().await;
            match describe(self.client, &address).await {
                Ok(after) if after.run != run => return Ok(after.version),
                Ok(_) => self.last = "it has not left yet".into(),
                Err(error) => self.last = error.to_string(),
            }
            self.pause().await?;
        }
    }

    /// Where the process is now: a worker that listens on any free port comes back on another one.
    async fn present_address(&self) -> String {
        let known = self.place.address().to_owned();
        let Place::Worker { name, .. } = self.place else { return known };
        let Ok(status) = self.client.status().await else { return known };
        let found = status.members.into_iter().rev().find(|member| member.live && member.name == *name);
        found.map_or(known, |member| member.address)
    }

    /// Waits until the shard counts the copy again.
    async fn await_copy(&mut self, shard: ShardId, name: &str, copies: usize) -> Result<(), Error> {
        loop {
            let whole = self.await_whole(shard).await?;
            let is_back = whole.copies.iter().any(|copy| copy.name == name && copy.live && copy.in_isr);
            if is_back && whole.isr.len() >= copies {
                return Ok(());
            }
            if has_no_place(&whole, name) {
                let text = format!(
                    "it runs again, but a standby has taken its place in shard {shard} meanwhile (--standby-after)"
                );
                return Err(Error::new(Code::Unavailable, text));
            }
            self.last = format!("shard {shard} does not count {name} yet");
            self.pause().await?;
        }
    }

    async fn await_leader(&mut self, address: &str) -> Result<(), Error> {
        loop {
            if let Ok(status) = self.client.status().await {
                let leads = status.masters.iter().any(|master| master.leader);
                let is_back = status.masters.iter().any(|master| master.address == address);
                if leads && is_back {
                    return Ok(());
                }
                self.last = "no master leads, or it is not in the queue of masters yet".into();
            }
            self.pause().await?;
        }
    }

    async fn pause(&self) -> Result<(), Error> {
        if Instant::now() >= self.until {
            let text = format!("not back within the time (--wait): {}", self.last);
            return Err(Error::new(Code::Timeout, text));
        }
        sleep(PAUSE).await;
        Ok(())
    }
}

async fn describe(client: &Client, address: &str) -> Result<v1::DescribeReply, Error> {
    let ask = async |channel, hello| {
        ProcessClient::new(channel).describe(v1::DescribeRequest { hello: Some(hello) }).await
    };
    members::at(client, address, ask).await
}

#[cfg(test)]
mod tests {
    use slotkv_proto::v1::{MasterStatus, MemberStatus, ReplicaStatus, ShardStatus};

    use super::*;

    fn status() -> StatusReply {
        let copy = |name: &str| ReplicaStatus { name: name.into(), live: true, ..Default::default() };
        let shard = |shard, primary: &str, names: [&str; 2]| ShardStatus {
            shard,
            primary: primary.into(),
            copies: names.map(copy).into(),
            ..Default::default()
        };
        let master = |address: &str, leader| MasterStatus { address: address.into(), leader };
        let member = |name: &str| MemberStatus {
            name: name.into(),
            live: true,
            shard: UNALLOCATED,
            ..Default::default()
        };
        StatusReply {
            shards: vec![shard(0, "a", ["a", "b"]), shard(1, "d", ["c", "d"])],
            masters: vec![master("m1", true), master("m2", false)],
            members: vec![member("a"), member("spare")],
            ..Default::default()
        }
    }

    #[test]
    fn backups_go_before_their_primary_and_the_leading_master_goes_last() {
        let places = places(&status(), &[]).unwrap();
        let names: Vec<&str> = places.iter().map(Place::name).collect();
        assert_eq!(names, ["b", "a", "c", "d", "spare", "m2", "m1"]);
    }

    #[test]
    fn a_copy_without_which_its_shard_takes_no_writes_is_not_stopped() {
        let copy =
            |name: &str| ReplicaStatus { in_isr: true, live: true, name: name.into(), ..Default::default() };
        let shard = |replicas, min_isr, names: &[&str]| ShardStatus {
            slots: 4,
            replicas,
            min_isr,
            primary: "a".into(),
            copies: names.iter().map(|name| copy(name)).collect(),
            ..Default::default()
        };
        let waits = |shard| in_the_way(&shard, "a");
        assert!(waits(shard(3, 2, &["a", "b"])).unwrap().contains("no writes below 2"));
        assert!(waits(shard(2, 1, &["a"])).unwrap().contains("no other copy"));
        assert_eq!(waits(shard(3, 2, &["a", "b", "c"])), None);
        assert_eq!(waits(shard(1, 1, &["a"])), None);

        // What cannot change is refused before anybody is stopped.
        let refused = |shard: ShardStatus| {
            let status = StatusReply { shards: vec![shard], ..Default::default() };
            check(&status, &places(&status, &[]).unwrap()).err().map(|failure| failure.message)
        };
        assert!(refused(shard(2, 2, &["a", "b"])).unwrap().contains("smaller --min-isr"));
        assert_eq!(refused(shard(3, 2, &["a", "b"])), None);
        assert_eq!(refused(shard(1, 1, &["a"])), None);
        assert_eq!(refused(ShardStatus { slots: 0, ..shard(2, 2, &["a", "b"]) }), None);
    }

    #[test]
    fn a_copy_whose_place_a_standby_has_taken_is_waited_for_by_nobody() {
        let copy = |(name, in_isr): (&str, bool)| ReplicaStatus {
            in_isr,
            live: true,
            name: name.into(),
            ..Default::default()
        };
        let shard = |spare| ShardStatus {
            replicas: 2,
            primary: "a".into(),
            copies: [("a", true), ("b", false), ("spare", spare)].map(copy).into(),
            ..Default::default()
        };
        assert_eq!(unsettled(&shard(true)), None);
        assert!(has_no_place(&shard(true), "b") && !has_no_place(&shard(true), "spare"));
        // Before the standby has everything it is not known who will count.
        assert_eq!(unsettled(&shard(false)).unwrap(), "not in sync: b, spare");
        assert!(!has_no_place(&shard(false), "b"));
        assert!(unsettled(&ShardStatus { primary: String::new(), ..shard(true) }).is_some());
    }

    #[test]
    fn those_that_are_named_keep_the_order_and_nobody_else_goes() {
        let names = ["m2".to_owned(), "c".to_owned()];
        let found = places(&status(), &names).unwrap();
        assert_eq!(found.iter().map(Place::name).collect::<Vec<_>>(), ["c", "m2"]);
        let failure = places(&status(), &["nobody".to_owned()]).unwrap_err();
        assert!(failure.message.contains("nobody"), "{}", failure.message);
    }
}
