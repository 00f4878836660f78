//! One suite for every coordinator: the embedded one, one real ZooKeeper server, and three.
//!
//! Each case gets a bed: an empty tree of its own in a coordinator that all cases of the kind share, and sessions that can
//! be cut off and lied to one by one. Cases that stop servers run last, alone. The embedded kind runs in virtual time.
//!
//! `SLOTKV_CASE=text` runs only the cases whose names contain the text. `SLOTKV_SKIP_ZOOKEEPER=1` leaves out the real
//! servers, and says so. A text that no name contains is an error.

mod bed;
mod cases;
mod proxy;

use std::{sync::Arc, time::Duration};

use bed::{Bed, Kind};
use cases::{Case, EXCLUSIVE, SHARED};
use slotkv_coordination::ensemble::Ensemble;
use tokio::{runtime::Builder, sync::Semaphore, task::JoinSet, time::timeout};

/// Longest time for one case.
const CASE_MAX: Duration = Duration::from_secs(60);
/// So many cases there are at least: whoever adds one may raise it, and nobody loses one unnoticed.
const CASES_MIN: usize = 72;
/// Cases of one kind at once.
const PARALLEL_MAX: usize = 8;

#[test]
fn embedded_coordinator_conforms() {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(run(Kind::Embedded));
}

#[test]
fn one_zookeeper_server_conforms() {
    on_zookeeper(1);
}

#[test]
fn three_zookeeper_servers_conform() {
    on_zookeeper(3);
}

fn on_zookeeper(servers: usize) {
    if Ensemble::skips(&format!("conformance of {servers} ZooKeeper servers")) {
        return;
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { run(Kind::zookeeper(servers).await).await });
}

async fn run(kind: Kind) {
    let wanted = std::env::var("SLOTKV_CASE").unwrap_or_default();
    let kind = Arc::new(kind);
    let mut failures = Vec::new();
    let mut count = 0;
    for (cases, parallel) in [(SHARED, PARALLEL_MAX), (EXCLUSIVE, 1)] {
        let permits = Arc::new(Semaphore::new(parallel));
        let mut running = JoinSet::new();
        for case in cases.iter().filter(|case| case.name.contains(&wanted)) {
            count += 1;
            running.spawn(run_case(case, kind.clone(), permits.clone()));
        }
        while let Some(done) = running.join_next().await {
            failures.extend(done.unwrap());
        }
    }
    let all = SHARED.len() + EXCLUSIVE.len();
    assert!(all >= CASES_MIN, "{all} cases are left");
    assert!(count > 0 && (count == all || !wanted.is_empty()), "{count} cases match SLOTKV_CASE={wanted}");
    println!("{}: {count} cases, {} failed", kind.name(), failures.len());
    assert!(failures.is_empty(), "on {}:\n{}", kind.name(), failures.join("\n"));
}

/// What went wrong, if anything.
async fn run_case(case: &'static Case, kind: Arc<Kind>, permits: Arc<Semaphore>) -> Option<String> {
    let _permit = permits.acquire_owned().await.unwrap();
    let began = std::time::Instant::now();
    let bed = Bed::new(kind.clone(), case.name);
    let outcome = tokio::spawn(timeout(CASE_MAX, (case.run)(bed))).await;
    let failure = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(_)) => Some(format!("took longer than {CASE_MAX:?}")),
        Err(error) => Some(text_of(error)),
    };
    let told = if failure.is_some() { "FAILED" } else { "ok" };
    println!("{} {} ... {told} ({:.2?})", kind.name(), case.name, began.elapsed());
    failure.map(|why| format!("{}: {why}", case.name))
}

fn text_of(error: tokio::task::JoinError) -> String {
    let panic = error.into_panic();
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_owned()
}
