//! What a replica asks of the coordinator, carried out on an embedded one with its faults.

use std::{sync::Arc, time::Duration};

use slotkv_coordination::{
    Coordinator, Embedded, Expect, Mode, Session,
    embedded::WriteFate,
    paths,
    registers::{Ack as KeptAck, Durability, Primary, Register as _, Replica, ShardRegister},
};
use slotkv_replication::{Ack, Answer, Ask, Candidate, Member, Position, Register};
use slotkv_worker::registrar::{ASK_MS_MAX, Registrar, told};
use tokio::time::Instant;

const SHARD: u32 = 3;

struct Bed {
    embedded: Embedded,
    session: Arc<dyn Session>,
    registrar: Registrar,
}

impl Bed {
    /// w1 leads in epoch 4; w2 and w3 are in sync; of w3 and w4 an address is known.
    async fn new() -> Self {
        let embedded = Embedded::new();
        let session = embedded.open(Duration::from_secs(5)).await.unwrap();
        session.create(&paths::shard(SHARD), shard().encode().unwrap(), Mode::Persistent).await.unwrap();
        Self { embedded, session, registrar: registrar("w1", "r1") }
    }

    async fn ask(&self, ask: Ask) -> Answer {
        self.registrar.ask(&*self.session, ask).await
    }

    async fn read(&self) -> Register {
        match self.ask(Ask::Read).await {
            Answer::Register(register) => register,
            other => panic!("{other:?}"),
        }
    }

    async fn kept(&self) -> (u64, ShardRegister) {
        let path = paths::shard(SHARD);
        self.session.sync(&path).await.unwrap();
        let node = self.session.get(&path).await.unwrap().unwrap();
        (node.version, ShardRegister::decode(&path, &node.data).unwrap())
    }

    async fn edit(&self, edit: impl FnOnce(&mut ShardRegister)) {
        let (version, mut register) = self.kept().await;
        edit(&mut register);
        let data = register.encode().unwrap();
        self.session.set(&paths::shard(SHARD), data, Expect::Version(version)).await.unwrap();
    }
}

fn registrar(name: &str, run: &str) -> Registrar {
    let own = Primary { name: name.into(), run: run.into(), address: format!("{name}:{run}") };
    let address_of = |name: &str| matches!(name, "w3" | "w4").then(|| format!("{name}:known"));
    Registrar::new(SHARD, own, Arc::new(address_of))
}

fn replica(name: &str) -> Replica {
    Replica {
        name: name.into(),
        inc: format!("{name}-inc"),
        run: format!("{name}-run"),
        address: format!("{name}:7710"),
    }
}

fn member(name: &str) -> Member {
    Member { name: name.into(), inc: format!("{name}-inc").into(), run: format!("{name}-run").into() }
}

fn shard() -> ShardRegister {
    ShardRegister {
        epoch: 4,
        primary: Some(Primary { name: "w1".into(), run: "w1-run".into(), address: "w1:7710".into() }),
        isr: vec![replica("w1"), replica("w2"), replica("w3")],
        ack: KeptAck::All,
        min_isr: 2,
        replicas: 3,
        preferred: Some("w2".into()),
        durability: Durability::Interval(250),
        weight: 1.5,
        loss_epoch: 2,
        recover: Some("w2/w2-inc".into()),
    }
}

fn without_w3(register: &Register) -> Register {
    let mut target = register.clone();
    target.configuration.isr.retain(|copy| copy.name.as_str() != "w3");
    target.configuration.ack = Ack::One;
    target
}

#[tokio::test]
async fn a_register_is_read_as_the_machine_knows_it() {
    let bed = Bed::new().await;
    assert_eq!(bed.registrar.newest(), None);
    let register = bed.read().await;
    assert_eq!(register, told(0, &shard()));
    assert_eq!((register.epoch, register.min_isr, register.replicas, register.loss_epoch), (4, 2, 3, 2));
    assert_eq!(register.primary, Some(("w1".into(), "w1-run".into())));
    assert_eq!(register.configuration.isr, [member("w1"), member("w2"), member("w3")]);
    assert_eq!(register.preferred, Some("w2".into()));
    assert_eq!(bed.registrar.newest(), Some((0, shard())));
}

#[tokio::test]
async fn a_change_writes_nothing_but_its_own_fields() {
    let bed = Bed::new().await;
    let target = without_w3(&bed.read().await);
    assert_eq!(bed.ask(Ask::CompareAndSet(target)).await, Answer::Written(1));
    let isr = vec![replica("w1"), replica("w2")];
    let expected = ShardRegister { isr, ack: KeptAck::One, ..shard() };
    assert_eq!(bed.kept().await, (1, expected.clone()));
    assert_eq!(bed.registrar.newest(), Some((1, expected)));
}

