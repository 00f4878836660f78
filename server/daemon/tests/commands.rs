//! The client commands against a cluster: what they print, and their exit codes.

mod support;

use support::{Server, run, slotkv};

#[test]
fn single_keys_say_what_happened() {
    let dev = Server::dev(&[]);
    assert_eq!(dev.run(&["put", "k", "one"]).expect(0).text(), "created\n");
    assert_eq!(dev.run(&["put", "k", "two"]).expect(0).text(), "updated\n");
    assert_eq!(dev.run(&["get", "k"]).expect(0).stdout, b"two");
    assert_eq!(dev.run(&["has", "k"]).expect(0).text(), "yes\n");
    assert_eq!(dev.run(&["del", "k"]).expect(0).text(), "deleted\n");
    assert_eq!(dev.run(&["del", "k"]).expect(1).text(), "not found\n");
    assert_eq!(dev.run(&["has", "k"]).expect(1).text(), "no\n");
    let gone = dev.run(&["get", "k"]).expect(1);
    assert!(gone.stdout.is_empty() && gone.stderr.contains("not found: \"k\""), "{gone:?}");
}

#[test]
fn a_lifetime_is_given_shown_and_kept_by_an_export() {
    let dev = Server::dev(&[]);
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    dev.run(&["put", "k", "v", "--ttl", "2h"]).expect(0);
    let left_ms = json(&dev.run(&["get", "k", "--json"]).expect(0).text())["ttl_ms"].as_u64().unwrap();
    assert!(left_ms > 7_000_000 && left_ms <= 7_200_000, "{left_ms}");
    let shell = |line: &str| dev.run_with(&["shell"], line.as_bytes()).expect(0).text();
    assert!(shell("get k\n").contains(" s left)"));
    assert!(shell("expire k 1h\npersist k\nget k\nput k w --ttl 3h\n").contains("\"v\"  (version 3)"));
    assert!(shell("persist nobody\n").contains("unmet"));
    assert!(dev.run(&["put", "k", "v", "--ttl", "4000d"]).expect(2).stderr.contains("TTL_MS_MAX"));

    let exported = dev.run(&["export"]).expect(0).text();
    let expires_ms = json(exported.lines().last().unwrap())["expires_ms"].as_u64().unwrap();
    assert_eq!(json(dev.run(&["dump", "--json"]).expect(0).text().lines().next().unwrap())["version"], 4);
    let second = Server::dev(&[]);
    let over = "{\"key\":\"over\",\"value\":\"\",\"expires_ms\":1000}\n";
    let done = second.run_with(&["import", "-"], format!("{exported}{over}").as_bytes()).expect(0);
    assert!(done.text().starts_with("imported 1 records: 1 created"), "{done:?}");
    assert!(done.stderr.contains("1 records were left out"), "{done:?}");
    let again = second.run(&["export"]).expect(0).text();
    let kept_ms = json(again.lines().last().unwrap())["expires_ms"].as_u64().unwrap();
    assert!(kept_ms.abs_diff(expires_ms) < 2_000, "{kept_ms} for {expires_ms}");
}

#[test]
fn conditions_that_do_not_hold_change_nothing() {
    let dev = Server::dev(&[]);
    assert!(dev.run(&["put", "k", "v", "--if-present"]).expect(1).text().contains("does not exist"));
    dev.run(&["put", "k", "v", "--if-absent"]).expect(0);
    assert!(
        dev.run(&["put", "k", "w", "--if-absent"]).expect(1).text().starts_with("unmet: the key has version")
    );
    let entry: serde_json::Value =
        serde_json::from_slice(&dev.run(&["get", "k", "--json"]).expect(0).stdout).unwrap();
    assert_eq!((&entry["key"], &entry["value"], &entry["found"]), (&"k".into(), &"v".into(), &true.into()));
    let version = entry["version"].to_string();
    dev.run(&["put", "k", "x", "--if-version", &version]).expect(0);
    dev.run(&["del", "k", "--if-version", &version]).expect(1);
    assert_eq!(dev.run(&["get", "k"]).expect(0).stdout, b"x");
}

#[test]
fn any_bytes_come_back_as_they_went_in() {
    let dev = Server::dev(&[]);
    let bytes: Vec<u8> = (0..=255u8).cycle().take(100_000).collect();
    dev.run_with(&["put", r"\x00\xff key", "@-", "-e"], &bytes).expect(0);
    assert_eq!(dev.run(&["get", r"\x00\xff key", "--escaped"]).expect(0).stdout, bytes);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("value");
    std::fs::write(&path, &bytes).unwrap();
    dev.run(&["put", "from file", "--value-file", path.to_str().unwrap()]).expect(0);
    assert_eq!(dev.run(&["get", "from file"]).expect(0).stdout, bytes);
    dev.run(&["put", "empty", ""]).expect(0);
    assert_eq!(dev.run(&["get", "empty"]).expect(0).stdout, b"");
    dev.run(&["put", "n", "-5"]).expect(0);
    assert_eq!(dev.run(&["get", "n"]).expect(0).stdout, b"-5");
}

#[test]
fn namespaces_are_apart() {
    let dev = Server::dev(&[]);
    dev.run(&["put", "k", "a", "--namespace", "one"]).expect(0);
    dev.run(&["get", "k"]).expect(1);
    let mut command = slotkv();
    command.args(["get", "k", "--uri", &format!("{}/one", dev.uri)]);
    assert_eq!(run(command, b"").expect(0).stdout, b"a");
}

