//! Real ZooKeeper servers as child processes: for the tests and for `cargo xtask zookeeper`. They live in a temporary folder
//! and listen on loopback only. Each can be killed, paused, stopped and started again at the same address.
//!
//! Nothing outlives this process: dropping an [`Ensemble`] kills its servers, and where the system can (Linux), so does the
//! death of the process, however it dies.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU16, Ordering},
        mpsc,
    },
    time::Duration,
};

use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// Most servers in one ensemble.
pub const SERVERS_MAX: usize = 7;
/// Longest wait for a server that was started.
pub const READY_MAX: Duration = Duration::from_secs(60);
/// Longest wait for a server that was asked to stop; then it is killed.
pub const STOP_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a server's answer to a question about its state.
pub const ASK_MAX: Duration = Duration::from_secs(2);
/// How often a start is tried when another process takes a port that was free.
pub const START_ATTEMPTS_MAX: usize = 3;
/// Set to `1`, tests that need ZooKeeper are skipped, and say so.
pub const SKIP: &str = "SLOTKV_SKIP_ZOOKEEPER";
/// Where the jar is, if not where Debian puts it.
pub const JAR: &str = "SLOTKV_ZOOKEEPER_JAR";

const JAR_DEBIAN: &str = "/usr/share/java/zookeeper.jar";
const LOGGER_DEBIAN: &str = "/usr/share/java/slf4j-simple.jar";
const POLL: Duration = Duration::from_millis(50);
const LOG_BYTES_SHOWN: usize = 2000;

/// Why an ensemble could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum EnsembleError {
    /// Java or ZooKeeper is not installed.
    #[error(
        "{0} is missing: install ZooKeeper with `apt-get install -y --no-install-recommends zookeeper`, \
         or set {SKIP}=1 to leave out the tests that need it"
    )]
    Missing(String),
    /// A number of servers that cannot be.
    #[error("{0} servers: an ensemble has 1 to {SERVERS_MAX}")]
    Servers(usize),
    /// The system did not do what was asked.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// A server ended or did not become ready.
    #[error("ZooKeeper server {index} {why}; the end of its log:\n{log}")]
    NotReady {
        /// Which one.
        index: usize,
        /// What happened.
        why: String,
        /// Its last words.
        log: String,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> EnsembleError {
    let what = what.into();
    |source| EnsembleError::System { what, source }
}

/// What a server does in its ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerRole {
    /// Alone.
    Standalone,
    /// Decides.
    Leader,
    /// Follows.
    Follower,
}

/// Running ZooKeeper servers.
#[derive(Debug)]
pub struct Ensemble {
    servers: Vec<Server>,
    spawner: Spawner,
    _dir: TempDir,
}

#[derive(Debug)]
struct Server {
    port: u16,
    dir: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Ensemble {
    /// Whether tests that need ZooKeeper are to be skipped.
    pub fn is_skipped() -> bool {
        std::env::var_os(SKIP).is_some_and(|value| value == "1")
    }

    /// The same, and if so says that `what` is, past the test harness's capture: nobody shall take it for tested.
    pub fn skips(what: &str) -> bool {
        let skipped = Self::is_skipped();
        if skipped {
            // Nothing can be said where there is no standard error.
            let _ = writeln!(io::stderr(), "\nSKIPPED, because {SKIP}=1: {what}");
        }
        skipped
    }

    /// Starts so many servers and waits until they serve.
    pub async fn start(servers: usize) -> Result<Self, EnsembleError> {
        if !(1..=SERVERS_MAX).contains(&servers) {
            return Err(EnsembleError::Servers(servers));
        }
        let mut attempt = 1;
        loop {
            match Self::try_start(servers).await {
                Err(EnsembleError::NotReady { log, .. })
                    if attempt < START_ATTEMPTS_MAX && log.contains("BindException") =>
                {
                    attempt += 1;
                }
                started => return started,
            }
        }
    }

    async fn try_start(count: usize) -> Result<Self, EnsembleError> {
        let dir = tempfile::Builder::new()
            .prefix("slotkv-zookeeper-")
            .tempdir()
            .map_err(system("temporary folder"))?;
        let ports: Vec<[u16; 3]> = (0..count).map(|_| free_ports()).collect::<Result<_, _>>()?;
        let mut servers = Vec::new();
        for index in 0..count {
            let server = Server {
                port: ports[index][0],
                dir: dir.path().join(format!("server-{}", index + 1)),
                child: Mutex::new(None),
            };
            write_config(&server, index, &ports).map_err(system(format!("configure server {index}")))?;
            servers.push(server);
        }
        let ensemble = Self { servers, spawner: Spawner::start()?, _dir: dir };
        for index in 0..count {
            ensemble.spawn(index)?;
        }
        for index in 0..count {
            ensemble.ready(index).await?;
        }
        ensemble.settled().await?;
        Ok(ensemble)
    }

    /// How many servers there are, running or not.
    pub fn count(&self) -> usize {
        self.servers.len()
    }

    /// The servers' ports.
    pub fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(|server| server.port).collect()
    }

