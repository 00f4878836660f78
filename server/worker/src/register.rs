//! Register: what the shard's register says beside what the machine goes by. Operators change it.

use slotkv_coordination::registers::{Durability, ShardRegister};
use slotkv_replication::Name;
use slotkv_storage::Error;

use crate::host::Host;

impl Host {
    /// What the register says beside what the machine goes by.
    pub(crate) async fn learn_register(&mut self) -> Result<(), Error> {
        let Some((version, register)) = self.registrar.newest() else { return Ok(()) };
        self.recover_if_ordered(&register).await?;
        if self.register_version == Some(version) {
            return Ok(());
        }
        self.register_version = Some(version);
        for (name, address) in register
            .isr
            .iter()
            .map(|copy| (&copy.name, &copy.address))
            .chain(register.primary.iter().map(|primary| (&primary.name, &primary.address)))
        {
            if *name != self.process.name && self.addresses.of(name).is_none() {
                self.addresses.set(name, address);
            }
        }
        let inc = self.home.identification().map(|known| known.inc.clone()).unwrap_or_default();
        if register.isr.iter().any(|copy| copy.name == self.process.name && copy.inc == inc) {
            self.home.confirm_inc().await?;
        }
        if register.durability != self.settings.durability {
            // What was written until now is synced, so that the new promise holds for it, too.
            self.sync_all().await?;
            self.home.set_durability(register.durability).await?;
            self.settings.durability = register.durability;
            let now = self.now();
            self.machine.syncs_apart(now, register.durability != Durability::Sync);
            self.carry_out().await?;
        }
        self.durable.has_backups = register.replicas > 1;
        self.durable.retain_bytes = if self.durable.has_backups { self.settings.retain_bytes } else { 0 };
        if register.preferred != self.preferred {
            let is_edit = self.preferred.is_some();
            self.preferred.clone_from(&register.preferred);
            if is_edit
                && let Some(name) = &register.preferred
                && *name != self.process.name
                && self.machine.leads().is_some()
            {
                let now = self.now();
                let wished = self.machine.wish_primary(now, &Name::from(name.as_str()));
                if let Err(refusal) = wished {
                    tracing::warn!(name, ?refusal, "cannot hand the lead over yet");
                }
                self.carry_out().await?;
            }
        }
        Ok(())
    }

    /// An operator's order stands in the register until a higher epoch begins; the machine forgets it sooner.
    async fn recover_if_ordered(&mut self, register: &ShardRegister) -> Result<(), Error> {
        let inc = self.home.identification().map(|known| known.inc.clone()).unwrap_or_default();
        if register.recover != Some(format!("{}/{inc}", self.process.name)) {
            return Ok(());
        }
        let now = self.now();
        match self.machine.order_takeover(now) {
            true => {
                tracing::warn!(shard = self.shard.id(), "goes on with this data alone, as an operator wishes")
            }
            false => {
                tracing::warn!(shard = self.shard.id(), "the shard has a primary: no recovery is needed")
            }
        }
        self.carry_out().await
    }
}
