//! What depends on a member: who uses the cluster, by which slot table, and what a shard would lack without a copy.

use std::time::Duration;

use slotkv::{Client, Error};
use slotkv_proto::{
    Code,
    table::UNALLOCATED,
    v1::{self, ClientStatus, MigrationStatus, ShardStatus, StatusReply, admin_client::AdminClient},
};
use slotkv_worker::LEAVING;

use tokio::time::Instant;

use super::{ask_leader, reach};

/// How long a leader may be away who is to tell of hand-overs.
const LEADER_WAIT: Duration = Duration::from_secs(5);
/// So many clients are named.
const NAMES_MAX: usize = 5;

/// The clients of all masters.
pub(crate) struct Clients {
    /// The newest slot table that a master has.
    pub version: u64,
    /// The ones with the oldest table first.
    pub clients: Vec<ClientStatus>,
    /// There are more than the masters keep.
    pub more: bool,
    /// Masters that did not answer, and why.
    pub silent: Vec<String>,
}

/// Asks every master for the clients that ping it.
pub(crate) async fn clients(client: &Client, status: &StatusReply) -> Clients {
    let mut fleet = Clients { version: status.table_version, clients: vec![], more: false, silent: vec![] };
    for master in &status.masters {
        let ask = async |channel, hello| {
            AdminClient::new(channel).clients(v1::ClientsRequest { hello: Some(hello) }).await
        };
        match reach::at(client, &master.address, ask).await {
            Ok(reply) => {
                fleet.version = fleet.version.max(reply.table_version);
                fleet.more |= reply.more;
                fleet.clients.extend(reply.clients);
            }
            Err(error) => fleet.silent.push(format!("{}: {error}", master.address)),
        }
    }
    fleet.settle();
    fleet
}

impl Clients {
    /// One row per client: one that has gone from one master to another is known to both for a while.
    fn settle(&mut self) {
        self.clients.sort_by(|a, b| (&a.client_id, a.seen_ms).cmp(&(&b.client_id, b.seen_ms)));
        self.clients.dedup_by(|later, first| later.client_id == first.client_id);
        self.clients.sort_by(|a, b| {
            (a.table_version, &a.name, &a.client_id).cmp(&(b.table_version, &b.name, &b.client_id))
        });
    }

    /// Those that go by an older slot table than the newest.
    pub fn behind(&self) -> impl Iterator<Item = &ClientStatus> {
        self.clients.iter().filter(|client| client.table_version < self.version)
    }
}

/// Hand-overs that are not closed, or why nobody knows.
type Open = Result<Vec<MigrationStatus>, String>;

/// What speaks against stopping a member.
pub(crate) async fn reasons(client: &Client, status: &StatusReply, name: &str) -> Result<Vec<String>, Error> {
    let is_empty = copy_of(status, name).is_some_and(|(shard, _)| shard.slots == 0);
    let open = if is_empty { open(client).await } else { Ok(vec![]) };
    verdict(status, &clients(client, status).await, &open, name)
}

async fn open(client: &Client) -> Open {
    let until = Instant::now() + LEADER_WAIT;
    let movements = ask_leader(client, until, async |mut admin: AdminClient<_>, hello| {
        admin.migrations(v1::MigrationsRequest { hello: Some(hello) }).await
    });
    movements.await.map(|movements| movements.open).map_err(|error| error.to_string())
}

fn copy_of<'a>(status: &'a StatusReply, name: &str) -> Option<(&'a ShardStatus, &'a v1::ReplicaStatus)> {
    let copies = status.shards.iter().flat_map(|shard| shard.copies.iter().map(move |copy| (shard, copy)));
    copies.into_iter().find(|(_, copy)| copy.name == name)
}

/// Whether a copy says that its process is about to end.
pub(crate) fn is_leaving(copy: &v1::ReplicaStatus) -> bool {
    copy.state.ends_with(LEAVING)
}

/// What speaks against stopping a member, a master by its address or a worker by its name.
fn verdict(status: &StatusReply, fleet: &Clients, open: &Open, name: &str) -> Result<Vec<String>, Error> {
    if status.masters.iter().any(|master| master.address == name) {
        return Ok(match status.masters.len() {
            1 => vec!["it is the only master".to_owned()],
            _ => vec![],
        });
    }
    let Some((shard, copy)) = copy_of(status, name) else { return of_no_shard(status, name) };
    let mut reasons = Vec::new();
    if copy.live && copy.in_isr {
        reasons.extend(lacking_without(shard, name));
    }
    if shard.slots == 0 && copy.in_isr {
        reasons.extend(of_hand_overs(shard, open, name));
        reasons.extend(of_clients(fleet));
    }
    Ok(reasons)
}

