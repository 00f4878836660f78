//! `slotkv.v1.Master`: where clients learn the slot table. It answers from the newest view, so a standby and a worker
//! serve it as well as the leader does, and go on when the coordinator is away.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{StreamExt, stream, stream::BoxStream};
use slotkv_coordination::View;
use slotkv_proto::{
    Code, SlotTable,
    code::status_of,
    handshake,
    limits::{CLIENT_ID_BYTES, CLIENT_NAME_BYTES_MAX, NAMESPACE_BYTES_MAX, SHARDS_MAX},
    table::ShardId,
    v1,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::{Request, Response, Status};

use crate::{fleet::Fleet, standing::Standing};

/// Callers of WatchSlotTable at once; past it they are refused with OVERLOADED, and poll.
pub const WATCHERS_MAX: usize = 1024;

/// Serves the slot table. Clones share the bound on watchers.
#[derive(Clone, Debug)]
pub struct MasterService {
    view: watch::Receiver<Arc<View>>,
    standing: Option<watch::Receiver<Standing>>,
    fleet: Option<Arc<Fleet>>,
    watchers: Arc<Semaphore>,
}

impl MasterService {
    /// For a member that is no master: it never says that it leads.
    pub fn new(view: watch::Receiver<Arc<View>>) -> Self {
        Self { view, standing: None, fleet: None, watchers: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }

    /// For a master.
    pub fn of_master(view: watch::Receiver<Arc<View>>, standing: watch::Receiver<Standing>) -> Self {
        Self { standing: Some(standing), ..Self::new(view) }
    }

    /// Tells this fleet who pings.
    pub fn with_fleet(self, fleet: Arc<Fleet>) -> Self {
        Self { fleet: Some(fleet), ..self }
    }

    /// With another bound than [`WATCHERS_MAX`].
    pub fn with_watchers_max(self, max: usize) -> Self {
        Self { watchers: Arc::new(Semaphore::new(max)), ..self }
    }

    fn standing(&self) -> Standing {
        self.standing.as_ref().map(|standing| standing.borrow().clone()).unwrap_or_default()
    }
}

#[tonic::async_trait]
impl v1::master_server::Master for MasterService {
    async fn ping(&self, request: Request<v1::PingRequest>) -> Result<Response<v1::PingReply>, Status> {
        let ping = request.into_inner();
        let version = handshake::check_versions(ping.version_min, ping.version_max)?;
        check_client(&ping.client_id, &ping.client_name)?;
        let view = self.view.borrow().clone();
        let table = view.table.as_deref();
        check_cluster(table, &ping.cluster_id)?;
        if let Some(fleet) = &self.fleet {
            fleet.note(&ping.client_id, &ping.client_name, ping.table_version);
        }
        let standing = self.standing();
        Ok(Response::new(v1::PingReply {
            version,
            cluster_id: table.map_or_else(String::new, |table| table.cluster_id().to_owned()),
            table_version: table.map_or(0, SlotTable::version),
            route_revisions: table.map_or(0, SlotTable::route_revisions),
            masters: view.masters.clone(),
            leader: standing.leads(),
            master_epoch: view.master_epoch.max(standing.epoch),
        }))
    }

    async fn get_slot_table(
        &self,
        request: Request<v1::SlotTableRequest>,
    ) -> Result<Response<v1::TableDelta>, Status> {
        let request = request.into_inner();
        let hello = check_hello(request.hello.as_ref())?;
        let mut caller = Caller::new(&request)?;
        let view = self.view.borrow().clone();
        let table = view.table.as_deref().ok_or_else(|| {
            status_of(Code::Retry, "there is no slot table yet: no master has founded the cluster")
        })?;
        check_cluster(Some(table), &hello.cluster_id)?;
        Ok(Response::new(caller.delta(table)))
    }

    type WatchSlotTableStream = BoxStream<'static, Result<v1::TableDelta, Status>>;

    async fn watch_slot_table(
        &self,
        request: Request<v1::SlotTableRequest>,
    ) -> Result<Response<Self::WatchSlotTableStream>, Status> {
        let request = request.into_inner();
        let cluster_id = check_hello(request.hello.as_ref())?.cluster_id.clone();
        let caller = Caller::new(&request)?;
        check_cluster(self.view.borrow().table.as_deref(), &cluster_id)?;
        let permit = self.watchers.clone().try_acquire_owned().map_err(|_| {
            status_of(
                Code::Overloaded,
                "this member has as many watchers of the slot table as it takes; poll",
            )
        })?;
        let mut view = self.view.clone();
        view.mark_changed();
        let watcher = Watcher { view, caller, cluster_id, has_sent: false, _permit: permit };
        let deltas = stream::unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(delta) => Some((Ok(delta), Some(watcher))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(deltas.boxed()))
    }
}

/// One stream of deltas. It holds one view at a time, so a slow reader skips states and costs no memory.
struct Watcher {
    view: watch::Receiver<Arc<View>>,
    caller: Caller,
    cluster_id: String,
    has_sent: bool,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    /// What the caller lacks, at first even if that is nothing; an error when the member stops.
    async fn next(&mut self) -> Result<v1::TableDelta, Status> {
        loop {
            if self.view.changed().await.is_err() {
                return Err(status_of(Code::ShuttingDown, "this member is stopping; watch another one"));
            }
            let view = self.view.borrow_and_update().clone();
            let Some(table) = view.table.as_deref() else { continue };
            check_cluster(Some(table), &self.cluster_id)?;
            let delta = self.caller.delta(table);
            let is_news = delta.version > delta.from_version || !delta.routes.is_empty();
            if is_news || !self.has_sent {
                self.has_sent = true;
                return Ok(delta);
            }
        }
    }
}

/// What a caller knows of the table.
struct Caller {
    version: u64,
    revisions: BTreeMap<ShardId, u64>,
}

impl Caller {
    fn new(request: &v1::SlotTableRequest) -> Result<Self, Status> {
        if request.known_routes.len() > SHARDS_MAX {
            let text = format!("{} known routes, the limit is {SHARDS_MAX}", request.known_routes.len());
            return Err(status_of(Code::TooLarge, text));
        }
        let revisions = request.known_routes.iter().map(|route| (route.shard, route.revision)).collect();
        Ok(Self { version: request.since_version, revisions })
    }

    /// What it lacks, which it knows from now on.
    fn delta(&mut self, table: &SlotTable) -> v1::TableDelta {
        let delta = table.delta_since(self.version, |shard| self.revisions.get(&shard).copied().unwrap_or(0));
        self.version = self.version.max(delta.version);
        self.revisions.extend(delta.routes.iter().map(|route| (route.shard, route.revision)));
        delta
    }
}

/// The hello of a call, once it is known that this member and the caller understand each other. Whether they belong to
/// one cluster is checked where the table is at hand.
pub(crate) fn check_hello(hello: Option<&v1::Hello>) -> Result<&v1::Hello, Status> {
    let hello = handshake::check_hello(hello)?;
    check_client(&hello.client_id, &hello.client_name)?;
    if hello.namespace.len() > NAMESPACE_BYTES_MAX {
        let text =
            format!("a namespace of {} bytes, the limit is {NAMESPACE_BYTES_MAX}", hello.namespace.len());
        return Err(status_of(Code::TooLarge, text));
    }
    Ok(hello)
}

fn check_client(id: &[u8], name: &str) -> Result<(), Status> {
    if !id.is_empty() && id.len() != CLIENT_ID_BYTES {
        let text = format!("a client id of {} bytes; it has {CLIENT_ID_BYTES} or none", id.len());
        return Err(status_of(Code::InvalidArgument, text));
    }
    if name.len() > CLIENT_NAME_BYTES_MAX {
        let text = format!("a client name of {} bytes, the limit is {CLIENT_NAME_BYTES_MAX}", name.len());
        return Err(status_of(Code::TooLarge, text));
    }
    Ok(())
}

/// Refuses a caller of another cluster. One that names none takes any, and a member that knows none yet cannot tell.
pub(crate) fn check_cluster(table: Option<&SlotTable>, theirs: &str) -> Result<(), Status> {
    match table {
        Some(table) if !theirs.is_empty() => handshake::check_cluster(table.cluster_id(), theirs),
        _ => Ok(()),
    }
}
