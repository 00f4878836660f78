//! How long a backup takes until it is in sync again: one that was away by the log, a new one by a snapshot.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::table::Table;
use crate::{Outcome, process};

use super::replicas::{Replicas, Shape};

const RECORDS: u64 = 1_000_000;
/// One in a hundred.
const CHANGES: u64 = RECORDS / 100;
const KEY_BYTES: u64 = 16;
const VALUE_BYTES: u64 = 100;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest time until the backup is out of the in-sync set, or in it again.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A backup's way back.
struct Row {
    name: &'static str,
    ready: Duration,
    written: Option<u64>,
    /// Most resident memory of the backup and of the primary meanwhile.
    backup_rss: u64,
    primary_rss: u64,
}

/// Runs both.
pub fn run(slotkv: &Path, dir: &Path) -> Outcome<Table> {
    // The log would do for a new backup, too, if all of it were kept.
    let more: &[&str] = &["--retain-bytes", "64MiB"];
    let shape = Shape { zookeepers: 1, masters: 1, shards: 1, replicas: 3, durability: "sync", more };
    let mut cluster = Replicas::start(slotkv, dir, &shape)?;
    let bench = |uri: &str, more: &[&str]| -> Outcome<()> {
        let mut command = Command::new(slotkv);
        command.args(["bench", "--json", "--uri", uri, "--workload", "put", "--in-flight", "500"]);
        command.args(["--records", &RECORDS.to_string(), "--value-bytes", &VALUE_BYTES.to_string()]);
        process::output(command.args(more)).map(|_| ())
    };
    let uri = cluster.uri.clone();
    bench(&uri, &["--load-only"])?;
    let change = ["--run-only", "--operations", &CHANGES.to_string()];
    let by_log = way_back(&mut cluster, "restarted, 1 % changed meanwhile", true, || bench(&uri, &change))?;
    let by_snapshot = way_back(&mut cluster, "new, without data", false, || bench(&uri, &change))?;
    cluster.stop()?;

    let mut table = Table::new(&[
        "backup, 1,000,000 keys",
        "in sync after, s",
        "MB/s",
        "written, MB",
        "RSS, MB",
        "primary's",
    ]);
    let mb = |bytes: u64| format!("{:.0}", bytes as f64 / 1e6);
    for row in [by_log, by_snapshot] {
        let seconds = row.ready.as_secs_f64();
        let rate =
            row.written.map_or("-".to_owned(), |written| format!("{:.0}", written as f64 / 1e6 / seconds));
        table.row([
            row.name.to_owned(),
            format!("{seconds:.2}"),
            rate,
            row.written.map_or("-".to_owned(), mb),
            mb(row.backup_rss),
            mb(row.primary_rss),
        ]);
    }
    Ok(table)
}

fn way_back(
    cluster: &mut Replicas,
    name: &'static str,
    with_data: bool,
    meanwhile: impl FnOnce() -> Outcome<()>,
) -> Outcome<Row> {
    let backup = cluster.backup(0).ok_or("the shard has no backup")?;
    cluster.kill(backup)?;
    wait("the backup to leave", || !cluster.is_whole())?;
    meanwhile()?;
    let begun = Instant::now();
    cluster.restart(backup, with_data)?;
    let primary = cluster.leader(0).ok_or("the shard has no primary")?;
    let (backup_pid, primary_pid) = (cluster.pid(backup), cluster.pid(primary));
    let (mut backup_rss, mut primary_rss) = (0, 0);
    wait("the backup to be in sync", || {
        backup_rss = backup_rss.max(resident(backup_pid));
        primary_rss = primary_rss.max(resident(primary_pid));
        cluster.is_whole()
    })?;
    let ready = begun.elapsed();
    if !with_data && !cluster.took_snapshot(backup) {
        return Err("the new backup was joined by the log, not by a snapshot".into());
    }
    // Keys and values alone: what had to be moved.
    let written = (!with_data).then_some(RECORDS * (KEY_BYTES + VALUE_BYTES));
    Ok(Row { name, ready, written, backup_rss, primary_rss })
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) -> Outcome<()> {
    let end = Instant::now() + TIMEOUT;
    while !is_so() {
        if Instant::now() > end {
            return Err(format!("waited {} s for {what}", TIMEOUT.as_secs()).into());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Resident bytes of a process.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
