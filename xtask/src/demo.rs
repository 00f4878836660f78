//! `cargo xtask demo`: a real data set goes in through the Python client and comes back, byte for byte, through Rust,
//! sync Python, asyncio, Node, C, Go and Kotlin.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::cluster::{self, Dev};
use crate::dataset::{self, Dataset};
use crate::kotlin;
use crate::node::Package;
use crate::project::{self, Profile};
use crate::table::{Table, thousands};
use crate::venv::Venv;
use crate::{Outcome, c, go, process};

/// Folders of demos that were kept.
const FOLDERS_MAX: u32 = 100;

/// Exits with success only if every client found every record identical.
pub fn run(arguments: &[String]) -> Outcome<bool> {
    let mut keep = false;
    let mut profile = Profile::Release;
    for argument in arguments {
        match argument.as_str() {
            "--keep" => keep = true,
            "--debug" => profile = Profile::Debug,
            other => return Err(format!("demo does not take {other:?}").into()),
        }
    }

    let slotkv = cluster::build(profile)?;
    let compare = build_compare(profile)?;
    let venv = Venv::with("demo", &[])?;
    venv.install_slotkv(if profile == Profile::Debug { &["--profile", "dev"] } else { &[] })?;

    let node = Package::build(profile)?;
    let kotlin = kotlin::Package::build(profile)?;

    let installed = c::prepare_as(profile)?;
    let source = project::root().join("examples/c/compare_file.c");
    let in_c = c::compile(&installed, "gcc", c::Language::C, c::Linkage::Static, &source)?;
    let in_go = go::prepare(installed)?.example("compare_file")?;

    let spinner = process::spinner("data set");
    let sets = dataset::produce(&dataset::dir())?;
    spinner.finish_and_clear();
    for set in &sets {
        eprintln!("{}: {} records, {} MB", set.name, thousands(set.records), set.bytes / 1_000_000);
    }

    let mut folder = Folder::new(&dataset::dir())?;
    let data = folder.path.to_string_lossy().into_owned();
    let start = if keep { Dev::start_detached } else { Dev::start };
    let cluster = start(&slotkv, &folder.name, &["--data", &data])?;
    eprintln!("cluster: {} (2 masters, 3 shards, data in {data})", cluster.uri);

    let mut table = Table::new(&["client", "data set", "records", "ops/s", "result"]);
    let mut all_identical = true;
    for client in clients(&venv, &node, &kotlin, [compare, in_c], &in_go) {
        for set in &sets {
            let found = client.run(set, &cluster.uri)?;
            all_identical &= found.is_good(set);
            table.row([
                client.name.to_owned(),
                set.name.to_owned(),
                thousands(found.records),
                thousands((found.records as f64 / found.seconds.max(1e-9)) as u64),
                found.verdict(set, client.writes),
            ]);
        }
    }

    println!("\n{}", table.text());
    if keep {
        print_how_to_connect(&cluster, &slotkv, &venv, &node);
        cluster.leave_running();
        folder.kept = true;
    } else if !cluster.stop()? {
        return Err("`slotkv dev` did not leave in an orderly way on SIGTERM".into());
    }
    println!("{}", if all_identical { "all records are byte-identical" } else { "records DIFFER" });
    Ok(all_identical)
}

/// The cluster's data: a folder of this run alone, since the cluster of an earlier one may have been kept.
struct Folder {
    /// Of the folder and of the cluster's log.
    name: String,
    path: PathBuf,
    kept: bool,
}

impl Folder {
    fn new(parent: &Path) -> Outcome<Self> {
        for number in 1..=FOLDERS_MAX {
            let name = format!("demo-{number}");
            let path = parent.join(&name);
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self { name, path, kept: false }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(format!("{}: {error}", path.display()).into()),
            }
        }
        Err(format!("{} has {FOLDERS_MAX} kept demos; remove some", parent.display()).into())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A program that writes or compares the records of a file.
struct Client {
    name: &'static str,
    writes: bool,
    program: PathBuf,
    /// What it is told before the file.
    told: Vec<PathBuf>,
}

fn clients(
    venv: &Venv,
    node: &Package,
    kotlin: &kotlin::Package,
    [rust, c]: [PathBuf; 2],
    go: &Path,
) -> [Client; 8] {
    let python = venv.bin().join("python");
    let script = |name, writes, script| Client {
        name,
        writes,
        program: python.clone(),
        told: vec![PathBuf::from(script)],
    };
    [
        script("Python asyncio, put_many", true, "xtask/demo/load.py"),
        Client { name: "Rust, get_many", writes: false, program: rust, told: Vec::new() },
        script("Python sync, get_many", false, "xtask/demo/compare_sync.py"),
        script("Python asyncio, get", false, "xtask/demo/compare_asyncio.py"),
        Client {
            name: "Node, get",
            writes: false,
            program: "node".into(),
            told: vec!["xtask/demo/compare.mjs".into(), node.folder().to_owned()],
        },
        Client {
            name: "Kotlin, get",
            writes: false,
            program: "java".into(),
            told: vec!["-cp".into(), kotlin.class_path(&[]).into(), kotlin::main_class("compare").into()],
        },
        Client { name: "C, get_many", writes: false, program: c, told: Vec::new() },
        Client { name: "Go, Get", writes: false, program: go.to_owned(), told: Vec::new() },
    ]
}

/// What a client says on its last line.
struct Found {
    records: u64,
    seconds: f64,
    different: u64,
}

impl Found {
    fn is_good(&self, set: &Dataset) -> bool {
        self.records == set.records && self.different == 0
    }

