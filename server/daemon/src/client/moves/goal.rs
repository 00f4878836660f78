//! Goal: what a command waits for, and whether it has come true.

use slotkv_proto::v1::{MigrationsReply, StatusReply};

use crate::members::copies_lacking;

/// What a command waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    /// A shard has its share by this weight; by weight 0 it has nothing, and can be stopped.
    Shard { shard: u32, weight: f64 },
    /// Every shard has its share.
    All,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has come true.
    Done,
    /// Not yet, because of that.
    WaitsFor(String),
    /// It never will: somebody wants something else now.
    Ended(String),
}

impl Goal {
    /// How it stands, by what the leader tells of moves and a master of shards.
    pub fn judge(&self, reply: &MigrationsReply, status: &StatusReply) -> Verdict {
        match self.given_up(reply) {
            Some(why) => Verdict::Ended(why),
            None => self.lacking(reply, status).map_or(Verdict::Done, Verdict::WaitsFor),
        }
    }

    /// In words, once it has come true.
    pub fn reached(&self) -> String {
        match *self {
            Goal::Shard { shard, weight: 0.0 } => {
                format!("shard {shard} owns no slots any more: its members can be stopped")
            }
            Goal::Shard { shard, weight } => format!("shard {shard} has its share of weight {weight}"),
            Goal::All => "every shard has its share".to_owned(),
        }
    }

    /// Whether a move between these two shards is what is waited for.
    pub fn concerns(&self, source: u32, target: u32) -> bool {
        match *self {
            Goal::Shard { shard, .. } => source == shard || target == shard,
            Goal::All => true,
        }
    }

    /// Why nobody wants it any more.
    fn given_up(&self, reply: &MigrationsReply) -> Option<String> {
        if let Goal::Shard { shard, weight } = *self {
            let now = reply.weights.iter().find(|one| one.shard == shard).map(|one| one.weight);
            if let Some(now) = now.filter(|now| *now != weight) {
                return Some(format!("taken back: somebody has given shard {shard} weight {now} since"));
            }
            if reply.held_shards.contains(&shard) {
                return Some(format!("cancelled: somebody has cancelled the moves of shard {shard}"));
            }
        }
        match self {
            _ if reply.held_all => Some("cancelled: somebody has cancelled every move".to_owned()),
            Goal::All if !reply.held_shards.is_empty() => {
                Some(format!("cancelled: somebody has cancelled the moves of shards {:?}", reply.held_shards))
            }
            _ => None,
        }
    }

    /// What is not as it will be.
    fn lacking(&self, reply: &MigrationsReply, status: &StatusReply) -> Option<String> {
        if !reply.planned || status.table_version < reply.table_version {
            return Some("the leader plans".to_owned());
        }
        let left = reply.left.iter().filter(|one| self.concerns(one.source, one.target));
        let left: u32 = left.map(|one| one.slots).sum();
        if left > 0 {
            let why = reply.notices.first().map_or_else(String::new, |why| format!(" ({why})"));
            return Some(format!("{left} slots are still to move{why}"));
        }
        if let Some(open) = reply.open.iter().find(|open| self.concerns(open.source, open.target)) {
            return Some(format!("hand-over {} is {} and not closed", open.id, open.state));
        }
        if let Goal::Shard { shard, weight } = *self {
            let Some(known) = status.shards.iter().find(|known| known.shard == shard) else {
                return Some(format!("the status does not name shard {shard}"));
            };
            if weight == 0.0 && known.slots > 0 {
                return Some(format!("shard {shard} owns {} slots", known.slots));
            }
            if weight > 0.0
                && let Some(why) = copies_lacking(known)
            {
                return Some(why);
            }
        }
        // What has moved must be as safe as it was before.
        status.shards.iter().filter(|known| known.slots > 0).find_map(copies_lacking)
    }
}

#[cfg(test)]
mod tests {
    use slotkv_proto::v1::{MigrationStatus, MoveStatus, ShardStatus, ShardWeight};

    use super::*;

    const DRAIN: Goal = Goal::Shard { shard: 1, weight: 0.0 };

