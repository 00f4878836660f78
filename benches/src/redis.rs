//! Connections to Redis masters that send `SET` and `WAIT 1` together: a write that is acknowledged when one replica has
//! it. `WAIT` holds a connection up, so one connection has one write in flight.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest time that `WAIT` waits, in milliseconds; then the write counts as failed.
const WAIT_MS: u32 = 5000;
/// Two short lines.
const REPLY_BYTES: usize = 64;
/// First slot of each master behind the first, as `redis-cli --cluster create` deals slots out to three.
const BOUNDS: [u16; 2] = [5461, 10_923];

/// A connection to one master.
pub struct Connection {
    stream: TcpStream,
    tag: String,
    request: Vec<u8>,
}

impl Connection {
    /// To the master of these slots: 0, 1 or 2.
    pub async fn open(address: &str, master: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, tag: tag(master), request: Vec::new() })
    }

    /// Writes the key of a number, and waits for one replica.
    pub async fn set(&mut self, number: u64, value: &str) -> Result<(), String> {
        let (tag, length) = (&self.tag, value.len());
        self.request.clear();
        self.request.extend_from_slice(
            format!(
                "*3\r\n$3\r\nSET\r\n$17\r\n{tag}{number:012}\r\n${length}\r\n{value}\r\n\
                 *3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$4\r\n{WAIT_MS}\r\n"
            )
            .as_bytes(),
        );
        self.stream.write_all(&self.request).await.map_err(|error| error.to_string())?;
        let (mut reply, mut filled) = ([0; REPLY_BYTES], 0);
        loop {
            match self.stream.read(&mut reply[filled..]).await {
                Ok(0) => return Err("the connection ended".to_owned()),
                Ok(read) => filled += read,
                Err(error) => return Err(error.to_string()),
            }
            match &reply[..filled] {
                b"+OK\r\n:1\r\n" | b"+OK\r\n:2\r\n" => return Ok(()),
                so_far if b"+OK\r\n:1\r\n".starts_with(so_far) || b"+OK\r\n:2\r\n".starts_with(so_far) => {}
                other => return Err(String::from_utf8_lossy(other).into_owned()),
            }
        }
    }
}

/// A hash tag of five characters whose slot is of this master.
fn tag(master: usize) -> String {
    let owner = |slot: u16| BOUNDS.iter().filter(|&&bound| slot >= bound).count();
    let numbers = (0..1000).map(|number| format!("{number:03}"));
    let found = numbers.into_iter().find(|number| owner(crc16(number.as_bytes()) % 16_384) == master);
    format!("{{{}}}", found.unwrap_or_default())
}

/// CRC-16/XMODEM, which Redis Cluster hashes keys with.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        let tags: Vec<String> = (0..3).map(tag).collect();
        let slots: Vec<u16> = tags.iter().map(|tag| crc16(&tag.as_bytes()[1..4]) % 16_384).collect();
        assert!(
            slots[0] < BOUNDS[0] && BOUNDS[0] <= slots[1] && slots[1] < BOUNDS[1] && BOUNDS[1] <= slots[2]
        );
    }
}
