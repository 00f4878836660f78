//! Calls to the master that leads.

use std::time::Duration;

use slotkv::{Client, Error};
use slotkv_proto::{
    Code,
    v1::{self, admin_client::AdminClient},
};
use tokio::time::{Instant, sleep};
use tonic::{Response, Status, transport::Channel};

use super::reach;

/// Pause between two looks for a leader.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks the leader; while another is about to lead, that one.
pub(crate) async fn ask_leader<T>(
    client: &Client,
    deadline: Instant,
    ask: impl AsyncFn(AdminClient<Channel>, v1::Hello) -> Result<Response<T>, Status>,
) -> Result<T, Error> {
    loop {
        let ask = async |channel, hello| ask(AdminClient::new(channel), hello).await;
        let error = match leader(client).await {
            Ok(address) => match reach::at(client, &address, ask).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            },
            Err(error) => error,
        };
        let comes_back = matches!(error.code, Code::NotPrimary | Code::Unavailable | Code::NoMaster);
        if !comes_back || Instant::now() >= deadline {
            return Err(error);
        }
        sleep(PAUSE).await;
    }
}

async fn leader(client: &Client) -> Result<String, Error> {
    let status = client.status().await?;
    let leader = status.masters.into_iter().find(|master| master.leader);
    leader.map(|master| master.address).ok_or_else(|| Error::new(Code::NoMaster, "no master leads now"))
}
