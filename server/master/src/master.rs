//! One master: it opens sessions, keeps its view, stands for leader and, when its turn comes, leads.
//!
//! Invariants:
//! - It calls itself leader only from taking office until its session is over, its place or epoch is another's, or it
//!   has been out of touch for half of the session timeout. What it wrote last may still arrive then; the epoch check
//!   in every write decides.
//! - A session that is over is replaced by a new one with a new place at the end of the queue.
//! - The view outlives sessions: the table is served whether there is one or not, and never goes back.

use std::{sync::Arc, time::Duration};

use slotkv_coordination::{
    ClusterView, Coordinator, Error, Session, SessionState, View,
    membership::ATTEMPTS_MAX,
    paths,
    registers::{MasterRecord, Register},
};
use slotkv_proto::{Code, seam::Chance};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    fleet::Fleet,
    lock::{self, Turn},
    movement::Movement,
    mover::Mover,
    office::{Office, OfficeError, Progress},
    operator::{Answer, Call, Operator},
    options::{MasterOptions, OptionsError},
    order,
    standing::Standing,
    wish::{Refusal, Settled, Wish},
};

/// The leader looks again at least so often, whether it has heard of a change or not.
const ATTEND_INTERVAL: Duration = Duration::from_secs(3);
/// Pause after something did not work, before it is tried again; grows from the first to the second.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long [`Master::shutdown`] waits for the coordinator to be told.
const SHUTDOWN_MAX: Duration = Duration::from_secs(3);

/// A running master. Dropping it ends it as a crash would; [`Master::shutdown`] leaves in an orderly way.
pub struct Master {
    view: watch::Receiver<Arc<View>>,
    standing: watch::Receiver<Standing>,
    operator: Operator,
    fleet: Arc<Fleet>,
    movement: watch::Receiver<Arc<Movement>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Master {
    /// Starts a master on the present tokio runtime. It need not reach the coordinator at once: it keeps trying.
    pub fn start(
        options: MasterOptions,
        coordinator: Arc<dyn Coordinator>,
        chance: Arc<dyn Chance>,
    ) -> Result<Self, OptionsError> {
        options.validate()?;
        let views = ClusterView::detached();
        let view = views.views();
        let (stop, stopped) = watch::channel(false);
        let (standing_to, standing) = watch::channel(Standing::default());
        let (operator, calls) = Operator::channel();
        let calls = Mutex::new(calls);
        let (movement_to, movement) = watch::channel(Arc::default());
        let runner = Runner {
            options,
            coordinator,
            chance,
            views,
            standing: standing_to,
            movement: movement_to,
            calls,
        };
        let task = tokio::spawn(runner.run(stopped));
        Ok(Self { view, standing, operator, fleet: Arc::default(), movement, stop, task })
    }

    /// The cluster as this master sees it.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// What this master is at the moment.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Takes what operators wish for to its office.
    pub fn operator(&self) -> Operator {
        self.operator.clone()
    }

    /// The clients that ping it.
    pub fn fleet(&self) -> Arc<Fleet> {
        self.fleet.clone()
    }

    /// How far hand-overs are, if it leads; else how far they were when it did.
    pub fn movement(&self) -> watch::Receiver<Arc<Movement>> {
        self.movement.clone()
    }

    /// Gives its place up, so that the next master leads at once, and ends. Takes at most 3 s.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if timeout(SHUTDOWN_MAX, &mut self.task).await.is_err() {
            tracing::warn!("the master stops without having told the coordinator");
        }
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Runner {
    options: MasterOptions,
    coordinator: Arc<dyn Coordinator>,
    chance: Arc<dyn Chance>,
    views: ClusterView,
    standing: watch::Sender<Standing>,
    movement: watch::Sender<Arc<Movement>>,
    /// What operators wish for. Held by the office.
    calls: Mutex<mpsc::Receiver<Call>>,
}

impl Runner {
    async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut stop = std::pin::pin!(async move {
            let _ = stopped.wait_for(|&stopped| stopped).await;
        });
        loop {
            let session = tokio::select! {
                biased;
                () = &mut stop => break,
                session = self.open() => session,
            };
            self.views.attach(session.clone());
            self.standing.send_replace(Standing::standby());
            tokio::select! {
                biased;
                () = &mut stop => {
                    self.standing.send_replace(Standing::away(None));
                    session.close().await;
                    break;
                }
                () = over(&*session) => {}
                () = self.stand(&session) => {}
            }
            tracing::warn!(session = %session.id(), "the session with the coordinator is over");
            self.standing.send_replace(Standing::away(None));
        }
    }

