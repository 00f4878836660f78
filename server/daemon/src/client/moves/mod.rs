//! `admin add`, `drain`, `weight`, `rebalance`, `cancel` and `migrations`: the leading master writes down what is wanted and moves the
//! slots, and the command shows how far it is. What was written down goes on whether a command waits or not.
//!
//! Layout: `goal` whether what is waited for has come true · `progress` how far it is · `shown` in text and JSON.

mod goal;
mod progress;
mod shown;

use std::time::Duration;

use serde_json::json;
use slotkv::{Client, Error};
use slotkv_proto::v1::{self, admin_client::AdminClient, cancel_request::What};
use tokio::time::{Instant, sleep};
use tonic::{Response, Status, transport::Channel};

use self::{
    goal::{Goal, Verdict},
    progress::Progress,
};
use super::{
    connect, failure,
    output::{Output, Reading},
    watch,
};
use crate::{
    cli::{
        exit::{Exit, Failure},
        flags::{CancelFlags, ClientFlags, MoveFlags, RebalanceFlags, ShardFlags, StatusFlags, WeightFlags},
    },
    members::ask_leader,
};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a leader may be away while something is asked of it.
const LEADER_MAX: Duration = Duration::from_secs(30);
/// `admin add`.
pub(crate) async fn add(flags: ShardFlags) -> Result<Exit, Failure> {
    weigh(flags.shard, None, &flags.moves).await
}

/// `admin drain`.
pub(crate) async fn drain(flags: ShardFlags) -> Result<Exit, Failure> {
    weigh(flags.shard, Some(0.0), &flags.moves).await
}

/// `admin weight`.
pub(crate) async fn weight(flags: WeightFlags) -> Result<Exit, Failure> {
    weigh(flags.shard, Some(flags.weight), &flags.moves).await
}

async fn weigh(shard: u32, weight: Option<f64>, flags: &MoveFlags) -> Result<Exit, Failure> {
    let ask = async |mut admin: AdminClient<Channel>, hello| {
        admin.weight(v1::WeightRequest { hello: Some(hello), shard, weight }).await
    };
    let goal = |reply: &v1::OrderReply| Goal::Shard { shard, weight: reply.weight_to.unwrap_or_default() };
    order(flags, ask, goal).await
}

/// `admin rebalance`.
pub(crate) async fn rebalance(flags: RebalanceFlags) -> Result<Exit, Failure> {
    let RebalanceFlags { dry_run, mut moves } = flags;
    moves.no_wait |= dry_run;
    let ask = async |mut admin: AdminClient<Channel>, hello| {
        admin.rebalance(v1::RebalanceRequest { hello: Some(hello), dry_run }).await
    };
    order(&moves, ask, |_| Goal::All).await
}

/// `admin cancel`.
pub(crate) async fn cancel(flags: CancelFlags) -> Result<Exit, Failure> {
    let what = flags.id.map(What::Id).or(flags.shard.map(What::Shard));
    let ask = async |mut admin: AdminClient<Channel>, hello| {
        admin.cancel(v1::CancelRequest { hello: Some(hello), what }).await
    };
    let client = connect(&flags.client).await?;
    let reply = ask_leader(&client, Instant::now() + LEADER_MAX, ask).await.map_err(failure);
    client.close().await;
    let reply = reply?;
    let mut output = Output::new();
    match flags.client.json {
        true => output.line(&json!({ "cancelled": reply.cancelled }).to_string())?,
        false => output.line(&shown::cancelled(&reply.cancelled))?,
    };
    output.end(Exit::Done)
}

/// `admin migrations`.
pub(crate) async fn migrations(flags: StatusFlags) -> Result<Exit, Failure> {
    let client = connect(&flags.client).await?;
    let mut output = Output::new();
    let outcome = watch::show(&flags, &mut output, async || look(&client).await, show).await;
    client.close().await;
    outcome?;
    output.end(Exit::Done)
}

fn show(reply: &v1::MigrationsReply, as_json: bool, output: &mut Output) -> Reading {
    match as_json {
        true => output.line(&shown::to_json(reply).to_string()),
        false => output.bytes(shown::to_text(reply).as_bytes()),
    }
}

async fn look(client: &Client) -> Result<v1::MigrationsReply, Error> {
    let ask = async |mut admin: AdminClient<Channel>, hello| {
        admin.migrations(v1::MigrationsRequest { hello: Some(hello) }).await
    };
    ask_leader(client, Instant::now() + LEADER_MAX, ask).await
}

/// Has something written down, and waits for it.
async fn order(
    flags: &MoveFlags,
    ask: impl AsyncFn(AdminClient<Channel>, v1::Hello) -> Result<Response<v1::OrderReply>, Status>,
    goal: impl FnOnce(&v1::OrderReply) -> Goal,
) -> Result<Exit, Failure> {
    let client = connect(&flags.client).await?;
    let begun = Instant::now();
    let mut output = Output::new();
    let outcome = match ask_leader(&client, begun + LEADER_MAX, ask).await {
        Ok(reply) => {
            let goal = goal(&reply);
            ordered(&reply, &flags.client, &mut output)?;
            match flags.no_wait {
                true => Ok(()),
                false => wait(&client, flags, begun, &goal, &mut output).await,
            }
        }
        Err(error) => Err(failure(error)),
    };
    client.close().await;
    outcome?;
    output.end(Exit::Done)
}

fn ordered(reply: &v1::OrderReply, flags: &ClientFlags, output: &mut Output) -> Result<(), Failure> {
    match flags.json {
        true => output.line(&shown::order_to_json(reply).to_string())?,
        false => output.bytes(shown::order_to_text(reply).as_bytes())?,
    };
    output.flush().map(drop)
}

async fn wait(
    client: &Client,
    flags: &MoveFlags,
    begun: Instant,
    goal: &Goal,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut progress = Progress::new(flags.client.json);
    let deadline = begun + flags.wait;
    let mut waits_for = "the leader has not told yet".to_owned();
    loop {
        // Masters that cannot be asked now may be so a moment later.
        if let (Ok(reply), Ok(status)) = (look(client).await, client.status().await) {
            progress.take(&reply, goal, output)?;
            match goal.judge(&reply, &status) {
                Verdict::Done => {
                    progress.end();
                    return finished(goal, &progress, &flags.client, output);
                }
                Verdict::Ended(message) => {
                    progress.end();
                    return Err(Failure { exit: Exit::Partly, message });
                }
                Verdict::WaitsFor(what) => waits_for = what,
            }
        }
        if Instant::now() >= deadline {
            progress.end();
            let message = format!(
                "it is written down and goes on, but is not done after {:?}: {waits_for}; see admin migrations",
                flags.wait
            );
            return Err(Failure { exit: Exit::Unknown, message });
        }
        sleep(PAUSE).await;
    }
}

fn finished(
    goal: &Goal,
    progress: &Progress,
    flags: &ClientFlags,
    output: &mut Output,
) -> Result<(), Failure> {
    let line = match flags.json {
        true => progress.result_to_json().to_string(),
        false => format!("{}{}", goal.reached(), progress.result_to_text()),
    };
    output.line(&line).map(drop)
}
