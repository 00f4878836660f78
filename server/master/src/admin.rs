//! `slotkv.v1.Admin`: what operators see and wish for. Status is the view in other words, with sentences about what is
//! unusual.

use std::sync::Arc;

use slotkv_coordination::{
    View,
    registers::{MemberRecord, Register},
    view::ShardView,
};
use slotkv_migration::Outcome;
use slotkv_proto::{
    Code,
    code::status_of,
    table::{ShardId, UNALLOCATED},
    v1,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::{
    fleet::Fleet,
    movement::{EndedMove, Movement, OpenMove},
    operator::Operator,
    order::{Cancel, Done, Order},
    plan::{self, Move},
    replicas::{self, ShardState},
    service::{check_cluster, check_hello},
    standing::Standing,
    wish::Wish,
};

/// Said while operators have stopped everything.
pub const ALL_HELD: &str = "an operator has cancelled every move; admin rebalance lets it go on";

/// Serves the status of the cluster, and takes what operators wish for to the master's office.
#[derive(Clone, Debug)]
pub struct AdminService {
    view: watch::Receiver<Arc<View>>,
    standing: watch::Receiver<Standing>,
    operator: Operator,
    fleet: Arc<Fleet>,
    movement: watch::Receiver<Arc<Movement>>,
    address: String,
}

impl AdminService {
    /// Of the master at `address` (as it advertises itself) whose view, standing and office these are.
    pub fn new(
        view: watch::Receiver<Arc<View>>,
        standing: watch::Receiver<Standing>,
        operator: Operator,
        movement: watch::Receiver<Arc<Movement>>,
        address: impl Into<String>,
    ) -> Self {
        Self { view, standing, operator, fleet: Arc::default(), movement, address: address.into() }
    }

    /// Tells of these clients.
    pub fn with_fleet(self, fleet: Arc<Fleet>) -> Self {
        Self { fleet, ..self }
    }

    /// Refuses what only the leader can answer.
    fn check_leads(&self, hello: Option<&v1::Hello>) -> Result<Arc<View>, Status> {
        let hello = check_hello(hello)?;
        let view = self.view.borrow().clone();
        check_cluster(view.table.as_deref(), &hello.cluster_id)?;
        let standing = self.standing.borrow().clone();
        if !standing.leads() {
            let leader = leader(&view, &standing, &self.address).and_then(|place| view.masters.get(place));
            let leader =
                leader.map_or_else(|| "nobody is known to lead".to_owned(), |at| format!("{at} leads"));
            return Err(status_of(Code::NotPrimary, format!("this master stands by; {leader}")));
        }
        Ok(view)
    }

    async fn order(
        &self,
        hello: Option<&v1::Hello>,
        order: Order,
    ) -> Result<Response<v1::OrderReply>, Status> {
        self.check_leads(hello)?;
        let done = self.operator.order(order).await;
        let Done { from, to, moves, cancelled, resumed } =
            done.map_err(|refusal| status_of(refusal.code, refusal.text))?;
        let moves = moves.iter().map(move_status).collect();
        Ok(Response::new(v1::OrderReply { weight_from: from, weight_to: to, moves, cancelled, resumed }))
    }

    async fn wish(&self, hello: Option<&v1::Hello>, wish: Wish) -> Result<Response<v1::WishReply>, Status> {
        self.check_leads(hello)?;
        let settled = self.operator.ask(wish).await;
        let settled = settled.map_err(|refusal| status_of(refusal.code, refusal.text))?;
        Ok(Response::new(v1::WishReply {
            shard: settled.shard,
            from: settled.from.unwrap_or_default(),
            to: settled.to,
            epoch: settled.epoch,
        }))
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

    async fn failover(
        &self,
        request: Request<v1::FailoverRequest>,
    ) -> Result<Response<v1::WishReply>, Status> {
        let v1::FailoverRequest { hello, shard } = request.into_inner();
        self.wish(hello.as_ref(), Wish::Failover(shard)).await
    }

    async fn promote(&self, request: Request<v1::PromoteRequest>) -> Result<Response<v1::WishReply>, Status> {
        let v1::PromoteRequest { hello, name } = request.into_inner();
        self.wish(hello.as_ref(), Wish::Promote(name)).await
    }

    async fn recover(&self, request: Request<v1::RecoverRequest>) -> Result<Response<v1::WishReply>, Status> {
        let v1::RecoverRequest { hello, shard, name } = request.into_inner();
        self.wish(hello.as_ref(), Wish::Recover(shard, name)).await
    }

    async fn slots(&self, request: Request<v1::SlotsRequest>) -> Result<Response<v1::SlotsReply>, Status> {
        let request = request.into_inner();
        let hello = check_hello(request.hello.as_ref())?;
        let view = self.view.borrow().clone();
        check_cluster(view.table.as_deref(), &hello.cluster_id)?;
        match view.slots.encode() {
            Ok(register) => Ok(Response::new(v1::SlotsReply { register })),
            Err(error) => Err(status_of(Code::Unexpected, error.to_string())),
        }
    }

    async fn clients(
        &self,
        request: Request<v1::ClientsRequest>,
    ) -> Result<Response<v1::ClientsReply>, Status> {
        let request = request.into_inner();
        let hello = check_hello(request.hello.as_ref())?;
        let view = self.view.borrow().clone();
        check_cluster(view.table.as_deref(), &hello.cluster_id)?;
        let (clients, more) = self.fleet.clients();
        let table_version = view.table.as_ref().map_or(0, |table| table.version());
        Ok(Response::new(v1::ClientsReply { table_version, clients, more }))
    }

    async fn weight(&self, request: Request<v1::WeightRequest>) -> Result<Response<v1::OrderReply>, Status> {
        let v1::WeightRequest { hello, shard, weight } = request.into_inner();
        self.order(hello.as_ref(), Order::Weight { shard, weight }).await
    }

    async fn rebalance(
        &self,
        request: Request<v1::RebalanceRequest>,
    ) -> Result<Response<v1::OrderReply>, Status> {
        let v1::RebalanceRequest { hello, dry_run } = request.into_inner();
        self.order(hello.as_ref(), Order::Rebalance { dry_run }).await
    }

    async fn cancel(&self, request: Request<v1::CancelRequest>) -> Result<Response<v1::OrderReply>, Status> {
        let v1::CancelRequest { hello, what } = request.into_inner();
        let what = match what {
            None => Cancel::All,
            Some(v1::cancel_request::What::Shard(shard)) => Cancel::Shard(shard),
            Some(v1::cancel_request::What::Id(id)) => Cancel::One(id),
        };
        self.order(hello.as_ref(), Order::Cancel(what)).await
    }

    async fn migrations(
        &self,
        request: Request<v1::MigrationsRequest>,
    ) -> Result<Response<v1::MigrationsReply>, Status> {
        let request = request.into_inner();
        let view = self.check_leads(request.hello.as_ref())?;
        let movement = self.movement.borrow().clone();
        let epoch = self.standing.borrow().epoch;
        Ok(Response::new(migrations(&view, &movement, epoch)))
    }
}

/// How far hand-overs are.
fn migrations(view: &View, movement: &Movement, master_epoch: u64) -> v1::MigrationsReply {
    let totals = &movement.totals;
    let weights = plan::weights(view);
    v1::MigrationsReply {
        table_version: view.slots.version.max(movement.version),
        open: movement.open.iter().map(open_status).collect(),
        ended: movement.ended.iter().map(ended_status).collect(),
        left: movement.left.iter().map(move_status).collect(),
        notices: movement.notices.iter().cloned().chain(hold_notices(view)).collect(),
        held_all: view.holds.all,
        held_shards: view.holds.shards.iter().copied().collect(),
        totals: Some(v1::MovementTotals {
            slots: totals.slots,
            bytes: totals.bytes,
            aborted: totals.aborted,
            pause_us_p50: totals.pause_us_p50,
            pause_us_p99: totals.pause_us_p99,
            pause_us_max: totals.pause_us_max,
        }),
        master_epoch,
        planned: movement.weights == weights
            && movement.holds == view.holds.number
            && movement.version >= view.slots.version,
        weights: weights.into_iter().map(|(shard, weight)| v1::ShardWeight { shard, weight }).collect(),
    }
}

fn move_status(one: &Move) -> v1::MoveStatus {
    v1::MoveStatus { source: one.source, target: one.target, slots: one.slots as u32 }
}

fn open_status(open: &OpenMove) -> v1::MigrationStatus {
    let run = |&(first, last): &(u16, u16)| v1::SlotRun { first: first.into(), last: last.into() };
    v1::MigrationStatus {
        id: open.id,
        source: open.source,
        target: open.target,
        slots: open.slots.iter().map(run).collect(),
        slot_count: open.slots.iter().map(|(first, last)| u32::from(last - first) + 1).sum(),
        state: open.state.to_owned(),
        sent_bytes: open.sent_bytes,
        behind_bytes: open.behind_bytes,
        age_ms: open.age_ms,
        cancelled: open.is_cancelled,
    }
}

fn ended_status(ended: &EndedMove) -> v1::EndedMigration {
    v1::EndedMigration {
        id: ended.id,
        source: ended.source,
        target: ended.target,
        slot_count: ended.slots as u32,
        moved: ended.outcome == Outcome::Moved,
        why: ended.why.clone(),
        bytes: ended.bytes,
        pause_us: ended.pause_us,
        failed_count: ended.failed_count,
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
    let ShardState { state, reason } = replicas::shard_state(view, shard, register, slots);
    v1::ShardStatus {
        shard,
        epoch: register.epoch,
        state: state.to_owned(),
        primary: register.primary.as_ref().map_or_else(String::new, |primary| primary.name.clone()),
        isr: register.isr.iter().map(|replica| replica.name.clone()).collect(),
        ack: register.ack.to_string(),
        min_isr: register.min_isr,
        durability: register.durability.to_string(),
        weight: register.weight,
        slots,
        replicas: register.replicas,
        preferred: register.preferred.clone().unwrap_or_default(),
        reason,
        loss_epoch: register.loss_epoch,
        recover: register.recover.clone().unwrap_or_default(),
        copies: replicas::copies(view, shard, register),
    }
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
        if replicas::process(view, primary).is_none() {
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
    let mut notices = hold_notices(view);
    let open = view.slots.migrations.len();
    if open > 0 {
        notices.push(format!("{open} hand-overs of slots are open; see admin migrations"));
    }
    notices
}

/// What operators have cancelled.
fn hold_notices(view: &View) -> Vec<String> {
    if view.holds.all {
        return vec![ALL_HELD.to_owned()];
    }
    let held = view.holds.shards.iter().map(|shard| {
        format!("an operator has cancelled the moves of shard {shard}; add, drain or weight lets them go on")
    });
    held.collect()
}