/// A hand-over of a shard without slots is over for its clients, but it is not closed before the shard has deleted what it gave, or
/// taken back what it was to get. Only its copies can do that.
fn of_hand_overs(shard: &ShardStatus, open: &Open, name: &str) -> Option<String> {
    if others_in_sync(shard, name) >= shard.min_isr.max(1) {
        return None;
    }
    let id = shard.shard;
    match open {
        Ok(open) => {
            let open = open.iter().find(|open| open.source == id || open.target == id)?;
            let MigrationStatus { id: number, state, .. } = open;
            Some(format!("hand-over {number} of shard {id} is {state} and not closed"))
        }
        Err(why) => Some(format!("nobody knows whether a hand-over of shard {id} is open: {why}")),
    }
}

/// Whoever still sends requests to a shard without slots would have to be told where they go.
fn of_clients(fleet: &Clients) -> Vec<String> {
    let mut reasons = Vec::new();
    let behind: Vec<&str> = fleet.behind().map(|client| client.name.as_str()).collect();
    if !behind.is_empty() {
        let names = behind[..behind.len().min(NAMES_MAX)].join(", ");
        reasons.push(format!("{} clients do not know the newest slot table yet ({names})", behind.len()));
    }
    if fleet.more {
        reasons.push(
            "there are more clients than the masters keep: what the others know, nobody can tell".into(),
        );
    }
    let silent = fleet.silent.iter();
    reasons.extend(silent.map(|why| format!("a master does not tell what its clients know: {why}")));
    reasons
}

/// A worker that stands by holds nothing that somebody could need.
fn of_no_shard(status: &StatusReply, name: &str) -> Result<Vec<String>, Error> {
    if status.members.iter().any(|member| member.name == name && member.shard == UNALLOCATED) {
        return Ok(vec![]);
    }
    let text = format!("no replica, no standby and no master is called {name:?}; see admin status");
    Err(Error::new(Code::InvalidArgument, text))
}

/// What the shard would lack without a copy that it counts.
pub(crate) fn lacking_without(shard: &ShardStatus, name: &str) -> Option<String> {
    if shard.slots == 0 {
        return None;
    }
    match others_in_sync(shard, name) {
        0 => Some(format!("shard {} has {} slots and no other copy in sync", shard.shard, shard.slots)),
        left if left < shard.min_isr => Some(format!(
            "shard {} would have {left} copies in sync and take no writes below {}",
            shard.shard, shard.min_isr
        )),
        _ => None,
    }
}

/// What a shard lacks to be as safe as it is to be.
pub(crate) fn copies_lacking(shard: &ShardStatus) -> Option<String> {
    let (id, in_sync) = (shard.shard, shard.isr.len());
    if shard.primary.is_empty() {
        return Some(format!("shard {id} has no primary"));
    }
    (in_sync < shard.replicas as usize)
        .then(|| format!("shard {id} has {in_sync} of {} copies in sync", shard.replicas))
}

fn others_in_sync(shard: &ShardStatus, name: &str) -> u32 {
    let counts =
        |copy: &&v1::ReplicaStatus| copy.live && copy.in_isr && copy.name != name && !is_leaving(copy);
    shard.copies.iter().filter(counts).count() as u32
}

#[cfg(test)]
mod tests {
    use slotkv_proto::v1::{MasterStatus, MemberStatus, ReplicaStatus};

    use super::*;

    fn client(id: u8, table_version: u64, seen_ms: u64) -> ClientStatus {
        ClientStatus { client_id: vec![id].into(), name: format!("c{id}"), table_version, seen_ms }
    }

    fn fleet(clients: Vec<ClientStatus>) -> Clients {
        let mut fleet = Clients { version: 9, clients, more: false, silent: vec![] };
        fleet.settle();
        fleet
    }

    fn copy(name: &str, in_isr: bool) -> ReplicaStatus {
        ReplicaStatus { name: name.into(), live: true, in_isr, ..Default::default() }
    }

