//! Strike: a run in which one hand-over is stopped at one step, where one fault meets one of those that take part ([`Cell`]); then
//! everything has to go on as if nothing had been.
//!
//! | | crash | pause | error |
//! |---|---|---|---|
//! | source, target: the primary | power cut | its process is stopped, its session silent | the next write to its disk, or sync, fails: it stops by itself |
//! | leader: the leading master | its process ends | the same | its next write to the coordinator, at a write that is held the very one, is lost, or its answer |
//! | coordinator | away for a second | away until all have given their sessions up | every session expires at once |

use std::time::Duration;

use slotkv_coordination::embedded::WriteFate;
use slotkv_master::order::Order;
use slotkv_migration::{Outcome, Step, failpoint};
use slotkv_proto::table::ShardId;
use tokio::time::{sleep, timeout};

use super::{
    cell::{Actor, Cell, Fault},
    gate::Gate,
    history::End,
    process::Process,
    world::{LOOK_PAUSE, MASTERS, RECOVERY_MAX, World},
};

/// Clients do something for so long before anything moves.
const WARM_UP: Duration = Duration::from_millis(1500);
/// The step must come up in this time.
const STEP_MAX: Duration = Duration::from_secs(60);
/// How long a member that has crashed is away.
const DOWN: Duration = Duration::from_millis(700);
/// How long somebody stands still: longer than a lease, a session, and the time after which its owner gives it up.
const PAUSE: Duration = Duration::from_millis(7_500);
/// A disk that nobody writes to in this time is in order again.
const WRITE_MAX: Duration = Duration::from_secs(5);
/// After this time the two shards' links are whole, aborted or not.
const CUT_MAX: Duration = Duration::from_secs(10);
/// Who gives its slots away.
const GIVER: ShardId = 0;

impl World {
    /// Runs the cell of the plan.
    pub(super) async fn live_cell(&mut self, cell: Cell) -> Result<(), String> {
        let Some(gate) = self.gate.clone() else { return Err("a cell without a gate".into()) };
        let telling = gate.clone();
        failpoint::tell(Some(Box::new(move |step, id| telling.reached(step, id))));
        let ended = self.strike_once(cell, &gate).await;
        failpoint::tell(None);
        ended
    }

    async fn strike_once(&mut self, cell: Cell, gate: &Gate) -> Result<(), String> {
        let mut clients = self.begin().await?;
        sleep(WARM_UP).await;
        self.insist(Order::Rebalance { dry_run: false }).await;
        gate.arm(self.links(GIVER));
        self.insist(Order::Weight { shard: GIVER, weight: Some(0.0) }).await;
        if timeout(STEP_MAX, gate.hit()).await.is_err() {
            let (seen, slots) = (gate.seen(), self.slots());
            return Err(format!("the step never came up: {seen:?} of {:?}; {slots:?}", gate.chosen()));
        }
        let struck = self.history.begin();
        self.in_trouble = true;
        self.strike(cell, gate).await?;
        self.end_trouble();
        gate.open();
        self.given_away(cell.step, gate).await?;
        let ending = timeout(RECOVERY_MAX, async {
            while !clients.is_empty() {
                self.revive().await?;
                let _ = timeout(LOOK_PAUSE, clients.join_next()).await;
            }
            Ok::<(), String>(())
        });
        ending.await.map_err(|_| format!("calls are open {RECOVERY_MAX:?} after the fault"))??;
        let after = self.history.count_since(struck, |end| !matches!(end, End::Failed | End::Unknown));
        if after == 0 {
            return Err("no call succeeded after the fault".into());
        }
        self.conclude().await
    }

    /// Links between a shard and all others, there and back.
    fn links(&self, shard: ShardId) -> Vec<(String, String)> {
        let (own, others): (Vec<_>, Vec<_>) = self.machines.iter().partition(|it| it.shard() == shard);
        let pairs = own.iter().flat_map(|own| others.iter().map(|other| (&own.address, &other.address)));
        pairs.flat_map(|(one, other)| [(one.clone(), other.clone()), (other.clone(), one.clone())]).collect()
    }

