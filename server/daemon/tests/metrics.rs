//! What a cluster tells Prometheus.

mod support;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use support::{dev_with_metrics, metrics};

/// Longest wait for what must happen.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The values of a metric that have this label, by their whole names.
fn of<'a>(told: &'a BTreeMap<String, u64>, metric: &str, label: &str) -> BTreeMap<&'a str, u64> {
    let begins = format!("{metric}{{");
    let is_of = |name: &str| name.starts_with(&begins) && name.contains(label);
    told.iter().filter(|(name, _)| is_of(name)).map(|(name, value)| (name.as_str(), *value)).collect()
}

/// Asks until what is told is so.
#[track_caller]
fn until(port: u16, is_so: impl Fn(&BTreeMap<String, u64>) -> bool) -> BTreeMap<String, u64> {
    let begun = Instant::now();
    loop {
        let told = metrics(port);
        if is_so(&told) {
            return told;
        }
        assert!(begun.elapsed() < WAIT_MAX, "{told:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn dev_tells_how_every_member_is_on_one_page() {
    let more = ["--shards", "2", "--replicas", "2", "--check-interval", "200ms"];
    let (dev, port) = dev_with_metrics(&more);
    let all_in_sync = |told: &BTreeMap<String, u64>| {
        let in_sync = of(told, "slotkv_shard_replicas_in_sync", "");
        in_sync.len() == 4 && in_sync.values().all(|&count| count == 2)
    };
    let before = until(port, all_in_sync);
    for number in 0..20 {
        dev.run(&["put", &format!("k{number}"), "v"]).expect(0);
    }
    // Every copy has what is committed, and was compared with the other of its shard.
    let told = until(port, |told| {
        let by_shard = |metric: &str, shard: &str| of(told, metric, &format!("shard=\"{shard}\""));
        let is_equal = |shard: &str| {
            let commits = by_shard("slotkv_replica_commit_index", shard);
            let applied = by_shard("slotkv_replica_applied_index", shard);
            let all: Vec<u64> = commits.values().chain(applied.values()).copied().collect();
            all.len() == 4 && all.iter().all(|index| *index == all[0])
        };
        let checks = of(told, "slotkv_replica_checks_total", "");
        is_equal("0") && is_equal("1") && checks.len() == 4 && checks.values().all(|&count| count > 0)
    });
    let sum = |told: &BTreeMap<String, u64>, metric: &str, label: &str| -> u64 {
        of(told, metric, label).values().sum()
    };
    for shard in ["shard=\"0\"", "shard=\"1\""] {
        assert_eq!(sum(&told, "slotkv_replica_leads", shard), 1, "{told:#?}");
        assert_eq!(of(&told, "slotkv_replica_standing", shard).len(), 2 * 11);
        let standings = of(&told, "slotkv_replica_standing", shard);
        let mut standing: Vec<&str> =
            standings.iter().filter(|(_, value)| **value == 1).map(|(n, _)| *n).collect();
        standing.sort_by_key(|name| name.contains("standing=\"leader\""));
        assert!(standing.len() == 2 && standing[0].contains("standing=\"in_sync\""), "{standing:?}");
        assert!(standing[1].contains("standing=\"leader\""), "{standing:?}");
        for metric in
            ["slotkv_replica_commit_index", "slotkv_replica_applied_index", "slotkv_replica_last_index"]
        {
            assert!(sum(&told, metric, shard) > sum(&before, metric, shard), "{metric}: {told:#?}");
        }
        assert!(of(&told, "slotkv_replica_epoch", shard).values().all(|&epoch| epoch > 0));
        assert!(of(&told, "slotkv_replica_log_bytes", shard).values().all(|&bytes| bytes > 0));
        assert!(of(&told, "slotkv_replica_shown_index", shard).values().all(|&index| index > 0));
        assert_eq!(sum(&told, "slotkv_shard_replicas_wanted", shard), 4);
        assert_eq!(sum(&told, "slotkv_shard_replicas_needed", shard), 2);
        for metric in ["different_copies", "rotten_slots", "restarts"] {
            let counts = of(&told, &format!("slotkv_replica_{metric}_total"), shard);
            assert!(counts.len() == 2 && counts.values().all(|&count| count == 0), "{counts:?}");
        }
    }
    assert_eq!(sum(&told, "slotkv_master_leads", ""), 1);
    for (metric, each) in [("slotkv_masters_live", 2), ("slotkv_members_live", 4), ("slotkv_members_gone", 0)]
    {
        let counts = of(&told, metric, "");
        assert!(counts.len() == 2 && counts.values().all(|&count| count == each), "{counts:?}");
    }
    for metric in ["slotkv_table_version", "slotkv_master_epoch"] {
        assert!(of(&told, metric, "").values().all(|&number| number > 0), "{told:#?}");
    }
    assert_eq!(sum(&told, "slotkv_shards", "state=\"leader\""), 2 * 2);
    assert_eq!(sum(&told, "slotkv_shards", ""), 2 * 2, "a shard has one state");
    assert!(of(&told, "slotkv_coordinator_connected", "").values().all(|&is| is == 1));
    assert_eq!(of(&told, "slotkv_coordinator_connected", "").len(), 6);
    assert_eq!(dev.terminate(), (Some(0), String::new()));
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn without_the_flag_there_is_no_port() {
    let dev = support::Server::dev(&["--shards", "1"]);
    let listening = |pid: u32| {
        let sockets = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let inode = |path: std::path::PathBuf| {
            Some(path.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
        };
        let own: Vec<String> =
            sockets.filter_map(|fd| inode(std::fs::read_link(fd.ok()?.path()).ok()?)).collect();
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
        let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
        // State 0A listens.
        rows.filter(|row| row[3] == "0A" && own.iter().any(|inode| inode == row[9])).count()
    };
    // Two masters and a worker.
    assert_eq!(listening(dev.pid()), 3);
    assert_eq!(dev.terminate().0, Some(0));
}
