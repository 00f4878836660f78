//! Workers as processes on folders that they must not or cannot serve: each is refused with the reason and the place, and
//! left as it is.

use std::{
    ffi::CString,
    fs, io,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use slotkv::{Client, Code, Outcome};
use slotkv_coordination::ensemble::Ensemble;
use slotkv_tests::{
    process::{Process, Processes},
    until,
};

/// The exit code of a server that could not start or had to stop.
const FAILED: Option<i32> = Some(3);
const KEYS: usize = 3000;

async fn client(cluster: &Processes) -> Client {
    Client::connect(&cluster.uri()).await.unwrap().with_deadline(Duration::from_secs(100))
}

async fn fill(client: &Client) {
    let pairs = (0..KEYS).map(|n| (format!("key-{n}"), format!("{n:0>200}")));
    for put in client.put_many(pairs).await {
        put.unwrap();
    }
}

async fn assert_filled(client: &Client) {
    let found = client.get_many((0..KEYS).map(|n| format!("key-{n}"))).await;
    for (n, value) in found.into_iter().enumerate() {
        assert_eq!(value.unwrap().expect("an acknowledged write"), format!("{n:0>200}"));
    }
}

/// Starts a server that cannot start; what it said.
fn refused(cluster: &Processes, name: &str, command: Command) -> String {
    let mut process = Process::spawn(command, &cluster.log(name));
    assert_eq!(process.end(), FAILED, "{}", process.log());
    process.log()
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_under(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files_under(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, &target).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_refuses_damaged_files_by_name_and_starts_when_they_are_whole_again() {
    if Ensemble::skips("workers on damaged files") {
        return;
    }
    let mut cluster = Processes::start(1, 1).await;
    let client = client(&cluster).await;
    fill(&client).await;
    cluster.workers[0].kill();
    let data = cluster.data(0);

    let segment =
        files_under(&data.join("log")).into_iter().rfind(|file| file.extension().is_some_and(|e| e == "log"));
    let segment = segment.expect("the log has a segment");
    let whole = fs::read(&segment).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 0x10;
    fs::write(&segment, &damaged).unwrap();
    let said = refused(&cluster, "damaged-log", cluster.worker(0));
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(said.contains("damaged") && said.contains(name), "{name}: {said}");
    assert_eq!(fs::read(&segment).unwrap(), damaged, "a damaged file is left as it is");
    fs::write(&segment, &whole).unwrap();

    // Cut to a third, one engine file after the other. What fjall had not been told to keep may be missing: then the log
    // makes it good. Anything else is refused. Nothing is ever served with a hole in it.
    let kept = cluster.folder().join("kept");
    copy(&data, &kept);
    let (mut refused, mut served) = (Vec::new(), Vec::new());
    for file in files_under(&kept.join("engine")) {
        let length = fs::metadata(&file).unwrap().len();
        let name = file.strip_prefix(&kept).unwrap();
        if length == 0 {
            continue;
        }
        fs::OpenOptions::new().write(true).open(data.join(name)).unwrap().set_len(length / 3).unwrap();
        let log = cluster.log(&name.display().to_string().replace('/', "-"));
        let mut worker = Process::spawn(cluster.worker(0), &log);
        match worker.ready_or_ended() {
            Ok(()) => {
                assert_filled(&client).await;
                served.push(name.to_owned());
            }
            Err(code) => {
                assert_eq!(code, FAILED, "{}", worker.log());
                let said = worker.log();
                assert!(said.contains(data.join("engine").to_str().unwrap()), "{}: {said}", name.display());
                refused.push(name.to_owned());
            }
        }
        worker.kill();
        fs::remove_dir_all(&data).unwrap();
        copy(&kept, &data);
    }
    println!("refused {refused:?}\nserved {served:?}");
    let is_table = |file: &PathBuf| file.components().any(|part| part.as_os_str() == "tables");
    assert!(refused.iter().any(is_table) && !served.iter().any(is_table), "a table that is cut is refused");

    cluster.restart_worker(0);
    cluster.workers[0].ready();
    assert_filled(&client).await;
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_in_use_or_of_another_cluster_is_refused_by_name() {
    if Ensemble::skips("workers on the folders of others") {
        return;
    }
    let mut cluster = Processes::start(1, 1).await;
    let client = client(&cluster).await;
    fill(&client).await;
    let data = cluster.data(0);

    let said = refused(&cluster, "second", cluster.worker(0));
    let pid = cluster.workers[0].pid().to_string();
    assert!(said.contains(data.to_str().unwrap()) && said.contains(&pid), "{said}");
    assert_filled(&client).await;

    let mut taken = cluster.worker(1);
    taken.args(["--shard", "0"]);
    let said = refused(&cluster, "taken", taken);
    assert!(said.contains("shard 0 has its 1 replica(s)") && said.contains("take another shard"), "{said}");

    cluster.workers[0].kill();
    let mut elsewhere = cluster.worker(0);
    elsewhere.args(["--shard", "7"]);
    let said = refused(&cluster, "elsewhere", elsewhere);
    assert!(said.contains("the data folder holds shard 0, not 7"), "{said}");
    let other = |mut command: Command| {
        command.args(["--coordinator", &cluster.ensemble.uri("/another")]);
        command
    };
    let other_member = |role: &str| {
        let mut command = slotkv_tests::process::slotkv();
        command.args([role, "--listen", "127.0.0.1:0", "--log", "info"]);
        other(command)
    };
    let mut master = other_member("master");
    master.args(["--shards", "1"]);
    let mut master = Process::spawn(master, &cluster.log("another-master"));
    master.ready();
    let mut worker = other_member("worker");
    worker.arg("--data").arg(&data);
    let said = refused(&cluster, "another", worker);
    assert!(said.contains("belongs to cluster"), "{said}");

    cluster.restart_worker(0);
    cluster.workers[0].ready();
    assert_filled(&client).await;
    client.close().await;
}

/// Room on the disk of the worker: more than the 64 MiB that it keeps free.
const DISK_BYTES: u64 = 160 << 20;

/// Makes `folder` a disk of its own that only the command's process sees, and that ends with it. Who is not root is root in
/// a user namespace of its own, which is enough for that.
fn on_small_disk(command: &mut Command, folder: &Path) {
    let folder = CString::new(folder.as_os_str().as_bytes()).unwrap();
    let size = CString::new(format!("size={DISK_BYTES}")).unwrap();
    let done = |result: i32| if result >= 0 { Ok(result) } else { Err(io::Error::last_os_error()) };
    // SAFETY: plain system calls.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let says = [
        (c"/proc/self/setgroups", "deny".to_owned()),
        (c"/proc/self/uid_map", format!("0 {user} 1")),
        (c"/proc/self/gid_map", format!("0 {group} 1")),
    ];
    // SAFETY: between fork and exec only system calls are made, on memory that was made before.
    unsafe {
        command.pre_exec(move || {
            if user == 0 {
                done(libc::unshare(libc::CLONE_NEWNS))?;
            } else {
                done(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS))?;
                for (path, text) in &says {
                    let file = done(libc::open(path.as_ptr(), libc::O_WRONLY))?;
                    done(libc::write(file, text.as_ptr().cast(), text.len()) as i32)?;
                    done(libc::close(file))?;
                }
            }
            let none = std::ptr::null();
            done(libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()))?;
            let tmpfs = c"tmpfs".as_ptr();
            done(libc::mount(tmpfs, folder.as_ptr(), tmpfs, 0, size.as_ptr().cast())).map(drop)
        });
    }
}

/// Why this machine has no small disk for us, if it has none. In CI that is a failure.
fn cannot_mount(folder: &Path) -> Option<io::Error> {
    let mut command = Command::new("true");
    on_small_disk(&mut command, folder);
    let error = command.status().err()?;
    assert!(std::env::var_os("CI").is_none(), "CI must be able to mount a tmpfs: {error}");
    Some(error)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_serves_reads_until_there_is_room() {
    if Ensemble::skips("a full disk") {
        return;
    }
    let mut cluster = Processes::start(1, 0).await;
    let data = cluster.data(0);
    fs::create_dir(&data).unwrap();
    if let Some(error) = cannot_mount(&data) {
        eprintln!("\nSKIPPED, because this user may not mount a tmpfs ({error}): a full disk");
        return;
    }
    let mut worker = cluster.worker(0);
    on_small_disk(&mut worker, &data);
    let worker = Process::spawn(worker, &cluster.log("worker-0"));
    cluster.workers.push(worker);
    cluster.workers[0].ready();
    let client = client(&cluster).await;
    fill(&client).await;

    // The disk as the worker sees it.
    let seen = Path::new("/proc").join(cluster.workers[0].pid().to_string()).join("root");
    let filler = seen.join(data.strip_prefix("/").unwrap()).join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let full = loop {
        if let Err(error) = io::Write::write_all(&mut file, &[1; 64 << 10]) {
            break error;
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    let impatient = client.with_deadline(Duration::from_secs(2));
    until("a write is refused because the disk is full", async || {
        match impatient.put("refused", "v").await {
            Err(error) if error.code == Code::ReadOnly => {
                assert_eq!(error.outcome, Outcome::Failed);
                assert!(error.message.contains("free"), "{error}");
                true
            }
            Ok(_) | Err(_) => false,
        }
    })
    .await;
    assert_filled(&client).await;

    drop(file);
    fs::remove_file(&filler).unwrap();
    until("writes go on", async || impatient.put("taken", "v").await.is_ok()).await;
    assert_filled(&client).await;
    client.close().await;
}
