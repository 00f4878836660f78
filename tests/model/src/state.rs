//! Everything there is at one moment: the register in the coordinator, the replicas with their durable data,
//! what is on its way between them, and a history that no replica knows but the properties ask for.
//!
//! What is on its way is kept as *streams* and *requests*. A stream is everything one primary ever sent to
//! its followers; they take any part of it at any time, which is what delay, loss and doubling come to.
//! Acknowledgements arrive at once: they stay true, so acting on a late one is acting late. A record that a
//! replica has not yet synced is not in its log; a crash would lose it, and until then it proves nothing.

use std::fmt;

use crate::bounds::Bounds;
use crate::configuration::Configuration;
use crate::log::{EPOCHS, Epoch, Index, Log, Record};
use crate::replica::{Incarnation, Name, Names, PerReplica, Run, all_names};

/// One moment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// The shard's znode.
    pub register: Register,
    /// Each replica.
    pub replicas: PerReplica<Replica>,
    /// `/election/<epoch + 1>`: who joined.
    pub reports: PerReplica<Option<Report>>,
    /// By epoch, what its primary ever sent.
    pub streams: [Option<Stream>; EPOCHS],
    /// Compare-and-sets on their way to the coordinator. Two are only there when a primary took one for
    /// failed that was not.
    pub requests: [Option<Request>; 2],
    /// History: what was ever committed, up to the last write.
    pub committed: Log,
    /// History: what was seen to go wrong in a step.
    pub wrong: Option<Wrong>,
    /// How much may still happen.
    pub left: Left,
}

/// The shard's register. Its reader sees all of it at once, its writer changes it by compare-and-set on the
/// version.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Register {
    /// Of the znode.
    pub version: u8,
    /// Of the primary that it names.
    pub epoch: Epoch,
    /// The primary.
    pub primary: Name,
    /// The process that is the primary; no later one of that name is.
    pub run: Run,
    /// isr and ack.
    pub configuration: Configuration,
}

/// One replica: the durable part first, then what a restart loses.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Replica {
    /// Synced records.
    pub log: Log,
    /// Nothing below this epoch is obeyed.
    pub promised: Epoch,
    /// Up to which index it may know its records to be committed, and have applied them. Here it learns this
    /// as soon as it can; a later one cuts less.
    pub known: Index,
    /// Its data.
    pub incarnation: Incarnation,
    /// Its process.
    pub run: Run,
    /// Ticks for which it promises no epoch to an election.
    pub silent_ticks: u8,
    /// The epoch whose stream its log has been matched with, or 0.
    pub follows: Epoch,
    /// Its office, if it is a primary (or has not yet heard that it is none).
    pub office: Option<Office>,
}

/// What a primary keeps in memory while it reigns.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Office {
    /// Its epoch.
    pub epoch: Epoch,
    /// The index of its BARRIER.
    pub barrier: Index,
    /// The commit index.
    pub committed: Index,
    /// The configuration it knows to have been in the register.
    pub configuration: Configuration,
    /// The one it has asked for, while the outcome is unknown.
    pub pending: Option<Configuration>,
    /// The register's version it knows.
    pub version: u8,
    /// Whether it has begun a fail-back; then it takes no writes and no reads any more.
    pub stopped: bool,
    /// By replica and incarnation: up to which index it acked, matched in this epoch.
    pub acked: PerReplica<[Index; 2]>,
    /// By replica and incarnation: whose lease is good.
    pub leased: PerReplica<[bool; 2]>,
    /// Whether the lease was checked before the value was read, as only a wrong variant does.
    pub checked: bool,
    /// A read whose value lacks something committed before it began, and who confirmed the primary since.
    /// Other reads cannot go wrong.
    pub round: Option<Names>,
}

/// Everything a primary ever sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// Whose.
    pub primary: Name,
    /// Its log in memory, which may be ahead of its disk.
    pub log: Log,
}

/// A replica's entry in the election.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Report {
    /// Its data.
    pub incarnation: Incarnation,
    /// Its process.
    pub run: Run,
    /// (last epoch, last index) of its durable log.
    pub end: (Epoch, Index),
}

/// A compare-and-set on its way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Request {
    /// Who sent it.
    pub sender: Name,
    /// The version it expects.
    pub expected: u8,
    /// What it changes.
    pub change: Change,
}

/// What a primary changes in its register.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Change {
    /// isr or ack.
    Configuration(Configuration),
    /// The primary: a fail-back.
    Resign(Name, Run),
}