    /// `host:port[,host:port...]`
    pub fn address(&self) -> String {
        let servers: Vec<String> =
            self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        servers.join(",")
    }

    /// `zk://host:port[,host:port...]` followed by `root`, which is empty or begins with `/`.
    pub fn uri(&self, root: &str) -> String {
        format!("zk://{}{root}", self.address())
    }

    /// What a server does; `None` if it does not serve.
    pub async fn role(&self, index: usize) -> Option<ServerRole> {
        let answer = timeout(ASK_MAX, ask(self.servers[index].port, "srvr")).await.ok()?.ok()?;
        let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "))?;
        match mode.trim() {
            "standalone" => Some(ServerRole::Standalone),
            "leader" => Some(ServerRole::Leader),
            "follower" => Some(ServerRole::Follower),
            _ => None,
        }
    }

    /// The server that decides, once there is one: the leader, or the only one.
    pub async fn leader(&self) -> Result<usize, EnsembleError> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            for index in 0..self.count() {
                if matches!(self.role(index).await, Some(ServerRole::Leader | ServerRole::Standalone)) {
                    return Ok(index);
                }
            }
            if Instant::now() >= deadline {
                return Err(self.not_ready(0, format!("nor another one leads within {READY_MAX:?}")));
            }
            sleep(POLL).await;
        }
    }

    /// Kills a server as `kill -9` does.
    pub fn kill(&self, index: usize) {
        if let Some(mut child) = self.servers[index].child.lock().take() {
            // An error means that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops a server's clock: it keeps its connections and does nothing.
    pub fn pause(&self, index: usize) {
        self.signal(index, libc::SIGSTOP);
    }

    /// Ends a pause.
    pub fn resume(&self, index: usize) {
        self.signal(index, libc::SIGCONT);
    }

    /// Stops a server in an orderly way.
    pub async fn stop(&self, index: usize) {
        self.signal(index, libc::SIGTERM);
        let deadline = Instant::now() + STOP_MAX;
        while self.is_running(index) && Instant::now() < deadline {
            sleep(POLL).await;
        }
        self.kill(index);
    }

    /// Starts a server that was killed or stopped, on its data and at its address, and waits until it serves.
    pub async fn restart(&self, index: usize) -> Result<(), EnsembleError> {
        self.kill(index);
        self.spawn(index)?;
        self.ready(index).await
    }

    /// Waits until a server serves.
    pub async fn ready(&self, index: usize) -> Result<(), EnsembleError> {
        let deadline = Instant::now() + READY_MAX;
        while self.role(index).await.is_none() {
            if !self.is_running(index) {
                return Err(self.not_ready(index, "has ended".into()));
            }
            if Instant::now() >= deadline {
                return Err(self.not_ready(index, format!("does not serve after {READY_MAX:?}")));
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until every running server serves, one leads, and the others have fully joined it.
    ///
    /// Kill a server of three only then: ZooKeeper 3.8 that dies between taking over its leader's snapshot and noting the
    /// leader's epoch never starts again ("The current epoch is older than the last zxid").
    pub async fn settled(&self) -> Result<(), EnsembleError> {
        let deadline = Instant::now() + READY_MAX;
        while !self.is_settled().await {
            if Instant::now() >= deadline {
                return Err(self.not_ready(0, format!("and the others do not settle within {READY_MAX:?}")));
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    async fn is_settled(&self) -> bool {
        let mut leaders = 0;
        let mut epochs = Vec::new();
        for index in (0..self.count()).filter(|&index| self.is_running(index)) {
            match self.role(index).await {
                Some(ServerRole::Leader | ServerRole::Standalone) => leaders += 1,
                Some(ServerRole::Follower) => {}
                None => return false,
            }
            epochs.push(fs::read(self.servers[index].dir.join("version-2/currentEpoch")).ok());
        }
        leaders == 1 && epochs.windows(2).all(|pair| pair[0] == pair[1])
    }

    fn spawn(&self, index: usize) -> Result<(), EnsembleError> {
        let server = &self.servers[index];
        let child = self.spawner.spawn(command(server)?).map_err(system("start java"))?;
        *server.child.lock() = Some(child);
        Ok(())
    }

    fn is_running(&self, index: usize) -> bool {
        self.servers[index].child.lock().as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn signal(&self, index: usize, signal: libc::c_int) {
        if let Some(child) = self.servers[index].child.lock().as_mut()
            && matches!(child.try_wait(), Ok(None))
        {
            // SAFETY: a plain system call; the child was not reaped, so the number is still its own.
            unsafe { libc::kill(child.id() as libc::pid_t, signal) };
        }
    }

    fn not_ready(&self, index: usize, why: String) -> EnsembleError {
        let log = fs::read(self.servers[index].dir.join("log")).unwrap_or_default();
        let shown = &log[log.len().saturating_sub(LOG_BYTES_SHOWN)..];
        EnsembleError::NotReady { index, why, log: String::from_utf8_lossy(shown).into_owned() }
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        for index in 0..self.count() {
            self.kill(index);
        }
    }
}

/// Starts the children from a thread that lives as long as the ensemble: the kernel's "kill me when my parent dies" looks at
/// the parent's *thread*, and tests end theirs.
#[derive(Debug)]
struct Spawner {
    jobs: mpsc::Sender<Job>,
}

type Job = (Command, mpsc::Sender<io::Result<Child>>);

impl Spawner {
    fn start() -> Result<Self, EnsembleError> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("zookeeper-spawner".into())
            .spawn(move || {
                for (mut command, reply) in inbox {
                    // Nobody waits for the answer any more only if the ensemble is gone.
                    let _ = reply.send(command.spawn());
                }
            })
            .map_err(system("start a thread"))?;
        Ok(Self { jobs })
    }

    fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, answer) = mpsc::channel();
        let gone = |_| io::Error::other("the spawner thread is gone");
        self.jobs.send((command, reply)).map_err(|_| gone(()))?;
        answer.recv().map_err(|_| gone(()))?
    }
}

fn command(server: &Server) -> Result<Command, EnsembleError> {
    let jar = std::env::var_os(JAR).map_or_else(|| PathBuf::from(JAR_DEBIAN), PathBuf::from);
    if !jar.exists() {
        return Err(EnsembleError::Missing(jar.display().to_string()));
    }
    let java = find_on_path("java").ok_or_else(|| EnsembleError::Missing("java".into()))?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(server.dir.join("log"))
        .and_then(|log| Ok((log.try_clone()?, log)))
        .map_err(system("open the server's log"))?;
    let mut command = Command::new(java);
    command
        .args(["-Xms32m", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        // The machine does not fail with the process: what kill -9 must not lose is in the page cache.
        .args(["-Dzookeeper.forceSync=no", "-Dzookeeper.preAllocSize=1024"])
        .arg("-cp")
        .arg(format!("{}:{}:{LOGGER_DEBIAN}", server.dir.display(), jar.display()))
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
        .arg(server.dir.join("zoo.cfg"))
        .current_dir(&server.dir)
        .stdin(Stdio::null())
        .stdout(log.0)
        .stderr(log.1);
    die_with_parent(&mut command);
    Ok(command)
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec only one system call is made, which is safe there.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn write_config(server: &Server, index: usize, ports: &[[u16; 3]]) -> io::Result<()> {
    fs::create_dir_all(&server.dir)?;
    let mut config = format!(
        "tickTime=200\ninitLimit=50\nsyncLimit=15\nmaxClientCnxns=0\n\
         minSessionTimeout=400\nmaxSessionTimeout=120000\nadmin.enableServer=false\n4lw.commands.whitelist=srvr\n\
         clientPortAddress=127.0.0.1\nclientPort={}\ndataDir={}\n",
        server.port,
        escape(&server.dir)
    );
    if ports.len() > 1 {
        for (other, [_, peer, election]) in ports.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(config, "server.{}=127.0.0.1:{peer}:{election}", other + 1);
        }
        fs::write(server.dir.join("myid"), format!("{}\n", index + 1))?;
    }
    fs::write(server.dir.join("zoo.cfg"), config)
}

/// As Java's property files want it.
fn escape(path: &Path) -> String {
    path.display().to_string().replace('\\', "\\\\")
}

/// Three ports that nobody listens on now. They are below those that the system gives to outgoing connections, so that they
/// are still free when a server comes back.
fn free_ports() -> Result<[u16; 3], EnsembleError> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    let mut ports = [0; 3];
    for port in &mut ports {
        *port = (0..COUNT)
            .map(|_| {
                FIRST
                    + (start.wrapping_mul(31) % COUNT + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT
            })
            .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
            .ok_or_else(|| system("find a free port")(io::ErrorKind::AddrInUse.into()))?;
    }
    Ok(ports)
}

async fn ask(port: u16, question: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(question.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(64 << 10).read_to_string(&mut answer).await?;
    Ok(answer)
}
