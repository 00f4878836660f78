//! A bad network: connections that are cut after some bytes, in the middle of whatever they carry, and a few that fall
//! silent instead and stay open.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    thread,
};

use rand::{Rng, SeedableRng, rngs::StdRng};

/// A connection carries from 2^8 to 2^21 bytes, the logarithm by chance: the largest answer gets through sometimes.
const CARRIED_LOG2: std::ops::RangeInclusive<u32> = 8..=21;
/// Connections that fall silent; each costs its client the time after which it takes silence for death.
const SILENT_MAX: usize = 1;

/// Stands before one server.
pub struct Proxy {
    address: String,
    server: String,
    shared: Arc<Shared>,
}

struct Shared {
    chance: Mutex<StdRng>,
    cuts: AtomicUsize,
    silent: AtomicUsize,
    is_over: AtomicBool,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1; the server shall listen on the same port of 127.0.0.2.
    pub fn start(seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let server = SocketAddr::from(([127, 0, 0, 2], address.port()));
        let shared = Arc::new(Shared {
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            cuts: AtomicUsize::new(0),
            silent: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let carried = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                if carried.is_over.load(Ordering::Relaxed) {
                    break;
                }
                // Either side may be gone already.
                if let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) {
                    carry(client, server, &carried).ok();
                }
            }
        });
        Ok(Self { address: address.to_string(), server: server.to_string(), shared })
    }

    /// Where clients reach it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where the server shall listen.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Connections that were cut or fell silent.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // So that it looks.
        TcpStream::connect(&self.address).ok();
    }
}

/// What both directions of a connection share.
struct Connection {
    /// Bytes that it still carries.
    left: AtomicI64,
    client: TcpStream,
    server: TcpStream,
    is_over: AtomicBool,
}

fn carry(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let log2 = shared.chance.lock().unwrap_or_else(PoisonError::into_inner).random_range(CARRIED_LOG2);
    let connection = Arc::new(Connection {
        left: AtomicI64::new(1 << log2),
        client: client.try_clone()?,
        server: server.try_clone()?,
        is_over: AtomicBool::new(false),
    });
    for (from, to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        let (connection, shared) = (connection.clone(), shared.clone());
        thread::spawn(move || {
            // However it ends, the other direction ends too.
            pump(from, to, &connection, &shared).ok();
            connection.client.shutdown(Shutdown::Both).ok();
            connection.server.shutdown(Shutdown::Both).ok();
        });
    }
    Ok(())
}

/// Carries one direction until it ends or nothing may be carried any more.
fn pump(mut from: TcpStream, mut to: TcpStream, connection: &Connection, shared: &Shared) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        let left = connection.left.fetch_sub(read as i64, Ordering::Relaxed);
        if left >= read as i64 {
            to.write_all(&buffer[..read])?;
            continue;
        }
        if left > 0 {
            to.write_all(&buffer[..left as usize])?;
        }
        if !connection.is_over.swap(true, Ordering::Relaxed) {
            shared.cuts.fetch_add(1, Ordering::Relaxed);
            if shared.silent.fetch_add(1, Ordering::Relaxed) >= SILENT_MAX {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        // Swallowed until whoever speaks gives up.
        while from.read(&mut buffer)? > 0 {}
        return Ok(());
    }
}