/// What a step can be seen to do wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Wrong {
    /// Two primaries committed different records at one index.
    CommitsDiffer,
    /// A follower cut a record off its log that it knew to be committed.
    KnownCut,
    /// A write was acknowledged while the register's ISR was below `min_isr`.
    ThinAck,
}

/// How much of what is bounded may still happen.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Left {
    /// Writes.
    pub writes: u8,
    /// Restarts.
    pub restarts: u8,
    /// Wipes.
    pub wipes: u8,
    /// Reconfigurations.
    pub changes: u8,
    /// Fail-backs.
    pub fail_backs: u8,
    /// Edits by an operator.
    pub edits: u8,
}

impl State {
    /// A is primary of epoch 1, and the others of the ISR have all there is, its BARRIER. Replicas beyond the
    /// ISR are empty.
    pub fn first(bounds: &Bounds) -> State {
        let log = Log::default().with(Record { epoch: 1, write: None });
        let mut configuration = Configuration { isr: PerReplica::default(), ack: bounds.ack };
        let mut acked = PerReplica::<[Index; 2]>::default();
        for name in all_names().take(usize::from(bounds.isr)) {
            configuration.isr[name] = Some(Incarnation::First);
            acked[name][0] = log.len();
        }
        let replicas = PerReplica([0, 1, 2].map(|place| Replica {
            log: if configuration.names(Name(place)) { log } else { Log::default() },
            promised: if configuration.names(Name(place)) { 1 } else { 0 },
            known: if configuration.names(Name(place)) { log.len() } else { 0 },
            incarnation: Incarnation::First,
            run: 1,
            silent_ticks: 0,
            follows: if configuration.names(Name(place)) && place != 0 { 1 } else { 0 },
            office: (place == 0).then_some(Office {
                committed: log.len(),
                acked,
                ..Office::new(1, log.len(), configuration, 1)
            }),
        }));
        let mut streams = [None; EPOCHS];
        streams[1] = Some(Stream { primary: Name(0), log });
        State {
            register: Register { version: 1, epoch: 1, primary: Name(0), run: 1, configuration },
            replicas,
            reports: PerReplica::default(),
            streams,
            requests: [None, None],
            committed: Log::default(),
            wrong: None,
            left: Left {
                writes: bounds.writes,
                restarts: bounds.restarts,
                wipes: bounds.wipes,
                changes: bounds.changes,
                fail_backs: bounds.fail_backs,
                edits: bounds.edits,
            },
        }
    }

    /// What the primary of `epoch` has sent, if it took office.
    pub fn stream(&self, epoch: Epoch) -> Option<&Stream> {
        self.streams[usize::from(epoch)].as_ref()
    }

    /// The office that `name` holds in `epoch`.
    pub fn office_in(&self, name: Name, epoch: Epoch) -> Option<&Office> {
        self.replicas[name].office.as_ref().filter(|office| office.epoch == epoch)
    }

    /// Sends a compare-and-set.
    pub fn send(&mut self, request: Request) {
        let free = self.requests.iter_mut().find(|place| place.is_none());
        *free.expect("a primary sends one at a time, and a new version ends those before") = Some(request);
    }

    /// Writes down what went wrong; the first is kept.
    pub fn note(&mut self, wrong: Wrong) {
        self.wrong.get_or_insert(wrong);
    }

    /// Drops what nothing can read any more and renumbers what is only compared, so that equal futures are
    /// equal states.
    pub fn tidy(&mut self) {
        self.renumber_versions();
        let lowest_promise = self.replicas.0.iter().map(|replica| replica.promised).min().unwrap_or(0);
        for epoch in 1..self.register.epoch.min(lowest_promise) {
            let reigns = all_names().any(|name| self.office_in(name, epoch).is_some());
            if !reigns {
                self.streams[usize::from(epoch)] = None;
            }
        }
        for replica in &mut self.replicas.0 {
            if replica.follows < replica.promised {
                replica.follows = 0;
            }
        }
    }

    /// A version is only ever compared with the register's: a primary knows the present one or an old one,
    /// and a compare-and-set that expects an old one is lost.
    fn renumber_versions(&mut self) {
        let present = self.register.version;
        for office in self.replicas.0.iter_mut().filter_map(|replica| replica.office.as_mut()) {
            office.version = u8::from(office.version == present);
        }
        for place in &mut self.requests {
            match place {
                Some(request) if request.expected == present => request.expected = 1,
                _ => *place = None,
            }
        }
        if self.requests[0] == self.requests[1] {
            self.requests[1] = None;
        }
        self.requests.sort();
        self.requests.reverse();
        self.register.version = 1;
    }

