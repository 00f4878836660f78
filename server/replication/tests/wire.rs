//! Messages as they travel: what one replica says another understands, and what no replica says is refused, whatever the
//! bytes are. What passes is harmless to the state machine: it may halt, and does not panic.

use proptest::{collection::vec, option, prelude::*};
use prost::Message as _;
use slotkv_proto::v1::{self, replica_message as wire};
use slotkv_replication::{
    Ack, Answer, Ask, Body, Check, Configuration, Health, History, Holding, Member, Message, Options, Order,
    Part, Position, Promise, Record, Register, Replica, Standing, Start, wire::NUMBER_MAX,
};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..20_u64, 0..=NUMBER_MAX, Just(NUMBER_MAX)]
}

/// Few names, so that some of them are known.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[abi][12]?", 1 => "\\PC{1,60}"]
}

fn member() -> impl Strategy<Value = Member> {
    (name(), name(), name()).prop_map(|(name, inc, run)| Member {
        name: name.into(),
        inc: inc.into(),
        run: run.into(),
    })
}

fn position(epoch: u64) -> impl Strategy<Value = Position> {
    (0..=epoch, number()).prop_map(|(epoch, index)| Position { epoch, index })
}

fn payload() -> impl Strategy<Value = bytes::Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Into::into)
}

fn append(epoch: u64) -> impl Strategy<Value = Body> {
    let before = (0..=epoch, 0..NUMBER_MAX / 2);
    (before, vec((0..=epoch, payload()), 1..5), number()).prop_map(move |((first, index), steps, commit)| {
        let before = Position { epoch: first, index };
        let mut last = before;
        let record = |(next, payload): (u64, bytes::Bytes)| {
            last = Position { epoch: last.epoch.max(next), index: last.index + 1 };
            Record { position: last, payload }
        };
        Body::Append { before, records: steps.into_iter().map(record).collect(), commit }
    })
}

fn order() -> impl Strategy<Value = Order> {
    (any::<u64>(), option::of("[a-z0-9]{1,16}"))
        .prop_map(|(read, give_up)| Order { read, give_up: give_up.map(Into::into) })
}

fn health(epoch: u64) -> impl Strategy<Value = Health> {
    let checked = option::of((position(epoch), any::<u64>()).prop_map(|(at, hash)| Check { at, hash }));
    (checked, any::<u64>(), any::<bool>()).prop_map(|(checked, read, rotten)| Health {
        checked,
        read,
        rotten,
    })
}

