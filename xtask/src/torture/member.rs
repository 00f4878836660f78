//! Servers as processes that are killed, paused and started again: ZooKeeper, masters and workers, each on its host.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::hosts::Host;
use super::link::Link;
use crate::{Outcome, process};

/// Ports, the same on every host.
pub const ZOOKEEPER_PORT: u16 = 2181;
pub const PORT: u16 = 7700;
/// Bytes of a worker's disk and of ZooKeeper's.
pub const DISK_BYTES: u64 = 192 << 20;
const JAR: &str = "/usr/share/java/zookeeper.jar";
const LOGGER: &str = "/usr/share/java/slf4j-simple.jar";
/// A server that ended by itself is started again after so long.
const REST: Duration = Duration::from_secs(1);
const ASK_MAX: Duration = Duration::from_secs(1);

/// What a member is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    ZooKeeper,
    Master,
    Worker { shard: usize },
}

/// One server: how it is started, and its process while there is one.
pub struct Member {
    pub name: String,
    pub role: Role,
    /// Its number among the hosts.
    pub host: usize,
    /// Where its data is.
    pub data: PathBuf,
    arguments: Vec<String>,
    program: PathBuf,
    log: PathBuf,
    orders: Option<Orders>,
    child: Option<Child>,
    /// Not started again before the nemesis says so.
    is_held: bool,
    /// Its end is no surprise until then.
    excused_until: Option<Instant>,
    ended: Option<Instant>,
    /// Times that it ended by itself, and ends that nothing explains.
    pub exits: usize,
    pub surprises: Vec<String>,
}

/// What the preloaded library does to a process.
struct Orders {
    library: PathBuf,
    file: PathBuf,
}

