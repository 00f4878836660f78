//! What only the embedded coordinator can be asked: its faults one by one, virtual time, a seed that repeats a run, and the
//! folder that survives `kill -9`, full disks and damage.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use slotkv_coordination::{
    ClusterView, Coordinator, Embedded, Error, Expect, Hint, Mode, Session, SessionState,
    embedded::{Misbehaviour, WriteFate},
    paths,
    registers::{Cluster, Register, Slots},
};
use slotkv_proto::seam::SeededChance;
use tokio::time::{Instant, advance, sleep};

const TIMEOUT: Duration = Duration::from_secs(10);
const UNKNOWN: Error = Error::Disconnected { unknown: true };

async fn open(embedded: &Embedded) -> Arc<dyn Session> {
    embedded.open(TIMEOUT).await.unwrap()
}

fn state(session: &Arc<dyn Session>) -> SessionState {
    *session.state().borrow()
}

/// Lets the coordinator do what is due.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_left_alone_never_expires() {
    let embedded = Embedded::new();
    let session = open(&embedded).await;
    session.create("/a", Bytes::new(), Mode::Ephemeral).await.unwrap();
    advance(Duration::from_secs(86_400 * 365)).await;
    assert_eq!(state(&session), SessionState::Connected);
    assert!(session.get("/a").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_coordinator_forgets_a_silent_session_before_its_owner_does() {
    let embedded = Embedded::new();
    let (owner, other) = (open(&embedded).await, open(&embedded).await);
    owner.create("/a", Bytes::new(), Mode::Ephemeral).await.unwrap();
    embedded.faults().partition(owner.id());
    sleep(TIMEOUT - Duration::from_millis(1)).await;
    assert!(other.get("/a").await.unwrap().is_some());
    sleep(Duration::from_millis(2)).await;
    assert_eq!(other.get("/a").await, Ok(None));
    assert_eq!(state(&owner), SessionState::Disconnected);
    sleep(TIMEOUT * 2 / 5).await;
    assert_eq!(state(&owner), SessionState::Expired);
    assert_eq!(embedded.faults().sessions(), [other.id()]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_session_expires_after_its_timeout_and_without_anyone_asking() {
    let embedded = Embedded::new();
    let (owner, other) = (open(&embedded).await, open(&embedded).await);
    owner.create("/a", Bytes::new(), Mode::Ephemeral).await.unwrap();
    let mut watch = other.watch("/a").await.unwrap();
    let began = Instant::now();
    drop(owner);
    assert_eq!(watch.next().await, Some(Hint::Changed("/a".into())));
    assert_eq!(began.elapsed().as_secs(), TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_session_may_be_over_without_its_owner_noticing() {
    let embedded = Embedded::new();
    let (owner, other) = (open(&embedded).await, open(&embedded).await);
    owner.create("/leader", Bytes::new(), Mode::Ephemeral).await.unwrap();
    embedded.faults().expire_unnoticed(owner.id());
    assert_eq!(other.get("/leader").await, Ok(None));
    sleep(TIMEOUT * 10).await;
    assert_eq!(state(&owner), SessionState::Connected);
    assert!(owner.get("/leader").await.is_ok());
    assert_eq!(owner.create("/late", Bytes::new(), Mode::Persistent).await, Err(Error::Expired));
    assert_eq!(state(&owner), SessionState::Expired);
    assert_eq!(other.get("/late").await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn an_expired_session_tells_its_owner_and_its_watches() {
    let embedded = Embedded::new();
    let owner = open(&embedded).await;
    let mut watch = owner.watch("/").await.unwrap();
    embedded.faults().expire(owner.id());
    assert_eq!(state(&owner), SessionState::Expired);
    assert_eq!(watch.next().await, None);
    assert_eq!(owner.get("/").await, Err(Error::Expired));
    assert_eq!(embedded.faults().sessions(), []);
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_comes_back_by_itself() {
    let embedded = Embedded::new();
    let owner = open(&embedded).await;
    let mut watch = owner.watch("/").await.unwrap();
    embedded.faults().disconnect(owner.id());
    assert_eq!(owner.sync("/").await, Err(Error::Disconnected { unknown: false }));
    owner.state().wait_for(|state| *state == SessionState::Connected).await.unwrap();
    assert_eq!(watch.next().await, Some(Hint::Lost));
    owner.sync("/").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn lost_hints_are_not_told() {
    let embedded = Embedded::new();
    let owner = open(&embedded).await;
    let mut watch = owner.watch("/").await.unwrap();
    embedded.faults().lose_hints(2);
    for path in ["/a", "/b", "/c"] {
        owner.create(path, Bytes::new(), Mode::Persistent).await.unwrap();
    }
    assert_eq!(watch.next().await, Some(Hint::Changed("/c".into())));
    assert_eq!(watch.try_next(), None);
}

#[tokio::test(start_paused = true)]
async fn a_view_finds_what_no_hint_told() {
    let embedded = Embedded::new();
    let (reader, writer) = (open(&embedded).await, open(&embedded).await);
    let view = ClusterView::start(reader);
    let mut views = view.views();
    views.wait_for(|view| view.loaded).await.unwrap();
    embedded.faults().lose_hints(u64::MAX);
    let slots = Slots { version: 1, ..Slots::default() };
    writer.create(paths::SLOTS, slots.encode().unwrap(), Mode::Persistent).await.unwrap();
    let began = Instant::now();
    views.wait_for(|view| view.slots.version == 1).await.unwrap();
    assert!(began.elapsed() <= slotkv_coordination::view::REREAD * 2);
}

#[tokio::test(start_paused = true)]
async fn reads_are_old_until_sync_or_an_own_write() {
    let embedded = Embedded::new();
    let (reader, writer) = (open(&embedded).await, open(&embedded).await);
    writer.create("/a", "0".into(), Mode::Persistent).await.unwrap();
    embedded.faults().old_reads(true);
    for (version, refresh) in [(1, true), (2, false)] {
        writer.set("/a", "x".into(), Expect::Any).await.unwrap();
        assert_eq!(writer.get("/a").await.unwrap().unwrap().version, version);
        assert_eq!(reader.get("/a").await.unwrap().unwrap().version, version - 1);
        if refresh {
            reader.sync("/a").await.unwrap();
        } else {
            reader.create("/b", Bytes::new(), Mode::Persistent).await.unwrap();
        }
        assert_eq!(reader.get("/a").await.unwrap().unwrap().version, version);
    }
    writer.create("/new", Bytes::new(), Mode::Persistent).await.unwrap();
    assert_eq!(reader.children("/").await.unwrap(), ["a", "b"]);
    embedded.faults().old_reads(false);
    assert_eq!(reader.children("/").await.unwrap(), ["a", "b", "new"]);
}

#[tokio::test(start_paused = true)]
async fn a_long_outage_costs_owners_their_sessions_and_leaves_the_nodes_for_a_while() {
    let embedded = Embedded::new();
    let faults = embedded.faults();
    let owner = open(&embedded).await;
    owner.create("/a", Bytes::new(), Mode::Ephemeral).await.unwrap();
    faults.stop();
    assert!(matches!(embedded.open(TIMEOUT).await, Err(Error::Unavailable { .. })));
    sleep(Duration::from_secs(300)).await;
    assert_eq!(state(&owner), SessionState::Expired);
    faults.start();
    let again = open(&embedded).await;
    // The coordinator counts the silence anew: the old session's node is still there, and not the new one's.
    let left = again.get("/a").await.unwrap().unwrap();
    assert_eq!(left.owner, Some(owner.id()));
    sleep(TIMEOUT + Duration::from_millis(1)).await;
    assert_eq!(again.get("/a").await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_costs_nothing() {
    let embedded = Embedded::new();
    let owner = open(&embedded).await;
    owner.create("/a", Bytes::new(), Mode::Ephemeral).await.unwrap();
    embedded.faults().stop();
    assert_eq!(owner.get("/a").await, Err(Error::Disconnected { unknown: false }));
    let waiting = tokio::spawn({
        let embedded = embedded.clone();
        async move { embedded.open(TIMEOUT).await.map(|session| session.id()) }
    });
    sleep(TIMEOUT / 2).await;
    embedded.faults().start();
    assert_ne!(waiting.await.unwrap().unwrap(), owner.id());
    assert_eq!(owner.get("/a").await.unwrap().unwrap().owner, Some(owner.id()));
}

#[tokio::test(start_paused = true)]
async fn scripted_fates_hit_the_session_they_name() {
    let embedded = Embedded::new();
    let (first, second) = (open(&embedded).await, open(&embedded).await);
    embedded.faults().next_write(Some(second.id()), WriteFate::Applied);
    embedded.faults().next_write(None, WriteFate::Lost);
    assert_eq!(first.create("/a", Bytes::new(), Mode::Persistent).await, Err(UNKNOWN));
    assert_eq!(second.create("/b", Bytes::new(), Mode::Persistent).await, Err(UNKNOWN));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(first.children("/").await.unwrap(), ["b"]);
}

/// Two processes count together under random misbehaviour; what they were told is what happened.
async fn count_under_misbehaviour(seed: u64) -> (u64, u64, String) {
    let embedded = Embedded::new();
    let sessions = [open(&embedded).await, open(&embedded).await];
    sessions[0].create("/n", "0".into(), Mode::Persistent).await.unwrap();
    let chance = Arc::new(SeededChance::new(seed));
    let rates = Misbehaviour { chance, unknown: 150, broken: 100, lost_hints: 300 };
    embedded.faults().misbehave(Some(rates));
    let (mut done, mut unknown, mut history) = (0, 0, String::new());
    for round in 0..400 {
        let session = &sessions[round % 2];
        session.state().wait_for(|state| *state == SessionState::Connected).await.unwrap();
        session.sync("/n").await.unwrap();
        let node = session.get("/n").await.unwrap().unwrap();
        let value: u64 = std::str::from_utf8(&node.data).unwrap().parse().unwrap();
        let written = session.set("/n", (value + 1).to_string().into(), Expect::Version(node.version)).await;
        history.push_str(&format!("{written:?};"));
        match written {
            Ok(_) => done += 1,
            Err(error) if error.is_unknown() => unknown += 1,
            Err(error) => assert_eq!(error, Error::Disconnected { unknown: false }),
        }
        settle().await;
    }
    embedded.faults().misbehave(None);
    sleep(Duration::from_secs(1)).await;
    let node = sessions[0].get("/n").await.unwrap().unwrap();
    let value: u64 = std::str::from_utf8(&node.data).unwrap().parse().unwrap();
    assert_eq!(value, node.version);
    assert!((done..=done + unknown).contains(&value), "{done} done, {unknown} unknown, counted {value}");
    (value, unknown, history)
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_under_misbehaviour_happened_and_a_seed_repeats_it() {
    let mut unknowns = 0;
    for seed in 0..20 {
        let first = count_under_misbehaviour(seed).await;
        assert_eq!(first, count_under_misbehaviour(seed).await, "seed {seed}");
        unknowns += first.1;
    }
    assert!(unknowns > 100, "only {unknowns} unknown outcomes");
}

#[tokio::test(start_paused = true)]
async fn a_view_never_goes_back_and_catches_up_under_misbehaviour() {
    for seed in 0..10 {
        let embedded = Embedded::new();
        let faults = embedded.faults();
        let (reader, writer) = (open(&embedded).await, open(&embedded).await);
        let cluster =
            Cluster { cluster_id: "c".into(), slot_count: 16, shards_announced: 1, placement: "ring".into() };
        writer.create(paths::CLUSTER, cluster.encode().unwrap(), Mode::Persistent).await.unwrap();
        writer.create(paths::SLOTS, Slots::default().encode().unwrap(), Mode::Persistent).await.unwrap();
        let view = ClusterView::start(reader.clone());
        let mut views = view.views();
        let watcher = tokio::spawn(async move {
            let mut seen = 0;
            while views.changed().await.is_ok() {
                let version = views.borrow_and_update().slots.version;
                assert!(version >= seen, "{version} after {seen}");
                seen = version;
            }
            seen
        });
        let chance = Arc::new(SeededChance::new(seed));
        faults.misbehave(Some(Misbehaviour { chance, unknown: 200, broken: 100, lost_hints: 500 }));
        faults.old_reads(true);
        for version in 1..=200 {
            writer.state().wait_for(|state| *state == SessionState::Connected).await.unwrap();
            let slots = Slots { version, ..Slots::default() };
            let _ = writer.set(paths::SLOTS, slots.encode().unwrap(), Expect::Any).await;
            if version % 50 == 0 {
                faults.disconnect(reader.id());
            }
            settle().await;
        }
        faults.misbehave(None);
        sleep(Duration::from_secs(1)).await;
        let last = Slots { version: 201, ..Slots::default() };
        writer.set(paths::SLOTS, last.encode().unwrap(), Expect::Any).await.unwrap();
        sleep(slotkv_coordination::view::REREAD * 2).await;
        assert_eq!(view.current().slots.version, 201, "seed {seed}");
        drop(view);
        assert_eq!(watcher.await.unwrap(), 201);
    }
}

#[tokio::test]
async fn a_folder_keeps_persistent_nodes_and_drops_ephemeral_ones() {
    let dir = tempfile::tempdir().unwrap();
    let before = {
        let embedded = Embedded::open(dir.path()).unwrap();
        let session = open(&embedded).await;
        session.create("/a/text", "{\"x\":1}".into(), Mode::Persistent).await.unwrap();
        session.create("/a/bytes", Bytes::from_static(&[0, 255, 10]), Mode::Persistent).await.unwrap();
        session.set("/a/text", "{\"x\":2}".into(), Expect::Any).await.unwrap();
        session.create("/live/a", Bytes::new(), Mode::Ephemeral).await.unwrap();
        session.create("/queue/", Bytes::new(), Mode::EphemeralSequential).await.unwrap();
        session.id()
    };
    let embedded = Embedded::open(dir.path()).unwrap();
    let session = open(&embedded).await;
    assert!(session.id() > before, "{} after {before}", session.id());
    let text = session.get("/a/text").await.unwrap().unwrap();
    assert_eq!((text.data, text.version), ("{\"x\":2}".into(), 1));
    assert_eq!(session.get("/a/bytes").await.unwrap().unwrap().data[..], [0, 255, 10]);
    assert_eq!(session.children("/").await.unwrap(), ["a", "live", "queue"]);
    assert_eq!(session.children("/live").await.unwrap(), Vec::<String>::new());
    let next = session.create("/queue/", Bytes::new(), Mode::EphemeralSequential).await.unwrap();
    assert_eq!(next, "/queue/0000000001");
}

#[tokio::test]
async fn a_folder_in_use_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let first = Embedded::open(dir.path()).unwrap();
    let refused = Embedded::open(dir.path()).unwrap_err();
    assert!(
        matches!(refused, Error::Locked { .. }) && refused.to_string().contains(dir.path().to_str().unwrap())
    );
    drop(first);
    Embedded::open(dir.path()).unwrap();
}

#[tokio::test]
async fn a_write_that_the_disk_refuses_is_not_applied() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(dir.path()).unwrap();
    let session = open(&embedded).await;
    session.create("/a", "old".into(), Mode::Persistent).await.unwrap();
    let obstacle = dir.path().join("coordinator.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    let refused = session.set("/a", "new".into(), Expect::Any).await.unwrap_err();
    assert!(matches!(refused, Error::Storage { .. }) && !refused.is_unknown(), "{refused}");
    assert_eq!(session.get("/a").await.unwrap().unwrap().data, "old");
    session.create("/live", Bytes::new(), Mode::Ephemeral).await.unwrap();
    std::fs::remove_dir(obstacle).unwrap();
    assert_eq!(session.set("/a", "new".into(), Expect::Version(0)).await, Ok(1));
}

#[tokio::test]
async fn damage_and_newer_formats_are_refused_and_a_half_written_file_is_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("coordinator.json");
    {
        let embedded = Embedded::open(dir.path()).unwrap();
        open(&embedded).await.create("/a", "kept".into(), Mode::Persistent).await.unwrap();
    }
    let good = std::fs::read(&file).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        std::fs::write(&file, &bad).unwrap();
        let refused = Embedded::open(dir.path()).unwrap_err();
        assert!(matches!(refused, Error::Damaged { .. } | Error::NewerFormat { .. }), "byte {at}: {refused}");
    }
    for end in 0..good.len() {
        std::fs::write(&file, &good[..end]).unwrap();
        assert!(matches!(Embedded::open(dir.path()), Err(Error::Damaged { .. })), "cut at {end}");
    }
    let newer = String::from_utf8(good.clone()).unwrap().replacen("coordinator 1 ", "coordinator 9 ", 1);
    std::fs::write(&file, newer).unwrap();
    let refused = Embedded::open(dir.path()).unwrap_err();
    assert!(matches!(refused, Error::NewerFormat { format: 9, known: 1, .. }), "{refused}");

    std::fs::write(&file, &good).unwrap();
    std::fs::write(dir.path().join("coordinator.json.new"), &good[..good.len() / 2]).unwrap();
    let embedded = Embedded::open(dir.path()).unwrap();
    assert_eq!(open(&embedded).await.get("/a").await.unwrap().unwrap().data, "kept");
}

/// The file that release 0.1 wrote. Never edit it: a later build must still read it.
#[tokio::test]
async fn the_file_of_the_first_release_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/coordinator-1.json");
    std::fs::copy(golden, dir.path().join("coordinator.json")).unwrap();
    let embedded = Embedded::open(dir.path()).unwrap();
    let session = open(&embedded).await;
    assert_eq!(session.children("/").await.unwrap(), ["cluster", "masters"]);
    let cluster = session.get("/cluster").await.unwrap().unwrap();
    assert_eq!((cluster.data, cluster.version), ("{\"format\":1}".into(), 1));
    let next = session.create("/masters/", Bytes::new(), Mode::EphemeralSequential).await.unwrap();
    assert_eq!(next, "/masters/0000000002");
}

const WRITER_DIR: &str = "SLOTKV_TEST_WRITER_DIR";

/// Not a test by itself: the process that the next test kills.
#[tokio::test]
#[ignore = "runs as a child of acknowledged_writes_survive_kill_9"]
async fn writer_process() {
    let Some(dir) = std::env::var_os(WRITER_DIR) else { return };
    let embedded = Embedded::open(dir).unwrap();
    let session = open(&embedded).await;
    let _ = session.create("/n", Bytes::new(), Mode::Persistent).await;
    session.create("/live", Bytes::new(), Mode::Ephemeral).await.unwrap();
    loop {
        let version = session.set("/n", vec![7; 2000].into(), Expect::Any).await.unwrap();
        let node = session.create("/q/", Bytes::new(), Mode::EphemeralSequential).await.unwrap();
        println!("\nacked {version} {node}");
    }
}

#[tokio::test]
async fn acknowledged_writes_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writer_process", "--exact", "--ignored", "--nocapture"])
            .env(WRITER_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acked =
            lines.map_while(Result::ok).filter(|line| line.starts_with("acked ")).nth(20 * round).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let mut words = acked.split(' ').skip(1);
        let version: u64 = words.next().unwrap().parse().unwrap();
        let node = words.next().unwrap();

        let embedded = Embedded::open(dir.path()).unwrap();
        let session = open(&embedded).await;
        assert!(session.get("/n").await.unwrap().unwrap().version >= version);
        assert_eq!(session.get("/live").await, Ok(None));
        assert_eq!(session.children("/q").await.unwrap(), Vec::<String>::new());
        let next = session.create("/q/", Bytes::new(), Mode::EphemeralSequential).await.unwrap();
        assert!(next.as_str() > node, "{next} after {node}");
    }
}