fn body(epoch: u64) -> impl Strategy<Value = Body> {
    let at = move || position(epoch);
    prop_oneof![
        (number(), number(), number(), any::<bool>(), any::<bool>(), number(), any::<u64>(), order())
            .prop_map(|(sequence, sent_us, commit, counted, streaming, sync_index, echo, order)| {
                Body::Heartbeat { sequence, sent_us, commit, counted, streaming, sync_index, echo, order }
            }),
        (number(), number(), 0..3_600_000_000_u64, number(), any::<u64>(), health(epoch)).prop_map(
            |(sequence, sent_us, lease_us, synced, stamp, health)| Body::Alive {
                sequence,
                sent_us,
                lease_us,
                synced,
                stamp,
                health
            }
        ),
        Just(Body::Join),
        (any::<u64>(), number()).prop_map(|(nonce, of_epoch)| Body::Match { nonce, of_epoch }),
        (any::<u64>(), option::of(at()), at(), number())
            .prop_map(|(nonce, end, begin, loss_epoch)| Body::End { nonce, end, begin, loss_epoch }),
        at().prop_map(|at| Body::Matched { at }),
        append(epoch),
        number().prop_map(|commit| Body::Committed { commit }),
        (number(), number()).prop_map(|(durable, synced)| Body::Held { durable, synced }),
        number().prop_map(|last| Body::Gap { last }),
        (number(), at(), number(), any::<bool>(), payload()).prop_map(
            |(snapshot, at, number, is_last, bytes)| Body::Part(Part {
                snapshot,
                at,
                number,
                is_last,
                bytes
            })
        ),
        (number(), number()).prop_map(|(snapshot, count)| Body::Taken { snapshot, count }),
        Just(Body::Refused),
        (any::<u64>(), name()).prop_map(|(nonce, inc)| Body::Canvass { nonce, inc: inc.into() }),
        (any::<u64>(), number(), 0..3).prop_map(|(nonce, wait_us, holds)| Body::Canvassed {
            nonce,
            wait_us,
            holds: [Holding::All, Holding::Remains, Holding::Nothing][holds as usize],
        }),
        Just(Body::Yielded),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (member(), name(), prop_oneof![0..4_u64, number()]).prop_flat_map(|(from, to, epoch)| {
        body(epoch).prop_map(move |body| Message { from: from.clone(), to: to.as_str().into(), epoch, body })
    })
}

/// What a known peer may say in the present epoch, mostly.
fn peer_message() -> impl Strategy<Value = Message> {
    let known = prop_oneof![Just("b"), Just("c")].prop_map(|name| Member {
        name: name.into(),
        inc: "i1".into(),
        run: "r1".into(),
    });
    let from = prop_oneof![12 => known, 1 => member()];
    (from, prop_oneof![12 => Just(2), 1 => 0..4_u64, 1 => number()]).prop_flat_map(|(from, epoch)| {
        body(epoch).prop_map(move |body| Message { from: from.clone(), to: "a".into(), epoch, body })
    })
}

fn encoded(message: Message) -> Vec<u8> {
    v1::ReplicaMessage::from(message).encode_to_vec()
}

fn decoded(bytes: &[u8]) -> Option<Message> {
    Message::try_from(v1::ReplicaMessage::decode(bytes).ok()?).ok()
}

proptest! {
    #[test]
    fn what_is_said_is_understood(message in message()) {
        prop_assert_eq!(decoded(&encoded(message.clone())), Some(message));
    }

    #[test]
    fn whatever_the_bytes_are_they_are_a_message_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        if let Some(message) = decoded(&bytes) {
            prop_assert_eq!(decoded(&encoded(message.clone())), Some(message));
        }
    }

    #[test]
    fn damaged_bytes_are_a_message_or_an_error(
        message in message(),
        places in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encoded(message);
        for (place, byte) in places {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(message) = decoded(&bytes) {
            prop_assert_eq!(decoded(&encoded(message.clone())), Some(message));
        }
    }

    #[test]
    fn replica_outlives_whatever_a_peer_may_say(
        leads in any::<bool>(),
        messages in vec((peer_message(), 0..200_000_u64), 1..40),
    ) {
        let mut host = Host::new(leads);
        for (message, passes_us) in messages {
            host.tell(passes_us, message);
        }
    }
}

/// A replica whose writes are done and whose questions are answered at once.
struct Host {
    now_us: u64,
    replica: Replica,
    register: Register,
    /// Of its last question where an epoch ends.
    nonce: u64,
    ended: bool,
}

impl Host {
    fn new(leads: bool) -> Self {
        let member = |name: &str| Member { name: name.into(), inc: "i1".into(), run: "a1".into() };
        let isr = if leads { vec![member("a")] } else { vec![member("a"), member("b"), member("c")] };
        let register = Register {
            version: 1,
            epoch: 1,
            primary: None,
            configuration: Configuration { isr, ack: Ack::One },
            min_isr: 1,
            replicas: 3,
            preferred: None,
            loss_epoch: 0,
        };
        let start = Start {
            member: member("a"),
            remains_of: Vec::new(),
            promise: Promise { epoch: 1, lease_us: 0 },
            history: History::restore(vec![Position::default(), Position { epoch: 1, index: 1 }], 6),
            applied_index: 4,
            seed: 1,
        };
        let now_us = 1_000_000;
        let replica = Replica::new(start, Options::default(), now_us);
        let mut host = Self { now_us, replica, register, nonce: 0, ended: false };
        for _ in 0..10 {
            host.now_us += 20_000;
            host.replica.tick(host.now_us);
            host.carry_out();
        }
        assert_eq!(host.replica.is_serving(), leads);
        let at = Position { epoch: 1, index: 6 };
        if leads {
            host.hear(Body::Join);
            host.hear(Body::Matched { at });
        } else {
            let (counted, streaming, sync_index, echo) = (true, true, 0, 0);
            let order = Order::default();
            let (sequence, sent_us, commit) = (1, 1, 4);
            let beat =
                Body::Heartbeat { sequence, sent_us, commit, counted, streaming, sync_index, echo, order };
            host.hear(beat.clone());
            host.hear(beat);
            let (end, begin) = (Some(at), Position::default());
            host.hear(Body::End { nonce: host.nonce, end, begin, loss_epoch: 0 });
            assert_eq!(host.replica.status().standing, Standing::InSync);
        }
        host
    }

    fn hear(&mut self, body: Body) {
        let from = Member { name: "b".into(), inc: "i1".into(), run: "r1".into() };
        self.tell(1, Message { from, to: "a".into(), epoch: 2, body });
    }

    fn tell(&mut self, passes_us: u64, message: Message) {
        self.now_us += passes_us;
        self.replica.step(self.now_us, message);
        self.carry_out();
        self.replica.tick(self.now_us);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        loop {
            let ready = self.replica.ready();
            self.ended |= ready.halt.is_some() || ready.discard.is_some();
            if self.ended || ready.is_empty() {
                break;
            }
            for message in &ready.messages {
                if let Body::Match { nonce, .. } = message.body {
                    self.nonce = nonce;
                }
            }
            if let Some((id, _)) = ready.writes.last() {
                self.replica.written(self.now_us, *id);
            }
            for (id, ask) in ready.asks {
                let answer = match ask {
                    Ask::Read => Answer::Register(self.register.clone()),
                    Ask::CompareAndSet(target) if target.version == self.register.version => {
                        self.register = Register { version: target.version + 1, ..target };
                        Answer::Written(self.register.version)
                    }
                    Ask::CompareAndSet(_) => Answer::Conflict,
                    Ask::Stand(..) => Answer::Standing,
                    Ask::Candidates(epoch) => {
                        let last = self.replica.history().durable_last();
                        let member = self.replica.status().member;
                        let own = slotkv_replication::Candidate { member, last, remains_of: None };
                        Answer::Candidates(if epoch == self.register.epoch + 1 {
                            vec![own]
                        } else {
                            Vec::new()
                        })
                    }
                };
                self.replica.answered(self.now_us, id, answer);
            }
            for load in ready.loads {
                self.replica.loaded(self.now_us, load.snapshot, None);
            }
            for fetch in ready.fetches {
                self.replica.fetched(self.now_us, &fetch.to, fetch.from_index, Vec::new());
            }
        }
        assert!(self.ended || self.replica.violation().is_none(), "{:?}", self.replica.violation());
    }
}

fn heard(change: impl FnOnce(&mut v1::ReplicaMessage)) -> Result<Message, String> {
    let member = v1::ReplicaMember { name: "a".into(), inc: "i".into(), run: "r".into() };
    let body = Some(wire::Body::Held(wire::Held { durable: 1, synced: 1 }));
    let mut message = v1::ReplicaMessage { from: Some(member), to: "b".into(), epoch: 3, body };
    change(&mut message);
    Message::try_from(message).map_err(|error| error.to_string())
}

fn says(body: wire::Body) -> Result<Message, String> {
    heard(|message| message.body = Some(body))
}

#[test]
fn what_no_replica_says_is_refused() {
    let at = |epoch, index| Some(v1::LogPosition { epoch, index });
    let append = |before, epochs: &[u64]| {
        let record = |epoch: &u64| wire::Record { epoch: *epoch, payload: Default::default() };
        let records = epochs.iter().map(record).collect();
        says(wire::Body::Append(wire::Append { before, records, commit: 0 }))
    };
    let checked = |at| {
        let checked = Some(wire::Check { at, hash: 1 });
        says(wire::Body::Alive(wire::Alive { checked, ..Default::default() }))
    };
    assert!(heard(|_| ()).is_ok() && checked(at(3, 1)).is_ok());
    assert!(append(at(1, 4), &[1, 2, 3]).is_ok());
    let refused = [
        (heard(|message| message.from = None), "sender"),
        (heard(|message| message.to.clear()), "name"),
        (heard(|message| message.to = "x".repeat(257)), "name"),
        (heard(|message| message.from.as_mut().unwrap().inc.clear()), "name"),
        (heard(|message| message.epoch = NUMBER_MAX + 1), "number"),
        (heard(|message| message.body = None), "nothing"),
        (says(wire::Body::Held(wire::Held { durable: u64::MAX, synced: 0 })), "number"),
        (says(wire::Body::Held(wire::Held { durable: 1, synced: u64::MAX })), "number"),
        (says(wire::Body::Matched(wire::Matched { at: None })), "missing"),
        (says(wire::Body::Matched(wire::Matched { at: at(4, 1) })), "later epoch"),
        (says(wire::Body::Alive(wire::Alive { lease_us: u64::MAX, ..Default::default() })), "lease"),
        (checked(None), "missing"),
        (checked(at(4, 1)), "later epoch"),
        (
            says(wire::Body::Heartbeat(wire::Heartbeat { give_up: "x".repeat(257), ..Default::default() })),
            "name",
        ),
        (says(wire::Body::Canvassed(wire::Canvassed { nonce: 1, wait_us: 0, holds: 0 })), "holds"),
        (says(wire::Body::Canvassed(wire::Canvassed { nonce: 1, wait_us: 0, holds: 9 })), "holds"),
        (append(at(1, 4), &[]), "no records"),
        (append(at(1, 4), &[1; 65_537]), "too many"),
        (append(at(2, 4), &[1]), "out of order"),
        (append(at(1, 4), &[2, 1]), "out of order"),
        (append(at(1, 4), &[4]), "out of order"),
        (append(at(1, NUMBER_MAX), &[1]), "number"),
    ];
    for (outcome, why) in refused {
        assert!(outcome.as_ref().is_err_and(|error| error.contains(why)), "{why}: {outcome:?}");
    }
}

#[test]
fn fields_of_a_later_release_are_passed_over() {
    let message = heard(|_| ()).unwrap();
    // Field 1000, a varint.
    let bytes = [&encoded(message.clone())[..], &[0xc0, 0x3e, 7]].concat();
    assert_eq!(decoded(&bytes), Some(message));
}
