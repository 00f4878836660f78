//! Outputs: carries out what the machine of replication has come to, in the order that it is promised.

use slotkv_replication::{self as machine, Ask, Fetch, Load, Ready};
use slotkv_storage::Error;

use crate::{
    host::{Host, Input},
    snapshot::{Loaded, Source},
};

/// Inputs that the machine has asked for, or that its outputs lead to.
pub(crate) enum Errand {
    Ack(machine::Ack),
    Fetch(Fetch),
    Load(Load),
}

impl Host {
    /// Everything that the machine has come to, in the order that it is promised.
    pub(crate) async fn carry_out(&mut self) -> Result<(), Error> {
        loop {
            let ready = self.machine.ready();
            if ready.is_empty() {
                match self.errands.pop_front() {
                    Some(errand) => self.run_errand(errand)?,
                    None => return Ok(()),
                }
                continue;
            }
            self.carry_out_one(ready).await?;
        }
    }

    async fn carry_out_one(&mut self, ready: Ready) -> Result<(), Error> {
        if let Some(why) = ready.halt {
            self.begins_anew = true;
            return Err(Error::Misfit(format!("this replica halts: {why}")));
        }
        if let Some(why) = ready.discard {
            self.home.discard(&*self.chance).await?;
            self.begins_anew = true;
            return Err(Error::Misfit(format!("the data is given up, and copied anew: {why}")));
        }
        if let Some(stopped) = ready.stopped {
            tracing::warn!(
                shard = self.shard.id(),
                epoch = stopped.epoch,
                why = stopped.why,
                "does not lead any more"
            );
            self.step_down();
        }
        if let Some(epoch) = ready.took_office {
            tracing::info!(shard = self.shard.id(), epoch, "leads its shard");
            self.take_office(epoch);
        }
        for (id, write) in ready.writes {
            self.begin_write(id, write).await?;
        }
        for message in ready.messages {
            self.links.send(message);
        }
        if !ready.asks.is_empty() {
            // Streams go by what was published last. What is asked for may make another one primary, or let fewer elect
            // one; from then on no lease counts that was good for less.
            self.publish_lead();
        }
        for (id, ask) in ready.asks {
            self.ask(id, ask);
        }
        if let Some(commit) = ready.commit
            && let Some(group) = &mut self.group
        {
            group.acknowledges &= commit.acknowledges;
        }
        for token in ready.reads {
            if let Some(unconfirmed) = self.confirming.remove(&token) {
                unconfirmed.hold();
            }
        }
        for token in ready.reads_refused {
            if let Some(unconfirmed) = self.confirming.remove(&token) {
                unconfirmed.refuse(self.not_primary());
            }
        }
        self.sync_now |= ready.sync;
        for snapshot in ready.closes {
            self.sources.close(snapshot);
        }
        self.errands.extend(ready.fetches.into_iter().map(Errand::Fetch));
        self.errands.extend(ready.loads.into_iter().map(Errand::Load));
        Ok(())
    }

    fn run_errand(&mut self, errand: Errand) -> Result<(), Error> {
        match errand {
            Errand::Ack(ack) => {
                let now = self.now();
                // Refused by who does not lead any more.
                let _ = self.machine.wish_ack(now, ack);
            }
            Errand::Fetch(fetch) => {
                let records = self.records(&fetch)?;
                let now = self.now();
                self.machine.fetched(now, &fetch.to, fetch.from_index, records);
            }
            Errand::Load(load) => self.load(load),
        }
        Ok(())
    }

    /// Reads the next part of a snapshot on another thread.
    fn load(&mut self, Load { snapshot, to, bytes_max }: Load) {
        match self.sources.take(snapshot, || Source::open(&mut self.replica, &*self.engine)) {
            Ok(Some(source)) => {
                let told = self.shard.inbox().clone();
                self.runner.blocking(move || {
                    let _ = told.send(Input::Loaded(source.load(snapshot, bytes_max)));
                });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, %to, "cannot begin a snapshot");
                self.machine.loaded(self.now(), snapshot, None);
            }
        }
    }

    pub(crate) fn loaded(&mut self, loaded: Loaded) {
        let (snapshot, now) = (loaded.snapshot, self.now());
        let chunk = self.sources.loaded(loaded);
        if let Err(error) = &chunk {
            tracing::error!(%error, "cannot go on with a snapshot");
        }
        self.machine.loaded(now, snapshot, chunk.ok());
    }

    fn ask(&self, id: u64, ask: Ask) {
        let (registrar, session) = (self.registrar.clone(), self.sessions.borrow().clone());
        let told = self.shard.inbox().clone();
        self.runner.errand(async move {
            let answer = registrar.ask(&*session, ask).await;
            let _ = told.send(Input::Answered(id, answer));
        });
    }
}