    /// The same for all states that differ in the replicas' names only: replicas are put in the order of what
    /// they are without regard to names, and where that leaves a choice the least state is taken.
    pub fn least_renamed(&self, replicas: u8) -> State {
        const ORDERS: [[u8; 3]; 6] = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let orders = if replicas == 3 { &ORDERS[..] } else { &ORDERS[..2] };
        let keys = [0, 1, 2].map(|place| self.nameless(Name(place)));
        let sorted = |order: &&[u8; 3]| {
            let mut placed = [keys[0]; 3];
            order.iter().zip(keys).for_each(|(place, key)| placed[usize::from(*place)] = key);
            placed[..usize::from(replicas)].is_sorted()
        };
        let renamed = orders.iter().filter(sorted).map(|order| self.renamed(*order));
        renamed.min().unwrap_or_else(|| self.clone())
    }

    /// Some of what tells a replica from the others whatever their names are.
    fn nameless(&self, name: Name) -> impl Ord + Copy + use<> {
        let replica = &self.replicas[name];
        let office = replica.office.as_ref().map(|office| (office.epoch, office.committed, office.stopped));
        let durable = (replica.log, replica.promised, replica.known, replica.incarnation);
        (durable, replica.run, replica.follows, replica.silent_ticks, office, self.register.primary == name)
    }

    fn renamed(&self, order: [u8; 3]) -> State {
        let name = |old: Name| Name(order[usize::from(old.0)]);
        let mut state = self.clone();
        state.register.primary = name(self.register.primary);
        state.register.configuration = renamed_configuration(&self.register.configuration, order);
        for old in all_names() {
            let mut replica = self.replicas[old].clone();
            if let Some(office) = &mut replica.office {
                office.configuration = renamed_configuration(&office.configuration, order);
                office.pending = office.pending.as_ref().map(|pending| renamed_configuration(pending, order));
                office.acked = renamed_places(&office.acked, order);
                office.leased = renamed_places(&office.leased, order);
                office.round = office.round.map(|names| {
                    let mut renamed = Names::default();
                    names.iter().for_each(|old| renamed.insert(name(old)));
                    renamed
                });
            }
            state.replicas[name(old)] = replica;
        }
        state.reports = renamed_places(&self.reports, order);
        for stream in state.streams.iter_mut().flatten() {
            stream.primary = name(stream.primary);
        }
        for request in state.requests.iter_mut().flatten() {
            request.sender = name(request.sender);
            match &mut request.change {
                Change::Configuration(configuration) => {
                    *configuration = renamed_configuration(configuration, order)
                }
                Change::Resign(heir, _) => *heir = name(*heir),
            }
        }
        state.requests.sort();
        state.requests.reverse();
        state
    }
}

fn renamed_places<T: Clone>(places: &PerReplica<T>, order: [u8; 3]) -> PerReplica<T> {
    let mut renamed = places.clone();
    for old in all_names() {
        renamed[Name(order[usize::from(old.0)])] = places[old].clone();
    }
    renamed
}

fn renamed_configuration(configuration: &Configuration, order: [u8; 3]) -> Configuration {
    Configuration { isr: renamed_places(&configuration.isr, order), ack: configuration.ack }
}

impl Office {
    /// A primary as it takes office: it knows of no ack and no committed record.
    pub fn new(epoch: Epoch, barrier: Index, configuration: Configuration, version: u8) -> Office {
        Office {
            epoch,
            barrier,
            committed: 0,
            configuration,
            pending: None,
            version,
            stopped: false,
            acked: PerReplica::default(),
            leased: PerReplica::default(),
            checked: false,
            round: None,
        }
    }

    /// Whether its BARRIER is committed.
    pub fn is_settled(&self) -> bool {
        self.committed >= self.barrier
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Register { epoch, primary, run, configuration, .. } = &self.register;
        write!(f, "register: epoch {epoch}, primary {primary} run {run}, {configuration}")?;
        for name in all_names() {
            let replica = &self.replicas[name];
            write!(f, "; {name}: promised {} {}", replica.promised, replica.log)?;
            if let Some(office) = &replica.office {
                write!(
                    f,
                    " primary of {} committed {} in {}",
                    office.epoch, office.committed, office.configuration
                )?;
                if let Some(pending) = office.pending {
                    write!(f, " or {pending}")?;
                }
            }
        }
        write!(f, "; ever committed: {}", self.committed)?;
        match self.wrong {
            Some(Wrong::CommitsDiffer) => write!(f, "; two primaries committed different records"),
            Some(Wrong::KnownCut) => write!(f, "; a follower cut off what it knew to be committed"),
            Some(Wrong::ThinAck) | None => Ok(()),
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sent {}", self.primary, self.log)
    }
}