    /// A new session, however long it takes.
    async fn open(&self) -> Arc<dyn Session> {
        let mut pause = Pause::new(&*self.chance);
        loop {
            match self.coordinator.open(self.options.session_timeout).await {
                Ok(session) => return session,
                Err(error) => {
                    let known = self.standing.borrow().problem.clone();
                    if known.as_ref() != Some(&error.to_string()) {
                        tracing::warn!(%error, "no session with the coordinator; trying on");
                    }
                    self.standing.send_replace(Standing::away(Some(error.to_string())));
                }
            }
            pause.take().await;
        }
    }

    /// Stands for leader, again and again, until the session is over.
    async fn stand(&self, session: &Arc<dyn Session>) {
        let mut pause = Pause::new(&*self.chance);
        loop {
            let end = self.candidacy(session, &mut pause).await;
            self.standing.send_replace(Standing::standby());
            match end {
                Err(OfficeError::Coordinator(error)) if error.is_over() => return,
                Err(error) => tracing::warn!(%error, "not leading"),
                Ok(()) => tracing::warn!("the place of this master has been deleted"),
            }
            pause.take().await;
        }
    }

    /// One place in the queue, from standing up to the end of its office.
    async fn candidacy(&self, session: &Arc<dyn Session>, pause: &mut Pause<'_>) -> Result<(), OfficeError> {
        connected(&**session).await?;
        let record = MasterRecord { address: self.options.advertise.clone() };
        let place = lock::stand(&**session, record.encode()?).await?;
        match lock::wait_for_turn(&**session, &place).await? {
            Turn::First => {}
            Turn::Gone => return Ok(()),
        }
        let office = Office::take(session.clone(), place).await?;
        pause.reset();
        tracing::info!(epoch = office.epoch(), "leading");
        tokio::select! {
            biased;
            () = out_of_touch(&**session) => Err(Error::Disconnected { unknown: false }.into()),
            error = self.lead(&office, session) => Err(error),
        }
    }

    /// Leads for as long as the office is this master's.
    async fn lead(&self, office: &Office, session: &Arc<dyn Session>) -> OfficeError {
        let mut mover = Mover::new(self.options.hand_overs.clone(), self.movement.clone());
        tokio::select! {
            biased;
            error = self.keep_office(office, session) => error,
            error = mover.run(office, &self.views) => error,
        }
    }

    /// Does what only this master may do, but for hand-overs.
    async fn keep_office(&self, office: &Office, session: &Arc<dyn Session>) -> OfficeError {
        let mut pause = Pause::new(&*self.chance);
        loop {
            let error = match self.attend(office, session, &mut pause).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            match &error {
                OfficeError::Deposed => return error,
                OfficeError::Coordinator(cause) if cause.is_over() => return error,
                OfficeError::Coordinator(Error::Disconnected { .. } | Error::NodeExists { .. }) => {}
                other => {
                    let problem = Some(other.to_string());
                    if self.standing.borrow().problem != problem {
                        tracing::warn!(error = %other, "the leader cannot do its work; trying on");
                    }
                    self.standing.send_replace(Standing::leader(office.epoch(), problem));
                }
            }
            pause.take().await;
        }
    }

    async fn attend(
        &self,
        office: &Office,
        session: &Arc<dyn Session>,
        pause: &mut Pause<'_>,
    ) -> Result<std::convert::Infallible, OfficeError> {
        let mut changed = session.watch(paths::SHARDS).await?;
        let mut calls = self.calls.lock().await;
        loop {
            // What changes from here on is read now or hinted at later.
            while changed.try_next().is_some() {}
            office.confirm().await?;
            let progress = office.attend(&self.options, &*self.chance).await?;
            self.standing.send_replace(Standing::leader(office.epoch(), None));
            pause.reset();
            tokio::select! {
                biased;
                Some(call) = calls.recv() => self.take_call(office, call).await?,
                _ = changed.next(), if progress != Progress::Allocated => {}
                () = sleep(ATTEND_INTERVAL) => {}
            }
        }
    }

