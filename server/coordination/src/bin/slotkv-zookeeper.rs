//! A real ZooKeeper ensemble in the foreground, for `cargo xtask zookeeper`: prints `ready zk://...` when it serves and
//! ends with SIGINT or SIGTERM, servers and folder included.
//!
//! ```sh
//! slotkv-zookeeper [SERVERS]
//! ```

use std::process::ExitCode;

use slotkv_coordination::ensemble::Ensemble;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let servers = match std::env::args().nth(1).map(|count| count.parse()) {
        None => 3,
        Some(Ok(count)) => count,
        Some(Err(_)) => return refuse("SERVERS is a number"),
    };
    let (mut interrupt, mut terminate) =
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
            (Err(error), _) | (_, Err(error)) => return refuse(error),
        };
    let ensemble = tokio::select! {
        biased;
        _ = interrupt.recv() => return ExitCode::SUCCESS,
        _ = terminate.recv() => return ExitCode::SUCCESS,
        started = Ensemble::start(servers) => match started {
            Ok(ensemble) => ensemble,
            Err(error) => return refuse(error),
        },
    };
    println!("ready {}", ensemble.uri(""));
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    for server in 0..ensemble.count() {
        ensemble.stop(server).await;
    }
    ExitCode::SUCCESS
}

fn refuse(why: impl std::fmt::Display) -> ExitCode {
    eprintln!("slotkv-zookeeper: {why}");
    ExitCode::FAILURE
}