#[tokio::test]
async fn an_edit_in_between_is_a_conflict_and_is_not_lost() {
    let bed = Bed::new().await;
    let target = without_w3(&bed.read().await);
    bed.edit(|register| register.weight = 9.0).await;
    assert_eq!(bed.ask(Ask::CompareAndSet(target.clone())).await, Answer::Conflict);
    assert_eq!(bed.kept().await, (1, ShardRegister { weight: 9.0, ..shard() }));
    // Who has never seen that version reads, and finds another.
    let other = registrar("w1", "r1");
    assert_eq!(other.ask(&*bed.session, Ask::CompareAndSet(target)).await, Answer::Conflict);
    let again = without_w3(&bed.read().await);
    assert_eq!(bed.ask(Ask::CompareAndSet(again)).await, Answer::Written(2));
    assert_eq!(bed.kept().await.1.weight, 9.0);
}

#[tokio::test]
async fn a_version_that_was_never_seen_is_read_first() {
    let bed = Bed::new().await;
    let target = without_w3(&told(0, &shard()));
    assert_eq!(bed.ask(Ask::CompareAndSet(target.clone())).await, Answer::Written(1));
    // A version that is not there yet: what is read is older, and proves nothing.
    let ahead = Register { version: 7, ..target };
    assert_eq!(bed.ask(Ask::CompareAndSet(ahead)).await, Answer::Unknown);
}

