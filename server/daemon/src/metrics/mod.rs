//! Metrics: what the members of this process tell Prometheus at `GET /metrics`, on a port of its own that is off unless it
//! is asked for. A value is looked up when somebody asks; nothing is counted for the page alone.
//!
//! Layout: `page` every metric with its name, and the text · `source` what a member tells · `http` the port and its bounds.

mod http;
mod page;
mod source;

use std::{
    collections::BTreeMap,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use self::page::Page;
pub use self::source::{Source, WorkerState};
use crate::serve::{ListenError, listen};

/// Where an address without a host is.
const LOOPBACK: &str = "127.0.0.1";

/// A bound port on which nobody answers yet.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
    address: String,
}

impl Endpoint {
    /// Binds `at`: `host:port`, or a port of the loopback address; port 0 is a free one.
    pub fn bind(at: &str) -> Result<Self, ListenError> {
        let (listener, bound) = match at.parse::<u16>() {
            Ok(port) => listen::bind(&format!("{LOOPBACK}:{port}"), None)?,
            Err(_) => listen::bind(at, None)?,
        };
        Ok(Self { listener, address: bound.to_string() })
    }

    /// Answers, on the present runtime, what the members on the board tell.
    pub fn serve(self, board: Board) -> std::io::Result<Serving> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let task = tokio::spawn(http::serve(listener, board));
        tracing::info!(address = self.address, "metrics are at /metrics");
        Ok(Serving { address: self.address, task })
    }
}

/// An endpoint that answers. Dropped, it closes its port and its connections.
#[derive(Debug)]
pub struct Serving {
    address: String,
    task: JoinHandle<()>,
}

impl Serving {
    /// `ip:port` that is bound.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The members of this process that can be asked.
#[derive(Clone, Default)]
pub struct Board(Arc<Members>);

#[derive(Default)]
struct Members {
    sources: Mutex<BTreeMap<u64, Source>>,
    next: AtomicU64,
}

impl Board {
    /// Puts a member on the board, until what is returned is dropped.
    pub fn show(&self, source: Source) -> Shown {
        let number = self.0.next.fetch_add(1, Relaxed);
        self.0.sources.lock().insert(number, source);
        Shown { board: self.clone(), number }
    }

    /// What all of them tell now, as Prometheus reads it.
    async fn text(&self) -> String {
        let sources: Vec<Source> = self.0.sources.lock().values().cloned().collect();
        let mut page = Page::new();
        for told in join_all(sources.iter().map(Source::tell)).await {
            page.add(told);
        }
        page.text()
    }
}

/// That a member is on the board.
pub struct Shown {
    board: Board,
    number: u64,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.board.0.sources.lock().remove(&self.number);
    }
}
