//! An operator who has slots moved, by a master's address.

use std::time::Duration;

use slotkv_proto::{
    handshake,
    v1::{self, admin_client::AdminClient},
};
use tokio::time::{Instant, sleep};
use tonic::{Status, transport::Channel};

use crate::WAIT_MAX;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Calls to one master, which leads.
#[derive(Clone)]
pub struct Operator {
    admin: AdminClient<Channel>,
}

impl Operator {
    /// Connects to the master.
    pub async fn at(address: &str) -> Self {
        let channel = Channel::from_shared(format!("http://{address}")).expect("an address");
        Self { admin: AdminClient::new(channel.connect().await.expect("the master listens")) }
    }

    fn hello() -> Option<v1::Hello> {
        let (version_min, version_max) = (handshake::VERSION_MIN, handshake::VERSION_MAX);
        Some(v1::Hello { version_min, version_max, ..v1::Hello::default() })
    }

    /// Orders a weight; what the master says.
    pub async fn weighed(&mut self, shard: u32, weight: f64) -> Result<v1::OrderReply, Status> {
        let order = v1::WeightRequest { hello: Self::hello(), shard, weight: Some(weight) };
        self.admin.weight(order).await.map(tonic::Response::into_inner)
    }

    /// Orders a weight, which is taken.
    pub async fn weigh(&mut self, shard: u32, weight: f64) {
        self.weighed(shard, weight).await.expect("the order is taken");
    }

    /// What moves and is to move.
    pub async fn movements(&mut self) -> v1::MigrationsReply {
        let request = v1::MigrationsRequest { hello: Self::hello() };
        self.admin.migrations(request).await.expect("the master leads").into_inner()
    }

    /// The status of a shard.
    pub async fn shard(&mut self, shard: u32) -> v1::ShardStatus {
        let request = v1::StatusRequest { hello: Self::hello() };
        let status = self.admin.status(request).await.expect("the master answers").into_inner();
        status.shards.into_iter().find(|found| found.shard == shard).expect("the shard is registered")
    }

    /// Waits until what moves is as it should be.
    pub async fn until(
        &mut self,
        what: &str,
        is: impl Fn(&v1::MigrationsReply) -> bool,
    ) -> v1::MigrationsReply {
        let end = Instant::now() + WAIT_MAX;
        loop {
            let movements = self.movements().await;
            if is(&movements) {
                return movements;
            }
            assert!(Instant::now() < end, "not within {WAIT_MAX:?}: {what}: {movements:?}");
            sleep(PAUSE).await;
        }
    }

    /// Waits until everything is where it belongs and both sides of every hand-over are done.
    pub async fn settled(&mut self) -> v1::MigrationsReply {
        let is = |movements: &v1::MigrationsReply| {
            movements.planned && movements.open.is_empty() && movements.left.is_empty()
        };
        self.until("every slot is where it belongs", is).await
    }

    /// All slots of a shard go to others, and as many as belong there come back.
    pub async fn there_and_back(&mut self, shard: u32) {
        self.weigh(shard, 0.0).await;
        self.settled().await;
        assert_eq!(self.shard(shard).await.slots, 0);
        self.weigh(shard, 1.0).await;
        self.settled().await;
        assert!(self.shard(shard).await.slots > 0);
    }
}
