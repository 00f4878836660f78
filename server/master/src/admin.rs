//! `slotkv.v1.Admin`: what operators see. Status is the view in other words, with sentences about what is unusual.

use std::sync::Arc;

use slotkv_coordination::{
    View,
    registers::{Ack, MemberRecord, Primary},
    view::ShardView,
};
use slotkv_proto::{
    table::{ShardId, UNALLOCATED},
    v1,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::{
    service::{check_cluster, check_hello},
    standing::Standing,
};

/// Said by every status, until there is hand-over.
pub const NOTHING_MOVES: &str =
    "nothing moves until hand-over exists: slots stay with the shards that got them first";

/// Serves the status of the cluster.
#[derive(Clone, Debug)]
pub struct AdminService {
    view: watch::Receiver<Arc<View>>,
    standing: watch::Receiver<Standing>,
    address: String,
}

impl AdminService {
    /// Of the master at `address` (as it advertises itself) whose view and standing these are.
    pub fn new(
        view: watch::Receiver<Arc<View>>,
        standing: watch::Receiver<Standing>,
        address: impl Into<String>,
    ) -> Self {
        Self { view, standing, address: address.into() }
    }
}

#[tonic::async_trait]
impl v1::admin_server::Admin for AdminService {
    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusReply>, Status> {
        let request = request.into_inner();
        let hello = check_hello(request.hello.as_ref())?;
        let view = self.view.borrow().clone();
        check_cluster(view.table.as_deref(), &hello.cluster_id)?;
        let standing = self.standing.borrow().clone();
        Ok(Response::new(status(&view, &standing, &self.address)))
    }
}

/// The status of the cluster as the master at `address` sees it.
pub fn status(view: &View, standing: &Standing, address: &str) -> v1::StatusReply {
    let cluster = view.cluster.as_ref();
    let leader = leader(view, standing, address);
    v1::StatusReply {
        cluster_id: cluster.map_or_else(String::new, |cluster| cluster.cluster_id.clone()),
        slot_count: cluster.map_or(0, |cluster| cluster.slot_count),
        table_version: view.slots.version,
        master_epoch: view.master_epoch.max(standing.epoch),
        masters: (0..)
            .zip(&view.masters)
            .map(|(place, address)| v1::MasterStatus {
                address: address.clone(),
                leader: leader == Some(place),
            })
            .collect(),
        shards: view.shards.iter().map(|(&shard, known)| shard_status(view, shard, known)).collect(),
        members: member_statuses(view),
        notices: notices(view, standing),
        shards_announced: cluster.map_or(0, |cluster| cluster.shards_announced),
    }
}

/// The place of the leader among the masters, if one leads. A master knows of itself whether it does; of the others it knows
/// the queue only, and that only while it is in touch.
fn leader(view: &View, standing: &Standing, address: &str) -> Option<usize> {
    if standing.leads() {
        // An earlier process of this master may still have its place, until its session is over.
        return view.masters.iter().rposition(|master| master == address);
    }
    let first = view.masters.first()?;
    (view.connected && first != address).then_some(0)
}

fn shard_status(view: &View, shard: ShardId, known: &ShardView) -> v1::ShardStatus {
    let register = &known.register;
    let slots = slots_of(view, shard);
    let state = match &register.primary {
        None => "no primary",
        Some(primary) if !is_live(view, primary) => "primary not live",
        Some(_) if register.isr.len() < register.min_isr as usize => "read-only",
        Some(_) if slots == 0 => "waiting for slots",
        Some(_) => "leader",
    };
    v1::ShardStatus {
        shard,
        epoch: register.epoch,
        state: state.to_owned(),
        primary: register.primary.as_ref().map_or_else(String::new, |primary| primary.name.clone()),
        isr: register.isr.iter().map(|replica| replica.name.clone()).collect(),
        ack: match register.ack {
            Ack::All => "all",
            Ack::One => "one",
        }
        .to_owned(),
        min_isr: register.min_isr,
        durability: register.durability.to_string(),
        weight: register.weight,
        slots,
    }
}

/// Whether the process is in touch with the coordinator, as far as is known.
fn is_live(view: &View, primary: &Primary) -> bool {
    view.members.values().any(|live| live.name == primary.name && live.run == primary.run)
}

fn slots_of(view: &View, shard: ShardId) -> u32 {
    view.table.as_ref().map_or(0, |table| table.slots_of(shard) as u32)
}

/// Every member that was ever seen, and each of its processes that lives.
fn member_statuses(view: &View) -> Vec<v1::MemberStatus> {
    let status = |member: &MemberRecord, live: bool| v1::MemberStatus {
        name: member.name.clone(),
        run: member.run.clone(),
        address: member.address.clone(),
        shard: member.shard.unwrap_or(UNALLOCATED),
        live,
        zone: member.zone.clone(),
    };
    let live = view.members.values().map(|member| status(member, true));
    let gone = view
        .known
        .values()
        .filter(|known| view.member(&known.member.name).is_none())
        .map(|known| status(&known.member, false));
    let mut members: Vec<_> = live.chain(gone).collect();
    members.sort_by(|a, b| (&a.name, &a.run).cmp(&(&b.name, &b.run)));
    members
}

fn notices(view: &View, standing: &Standing) -> Vec<String> {
    let mut notices = Vec::new();
    if !view.connected {
        notices.push("the coordinator is out of reach: this is what was known before".to_owned());
    }
    if let Some(problem) = &standing.problem {
        notices.push(problem.clone());
    }
    notices.extend(view.problems.iter().map(|(path, why)| format!("register {path} cannot be used: {why}")));
    notices.extend(allocation_notices(view));
    for (shard, known) in &view.shards {
        let Some(primary) = &known.register.primary else { continue };
        if !is_live(view, primary) {
            let name = &primary.name;
            notices
                .push(format!("the primary of shard {shard}, {name}, is not in touch with the coordinator"));
        }
    }
    for known in view.known.values().filter(|known| !known.left) {
        let member = &known.member;
        if view.member(&member.name).is_none() {
            let (role, name) = (member.role, &member.name);
            notices.push(format!("{role} {name} does not live and did not leave: crashed, or cut off"));
        }
    }
    notices
}

fn allocation_notices(view: &View) -> Vec<String> {
    let Some(cluster) = &view.cluster else {
        return vec!["no master has founded the cluster yet".to_owned()];
    };
    if view.slots.version == 0 {
        let ready = view.shards.values().filter(|known| known.register.primary.is_some()).count();
        let announced = cluster.shards_announced;
        return vec![format!(
            "the slots are given out when {announced} shards have registered and have a primary; so far {ready} have"
        )];
    }
    let mut notices = vec![NOTHING_MOVES.to_owned()];
    let without: Vec<String> =
        view.shards.keys().filter(|&&shard| slots_of(view, shard) == 0).map(ShardId::to_string).collect();
    if !without.is_empty() {
        notices.push(format!("without slots until then: shard {}", without.join(", ")));
    }
    notices
}