    fn status(shard: ShardStatus) -> StatusReply {
        let masters = vec![MasterStatus { address: "m:1".into(), leader: true }];
        StatusReply { shards: vec![shard], masters, ..Default::default() }
    }

    #[test]
    fn a_client_that_two_masters_know_counts_once_as_it_was_last() {
        let fleet = fleet(vec![client(1, 8, 900), client(2, 9, 10), client(1, 9, 20)]);
        assert_eq!((fleet.clients.len(), fleet.behind().count()), (2, 0));
    }

    #[test]
    fn a_copy_is_needed_if_no_other_or_too_few_others_are_in_sync() {
        let shard = |min_isr, other: bool| ShardStatus {
            slots: 4,
            min_isr,
            copies: vec![copy("a", true), copy("b", other)],
            ..Default::default()
        };
        let reasons = |shard, name| verdict(&status(shard), &fleet(vec![]), &Ok(vec![]), name).unwrap();
        assert_eq!(reasons(shard(1, true), "a"), Vec::<String>::new());
        assert!(reasons(shard(1, false), "a")[0].contains("no other copy"));
        assert!(reasons(shard(2, true), "a")[0].contains("no writes below 2"));
        // One that does not count may go.
        assert_eq!(reasons(shard(1, false), "b"), Vec::<String>::new());
        assert!(reasons(shard(1, true), "m:1")[0].contains("only master"));
        // Nor does one that is about to go.
        let mut leaving = shard(1, true);
        leaving.copies[1].state = format!("in sync{LEAVING}");
        assert!(reasons(leaving, "a")[0].contains("no other copy"));
        assert_eq!(
            verdict(&status(shard(1, true)), &fleet(vec![]), &Ok(vec![]), "x").unwrap_err().code,
            Code::InvalidArgument
        );
    }

    #[test]
    fn a_standby_may_go_and_a_member_that_nobody_knows_is_refused() {
        let mut status = status(ShardStatus { copies: vec![copy("a", true)], ..Default::default() });
        let member = |name: &str, shard| MemberStatus { name: name.into(), shard, ..Default::default() };
        status.members = vec![member("a", 0), member("spare", UNALLOCATED)];
        assert_eq!(verdict(&status, &fleet(vec![]), &Ok(vec![]), "spare").unwrap(), Vec::<String>::new());
        assert!(verdict(&status, &fleet(vec![]), &Ok(vec![]), "nobody").is_err());
    }

    #[test]
    fn an_empty_shard_may_go_once_every_client_knows_that_it_is() {
        let shard = ShardStatus { min_isr: 1, copies: vec![copy("a", true)], ..Default::default() };
        let reasons = |fleet: &Clients| verdict(&status(shard.clone()), fleet, &Ok(vec![]), "a").unwrap();
        assert!(reasons(&fleet(vec![client(1, 8, 0)]))[0].contains("1 clients do not know"));
        let known = || fleet(vec![client(1, 9, 0)]);
        assert_eq!(reasons(&known()), Vec::<String>::new());
        // Nobody can say so of clients that are not told of.
        assert!(reasons(&Clients { more: true, ..known() })[0].contains("more clients than"));
        let silent = vec!["m:2: no answer".to_owned()];
        assert!(reasons(&Clients { silent, ..known() })[0].contains("m:2: no answer"));
    }

    #[test]
    fn the_last_copies_of_an_empty_shard_stay_until_its_hand_overs_are_closed() {
        let shard = |other: bool| ShardStatus {
            shard: 1,
            min_isr: 1,
            copies: vec![copy("a", true), copy("b", other)],
            ..Default::default()
        };
        let open = |source, target| {
            Ok(vec![MigrationStatus { id: 7, source, target, state: "moved".into(), ..Default::default() }])
        };
        let reasons = |shard, open: Open| verdict(&status(shard), &fleet(vec![]), &open, "a").unwrap();
        for open in [open(1, 0), open(0, 1)] {
            assert!(reasons(shard(false), open.clone())[0].contains("hand-over 7 of shard 1 is moved"));
            // Another copy can close it.
            assert_eq!(reasons(shard(true), open), Vec::<String>::new());
        }
        assert_eq!(reasons(shard(false), open(0, 2)), Vec::<String>::new());
        assert!(reasons(shard(false), Err("no leader".into()))[0].contains("nobody knows"));
    }
}
