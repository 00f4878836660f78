//! A run: masters, workers and clients live, faults come and go, then everything heals and must recover.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use slotkv::{Client, Options as ClientOptions};
use slotkv_coordination::{Embedded, embedded::Met, registers::Ack};
use slotkv_master::{Master, MasterOptions, MasterService};
use slotkv_proto::{
    SlotCount,
    seam::{Chance, SeededChance},
};
use slotkv_replication::Bug;
use tokio::{task::JoinSet, time::sleep};

use slotkv_migration::{LeaderOptions, bug, failpoint};

use super::{
    calls::{Caller, KEYS, URI, number},
    cell::Cell,
    gate::Gate,
    history::{Call, End, History},
    machine::{Machine, Sabotage, SimClock},
    moves::Moves,
    net::{Net, SimTransport},
    process::Process,
    serving::{Serving, break_links_at_seals},
};

/// What a run consists of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything.
    pub seed: u64,
    /// Shards.
    pub shards: u32,
    /// Workers of each shard.
    pub replicas: u32,
    /// How many of them must hold a write.
    pub ack: Ack,
    /// Clients, each with some calls open at a time.
    pub clients: u32,
    /// Calls that each client makes.
    pub calls: u32,
    /// Faults while they make them.
    pub faults: u32,
    /// Acknowledged writes are on the disk so much later; `None`: before.
    pub interval_ms: Option<u64>,
    /// What the cluster is made to do wrong.
    pub sabotage: Option<Sabotage>,
    /// What its replicas do wrong, where they are built with mistakes.
    pub bug: Option<Bug>,
    /// What it does wrong when it hands slots over, where it is built with mistakes.
    pub mistake: Option<slotkv_migration::Bug>,
    /// How many of 100 faults stop a process for a while.
    pub pauses: u64,
    /// How many of 100 faults come with an operator's order about what shards weigh.
    pub orders: u64,
    /// Slots of one hand-over.
    pub slots_together: usize,
    /// Bytes of one part of a hand-over.
    pub part_bytes_max: usize,
    /// The one fault that comes, at one step of one hand-over; `None`: `faults` of them by chance.
    pub cell: Option<Cell>,
    /// Who serves what is looked at all the time, and clients lose their connections whenever a slot is sealed.
    pub is_watched: bool,
}

impl Plan {
    /// A small run. One of four seeds acknowledges writes before they are on the disk, one of six has no backups, one of five has
    /// three shards.
    pub fn new(seed: u64) -> Self {
        let interval_ms = (seed % 4 == 3).then_some(100);
        let replicas = [1, 3, 3, 2, 3, 3][seed as usize % 6];
        let ack = if seed % 5 < 3 { Ack::One } else { Ack::All };
        let shards = if seed % 5 == 1 { 3 } else { 2 };
        Self {
            seed,
            shards,
            replicas,
            ack,
            clients: 3,
            calls: 60,
            faults: 15,
            interval_ms,
            sabotage: None,
            bug: None,
            mistake: None,
            pauses: 12,
            orders: 60,
            slots_together: [1, 3, 16][seed as usize % 3],
            part_bytes_max: if seed % 7 < 5 { 256 } else { 1 << 20 },
            cell: None,
            is_watched: false,
        }
    }

    /// A run in which slots move all the time, in small pieces, and nothing excuses what gets lost: mistakes of hand-overs show there.
    pub fn of_mistakes(seed: u64) -> Self {
        let (calls, part_bytes_max) = (150, 256);
        let is_watched = true;
        Self {
            calls,
            faults: 25,
            interval_ms: None,
            orders: 100,
            part_bytes_max,
            is_watched,
            ..Self::new(seed)
        }
    }

