//! What goes wrong, by a seed: one fault, sometimes two at a time, each for a while, then a rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::hand_overs::Span;
use super::hosts::Network;
use super::link::{Link, Mode};
use super::member::{Member, Role};
use crate::Outcome;

/// A fault lasts and a rest takes at least and at most so long.
const FAULT_MS: (usize, usize) = (500, 7_000);
const REST_MS: (usize, usize) = (500, 4_000);
/// How often servers are looked after.
const POLL: Duration = Duration::from_millis(20);
/// A server that ends so long after its disk was all right again may still end for that.
const EXCUSE: Duration = Duration::from_secs(10);
/// Longer than any fault.
const FAULT_MAX: Duration = Duration::from_secs(600);
/// By how much wall clocks are set, in seconds.
const CLOCKS: [i64; 6] = [-86_400, -3_600, -5, 5, 3_600, 86_400];

/// The kinds, by their names in the report. They come in an order of the seed, all of them before any comes again.
const KINDS: [&str; 24] = [
    "worker killed",
    "two of a shard killed",
    "shard killed",
    "master killed",
    "worker paused",
    "shard paused",
    "master paused",
    "pair cut",
    "one isolated",
    "halves cut",
    "bridge left",
    "one way cut",
    "cut from ZooKeeper",
    "cut from clients",
    "ZooKeeper server killed",
    "ZooKeeper leader killed",
    "ZooKeeper server paused",
    "ZooKeeper leader paused",
    "ZooKeeper without a majority",
    "disk full",
    "sync failing",
    "clocks set",
    "slow link",
    "dribbling link",
];

/// What is wrong now, and how it ends.
struct Fault {
    begun: Instant,
    until: Instant,
    kind: &'static str,
    undo: Undo,
}

enum Undo {
    Start(Vec<usize>),
    Continue(Vec<usize>),
    Mend(Vec<(usize, usize)>),
    Space(usize),
    Syncs(usize),
    Clocks(Vec<usize>),
    Open(usize),
}

/// The servers and what is done to them.
pub struct Nemesis<'a> {
    network: &'a Network,
    pub members: &'a mut [Member],
    /// Numbers of the clients' hosts.
    clients: Vec<usize>,
    links: BTreeMap<usize, Link>,
    chance: Chance,
    /// Kinds that are still to come.
    bag: Vec<usize>,
    faults: Vec<Fault>,
    /// Ways that are cut.
    cuts: BTreeSet<(usize, usize)>,
    pub counts: BTreeMap<&'static str, usize>,
    /// When faults were in force.
    pub spans: Vec<Span>,
    timeline: File,
    begun: Instant,
}

impl<'a> Nemesis<'a> {
    /// Does nothing yet.
    pub fn new(
        network: &'a Network,
        members: &'a mut [Member],
        clients: Vec<usize>,
        seed: u64,
        timeline: File,
    ) -> Outcome<Self> {
        let mut links = BTreeMap::new();
        for (at, member) in members.iter().enumerate() {
            if let Role::Worker { .. } = member.role {
                links.insert(at, member.link(&network.hosts[member.host])?);
            }
        }
        Ok(Self {
            network,
            members,
            clients,
            links,
            chance: Chance::new(seed),
            bag: Vec::new(),
            faults: Vec::new(),
            cuts: BTreeSet::new(),
            counts: BTreeMap::new(),
            spans: Vec::new(),
            timeline,
            begun: Instant::now(),
        })
    }

    /// Torments for so long, then leaves everything whole.
    pub fn torment(&mut self, length: Duration) -> Outcome<()> {
        let end = Instant::now() + length;
        while Instant::now() < end {
            let faults = if self.chance.below(4) == 0 { 2 } else { 1 };
            for _ in 0..faults {
                self.begin()?;
            }
            while !self.faults.is_empty() {
                self.wait(POLL)?;
                self.finish(false)?;
            }
            let rest = self.between(REST_MS);
            self.wait(rest.min(end.saturating_duration_since(Instant::now())))?;
        }
        self.finish(true)
    }

    /// Looks after the servers for so long.
    pub fn wait(&mut self, length: Duration) -> Outcome<()> {
        let end = Instant::now() + length;
        loop {
            for member in self.members.iter_mut() {
                member.look_after(&self.network.hosts[member.host])?;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(POLL));
        }
    }

    fn between(&mut self, (least, most): (usize, usize)) -> Duration {
        Duration::from_millis((least + self.chance.below(most - least)) as u64)
    }

    fn begin(&mut self) -> Outcome<()> {
        if self.bag.is_empty() {
            self.bag = self.chance.shuffled((0..KINDS.len()).collect());
        }
        let Some(kind) = self.bag.pop().map(|at| KINDS[at]) else { return Ok(()) };
        // Two of a kind at a time would undo each other.
        if self.faults.iter().any(|fault| fault.kind == kind) {
            return Ok(());
        }
        let begun = Instant::now();
        let until = begun + self.between(FAULT_MS);
        let Some((what, undo)) = self.inflict(kind)? else { return Ok(()) };
        *self.counts.entry(kind).or_default() += 1;
        self.tell(&format!("{kind}: {what}"))?;
        self.faults.push(Fault { begun, until, kind, undo });
        Ok(())
    }

