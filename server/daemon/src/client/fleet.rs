//! `admin clients` and `admin safe`: who uses the cluster, by which slot table, and whether a member may be stopped.

use serde_json::json;
use slotkv::Client;
use slotkv_proto::v1::{self, ClientStatus, ShardStatus, StatusReply, admin_client::AdminClient};
use slotkv_worker::LEAVING;

use super::{connect, failure, output::Output, reach, table::Table};
use crate::cli::{
    exit::{Exit, Failure},
    flags::{ClientsFlags, SafeFlags},
};

/// The clients of all masters.
pub(crate) struct Clients {
    /// The newest slot table that a master has.
    version: u64,
    /// The ones with the oldest table first.
    clients: Vec<ClientStatus>,
    /// There are more than the masters keep.
    more: bool,
    /// Masters that did not answer, and why.
    silent: Vec<String>,
}

/// `admin clients`.
pub(crate) async fn clients(flags: ClientsFlags) -> Result<Exit, Failure> {
    let client = connect(&flags.client).await?;
    let asked = async { Ok(asked(&client, &client.status().await.map_err(failure)?).await) }.await;
    client.close().await;
    let fleet: Clients = asked?;
    let mut output = Output::new();
    match flags.client.json {
        true => output.line(&fleet.json().to_string())?,
        false => output.bytes(fleet.text().as_bytes())?,
    };
    output.end(if fleet.silent.is_empty() { Exit::Done } else { Exit::Partly })
}

/// Asks every master for the clients that ping it.
async fn asked(client: &Client, status: &StatusReply) -> Clients {
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
    fn behind(&self) -> impl Iterator<Item = &ClientStatus> {
        self.clients.iter().filter(|client| client.table_version < self.version)
    }

    fn text(&self) -> String {
        let behind = self.behind().count();
        let mut text = format!(
            "{} clients; {} go by table version {}, the newest, {behind} by an older one\n",
            self.clients.len(),
            self.clients.len() - behind,
            self.version
        );
        let mut table = Table::new(&["table version", "client", "id", "heard of ms ago"]);
        for client in &self.clients {
            table.row([
                client.table_version.to_string(),
                client.name.clone(),
                hex(&client.client_id),
                client.seen_ms.to_string(),
            ]);
        }
        if !self.clients.is_empty() {
            text.push_str(&table.text());
        }
        if self.more {
            text.push_str("there are more clients than the masters keep\n");
        }
        for why in &self.silent {
            text.push_str(&format!("a master does not tell of its clients: {why}\n"));
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        let clients = self.clients.iter().map(|client| {
            json!({
                "client_id": hex(&client.client_id),
                "name": client.name,
                "table_version": client.table_version,
                "seen_ms": client.seen_ms,
            })
        });
        json!({
            "table_version": self.version,
            "clients": clients.collect::<Vec<_>>(),
            "behind": self.behind().count(),
            "more": self.more,
            "silent_masters": self.silent,
        })
    }
}

/// `admin safe`.
pub(crate) async fn safe(flags: SafeFlags) -> Result<Exit, Failure> {
    let client = connect(&flags.client).await?;
    let looked = async {
        let status = client.status().await.map_err(failure)?;
        reasons(&client, &status, &flags.name).await
    };
    let looked = looked.await;
    client.close().await;
    let reasons = looked?;
    let mut output = Output::new();
    let is_safe = reasons.is_empty();
    match (flags.client.json, is_safe) {
        (true, _) => {
            let reasons = json!({ "member": flags.name, "safe": is_safe, "reasons": reasons });
            output.line(&reasons.to_string())?
        }
        (false, true) => {
            output.line(&format!("{} may be stopped: nothing depends on it alone", flags.name))?
        }
        (false, false) => {
            output.line(&format!("{} is better not stopped now: {}", flags.name, reasons.join("; ")))?
        }
    };
    output.end(if is_safe { Exit::Done } else { Exit::No })
}

/// What speaks against stopping a member.
pub(crate) async fn reasons(
    client: &Client,
    status: &StatusReply,
    name: &str,
) -> Result<Vec<String>, Failure> {
    verdict(status, &asked(client, status).await, name)
}

/// Whether a copy says that its process is about to end.
pub(crate) fn is_leaving(copy: &v1::ReplicaStatus) -> bool {
    copy.state.ends_with(LEAVING)
}

/// What speaks against stopping a member, a master by its address or a worker by its name.
fn verdict(status: &StatusReply, fleet: &Clients, name: &str) -> Result<Vec<String>, Failure> {
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
        let text = format!("no replica and no master is called {name:?}; see admin status");
        return Err(Failure { exit: Exit::Usage, message: text });
    };
    let mut reasons = Vec::new();
    if copy.live && copy.in_isr {
        reasons.extend(of_shard(shard, name));
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

/// What the shard would lack without a copy that it counts.
fn of_shard(shard: &ShardStatus, name: &str) -> Vec<String> {
    if shard.slots == 0 {
        return vec![];
    }
    let counts =
        |copy: &&v1::ReplicaStatus| copy.live && copy.in_isr && copy.name != name && !is_leaving(copy);
    let left = shard.copies.iter().filter(counts).count() as u32;
    match left {
        0 => vec![format!("shard {} has {} slots and no other copy in sync", shard.shard, shard.slots)],
        _ if left < shard.min_isr => vec![format!(
            "shard {} would have {left} copies in sync and take no writes below {}",
            shard.shard, shard.min_isr
        )],
        _ => vec![],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use slotkv_proto::v1::{MasterStatus, ReplicaStatus};

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
        assert!(fleet.text().contains("2 clients; 2 go by table version 9"), "{}", fleet.text());
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
        assert_eq!(verdict(&status(shard(1, true)), &fleet(vec![]), "x").unwrap_err().exit, Exit::Usage);
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
