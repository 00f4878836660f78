//! What masters and workers answer to clients and operators.

mod common;

use std::sync::Arc;

use common::{Masters, options, run, shard};
use futures_util::{FutureExt, StreamExt};
use slotkv_coordination::{
    View,
    membership::{join, leave},
    registers::{Cluster, MemberRecord, Role, ShardRegister},
    view::ShardView,
};
use slotkv_master::{AdminService, Duty, MasterService, Operator, Standing, admin};
use slotkv_proto::{
    Code, SlotTable,
    code::code_of,
    limits::{CLIENT_NAME_BYTES_MAX, NAMESPACE_BYTES_MAX, SHARDS_MAX},
    v1::{self, admin_server::Admin, master_server::Master},
};
use tokio::sync::watch;
use tonic::{Request, Status};

/// A view that the test writes itself.
struct Fixture {
    views: watch::Sender<Arc<View>>,
    service: MasterService,
}

impl Fixture {
    fn unfounded() -> Self {
        let (views, view) = watch::channel(Arc::new(View::default()));
        Self { views, service: MasterService::new(view) }
    }

    fn founded() -> Self {
        let fixture = Self::unfounded();
        fixture.found("c");
        fixture
    }

    fn found(&self, cluster_id: &str) {
        let cluster = Cluster {
            cluster_id: cluster_id.into(),
            slot_count: 16,
            shards_announced: 2,
            placement: "weighted".into(),
        };
        self.change(|view| {
            view.table = Some(Arc::new(cluster.table().unwrap()));
            view.cluster = Some(cluster);
            view.connected = true;
        });
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        self.views.send_modify(|view| change(Arc::make_mut(view)));
    }

    fn change_table(&self, change: impl FnOnce(&mut SlotTable)) {
        self.change(|view| {
            let mut table = SlotTable::clone(view.table.as_ref().unwrap());
            change(&mut table);
            view.table = Some(Arc::new(table));
        });
    }

    /// Two shards with the slots between them, as of version 1.
    fn allocate(&self) {
        self.change_table(|table| {
            table.set_owners(1, &[(0, 7, 0), (8, 15, 1)]).unwrap();
            for id in 0..2 {
                table.set_route(shard(1.0).route(id, 0));
            }
        });
    }

    fn table(&self) -> Arc<SlotTable> {
        self.views.borrow().table.clone().unwrap()
    }

    async fn ping(&self, ping: v1::PingRequest) -> Result<v1::PingReply, Status> {
        self.service.ping(Request::new(ping)).await.map(|reply| reply.into_inner())
    }

    async fn slot_table(&self, request: v1::SlotTableRequest) -> Result<v1::TableDelta, Status> {
        self.service.get_slot_table(Request::new(request)).await.map(|reply| reply.into_inner())
    }

    async fn status(&self, request: v1::StatusRequest) -> Result<v1::StatusReply, Status> {
        let (_, standing) = watch::channel(Standing::default());
        let service = AdminService::new(
            self.views.subscribe(),
            standing,
            Operator::closed(),
            watch::channel(Arc::default()).1,
            "",
        );
        service.status(Request::new(request)).await.map(|reply| reply.into_inner())
    }

    async fn watch(
        &self,
        request: v1::SlotTableRequest,
    ) -> Result<<MasterService as Master>::WatchSlotTableStream, Status> {
        self.service.watch_slot_table(Request::new(request)).await.map(|reply| reply.into_inner())
    }
}

fn ping() -> v1::PingRequest {
    v1::PingRequest { version_min: 1, version_max: 1, ..v1::PingRequest::default() }
}

fn hello(cluster_id: &str) -> v1::Hello {
    v1::Hello { version_min: 1, version_max: 1, cluster_id: cluster_id.into(), ..v1::Hello::default() }
}

/// Of a caller that knows nothing of the table.
fn anything(cluster_id: &str) -> v1::SlotTableRequest {
    v1::SlotTableRequest { hello: Some(hello(cluster_id)), ..v1::SlotTableRequest::default() }
}

fn since(table: &SlotTable) -> v1::SlotTableRequest {
    let known_routes =
        table.routes().map(|route| v1::KnownRoute { shard: route.shard, revision: route.revision });
    v1::SlotTableRequest {
        hello: Some(hello(table.cluster_id())),
        since_version: table.version(),
        known_routes: known_routes.collect(),
    }
}