    fn tell(&mut self, text: &str) -> Outcome<()> {
        let now = super::now();
        Ok(writeln!(self.timeline, "{:8.3} {now} {text}", self.begun.elapsed().as_secs_f64())?)
    }

    fn named(&self, members: &[usize]) -> String {
        members.iter().map(|&at| &*self.members[at].name).collect::<Vec<_>>().join(" ")
    }

    /// Members of some kind.
    fn those(&self, is: impl Fn(Role) -> bool) -> Vec<usize> {
        (0..self.members.len()).filter(|&at| is(self.members[at].role)).collect()
    }

    fn workers(&self) -> Vec<usize> {
        self.those(|role| matches!(role, Role::Worker { .. }))
    }

    fn zookeepers(&self) -> Vec<usize> {
        self.those(|role| role == Role::ZooKeeper)
    }

    fn a_worker(&mut self) -> usize {
        let workers = self.workers();
        self.chance.of(&workers)
    }

    fn a_shard(&mut self) -> Vec<usize> {
        let one = self.a_worker();
        let role = self.members[one].role;
        self.those(|other| other == role)
    }

    fn the_leader(&self) -> Option<usize> {
        let leads = |&at: &usize| {
            let member = &self.members[at];
            member.mode(&self.network.hosts[member.host]).is_some_and(|mode| mode == "leader")
        };
        self.zookeepers().into_iter().find(leads)
    }

    fn kill(&mut self, those: Vec<usize>) -> Outcome<Option<(String, Undo)>> {
        for &at in &those {
            self.members[at].kill()?;
        }
        Ok(Some((self.named(&those), Undo::Start(those))))
    }

    fn pause(&mut self, those: Vec<usize>) -> Outcome<Option<(String, Undo)>> {
        for &at in &those {
            self.members[at].pause(true);
        }
        Ok(Some((self.named(&those), Undo::Continue(those))))
    }

    /// Cuts ways between hosts, those that are not cut already.
    fn cut(&mut self, ways: impl IntoIterator<Item = (usize, usize)>) -> Outcome<Undo> {
        let mut cut = Vec::new();
        for (from, to) in ways {
            if from != to && self.cuts.insert((from, to)) {
                self.network.cut(from, to, true)?;
                cut.push((from, to));
            }
        }
        Ok(Undo::Mend(cut))
    }

    fn inflict(&mut self, kind: &'static str) -> Outcome<Option<(String, Undo)>> {
        match kind {
            "worker killed" => {
                let one = self.a_worker();
                self.kill(vec![one])
            }
            "two of a shard killed" => {
                let mut two = self.a_shard();
                two = self.chance.shuffled(two);
                two.truncate(2);
                self.kill(two)
            }
            "shard killed" => {
                let shard = self.a_shard();
                self.kill(shard)
            }
            "master killed" | "master paused" => {
                let masters = self.those(|role| role == Role::Master);
                let one = vec![self.chance.of(&masters)];
                if kind == "master killed" { self.kill(one) } else { self.pause(one) }
            }
            "worker paused" => {
                let one = self.a_worker();
                self.pause(vec![one])
            }
            "shard paused" => {
                let shard = self.a_shard();
                self.pause(shard)
            }
            "ZooKeeper server killed" | "ZooKeeper server paused" => {
                let servers = self.zookeepers();
                let one = vec![self.chance.of(&servers)];
                if kind == "ZooKeeper server killed" { self.kill(one) } else { self.pause(one) }
            }
            "ZooKeeper leader killed" | "ZooKeeper leader paused" => match self.the_leader() {
                Some(leader) if kind == "ZooKeeper leader killed" => self.kill(vec![leader]),
                Some(leader) => self.pause(vec![leader]),
                None => Ok(None),
            },
            "ZooKeeper without a majority" => {
                let mut two = self.zookeepers();
                two = self.chance.shuffled(two);
                two.truncate(2);
                self.pause(two)
            }
            "disk full" => {
                let one = self.a_worker();
                self.members[one].excuse(FAULT_MAX);
                self.members[one].fill_disk(true)?;
                Ok(Some((self.named(&[one]), Undo::Space(one))))
            }
            "sync failing" => {
                let one = self.a_worker();
                self.members[one].excuse(FAULT_MAX);
                self.members[one].fail_syncs(true)?;
                Ok(Some((self.named(&[one]), Undo::Syncs(one))))
            }
            "clocks set" => {
                let mut those = self.those(|role| role != Role::ZooKeeper);
                those = self.chance.shuffled(those);
                those.truncate(1 + self.chance.below(3));
                for &at in &those {
                    let seconds = self.chance.of(&CLOCKS);
                    self.members[at].set_clock(seconds)?;
                }
                Ok(Some((self.named(&those), Undo::Clocks(those))))
            }
            "slow link" | "dribbling link" => {
                let one = self.a_worker();
                let mode = if kind == "slow link" { Mode::Slow } else { Mode::Dribbling };
                let host = &self.network.hosts[self.members[one].host];
                self.links[&one].set(host, mode)?;
                Ok(Some((self.named(&[one]), Undo::Open(one))))
            }
            _ => {
                let (what, ways) = self.partition(kind);
                Ok(Some((what, self.cut(ways)?)))
            }
        }
    }

