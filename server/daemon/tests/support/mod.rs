//! Starts the real binary: servers with their ready line, commands with their output. Everything a test starts ends with
//! it.
#![allow(dead_code)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

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
    stdout: BufReader<ChildStdout>,
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

    /// Starts the binary with these arguments.
    pub fn spawn(args: &[&str]) -> Self {
        let mut command = slotkv();
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Self { child, stdout, uri: String::new() }
    }

    /// Reads the ready line.
    pub fn wait_until_ready(&mut self) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("stdout is read");
        let uri = line.strip_prefix("ready ").map(|uri| uri.trim_end().to_owned());
        self.uri = uri.unwrap_or_else(|| panic!("said {line:?} instead of being ready"));
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
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("stdout is read");
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

/// A port from which on some are free, as far as one can know.
pub fn free_ports(count: u16) -> u16 {
    for _ in 0..1000 {
        let first = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = first.local_addr().expect("it has an address").port();
        let rest: Vec<_> = (1..count)
            .map(|more| std::net::TcpListener::bind(("127.0.0.1", port.saturating_add(more))).ok())
            .collect();
        if rest.iter().all(Option::is_some) {
            return port;
        }
    }
    panic!("no {count} ports in a row are free");
}
