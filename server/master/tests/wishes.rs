//! What operators wish for: written into the shard's register by the leader, bound to its epoch, and nothing else with it.

mod common;

use std::sync::Arc;

use common::{
    Masters,
    meddler::{Fate, Meddler},
    options, run, shard,
};
use slotkv_coordination::{
    Expect, View,
    membership::join,
    paths,
    registers::{Ack, MemberRecord, Primary, Register, Replica, Role, ShardRegister},
    view::ShardView,
};
use slotkv_master::{Standing, admin, wish::Wish};
use slotkv_proto::{
    Code,
    code::code_of,
    v1::{self, admin_server::Admin},
};
use tonic::{Request, Status};

/// Writes of a leader until the slots are given out: its place, its office, the cluster, the slots.
const WRITES_BEFORE: usize = 4;

fn hello() -> Option<v1::Hello> {
    Some(v1::Hello { version_min: 1, version_max: 1, ..v1::Hello::default() })
}

fn replica(name: &str) -> Replica {
    let address = format!("{name}:7710");
    Replica { name: name.into(), inc: format!("{name}-inc"), run: format!("{name}-run"), address }
}

/// w1 leads, w2 and w3 are in sync.
fn three() -> ShardRegister {
    ShardRegister {
        primary: Some(Primary { name: "w1".into(), run: "w1-run".into(), address: "w1:7710".into() }),
        isr: ["w1", "w2", "w3"].map(replica).into(),
        ack: Ack::One,
        min_isr: 2,
        replicas: 3,
        preferred: Some("w1".into()),
        ..shard(1.5)
    }
}

fn member(name: &str, standing: &str) -> MemberRecord {
    let Replica { name, inc, run, address } = replica(name);
    MemberRecord {
        name,
        run,
        inc,
        role: Role::Worker,
        address,
        shard: Some(0),
        zone: String::new(),
        standing: standing.into(),
        since_ms: 7,
        health: Default::default(),
    }
}

/// A cluster of one shard whose masters are on it, with those workers live.
async fn cluster(masters: &mut Masters, live: &[&str]) {
    masters.put_shard(0, &three()).await;
    for name in live {
        join(&*masters.outside, &member(name, "")).await.unwrap();
    }
    for (number, count) in [(0, 1), (1, 2)] {
        masters.add(options(number, 1));
        masters.queue_is(count).await;
    }
    for which in 0..2 {
        let known = |view: &View| view.slots.version == 1 && view.members.len() == live.len();
        masters.view(which, known).await;
    }
}

async fn kept(masters: &Masters) -> (u64, ShardRegister) {
    let node = masters.outside.get(&paths::shard(0)).await.unwrap().unwrap();
    (node.version, ShardRegister::decode("/shards/0", &node.data).unwrap())
}

async fn failover(masters: &Masters, which: usize, shard: u32) -> Result<v1::WishReply, Status> {
    let request = Request::new(v1::FailoverRequest { hello: hello(), shard });
    masters.admin(which).failover(request).await.map(|reply| reply.into_inner())
}

async fn promote(masters: &Masters, name: &str) -> Result<v1::WishReply, Status> {
    let request = Request::new(v1::PromoteRequest { hello: hello(), name: name.into() });
    masters.admin(0).promote(request).await.map(|reply| reply.into_inner())
}

