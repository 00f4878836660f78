//! A planned leave: what a worker with `--drain` does between the signal and its end.
//!
//! If other copies of its shard are in sync and enough, it may go at once. Else its shard gives its slots to others first, as
//! by `admin drain`. Before it looks it says that it is leaving, and copies that say so do not count: of two that are asked to
//! leave at the same time one at least sees the other.
//!
//! A worker that stays after all for a reason of its own takes back what it has ordered: its shard gets the weight from before. What an
//! operator wants since then holds.

use std::time::Duration;

use slotkv::{Client, Error, Outcome};
use slotkv_proto::{
    table::ShardId,
    v1::{self, MigrationsReply, StatusReply, admin_client::AdminClient},
};
use tokio::time::{Instant, sleep};

use super::WorkerServer;
use crate::members::{self, explained};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// What was said reaches the masters' view within so long.
const TOLD_WAIT: Duration = Duration::from_secs(1);
/// A drain that comes no further for so long has failed.
const STILL_MAX: Duration = Duration::from_secs(60);
/// How long clients may take to learn where the slots are; whoever does not is told by others.
const CLIENTS_WAIT: Duration = Duration::from_secs(5);
/// How long the copies of other shards may take to be in sync with what has moved. They depend on this worker no more.
const COPIES_WAIT: Duration = Duration::from_secs(30);
/// How long a leader may be away.
const LEADER_WAIT: Duration = Duration::from_secs(30);

/// Returns once nothing depends on this worker any more, or why it cannot leave.
pub(crate) async fn leave(server: &WorkerServer) -> Result<(), String> {
    leave_unless_still(server, STILL_MAX).await
}

async fn leave_unless_still(server: &WorkerServer, still_max: Duration) -> Result<(), String> {
    let Some((shard, name, masters)) = server.place() else { return Ok(()) };
    let uri = format!("slotkv://{}", masters.join(","));
    server.announce_leave(true);
    let client = Client::connect(&uri).await.map_err(|error| explained(&error));
    let left = match &client {
        Ok(client) => Leave { client, shard, name: &name, still_max }.take().await,
        Err(why) => Err(format!("no master can be asked: {why}")),
    };
    if let Ok(client) = client {
        client.close().await;
    }
    if left.is_err() {
        server.announce_leave(false);
    }
    left
}

/// The leave of one worker.
struct Leave<'a> {
    client: &'a Client,
    shard: ShardId,
    name: &'a str,
    still_max: Duration,
}

/// Why a worker stays.
enum Stays {
    /// An operator wants something else now.
    AsOrdered(String),
    /// It cannot leave.
    Else(String),
}

