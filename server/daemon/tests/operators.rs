//! What operators do: fail over, promote, recover, watch; and the drills.

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Server, run, slotkv};

fn status(dev: &Server) -> Value {
    serde_json::from_str(&dev.run(&["admin", "status", "--json"]).expect(0).text()).unwrap()
}

/// Waits until all three copies of shard 0 are in sync.
fn in_sync(dev: &Server) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = status(dev);
        let shard = &status["shards"][0];
        if shard["isr"].as_array().unwrap().len() == 3 && shard["state"] == "leader" {
            return status;
        }
        assert!(Instant::now() < deadline, "{status:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_operator_changes_who_leads_and_nothing_is_lost() {
    let dev = Server::dev(&["--shards", "1", "--replicas", "3", "--ack", "one"]);
    dev.run(&["put", "k", "v"]).expect(0);
    let before = in_sync(&dev);
    let (from, epoch) = (before["shards"][0]["primary"].clone(), before["shards"][0]["epoch"].clone());
    let told = dev.run(&["admin", "failover", "0", "--json"]).expect(0).text();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["shard"], &told["from"]), (&0.into(), &from));
    assert!(told["to"] != from && told["epoch"].as_u64() > epoch.as_u64(), "{told}");
    assert_eq!(dev.run(&["get", "k"]).expect(0).text(), "v");
    dev.run(&["put", "k", "w"]).expect(0);

    in_sync(&dev);
    let back = from.as_str().unwrap();
    let text = dev.run(&["admin", "promote", back]).expect(0).text();
    assert!(text.starts_with(&format!("shard 0: {back} leads in epoch ")), "{text}");
    assert_eq!(dev.run(&["get", "k"]).expect(0).text(), "w");
    let after = in_sync(&dev);
    assert_eq!(after["shards"][0]["preferred"], from);
    let leading = after["shards"][0]["copies"].as_array().unwrap();
    let leading: Vec<_> = leading.iter().filter(|copy| copy["state"] == "leader").collect();
    assert_eq!(leading.len(), 1, "{after:#}");
    assert!(leading[0]["name"] == from && leading[0]["since_ms"].as_u64().unwrap() > 1_600_000_000_000);

    assert!(dev.run(&["admin", "promote", "nobody"]).expect(2).stderr.contains("no replica nobody"));
    assert!(dev.run(&["admin", "failover", "7"]).expect(2).stderr.contains("there is no shard 7"));
    assert!(dev.run(&["admin", "recover", "0", back]).expect(2).stderr.contains("--lose-writes"));
    let refused = dev.run(&["admin", "recover", "0", back, "--lose-writes"]).expect(3).stderr;
    assert!(refused.contains("has a primary"), "{refused}");
    dev.terminate();
}

/// The last line of a drill.
fn drilled(args: &[&str]) -> Value {
    let mut command = slotkv();
    command.arg("drill").args(args).arg("--json");
    let text = run(command, b"").expect(0).text();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn drills_find_every_write_again() {
    for drill in ["sequential", "concurrent"] {
        let told = drilled(&[drill, "--seconds", "1", "--shards", "1", "--replicas", "1"]);
        assert!(told["acknowledged"].as_u64().unwrap() > 10 && told["reads"].as_u64().unwrap() > 0, "{told}");
        assert_eq!((&told["violations"], &told["unchecked"]), (&0.into(), &0.into()));
    }
}

#[test]
fn a_crazyloop_kills_members_and_loses_nothing() {
    let told = drilled(&["crazyloop", "--seconds", "6", "--shards", "1"]);
    let kills = told["workers_killed"].as_u64().unwrap() + told["masters_killed"].as_u64().unwrap();
    assert!(kills > 0 && told["checked"].as_u64().unwrap() > 0, "{told}");
    assert_eq!((&told["violations"], &told["unchecked"]), (&0.into(), &0.into()));
}
