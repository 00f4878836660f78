//! Clusters of the real binary: [`Cluster`], one process for the scenarios, and [`Split`], a process per member, so that
//! workers can be killed. Each surface has its own, so that versions are the same for all.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use crate::proxy::Proxy;

/// Longest time until a member serves.
const READY_MAX: Duration = Duration::from_secs(60);
/// Workers of a [`Split`], and shards.
const WORKERS: usize = 2;
/// After how long the coordinator takes a killed worker for dead: its successor waits for that.
const SESSION: &str = "3s";

/// A running `slotkv dev`.
pub struct Cluster {
    _server: Server,
    uri: String,
}

impl Cluster {
    /// Starts one on free ports; its log is our standard error.
    pub fn start(slotkv: &Path) -> io::Result<Self> {
        let mut server = Server::start(Command::new(slotkv).args(["dev", "--port", "0", "--log", "error"]))?;
        let uri = server.ready()?;
        Ok(Self { _server: server, uri })
    }

    /// Where it is.
    pub fn uri(&self) -> &str {
        &self.uri
    }
}

/// A master and workers that clients reach through proxies. Fields are dropped in order: members first.
pub struct Split {
    slotkv: PathBuf,
    coordinator: String,
    workers: Vec<Server>,
    _master: Server,
    proxies: Vec<Proxy>,
    folder: Folder,
    uri: String,
}

impl Split {
    /// Starts one at a place of its own under `coordinator` (`zk://host:port`); the seed is the proxies'.
    pub fn start(slotkv: &Path, coordinator: &str, seed: u64) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("conformance-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let coordinator = format!("{coordinator}/{name}");
        let folder = Folder(std::env::temp_dir().join(format!("slotkv-{name}")));
        fs::create_dir_all(&folder.0)?;
        let mut master = Server::start(
            Command::new(slotkv)
                .args(["master", "--listen", "127.0.0.1:0", "--log", "error", "--session", SESSION])
                .args(["--coordinator", &coordinator, "--shards", &WORKERS.to_string()]),
        )?;
        let uri = master.ready()?;
        let proxies = (0..WORKERS as u64).map(|worker| Proxy::start(seed.wrapping_add(worker)));
        let mut split = Self {
            slotkv: slotkv.to_owned(),
            coordinator,
            workers: Vec::new(),
            _master: master,
            proxies: proxies.collect::<io::Result<_>>()?,
            folder,
            uri,
        };
        for worker in 0..WORKERS {
            let server = split.worker(worker)?;
            split.workers.push(server);
        }
        split.await_workers()?;
        Ok(split)
    }

    fn worker(&self, worker: usize) -> io::Result<Server> {
        let proxy = &self.proxies[worker];
        Server::start(
            Command::new(&self.slotkv)
                .args(["worker", "--log", "error", "--session", SESSION])
                .args(["--listen", proxy.server(), "--advertise", proxy.address()])
                .args(["--coordinator", &self.coordinator, "--shard", &worker.to_string()])
                // Small, so that restarts meet truncated logs.
                .args(["--checkpoint-bytes", "256KiB", "--data"])
                .arg(self.folder.0.join(worker.to_string())),
        )
    }

    /// Where it is.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Kills a worker as a power cut would and starts it again on its data, without waiting for it.
    pub fn crash(&mut self, worker: usize) -> io::Result<()> {
        self.workers[worker].kill();
        self.workers[worker] = self.worker(worker)?;
        Ok(())
    }

    /// Waits until every worker that was started serves.
    pub fn await_workers(&mut self) -> io::Result<()> {
        self.workers.iter_mut().try_for_each(|worker| worker.ready().map(|_| ()))
    }

    /// Connections that the proxies have cut or let go silent.
    pub fn cuts(&self) -> usize {
        self.proxies.iter().map(Proxy::cuts).sum()
    }
}

/// Removed at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A process of the cluster. Dropped, it is killed, and by the kernel when this process dies.
struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
    uri: Option<String>,
}

impl Server {
    fn start(command: &mut Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // SAFETY: between fork and exec only one system call is made, which is safe there.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines, uri: None })
    }

    /// Waits until it serves: its URI.
    fn ready(&mut self) -> io::Result<String> {
        loop {
            if let Some(uri) = &self.uri {
                return Ok(uri.clone());
            }
            let line =
                self.lines.recv_timeout(READY_MAX).map_err(|_| io::Error::other("slotkv is not ready"))?;
            self.uri = line.strip_prefix("ready ").map(str::to_owned);
        }
    }

    fn kill(&mut self) {
        // An error means that it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
