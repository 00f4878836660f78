//! The runner of real ZooKeeper servers: what it refuses, and that it leaves nothing behind.

use std::{
    io::{BufRead, BufReader},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use slotkv_coordination::ensemble::{Ensemble, EnsembleError, JAR, SERVERS_MAX, SKIP};
use tokio::time::{sleep, timeout};

const CHILD: &str = "SLOTKV_TEST_ENSEMBLE_CHILD";
const WAIT_MAX: Duration = Duration::from_secs(30);

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn child() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child_process", "--exact", "--ignored", "--nocapture"]).env(CHILD, "1");
    command
}

/// Not a test by itself: the process that the tests below start.
#[tokio::test]
#[ignore = "runs as a child of other tests"]
async fn child_process() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    match Ensemble::start(1).await {
        Ok(ensemble) => {
            println!("\nport {}", ensemble.ports()[0]);
            std::future::pending::<()>().await;
        }
        Err(error) => println!("\nrefused {error}"),
    }
}

#[tokio::test]
async fn a_number_of_servers_that_cannot_be_is_refused() {
    for servers in [0, SERVERS_MAX + 1] {
        assert!(matches!(Ensemble::start(servers).await, Err(EnsembleError::Servers(n)) if n == servers));
    }
}

#[test]
fn a_missing_jar_is_named_with_both_ways_out() {
    let output = child().env(JAR, "/nowhere/zookeeper.jar").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    for word in ["refused /nowhere/zookeeper.jar is missing", "apt-get install", SKIP] {
        assert!(told.contains(word), "{word}: {told}");
    }
}

#[tokio::test]
async fn a_dropped_ensemble_leaves_nothing_behind() {
    if Ensemble::skips("dropping an ensemble") {
        return;
    }
    let ensemble = Ensemble::start(1).await.unwrap();
    let port = ensemble.ports()[0];
    assert!(listens(port));
    drop(ensemble);
    assert!(!listens(port));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn servers_die_with_the_process_that_started_them() {
    if Ensemble::skips("killing the process of an ensemble") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = child().env("TMPDIR", dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let port: u16 = lines.find_map(|line| line.strip_prefix("port ")?.parse().ok()).unwrap();
    assert!(listens(port));
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = async {
        while listens(port) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(WAIT_MAX, gone).await.expect("the server outlives its process");
}
