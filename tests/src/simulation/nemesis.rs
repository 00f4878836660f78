//! The faults: one at a time, chosen by chance, each counted under its name. Some last while others come.

use std::time::Duration;

use slotkv_coordination::{
    Coordinator, Error, Expect,
    embedded::{Misbehaviour, WriteFate},
    paths,
    registers::{Register, ShardRegister},
};
use slotkv_worker::StartError;
use tokio::time::sleep;

use super::{
    machine::{Machine, SYNC_DELAY},
    process::COORDINATOR,
    world::{MASTERS, RECOVERY_MAX, World, client_name},
};

/// A worker that could not start is started again after so long, as a supervisor would.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// How long the members' sessions with the coordinator last in silence.
const SESSION_MS: u64 = 5_000;

impl World {
    pub(super) fn chosen(&self, below: u64) -> u64 {
        self.chance.below(below)
    }

    /// Begins what lasts until everything heals.
    pub(super) fn begin_trouble(&mut self) {
        self.net.trouble(2, 5, 20);
        if self.chosen(4) > 0 {
            let chance = self.chance.clone();
            let misbehaviour = Misbehaviour { chance, unknown: 150, broken: 100, lost_hints: 300 };
            self.coordinator.faults().misbehave(Some(misbehaviour));
        }
        self.in_trouble = true;
    }

    /// Ends everything that a fault has begun.
    pub(super) fn end_trouble(&mut self) {
        self.in_trouble = false;
        self.net.trouble(0, 0, 2);
        self.net.heal();
        self.processes().for_each(|process| process.resume());
        let faults = self.coordinator.faults();
        faults.misbehave(None);
        faults.old_reads(false);
        faults.sessions().into_iter().for_each(|id| faults.heal(id));
        faults.start();
        for machine in &mut self.machines {
            machine.disk.set_capacity(None);
            machine.disk.fail_sync(u32::MAX);
            machine.disk.fail_write(u32::MAX);
            machine.disk.set_sync_delay(SYNC_DELAY);
        }
    }

    /// One fault, and what makes it good again if nothing else would.
    pub(super) async fn fault(&mut self) -> Result<(), String> {
        let at = self.chosen(self.machines.len() as u64) as usize;
        let while_ms = self.chosen(1500);
        if self.chosen(100) < self.plan.pauses {
            self.pause(while_ms).await;
            return Ok(());
        }
        match self.chosen(26) {
            23..=25 => return self.hand_over(at).await,
            0 | 1 => {
                self.count("power cut", format!("at worker {at}, back after {while_ms} ms"));
                self.machines[at].cut_power();
                self.is_lossy |= self.plan.interval_ms.is_some();
                self.net.remove(&self.machines[at].address);
                sleep(Duration::from_millis(while_ms)).await;
                return self.start_worker(at).await;
            }
            2 => {
                self.count("kill", format!("of worker {at}"));
                self.kill_worker(at);
                return self.start_worker(at).await;
            }
            3 => {
                self.count("orderly restart", format!("of worker {at}"));
                self.machines[at].running().into_iter().for_each(|process| process.resume());
                if let Some(worker) = self.machines[at].worker.take() {
                    worker.shutdown().await;
                    self.kill_worker(at);
                }
                return self.start_worker(at).await;
            }
            4 | 5 => {
                self.count("coordinator away during a start", format!("of worker {at}, for {while_ms} ms"));
                let faults = self.coordinator.faults();
                faults.stop();
                self.kill_worker(at);
                let back = async {
                    sleep(Duration::from_millis(while_ms)).await;
                    faults.start();
                };
                return tokio::join!(self.start_worker(at), back).0;
            }
            6..=8 => return self.network_fault(at, while_ms).await,
            9 => {
                let master = self.chosen(MASTERS.len() as u64) as usize;
                self.count("master crash", format!("of {} for {while_ms} ms", MASTERS[master]));
                self.kill_master(master);
                sleep(Duration::from_millis(while_ms)).await;
                self.start_master(master);
            }
            10..=13 => return self.coordinator_fault(at, while_ms).await,
            14..=17 => self.disk_fault(at, while_ms).await,
            18..=20 => self.cut_pair(while_ms),
            _ => {
                let jump = self.chosen(40 * 60_000) as i64 - 20 * 60_000;
                self.count("clock jump", format!("of worker {at} by {jump} ms"));
                self.machines[at].clock.jump(jump);
            }
        }
        Ok(())
    }

    /// An operator wishes that this worker leads its shard: the register says so, as a master would write it.
    async fn hand_over(&mut self, at: usize) -> Result<(), String> {
        let (name, shard) = (self.machines[at].name().to_owned(), self.machines[at].shard());
        let delay = Duration::from_millis(self.chosen(2) * self.chosen(2000));
        self.count(
            "wish for another primary",
            format!("{name}, while the syncs of all take up to {delay:?}"),
        );
        for machine in &self.machines {
            machine.disk.set_sync_delay(SYNC_DELAY.max(delay));
        }
        let path = paths::shard(shard);
        let edited: Result<(), Error> = async {
            let session = self.coordinator.open(Duration::from_secs(5)).await?;
            let Some(node) = session.get(&path).await? else { return Ok(()) };
            let mut register = ShardRegister::decode(&path, &node.data)?;
            register.preferred = Some(name);
            session.set(&path, register.encode()?, Expect::Version(node.version)).await?;
            session.close().await;
            Ok(())
        }
        .await;
        // It may come too late, or not at all, as an operator's wish may.
        drop(edited);
        sleep(2 * delay).await;
        for machine in &self.machines {
            machine.disk.set_sync_delay(SYNC_DELAY);
        }
        Ok(())
    }