    /// The ways that a partition cuts.
    fn partition(&mut self, kind: &str) -> (String, Vec<(usize, usize)>) {
        let members = self.members.len();
        let (hosts, clients) = (self.network.hosts.len(), self.clients.clone());
        let both = |left: &[usize], right: &[usize]| {
            let ways = left.iter().flat_map(|&left| right.iter().map(move |&right| (left, right)));
            ways.flat_map(|(left, right)| [(left, right), (right, left)]).collect::<Vec<_>>()
        };
        let names = |those: &[usize], network: &Network| {
            those.iter().map(|&at| &*network.hosts[at].name).collect::<Vec<_>>().join(" ")
        };
        let servers: Vec<usize> = (0..members).map(|at| self.members[at].host).collect();
        let zookeepers: Vec<usize> = self.zookeepers().iter().map(|&at| self.members[at].host).collect();
        let shard: Vec<usize> = self.a_shard().iter().map(|&at| self.members[at].host).collect();
        let one = self.chance.of(&shard);
        let others = |those: &[usize], from: &[usize]| -> Vec<usize> {
            from.iter().copied().filter(|host| !those.contains(host)).collect()
        };
        match kind {
            "pair cut" => {
                let other = self
                    .chance
                    .of(&others(&[one], &shard).into_iter().chain([zookeepers[0]]).collect::<Vec<_>>());
                (names(&[one, other], self.network), both(&[one], &[other]))
            }
            "one isolated" => {
                let all: Vec<usize> = (0..hosts).collect();
                (names(&[one], self.network), both(&[one], &others(&[one], &all)))
            }
            "halves cut" => {
                let all = self.chance.shuffled((0..hosts).collect());
                let (left, right) = all.split_at(hosts / 2);
                (names(left, self.network), both(left, right))
            }
            "bridge left" => {
                // Two sides that do not hear each other, and one server that hears both.
                let all = self.chance.shuffled(others(&[one], &servers));
                let (left, right) = all.split_at(all.len() / 2);
                (format!("{} | {}", names(left, self.network), names(right, self.network)), both(left, right))
            }
            "one way cut" => {
                let all: Vec<usize> = match self.chance.below(3) {
                    0 => others(&[one], &shard),
                    1 => zookeepers,
                    _ => others(&[one], &(0..hosts).collect::<Vec<_>>()),
                };
                let is_mute = self.chance.below(2) == 0;
                let ways = all.iter().map(|&other| if is_mute { (one, other) } else { (other, one) });
                let what = if is_mute { "is not heard by" } else { "does not hear" };
                let text = format!("{} {what} {}", names(&[one], self.network), names(&all, self.network));
                (text, ways.collect())
            }
            "cut from ZooKeeper" => {
                let those = if self.chance.below(2) == 0 { vec![one] } else { shard };
                (names(&those, self.network), both(&those, &zookeepers))
            }
            _ => {
                let those = if self.chance.below(2) == 0 { vec![one] } else { shard };
                (names(&those, self.network), both(&those, &clients))
            }
        }
    }

    /// Ends the faults whose time is over, or all.
    fn finish(&mut self, all: bool) -> Outcome<()> {
        let now = Instant::now();
        let (over, faults) =
            std::mem::take(&mut self.faults).into_iter().partition(|fault| all || fault.until <= now);
        self.faults = faults;
        let over: Vec<Fault> = over;
        for fault in over {
            self.tell(&format!("end of {}", fault.kind))?;
            self.spans.push((fault.begun, Instant::now()));
            self.undo(fault.undo)?;
        }
        Ok(())
    }

    fn undo(&mut self, undo: Undo) -> Outcome<()> {
        match undo {
            Undo::Start(those) => {
                for at in those {
                    let member = &mut self.members[at];
                    member.start(&self.network.hosts[member.host])?;
                }
            }
            Undo::Continue(those) => those.into_iter().for_each(|at| self.members[at].pause(false)),
            Undo::Mend(ways) => {
                for (from, to) in ways {
                    self.cuts.remove(&(from, to));
                    self.network.cut(from, to, false)?;
                }
            }
            Undo::Space(at) => {
                self.members[at].fill_disk(false)?;
                self.members[at].excuse(EXCUSE);
            }
            Undo::Syncs(at) => {
                self.members[at].fail_syncs(false)?;
                self.members[at].excuse(EXCUSE);
            }
            Undo::Clocks(those) => {
                for at in those {
                    self.members[at].set_clock(0)?;
                }
            }
            Undo::Open(at) => {
                let host = &self.network.hosts[self.members[at].host];
                self.links[&at].set(host, Mode::Open)?;
            }
        }
        Ok(())
    }
}
