//! Shard: replicas in one thread. Messages arrive, writes are durable and the coordinator answers at once, but for what a
//! test holds back.

mod host;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use slotkv_replication::{
    Ack, Answer, Ask, Body, Candidate, Chunk, Configuration, History, Inc, Load, Member, Message, Name,
    Options, Order, Position, Promise, Ready, Record, Register, Replica, Start, Stopped, Write,
};

pub const MS: u64 = 1000;
pub const NAMES: [&str; 3] = ["a", "b", "c"];

pub struct Shard {
    pub now_us: u64,
    pub replicas: Vec<Option<Replica>>,
    pub logs: Vec<Vec<Position>>,
    pub promises: Vec<Promise>,
    pub register: Register,
    pub candidates: BTreeMap<u64, Vec<Candidate>>,
    /// From whom to whom nothing arrives.
    pub cut: BTreeSet<(usize, usize)>,
    /// Whose disk does not finish.
    pub stalled: BTreeSet<usize>,
    /// To whom the coordinator does not answer.
    pub cut_off: BTreeSet<usize>,
    /// The coordinator answers reads only.
    pub holds_changes: bool,
    /// Every host has more to append in a moment.
    pub has_more: bool,
    /// What a test keeps from arriving.
    pub loses: fn(&Message) -> bool,
    /// What was seen.
    pub sent: Vec<Message>,
    pub asked: Vec<(usize, u64, Ask)>,
    pub stopped: Vec<Stopped>,
    pub commits: Vec<(usize, u64, bool)>,
    pub reads: Vec<u64>,
    pub closes: Vec<u64>,
    /// Parts that were asked for and not handed in: by whom, and what the snapshot holds.
    pub loads: Vec<(usize, Load)>,
    /// Nobody's engine is read until a test does.
    pub holds_loads: bool,
    pub halts: Vec<String>,
    pub tick_count: u64,
    pub options: Options,
    /// The data of each, and what it is the remains of.
    pub incs: Vec<String>,
    pub remains: Vec<Vec<Inc>>,
    pub discards: Vec<(usize, String)>,
    /// Who was asked to sync.
    pub syncs: BTreeSet<usize>,
    /// What has come of a snapshot.
    pub staged: Vec<Vec<Position>>,
    reading: BTreeMap<(usize, u64), (Vec<Position>, usize)>,
    runs: u64,
    network: VecDeque<Message>,
    pub unfinished: Vec<Vec<(u64, Write)>>,
    unanswered: Vec<(usize, u64)>,
}

pub fn at(epoch: u64, index: u64) -> Position {
    Position { epoch, index }
}

pub fn member(name: &str, inc: &str, run: &str) -> Member {
    Member { name: name.into(), inc: inc.into(), run: run.into() }
}

pub fn configuration(count: usize, ack: Ack) -> Configuration {
    Configuration { isr: NAMES[..count].iter().map(|name| member(name, "i1", "r0")).collect(), ack }
}

/// The outline of a log with these records.
pub fn history(log: &[Position]) -> History {
    let mut starts = vec![Position::default()];
    for position in log {
        if position.epoch > starts[starts.len() - 1].epoch {
            starts.push(*position);
        }
    }
    History::restore(starts, log.len() as u64)
}

/// Records as a part of a snapshot.
pub fn pack(log: &[Position]) -> Bytes {
    log.iter().flat_map(|position| [position.epoch as u8, position.index as u8]).collect()
}

fn unpack(bytes: &[u8]) -> Vec<Position> {
    bytes.chunks(2).map(|pair| at(pair[0].into(), pair[1].into())).collect()
}

impl Shard {
    /// `count` replicas in sync with empty logs, none of which leads.
    pub fn new(count: usize, ack: Ack) -> Self {
        Self::with_logs(vec![Vec::new(); count], 0, ack)
    }