#[tokio::test]
async fn an_outcome_that_did_not_come_is_unknown_whatever_it_was() {
    for (fate, again) in [(WriteFate::Applied, Answer::Conflict), (WriteFate::Lost, Answer::Written(1))] {
        let bed = Bed::new().await;
        let target = without_w3(&bed.read().await);
        bed.embedded.faults().next_write(None, fate);
        assert_eq!(bed.ask(Ask::CompareAndSet(target.clone())).await, Answer::Unknown, "{fate:?}");
        assert_eq!(bed.registrar.newest(), Some((0, shard())), "{fate:?}");
        let mut states = bed.session.state();
        states.wait_for(|state| *state == slotkv_coordination::SessionState::Connected).await.unwrap();
        assert_eq!(bed.ask(Ask::CompareAndSet(target)).await, again, "{fate:?}");
        assert_eq!(bed.kept().await.0, 1, "{fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_is_away_leaves_everything_unknown_in_time() {
    let bed = Bed::new().await;
    let target = without_w3(&bed.read().await);
    bed.embedded.faults().stop();
    let candidate = Candidate { member: member("w1"), last: Position::default(), remains_of: None };
    let asks = [Ask::Read, Ask::CompareAndSet(target), Ask::Stand(5, candidate), Ask::Candidates(5)];
    for ask in asks {
        let begun = Instant::now();
        assert_eq!(bed.ask(ask.clone()).await, Answer::Unknown, "{ask:?}");
        assert!(begun.elapsed() <= Duration::from_millis(ASK_MS_MAX), "{ask:?}");
    }
    bed.embedded.faults().start();
    assert_eq!(bed.kept().await, (0, shard()));
}

#[tokio::test]
async fn a_read_is_never_an_old_one() {
    let bed = Bed::new().await;
    bed.read().await;
    let outside = bed.embedded.open(Duration::from_secs(5)).await.unwrap();
    bed.embedded.faults().old_reads(true);
    let data = ShardRegister { weight: 3.0, ..shard() }.encode().unwrap();
    outside.set(&paths::shard(SHARD), data, Expect::Version(0)).await.unwrap();
    let node = bed.session.get(&paths::shard(SHARD)).await.unwrap().unwrap();
    assert_eq!(node.version, 0, "reads without a sync were to be old");
    assert_eq!(bed.read().await.version, 1);
}

#[tokio::test]
async fn a_new_process_is_named_with_the_address_that_is_known_of_it() {
    let bed = Bed::new().await;
    let mut target = bed.read().await;
    target.epoch = 5;
    target.primary = Some(("w1".into(), "r1".into()));
    let renewed = |name: &str| Member { run: "new".into(), ..member(name) };
    target.configuration.isr =
        vec![Member { run: "r1".into(), ..member("w1") }, member("w2"), renewed("w3"), renewed("w4")];
    assert_eq!(bed.ask(Ask::CompareAndSet(target)).await, Answer::Written(1));
    let (_, kept) = bed.kept().await;
    assert_eq!(kept.primary.unwrap().address, "w1:r1");
    let addresses: Vec<_> = kept.isr.iter().map(|copy| copy.address.as_str()).collect();
    assert_eq!(addresses, ["w1:r1", "w2:7710", "w3:known", "w4:known"]);
    assert_eq!(kept.recover, None, "a wish for an earlier epoch holds no more");

    let mut nowhere = bed.read().await;
    nowhere.configuration.isr.push(member("w9"));
    assert_eq!(bed.ask(Ask::CompareAndSet(nowhere)).await, Answer::Unknown);
    assert_eq!(bed.kept().await.0, 1);
}

#[tokio::test]
async fn candidates_come_in_the_order_in_which_they_stood() {
    let bed = Bed::new().await;
    let other = bed.embedded.open(Duration::from_secs(5)).await.unwrap();
    let candidate = |name: &str, index, remains_of: Option<&str>| Candidate {
        member: member(name),
        last: Position { epoch: 4, index },
        remains_of: remains_of.map(Into::into),
    };
    let (first, second) = (candidate("w3", 7, None), candidate("w1", 9, Some("old")));
    assert_eq!(bed.ask(Ask::Candidates(5)).await, Answer::Candidates(vec![]));
    let stands = registrar("w3", "r3").ask(&*other, Ask::Stand(5, first.clone())).await;
    assert_eq!(stands, Answer::Standing);
    let damaged = format!("{}/", paths::election(SHARD, 5));
    bed.session.create(&damaged, "{".into(), Mode::EphemeralSequential).await.unwrap();
    assert_eq!(bed.ask(Ask::Stand(5, second.clone())).await, Answer::Standing);
    assert_eq!(bed.ask(Ask::Candidates(5)).await, Answer::Candidates(vec![first, second.clone()]));
    assert_eq!(bed.ask(Ask::Candidates(6)).await, Answer::Candidates(vec![]));
    // A report goes with the session in which it was made.
    other.close().await;
    assert_eq!(bed.ask(Ask::Candidates(5)).await, Answer::Candidates(vec![second]));
}

#[tokio::test]
async fn who_takes_office_clears_the_elections_up_to_its_own() {
    let bed = Bed::new().await;
    for epoch in [4, 5, 6] {
        let candidate = Candidate { member: member("w1"), last: Position::default(), remains_of: None };
        assert_eq!(bed.ask(Ask::Stand(epoch, candidate)).await, Answer::Standing);
    }
    bed.registrar.clear_elections(&*bed.session, 5).await;
    assert_eq!(bed.session.children(&paths::elections(SHARD)).await.unwrap(), ["6"]);
    assert!(matches!(bed.ask(Ask::Candidates(6)).await, Answer::Candidates(found) if found.len() == 1));
}

#[tokio::test]
async fn who_leads_behind_a_loss_knows_what_the_epochs_of_all_shards_come_to() {
    let bed = Bed::new().await;
    for (other, epoch) in [(0, 30), (9, 500)] {
        let register = ShardRegister { epoch, ..shard() };
        bed.session.create(&paths::shard(other), register.encode().unwrap(), Mode::Persistent).await.unwrap();
    }
    let mut target = bed.read().await;
    assert_eq!(bed.registrar.epoch_sum(4), None, "another process leads");
    (target.epoch, target.loss_epoch, target.primary) = (5, 5, Some(("w1".into(), "r1".into())));
    assert_eq!(bed.ask(Ask::CompareAndSet(target.clone())).await, Answer::Written(1));
    assert_eq!((bed.registrar.epoch_sum(5), bed.registrar.epoch_sum(4)), (Some(535), None));
    // It is of the moment at which the epoch began; later there is nothing that it would have to go above.
    let edit = bed.session.get(&paths::shard(9)).await.unwrap().unwrap();
    let register = ShardRegister { epoch: 501, ..shard() };
    let (path, data) = (paths::shard(9), register.encode().unwrap());
    bed.session.set(&path, data, Expect::Version(edit.version)).await.unwrap();
    bed.read().await;
    assert_eq!(bed.registrar.epoch_sum(5), Some(535));
    // Who does not know whether it has written finds out by reading, and sums up then.
    let other = registrar("w1", "r1");
    assert!(matches!(other.ask(&*bed.session, Ask::Read).await, Answer::Register(_)));
    assert_eq!(other.epoch_sum(5), Some(536));
}

#[tokio::test]
async fn a_register_that_cannot_be_read_counts_by_its_changes() {
    let bed = Bed::new().await;
    let mut target = bed.read().await;
    bed.session.create(&paths::shard(9), "nothing yet".into(), Mode::Persistent).await.unwrap();
    for _ in 0..7 {
        bed.session.set(&paths::shard(9), "not a register".into(), Expect::Any).await.unwrap();
    }
    (target.epoch, target.loss_epoch, target.primary) = (5, 5, Some(("w1".into(), "r1".into())));
    assert_eq!(bed.ask(Ask::CompareAndSet(target)).await, Answer::Written(1));
    assert_eq!(bed.registrar.epoch_sum(5), Some(5 + 7));
}
