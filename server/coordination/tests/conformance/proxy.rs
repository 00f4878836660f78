//! Stands between one session and the servers. It can be cut, and it can let the answer to a write, or the write itself,
//! get lost together with the connection: it reads the frames' lengths, numbers and operations, and nothing else.

use std::{collections::VecDeque, io, sync::Arc};

use parking_lot::Mutex;
use slotkv_coordination::embedded::WriteFate;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::{AbortHandle, JoinSet},
};

/// create, delete, setData, multi, create2, createContainer, createTTL.
const WRITES: [i32; 7] = [1, 2, 5, 14, 15, 19, 21];
const FRAME_BYTES_MAX: usize = 4 << 20;

/// One listener for each server.
pub struct Proxy {
    ports: Vec<u16>,
    shared: Arc<Shared>,
    _listeners: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cut: bool,
    pumps: Vec<AbortHandle>,
    fates: VecDeque<WriteFate>,
}

impl Proxy {
    pub async fn start(servers: &[u16]) -> Self {
        let shared = Arc::new(Shared::default());
        let mut ports = Vec::new();
        let mut listeners = JoinSet::new();
        for &server in servers {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            ports.push(listener.local_addr().unwrap().port());
            listeners.spawn(listen(listener, server, shared.clone()));
        }
        Self { ports, shared, _listeners: listeners }
    }

    pub fn address(&self) -> String {
        let ports: Vec<String> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        ports.join(",")
    }

    pub fn cut(&self) {
        let mut state = self.shared.state.lock();
        state.cut = true;
        state.pumps.drain(..).for_each(|pump| pump.abort());
    }

    pub fn heal(&self) {
        self.shared.state.lock().cut = false;
    }

    pub fn next_write(&self, fate: WriteFate) {
        self.shared.state.lock().fates.push_back(fate);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

async fn listen(listener: TcpListener, server: u16, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let pump = pump(client, server, shared.clone());
        let mut state = shared.state.lock();
        if !state.cut {
            state.pumps.retain(|pump| !pump.is_finished());
            state.pumps.push(tokio::spawn(pump).abort_handle());
        }
    }
}

async fn pump(client: TcpStream, server: u16, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    let muted = Mutex::new(None);
    // Whichever way ends first, both connections close.
    tokio::select! {
        _ = up(client_reads, server_writes, &shared, &muted) => {}
        _ = down(server_reads, client_writes, &muted) => {}
    }
}

async fn up(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    muted: &Mutex<Option<i32>>,
) -> io::Result<()> {
    // The first frame is the connect request.
    to.write_all(&frame(&mut from).await?).await?;
    loop {
        let frame = frame(&mut from).await?;
        let (number, operation) = (int(&frame, 4), int(&frame, 8));
        let fate = match operation {
            Some(operation) if WRITES.contains(&operation) => shared.state.lock().fates.pop_front(),
            _ => None,
        };
        match fate {
            Some(WriteFate::Lost) => return Ok(()),
            Some(WriteFate::Applied) => *muted.lock() = number,
            None => {}
        }
        to.write_all(&frame).await?;
    }
}

async fn down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, muted: &Mutex<Option<i32>>) -> io::Result<()> {
    to.write_all(&frame(&mut from).await?).await?;
    loop {
        let frame = frame(&mut from).await?;
        let number = int(&frame, 4);
        if number.is_some() && number == *muted.lock() {
            return Ok(());
        }
        to.write_all(&frame).await?;
    }
}

/// A frame with its length in front.
async fn frame(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let bytes = usize::try_from(length).unwrap_or(usize::MAX);
    if bytes > FRAME_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; 4 + bytes];
    frame[..4].copy_from_slice(&length.to_be_bytes());
    from.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}

fn int(frame: &[u8], at: usize) -> Option<i32> {
    frame.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes)
}