    /// Replicas in sync with these logs, which have promised `epoch`.
    pub fn with_logs(logs: Vec<Vec<Position>>, epoch: u64, ack: Ack) -> Self {
        let count = logs.len();
        let mut shard = Self {
            now_us: 10_000 * MS,
            replicas: (0..count).map(|_| None).collect(),
            promises: vec![Promise { epoch, lease_us: 0 }; count],
            register: Register {
                version: 5,
                epoch,
                primary: None,
                configuration: configuration(count, ack),
                min_isr: 1,
                replicas: count,
                preferred: None,
                loss_epoch: 0,
            },
            candidates: BTreeMap::new(),
            cut: BTreeSet::new(),
            stalled: BTreeSet::new(),
            cut_off: BTreeSet::new(),
            holds_changes: false,
            has_more: false,
            loses: |_| false,
            sent: Vec::new(),
            asked: Vec::new(),
            stopped: Vec::new(),
            commits: Vec::new(),
            reads: Vec::new(),
            closes: Vec::new(),
            loads: Vec::new(),
            holds_loads: false,
            staged: vec![Vec::new(); count],
            incs: vec!["i1".into(); count],
            remains: vec![Vec::new(); count],
            discards: Vec::new(),
            syncs: BTreeSet::new(),
            halts: Vec::new(),
            tick_count: 0,
            options: Options {
                hand_back_after_us: 300 * MS,
                wish_us: 6_000 * MS,
                snapshot_bytes_max: 6,
                ..Options::default()
            },
            reading: BTreeMap::new(),
            runs: 0,
            network: VecDeque::new(),
            unfinished: vec![Vec::new(); count],
            unanswered: Vec::new(),
            logs,
        };
        for replica in 0..count {
            shard.start(replica);
        }
        shard
    }

    pub fn start(&mut self, replica: usize) {
        self.runs += 1;
        let start = Start {
            member: member(NAMES[replica], &self.incs[replica], &format!("r{}", self.runs)),
            remains_of: self.remains[replica].clone(),
            promise: self.promises[replica],
            history: history(&self.logs[replica]),
            applied_index: 0,
            seed: self.runs,
        };
        self.replicas[replica] = Some(Replica::new(start, self.options.clone(), self.now_us));
    }

    pub fn crash(&mut self, replica: usize) {
        self.replicas[replica] = None;
        self.loads.retain(|(who, _)| *who != replica);
        let unfinished = std::mem::take(&mut self.unfinished[replica]);
        let lost = unfinished.iter().map(|(_, write)| match write {
            Write::Append(records) => records.len(),
            Write::Barrier(_) => 1,
            _ => 0,
        });
        let kept = self.logs[replica].len() - lost.sum::<usize>();
        self.logs[replica].truncate(kept);
    }

    /// A machine stops under `interval` durability: of its log some of the last records are gone.
    pub fn lose(&mut self, replica: usize, count: usize) {
        self.crash(replica);
        let kept = self.logs[replica].len() - count;
        self.logs[replica].truncate(kept);
        self.remains[replica].push(self.incs[replica].as_str().into());
        self.incs[replica] += "'";
    }

    pub fn get(&mut self, replica: usize) -> &mut Replica {
        self.replicas[replica].as_mut().expect("it runs")
    }

    /// Who serves.
    pub fn primary(&self) -> Option<usize> {
        self.replicas.iter().position(|replica| replica.as_ref().is_some_and(|replica| replica.is_serving()))
    }

    /// Lets time pass until somebody serves.
    pub fn elect(&mut self) -> usize {
        for _ in 0..500 {
            self.run(10);
            if let Some(primary) = self.primary() {
                return primary;
            }
        }
        panic!("nobody serves: {:?}", self.register);
    }

    /// Lets milliseconds pass.
    pub fn run(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(10) {
            self.now_us += 10 * MS;
            for replica in 0..self.replicas.len() {
                let now_us = self.now_us;
                if let Some(replica) = &mut self.replicas[replica] {
                    replica.tick(now_us);
                }
            }
            self.settle();
        }
    }