    async fn network_fault(&mut self, at: usize, while_ms: u64) -> Result<(), String> {
        let address = self.machines[at].address.clone();
        match self.chosen(4) {
            0 => {
                self.count("connections break", format!("to {address}"));
                self.net.break_links(&address);
                return Ok(());
            }
            1 => return self.restart_unheard(at, while_ms).await,
            2 => {
                self.count("nothing goes to a worker", format!("{address} for {while_ms} ms"));
                self.net.isolate(&address, true);
            }
            _ => {
                self.count("nothing comes from a worker", format!("{address} for {while_ms} ms"));
                self.net.isolate(&address, false);
            }
        }
        sleep(Duration::from_millis(while_ms)).await;
        self.net.join(&address);
        Ok(())
    }

    /// A process is stopped, mostly one that leads. Other faults come meanwhile.
    async fn pause(&mut self, while_ms: u64) {
        let leading = self.machines.iter().filter(|machine| machine.leads()).filter_map(Machine::running);
        let processes: Vec<_> = match self.chosen(3) {
            0 => self.processes().cloned().collect(),
            _ => leading.cloned().collect(),
        };
        let Some(process) = processes.get(self.chosen(processes.len() as u64) as usize).cloned() else {
            return;
        };
        // Shorter and longer than a lease, and than a session with the coordinator.
        let while_ms = match self.chosen(4) {
            0 => SESSION_MS + while_ms,
            _ => while_ms,
        };
        self.count("pause", format!("of {} for {while_ms} ms", process.address));
        process.pause();
        // One that no master tells who leads now.
        let client = client_name(self.chosen(2 * u64::from(self.plan.clients)) as u32);
        MASTERS.iter().for_each(|master| self.net.cut(master, &client));
        let net = self.net.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(while_ms)).await;
            process.resume();
            sleep(Duration::from_millis(100)).await;
            MASTERS.iter().for_each(|master| net.mend(master, &client));
        });
        if self.chosen(2) == 0 {
            sleep(Duration::from_millis(while_ms)).await;
        }
    }

    /// Between two processes nothing goes, or nothing goes one way. Other faults come meanwhile.
    fn cut_pair(&mut self, while_ms: u64) {
        let workers: Vec<_> = self.machines.iter().map(|machine| machine.address.clone()).collect();
        let some = |of: &[String]| of[self.chosen(of.len() as u64) as usize].clone();
        let clients: Vec<_> = (0..self.plan.clients).map(client_name).collect();
        let masters = MASTERS.map(String::from);
        let leading: Vec<_> = self.machines.iter().filter(|machine| machine.leads()).collect();
        let leading: Vec<_> = leading.into_iter().map(|machine| machine.address.clone()).collect();
        let (one, other) = match self.chosen(10) {
            // What slots go by.
            8.. if !leading.is_empty() => (some(&leading), some(&leading)),
            0..3 | 8.. => (some(&workers), some(&workers)),
            3..5 => (some(&clients), some(&workers)),
            5 => (some(&clients), some(&masters)),
            6 => (some(&masters), COORDINATOR.to_owned()),
            _ => (some(&workers), COORDINATOR.to_owned()),
        };
        if one == other {
            return;
        }
        let while_ms = 2 * while_ms;
        let (there, back) =
            [(true, true), (true, true), (true, false), (false, true)][self.chosen(4) as usize];
        match (there, back) {
            (true, true) => self.count("pair cut", format!("between {one} and {other} for {while_ms} ms")),
            (true, false) => self.count("one-way cut", format!("from {one} to {other} for {while_ms} ms")),
            _ => self.count("one-way cut", format!("from {other} to {one} for {while_ms} ms")),
        }
        let process =
            self.processes().find(|process| other == COORDINATOR && process.address == one).cloned();
        if there {
            self.net.cut(&one, &other);
            // The coordinator hears nothing any more; where only its answers get lost, the next one shows it.
            process.iter().for_each(|process| process.silence());
        }
        if back {
            self.net.cut(&other, &one);
        }
        let net = self.net.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(while_ms)).await;
            net.mend(&one, &other);
            net.mend(&other, &one);
            process.iter().for_each(|process| process.hear());
        });
    }

    /// What a worker does for some time is not heard of before its next process runs: clients have to ask that one.
    async fn restart_unheard(&mut self, at: usize, while_ms: u64) -> Result<(), String> {
        self.count(
            "restart of a worker that nothing comes from",
            format!("worker {at}, after {while_ms} ms"),
        );
        self.net.isolate(&self.machines[at].address, false);
        sleep(Duration::from_millis(while_ms)).await;
        self.machines[at].running().into_iter().for_each(|process| process.resume());
        if let Some(worker) = self.machines[at].worker.take() {
            worker.shutdown().await;
        }
        self.kill_worker(at);
        self.net.join(&self.machines[at].address);
        self.start_worker(at).await
    }

    async fn coordinator_fault(&mut self, at: usize, while_ms: u64) -> Result<(), String> {
        let faults = self.coordinator.faults();
        let sessions = faults.sessions();
        let session = sessions.get(self.chosen(sessions.len().max(1) as u64) as usize).copied();
        match (self.chosen(7), session) {
            (0, Some(id)) => {
                self.count("session expires", format!("{id}"));
                faults.expire(id);
            }
            (1, Some(id)) => {
                self.count("session expires unnoticed", format!("{id}"));
                faults.expire_unnoticed(id);
            }
            (2, Some(id)) => {
                self.count("session cut off", format!("{id} for {while_ms} ms"));
                faults.partition(id);
                sleep(Duration::from_millis(while_ms)).await;
                faults.heal(id);
            }
            (3, _) => {
                self.count("old reads", format!("for {} ms, while worker {at} restarts", 4 * while_ms));
                faults.old_reads(true);
                self.kill_worker(at);
                self.start_worker(at).await?;
                sleep(Duration::from_millis(4 * while_ms)).await;
                faults.old_reads(false);
            }
            (4, _) => {
                self.count("next write applied and not answered", String::new());
                faults.next_write(None, WriteFate::Applied);
            }
            (5, _) => {
                self.count("next write lost", String::new());
                faults.next_write(None, WriteFate::Lost);
            }
            _ => {
                self.count("coordinator away", format!("for {while_ms} ms"));
                faults.stop();
                sleep(Duration::from_millis(while_ms)).await;
                faults.start();
            }
        }
        Ok(())
    }

    async fn disk_fault(&mut self, at: usize, while_ms: u64) {
        let kind = self.chosen(3);
        let (soon, room) = (self.chosen(6) as u32, self.chosen(4096));
        let machine = &mut self.machines[at];
        machine.disk_fails = true;
        match kind {
            0 => {
                machine.disk.fail_sync(soon);
                self.count("failed sync", format!("of worker {at}, after {soon}"));
            }
            1 => {
                machine.disk.fail_write(soon);
                self.count("failed write", format!("of worker {at}, after {soon}"));
            }
            _ => {
                machine.disk.set_capacity(Some(machine.disk.used_bytes() + room));
                self.count("disk full", format!("of worker {at}, {room} bytes are left for {while_ms} ms"));
                sleep(Duration::from_millis(while_ms)).await;
                self.machines[at].disk.set_capacity(None);
            }
        }
    }

    /// Starts what has stopped by itself again, as a supervisor would. Only a disk may be the reason.
    pub(super) async fn revive(&mut self) -> Result<(), String> {
        for at in 0..self.machines.len() {
            if let Some(health) = self.machines[at].health()
                && (health.different > 0 || health.rotten_slots > 0)
            {
                return Err(format!("worker {at} finds that copies differ: {health:?}"));
            }
            let Some(why) = self.machines[at].stopped() else { continue };
            self.count("stopped by itself", format!("worker {at}: {why}"));
            if !self.machines[at].disk_fails {
                return Err(format!("worker {at} stopped without a reason: {why}"));
            }
            self.kill_worker(at);
            self.start_worker(at).await?;
        }
        Ok(())
    }

    /// Starts a worker's process, again and again if the coordinator or a failing disk keep it from starting.
    pub(super) async fn start_worker(&mut self, at: usize) -> Result<(), String> {
        let begun = tokio::time::Instant::now();
        loop {
            let chance = self.chance.next_u64();
            let machine = &mut self.machines[at];
            let error =
                match tokio::time::timeout(RECOVERY_MAX, machine.start(&self.net, &self.coordinator, chance))
                    .await
                {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) => error,
                    Err(_) => return Err(format!("worker {at} did not start within {RECOVERY_MAX:?}")),
                };
            let is_excused = match &error {
                StartError::Coordinator(error) => self.in_trouble && (error.is_passing() || error.is_over()),
                StartError::Storage(
                    slotkv_storage::Error::Io { .. } | slotkv_storage::Error::DiskFull { .. },
                ) => machine.disk_fails,
                _ => false,
            };
            if !is_excused || begun.elapsed() > RECOVERY_MAX {
                return Err(format!("worker {at} does not start: {error:?}"));
            }
            machine.kill();
            self.net.remove(&machine.address);
            self.count("start in vain", format!("of worker {at}: {error}"));
            sleep(RESTART_PAUSE).await;
        }
        Ok(())
    }

    /// The worker's process is gone; what it has written is there.
    pub(super) fn kill_worker(&mut self, at: usize) {
        self.machines[at].kill();
        self.net.remove(&self.machines[at].address);
    }
}
