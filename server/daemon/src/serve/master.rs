//! A master with its gRPC server.

use std::{sync::Arc, time::Duration};

use slotkv_coordination::Coordinator;
use slotkv_master::{AdminService, Master, MasterOptions, MasterService};
use slotkv_proto::{
    limits::FRAME_BYTES_MAX,
    seam::Chance,
    v1::{admin_server::AdminServer, master_server::MasterServer as MasterGrpc},
};

use super::{
    ServeError,
    grpc::{Services, Serving},
    listen::Listening,
};
use crate::metrics::Source;

/// A master that serves `Master` and `Admin`. Dropping it ends it as a crash would.
pub struct MasterServer {
    master: Master,
    serving: Serving,
    address: String,
}

impl MasterServer {
    /// Starts a master and its server on the present runtime. What `options` say of the address is replaced by what
    /// `listening` advertises. It need not reach the coordinator yet; see [`MasterServer::ready`].
    pub async fn start(
        mut options: MasterOptions,
        listening: Listening,
        connections_max: usize,
        coordinator: Arc<dyn Coordinator>,
        chance: Arc<dyn Chance>,
    ) -> Result<Self, ServeError> {
        let address = listening.advertise().to_owned();
        options.advertise = address.clone();
        let master = Master::start(options, coordinator, chance)?;
        let table = MasterService::of_master(master.view(), master.standing());
        let table = MasterGrpc::new(table).max_encoding_message_size(FRAME_BYTES_MAX);
        let admin = AdminServer::new(AdminService::new(
            master.view(),
            master.standing(),
            master.operator(),
            master.movement(),
            address.clone(),
        ));
        let services = Services::new(&["slotkv.v1.Master", "slotkv.v1.Admin"], |routes| {
            routes.add_service(table.max_encoding_message_size(FRAME_BYTES_MAX)).add_service(admin);
        });
        let serving = services.serve(listening, connections_max).await?;
        Ok(Self { master, serving, address })
    }

    /// `host:port` that others reach it by.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The master itself.
    pub fn master(&self) -> &Master {
        &self.master
    }

    /// What it tells whoever watches it.
    pub fn source(&self) -> Source {
        let (view, standing) = (self.master.view(), self.master.standing());
        let movement = self.master.movement();
        Source::Master { address: self.address.clone(), view, standing, movement }
    }

    /// Waits until it has a slot table to serve, allocated or not: until it has reached the coordinator and the cluster
    /// is founded.
    pub async fn ready(&self) {
        let mut views = self.master.view();
        if views.wait_for(|view| view.table.is_some()).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Leaves in an orderly way: the next master leads at once. Calls under way have `patience` to end.
    pub async fn shutdown(self, patience: Duration) {
        self.serving.announce_stop().await;
        self.master.shutdown().await;
        self.serving.stop(patience).await;
    }

    /// Ends as a crash would: connections break, the coordinator is told nothing.
    pub fn kill(self) {
        drop(self.serving);
        drop(self.master);
    }
}
