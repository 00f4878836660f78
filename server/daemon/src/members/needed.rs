//! What depends on a member: who uses the cluster, by which slot table, and what a shard would lack without a copy.

use slotkv::{Client, Error};
use slotkv_proto::{
    Code,
    table::UNALLOCATED,
    v1::{self, ClientStatus, ShardStatus, StatusReply, admin_client::AdminClient},
};
use slotkv_worker::LEAVING;

use super::reach;

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

/// What speaks against stopping a member.
pub(crate) async fn reasons(client: &Client, status: &StatusReply, name: &str) -> Result<Vec<String>, Error> {
    verdict(status, &clients(client, status).await, name)
}

/// Whether a copy says that its process is about to end.
pub(crate) fn is_leaving(copy: &v1::ReplicaStatus) -> bool {
    copy.state.ends_with(LEAVING)
}

/// What speaks against stopping a member, a master by its address or a worker by its name.
fn verdict(status: &StatusReply, fleet: &Clients, name: &str) -> Result<Vec<String>, Error> {
    if status.masters.iter().any(|master| master.address == name) {
        return Ok(match status.masters.len() {
            1 => vec!["it is the only master".to_owned()],
            _ => vec![],
        });
    }
    let shards = status.shards.iter();
    let Some((shard, copy)) = shards
        .flat_map(|shard| shard.copies.iter().map(move |copy| (shard, copy)))
        .find(|(_, copy)| copy.name == name)
    else {
        return of_no_shard(status, name);
    };
    let mut reasons = Vec::new();
    if copy.live && copy.in_isr {
        reasons.extend(lacking_without(shard, name));
    }
    if shard.slots == 0 && copy.in_isr {
        // Whoever still sends requests there would have to be told where they go.
        let behind: Vec<String> = fleet.behind().map(|client| client.name.clone()).collect();
        if !behind.is_empty() {
            reasons.push(format!(
                "{} clients do not know the newest slot table yet ({})",
                behind.len(),
                behind.into_iter().take(5).collect::<Vec<_>>().join(", ")
            ));
        }
    }
    Ok(reasons)
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
    let counts =
        |copy: &&v1::ReplicaStatus| copy.live && copy.in_isr && copy.name != name && !is_leaving(copy);
    let left = shard.copies.iter().filter(counts).count() as u32;
    match left {
        0 => Some(format!("shard {} has {} slots and no other copy in sync", shard.shard, shard.slots)),
        _ if left < shard.min_isr => Some(format!(
            "shard {} would have {left} copies in sync and take no writes below {}",
            shard.shard, shard.min_isr
        )),
        _ => None,
    }
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
        let reasons = |shard, name| verdict(&status(shard), &fleet(vec![]), name).unwrap();
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
            verdict(&status(shard(1, true)), &fleet(vec![]), "x").unwrap_err().code,
            Code::InvalidArgument
        );
    }

    #[test]
    fn a_standby_may_go_and_a_member_that_nobody_knows_is_refused() {
        let mut status = status(ShardStatus { copies: vec![copy("a", true)], ..Default::default() });
        let member = |name: &str, shard| MemberStatus { name: name.into(), shard, ..Default::default() };
        status.members = vec![member("a", 0), member("spare", UNALLOCATED)];
        assert_eq!(verdict(&status, &fleet(vec![]), "spare").unwrap(), Vec::<String>::new());
        assert!(verdict(&status, &fleet(vec![]), "nobody").is_err());
    }

    #[test]
    fn an_empty_shard_may_go_once_every_client_knows_that_it_is() {
        let shard = ShardStatus { min_isr: 1, copies: vec![copy("a", true)], ..Default::default() };
        let reasons =
            |version| verdict(&status(shard.clone()), &fleet(vec![client(1, version, 0)]), "a").unwrap();
        assert!(reasons(8)[0].contains("1 clients do not know"));
        assert_eq!(reasons(9), Vec::<String>::new());
    }
}
