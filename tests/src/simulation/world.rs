//! A run: masters, workers and clients live, faults come and go, then everything heals and must recover.

use std::{path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use slotkv::{Client, Options as ClientOptions, Outcome, Put};
use slotkv_coordination::Embedded;
use slotkv_master::{Master, MasterOptions, MasterService};
use slotkv_proto::{
    SlotCount,
    seam::{Chance, Clock, SeededChance},
};
use slotkv_storage::{Engine, MemoryEngine, SimDisk};
use slotkv_worker::{Options as WorkerOptions, Runner, Seams, Worker, runner::Tasks};
use tokio::{task::JoinSet, time::sleep};

use super::{
    history::{Call, End, History},
    net::{Net, SimTransport},
};

/// What a run consists of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything.
    pub seed: u64,
    /// Shards, each a worker.
    pub shards: u32,
    /// Clients, each with two calls open at a time.
    pub clients: u32,
    /// Calls that each client makes.
    pub calls: u32,
    /// Faults while they make them.
    pub faults: u32,
}

impl Plan {
    /// A small run.
    pub fn new(seed: u64) -> Self {
        Self { seed, shards: 2, clients: 3, calls: 60, faults: 12 }
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// Faults and what they did, in order, with virtual milliseconds.
    pub trace: Vec<String>,
    /// Calls that succeeded, failed, and ended unknown.
    pub calls: (usize, usize, usize),
    /// Two runs have it in common only if they did the same.
    pub fingerprint: u64,
    /// What was wrong, if anything.
    pub verdict: Result<(), String>,
}

/// After the last fault has healed, every key must be readable within this time.
const RECOVERY_MAX: Duration = Duration::from_secs(120);
const KEYS: u64 = 6;
const MASTERS: [&str; 2] = ["m0:1", "m1:1"];

/// Runs a plan to its end.
pub fn run(plan: &Plan) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O");
    // Inside the runtime, where every clock is the virtual one.
    runtime.block_on(async { World::new(plan).run().await })
}

struct World {
    plan: Plan,
    chance: Arc<dyn Chance>,
    clock: Arc<SimClock>,
    net: Arc<Net>,
    coordinator: Embedded,
    workers: Vec<Machine>,
    masters: Vec<Option<Master>>,
    history: Arc<History>,
    trace: Arc<Mutex<Vec<String>>>,
    started: tokio::time::Instant,
}

/// One worker's machine: what outlives its process, and the process.
struct Machine {
    address: String,
    disk: SimDisk,
    engine: MemoryEngine,
    tasks: Tasks,
    worker: Option<Worker>,
}

/// Wall time that goes with virtual time and jumps at the nemesis' will.
struct SimClock {
    start: tokio::time::Instant,
    offset_ms: Mutex<i64>,
}

impl Clock for SimClock {
    fn wall_ms(&self) -> u64 {
        let elapsed = self.start.elapsed().as_millis() as i64;
        (1_700_000_000_000 + elapsed + *self.offset_ms.lock()).max(0) as u64
    }
}

impl World {
    fn new(plan: &Plan) -> Self {
        let chance: Arc<dyn Chance> = Arc::new(SeededChance::new(plan.seed));
        let workers = (0..plan.shards)
            .map(|shard| {
                let disk = SimDisk::new(chance.next_u64());
                disk.set_sync_delay(Duration::from_millis(5));
                Machine {
                    address: format!("w{shard}:1"),
                    disk,
                    engine: MemoryEngine::recoverable(chance.next_u64()),
                    tasks: Tasks::default(),
                    worker: None,
                }
            })
            .collect();
        Self {
            plan: plan.clone(),
            net: Net::new(chance.clone()),
            clock: Arc::new(SimClock { start: tokio::time::Instant::now(), offset_ms: Mutex::new(0) }),
            coordinator: Embedded::new(),
            workers,
            masters: MASTERS.iter().map(|_| None).collect(),
            history: Arc::default(),
            trace: Arc::default(),
            started: tokio::time::Instant::now(),
            chance,
        }
    }

