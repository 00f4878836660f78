//! A peer that writes HTTP/2 by hand, so that it can say what no library would: see RFC 9113 for the frames and RFC 7541
//! for the headers, of which it uses the plainest form.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Frame types and flags.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// Largest payload of a frame before a peer says otherwise.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;
/// How long the server may take to say what it has to say.
const PATIENCE: Duration = Duration::from_secs(30);

/// One HTTP/2 connection.
pub struct Http2 {
    stream: TcpStream,
}

impl Http2 {
    /// Connects and says the preface.
    pub async fn connect(address: &str) -> io::Result<Self> {
        let mut http2 = Self { stream: TcpStream::connect(address).await? };
        http2.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        http2.frame(SETTINGS, 0, 0, &[]).await?;
        Ok(http2)
    }

    /// Sends one frame.
    pub async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).await
    }

    /// Opens stream 1 as a gRPC call.
    pub async fn call(&mut self, path: &str) -> io::Result<()> {
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ] {
            block.push(0);
            for text in [name, value] {
                block.push(text.len() as u8);
                block.extend(text.as_bytes());
            }
        }
        self.frame(HEADERS, END_HEADERS, 1, &block).await
    }

    /// Sends bytes on stream 1, as many DATA frames as it takes. They have to fit the server's window.
    pub async fn data(&mut self, bytes: &[u8], end: bool) -> io::Result<()> {
        for part in bytes.chunks(PAYLOAD_BYTES_MAX) {
            self.frame(DATA, 0, 1, part).await?;
        }
        if end {
            self.frame(DATA, END_STREAM, 1, &[]).await?;
        }
        Ok(())
    }

    /// Sends bytes as they are.
    pub async fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads until the server has ended stream 1 or closed the connection, and answers its settings meanwhile. `false` if
    /// it has done neither in time.
    pub async fn is_ended(&mut self) -> bool {
        timeout(PATIENCE, self.read_to_end()).await.is_ok()
    }

    async fn read_to_end(&mut self) {
        const RST_STREAM: u8 = 3;
        const GOAWAY: u8 = 7;
        loop {
            let mut head = [0; 9];
            if self.stream.read_exact(&mut head).await.is_err() {
                return;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            if self.stream.read_exact(&mut payload).await.is_err() {
                return;
            }
            let (kind, flags) = (head[3], head[4]);
            match kind {
                SETTINGS if flags & ACK == 0 => {
                    // A connection that broke is found by the next read.
                    let _ = self.frame(SETTINGS, ACK, 0, &[]).await;
                }
                RST_STREAM | GOAWAY => return,
                HEADERS | DATA if flags & END_STREAM != 0 => return,
                _ => {}
            }
        }
    }
}

/// A gRPC message as it travels: not compressed, its length, its bytes.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![0];
    message.extend((bytes.len() as u32).to_be_bytes());
    message.extend(bytes);
    message
}