    /// A run with one fault at one step. The shard that gives does so in one hand-over of several parts.
    pub fn of_cell(seed: u64, cell: Cell) -> Self {
        let cell = Some(cell);
        Self {
            shards: 2,
            clients: 4,
            calls: 120,
            slots_together: 16,
            part_bytes_max: 256,
            cell,
            ..Self::new(seed)
        }
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// Faults and what they did, in order, with virtual milliseconds.
    pub trace: Vec<String>,
    /// How often each fault happened, by its name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Calls that succeeded, failed, and ended unknown.
    pub calls: (usize, usize, usize),
    /// Two runs have it in common only if they did the same.
    pub fingerprint: u64,
    /// What was wrong, if anything.
    pub verdict: Result<(), String>,
}

/// After the last fault has healed, every key must be readable within this time.
pub(super) const RECOVERY_MAX: Duration = Duration::from_secs(120);
/// Pause between two looks after workers that have stopped.
pub(super) const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// Slots of the cluster.
const SLOTS: u32 = 16;
/// Hand-overs that fail are tried again after no longer than this.
const RETRY_US_MAX: u64 = 4_000_000;
pub(super) const MASTERS: [&str; 2] = ["m0:1", "m1:1"];

/// Runs a plan to its end. Of several tasks that wait for one event, tokio wakes a random one first; it lets that be seeded
/// only where it is built with `--cfg tokio_unstable`, as `.cargo/config.toml` has it.
pub fn run(plan: &Plan) -> Report {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&plan.seed.to_le_bytes()));
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime without I/O");
    bug::plant(plan.mistake);
    // Inside the runtime, where every clock is the virtual one.
    runtime.block_on(async { World::new(plan).run().await })
}

/// What a client is called where links are cut.
pub(super) fn client_name(number: u32) -> String {
    format!("c{number}")
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) chance: Arc<dyn Chance>,
    pub(super) net: Arc<Net>,
    pub(super) coordinator: Embedded,
    pub(super) machines: Vec<Machine>,
    /// A power cut may have lost what was acknowledged, as the interval allows.
    pub(super) is_lossy: bool,
    pub(super) in_trouble: bool,
    pub(super) masters: Vec<Option<(Master, Process)>>,
    pub(super) moves: Arc<Moves>,
    serving: Arc<Serving>,
    /// Where the fault of a cell waits for its step.
    pub(super) gate: Option<Arc<Gate>>,
    pub(super) history: Arc<History>,
    trace: Vec<String>,
    faults: BTreeMap<&'static str, u64>,
    started: tokio::time::Instant,
}

impl World {
    fn new(plan: &Plan) -> Self {
        let chance: Arc<dyn Chance> = Arc::new(SeededChance::new(plan.seed));
        let places = (0..plan.shards).flat_map(|shard| (0..plan.replicas).map(move |number| (shard, number)));
        let machine = |(shard, number)| Machine::new(plan, shard, number, &*chance);
        let net = Net::new(chance.clone());
        let gate = plan.cell.map(|cell| Arc::new(Gate::new(cell.step, net.clone())));
        Self {
            plan: plan.clone(),
            net,
            gate,
            coordinator: Embedded::new(),
            machines: places.map(machine).collect(),
            is_lossy: false,
            in_trouble: false,
            masters: MASTERS.iter().map(|_| None).collect(),
            moves: Arc::default(),
            serving: Arc::default(),
            history: Arc::default(),
            trace: Vec::new(),
            faults: BTreeMap::new(),
            started: tokio::time::Instant::now(),
            chance,
        }
    }

    async fn run(mut self) -> Report {
        if self.plan.is_watched {
            let looking = self.serving.clone().look_on(self.net.clone(), self.coordinator.faults());
            tokio::spawn(looking);
            break_links_at_seals(self.net.clone());
        }
        let ended = match self.plan.cell {
            Some(cell) => self.live_cell(cell).await,
            None => self.live().await,
        };
        failpoint::tell(None);
        let checked = if self.is_lossy { self.history.check_values() } else { self.history.check() };
        let Met { unknown, broken, lost_hints, old_reads } = self.coordinator.faults().met();
        self.faults.extend([
            ("writes of unknown outcome", unknown),
            ("writes on a broken connection", broken),
            ("lost hints", lost_hints),
            ("reads of what had been", old_reads),
        ]);
        let (moved, aborted) = self.moves.counts();
        self.faults.extend([("hand-over moved", moved), ("hand-over aborted", aborted)]);
        let history = &self.history;
        Report {
            calls: (
                history.count(|end| !matches!(end, End::Failed | End::Unknown)),
                history.count(|end| *end == End::Failed),
                history.count(|end| *end == End::Unknown),
            ),
            fingerprint: history.fingerprint(),
            faults: self.faults,
            trace: self.trace,
            verdict: self.serving.verdict().and(ended).and(checked),
        }
    }

    /// Everybody starts; the clients' calls are what is returned.
    pub(super) async fn begin(&mut self) -> Result<JoinSet<()>, String> {
        for at in 0..MASTERS.len() {
            self.start_master(at);
        }
        for at in 0..self.machines.len() {
            self.start_worker(at).await?;
        }
        let mut clients = JoinSet::new();
        for number in 0..self.plan.clients {
            clients.spawn(self.caller(number).run());
        }
        Ok(clients)
    }