    async fn run(mut self) -> Report {
        for at in 0..MASTERS.len() {
            self.start_master(at);
        }
        let mut verdict = Ok(());
        for at in 0..self.workers.len() {
            verdict = verdict.and(self.start_worker(at).await);
        }
        let mut clients = JoinSet::new();
        for number in 0..self.plan.clients {
            clients.spawn(self.client(number));
        }
        self.net.trouble(2, 5, 20);
        for _ in 0..self.plan.faults {
            let pause = self.chance.below(400);
            sleep(Duration::from_millis(pause)).await;
            verdict = verdict.and(self.fault().await);
        }
        self.say("heals".into());
        self.net.trouble(0, 0, 2);
        self.net.heal();
        self.coordinator.faults().misbehave(None);
        self.coordinator.faults().start();
        for at in 0..self.workers.len() {
            self.workers[at].disk.set_capacity(None);
            if self.workers[at].worker.is_none() {
                verdict = verdict.and(self.start_worker(at).await);
            }
        }
        for at in 0..MASTERS.len() {
            self.start_master(at);
        }
        let recovery = async {
            while clients.join_next().await.is_some() {}
            self.read_all().await
        };
        let recovered = tokio::time::timeout(RECOVERY_MAX, recovery).await;
        verdict = verdict.and(recovered.unwrap_or_else(|_| {
            Err(format!("not every key could be read {RECOVERY_MAX:?} after everything was healed"))
        }));
        verdict = verdict.and(self.history.check());
        let history = &self.history;
        Report {
            calls: (
                history.count(|end| !matches!(end, End::Failed | End::Unknown)),
                history.count(|end| *end == End::Failed),
                history.count(|end| *end == End::Unknown),
            ),
            fingerprint: history.fingerprint(),
            trace: std::mem::take(&mut *self.trace.lock()),
            verdict,
        }
    }

    fn say(&self, text: String) {
        let now = self.started.elapsed().as_millis();
        self.trace.lock().push(format!("{now:>7} ms  {text}"));
    }

    fn start_master(&mut self, at: usize) {
        if self.masters[at].is_some() {
            return;
        }
        let mut options = MasterOptions::new(MASTERS[at], self.plan.shards);
        options.slot_count = SlotCount::new(16).expect("a power of two");
        let chance = Arc::new(SeededChance::new(self.chance.next_u64()));
        let master =
            Master::start(options, Arc::new(self.coordinator.clone()), chance).expect("valid options");
        self.net.add_master(MASTERS[at], MasterService::of_master(master.view(), master.standing()));
        self.masters[at] = Some(master);
    }

    fn kill_master(&mut self, at: usize) {
        self.net.remove(MASTERS[at]);
        self.masters[at] = None;
    }

    /// Starts a worker's process; it may take as long as the coordinator is away.
    async fn start_worker(&mut self, at: usize) -> Result<(), String> {
        let machine = &mut self.workers[at];
        machine.tasks = Tasks::default();
        let mut options = WorkerOptions::new(PathBuf::from("/replica"), machine.address.clone());
        options.name = Some(format!("w{at}"));
        options.shard = Some(at as u32);
        options.cache_bytes = 1 << 16;
        options.segment_bytes = 4096;
        options.checkpoint_bytes = 8192;
        let engine = machine.engine.clone();
        let seams = Seams {
            coordinator: Arc::new(self.coordinator.clone()),
            disk: Arc::new(machine.disk.clone()),
            open_engine: Arc::new(move |_| Ok(Arc::new(engine.clone()) as Arc<dyn Engine>)),
            clock: self.clock.clone(),
            chance: Arc::new(SeededChance::new(self.chance.next_u64())),
            runner: Runner::Inline(machine.tasks.clone()),
        };
        match tokio::time::timeout(RECOVERY_MAX, Worker::start(options, seams)).await {
            Ok(Ok(worker)) => {
                self.net.add_worker(&machine.address, worker.shard().clone());
                machine.worker = Some(worker);
                Ok(())
            }
            Ok(Err(error)) => Err(format!("worker {at} does not start: {error}")),
            Err(_) => Err(format!("worker {at} did not start within {RECOVERY_MAX:?}")),
        }
    }

    fn crash_worker(&mut self, at: usize, power: bool) {
        let machine = &mut self.workers[at];
        machine.tasks.kill();
        machine.worker = None;
        self.net.remove(&machine.address);
        if power {
            machine.disk.crash();
            machine.engine.crash();
        } else {
            machine.disk.kill();
        }
    }

