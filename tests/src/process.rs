//! Masters and workers as processes of the real binary, on a real ZooKeeper, in one temporary folder. A test kills and
//! starts them one by one. Nothing outlives the test: each process is killed when its [`Process`] is dropped, and by the
//! kernel when the test dies.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use slotkv_coordination::ensemble::Ensemble;
use tempfile::TempDir;

use crate::WAIT_MAX;

/// Session timeout of the members, as their flag has it.
pub const SESSION: &str = "3s";

/// The binary, without any `SLOTKV_*` variable of the caller.
pub fn slotkv() -> Command {
    let test = std::env::current_exe().expect("the test has a path");
    let folder = test.parent().and_then(Path::parent).expect("tests are in target/PROFILE/deps");
    let mut command = Command::new(folder.join("slotkv-member"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SLOTKV_") {
            command.env_remove(name);
        }
    }
    command
}

/// A running server.
pub struct Process {
    child: Child,
    /// Lines of its standard output.
    lines: mpsc::Receiver<String>,
    log: PathBuf,
    uri: String,
}

impl Process {
    /// Starts a server; its log is appended to the file `log`.
    pub fn spawn(mut command: Command, log: &Path) -> Self {
        let stderr = File::options().create(true).append(true).open(log).expect("the log can be written");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        // SAFETY: between fork and exec only one system call is made, which is safe there.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        let mut child = command.spawn().expect("the binary starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, log: log.to_owned(), uri: String::new() }
    }

    /// Waits for the ready line.
    pub fn ready(&mut self) {
        if let Err(code) = self.ready_or_ended() {
            panic!("ended with {code:?} instead of being ready");
        }
    }

    /// Waits until it is ready, or has ended because it cannot be: its exit code.
    pub fn ready_or_ended(&mut self) -> Result<(), Option<i32>> {
        match self.lines.recv_timeout(WAIT_MAX) {
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(self.end()),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                panic!("neither ready nor ended; its log:\n{}", self.log())
            }
            Ok(line) => {
                self.uri = line.strip_prefix("ready ").expect("the ready line").trim_end().to_owned();
                Ok(())
            }
        }
    }

    /// Whether it runs and is not ready yet.
    pub fn is_waiting(&mut self) -> bool {
        let is_silent = matches!(self.lines.try_recv(), Err(mpsc::TryRecvError::Empty));
        is_silent && self.child.try_wait().is_ok_and(|ended| ended.is_none())
    }

    /// `slotkv://host:port`, once it is ready.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// `host:port`, once it is ready.
    pub fn address(&self) -> &str {
        self.uri.strip_prefix("slotkv://").expect("it is ready")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged, all its predecessors on the same file included.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// `kill -9`. Returns when it is gone.
    pub fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks for an orderly end and waits for it: the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        // SAFETY: a plain system call; the child was not reaped, so the number is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        self.end()
    }

    /// Waits until it has ended: the exit code.
    pub fn end(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < WAIT_MAX {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it still runs; its log:\n{}", self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

/// Masters and workers on a ZooKeeper of one server. Fields are dropped in order: members first.
pub struct Processes {
    /// The masters.
    pub masters: Vec<Process>,
    /// The workers; each keeps its folder over restarts, and gets a new port.
    pub workers: Vec<Process>,
    /// The ZooKeeper.
    pub ensemble: Ensemble,
    folder: TempDir,
}

impl Processes {
    /// Starts a cluster and waits until every member is ready.
    pub async fn start(masters: usize, workers: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("slotkv-tests-").tempdir().expect("a folder");
        let ensemble = Ensemble::start(1).await.expect("ZooKeeper starts");
        let mut cluster = Self { masters: Vec::new(), workers: Vec::new(), ensemble, folder };
        for index in 0..masters {
            let process = Process::spawn(cluster.master(workers), &cluster.log(&format!("master-{index}")));
            cluster.masters.push(process);
        }
        for index in 0..workers {
            let process = Process::spawn(cluster.worker(index), &cluster.log(&format!("worker-{index}")));
            cluster.workers.push(process);
        }
        cluster.masters.iter_mut().chain(&mut cluster.workers).for_each(Process::ready);
        cluster
    }

    /// The URI of all masters.
    pub fn uri(&self) -> String {
        let addresses: Vec<&str> = self.masters.iter().map(Process::address).collect();
        format!("slotkv://{}", addresses.join(","))
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data folder of a worker.
    pub fn data(&self, index: usize) -> PathBuf {
        self.folder().join(format!("data-{index}"))
    }

    /// The file that a member of this name logs to.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}.log"))
    }

    /// A server of this cluster, not started.
    pub fn member(&self, role: &str) -> Command {
        let mut command = slotkv();
        command.args([role, "--listen", "127.0.0.1:0", "--log", "info", "--session", SESSION]);
        command.args(["--coordinator", &self.ensemble.uri("/slotkv")]);
        command
    }

    fn master(&self, shards: usize) -> Command {
        let mut command = self.member("master");
        command.args(["--shards", &shards.max(1).to_string()]);
        command
    }

    /// A worker on its folder, not started. Its checkpoints are small, so that restarts meet truncated logs.
    pub fn worker(&self, index: usize) -> Command {
        let mut command = self.member("worker");
        command.args(["--checkpoint-bytes", "256KiB", "--cache-bytes", "4MiB", "--data"]);
        command.arg(self.data(index));
        command
    }

    /// Starts a master again, at a new port.
    pub fn restart_master(&mut self, index: usize) {
        self.masters[index].kill();
        let process = Process::spawn(self.master(self.workers.len()), &self.masters[index].log);
        self.masters[index] = process;
    }

    /// Starts a worker again on its folder, at a new port.
    pub fn restart_worker(&mut self, index: usize) {
        self.workers[index].kill();
        let process = Process::spawn(self.worker(index), &self.workers[index].log);
        self.workers[index] = process;
    }
}
