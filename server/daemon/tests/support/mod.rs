//! Starts the real binary: servers with their ready line, commands with their output. Everything a test starts ends with
//! it.
#![allow(dead_code)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    sync::{
        atomic::{AtomicU16, Ordering::Relaxed},
        mpsc,
    },
    time::{Duration, Instant},
};

/// How long a server may take until it is ready.
const READY_MAX: Duration = Duration::from_secs(60);

/// The binary, without any `SLOTKV_*` variable of the caller.
pub fn slotkv() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slotkv"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SLOTKV_") {
            command.env_remove(name);
        }
    }
    command
}

/// A server process; killed when dropped.
pub struct Server {
    child: Child,
    /// Its lines, as they come.
    stdout: mpsc::Receiver<String>,
    /// The same of its log, if the test reads it.
    log: Option<mpsc::Receiver<String>>,
    /// From the ready line.
    pub uri: String,
}

impl Server {
    /// Starts the binary with these arguments and waits until it is ready.
    pub fn start(args: &[&str]) -> Self {
        let mut server = Self::spawn(args);
        server.wait_until_ready();
        server
    }

    /// Starts this command and waits until it is ready.
    pub fn start_command(command: Command) -> Self {
        let mut server = Self::spawn_command(command);
        server.wait_until_ready();
        server
    }

    /// Starts the binary with these arguments.
    pub fn spawn(args: &[&str]) -> Self {
        let mut command = slotkv();
        command.args(args);
        Self::spawn_command(command)
    }

    /// The same, and the test reads its log.
    pub fn spawn_logged(args: &[&str]) -> Self {
        let mut command = slotkv();
        command.args(args).stderr(Stdio::piped());
        Self::spawn_command(command)
    }

    fn spawn_command(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the binary starts");
        let stdout = lines(child.stdout.take().expect("stdout is piped"));
        let log = child.stderr.take().map(lines);
        Self { child, stdout, log, uri: String::new() }
    }

    /// Reads its log up to a line that has this in it.
    #[track_caller]
    pub fn wait_until_logged(&self, part: &str) -> String {
        let log = self.log.as_ref().expect("its log is read");
        let (end, mut seen) = (Instant::now() + READY_MAX, String::new());
        loop {
            match log.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => seen.push_str(&line),
                Err(why) => panic!("{why}: no {part:?} in its log: {seen}"),
            }
        }
    }

    /// Reads the ready line.
    #[track_caller]
    pub fn wait_until_ready(&mut self) {
        let line = match self.stdout.recv_timeout(READY_MAX) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("not ready after {READY_MAX:?}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => String::new(),
        };
        self.uri = uri_of(&line);
    }

    /// `slotkv dev` on free ports.
    pub fn dev(more: &[&str]) -> Self {
        Self::start(&[&["dev", "--port", "0", "--log", "warn"], more].concat())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and waits: the exit code, and what came on stdout after the ready line.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        signal(self.child.id(), libc::SIGTERM);
        self.end()
    }

    /// Waits until it has ended.
    pub fn end(&mut self) -> (Option<i32>, String) {
        let rest = self.stdout.iter().collect();
        (self.child.wait().expect("the child is waited for").code(), rest)
    }

    /// A command against this server.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = slotkv();
        command.args(args).env("SLOTKV_URI", &self.uri);
        command
    }

    /// Runs a command against this server.
    pub fn run(&self, args: &[&str]) -> Done {
        run(self.command(args), b"")
    }

    /// Runs a command that reads this from its stdin.
    pub fn run_with(&self, args: &[&str], stdin: &[u8]) -> Done {
        run(self.command(args), stdin)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a ready line names.
#[track_caller]
fn uri_of(line: &str) -> String {
    let uri = line.strip_prefix("ready ").map(|uri| uri.trim_end().to_owned());
    uri.unwrap_or_else(|| panic!("said {line:?} instead of being ready"))
}

/// The lines of what a server writes, with their ends, read by a thread, so that a test can wait for one for a while.
fn lines(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (to, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        loop {
            let mut line = String::new();
            match pipe.read_line(&mut line) {
                Ok(1..) if to.send(line).is_ok() => {}
                _ => return,
            }
        }
    });
    lines
}

/// Sends a signal to a process that the test has started.
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: plain system call.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
}

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Done {
    /// stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).expect("stdout is text")
    }

    /// Fails unless the command ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

/// Runs a command to its end.
pub fn run(mut command: Command, stdin: &[u8]) -> Done {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut to = child.stdin.take().expect("stdin is piped");
    let bytes = stdin.to_vec();
    // A command that reads nothing may be gone already.
    let writer = std::thread::spawn(move || drop(to.write_all(&bytes)));
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the child is waited for");
    writer.join().expect("the writer ends");
    Done { code: status.code(), stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
}

/// What a server tells Prometheus: each sample by its name and labels as they stand there. Fails unless it is as the text
/// format wants it.
#[track_caller]
pub fn metrics(port: u16) -> BTreeMap<String, u64> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::new());
    for line in page.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(families.insert(name, kind).is_none(), "{line} stands there twice");
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(families.contains_key(sample.split('{').next().unwrap()), "{line} is of no family");
            assert!(samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(), "{line} twice");
        }
    }
    samples
}

/// The first of so many free ports in a row. They are below those that the system gives to outgoing connections, and no
/// other test of this process gets them; against another process, whoever binds one tries again.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 10_000;
    const PORTS: u16 = 9_000;
    let start = std::process::id() as u16 % PORTS;
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    for _ in 0..PORTS / count {
        let first = FIRST + start.wrapping_add(NEXT.fetch_add(count, Relaxed)) % PORTS;
        if (first..first + count).all(is_free) {
            return first;
        }
    }
    panic!("no {count} ports in a row are free");
}

/// `slotkv dev` on ports of the test's choice, of which the first is returned.
pub fn dev_on_free_ports(members: u16, more: &[&str]) -> (Server, u16) {
    on_free_ports(members, |port| Server::spawn(&[&["dev", "--port", port, "--log", "warn"], more].concat()))
}

/// `slotkv dev` with metrics on a port of the test's choice, which is returned.
pub fn dev_with_metrics(more: &[&str]) -> (Server, u16) {
    let args = ["dev", "--port", "0", "--log", "warn", "--metrics"];
    on_free_ports(1, |port| Server::spawn(&[&args[..], &[port], more].concat()))
}

fn on_free_ports(count: u16, spawn: impl Fn(&str) -> Server) -> (Server, u16) {
    for _ in 0..10 {
        let port = free_ports(count);
        let mut server = spawn(&port.to_string());
        if let Ok(line) = server.stdout.recv_timeout(READY_MAX) {
            server.uri = uri_of(&line);
            return (server, port);
        }
        assert_eq!(server.end().0, Some(3), "a port that is taken is the one reason not to start");
    }
    panic!("every port was taken by somebody else");
}