    /// One fault, chosen by chance.
    async fn fault(&mut self) -> Result<(), String> {
        let at = self.chance.below(self.workers.len() as u64) as usize;
        let address = self.workers[at].address.clone();
        let while_ms = self.chance.below(1500);
        match self.chance.below(11) {
            0 | 1 => {
                self.say(format!("power cut at {address}, back after {while_ms} ms"));
                self.crash_worker(at, true);
                sleep(Duration::from_millis(while_ms)).await;
                return self.start_worker(at).await;
            }
            2 => {
                self.say(format!("process of {address} killed"));
                self.crash_worker(at, false);
                return self.start_worker(at).await;
            }
            3 => {
                self.say(format!("orderly restart of {address}"));
                if let Some(worker) = self.workers[at].worker.take() {
                    worker.shutdown().await;
                    self.crash_worker(at, false);
                }
                return self.start_worker(at).await;
            }
            4 => {
                self.say(format!("connections to {address} break"));
                self.net.break_links(&address);
            }
            5 | 6 => {
                let to = self.chance.below(2) == 0;
                self.say(format!(
                    "nothing goes {} {address} for {while_ms} ms",
                    if to { "to" } else { "from" }
                ));
                self.net.cut(&address, to);
                sleep(Duration::from_millis(while_ms)).await;
                self.net.heal();
            }
            7 => {
                let master = self.chance.below(MASTERS.len() as u64) as usize;
                self.say(format!("master {} crashes for {while_ms} ms", MASTERS[master]));
                self.kill_master(master);
                sleep(Duration::from_millis(while_ms)).await;
                self.start_master(master);
            }
            8 => {
                let faults = self.coordinator.faults();
                let sessions = faults.sessions();
                if let Some(&id) = sessions.get(self.chance.below(sessions.len() as u64) as usize) {
                    self.say(format!("session {id} expires"));
                    faults.expire(id);
                }
            }
            9 => {
                self.say(format!("the coordinator is away for {while_ms} ms"));
                let faults = self.coordinator.faults();
                faults.stop();
                sleep(Duration::from_millis(while_ms)).await;
                faults.start();
            }
            _ => {
                let jump = self.chance.below(40 * 60_000) as i64 - 20 * 60_000;
                self.say(format!("wall clocks jump by {jump} ms"));
                *self.clock.offset_ms.lock() += jump;
            }
        }
        Ok(())
    }

    fn options(&self) -> ClientOptions {
        ClientOptions {
            transport: Arc::new(SimTransport(self.net.clone())),
            chance: Arc::new(SeededChance::new(self.chance.next_u64())),
            clock: self.clock.clone(),
            ..ClientOptions::default()
        }
    }

    /// A client that makes its calls one after the other, some of them given up before they end.
    fn client(&self, number: u32) -> impl Future<Output = ()> + Send + 'static {
        let (history, options) = (self.history.clone(), self.options());
        let chance = SeededChance::new(self.chance.next_u64());
        let calls = self.plan.calls;
        async move {
            let client = loop {
                match Client::connect_with("slotkv://m0:1,m1:1", options.clone()).await {
                    Ok(client) => break client,
                    Err(_) => sleep(Duration::from_millis(100)).await,
                }
            };
            for call in 0..calls {
                sleep(Duration::from_millis(chance.below(50))).await;
                let value = u64::from(number) << 32 | u64::from(call);
                one_call(&client, &history, &chance, value).await;
            }
            client.close().await;
        }
    }

    async fn read_all(&self) -> Result<(), String> {
        let client = Client::connect_with("slotkv://m0:1,m1:1", self.options())
            .await
            .map_err(|error| format!("no client can connect at the end: {error}"))?;
        for n in 0..KEYS {
            for key in [format!("key{n}"), format!("counter{n}")] {
                let begun = self.history.begin();
                let read = client.get_entry(key.clone()).await;
                let entry = read.map_err(|error| format!("{key} cannot be read at the end: {error}"))?;
                self.history.end(begun, &key, Call::Get, End::Read(entry.map(number)));
            }
        }
        client.close().await;
        Ok(())
    }
}

async fn one_call(client: &Client, history: &History, chance: &SeededChance, value: u64) {
    let n = chance.below(KEYS);
    let (key, counter) = (format!("key{n}"), format!("counter{n}"));
    let failed = |error: slotkv::Error| match error.outcome {
        Outcome::Failed => End::Failed,
        Outcome::Unknown => End::Unknown,
    };
    // Some callers lose patience.
    let patience = match chance.below(10) {
        0 => Duration::from_millis(chance.below(30)),
        _ => Duration::from_secs(60),
    };
    let begun = history.begin();
    match chance.below(5) {
        0 | 1 => {
            let put = tokio::time::timeout(patience, client.put(key.clone(), value.to_string())).await;
            let end = match put {
                Ok(Ok(Put::Created { version } | Put::Updated { version })) => End::Written(version),
                Ok(Ok(Put::Unmet { .. })) => End::Failed,
                Ok(Err(error)) => failed(error),
                Err(_) => End::Unknown,
            };
            history.end(begun, &key, Call::Put(value), end);
        }
        2 | 3 => {
            if let Ok(Ok(entry)) = tokio::time::timeout(patience, client.get_entry(key.clone())).await {
                history.end(begun, &key, Call::Get, End::Read(entry.map(number)));
            }
        }
        _ => {
            let end = match tokio::time::timeout(patience, client.increment(counter.clone(), 1)).await {
                Ok(Ok(number)) => End::Number(number as u64),
                Ok(Err(error)) => failed(error),
                Err(_) => End::Unknown,
            };
            history.end(begun, &counter, Call::Increment, end);
        }
    }
}

fn number(entry: slotkv::Entry) -> (u64, u64) {
    let text = String::from_utf8_lossy(&entry.value).into_owned();
    (entry.version, text.parse().unwrap_or(u64::MAX))
}