#[tokio::test]
async fn a_ping_tells_versions_and_masters() {
    let fixture = Fixture::founded();
    fixture.allocate();
    fixture.change(|view| {
        view.masters = vec!["a:7700".into(), "b:7700".into()];
        view.master_epoch = 4;
    });
    let reply = fixture.ping(v1::PingRequest { version_max: 9, ..ping() }).await.unwrap();
    let expected = v1::PingReply {
        version: 1,
        cluster_id: "c".into(),
        table_version: 1,
        route_revisions: 2,
        masters: vec!["a:7700".into(), "b:7700".into()],
        leader: false,
        master_epoch: 4,
    };
    assert_eq!(reply, expected);
}

#[tokio::test]
async fn a_ping_before_the_cluster_is_founded_is_answered_with_nothing_known() {
    let fixture = Fixture::unfounded();
    let reply = fixture.ping(v1::PingRequest { cluster_id: "c".into(), ..ping() }).await.unwrap();
    assert_eq!((reply.version, reply.cluster_id.as_str(), reply.table_version), (1, "", 0));
}

#[tokio::test]
async fn a_caller_that_speaks_no_common_version_is_refused() {
    let fixture = Fixture::founded();
    for (version_min, version_max) in [(2, 3), (0, 0), (5, 1)] {
        let hello = Some(v1::Hello { version_min, version_max, ..hello("") });
        let request = v1::SlotTableRequest { hello: hello.clone(), ..anything("") };
        for status in [
            fixture.ping(v1::PingRequest { version_min, version_max, ..ping() }).await.unwrap_err(),
            fixture.slot_table(request.clone()).await.unwrap_err(),
            fixture.watch(request).await.map(drop).unwrap_err(),
            fixture.status(v1::StatusRequest { hello }).await.unwrap_err(),
        ] {
            assert_eq!(code_of(&status), Some(Code::Unsupported));
            let text = format!("versions 1 to 1, the caller {version_min} to {version_max}");
            assert!(status.message().contains(&text), "{status}");
        }
    }
    let newer = v1::Hello { version_max: 9, features: u64::MAX, ..hello("c") };
    let request = v1::SlotTableRequest { hello: Some(newer), ..anything("") };
    assert!(fixture.slot_table(request).await.is_ok(), "the lower version is spoken, bits are ignored");
}

#[tokio::test]
async fn a_caller_that_says_no_hello_is_refused() {
    let fixture = Fixture::founded();
    let silent = v1::SlotTableRequest::default;
    for status in [
        fixture.slot_table(silent()).await.unwrap_err(),
        fixture.watch(silent()).await.map(drop).unwrap_err(),
        fixture.status(v1::StatusRequest::default()).await.unwrap_err(),
    ] {
        assert_eq!(code_of(&status), Some(Code::InvalidArgument), "{status}");
    }
}

#[tokio::test]
async fn a_caller_of_another_cluster_is_refused_everywhere() {
    let fixture = Fixture::founded();
    let other = anything("d");
    let refusals = [
        fixture.ping(v1::PingRequest { cluster_id: "d".into(), ..ping() }).await.unwrap_err(),
        fixture.slot_table(other.clone()).await.unwrap_err(),
        fixture.watch(other).await.map(drop).unwrap_err(),
        fixture.status(v1::StatusRequest { hello: Some(hello("d")) }).await.unwrap_err(),
    ];
    for status in refusals {
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert_eq!(status.message(), "5 WRONG_CLUSTER: this member belongs to cluster c, the caller to d");
    }
}

#[tokio::test]
async fn what_is_past_a_limit_is_refused_by_name() {
    let fixture = Fixture::founded();
    let client_id = v1::PingRequest { client_id: vec![1; 15].into(), ..ping() };
    let status = fixture.ping(client_id).await.unwrap_err();
    assert_eq!(code_of(&status), Some(Code::InvalidArgument), "{status}");
    let client_name = v1::PingRequest { client_name: "n".repeat(CLIENT_NAME_BYTES_MAX + 1), ..ping() };
    let status = fixture.ping(client_name).await.unwrap_err();
    assert_eq!(code_of(&status), Some(Code::TooLarge), "{status}");
    let past = [
        (v1::Hello { client_id: vec![1; 15].into(), ..hello("") }, Code::InvalidArgument),
        (v1::Hello { client_name: "n".repeat(CLIENT_NAME_BYTES_MAX + 1), ..hello("") }, Code::TooLarge),
        (v1::Hello { namespace: "n".repeat(NAMESPACE_BYTES_MAX + 1), ..hello("") }, Code::TooLarge),
    ];
    for (hello, code) in past {
        let request = v1::SlotTableRequest { hello: Some(hello), ..anything("") };
        let status = fixture.slot_table(request).await.unwrap_err();
        assert_eq!(code_of(&status), Some(code), "{status}");
    }
    let known_routes = vec![v1::KnownRoute::default(); SHARDS_MAX + 1];
    let request = v1::SlotTableRequest { known_routes, ..anything("") };
    for status in [
        fixture.slot_table(request.clone()).await.unwrap_err(),
        fixture.watch(request).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(code_of(&status), Some(Code::TooLarge), "{status}");
        assert!(status.message().contains("4097 known routes, the limit is 4096"), "{status}");
    }
}