    /// The shard has given everything away, in the end, whatever became of the first attempt.
    async fn given_away(&mut self, step: Step, gate: &Gate) -> Result<(), String> {
        let giving = timeout(RECOVERY_MAX, async {
            if step.outcome() == Outcome::Aborted {
                let aborted = async {
                    while !gate.seen().contains(&Step::AbortTaken) {
                        sleep(LOOK_PAUSE).await;
                    }
                };
                let _ = timeout(CUT_MAX, aborted).await;
                gate.mend();
            }
            loop {
                self.revive().await?;
                let slots = self.slots();
                let owns = slots.owners.iter().any(|&(_, _, shard)| shard == GIVER);
                if !owns && slots.migrations.is_empty() {
                    return Ok(());
                }
                sleep(LOOK_PAUSE).await;
            }
        });
        let given = giving.await;
        given.unwrap_or_else(|_| Err(format!("not given away within {RECOVERY_MAX:?}: {:?}", self.slots())))
    }

    async fn strike(&mut self, cell: Cell, gate: &Gate) -> Result<(), String> {
        let Some(chosen) = gate.chosen() else { return Err("nothing was planned".into()) };
        self.count("strike", format!("{cell:?} of {chosen:?}"));
        match cell.actor {
            Actor::Source => self.strike_worker(self.primary_of(chosen.source), cell.fault, gate).await,
            Actor::Target => self.strike_worker(self.primary_of(chosen.target), cell.fault, gate).await,
            Actor::Leader => {
                self.strike_leader(cell.fault, gate).await;
                Ok(())
            }
            Actor::Coordinator => {
                self.strike_coordinator(cell.fault, gate).await;
                Ok(())
            }
        }
    }

    /// The machine of a shard's primary; of a replica, if there is none just now.
    fn primary_of(&self, shard: ShardId) -> usize {
        let mut of = (0..self.machines.len()).filter(|at| self.machines[*at].shard() == shard);
        let first = of.clone().next().unwrap_or_default();
        of.find(|at| self.machines[*at].leads()).unwrap_or(first)
    }

    async fn strike_worker(&mut self, at: usize, fault: Fault, gate: &Gate) -> Result<(), String> {
        match fault {
            Fault::Crash => {
                self.machines[at].cut_power();
                self.is_lossy |= self.plan.interval_ms.is_some();
                self.net.remove(&self.machines[at].address);
                gate.open();
                sleep(DOWN).await;
                self.start_worker(at).await
            }
            Fault::Pause => {
                stand_still(self.machines[at].running().cloned(), gate).await;
                Ok(())
            }
            Fault::Error => {
                let machine = &mut self.machines[at];
                machine.disk_fails = true;
                match self.plan.seed % 2 {
                    0 => machine.disk.fail_write(0),
                    _ => machine.disk.fail_sync(0),
                }
                gate.open();
                let is_met = async {
                    while self.machines[at].stopped().is_none() {
                        sleep(Duration::from_millis(5)).await;
                    }
                };
                match timeout(WRITE_MAX, is_met).await {
                    Ok(()) => self.is_lossy |= self.plan.interval_ms.is_some(),
                    Err(_) => self.count("a disk that fails and is not written to", String::new()),
                }
                self.revive().await
            }
        }
    }

    async fn strike_leader(&mut self, fault: Fault, gate: &Gate) {
        let leads = |at: &usize| {
            self.masters[*at].as_ref().is_some_and(|(master, _)| master.standing().borrow().leads())
        };
        let at = (0..MASTERS.len()).find(leads).unwrap_or_default();
        match fault {
            Fault::Crash => {
                self.kill_master(at);
                gate.open();
                sleep(DOWN).await;
                self.start_master(at);
            }
            Fault::Pause => {
                stand_still(self.masters[at].as_ref().map(|(_, process)| process.clone()), gate).await;
            }
            Fault::Error => {
                let fate =
                    if self.plan.seed.is_multiple_of(2) { WriteFate::Lost } else { WriteFate::Applied };
                let process = self.masters[at].as_ref().map(|(_, process)| process);
                process.iter().for_each(|process| process.next_write(fate));
                gate.open();
                sleep(DOWN).await;
            }
        }
    }

    async fn strike_coordinator(&mut self, fault: Fault, gate: &Gate) {
        let faults = self.coordinator.faults();
        let away = match fault {
            Fault::Crash => Duration::from_secs(1),
            Fault::Pause => PAUSE,
            Fault::Error => {
                faults.sessions().into_iter().for_each(|id| faults.expire(id));
                gate.open();
                return sleep(DOWN).await;
            }
        };
        faults.stop();
        gate.open();
        sleep(away).await;
        faults.start();
    }
}

async fn stand_still(process: Option<Process>, gate: &Gate) {
    process.iter().for_each(Process::pause);
    gate.open();
    sleep(PAUSE).await;
    process.iter().for_each(Process::resume);
}
