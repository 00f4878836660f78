//! Process: what a fault can stop and go on with: its tasks, and its sessions with the coordinator.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use slotkv_coordination::{
    Coordinator, Embedded, Error, Expect, Mode, Node, Op, OpResult, Session, SessionId, SessionState, Watch,
    embedded::WriteFate,
};
use slotkv_worker::runner::Tasks;
use tokio::{sync::watch, time::sleep};

use super::{gate::Gate, moves::Moves, net::Net};

/// What the coordinator is called where links are cut.
pub const COORDINATOR: &str = "coordinator";

/// A worker's or a master's process.
#[derive(Clone)]
pub struct Process {
    /// Where it is reached, by which it is named.
    pub address: String,
    /// Its tasks.
    pub tasks: Tasks,
    net: Arc<Net>,
    coordinator: Embedded,
    sessions: Arc<Mutex<Vec<SessionId>>>,
    moves: Option<Arc<Moves>>,
    gate: Option<Arc<Gate>>,
}

impl Process {
    /// A process without tasks.
    pub fn new(address: &str, net: Arc<Net>, coordinator: Embedded) -> Self {
        let (tasks, sessions) = (Tasks::default(), Arc::default());
        Self { address: address.to_owned(), tasks, net, coordinator, sessions, moves: None, gate: None }
    }

    /// What it does to the slot table is noted, and stopped where a fault is to come.
    pub fn noted(self, moves: &Arc<Moves>, gate: Option<Arc<Gate>>) -> Self {
        Self { moves: Some(moves.clone()), gate, ..self }
    }

    /// The next write of its last session has this fate.
    pub fn next_write(&self, fate: WriteFate) {
        if let Some(id) = self.sessions.lock().last() {
            self.coordinator.faults().next_write(Some(*id), fate);
        }
    }

    /// It is stopped, and the coordinator hears nothing of it.
    pub fn pause(&self) {
        self.tasks.pause();
        self.silence();
    }

    /// It goes on; its timers are late, and its sessions may be over.
    pub fn resume(&self) {
        self.tasks.resume(|count| self.net.draw(count));
        self.hear();
    }

    /// Its sessions with the coordinator are out of touch.
    pub fn silence(&self) {
        let faults = self.coordinator.faults();
        self.sessions.lock().iter().for_each(|id| faults.partition(*id));
    }

    /// They are in touch again, or over.
    pub fn hear(&self) {
        let faults = self.coordinator.faults();
        self.sessions.lock().iter().for_each(|id| faults.heal(*id));
    }

    /// An answer gets lost on its way from the coordinator, and with it the connection.
    fn answered<T>(&self, answer: Result<T, Error>, unknown: bool) -> Result<T, Error> {
        if self.net.is_cut(COORDINATOR, &self.address) && answer.is_ok() {
            self.silence();
            return Err(Error::Disconnected { unknown });
        }
        answer
    }
}

#[async_trait]
impl Coordinator for Process {
    async fn open(&self, session_timeout: Duration) -> Result<Arc<dyn Session>, Error> {
        let opening = async {
            let (to, from) = ((&*self.address, COORDINATOR), (COORDINATOR, &*self.address));
            if self.net.is_cut(to.0, to.1) || self.net.is_cut(from.0, from.1) {
                sleep(session_timeout).await;
                return Err(Error::Unavailable { name: self.name(), why: "nobody answers".into() });
            }
            self.coordinator.open(session_timeout).await
        };
        let session = self.tasks.within(opening).await?;
        self.sessions.lock().push(session.id());
        Ok(Arc::new(Held { session, process: self.clone() }))
    }

    fn name(&self) -> String {
        self.coordinator.name()
    }
}

/// A session of a process.
struct Held {
    session: Arc<dyn Session>,
    process: Process,
}

impl Held {
    async fn read<T>(&self, reading: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
        let answer = self.process.tasks.within(reading).await;
        self.process.answered(answer, false)
    }

    async fn write<T>(&self, writing: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
        let answer = self.process.tasks.within(writing).await;
        let faults = self.process.coordinator.faults();
        self.process.moves.iter().for_each(|moves| moves.look(&faults));
        if let Some(gate) = &self.process.gate {
            self.process.tasks.within(gate.after(&faults)).await;
        }
        self.process.answered(answer, true)
    }
}

#[async_trait]
impl Session for Held {
    fn id(&self) -> SessionId {
        self.session.id()
    }

    fn timeout(&self) -> Duration {
        self.session.timeout()
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.session.state()
    }

    async fn get(&self, path: &str) -> Result<Option<Node>, Error> {
        self.read(self.session.get(path)).await
    }

    async fn children(&self, path: &str) -> Result<Vec<String>, Error> {
        self.read(self.session.children(path)).await
    }

    async fn create(&self, path: &str, data: Bytes, mode: Mode) -> Result<String, Error> {
        self.write(self.session.create(path, data, mode)).await
    }

    async fn set(&self, path: &str, data: Bytes, expect: Expect) -> Result<u64, Error> {
        self.write(self.session.set(path, data, expect)).await
    }

    async fn delete(&self, path: &str, expect: Expect) -> Result<(), Error> {
        self.write(self.session.delete(path, expect)).await
    }

    async fn multi(&self, ops: Vec<Op>) -> Result<Vec<OpResult>, Error> {
        if let Some(gate) = &self.process.gate {
            self.process.tasks.within(gate.before(&ops)).await;
        }
        self.write(self.session.multi(ops)).await
    }

    async fn sync(&self, path: &str) -> Result<(), Error> {
        self.read(self.session.sync(path)).await
    }

    async fn watch(&self, path: &str) -> Result<Watch, Error> {
        self.read(self.session.watch(path)).await
    }

    async fn close(&self) {
        self.process.tasks.within(self.session.close()).await;
    }
}
