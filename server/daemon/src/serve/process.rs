//! `slotkv.v1.Process`: which process this is, and that it shall restart.
//!
//! A restart is an orderly stop and then the same program with the same arguments in the same process, so whoever watches over
//! the process need not know of it, and a program that was replaced meanwhile takes over.

use std::sync::Arc;

use slotkv_proto::{
    Code,
    code::status_of,
    handshake,
    seam::Chance,
    v1::{self, process_server::ProcessServer},
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// What a process says of itself, and whether an operator wishes that it restarts. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Process {
    description: Arc<v1::DescribeReply>,
    wished: watch::Sender<bool>,
}

impl Process {
    /// A process of this role and name; of a master the name is its address.
    pub fn new(role: &str, name: &str, chance: &dyn Chance) -> Self {
        let description = v1::DescribeReply {
            role: role.to_owned(),
            name: name.to_owned(),
            run: format!("{:016x}", chance.next_u64()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Self { description: Arc::new(description), wished: watch::Sender::new(false) }
    }

    /// Returns when it shall restart.
    pub async fn restart_wished(&self) {
        // The sender lives as long as this.
        let _ = self.wished.subscribe().wait_for(|wished| *wished).await;
    }

    pub(crate) fn server(&self) -> ProcessServer<Self> {
        ProcessServer::new(self.clone())
    }
}

#[tonic::async_trait]
impl v1::process_server::Process for Process {
    async fn describe(
        &self,
        request: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeReply>, Status> {
        handshake::check_hello(request.into_inner().hello.as_ref())?;
        Ok(Response::new(v1::DescribeReply::clone(&self.description)))
    }

    async fn restart(
        &self,
        request: Request<v1::RestartRequest>,
    ) -> Result<Response<v1::RestartReply>, Status> {
        let v1::RestartRequest { hello, run } = request.into_inner();
        handshake::check_hello(hello.as_ref())?;
        let v1::DescribeReply { role, name, run: ours, .. } = &*self.description;
        if run != *ours {
            let text = format!("{role} {name} is in its run {ours}, the restart was of run {run}");
            return Err(status_of(Code::InvalidArgument, text));
        }
        if !cfg!(unix) || self.wished.receiver_count() == 0 {
            let text = format!("{role} {name} does not restart by itself: it is not alone in its process");
            return Err(status_of(Code::Unsupported, text));
        }
        tracing::info!("an operator wishes that this process restarts");
        self.wished.send_replace(true);
        Ok(Response::new(v1::RestartReply {}))
    }
}