async fn recover(masters: &Masters, name: &str) -> Result<v1::WishReply, Status> {
    let request = Request::new(v1::RecoverRequest { hello: hello(), shard: 0, name: name.into() });
    masters.admin(0).recover(request).await.map(|reply| reply.into_inner())
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (Code, String) {
    let status = outcome.unwrap_err();
    (code_of(&status).unwrap(), status.message().to_owned())
}

#[test]
fn a_failover_prefers_another_replica_in_sync_and_changes_nothing_else() {
    run(async {
        let mut masters = Masters::none().await;
        cluster(&mut masters, &["w1", "w3"]).await;
        let reply = failover(&masters, 0, 0).await.unwrap();
        // w2 is first in line, and not there.
        let expected = v1::WishReply { shard: 0, from: "w1".into(), to: "w3".into(), epoch: 1 };
        assert_eq!(reply, expected);
        let preferred = Some("w3".to_owned());
        assert_eq!(kept(&masters).await, (1, ShardRegister { preferred, ..three() }));
        // Asked for again before it came true it is the same wish.
        assert_eq!(failover(&masters, 0, 0).await.unwrap(), expected);
        assert_eq!(kept(&masters).await.0, 1);
    });
}

#[test]
fn a_standby_names_the_leader_and_writes_nothing() {
    run(async {
        let mut masters = Masters::none().await;
        cluster(&mut masters, &["w1", "w2"]).await;
        let (code, text) = refusal(failover(&masters, 1, 0).await);
        assert_eq!(code, Code::NotPrimary);
        assert!(text.contains("127.0.0.1:7700 leads"), "{text}");
        assert_eq!(kept(&masters).await, (0, three()));
    });
}

#[test]
fn what_cannot_be_wished_for_is_refused_by_name() {
    run(async {
        let mut masters = Masters::none().await;
        cluster(&mut masters, &["w1"]).await;
        let (code, text) = refusal(failover(&masters, 0, 0).await);
        assert_eq!(code, Code::ReadOnly);
        assert!(text.contains("nobody but w1 is in sync in shard 0"), "{text}");
        let (code, text) = refusal(failover(&masters, 0, 9).await);
        assert_eq!((code, text.contains("there is no shard 9")), (Code::InvalidArgument, true), "{text}");
        let (code, text) = refusal(promote(&masters, "nobody").await);
        assert_eq!((code, text.contains("no replica nobody")), (Code::InvalidArgument, true), "{text}");
        let (code, text) = refusal(recover(&masters, "w2").await);
        assert_eq!((code, text.contains("has a primary, w1")), (Code::Retry, true), "{text}");
        assert_eq!(kept(&masters).await, (0, three()));
    });
}

#[test]
fn a_replica_is_promoted_if_it_is_in_sync() {
    run(async {
        let mut masters = Masters::none().await;
        cluster(&mut masters, &["w1", "w2", "w4"]).await;
        let (code, text) = refusal(promote(&masters, "w4").await);
        assert_eq!((code, text.contains("w4 is not in sync")), (Code::ReadOnly, true), "{text}");
        assert_eq!(promote(&masters, "w2").await.unwrap().to, "w2");
        assert_eq!(kept(&masters).await.1.preferred.as_deref(), Some("w2"));
        // An edit of the shard's own in between is kept.
        masters.put_shard(0, &ShardRegister { epoch: 8, ..three() }).await;
        assert_eq!(promote(&masters, "w3").await.unwrap().epoch, 8);
        let preferred = Some("w3".to_owned());
        assert_eq!(kept(&masters).await.1, ShardRegister { epoch: 8, preferred, ..three() });
    });
}

#[test]
fn a_shard_is_recovered_with_a_live_replica_once_its_primary_is_gone() {
    run(async {
        let mut masters = Masters::none().await;
        cluster(&mut masters, &["w2"]).await;
        let (code, text) = refusal(recover(&masters, "w3").await);
        assert_eq!((code, text.contains("no replica w3 of shard 0 is live")), (Code::InvalidArgument, true));
        let reply = recover(&masters, "w2").await.unwrap();
        assert_eq!((reply.to.as_str(), reply.epoch), ("w2", 1));
        let recover_by = |name: &str| Some(format!("{name}/{name}-inc"));
        assert_eq!(kept(&masters).await, (1, ShardRegister { recover: recover_by("w2"), ..three() }));
        let status = masters.view(0, |view| view.shards[&0].register.recover.is_some()).await;
        let status = admin::status(&status, &Standing::default(), "");
        assert_eq!(status.shards[0].recover, "w2/w2-inc");
    });
}

#[test]
fn an_unknown_outcome_is_settled_before_the_operator_is_answered() {
    for fate in [Fate::Applied, Fate::Lost] {
        run(async move {
            let mut masters = Masters::none().await;
            masters.put_shard(0, &three()).await;
            for name in ["w1", "w2", "w3"] {
                join(&*masters.outside, &member(name, "")).await.unwrap();
            }
            let meddler = Meddler::new(masters.coordinator.clone()).choose(WRITES_BEFORE, fate);
            masters.add_on(Arc::new(meddler.clone()), options(0, 1));
            masters.view(0, |view| view.slots.version == 1).await;
            assert_eq!(failover(&masters, 0, 0).await.unwrap().to, "w2", "{fate:?}");
            assert!(meddler.has_meddled());
            let preferred = Some("w2".to_owned());
            assert_eq!(kept(&masters).await, (1, ShardRegister { preferred, ..three() }), "{fate:?}");
        });
    }
}

#[test]
fn a_wish_of_a_leader_that_was_replaced_meanwhile_is_not_written() {
    run(async {
        let mut masters = Masters::none().await;
        masters.put_shard(0, &three()).await;
        for name in ["w1", "w2"] {
            join(&*masters.outside, &member(name, "")).await.unwrap();
        }
        let meddler = Meddler::new(masters.coordinator.clone()).choose(WRITES_BEFORE, Fate::Held);
        masters.add_on(Arc::new(meddler.clone()), options(0, 1));
        masters.view(0, |view| view.slots.version == 1).await;
        masters.add(options(1, 1));
        masters.queue_is(2).await;
        let asked = tokio::spawn({
            let admin = masters.admin(0);
            async move { admin.failover(Request::new(v1::FailoverRequest { hello: hello(), shard: 0 })).await }
        });
        meddler.held().await;
        let queue = masters.outside.children(paths::MASTERS).await.unwrap();
        let first = format!("{}{}", paths::master_prefix(), queue[0]);
        masters.outside.delete(&first, Expect::Any).await.unwrap();
        assert_eq!(masters.leads(1).await, 2);
        meddler.release();
        let (code, text) = refusal(asked.await.unwrap());
        assert_eq!(code, Code::SteppedDown, "{text}");
        masters.stands_by(0).await;
        assert_eq!(kept(&masters).await, (0, three()));
    });
}

/// The view of one shard with these members live.
fn view(register: ShardRegister, members: &[(&str, &str)]) -> View {
    let mut view = View { connected: true, ..View::default() };
    view.shards.insert(0, ShardView { register, version: 0 });
    for (name, standing) in members {
        let member = member(name, standing);
        view.members.insert(format!("{name}-{}", member.run), member);
    }
    view
}

fn shard_status(view: &View) -> v1::ShardStatus {
    admin::status(view, &Standing::default(), "").shards.remove(0)
}

#[test]
fn a_shard_is_shown_as_its_replicas_say_they_stand() {
    let two = ShardRegister { isr: ["w1", "w2"].map(replica).into(), ..three() };
    let one = ShardRegister { isr: vec![replica("w1")], ..three() };
    let cases = [
        (three(), vec![("w1", "leader")], "waiting for slots", ""),
        (three(), vec![("w1", "leader, taking office")], "taking office", ""),
        (three(), vec![("w1", "handing the lead to w2")], "failing over", "handing the lead to w2"),
        (
            one.clone(),
            vec![("w1", "leader, read-only: 1 copies in sync, 2 needed")],
            "read-only",
            "1 copies in sync, 2 needed",
        ),
        (one, vec![("w1", "")], "read-only", "1 copies in sync, 2 needed"),
        (two, vec![("w1", "in sync")], "read-only", "w1 does not lead any more"),
        (
            three(),
            vec![("w2", "read-only: no primary, 1 of 2 replicas have reported")],
            "primary not live",
            "no primary, 1 of 2 replicas have reported",
        ),
        (ShardRegister { primary: None, ..three() }, vec![], "no primary", ""),
    ];
    for (register, members, state, reason) in cases {
        let status = shard_status(&view(register, &members));
        assert_eq!((status.state.as_str(), status.reason.as_str()), (state, reason), "{members:?}");
    }
}

#[test]
fn every_copy_is_shown_whether_it_lives_or_not() {
    let mut known = view(three(), &[("w1", "leader"), ("w2", ""), ("w4", "catching up by a snapshot")]);
    for (name, left) in [("w5", true), ("w3", false)] {
        let member = member(name, "");
        known.known.insert(name.into(), slotkv_coordination::registers::KnownMember { member, left });
    }
    let status = shard_status(&known);
    let copies: Vec<_> = status
        .copies
        .iter()
        .map(|copy| (copy.name.as_str(), copy.state.as_str(), copy.live, copy.in_isr))
        .collect();
    assert_eq!(
        copies,
        [
            ("w1", "leader", true, true),
            ("w2", "in sync", true, true),
            ("w3", "gone", false, true),
            ("w4", "catching up by a snapshot", true, false),
            ("w5", "left", false, false),
        ]
    );
    assert_eq!((status.copies[0].since_ms, status.copies[2].since_ms), (7, 0));
    // The same member with other data does not count.
    let other = known.members.values_mut().find(|member| member.name == "w2").unwrap();
    other.inc = "other".into();
    let w2 = &shard_status(&known).copies[1];
    assert_eq!((w2.state.as_str(), w2.in_isr), ("catching up", false));
}

#[test]
fn a_primary_that_stopped_leading_does_not_stand_in_the_way_of_a_recovery() {
    let settle = |standing: &str| {
        let view = view(
            three(),
            &[("w1", standing), ("w2", "read-only: no primary, 1 of 2 replicas have reported")],
        );
        Wish::Recover(0, "w2".into()).settle(&view).map(|settled| settled.to)
    };
    assert_eq!(settle("read-only: hears no primary").as_deref(), Ok("w2"));
    for leads in ["", "leader", "leader, read-only: 1 copies in sync, 2 needed", "handing the lead to w2"] {
        assert_eq!(settle(leads).unwrap_err().code, Code::Retry, "{leads}");
    }
}
