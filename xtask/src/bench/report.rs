//! What the benches say: a table on the terminal, docs/benchmarks.md, and JSON for programs.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::table::{Table, thousands};
use crate::{Outcome, process, project};

use super::comparison::{Group, Row, Side};
use super::etcd::Etcd;
use super::redis_cluster::RedisCluster;
use super::{PEERS, Setting, ours};

/// Behind such a line, up to [`END`], docs/benchmarks.md is written by the benches; the text around is people's.
const BEGINS: [(Group, &str); 2] = [
    (Group::Cluster, "<!-- written by cargo xtask bench -->"),
    (Group::Bindings, "<!-- written by cargo xtask bench bindings -->"),
];
const END: &str = "<!-- end -->";

/// For the terminal.
pub fn text(rows: &[Row]) -> String {
    speeds(rows, |row| row.comparison.name.to_owned()).text()
        + "\n"
        + &costs(rows, |row| row.comparison.name.to_owned()).text()
}

/// Replaces the written part of docs/benchmarks.md.
pub fn write_markdown(setting: &Setting, group: Group, rows: &[Row], command: &str) -> Outcome<()> {
    let line = BEGINS.iter().find(|(known, _)| *known == group).map_or("", |(_, line)| line);
    let part = format!(
        "`{command}`, {}, medians of {} alternating rounds, {} keys.\n\n{}\n\n{}\n{}\n{}",
        date(),
        setting.rounds,
        thousands(setting.records),
        machine(setting),
        speeds(rows, |row| format!(
            "**{}**: {} beside {}",
            row.comparison.name, row.comparison.ours, row.comparison.peer
        ))
        .markdown(),
        "CPU time per operation and latency, in microseconds, slotkv / peer:\n",
        costs(rows, |row| row.comparison.name.to_owned()).markdown(),
    );
    replace(line, &part)
}

/// Replaces the part that is written by `cargo xtask bench VERB`.
pub fn write_part(verb: &str, command: &str, what: &str, tables: &str) -> Outcome<()> {
    let line = format!("<!-- written by cargo xtask bench {verb} -->");
    replace(&line, &format!("`{command}`, {}, {what}\n\n{tables}", date()))
}

fn replace(line: &str, part: &str) -> Outcome<()> {
    let file = project::root().join("docs/benchmarks.md");
    let old = fs::read_to_string(&file)?;
    let begin = old.find(line);
    let Some((begin, end)) = begin.and_then(|begin| Some((begin, begin + old.get(begin..)?.find(END)?)))
    else {
        return Err(format!("{} lacks the lines {line} and {END}", file.display()).into());
    };
    fs::write(&file, format!("{}{line}\n\n{part}\n{}", &old[..begin], &old[end..]))?;
    eprintln!("wrote {}", file.display());
    Ok(())
}

/// All figures, under the target directory.
pub fn write_json(setting: &Setting, rows: &[Row], command: &str) -> Outcome<()> {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "name": row.comparison.name,
                "ours": side(&row.ours, row.comparison.ours),
                "peer": side(&row.peer, row.comparison.peer),
                "ratio": row.ratio,
                "target": row.comparison.target,
                "writes_per_sync": row.writes_per_sync,
                "writes_per_sync_min": row.comparison.writes_per_sync_min,
                "met": row.is_met(),
            })
        })
        .collect();
    let report = json!({
        "command": command,
        "date": date(),
        "machine": machine(setting),
        "rounds": setting.rounds,
        "records": setting.records,
        "rows": rows,
    });
    let file = project::scratch().join("bench.json");
    fs::write(&file, serde_json::to_vec_pretty(&report)?)?;
    eprintln!("wrote {}", file.display());
    Ok(())
}

fn side(side: &Side, what: &str) -> Value {
    json!({
        "what": what,
        "operations_per_second": side.rate,
        "client_cpu_us": side.client_us,
        "servers_cpu_us": side.servers_us,
        "p50_us": side.p50_us,
        "p99_us": side.p99_us,
    })
}

fn speeds(rows: &[Row], name: impl Fn(&Row) -> String) -> Table {
    let mut table =
        Table::new(&["row", "slotkv ops/s", "peer ops/s", "ratio", "wanted", "met", "writes per fsync"]);
    for row in rows {
        let wanted = row.comparison.target;
        table.row([
            name(row),
            thousands(row.ours.rate as u64),
            thousands(row.peer.rate as u64),
            format!("{:.2}", row.ratio),
            if wanted > 0.0 { format!("{wanted:.1}") } else { "-".to_owned() },
            match row.is_met() {
                _ if wanted == 0.0 => "",
                true => "yes",
                false => "no",
            }
            .to_owned(),
            writes_per_sync(row),
        ]);
    }
    table
}

/// How many writes share an fsync, and whether they are as many as wanted.
fn writes_per_sync(row: &Row) -> String {
    let Some(wanted) = row.comparison.writes_per_sync_min else { return String::new() };
    let found = row.writes_per_sync.map_or("not measured".to_owned(), |found| format!("{found:.0}"));
    let met = if row.is_synced_in_groups() { "met" } else { "missed" };
    format!("{found} ({wanted:.0} wanted: {met})")
}

fn costs(rows: &[Row], name: impl Fn(&Row) -> String) -> Table {
    let mut table = Table::new(&["row", "CPU client", "CPU servers", "p50", "p99"]);
    let pair = |ours: f64, peer: f64| format!("{ours:.1} / {peer:.1}");
    let maybe = |ours: Option<f64>, peer: Option<f64>| {
        let text = |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.0}"));
        format!("{} / {}", text(ours), text(peer))
    };
    for row in rows {
        table.row([
            name(row),
            pair(row.ours.client_us, row.peer.client_us),
            pair(row.ours.servers_us, row.peer.servers_us),
            maybe(row.ours.p50_us, row.peer.p50_us),
            maybe(row.ours.p99_us, row.peer.p99_us),
        ]);
    }
    table
}

/// One line on the machine and the versions.
fn machine(setting: &Setting) -> String {
    let disk = if ours::is_tmpfs(&setting.dir) {
        "data in memory (tmpfs): a sync costs nothing"
    } else {
        "data on disk"
    };
    format!("{}; {disk}; {}", cpu(), versions())
}

/// The same for what runs beside etcd.
pub fn replicated_machine() -> String {
    format!("{}; etcd {}; {}", cpu(), Etcd::version(), versions())
}

fn cpu() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |rest| rest.trim_start_matches([' ', '\t', ':']));
    format!("{model}, {} cores", std::thread::available_parallelism().map_or(0, usize::from))
}

fn versions() -> String {
    format!(
        "slotkv {} ({}); Redis {}; {}; Node's {}.",
        env!("CARGO_PKG_VERSION"),
        first_line(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(project::root())),
        RedisCluster::version(),
        PEERS.map(|peer| peer.replace("==", " ")).join(", "),
        node_peers().unwrap_or_default().join(", "),
    )
}

/// Names and versions that benches/node pins.
fn node_peers() -> Option<Vec<String>> {
    let text = fs::read_to_string(project::root().join("benches/node/package.json")).ok()?;
    let package: Value = serde_json::from_str(&text).ok()?;
    let pinned = package["dependencies"].as_object()?.iter();
    Some(pinned.map(|(name, version)| format!("{name} {}", version.as_str().unwrap_or("?"))).collect())
}

fn date() -> String {
    first_line(Command::new("date").args(["-u", "+%Y-%m-%d"]))
}

fn first_line(command: &mut Command) -> String {
    let out = process::output(command).unwrap_or_default();
    String::from_utf8_lossy(&out).lines().next().unwrap_or("?").to_owned()
}
