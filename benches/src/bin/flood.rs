//! `bench-flood etcd-put|etcd-get|redis-set ADDRESSES OPERATIONS RECORDS IN_FLIGHT`: as many operations as a peer takes.
//!
//! A closed loop of IN_FLIGHT tasks, uniform keys of 16 bytes (17 with Redis), values of 100. etcd gets a connection for
//! each address, Redis one for each task: each writes with `SET` and `WAIT 1`. `etcd-fill` writes each key once. Prints
//! the line of JSON of [`Measure`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use slotkv_benches::{clock, etcd::Etcd, measure::Measure, redis::Connection};

/// The part of the operations that runs before it is measured.
const WARM_UP_PART: u64 = 20;
const VALUE: &str =
    "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv";

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What the tasks share.
struct Plan {
    what: String,
    records: u64,
    in_flight: u64,
    addresses: String,
}

/// How a task does an operation.
enum Worker {
    Etcd(Arc<Etcd>, usize),
    Redis(Box<Connection>),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, addresses, operations, records, in_flight] = &arguments[..] else {
        return Err("usage: bench-flood WHAT ADDRESSES OPERATIONS RECORDS IN_FLIGHT".into());
    };
    let (what, addresses) = (what.clone(), addresses.clone());
    let plan = Plan { what, records: records.parse()?, in_flight: in_flight.parse()?, addresses };
    let plan = Arc::new(plan);
    let operations: u64 = operations.parse()?;
    let workers = open(&plan).await?;
    let (workers, _) = run(&plan, workers, operations / WARM_UP_PART).await?;
    let measure = Measure::start();
    let (_, latencies) = run(&plan, workers, operations).await?;
    println!("{}", measure.report(latencies));
    Ok(())
}

async fn open(plan: &Plan) -> Outcome<Vec<Worker>> {
    let addresses: Vec<&str> = plan.addresses.split(',').collect();
    let etcd = Arc::new(Etcd::new(&plan.addresses)?);
    let mut workers = Vec::new();
    for task in 0..plan.in_flight as usize {
        let at = task % addresses.len();
        workers.push(match plan.what.starts_with("redis") {
            true => Worker::Redis(Box::new(Connection::open(addresses[at], at).await?)),
            false => Worker::Etcd(etcd.clone(), at),
        });
    }
    Ok(workers)
}

/// The workers, for more, and the latencies in microseconds.
async fn run(plan: &Arc<Plan>, workers: Vec<Worker>, operations: u64) -> Outcome<(Vec<Worker>, Vec<u64>)> {
    let begun = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for (task, mut worker) in workers.into_iter().enumerate() {
        let (plan, begun) = (plan.clone(), begun.clone());
        tasks.push(tokio::spawn(async move {
            let mut chance = Chance(task as u64 + 1);
            let mut latencies = Vec::new();
            loop {
                let operation = begun.fetch_add(1, Relaxed);
                if operation >= operations {
                    return Ok((worker, latencies));
                }
                let record = match plan.what.ends_with("fill") {
                    true => operation % plan.records,
                    false => chance.below(plan.records),
                };
                let begin = clock::now_us();
                worker.operate(&plan.what, record).await?;
                latencies.push(clock::now_us() - begin);
            }
        }));
    }
    let (mut workers, mut latencies) = (Vec::new(), Vec::new());
    for task in tasks {
        let (worker, its): (Worker, Vec<u64>) = task.await?.map_err(|error: String| error)?;
        workers.push(worker);
        latencies.extend(its);
    }
    Ok((workers, latencies))
}

impl Worker {
    async fn operate(&mut self, what: &str, record: u64) -> Result<(), String> {
        match self {
            Self::Redis(connection) => connection.set(record, VALUE).await,
            Self::Etcd(etcd, at) if what == "etcd-get" => {
                let found = etcd.get_by(*at, key(record)).await?;
                found
                    .map(|_| ())
                    .ok_or_else(|| format!("record {record} is missing; the bench wants hits only"))
            }
            Self::Etcd(etcd, at) => etcd.put_by(*at, key(record), VALUE.into()).await,
        }
    }
}

fn key(record: u64) -> bytes::Bytes {
    format!("user{record:012}").into()
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * u128::from(bound)) >> 64) as u64
    }
}
