//! Recovery: at the end everything heals, and the shard must be whole again within a bound.

use super::*;

impl World {
    /// Everything heals; the shard must serve and be whole within the bound.
    pub(super) fn recovery(&mut self) -> Result<(), String> {
        self.healed = true;
        self.note(|| "everything heals".into());
        self.cut.clear();
        self.cut_off.clear();
        let weather = &mut self.weather;
        (weather.loss, weather.doubles, weather.late, weather.unknown) = (0.0, 0.0, 0.0, 0.0);
        (weather.old_reads, weather.slow_disk, weather.full_disk) = (0.0, 0.0, 0.0);
        weather.unreadable = 0.0;
        // So that who is far behind, by single records, can catch up.
        weather.client_us = weather.client_us.max(10 * MS);
        for host in 0..self.hosts.len() {
            self.hosts[host].paused_until = 0;
            if self.hosts[host].life.is_none() {
                self.start(host);
            }
        }
        if self.weather.gone {
            self.lose_all_but_one()?;
        }
        let mut healed_us = self.now_us;
        // Whoever is far behind gets single records where messages are small.
        let last = |host: &Host| host.disk.view.entries.last().map_or(0, |entry| entry.0.index);
        let lasts = || self.hosts.iter().map(last);
        let behind = lasts().max().unwrap_or(0) - lasts().min().unwrap_or(0);
        let bound_us = RECOVERY_US + behind * RECORD_US;
        let acknowledged = self.summary.acknowledged;
        loop {
            self.next()?;
            let isr = self.coordinator.register.configuration.isr.len();
            if isr == self.coordinator.register.replicas
                && self.summary.acknowledged > acknowledged
                && self.serves()
            {
                self.summary.recovery_ms_max = (self.now_us - healed_us) / MS;
                return Ok(());
            }
            if self.now_us > healed_us + bound_us && !self.ordered && self.needs_operator() {
                self.summary.dead_ends += 1;
                let best = (0..self.hosts.len())
                    .max_by_key(|host| self.hosts[*host].disk.view.entries.last().map(|entry| entry.0));
                self.order(best.unwrap())?;
                healed_us = self.now_us;
            }
            if self.now_us > healed_us + bound_us {
                return Err(format!(
                    "not whole again after {} s: {}",
                    bound_us / MS / 1000,
                    self.standings()
                ));
            }
        }
    }

    /// The others come back after the survivor has taken the shard, and some know more than it.
    fn lose_all_but_one(&mut self) -> Result<(), String> {
        let survivor = self.rng.random_range(0..self.hosts.len());
        for (host, name) in NAMES.iter().enumerate().take(self.hosts.len()) {
            if host != survivor && self.coordinator.register.configuration.entry(&(*name).into()).is_some() {
                self.hosts[host].is_gone = true;
                self.crash(host, 2);
            }
        }
        let gone_us = self.now_us;
        // Others, if a change of the register was still on its way.
        let leads = |world: &Self| {
            let mut lives = world.hosts.iter().filter_map(|host| host.life.as_ref());
            lives.any(|life| life.replica.is_serving())
        };
        let mut order_us = gone_us + RECOVERY_US / 3;
        while !leads(self) {
            self.next()?;
            // Once more if that was in vain: something of a primary that is gone has arrived after it.
            let is_due = !self.ordered || self.now_us > order_us + RECOVERY_US / 3;
            if is_due && self.now_us > order_us {
                order_us = if self.ordered { self.now_us } else { order_us };
                self.order(survivor)?;
            }
            if self.now_us > gone_us + RECOVERY_US {
                return Err(format!("not taken by order: {}", self.standings()));
            }
        }
        for host in 0..self.hosts.len() {
            if std::mem::take(&mut self.hosts[host].is_gone) && self.hosts[host].life.is_none() {
                self.start(host);
            }
        }
        Ok(())
    }

    fn order(&mut self, host: usize) -> Result<(), String> {
        self.note(|| format!("an operator orders {} to take the shard", NAMES[host]));
        let mut taken = false;
        self.with(host, None, |life, now| taken = life.replica.order_takeover(now))?;
        // Refused while something of a primary that is gone still arrives.
        self.ordered |= taken;
        self.summary.orders += u64::from(taken);
        Ok(())
    }

    /// Unclean stops have left too little whole data, and of a member nothing: it was taken in just when its disk was lost.
    fn needs_operator(&self) -> bool {
        let configuration = &self.coordinator.register.configuration;
        let whole = |copy: &&Member| self.host_of(copy).is_some_and(|host| host.inc() == copy.inc);
        let is_gone = |copy: &Member| {
            let rest = |host: &Host| host.inc() == copy.inc || host.remains_of.contains(&copy.inc);
            !self.host_of(copy).is_some_and(rest)
        };
        configuration.isr.iter().filter(whole).count() < configuration.reporters()
            && configuration.isr.iter().any(is_gone)
    }

    pub(super) fn host_of(&self, copy: &Member) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == copy.name.as_str())
    }

    pub(super) fn serves(&self) -> bool {
        let standing = |host: &Host| host.life.as_ref().map(|life| life.replica.status().standing);
        self.hosts.iter().any(|host| standing(host) == Some(Standing::Leader))
    }

    pub(super) fn standings(&self) -> String {
        let one = |host: &Host| match &host.life {
            Some(life) => {
                let status = life.replica.status();
                format!(
                    "{}: {}, epoch {}, last {}, commit {}",
                    host.name, status.standing, status.epoch, status.last, status.commit_index
                )
            }
            None => format!("{}: down", host.name),
        };
        let hosts: Vec<_> = self.hosts.iter().map(one).collect();
        format!("{}; {:?}", hosts.join("; "), self.coordinator.register)
    }
}
