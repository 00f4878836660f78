//! What operators do: fail over, promote, recover, watch; and the drills.

mod support;

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
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

/// The last line of what a command printed.
fn last_line(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn slots_leave_a_shard_and_come_back_and_every_key_stays() {
    let dev = Server::dev(&["--shards", "3", "--slots", "64"]);
    for key in 0..200 {
        dev.run(&["put", &format!("k{key}"), &format!("v{key}")]).expect(0);
    }
    let plan = dev.run(&["admin", "rebalance", "--dry-run"]).expect(0).text();
    assert_eq!(plan, "nothing is to move\n");
    let slots = |dev: &Server| {
        let status = status(dev);
        (0..3).map(|shard| status["shards"][shard]["slots"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let drained = dev.run(&["admin", "drain", "1", "--json"]).expect(0).text();
    assert_eq!(serde_json::from_str::<Value>(drained.lines().next().unwrap()).unwrap()["weight_to"], 0.0);
    assert!(last_line(&drained)["done"] == true && last_line(&drained)["slots_moved"] == 21, "{drained}");
    assert_eq!(slots(&dev), [32, 0, 32]);
    let text = dev.run(&["admin", "add", "1"]).expect(0).text();
    assert!(text.contains("the weight was 0 and is 1 now"), "{text}");
    assert!(text.contains("shard 1 has its share of weight 1 (21 slots, "), "{text}");
    dev.run(&["admin", "weight", "1", "2"]).expect(0);
    assert_eq!(slots(&dev), [16, 32, 16]);
    let moved: Value =
        serde_json::from_str(&dev.run(&["admin", "migrations", "--json"]).expect(0).text()).unwrap();
    assert!(moved["open"] == Value::Array(vec![]) && moved["totals"]["slots"] == 21 + 21 + 11, "{moved:#}");
    for key in 0..200 {
        assert_eq!(dev.run(&["get", &format!("k{key}")]).expect(0).text(), format!("v{key}"));
    }
    for shard in ["0", "2"] {
        dev.run(&["admin", "drain", shard]).expect(0);
    }
    let refused = dev.run(&["admin", "drain", "1"]).expect(3).stderr;
    assert!(refused.contains("shard 1 is the last one with a weight above 0"), "{refused}");
    assert_eq!(slots(&dev), [0, 64, 0]);
    dev.terminate();
}

#[test]
fn whoever_watches_migrations_is_told_what_is_new_until_nobody_reads_any_more() {
    let dev = Server::dev(&["--shards", "2", "--slots", "64"]);
    let mut watch =
        dev.command(&["admin", "migrations", "--watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert!(first["open"] == json!([]) && first["totals"]["slots"] == 0, "{first:#}");
    // Two looks and more at which there is nothing new; there is nothing to wait for.
    std::thread::sleep(Duration::from_millis(1200));
    dev.run(&["admin", "drain", "1", "--no-wait"]).expect(0);
    let mut last = first;
    while last["totals"]["slots"] != 32 || last["open"] != json!([]) || last["planned"] != true {
        let next: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
        assert_ne!(next, last, "nothing is told twice");
        last = next;
    }
    assert!(last["left"] == json!([]), "{last:#}");
    // It notices when it has something new to tell.
    drop(lines);
    dev.run(&["admin", "add", "1"]).expect(0);
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    dev.terminate();
}

#[test]
fn what_is_cancelled_stays_until_an_order_lets_it_go_on() {
    let dev = Server::dev(&["--shards", "2", "--slots", "16"]);
    let held = || -> (Value, Value) {
        let told = dev.run(&["admin", "migrations", "--json"]).expect(0).text();
        let told: Value = serde_json::from_str(&told).unwrap();
        (told["held_all"].clone(), told["held_shards"].clone())
    };
    dev.run(&["admin", "cancel"]).expect(0);
    assert_eq!(held(), (true.into(), json!([])));
    dev.run(&["admin", "weight", "0", "3", "--no-wait"]).expect(0);
    assert_eq!(held(), (false.into(), json!([])), "a new order lets everything go on");
    dev.run(&["admin", "cancel", "1"]).expect(0);
    assert_eq!(held(), (false.into(), json!([1])));
    let refused = dev.run(&["admin", "cancel", "7"]).expect(2);
    assert!(refused.stderr.contains("there is no shard 7"), "{}", refused.stderr);
    dev.run(&["admin", "rebalance"]).expect(0);
    assert_eq!(held(), (false.into(), json!([])));
    assert_eq!(status(&dev)["shards"][0]["slots"], 12);
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