#[tokio::test]
async fn the_slot_table_comes_whole_and_then_as_what_changed() {
    let fixture = Fixture::founded();
    fixture.allocate();
    let whole = fixture.slot_table(anything("")).await.unwrap();
    let mut mine = SlotTable::from_delta(&whole).unwrap();
    assert_eq!(mine.full(), fixture.table().full());

    fixture.change_table(|table| {
        table.set_owners(2, &[(0, 6, 0), (7, 15, 1)]).unwrap();
        let moved = ShardRegister { epoch: 2, ..shard(1.0) };
        table.set_route(moved.route(1, 5));
    });
    let delta = fixture.slot_table(since(&mine)).await.unwrap();
    assert_eq!(delta.ranges, [v1::SlotRange { first: 7, last: 7, shard: 1 }]);
    assert_eq!(delta.routes.len(), 1);
    mine.apply(&delta).unwrap();
    assert_eq!(mine.full(), fixture.table().full());
}

#[tokio::test]
async fn there_is_no_slot_table_before_the_cluster_is_founded() {
    let status = Fixture::unfounded().slot_table(anything("")).await.unwrap_err();
    assert_eq!(code_of(&status), Some(Code::Retry), "{status}");
    assert_eq!(status.code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn a_watcher_gets_what_it_lacks_and_then_every_change() {
    let fixture = Fixture::founded();
    fixture.allocate();
    let mut mine = SlotTable::new("c", fixture.table().slots());
    let mut deltas = fixture.watch(anything("")).await.unwrap();
    mine.apply(&deltas.next().await.unwrap().unwrap()).unwrap();
    assert_eq!(mine.full(), fixture.table().full());

    fixture.change(|view| view.master_epoch += 1);
    assert!(deltas.next().now_or_never().is_none(), "nothing of the table has changed");

    for version in 2..6 {
        fixture.change_table(|table| {
            let last = version as u16;
            table.set_owners(version, &[(0, last, 0), (last + 1, 15, 1)]).unwrap();
        });
        let delta = deltas.next().await.unwrap().unwrap();
        assert_eq!((delta.from_version, delta.version, delta.routes.len()), (version - 1, version, 0));
        mine.apply(&delta).unwrap();
        assert_eq!(mine.full(), fixture.table().full());
    }
    fixture.change_table(|table| {
        table.set_route(shard(1.0).route(0, 9));
    });
    let delta = deltas.next().await.unwrap().unwrap();
    assert_eq!((delta.ranges.len(), delta.routes.len()), (0, 1));
}

#[tokio::test]
async fn a_watcher_that_lacks_nothing_hears_so_at_once() {
    let fixture = Fixture::founded();
    fixture.allocate();
    let mut deltas = fixture.watch(since(&fixture.table())).await.unwrap();
    let delta = deltas.next().now_or_never().expect("at once").unwrap().unwrap();
    assert_eq!((delta.version, delta.ranges.len(), delta.routes.len()), (1, 0, 0));
    assert!(deltas.next().now_or_never().is_none());
}

#[tokio::test]
async fn a_watcher_that_is_ahead_hears_nothing_old() {
    let fixture = Fixture::founded();
    fixture.allocate();
    let ahead = v1::SlotTableRequest { since_version: 5, ..since(&fixture.table()) };
    let mut deltas = fixture.watch(ahead).await.unwrap();
    assert_eq!(deltas.next().await.unwrap().unwrap().ranges, []);
    fixture.change_table(|table| drop(table.set_owners(4, &[(0, 15, 0)])));
    assert!(deltas.next().now_or_never().is_none());
    fixture.change_table(|table| drop(table.set_owners(6, &[(0, 15, 1)])));
    let delta = deltas.next().await.unwrap().unwrap();
    assert_eq!((delta.from_version, delta.version), (5, 6));
}

#[tokio::test]
async fn a_watcher_may_come_before_the_cluster_is_founded() {
    let fixture = Fixture::unfounded();
    let request = anything("c");
    let mut right = fixture.watch(request.clone()).await.unwrap();
    assert!(right.next().now_or_never().is_none());
    fixture.found("c");
    assert_eq!(right.next().await.unwrap().unwrap().cluster_id, "c");

    let other = Fixture::unfounded();
    let mut wrong = other.watch(request).await.unwrap();
    other.found("d");
    let status = wrong.next().await.unwrap().unwrap_err();
    assert_eq!(code_of(&status), Some(Code::WrongCluster));
    assert!(wrong.next().await.is_none());
}

#[tokio::test]
async fn past_the_bound_a_watcher_is_refused_until_another_one_leaves() {
    let mut fixture = Fixture::founded();
    fixture.service = fixture.service.clone().with_watchers_max(2);
    let first = fixture.watch(anything("")).await.unwrap();
    let _second = fixture.watch(anything("")).await.unwrap();
    let status = fixture.watch(anything("")).await.map(drop).unwrap_err();
    assert_eq!(code_of(&status), Some(Code::Overloaded), "{status}");
    assert!(fixture.slot_table(anything("")).await.is_ok(), "others are unharmed");
    drop(first);
    assert!(fixture.watch(anything("")).await.is_ok());
}

#[tokio::test]
async fn when_the_member_stops_its_watchers_are_told() {
    let Fixture { views, service } = Fixture::founded();
    let request = Request::new(anything(""));
    let mut deltas = service.watch_slot_table(request).await.unwrap().into_inner();
    deltas.next().await.unwrap().unwrap();
    drop(views);
    let status = deltas.next().await.unwrap().unwrap_err();
    assert_eq!(code_of(&status), Some(Code::ShuttingDown), "{status}");
    assert!(deltas.next().await.is_none());
}

#[test]
fn leader_and_standby_answer_alike_but_for_who_leads() {
    run(async {
        let masters = Masters::start(2, 1).await;
        masters.put_shard(3, &shard(1.0)).await;
        let mut tables = Vec::new();
        for (which, master) in masters.masters.iter().enumerate() {
            masters.view(which, |view| view.slots.version == 1 && view.masters.len() == 2).await;
            let service = MasterService::of_master(master.view(), master.standing());
            let reply = service.ping(Request::new(ping())).await.unwrap().into_inner();
            assert_eq!((reply.leader, reply.master_epoch, reply.table_version), (which == 0, 1, 1));
            assert_eq!(reply.masters, ["127.0.0.1:7700", "127.0.0.1:7701"]);
            let request = Request::new(anything(""));
            tables.push(service.get_slot_table(request).await.unwrap().into_inner());
        }
        assert_eq!(tables[0], tables[1]);
        assert_eq!(tables[0].ranges, [v1::SlotRange { first: 0, last: 1023, shard: 3 }]);
    });
}

#[test]
fn watchers_of_a_master_that_shuts_down_are_told() {
    run(async {
        let mut masters = Masters::start(1, 1).await;
        let master = masters.masters.remove(0);
        let service = MasterService::of_master(master.view(), master.standing());
        let request = Request::new(anything(""));
        let mut deltas = service.watch_slot_table(request).await.unwrap().into_inner();
        deltas.next().await.unwrap().unwrap();
        master.shutdown().await;
        let end = loop {
            if let Err(end) = deltas.next().await.unwrap() {
                break end;
            }
        };
        assert_eq!(code_of(&end), Some(Code::ShuttingDown));
    });
}

fn worker(name: &str, id: u32) -> MemberRecord {
    MemberRecord {
        name: name.into(),
        run: "r".into(),
        inc: "i".into(),
        role: Role::Worker,
        address: "127.0.0.1:7710".into(),
        shard: Some(id),
        zone: "z1".into(),
        standing: String::new(),
        since_ms: 0,
        health: Default::default(),
    }
}

#[test]
fn status_tells_members_that_live_left_and_crashed_apart() {
    run(async {
        let mut masters = Masters::none().await;
        masters.add(options(0, 1));
        masters.leads(0).await;
        for (name, id) in [("w", 0), ("gone", 1), ("crashed", 2)] {
            join(&*masters.outside, &worker(name, id)).await.unwrap();
        }
        leave(&*masters.outside, &worker("gone", 1)).await.unwrap();
        let crashed = slotkv_coordination::paths::member("crashed", "r");
        masters.outside.delete(&crashed, slotkv_coordination::Expect::Any).await.unwrap();
        masters.put_shard(0, &shard(2.0)).await;
        masters
            .view(0, |view| view.slots.version == 1 && view.members.len() == 1 && view.known.len() == 3)
            .await;

        let service = masters.admin(0);
        let status = service
            .status(Request::new(v1::StatusRequest { hello: Some(hello("")) }))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(status.cluster_id.len(), 32);
        assert_eq!((status.slot_count, status.table_version, status.master_epoch), (1024, 1, 1));
        assert_eq!(status.shards_announced, 1);
        assert_eq!(status.masters, [v1::MasterStatus { address: "127.0.0.1:7700".into(), leader: true }]);
        let expected = v1::ShardStatus {
            shard: 0,
            epoch: 1,
            state: "leader".into(),
            primary: "w".into(),
            isr: vec!["w".into()],
            ack: "all".into(),
            min_isr: 1,
            durability: "sync".into(),
            weight: 2.0,
            slots: 1024,
            replicas: 1,
            copies: vec![v1::ReplicaStatus {
                name: "w".into(),
                state: "leader".into(),
                live: true,
                in_isr: true,
                address: "127.0.0.1:7710".into(),
                zone: "z1".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(status.shards, [expected]);
        let members: Vec<_> = status.members.iter().map(|m| (m.name.as_str(), m.shard, m.live)).collect();
        assert_eq!(members, [("crashed", 2, false), ("gone", 1, false), ("w", 0, true)]);
        assert_eq!(
            status.notices,
            [
                admin::NOTHING_MOVES.to_owned(),
                "worker crashed does not live and did not leave: crashed, or cut off".to_owned(),
            ]
        );
    });
}

#[test]
fn status_names_what_is_unusual() {
    let notices = |view: &View| admin::status(view, &Standing::default(), "").notices;
    let unfounded = notices(&View::default());
    assert_eq!(
        unfounded,
        [
            "the coordinator is out of reach: this is what was known before",
            "no master has founded the cluster yet",
        ]
    );

    let fixture = Fixture::founded();
    fixture.change(|view| {
        let state = |register| ShardView { register, version: 0 };
        view.shards.insert(0, state(ShardRegister { primary: None, ..shard(1.0) }));
        view.shards.insert(1, state(ShardRegister { min_isr: 2, replicas: 2, ..shard(1.0) }));
        view.problems.insert("/slots".into(), "it is damaged".into());
    });
    let view = fixture.views.borrow().clone();
    assert_eq!(
        notices(&view),
        [
            "register /slots cannot be used: it is damaged",
            "the slots are given out when 2 shards have registered and have a primary; so far 1 have",
            "the primary of shard 1, w, is not in touch with the coordinator",
        ]
    );
    let status = admin::status(&view, &Standing::default(), "");
    let states: Vec<_> = status.shards.iter().map(|shard| shard.state.as_str()).collect();
    assert_eq!(states, ["no primary", "primary not live"]);

    let live = worker("w", 1);
    fixture.change(|view| drop(view.members.insert("w-r".into(), live)));
    let status = admin::status(&fixture.views.borrow(), &Standing::default(), "");
    assert_eq!(status.shards[1].state, "read-only");
}

/// The queue alone does not tell: a place outlives its master by the session timeout.
#[test]
fn status_names_as_leader_who_leads() {
    let fixture = Fixture::founded();
    fixture.change(|view| view.masters = vec!["a:1".into(), "b:1".into(), "a:1".into()]);
    let leaders = |standing: &Standing, address: &str| {
        let status = admin::status(&fixture.views.borrow(), standing, address);
        status.masters.iter().map(|master| master.leader).collect::<Vec<_>>()
    };
    let leads = Standing { duty: Duty::Leader, epoch: 3, problem: None };
    let stands_by = Standing { duty: Duty::Standby, ..Standing::default() };
    assert_eq!(leaders(&stands_by, "b:1"), [true, false, false], "as far as the queue tells");
    assert_eq!(
        leaders(&stands_by, "a:1"),
        [false; 3],
        "the first place is of an earlier process of this master"
    );
    assert_eq!(leaders(&leads, "a:1"), [false, false, true]);
    assert_eq!(leaders(&leads, "b:1"), [false, true, false]);
    fixture.change(|view| view.connected = false);
    assert_eq!(leaders(&stands_by, "b:1"), [false; 3], "nobody can tell");
}