    /// Lets milliseconds pass, in which each host sleeps until its replica's deadline.
    pub fn run_asleep(&mut self, ms: u64) {
        let until_us = self.now_us + ms * MS;
        loop {
            let due = |replica: &Option<Replica>| replica.as_ref().and_then(Replica::next_deadline_us);
            let Some(at_us) = self.replicas.iter().filter_map(due).min().filter(|at_us| *at_us <= until_us)
            else {
                self.now_us = until_us;
                return;
            };
            self.now_us = self.now_us.max(at_us);
            for replica in self.replicas.iter_mut().flatten() {
                if replica.next_deadline_us().is_some_and(|at_us| at_us <= self.now_us) {
                    self.tick_count += 1;
                    replica.tick(self.now_us);
                }
            }
            self.settle();
        }
    }

    /// The primary's host appends `count` records.
    pub fn write(&mut self, replica: usize, count: u64) {
        let now_us = self.now_us;
        let epoch = self.get(replica).may_write().expect("it serves");
        for _ in 0..count {
            let index = self.logs[replica].len() as u64 + 1;
            self.logs[replica].push(at(epoch, index));
        }
        let id = self.get(replica).appended(now_us, count).expect("it leads");
        self.finish(replica, id);
        self.settle();
    }

    pub fn tell(&mut self, replica: usize, message: Message) {
        let now_us = self.now_us;
        self.get(replica).step(now_us, message);
        self.settle();
    }

    /// A disk goes on.
    pub fn resume(&mut self, replica: usize) {
        self.resume_but(replica, 0);
    }

    /// The same, but for the last few writes, with which it stalls again.
    pub fn resume_but(&mut self, replica: usize, count: usize) {
        self.stalled.remove(&replica);
        let writes = &mut self.unfinished[replica];
        let rest = writes.split_off(writes.len() - count);
        for (id, write) in std::mem::replace(writes, rest) {
            self.keep(replica, &write);
            self.finish(replica, id);
        }
        if count > 0 {
            self.stalled.insert(replica);
        }
        self.settle();
    }

    /// What a disk has written is synced.
    pub fn sync(&mut self, replica: usize) {
        let now_us = self.now_us;
        self.get(replica).synced(now_us, u64::MAX);
        self.settle();
    }

    pub fn answer(&mut self, replica: usize, id: u64, answer: Answer) {
        let now_us = self.now_us;
        self.get(replica).answered(now_us, id, answer);
        self.settle();
    }

    /// The coordinator is there again for everybody. What it was asked meanwhile was not done.
    pub fn reconnect(&mut self) {
        self.cut_off.clear();
        self.holds_changes = false;
        for (replica, id) in std::mem::take(&mut self.unanswered) {
            if self.replicas[replica].is_some() {
                self.answer(replica, id, Answer::Unknown);
            }
        }
    }

    /// Nothing passes between this replica and the others.
    pub fn isolate(&mut self, replica: usize) {
        for other in 0..self.replicas.len() {
            self.cut.extend([(replica, other), (other, replica)]);
        }
    }

    /// The last compare-and-set that a replica has asked for.
    pub fn last_change(&self, replica: usize) -> Option<(u64, Register)> {
        self.asked.iter().rev().find_map(|(who, id, ask)| match ask {
            Ask::CompareAndSet(target) if *who == replica => Some((*id, target.clone())),
            _ => None,
        })
    }

    pub fn isr(&self) -> Vec<&str> {
        let mut names: Vec<_> =
            self.register.configuration.isr.iter().map(|copy| copy.name.as_str()).collect();
        names.sort_unstable();
        names
    }
}

pub fn heartbeat(from: &str, to: &str, epoch: u64, sequence: u64, commit: u64) -> Message {
    let (sent_us, counted, streaming, sync_index, echo) = (1, true, true, 0, 0);
    let order = Order::default();
    let body = Body::Heartbeat { sequence, sent_us, commit, counted, streaming, sync_index, echo, order };
    Message { from: member(from, "i1", "r9"), to: to.into(), epoch, body }
}
