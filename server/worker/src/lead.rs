//! Lead: who answers for the shard, as far as this replica knows, and what streams, waiting requests and people are told of it.

use slotkv_proto::Code;
use slotkv_replication::Refusal as Unready;

use crate::{
    host::Host,
    outputs::Errand,
    registrar,
    request::Refusal,
    shard::{Leadership, Unconfirmed},
};

impl Host {
    pub(crate) fn not_primary(&self) -> Refusal {
        let status = self.machine.status();
        let shard = self.shard.id();
        match status.primary.filter(|name| name.as_str() != self.process.name) {
            Some(name) => (Code::NotPrimary, format!("shard {shard} is led by {name}")),
            None => (
                Code::NotPrimary,
                format!("this replica of shard {shard} does not lead it: {}", status.standing),
            ),
        }
    }

    pub(crate) fn take_office(&mut self, epoch: u64) {
        self.begin_migrations();
        if let Some(ack) = self.ack {
            self.errands.push_back(Errand::Ack(registrar::ack_told(ack)));
        }
        let (registrar, session) = (self.registrar.clone(), self.sessions.borrow().clone());
        self.runner.errand(async move { registrar.clear_elections(&*session, epoch).await });
    }

    /// What is not acknowledged ends as unknown; what was not begun goes elsewhere.
    pub(crate) fn step_down(&mut self) {
        let refusal = self.not_primary();
        self.shard.lead(Leadership::Elsewhere(refusal.clone()));
        self.elsewhere = None;
        self.end_migrations();
        if let Some(group) = self.group.take() {
            group.end_unknown("this replica stepped down before the write was committed");
        }
        for write in self.backlog.drain(..).flatten() {
            write.refuse(refusal.clone());
        }
    }

    pub(crate) fn give_up_waiting(&mut self) {
        if self.shard.is_aborted() {
            return;
        }
        if let Some(group) = self.group.take() {
            group.end_unknown("this replica stopped before the write was committed");
        }
        let refusal = (Code::ShuttingDown, format!("shard {} has stopped here", self.shard.id()));
        for write in self.backlog.drain(..).flatten() {
            write.refuse(refusal.clone());
        }
        for (_, unconfirmed) in self.confirming.drain() {
            unconfirmed.refuse(refusal.clone());
        }
    }

    /// Tells streams who answers, and until when without asking.
    pub(crate) fn publish_lead(&mut self) {
        let leads = self.machine.leads();
        match leads {
            Some(epoch) if self.serves() || (self.machine.is_serving() && self.shard.leads(epoch)) => {
                self.elsewhere = None;
                let lease_until_us = self.machine.lease_until_us();
                self.shard.lead(Leadership::Serving { epoch, lease_until_us });
            }
            _ => {
                let status = self.machine.status();
                let place = (status.standing.clone(), status.primary);
                if self.elsewhere.as_ref() != Some(&place) {
                    let refusal = match leads {
                        Some(_) => (Code::Retry, format!("shard {}: {}", self.shard.id(), status.standing)),
                        None => self.not_primary(),
                    };
                    self.shard.lead(Leadership::Elsewhere(refusal));
                    self.elsewhere = Some(place);
                }
            }
        }
    }

    /// Tells streams and people where this replica stands.
    pub(crate) fn publish(&mut self) {
        self.publish_lead();
        let now = self.now();
        let status = self.machine.status();
        if self.machine.leads().is_none() {
            for told in self.resigning.drain(..) {
                let _ = told.send(());
            }
        }
        self.note_health();
        let fresh = self.machine.fresh_as_of_us(self.replica.applied().index);
        self.shard.set_fresh_as_of(fresh.unwrap_or(0));
        let since_ms = || {
            let ago_us = now.saturating_sub(status.since_us);
            self.clock.wall_ms().saturating_sub(ago_us / 1000)
        };
        self.shard.stand(status.standing, &self.health, since_ms);
    }

    /// Answers replies that hold as long as this replica leads: under the lease at once, else after a round.
    pub(crate) fn confirm(&mut self, unconfirmed: Unconfirmed) {
        let now = self.now();
        if self.machine.holds_lease(now) {
            return unconfirmed.hold();
        }
        self.next_token += 1;
        match self.machine.confirm_read(now, self.next_token) {
            Ok(()) => drop(self.confirming.insert(self.next_token, unconfirmed)),
            Err(refusal) => unconfirmed.refuse(self.refusal(refusal)),
        }
    }

    /// What a client is told of the machine's refusal.
    pub(crate) fn refusal(&self, refusal: Unready) -> Refusal {
        let shard = self.shard.id();
        match refusal {
            Unready::NotPrimary => self.not_primary(),
            Unready::Beginning => (Code::Retry, format!("the primary of shard {shard} is taking office")),
            Unready::Leaving { to } => (Code::Retry, format!("shard {shard} is being handed to {to}")),
            Unready::ReadOnly { have, need } => (
                Code::ReadOnly,
                format!(
                    "shard {shard} has {have} copies in sync and takes writes with {need}, once more have caught up"
                ),
            ),
            Unready::Busy => {
                (Code::Overloaded, format!("too many records of shard {shard} wait to be committed"))
            }
        }
    }
}
