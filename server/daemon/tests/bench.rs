//! `slotkv bench`: every workload runs, finds what it loaded, and reports it.

mod support;

use serde_json::Value;
use support::Server;

fn bench(dev: &Server, more: &[&str]) -> Value {
    let args = [&["bench", "--json", "--records", "2000", "--operations", "5000"], more].concat();
    serde_json::from_slice(&dev.run(&args).expect(0).stdout).unwrap()
}

#[test]
fn every_workload_finds_what_was_loaded() {
    let dev = Server::dev(&[]);
    let loaded = bench(&dev, &["--load-only", "--seed", "7"]);
    assert_eq!(loaded["phases"]["load"]["operations"], 2000);
    assert_eq!(dev.run(&["count"]).expect(0).text(), "2000\n");
    for workload in ["a", "b", "c", "d", "f", "get", "put"] {
        let report = bench(&dev, &["--run-only", "--seed", "7", "--workload", workload]);
        let run = &report["phases"]["run"];
        assert_eq!(run["operations"], 5000, "{workload}");
        assert!(
            run["latency_us"].as_object().unwrap().values().all(|kind| kind["p99"].as_f64().unwrap() > 0.0)
        );
    }
    let scans = bench(&dev, &["--run-only", "--seed", "7", "--workload", "e", "--operations", "200"]);
    assert!(scans["phases"]["run"]["scanned_keys"].as_u64().unwrap() > 200, "{scans}");
}

#[test]
fn threads_loops_and_runtimes_do_the_same_work() {
    let dev = Server::dev(&["--shards", "1"]);
    let multi = bench(&dev, &["--threads", "2", "--runtime", "multi", "--workload", "d"]);
    assert_eq!(
        (&multi["phases"]["load"]["operations"], &multi["phases"]["run"]["operations"]),
        (&2000.into(), &5000.into())
    );
    let open = bench(
        &dev,
        &["--run-only", "--threads", "2", "--rate", "20000", "--warm-up", "50ms", "--workload", "get"],
    );
    assert_eq!((&open["loop"], &open["phases"]["run"]["operations"]), (&"open".into(), &5000.into()));
    let timed = bench(
        &dev,
        &[
            "--run-only",
            "--time",
            "100ms",
            "--operations",
            "1000000000",
            "--key-bytes",
            "20",
            "--workload",
            "put",
        ],
    );
    assert!(timed["phases"]["run"]["operations"].as_u64().unwrap() > 0);
}

#[test]
fn faults_of_the_warm_up_are_not_counted() {
    let dev = Server::dev(&["--shards", "1"]);
    let scans = ["--load-only", "--records", "100"];
    bench(&dev, &scans);
    // Nothing is measured after the warm-up, so nothing is counted: neither keys scanned nor keys missing.
    for (workload, records) in [("e", "100"), ("c", "1000")] {
        let more = ["--run-only", "--workload", workload, "--records", records];
        let report = bench(&dev, &[&more[..], &["--warm-up", "300ms", "--time", "0ms"]].concat());
        let run = &report["phases"]["run"];
        let counted = ["operations", "scanned_keys", "missing", "wrong"].map(|name| run[name].as_u64());
        assert_eq!(counted, [Some(0); 4], "{run}");
        assert_eq!(run["client_cpu_us_per_operation"], 0.0, "the warm-up's CPU time is not counted: {run}");
    }
}

#[test]
fn a_run_that_a_signal_ended_reports_and_is_done_in_part() {
    let dev = Server::dev(&["--shards", "1"]);
    let args = ["bench", "--json", "--records", "100", "--workload", "d", "--operations", "1000000000"];
    let mut command = dev.command(&args);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = child.spawn().unwrap();
    while dev.run(&["count"]).expect(0).text().trim().parse::<u64>().unwrap() <= 100 {}
    support::signal(child.id(), libc::SIGTERM);
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(5), "{done:?}");
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["phases"]["run"]["stopped_by"], "SIGTERM");
    assert!(report["phases"]["run"]["operations"].as_u64().unwrap() > 0);
    assert!(String::from_utf8_lossy(&done.stderr).contains("stopped by SIGTERM"), "{done:?}");
}

#[test]
fn a_data_set_that_is_not_there_is_a_fault() {
    let dev = Server::dev(&[]);
    let args = ["bench", "--run-only", "--workload", "c", "--records", "10", "--operations", "100", "--json"];
    let report: Value = serde_json::from_slice(&dev.run(&args).expect(5).stdout).unwrap();
    assert_eq!(report["phases"]["run"]["missing"], 100);
    let people =
        dev.run(&["bench", "--workload", "a", "--records", "10", "--operations", "100"]).expect(0).text();
    assert!(people.contains("p99.9") && people.contains("load: 10 operations"), "{people}");
    let refused = dev.run(&["bench", "--key-bytes", "12", "--records", "1000000000"]).expect(2);
    assert!(refused.stderr.contains("--key-bytes 12"), "{refused:?}");
}