    fn verdict(&self, set: &Dataset, writes: bool) -> String {
        if self.is_good(set) {
            return if writes { "written" } else { "identical" }.to_owned();
        }
        let missing = set.records.saturating_sub(self.records);
        format!("{} {}, {missing} MISSING", self.different, if writes { "FAILED" } else { "DIFFERENT" })
    }
}

impl Client {
    /// Runs it on the records of `set`; it prints `{"done": n}` as it goes and its result at the end.
    fn run(&self, set: &Dataset, uri: &str) -> Outcome<Found> {
        let mut command = Command::new(&self.program);
        command.args(&self.told).arg(&set.file).arg(uri);
        command.current_dir(project::root()).stdin(Stdio::null()).stdout(Stdio::piped());
        let bar = process::bar(&format!("{}, {}", self.name, set.name), set.records);
        let mut child = process::tied(&mut command).spawn()?;
        let mut found = None;
        for line in BufReader::new(child.stdout.take().ok_or("no stdout")?).lines() {
            let line = line?;
            let report: Value = serde_json::from_str(&line).map_err(|error| format!("{line:?}: {error}"))?;
            if let Some(done) = report["done"].as_u64() {
                bar.set_position(done);
            } else {
                found = Some(Found {
                    records: report["records"].as_u64().ok_or("no records")?,
                    seconds: report["seconds"].as_f64().ok_or("no seconds")?,
                    different: report["different"].as_u64().ok_or("no different")?,
                });
            }
        }
        bar.finish_and_clear();
        let status = child.wait()?;
        // Differences are reported, not failed on; anything else that ends the client is an error.
        ended(found, status).map_err(|why| format!("{} {why}", self.name).into())
    }
}

/// The result of a client that ended well; one that failed afterwards may have lost more than it says.
fn ended(found: Option<Found>, status: ExitStatus) -> Result<Found, String> {
    match found {
        Some(found) if status.success() => Ok(found),
        Some(_) => Err(format!("failed after its result ({status})")),
        None => Err(format!("ended without a result ({status})")),
    }
}

fn build_compare(profile: Profile) -> Outcome<PathBuf> {
    let log = project::scratch().join("logs/cargo-compare.log");
    process::logged(
        "cargo build the Rust client",
        &log,
        project::cargo()
            .arg("build")
            .args(project::SELECTION)
            .args(["--example", "compare_file"])
            .args(profile.flags()),
    )?;
    Ok(profile.program("examples/compare_file"))
}

fn print_how_to_connect(cluster: &Dev, slotkv: &Path, venv: &Venv, node: &Package) {
    let (uri, pid) = (&cluster.uri, cluster.pid());
    println!("The cluster runs on (process {pid}, log {}):", cluster.log().display());
    println!("  shell    {} shell --uri {uri}", slotkv.display());
    println!(
        "  Python   {} -c 'import slotkv; print(slotkv.connect(\"{uri}\").count())'",
        venv.bin().join("python").display()
    );
    println!(
        "  Node     node -e 'require(\"{}\").connect(\"{uri}\").then((c) => c.count()).then(console.log)'",
        node.folder().display()
    );
    println!("  Rust     slotkv::Client::connect(\"{uri}\").await");
    println!("  stop it  kill {pid}\n");
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_client_that_fails_after_its_result_has_failed() {
        let found = || Some(Found { records: 1, seconds: 1.0, different: 0 });
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        assert!(ended(found(), exit(0)).is_ok());
        assert!(ended(found(), exit(1)).is_err_and(|why| why.contains("after its result")));
        assert!(ended(None, exit(0)).is_err());
    }

    #[test]
    fn each_demo_has_a_folder_and_removes_it_unless_it_is_kept() {
        let parent = std::env::temp_dir().join(format!("slotkv-xtask-demo-{}", std::process::id()));
        std::fs::create_dir(&parent).unwrap();
        let mut first = Folder::new(&parent).unwrap();
        let second = Folder::new(&parent).unwrap();
        assert_eq!((&*first.name, &*second.name), ("demo-1", "demo-2"));
        first.kept = true;
        let (kept, removed) = (first.path.clone(), second.path.clone());
        drop((first, second));
        assert!(kept.exists() && !removed.exists());
        std::fs::remove_dir_all(parent).unwrap();
    }
}
