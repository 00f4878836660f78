//! A caller's trace: whoever follows it finds its requests in the worker's log.

use slotkv::Client;
use slotkv_tests::process::{Process, slotkv};
use tempfile::tempdir;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn the_traceparent_of_a_call_stands_in_the_log_of_the_worker_and_of_no_other_call() {
    let folder = tempdir().unwrap();
    let log = folder.path().join("log");
    let mut command = slotkv();
    command.args(["dev", "--port", "0", "--log", "debug"]);
    let mut dev = Process::spawn(command, &log);
    dev.ready();

    let client = Client::connect(dev.uri()).await.unwrap();
    client.put("key", "value").await.unwrap();
    let traced = client.with_traceparent(TRACEPARENT).unwrap();
    traced.get("key").await.unwrap();
    traced.put("key", "again").await.unwrap();
    client.close().await;

    // A request is told before it is answered.
    let text = dev.log();
    let told: Vec<&str> = text.lines().filter(|line| line.contains("a request of a trace")).collect();
    assert_eq!(told.len(), 2, "{text}");
    for (line, operation) in told.iter().zip(["GET", "PUT"]) {
        assert!(line.contains(TRACEPARENT) && line.contains(operation), "{line}");
    }
}
