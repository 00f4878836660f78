//! A link into a host that is slow, or that carries a few bytes at a time: connections to a port are led through a proxy on
//! the same host by its packet filter. Those that are open when it begins are reset; those that it carries go on at full
//! speed afterwards.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use super::hosts::Host;
use crate::Outcome;

/// How a link carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As it comes.
    Open,
    /// Everything late.
    Slow,
    /// A few bytes at a time.
    Dribbling,
}

/// How late what comes through a slow link is.
const SLOW: Duration = Duration::from_millis(120);
/// What a dribbling link carries at a time, and how often.
const DROP_BYTES: usize = 48;
const DROP_EVERY: Duration = Duration::from_millis(4);
/// How long open connections are reset.
const RESET: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(50);

/// A proxy before one port of one host.
pub struct Link {
    port: u16,
    mode: Arc<AtomicU8>,
    is_over: Arc<AtomicBool>,
}

impl Link {
    /// Stands before `port`, on the port after it.
    pub fn new(host: &Host, port: u16) -> Outcome<Self> {
        let (mode, is_over) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicBool::new(false)));
        let server = SocketAddr::from((host.address, port));
        let own = SocketAddr::from((host.address, port + 1));
        let carried = (mode.clone(), is_over.clone());
        host.within(|| -> io::Result<()> {
            let listener = TcpListener::bind(own)?;
            listener.set_nonblocking(true)?;
            std::thread::spawn(move || listen(&listener, server, &carried.0, &carried.1));
            Ok(())
        })??;
        Ok(Self { port, mode, is_over })
    }

    /// Changes how it carries.
    pub fn set(&self, host: &Host, mode: Mode) -> Outcome<()> {
        self.mode.store(mode as u8, Relaxed);
        let (port, own) = (self.port, self.port + 1);
        if mode == Mode::Open {
            return host.nft("flush chain ip torture_links redirects\n");
        }
        host.nft(&format!(
            "add rule ip torture_links redirects tcp dport {port} redirect to :{own}\n\
             add rule inet torture resets iif != lo tcp dport {port} tcp flags & syn == 0 reject with tcp reset\n"
        ))?;
        std::thread::sleep(RESET);
        host.nft("flush chain inet torture resets\n")
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
    }
}

fn listen(listener: &TcpListener, server: SocketAddr, mode: &Arc<AtomicU8>, is_over: &AtomicBool) {
    while !is_over.load(Relaxed) {
        match listener.accept() {
            Ok((client, _)) => {
                let mode = mode.clone();
                std::thread::spawn(move || carry(client, server, mode));
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// Carries both ways until either end is closed.
fn carry(client: TcpStream, server: SocketAddr, mode: Arc<AtomicU8>) {
    let connected = || -> io::Result<_> {
        client.set_nonblocking(false)?;
        let server = TcpStream::connect(server)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        Ok((client.try_clone()?, server.try_clone()?, server))
    };
    let Ok((from_client, to_server, server)) = connected() else { return };
    let there = mode.clone();
    std::thread::spawn(move || pump(from_client, to_server, &there));
    pump(server, client, &mode);
}

fn pump(mut from: TcpStream, mut to: TcpStream, mode: &AtomicU8) {
    let mut buffer = vec![0; 16 << 10];
    let is = |wanted: Mode| mode.load(Relaxed) == wanted as u8;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(read) if read > 0 => read,
            _ => break,
        };
        if is(Mode::Slow) {
            std::thread::sleep(SLOW);
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let now = if is(Mode::Dribbling) { rest.len().min(DROP_BYTES) } else { rest.len() };
            if to.write_all(&rest[..now]).is_err() {
                break;
            }
            rest = &rest[now..];
            if is(Mode::Dribbling) {
                std::thread::sleep(DROP_EVERY);
            }
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
