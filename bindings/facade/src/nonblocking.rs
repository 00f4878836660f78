//! The asynchronous way as a client: what a host with a [`Port`] does with a cluster. Every function returns at once;
//! ends come out of [`Port::drain`].
//!
//! A client belongs to the process that made it: in a forked child its functions are FORKED.

mod scan;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use slotkv::{Answer, CallOptions, Client, Command, Item, Page, Range, ReadLevel, Session};

pub use self::scan::{AsyncScan, Next, Turn};
use crate::error::FacadeError;
use crate::fork;
use crate::handle::Handle;
use crate::port::{Port, Reply, Ring};
use crate::scan::Scan;
use crate::settings::{self, Settings};

/// A client whose calls go through a port. Clones share everything, views their connections.
#[derive(Clone)]
pub struct AsyncClient {
    core: Arc<fork::Owned<Client>>,
    /// What calls say unless they say it themselves.
    defaults: CallOptions,
}

impl AsyncClient {
    /// Begins to connect to the cluster of `uri`. Reply: [`Reply::Client`].
    pub fn connect<H: Send + 'static>(
        port: &Port<H>,
        uri: String,
        settings: Settings,
        host: H,
    ) -> Result<Handle, FacadeError> {
        let work = async move {
            let defaults = settings.defaults();
            let core = Client::connect_with(&uri, settings.options()).await?;
            if let Some(name) = &defaults.namespace {
                // The core knows which names may be.
                core.namespace(name)?;
            }
            Ok(Reply::Client(Box::new(Self { core: Arc::new(fork::Owned::new(core)), defaults })))
        };
        port.spawn(work, host)
    }

    /// Begins an operation. `options` are what it says differently from its client. Reply: [`Reply::Answer`].
    pub fn submit<H: Send + 'static>(
        &self,
        port: &Port<H>,
        command: Command,
        options: CallOptions,
        host: H,
    ) -> Result<(Handle, Ring), FacadeError> {
        port.submit(self.core()?, command, settings::over(options, &self.defaults), host)
    }

    /// Begins several operations, as [`Port::submit_many`] does.
    pub fn submit_many<H: Send + 'static>(
        &self,
        port: &Port<H>,
        calls: impl IntoIterator<Item = (Command, CallOptions, H)>,
        begun: &mut Vec<Handle>,
    ) -> Result<Ring, FacadeError> {
        let calls = calls
            .into_iter()
            .map(|(command, options, host)| (command, settings::over(options, &self.defaults), host));
        port.submit_many(self.core()?, calls, begun)
    }

    /// A scan of `range`, from its beginning or from the place of a cursor, that ends after `items_max` items. `options`
    /// are for each page.
    pub fn scan(
        &self,
        range: Range,
        cursor: Option<Bytes>,
        items_max: Option<u64>,
        options: CallOptions,
    ) -> AsyncScan {
        let options = settings::over(options, &self.defaults);
        AsyncScan::new(self.clone(), options, Scan::new(range, cursor, items_max))
    }

    /// Where a scan of `range` goes on behind an item of one of its pages; `options` as the page's.
    pub fn cursor_behind(
        &self,
        range: &Range,
        item: &Item,
        options: CallOptions,
    ) -> Result<Bytes, FacadeError> {
        Ok(self.core()?.cursor_behind(range, item, &settings::over(options, &self.defaults)))
    }

    /// Begins to fetch every item of `range`, in key order. They have to fit into memory. Reply: [`Reply::Items`].
    pub fn dump<H: Send + 'static>(
        &self,
        port: &Port<H>,
        range: Range,
        options: CallOptions,
        host: H,
    ) -> Result<Handle, FacadeError> {
        let core = self.core()?.clone();
        let options = settings::over(options, &self.defaults);
        let mut scan = Scan::new(Range { ordered: true, ..range }, None, None);
        let work = async move {
            let mut items: Vec<Item> = Vec::new();
            while let Some(command) = scan.command() {
                scan.fill(page(&core, command, &options).await?);
                items.extend(std::iter::from_fn(|| scan.take()));
            }
            Ok(Reply::Items(items))
        };
        port.spawn(work, host)
    }

    /// Begins to ask a master for the cluster's state. Reply: [`Reply::Status`].
    pub fn status<H: Send + 'static>(&self, port: &Port<H>, host: H) -> Result<Handle, FacadeError> {
        let core = self.core()?.clone();
        let deadline = self.defaults.deadline;
        let work = async move {
            let status = crate::blocking::status(&core, deadline).await?;
            Ok(Reply::Status(Box::new(status)))
        };
        port.spawn(work, host)
    }

    /// Begins to end the client and whatever shares its connections, in bounded time. Reply: [`Reply::Closed`].
    pub fn close<H: Send + 'static>(&self, port: &Port<H>, host: H) -> Result<Handle, FacadeError> {
        let core = self.core()?.clone();
        let work = async move {
            core.close().await;
            Ok(Reply::Closed)
        };
        port.spawn(work, host)
    }

    /// The core's client, for what needs no waiting.
    pub fn core(&self) -> Result<&Client, FacadeError> {
        self.core.get().ok_or_else(FacadeError::forked)
    }

    /// The same connections, for the keys of another namespace; empty for the one without a name.
    pub fn namespace(&self, name: &str) -> Result<Self, FacadeError> {
        // The core knows which names may be.
        self.core()?.namespace(name)?;
        Ok(self.with(CallOptions { namespace: Some(name.into()), ..CallOptions::default() }))
    }

    /// The same connections, with another deadline for calls that name none.
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        self.with(CallOptions { deadline: Some(deadline), ..CallOptions::default() })
    }

    /// The same connections, with a W3C traceparent for calls that name none.
    pub fn with_traceparent(&self, traceparent: String) -> Self {
        self.with(CallOptions { traceparent: Some(traceparent), ..CallOptions::default() })
    }

    /// The same connections, with another freshness of reads that name none.
    pub fn with_read_level(&self, level: ReadLevel) -> Self {
        self.with(CallOptions { read_level: Some(level), ..CallOptions::default() })
    }

    /// The same connections, for a session that goes on where the token stands; of no bytes, one that has seen nothing.
    pub fn with_session_token(&self, token: &[u8]) -> Result<Self, FacadeError> {
        let session = Some(Session::from_token(token)?);
        Ok(self.with(CallOptions { session, read_level: Some(ReadLevel::Session), ..CallOptions::default() }))
    }

    /// What the session has seen, as opaque bytes.
    pub fn session_token(&self) -> Result<Bytes, FacadeError> {
        Ok(match &self.defaults.session {
            Some(session) => session.token(),
            None => self.core()?.session_token(),
        })
    }

    fn with(&self, options: CallOptions) -> Self {
        Self { core: self.core.clone(), defaults: settings::over(options, &self.defaults) }
    }
}

impl std::fmt::Debug for AsyncClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AsyncClient").field("defaults", &self.defaults).finish_non_exhaustive()
    }
}

async fn page(core: &Client, command: Command, options: &CallOptions) -> Result<Page, FacadeError> {
    match core.call(command, options).await? {
        Answer::Page(page) => Ok(page),
        other => Err(FacadeError::unexpected(format!("{other:?} as the answer for a page"))),
    }
}