    fn shard(shard: u32, slots: u32) -> ShardStatus {
        ShardStatus {
            shard,
            slots,
            primary: "w".into(),
            isr: vec!["w".into(), "x".into()],
            replicas: 2,
            ..ShardStatus::default()
        }
    }

    fn drained() -> (MigrationsReply, StatusReply) {
        let weight = |shard, weight| ShardWeight { shard, weight };
        let reply = MigrationsReply {
            planned: true,
            table_version: 9,
            weights: vec![weight(0, 1.0), weight(1, 0.0)],
            ..MigrationsReply::default()
        };
        let shards = vec![shard(0, 16), shard(1, 0)];
        (reply, StatusReply { table_version: 9, shards, ..StatusReply::default() })
    }

    #[test]
    fn a_drain_is_done_when_nothing_is_left_open_or_out_of_sync() {
        let (reply, status) = drained();
        assert_eq!(DRAIN.judge(&reply, &status), Verdict::Done);
        assert_eq!(Goal::All.judge(&reply, &status), Verdict::Done);
        let waits = |reply: &MigrationsReply, status: &StatusReply, what: &str| {
            let verdict = DRAIN.judge(reply, status);
            assert!(matches!(&verdict, Verdict::WaitsFor(why) if why.contains(what)), "{verdict:?}");
        };
        waits(&MigrationsReply { planned: false, ..reply.clone() }, &status, "plans");
        waits(&reply, &StatusReply { table_version: 8, ..status.clone() }, "plans");
        let left = vec![MoveStatus { source: 1, target: 0, slots: 3 }];
        let notices = vec!["shard 0 has no primary".to_owned()];
        waits(
            &MigrationsReply { left, notices, ..reply.clone() },
            &status,
            "3 slots are still to move (shard 0",
        );
        let open =
            MigrationStatus { id: 7, source: 1, target: 0, state: "moved".into(), ..Default::default() };
        waits(&MigrationsReply { open: vec![open], ..reply.clone() }, &status, "hand-over 7 is moved");
        let owning = StatusReply { shards: vec![shard(0, 16), shard(1, 1)], ..status.clone() };
        waits(&reply, &owning, "shard 1 owns 1 slots");
        let mut lacking = status.clone();
        lacking.shards[0].isr.pop();
        waits(&reply, &lacking, "shard 0 has 1 of 2 copies in sync");
        // What other shards give each other is not waited for.
        let left = vec![MoveStatus { source: 2, target: 0, slots: 3 }];
        assert_eq!(DRAIN.judge(&MigrationsReply { left, ..reply }, &status), Verdict::Done);
    }

    #[test]
    fn what_somebody_cancels_or_takes_back_is_told_apart_from_what_is_done() {
        let (reply, status) = drained();
        let ended = |goal: Goal, reply: MigrationsReply, what: &str| {
            let verdict = goal.judge(&reply, &status);
            assert!(matches!(&verdict, Verdict::Ended(why) if why.contains(what)), "{verdict:?}");
        };
        ended(DRAIN, MigrationsReply { held_all: true, ..reply.clone() }, "cancelled every move");
        ended(DRAIN, MigrationsReply { held_shards: vec![1], ..reply.clone() }, "cancelled: ");
        ended(Goal::All, MigrationsReply { held_shards: vec![4], ..reply.clone() }, "shards [4]");
        let weights = vec![ShardWeight { shard: 1, weight: 2.0 }];
        ended(DRAIN, MigrationsReply { weights, ..reply.clone() }, "given shard 1 weight 2 since");
        let other = MigrationsReply { held_shards: vec![4], ..reply };
        assert_eq!(DRAIN.judge(&other, &status), Verdict::Done);
    }

    #[test]
    fn a_shard_without_a_primary_has_not_got_its_share() {
        let (mut reply, mut status) = drained();
        reply.weights[1].weight = 1.0;
        status.shards[1].primary.clear();
        let verdict = Goal::Shard { shard: 1, weight: 1.0 }.judge(&reply, &status);
        assert_eq!(verdict, Verdict::WaitsFor("shard 1 has no primary".into()));
    }
}
