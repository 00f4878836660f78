//! `admin failover`, `promote` and `recover`: the leading master writes down what is wanted, the replicas do it, and the
//! command waits until the status shows it.

use std::time::Duration;

use serde_json::json;
use slotkv::Client;
use slotkv_proto::v1::{self, admin_client::AdminClient};
use tokio::time::{Instant, sleep};
use tonic::{Response, Status, transport::Channel};

use super::{connect, failure, output::Output};
use crate::{
    cli::{
        exit::{Exit, Failure},
        flags::{ClientFlags, FailoverFlags, PromoteFlags, RecoverFlags},
    },
    members::ask_leader,
};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// `admin failover`.
pub(crate) async fn failover(flags: FailoverFlags) -> Result<Exit, Failure> {
    let FailoverFlags { shard, wait, client } = flags;
    let ask = async |mut admin: AdminClient<Channel>, hello| {
        admin.failover(v1::FailoverRequest { hello: Some(hello), shard }).await
    };
    wish(&client, wait, ask).await
}

/// `admin promote`.
pub(crate) async fn promote(flags: PromoteFlags) -> Result<Exit, Failure> {
    let PromoteFlags { name, wait, client } = flags;
    let ask = async |mut admin: AdminClient<Channel>, hello| {
        admin.promote(v1::PromoteRequest { hello: Some(hello), name: name.clone() }).await
    };
    wish(&client, wait, ask).await
}

/// `admin recover`.
pub(crate) async fn recover(flags: RecoverFlags) -> Result<Exit, Failure> {
    let RecoverFlags { shard, name, wait, client, lose_writes: _ } = flags;
    let ask = async |mut admin: AdminClient<Channel>, hello| {
        admin.recover(v1::RecoverRequest { hello: Some(hello), shard, name: name.clone() }).await
    };
    wish(&client, wait, ask).await
}

async fn wish(
    flags: &ClientFlags,
    wait: Duration,
    ask: impl AsyncFn(AdminClient<Channel>, v1::Hello) -> Result<Response<v1::WishReply>, Status>,
) -> Result<Exit, Failure> {
    let client = connect(flags).await?;
    let deadline = Instant::now() + wait;
    let outcome = match ask_leader(&client, deadline, ask).await {
        Ok(wish) => come_true(&client, deadline, &wish).await.map(|epoch| (wish, epoch)),
        Err(error) => Err(failure(error)),
    };
    client.close().await;
    let (wish, epoch) = outcome?;
    let mut output = Output::new();
    let v1::WishReply { shard, from, to, .. } = wish;
    match flags.json {
        true => {
            output.line(&json!({ "shard": shard, "from": from, "to": to, "epoch": epoch }).to_string())?
        }
        false => output.line(&format!("shard {shard}: {to} leads in epoch {epoch}"))?,
    };
    output.end(Exit::Done)
}

/// Waits until the register names who shall lead, and says in which epoch. That the wait ends means nothing for the wish:
/// it stays written.
async fn come_true(client: &Client, deadline: Instant, wish: &v1::WishReply) -> Result<u64, Failure> {
    let mut last = String::new();
    loop {
        // Masters that cannot be asked now may be so a moment later.
        if let Ok(status) = client.status().await
            && let Some(shard) = status.shards.iter().find(|shard| shard.shard == wish.shard)
        {
            let leads = shard.primary == wish.to && (shard.epoch > wish.epoch || wish.from == wish.to);
            if leads {
                return Ok(shard.epoch);
            }
            last = match shard.reason.is_empty() {
                true => shard.state.clone(),
                false => format!("{}: {}", shard.state, shard.reason),
            };
        }
        if Instant::now() >= deadline {
            let message = format!(
                "it is written down that {} shall lead shard {}, but it does not yet ({last}); see admin status",
                wish.to, wish.shard
            );
            return Err(Failure { exit: Exit::Unknown, message });
        }
        sleep(PAUSE).await;
    }
}
