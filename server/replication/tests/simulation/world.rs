//! World: replicas under one clock and one seed; what happens next, and whether it may.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use slotkv_replication::{
    Ack, Answer, Ask, Bug, Chunk, Configuration, Fetch, Load, Member, Message, Name, Options, Position,
    Ready, Record, Register, Replica, Standing, Start, Write,
};

use crate::{
    coordinator::Coordinator,
    disk::{Change, Disk, Pending},
    host::{Host, Life},
    truth::{Floor, Truth},
};

mod client;
mod errand;
mod nemesis;
mod recovery;
mod rise;
mod sleep;
mod summary;
mod weather;

use rise::Rise;
pub use summary::{Failure, Summary};
use weather::Weather;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const MS: u64 = 1000;
const TICK_US: u64 = 10 * MS;
/// How soon a healed shard serves, has all its replicas in sync, and has committed what it took.
const RECOVERY_US: u64 = 6_000 * MS;
/// And for each record that somebody lacks.
const RECORD_US: u64 = 600;
/// Lines of a trace that are printed.
const TRACE_COUNT: usize = 400;
/// Trims keep up to so many records.
const KEPT_COUNT_MAX: u64 = 30;

enum Event {
    Tick(usize),
    Wake { host: usize, run: u64 },
    Deliver(usize, Message),
    Written { host: usize, run: u64, id: u64 },
    Arrive { host: usize, run: u64, id: u64, ask: Ask, lands: Lands },
    Answer { host: usize, run: u64, id: u64, answer: Answer },
    Hint(usize),
    Fetch { host: usize, run: u64, fetch: Fetch },
    Load { host: usize, run: u64, load: Load },
    Check { host: usize, run: u64, value: u64, floor: Floor },
    Sync { host: usize, run: u64, again: bool },
    Synced { host: usize, run: u64, id: u64 },
    Client,
    Nemesis,
    Restart(usize),
    Ambush(usize),
    Stumble(usize),
    Heal { from: usize, to: usize },
    Flap { host: usize, count: u32, every_us: u64 },
    HealCoordinator(usize),
    Rise(Rise),
    Expire { host: usize, run: u64 },
}

/// What becomes of a question to the coordinator.
#[derive(Clone, Copy)]
enum Lands {
    Answered,
    Unanswered,
    Never,
}

pub struct World {
    now_us: u64,
    rng: SmallRng,
    options: Options,
    queue: BTreeMap<(u64, u64), Event>,
    event_count: u64,
    hosts: Vec<Host>,
    coordinator: Coordinator,
    /// What register changes may still land.
    asked: Vec<Register>,
    /// And those that never will: who asked cannot know.
    asked_in_vain: Vec<Register>,
    cut: BTreeSet<(usize, usize)>,
    /// When the last message on each link arrives.
    links: BTreeMap<(usize, usize), u64>,
    cut_off: BTreeSet<usize>,
    weather: Weather,
    healed: bool,
    /// An operator has given up what others hold.
    ordered: bool,
    truth: Truth,
    next_id: u64,
    summary: Summary,
    digest: DefaultHasher,
    traced: bool,
    trace: VecDeque<String>,
}