    async fn live(&mut self) -> Result<(), String> {
        let mut clients = self.begin().await?;
        self.begin_trouble();
        for _ in 0..self.plan.faults {
            sleep(Duration::from_millis(self.chance.below(400))).await;
            self.revive().await?;
            if self.chosen(100) < self.plan.orders {
                self.order().await;
            }
            self.fault().await?;
        }
        self.count("everything heals", String::new());
        self.end_trouble();
        for at in 0..MASTERS.len() {
            self.start_master(at);
        }
        let recovering = tokio::time::timeout(RECOVERY_MAX, async {
            while !clients.is_empty() {
                self.revive().await?;
                let _ = tokio::time::timeout(LOOK_PAUSE, clients.join_next()).await;
            }
            self.revive().await?;
            self.read_all().await.map(drop)
        });
        recovering.await.unwrap_or_else(|_| {
            Err(format!("not every key could be read {RECOVERY_MAX:?} after everything was healed"))
        })?;
        self.conclude().await
    }

    /// Every slot comes to where it belongs, and its owner has what can be read.
    pub(super) async fn conclude(&mut self) -> Result<(), String> {
        let rows = self.settle().await?;
        let present = self.read_all().await?;
        match rows == present {
            true => Ok(()),
            false => {
                Err(format!("{present} keys can be read, and the owners of their slots hold {rows} rows"))
            }
        }
    }

    /// Something happens that has a name.
    pub(super) fn count(&mut self, name: &'static str, how: String) {
        let now = self.started.elapsed().as_millis();
        self.trace.push(format!("{now:>7} ms  {name} {how}"));
        *self.faults.entry(name).or_default() += 1;
    }

    pub(super) fn start_master(&mut self, at: usize) {
        if self.masters[at].is_some() {
            return;
        }
        let mut options = MasterOptions::new(MASTERS[at], self.plan.shards);
        options.slot_count = SlotCount::new(SLOTS).expect("a power of two");
        options.hand_overs = LeaderOptions {
            slot_count_max: self.plan.slots_together,
            retry_us_max: RETRY_US_MAX,
            bug: self.plan.mistake,
            ..LeaderOptions::default()
        };
        let chance = Arc::new(SeededChance::new(self.chance.next_u64()));
        let process = Process::new(MASTERS[at], self.net.clone(), self.coordinator.clone());
        let process = process.noted(&self.moves, self.gate.clone());
        let master = Master::start(options, Arc::new(process.clone()), chance).expect("valid options");
        let service = MasterService::of_master(master.view(), master.standing());
        self.net.add_master(MASTERS[at], service, process.tasks.clone());
        self.masters[at] = Some((master, process));
    }

    /// Every process that runs.
    pub(super) fn processes(&self) -> impl Iterator<Item = &Process> {
        let masters = self.masters.iter().flatten().map(|(_, process)| process);
        self.machines.iter().filter_map(Machine::running).chain(masters)
    }

    pub(super) fn kill_master(&mut self, at: usize) {
        self.net.remove(MASTERS[at]);
        self.masters[at] = None;
    }

    fn options(&self, name: String) -> ClientOptions {
        ClientOptions {
            transport: Arc::new(SimTransport(self.net.clone(), name)),
            chance: Arc::new(SeededChance::new(self.chance.next_u64())),
            clock: SimClock::new(&*self.chance),
            ..ClientOptions::default()
        }
    }

    fn caller(&self, number: u32) -> Caller {
        Caller {
            number,
            calls: self.plan.calls,
            options: self.options(client_name(number)),
            history: self.history.clone(),
            chance: SeededChance::new(self.chance.next_u64()),
        }
    }

    /// Reads every key. Returns how many there are.
    async fn read_all(&self) -> Result<u64, String> {
        let mut present = 0;
        let client = Client::connect_with(URI, self.options("reader".into()))
            .await
            .map_err(|error| format!("no client can connect at the end: {error}"))?;
        for n in 0..KEYS {
            for key in [format!("key{n}"), format!("counter{n}")] {
                let begun = self.history.begin();
                let read = client.get_entry(key.clone()).await;
                let entry = read.map_err(|error| format!("{key} cannot be read at the end: {error}"))?;
                present += u64::from(entry.is_some());
                self.history.end(begun, &key, Call::Get, End::Read(entry.map(number)));
            }
        }
        client.close().await;
        Ok(present)
    }
}