#[test]
fn listings_are_bounded_and_go_on() {
    let dev = Server::dev(&[]);
    for i in 0..10 {
        dev.run(&["put", &format!("user:{i}"), &format!("v\t{i}")]).expect(0);
    }
    dev.run(&["put", "other", "x"]).expect(0);
    assert_eq!(dev.run(&["count"]).expect(0).text(), "11\n");
    assert_eq!(dev.run(&["count", "--prefix", "user:"]).expect(0).text(), "10\n");
    assert_eq!(dev.run(&["count", "--json", "--start", "user:5"]).expect(0).text(), "{\"count\":5}\n");

    let first = dev.run(&["scan", "--prefix", "user:", "--ordered", "--limit", "4"]).expect(0);
    assert_eq!(first.text(), "user:0\tv\\t0\nuser:1\tv\\t1\nuser:2\tv\\t2\nuser:3\tv\\t3\n");
    let cursor = first.stderr.trim().strip_prefix("go on with --cursor ").unwrap().to_owned();
    let rest = ["scan", "--prefix", "user:", "--ordered", "--keys-only", "--cursor", &cursor];
    assert_eq!(dev.run(&rest).expect(0).text(), "user:4\nuser:5\nuser:6\nuser:7\nuser:8\nuser:9\n");

    let json = dev.run(&["dump", "--json", "--prefix", "user:1"]).expect(0);
    let item: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&item["key"], &item["value"]), (&"user:1".into(), &"v\t1".into()));
    assert!(item["version"].as_u64().unwrap() > 0 && item["slot"].is_u64());
    assert!(dev.run(&["scan", "--cursor", "junk!"]).expect(2).stderr.contains("no cursor"));
}

#[test]
fn a_slot_is_the_same_with_and_without_a_cluster() {
    let dev = Server::dev(&["--slots", "64"]);
    let online: serde_json::Value =
        serde_json::from_slice(&dev.run(&["slot", "foo", "--json"]).expect(0).stdout).unwrap();
    let offline = dev.run(&["slot", "foo", "--json", "--slots", "64"]).expect(0);
    let offline: serde_json::Value = serde_json::from_slice(&offline.stdout).unwrap();
    assert_eq!((&online["slot"], &online["hash_slot"]), (&offline["slot"], &12182.into()));
    assert!(online["connected"].as_bool().unwrap());
    assert!(dev.run(&["slot", "foo", "--slots", "63"]).expect(2).stderr.contains("power of two"));
}

#[test]
fn the_status_shows_every_member() {
    let dev = Server::dev(&["--shards", "2"]);
    let text = dev.run(&["admin", "status"]).expect(0).text();
    for part in ["leader", "standby", "worker-0", "worker-1"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let json: serde_json::Value =
        serde_json::from_slice(&dev.run(&["admin", "status", "--json"]).expect(0).stdout).unwrap();
    assert_eq!(json["shards"].as_array().unwrap().len(), 2);
    assert_eq!(json["masters"].as_array().unwrap().len(), 2);
}

#[test]
fn wrong_usage_is_told_by_name_and_reaches_no_cluster() {
    let refused = |args: &[&str]| {
        let mut command = slotkv();
        command.args(args);
        run(command, b"").expect(2).stderr
    };
    assert!(refused(&["get", "k", "--colour"]).contains("--colour"));
    assert!(refused(&["get", "k", "--uri", "http://h"]).contains("\"http\""));
    assert!(refused(&["get", "k", "--uri", "slotkvs://h"]).contains("TLS is not built yet"));
    assert!(refused(&["get", "k", "--uri", "slotkv://h:1?colour=red"]).contains("colour"));
    assert!(refused(&["get", "k", "--deadline-ms", "0"]).contains("--deadline-ms"));
    assert!(refused(&["get", r"\q", "-e"]).contains("unknown escape"));
    assert!(refused(&["put", "k"]).contains("value"));
    assert!(refused(&["put", "k", "v", "--if-absent", "--if-present"]).contains("--if-present"));
    assert!(refused(&["fly"]).contains("fly"));
}

#[test]
fn a_cluster_that_is_not_there_is_a_failure_without_effect() {
    let port = support::free_ports(1);
    let mut command = slotkv();
    command.args(["put", "k", "v", "--uri", &format!("slotkv://127.0.0.1:{port}?connect_timeout_ms=500")]);
    let done = run(command, b"").expect(3);
    assert!(done.stderr.contains(&port.to_string()) && !done.stderr.contains("may have been"), "{done:?}");
}

#[test]
fn variables_stand_between_flags_and_the_file() {
    let dev = Server::dev(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slotkv.toml");
    std::fs::write(&path, "namespace = \"file\"\n").unwrap();
    let with_file = |args: &[&str]| {
        let mut command = dev.command(args);
        command.env("SLOTKV_CONFIG", &path);
        command
    };
    run(with_file(&["put", "k", "in file"]), b"").expect(0);
    assert_eq!(dev.run(&["get", "k", "--namespace", "file"]).expect(0).stdout, b"in file");
    let mut variable = with_file(&["put", "k", "in variable"]);
    run(
        {
            variable.env("SLOTKV_NAMESPACE", "variable");
            variable
        },
        b"",
    )
    .expect(0);
    assert_eq!(dev.run(&["get", "k", "--namespace", "variable"]).expect(0).stdout, b"in variable");
    let mut flag = with_file(&["put", "k", "in flag", "--namespace", "flag"]);
    run(
        {
            flag.env("SLOTKV_NAMESPACE", "variable");
            flag
        },
        b"",
    )
    .expect(0);
    assert_eq!(dev.run(&["get", "k", "--namespace", "flag"]).expect(0).stdout, b"in flag");
    std::fs::write(&path, "namespce = \"file\"\n").unwrap();
    let refused = run(with_file(&["get", "k"]), b"").expect(2);
    assert!(refused.stderr.contains("unknown setting namespce"), "{refused:?}");
}