impl Leave<'_> {
    async fn take(&self) -> Result<(), String> {
        let reasons = self.needed().await?;
        if reasons.is_empty() {
            return Ok(());
        }
        let shard = self.shard;
        let before = self.look().await.map_err(|error| explained(&error))?;
        let owns = !before.left(shard).is_nothing();
        // Without slots there is nothing to give, but it shall not get any while it leaves.
        if owns || before.weight(shard) != Some(0.0) {
            tracing::info!(
                shard,
                why = reasons.join("; "),
                "gives its slots to other shards before it leaves"
            );
            match self.weigh(0.0).await {
                Ok(order) => self.given(order.weight_from.or(before.weight(shard))).await?,
                Err(error) if error.outcome == Outcome::Unknown => {
                    return Err(self.taken_back(before.weight(shard), &explained(&error)).await);
                }
                Err(error) if owns => return Err(explained(&error)),
                Err(error) => tracing::debug!(shard, %error, "has no slots, and keeps its weight"),
            }
        }
        self.settle().await?;
        tracing::info!(shard, "has given all of its slots to other shards");
        Ok(())
    }

    /// Waits until the slots are with others. If that cannot be, the shard gets the weight from before.
    async fn given(&self, weight: Option<f64>) -> Result<(), String> {
        match self.drained().await {
            Ok(()) => Ok(()),
            Err(Stays::AsOrdered(why)) => {
                Err(weight.map_or(why.clone(), |weight| format!("{why}; it had weight {weight} before")))
            }
            Err(Stays::Else(why)) => Err(self.taken_back(weight, &why).await),
        }
    }

    async fn drained(&self) -> Result<(), Stays> {
        let (shard, mut course) = (self.shard, Course::begun());
        loop {
            let look = self.look().await.map_err(|error| Stays::Else(explained(&error)))?;
            if let Some(why) = look.wanted_else(shard) {
                return Err(Stays::AsOrdered(why));
            }
            let left = look.left(shard);
            if left.is_nothing() {
                return Ok(());
            }
            if course.still_for(left) >= self.still_max {
                let Left { slots, open, .. } = left;
                let notices: String =
                    look.movements.notices.iter().map(|notice| format!("; {notice}")).collect();
                return Err(Stays::Else(format!(
                    "shard {shard} still has {slots} slots and {open} open hand-overs, and nothing has moved for {} s{notices}",
                    self.still_max.as_secs()
                )));
            }
            sleep(PAUSE).await;
        }
    }

    /// Gives the shard its weight back, unless an operator wants something else since. Why it stays, and what became of the weight.
    async fn taken_back(&self, weight: Option<f64>, why: &str) -> String {
        let shard = self.shard;
        let Some(weight) = weight.filter(|weight| *weight > 0.0) else {
            return format!("{why}; shard {shard} has weight 0, as before");
        };
        let by_hand = format!("shard {shard} may have weight 0 now: slotkv admin weight {shard} {weight}");
        match self.look().await {
            Ok(look) => match look.wanted_else(shard) {
                Some(operator) => return format!("{why}; {operator}"),
                None if look.weight(shard) != Some(0.0) => return format!("{why}; {by_hand}"),
                None => {}
            },
            Err(error) => return format!("{why}; {by_hand} ({})", explained(&error)),
        }
        match self.weigh(weight).await {
            Ok(_) => format!("{why}; shard {shard} has weight {weight} again"),
            Err(error) => format!("{why}; {by_hand} ({})", explained(&error)),
        }
    }

    /// Waits a while for those who could still look for something here: clients, and copies that what has moved is to be safe by.
    async fn settle(&self) -> Result<(), String> {
        let (clients_until, copies_until) = (Instant::now() + CLIENTS_WAIT, Instant::now() + COPIES_WAIT);
        while Instant::now() < clients_until && !self.needed().await?.is_empty() {
            sleep(PAUSE).await;
        }
        loop {
            let status = self.client.status().await.map_err(|error| explained(&error))?;
            let others = status.shards.iter().filter(|known| known.shard != self.shard && known.slots > 0);
            let Some(why) = { others }.find_map(members::copies_lacking) else { return Ok(()) };
            if Instant::now() >= copies_until {
                tracing::warn!(shard = self.shard, why, "leaves although another shard lacks a copy");
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    /// What depends on this worker, once the masters know that it is leaving.
    async fn needed(&self) -> Result<Vec<String>, String> {
        let (client, name, until) = (self.client, self.name, Instant::now() + TOLD_WAIT);
        loop {
            let status = client.status().await.map_err(|error| explained(&error))?;
            let own = status.shards.iter().filter(|found| found.shard == self.shard);
            let mut copies = own.flat_map(|found| &found.copies);
            let is_known = copies.any(|copy| copy.name == name && members::is_leaving(copy));
            if is_known || Instant::now() >= until {
                return members::reasons(client, &status, name).await.map_err(|error| explained(&error));
            }
            sleep(PAUSE).await;
        }
    }

    async fn weigh(&self, weight: f64) -> Result<v1::OrderReply, Error> {
        let (shard, until) = (self.shard, Instant::now() + LEADER_WAIT);
        members::ask_leader(self.client, until, async |mut admin: AdminClient<_>, hello| {
            admin.weight(v1::WeightRequest { hello: Some(hello), shard, weight: Some(weight) }).await
        })
        .await
    }

    async fn look(&self) -> Result<Look, Error> {
        let until = Instant::now() + LEADER_WAIT;
        let movements = members::ask_leader(self.client, until, async |mut admin: AdminClient<_>, hello| {
            admin.migrations(v1::MigrationsRequest { hello: Some(hello) }).await
        });
        Ok(Look { movements: movements.await?, status: self.client.status().await? })
    }
}

/// What there is to see at one moment.
struct Look {
    movements: MigrationsReply,
    status: StatusReply,
}

/// What a shard has not given away yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Left {
    slots: u32,
    open: usize,
    bytes: u64,
}

impl Left {
    fn is_nothing(self) -> bool {
        self.slots == 0 && self.open == 0
    }
}

impl Look {
    fn left(&self, shard: ShardId) -> Left {
        let own = self.status.shards.iter().find(|found| found.shard == shard);
        let open = self.movements.open.iter().filter(|open| open.source == shard || open.target == shard);
        let (open, bytes) = open.fold((0, 0), |(count, bytes), one| (count + 1, bytes + one.sent_bytes));
        Left { slots: own.map_or(0, |found| found.slots), open, bytes }
    }

    fn weight(&self, shard: ShardId) -> Option<f64> {
        self.movements.weights.iter().find(|weighed| weighed.shard == shard).map(|weighed| weighed.weight)
    }

    /// What an operator wants that is not that this shard gives its slots away.
    fn wanted_else(&self, shard: ShardId) -> Option<String> {
        if self.movements.held_all || self.movements.held_shards.contains(&shard) {
            // A weight would end the cancel.
            return Some(format!(
                "an operator has cancelled what moves from shard {shard}: it keeps the slots that it has, and weight 0, until admin add, weight or \
                 drain {shard}"
            ));
        }
        self.weight(shard)
            .filter(|weight| *weight > 0.0)
            .map(|_| format!("an operator has given shard {shard} a weight again"))
    }
}

/// How a drain goes: it comes further when fewer slots are left than ever, or more bytes were sent for them. A hand-over that fails and
/// begins anew does not.
struct Course {
    least: Option<(u32, usize)>,
    bytes_max: u64,
    moved: Instant,
}

impl Course {
    fn begun() -> Self {
        Self { least: None, bytes_max: 0, moved: Instant::now() }
    }

    /// For how long it has come no further.
    fn still_for(&mut self, left: Left) -> Duration {
        // While there are slots, hand-overs are opened as well as closed.
        let rest = (left.slots, if left.slots == 0 { left.open } else { 0 });
        if self.least.is_none_or(|least| rest < least) {
            (self.least, self.bytes_max, self.moved) = (Some(rest), left.bytes, Instant::now());
        } else if left.bytes > self.bytes_max {
            (self.bytes_max, self.moved) = (left.bytes, Instant::now());
        }
        self.moved.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use slotkv_coordination::Embedded;
    use slotkv_master::MasterOptions;
    use slotkv_proto::{SlotCount, seam::SystemChance};
    use slotkv_storage::RealDisk;
    use slotkv_worker::Options;

    use super::*;
    use crate::serve::{Listening, MasterServer, worker::seams};

    const SLOTS: u32 = 64;

    #[tokio::test(start_paused = true)]
    async fn what_fails_and_begins_anew_comes_no_further() {
        let second = Duration::from_secs(1);
        let mut course = Course::begun();
        let mut after_a_second = async |slots, open, bytes| {
            tokio::time::advance(second).await;
            course.still_for(Left { slots, open, bytes })
        };
        assert_eq!(after_a_second(9, 0, 0).await, Duration::ZERO);
        assert_eq!(after_a_second(9, 1, 5).await, Duration::ZERO);
        assert_eq!(after_a_second(9, 1, 5).await, second);
        assert_eq!(after_a_second(9, 0, 0).await, second * 2);
        assert_eq!(after_a_second(9, 1, 4).await, second * 3);
        assert_eq!(after_a_second(9, 1, 6).await, Duration::ZERO);
        assert_eq!(after_a_second(8, 2, 0).await, Duration::ZERO);
        assert_eq!(after_a_second(0, 2, 0).await, Duration::ZERO);
        assert_eq!(after_a_second(0, 1, 0).await, Duration::ZERO);
        assert_eq!(after_a_second(0, 1, 0).await, second);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_worker_that_stays_gives_its_shard_the_weight_from_before_and_leaves_what_is_cancelled_alone() {
        let (coordinator, folder) = (Arc::new(Embedded::new()), tempfile::tempdir().unwrap());
        let listening = || Listening::bind("127.0.0.1:0", 0, None).unwrap();
        let slot_count = SlotCount::new(SLOTS).unwrap();
        let options = MasterOptions { slot_count, ..MasterOptions::new("", 2) };
        let chance = Arc::new(SystemChance);
        let master =
            MasterServer::start(options, listening(), 100, coordinator.clone(), chance).await.unwrap();
        let start = async |shard: ShardId| {
            let mut options = Options::new(folder.path().join(shard.to_string()), "");
            (options.shard, options.name) = (Some(shard), Some(format!("w{shard}")));
            options.wishes.weight = Some(2.0);
            let seams = seams(coordinator.clone(), Arc::new(RealDisk::new()), 4 << 20);
            WorkerServer::start(options, listening(), 100, seams, |_| ()).await.unwrap()
        };
        let (leaving, other) = (start(0).await, start(1).await);
        let client = Client::connect(&format!("slotkv://{}", master.address())).await.unwrap();
        let of = |shard| Leave { client: &client, shard, name: "", still_max: STILL_MAX };
        while of(0).look().await.unwrap().left(0).slots == 0 {
            sleep(PAUSE).await;
        }
        // Whoever is to take the slots has gone, and nobody has found out.
        other.kill().await;
        let why = leave_unless_still(&leaving, Duration::from_secs(1)).await.unwrap_err();
        assert!(why.contains("nothing has moved") && why.contains("has weight 2 again"), "{why}");
        assert_eq!(of(0).look().await.unwrap().weight(0), Some(2.0));

        // What an operator has cancelled stays so: a weight would end that.
        let leave = leave_unless_still(&leaving, STILL_MAX);
        let cancel = async {
            while of(0).look().await.unwrap().weight(0) != Some(0.0) {
                sleep(PAUSE).await;
            }
            let what = Some(v1::cancel_request::What::Shard(0));
            let until = Instant::now() + LEADER_WAIT;
            let cancelled = members::ask_leader(&client, until, async |mut admin: AdminClient<_>, hello| {
                admin.cancel(v1::CancelRequest { hello: Some(hello), what }).await
            });
            cancelled.await.unwrap();
        };
        let both = tokio::time::timeout(STILL_MAX, async { tokio::join!(leave, cancel) });
        let (left, ()) = both.await.expect("the leave ends");
        let why = left.unwrap_err();
        assert!(why.contains("an operator has cancelled"), "{why}");
        let look = of(0).look().await.unwrap();
        assert_eq!((look.weight(0), look.movements.held_shards), (Some(0.0), vec![0]));
        client.close().await;
        leaving.kill().await;
        master.shutdown(Duration::ZERO).await;
    }
}