impl World {
    pub fn new(seed: u64, bug: Option<Bug>, traced: bool) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let replicas = [1, 2, 2, 3, 3, 3, 3, 3, 4, 5][rng.random_range(0..10)];
        let spares = rng.random_range(0..=1).min(NAMES.len() - replicas);
        let hosts: Vec<Host> = NAMES[..replicas + spares]
            .iter()
            .map(|name| Host {
                name,
                rate_ppm: rng.random_range(-4_900..=4_900),
                offset_us: rng.random_range(0..1 << 40),
                paused_until: 0,
                sleeps: rng.random_bool(0.5),
                disk: Default::default(),
                inc_count: 1,
                remains_of: Vec::new(),
                run_count: 0,
                life: None,
                is_gone: false,
            })
            .collect();
        let member = |name: &str| Member { name: name.into(), inc: "i1".into(), run: "r1".into() };
        let register = Register {
            version: 0,
            epoch: 0,
            primary: None,
            configuration: Configuration {
                isr: vec![member(NAMES[0])],
                ack: if rng.random_bool(0.6) { Ack::One } else { Ack::All },
            },
            min_isr: rng.random_range(1..=replicas.div_ceil(2)),
            replicas,
            preferred: rng.random_bool(0.5).then(|| Name::from(NAMES[rng.random_range(0..replicas)])),
            loss_epoch: 0,
        };
        let weather = Weather::new(&mut rng);
        let options = Options {
            hand_back_after_us: rng.random_range(100..2000) * MS,
            flight_count_max: rng.random_range(6..16),
            message_bytes_max: [8, 8, 24, 100][rng.random_range(0..4)],
            snapshot_bytes_max: rng.random_range(1..2000),
            bug,
            ..Options::default()
        };
        let mut world = Self {
            now_us: 0,
            rng,
            options,
            queue: BTreeMap::new(),
            event_count: 0,
            hosts,
            coordinator: Coordinator::new(register),
            asked: Vec::new(),
            asked_in_vain: Vec::new(),
            cut: BTreeSet::new(),
            links: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            weather,
            healed: false,
            ordered: false,
            truth: Truth::default(),
            next_id: 0,
            summary: Summary::default(),
            digest: DefaultHasher::new(),
            traced,
            trace: VecDeque::new(),
        };
        for host in 0..world.hosts.len() {
            world.hosts[host].disk.is_interval = world.weather.interval_us.is_some();
            world.start(host);
            if !world.hosts[host].sleeps {
                world.after(host as u64 * 1234, Event::Tick(host));
            }
        }
        world.after(0, Event::Client);
        world.after(2_000 * MS, Event::Nemesis);
        world
    }

    /// Nothing worse happens than a busy machine: some messages are lost, and now and then a disk takes long.
    pub fn calm(mut self) -> Self {
        let weather = &mut self.weather;
        (weather.loss, weather.slow_disk, weather.doubles) = (0.01, 0.01, 0.01);
        (weather.late, weather.unknown, weather.old_reads) = (0.0, 0.1, 0.1);
        (weather.ambush, weather.full_disk, weather.unreadable) = (0.0, 0.0, 0.0);
        (weather.stumbles, weather.gone, weather.trouble_us) = (false, false, 15_000 * MS);
        self.queue.retain(|_, event| !matches!(event, Event::Nemesis));
        self
    }

    pub fn run(mut self) -> Result<Summary, Failure> {
        let outcome = self.trouble().and_then(|()| self.recovery());
        self.summary.epochs = self.truth.leader_count();
        self.summary.digest = self.digest.finish();
        let (at_us, trace) = (self.now_us, self.trace.into());
        outcome.map(|()| self.summary).map_err(|what| Failure { what, at_us, trace })
    }

    fn trouble(&mut self) -> Result<(), String> {
        while self.now_us < self.weather.trouble_us {
            self.next()?;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<(), String> {
        let Some(((at_us, _), event)) = self.queue.pop_first() else { return Err("nothing to do".into()) };
        self.now_us = at_us;
        self.truth.now_us = at_us;
        match event {
            Event::Tick(host) => {
                self.after(TICK_US, Event::Tick(host));
                self.with(host, None, |life, now| life.replica.tick(now))
            }
            Event::Wake { host, run } => self.wake(host, run),
            Event::Deliver(host, message) => {
                if self.defer(host, |w, at| w.at(at, Event::Deliver(host, message.clone()))) {
                    return Ok(());
                }
                self.note(|| {
                    format!("{} <- {} e{} {:?}", NAMES[host], message.from.name, message.epoch, message.body)
                });
                self.with(host, None, |life, now| life.replica.step(now, message))
            }
            Event::Written { host, run, id } => {
                if self.defer(host, |w, at| w.at(at, Event::Written { host, run, id })) {
                    return Ok(());
                }
                if self.hosts[host].run_count == run && self.hosts[host].life.is_some() {
                    self.hosts[host].disk.done(id);
                }
                self.with(host, Some(run), |life, now| life.replica.written(now, id))
            }
            Event::Arrive { host, run, id, ask, lands } => self.arrive(host, run, id, &ask, lands),
            Event::Answer { host, run, id, answer } => {
                if self.defer(host, |w, at| w.at(at, Event::Answer { host, run, id, answer: answer.clone() }))
                {
                    return Ok(());
                }
                self.note(|| format!("{} learns {answer:?}", NAMES[host]));
                self.with(host, Some(run), |life, now| life.replica.answered(now, id, answer))
            }
            Event::Hint(host) => {
                if self.defer(host, |w, at| w.at(at, Event::Hint(host))) || self.cut_off.contains(&host) {
                    return Ok(());
                }
                self.with(host, None, |life, now| life.replica.hint(now))
            }
            Event::Fetch { host, run, fetch } => self.fetch(host, run, fetch),
            Event::Load { host, run, load } => self.load(host, run, load),
            Event::Check { host, run, value, floor } => self.check(host, run, value, floor),
            Event::Sync { host, run, again } => {
                self.sync(host, run, again);
                Ok(())
            }
            Event::Synced { host, run, id } => {
                if self.defer(host, |w, at| w.at(at, Event::Synced { host, run, id })) {
                    return Ok(());
                }
                self.with(host, Some(run), |life, now| life.replica.synced(now, id))
            }
            Event::Client => self.client(),
            Event::Nemesis => {
                self.nemesis();
                Ok(())
            }
            Event::Restart(host) => {
                if self.hosts[host].life.is_none() && !self.hosts[host].is_gone {
                    self.start(host);
                }
                Ok(())
            }
            Event::Ambush(host) => {
                self.ambush(host);
                Ok(())
            }
            Event::Stumble(host) => {
                self.stumble(host);
                Ok(())
            }
            Event::Flap { host, count, every_us } => {
                self.flap(host, count, every_us);
                Ok(())
            }
            Event::Heal { from, to } => {
                self.cut.remove(&(from, to));
                Ok(())
            }
            Event::HealCoordinator(host) => {
                self.cut_off.remove(&host);
                Ok(())
            }
            Event::Rise(rise) => self.rise(rise),
            Event::Expire { host, run } => {
                self.coordinator.expire((host, run));
                Ok(())
            }
        }
    }

    fn at(&mut self, at_us: u64, event: Event) {
        self.event_count += 1;
        self.queue.insert((at_us, self.event_count), event);
    }

    fn after(&mut self, delay_us: u64, event: Event) {
        self.at(self.now_us + delay_us, event);
    }

    /// A paused host does it later.
    fn defer(&mut self, host: usize, again: impl FnOnce(&mut Self, u64)) -> bool {
        let until = self.hosts[host].paused_until;
        if until > self.now_us {
            again(self, until);
            return true;
        }
        false
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.traced {
            if self.trace.len() == TRACE_COUNT {
                self.trace.pop_front();
            }
            let line = format!("{:>9.3} ms  {}", self.now_us as f64 / MS as f64, line());
            line.hash(&mut self.digest);
            self.trace.push_back(line);
        }
    }

    /// Lets a process do something, carries out what comes of it, and checks everything.
    fn with(
        &mut self,
        host: usize,
        run: Option<u64>,
        act: impl FnOnce(&mut Life, u64),
    ) -> Result<(), String> {
        let machine = &mut self.hosts[host];
        if machine.paused_until > self.now_us || run.is_some_and(|run| run != machine.run_count) {
            return Ok(());
        }
        let local_us = machine.local_us(self.now_us);
        let Some(life) = &mut machine.life else { return Ok(()) };
        act(life, local_us);
        // One host is always about to append more: what it commits is told by records and heartbeats alone.
        if host != 1 {
            life.replica.tell_commit(local_us);
        }
        let ready = life.replica.ready();
        self.carry_out(host, ready)
    }

    /// Under `interval` durability: what was acked until now is certain.
    fn sync(&mut self, host: usize, run: u64, again: bool) {
        let machine = &mut self.hosts[host];
        if let (Some(interval_us), true) = (self.weather.interval_us, machine.run_count == run) {
            machine.disk.sync();
            let (id, delay_us) = (machine.disk.done_id, self.rng.random_range(0..20 * MS));
            self.after(delay_us, Event::Synced { host, run, id });
            if again {
                self.after(interval_us, Event::Sync { host, run, again });
            }
        }
    }

    fn start(&mut self, host: usize) {
        let now_us = self.now_us;
        let seed = self.rng.random();
        let machine = &mut self.hosts[host];
        machine.run_count += 1;
        let member = Member {
            name: machine.name.into(),
            inc: machine.inc(),
            run: format!("{}-r{}", machine.name, machine.run_count).into(),
        };
        let plane = &machine.disk.durable;
        let start = Start {
            member: member.clone(),
            remains_of: machine.remains_of.clone(),
            promise: plane.promise,
            history: plane.history(),
            applied_index: plane.applied,
            seed,
        };
        let local_us = machine.local_us(now_us);
        let mut replica = Replica::new(start, self.options.clone(), local_us);
        replica.syncs_apart(local_us, machine.disk.is_interval);
        machine.life = Some(Life {
            member,
            seen_commit: replica.commit_index(),
            replica,
            sync_until_us: now_us,
            next_until_us: now_us,
            snapshots: BTreeMap::new(),
            waiting: VecDeque::new(),
            serves: None,
            reads: Vec::new(),
            is_full: false,
            wakes_at_us: None,
        });
        self.note(|| format!("{} starts", NAMES[host]));
        let run = self.hosts[host].run_count;
        if let Some(interval_us) = self.weather.interval_us {
            self.after(interval_us, Event::Sync { host, run, again: true });
        }
        self.sleep(host);
    }
}