impl Member {
    /// A server of ZooKeeper; `all` are the addresses of its ensemble.
    pub fn zookeeper(name: &str, host: usize, own: usize, all: &[String], folder: &Path) -> Outcome<Self> {
        let data = folder.join(name);
        super::hosts::mount_disk(&data, DISK_BYTES)?;
        fs::write(data.join("myid"), format!("{}\n", own + 1))?;
        let mut config = format!(
            "tickTime=200\ninitLimit=50\nsyncLimit=15\nmaxClientCnxns=0\nminSessionTimeout=400\n\
             maxSessionTimeout=120000\nadmin.enableServer=false\n4lw.commands.whitelist=srvr\n\
             clientPortAddress={}\nclientPort={ZOOKEEPER_PORT}\ndataDir={}\n",
            all[own],
            data.display()
        );
        for (at, address) in all.iter().enumerate() {
            config += &format!("server.{}={address}:2888:3888\n", at + 1);
        }
        let file = data.join("zoo.cfg");
        fs::write(&file, config)?;
        let arguments = ["-Xms32m", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
            .into_iter()
            .chain(["-Dzookeeper.preAllocSize=1024", "-cp"])
            .map(str::to_owned)
            .chain([format!("{}:{JAR}:{LOGGER}", data.display())])
            .chain(["org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned()])
            .chain([file.display().to_string()])
            .collect();
        Ok(Self::new(name, Role::ZooKeeper, host, data, "java".into(), arguments, folder, None))
    }

    /// A master or a worker.
    pub fn slotkv(
        (name, role): (&str, Role),
        host: usize,
        (program, library): (&Path, &Path),
        arguments: Vec<String>,
        folder: &Path,
    ) -> Outcome<Self> {
        let data = folder.join(name);
        if role != Role::Master {
            super::hosts::mount_disk(&data, DISK_BYTES)?;
        }
        let file = folder.join(format!("{name}.orders"));
        fs::write(&file, [0; 16])?;
        let orders = Orders { library: library.to_owned(), file };
        Ok(Self::new(name, role, host, data, program.to_owned(), arguments, folder, Some(orders)))
    }

    #[expect(clippy::too_many_arguments, reason = "all of them are fields, and two functions above call it")]
    fn new(
        name: &str,
        role: Role,
        host: usize,
        data: PathBuf,
        program: PathBuf,
        arguments: Vec<String>,
        folder: &Path,
        orders: Option<Orders>,
    ) -> Self {
        let log = folder.join(format!("{name}.log"));
        Self {
            name: name.to_owned(),
            role,
            host,
            data,
            arguments,
            program,
            log,
            orders,
            child: None,
            is_held: false,
            excused_until: None,
            ended: None,
            exits: 0,
            surprises: Vec::new(),
        }
    }

    /// Starts it, unless it runs.
    pub fn start(&mut self, host: &Host) -> Outcome<()> {
        if self.child.is_some() {
            return Ok(());
        }
        (self.is_held, self.ended) = (false, None);
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command: Command = host.command(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if let Some(orders) = &self.orders {
            command.env("LD_PRELOAD", &orders.library).env("SLOTKV_TORTURE_ORDERS", &orders.file);
        }
        let started = command.spawn();
        self.child = Some(started.map_err(|error| format!("cannot start {}: {error}", self.name))?);
        Ok(())
    }

    /// SIGKILL; it stays away until it is started.
    pub fn kill(&mut self) -> Outcome<()> {
        self.is_held = true;
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGSTOP, or SIGCONT.
    pub fn pause(&mut self, is_paused: bool) {
        if let Some(child) = &self.child {
            let signal = if is_paused { libc::SIGSTOP } else { libc::SIGCONT };
            // SAFETY: a plain system call on the id of a child that has not been waited for.
            unsafe { libc::kill(child.id() as libc::pid_t, signal) };
        }
    }

    /// Has every sync fail, or none.
    pub fn fail_syncs(&mut self, is_failing: bool) -> Outcome<()> {
        self.order(0, if is_failing { i64::from(libc::EIO) } else { 0 })
    }

    /// Sets its wall clock off by so much.
    pub fn set_clock(&mut self, seconds: i64) -> Outcome<()> {
        self.order(8, seconds)
    }

    fn order(&mut self, at: u64, what: i64) -> Outcome<()> {
        if let Some(orders) = &self.orders {
            File::options().write(true).open(&orders.file)?.write_all_at(&what.to_ne_bytes(), at)?;
        }
        Ok(())
    }

    /// Takes all that is left of its disk, or gives it back.
    pub fn fill_disk(&mut self, is_full: bool) -> Outcome<()> {
        let file = self.data.join("ballast");
        if !is_full {
            return Ok(fs::remove_file(file).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?);
        }
        let mut file = File::create(file)?;
        for bytes in [1 << 20, 4 << 10, 1] {
            while file.write_all(&vec![0; bytes]).is_ok() {}
        }
        Ok(())
    }

    /// An end by itself is no surprise for so long.
    pub fn excuse(&mut self, length: Duration) {
        self.excused_until = Some(Instant::now() + length);
    }

    /// Looks whether it still runs, and starts it again if it ended by itself a while ago.
    pub fn look_after(&mut self, host: &Host) -> Outcome<()> {
        if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
            self.child = None;
            self.ended = Some(Instant::now());
            self.note(status);
        }
        match self.ended {
            Some(ended) if !self.is_held && ended.elapsed() >= REST => self.start(host),
            _ => Ok(()),
        }
    }

    fn note(&mut self, status: ExitStatus) {
        self.exits += 1;
        if self.excused_until.is_none_or(|until| Instant::now() > until) {
            let log = process::tail(&self.log);
            let last: Vec<&str> = log.lines().rev().take(3).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            self.surprises.push(format!("{} ended by itself ({status}): {}", self.name, last.join(" | ")));
        }
    }

    /// The lines of its log that no server should write.
    pub fn panics(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let panics = log.lines().filter(|line| line.contains("panicked at"));
        panics.map(|line| format!("{}: {line}", self.name)).collect()
    }

    /// What a server of ZooKeeper says it is: `leader`, `follower`.
    pub fn mode(&self, host: &Host) -> Option<String> {
        let address = SocketAddr::from((host.address, ZOOKEEPER_PORT));
        let ask = || -> io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&address, ASK_MAX)?;
            stream.set_read_timeout(Some(ASK_MAX))?;
            stream.write_all(b"srvr")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = host.within(ask).ok()?.ok()?;
        answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// Its link, to be led through a proxy.
    pub fn link(&self, host: &Host) -> Outcome<Link> {
        Link::new(host, PORT)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill().ok();
    }
}