    /// Writes down what an operator wants, or says why not.
    async fn take_call(&self, office: &Office, call: Call) -> Result<(), OfficeError> {
        match call {
            // Whoever does not wait any more was told that it may have been written; it need not be.
            Call::Wish(_, reply) if reply.is_closed() => Ok(()),
            Call::Order(_, reply) if reply.is_closed() => Ok(()),
            Call::Wish(wish, reply) => {
                let answer = self.write_down(office, &wish).await;
                if let Ok(Ok(settled)) = &answer {
                    let (shard, to) = (settled.shard, &settled.to);
                    tracing::info!(shard, to, ?wish, "written down for an operator");
                }
                answered(reply, answer)
            }
            Call::Order(order, reply) => {
                let answer = order::carry_out(office, &self.views, &order).await;
                if let Ok(Ok(done)) = &answer {
                    tracing::info!(?order, ?done, "written down for an operator");
                }
                answered(reply, answer)
            }
        }
    }

    async fn write_down(&self, office: &Office, wish: &Wish) -> Result<Answer, OfficeError> {
        let mut settled: Option<Settled> = None;
        for _ in 0..ATTEMPTS_MAX {
            let view = self.views.refresh().await?;
            let settled = match &settled {
                Some(settled) => settled,
                None => match wish.settle(&view) {
                    Ok(now) => &*settled.insert(now),
                    Err(refusal) => return Ok(Err(refusal)),
                },
            };
            let Some(known) = view.shards.get(&settled.shard) else { continue };
            let Some(register) = settled.apply(&known.register) else { return Ok(Ok(settled.clone())) };
            match office.edit(settled.shard, &register, known.version).await {
                Ok(()) => return Ok(Ok(settled.clone())),
                Err(OfficeError::Coordinator(Error::BadVersion { .. })) => {}
                Err(OfficeError::Coordinator(error)) if error.is_unknown() => {}
                Err(error) => return Err(error),
            }
        }
        let text = format!("the register changed {ATTEMPTS_MAX} times; the wish may have been written");
        Ok(Err(Refusal { code: Code::SteppedDown, text }))
    }
}

/// Tells the operator, who finds it in the status if it does not wait any more.
fn answered<T>(
    reply: oneshot::Sender<Result<T, Refusal>>,
    answer: Result<Result<T, Refusal>, OfficeError>,
) -> Result<(), OfficeError> {
    match answer {
        Ok(answer) => {
            let _ = reply.send(answer);
            Ok(())
        }
        Err(error) => {
            let text = format!("{error}; the wish may have been written");
            let _ = reply.send(Err(Refusal { code: Code::SteppedDown, text }));
            Err(error)
        }
    }
}

/// Returns when the session is over.
async fn over(session: &dyn Session) {
    let _ = session.state().wait_for(|state| state.is_final()).await;
}

/// Returns when the session is in touch, or with an error when it is over.
async fn connected(session: &dyn Session) -> Result<(), Error> {
    let mut state = session.state();
    let state = state.wait_for(|&state| state == SessionState::Connected || state.is_final()).await;
    match state.as_deref() {
        Ok(SessionState::Connected) => Ok(()),
        _ => Err(Error::Expired),
    }
}

/// Returns when a leader must not call itself one any more: the session is over, or has been out of touch for half of
/// its timeout. That is less than the timeout, so that it has stopped before another can lead; the master epoch fences
/// it in any case.
async fn out_of_touch(session: &dyn Session) {
    let mut state = session.state();
    loop {
        let _ = state.wait_for(|&state| state != SessionState::Connected).await;
        let back = state.wait_for(|&state| state == SessionState::Connected || state.is_final());
        match timeout(session.timeout() / 2, back).await {
            Ok(Ok(state)) if *state == SessionState::Connected => {}
            _ => return,
        }
    }
}

/// Growing pauses with jitter.
struct Pause<'a> {
    chance: &'a dyn Chance,
    next: Duration,
}

impl<'a> Pause<'a> {
    fn new(chance: &'a dyn Chance) -> Self {
        Self { chance, next: PAUSE_MIN }
    }

    fn reset(&mut self) {
        self.next = PAUSE_MIN;
    }

    /// Sleeps between half and the whole of the pause, and doubles it.
    async fn take(&mut self) {
        let whole = self.next.as_micros() as u64;
        self.next = (self.next * 2).min(PAUSE_MAX);
        sleep(Duration::from_micros(whole / 2 + self.chance.below(whole / 2 + 1))).await;
    }
}
