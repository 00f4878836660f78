//! Nemesis: what goes wrong, and when.

use super::{weather::RISE, *};

impl World {
    pub(super) fn maybe_ambush(&mut self, host: usize, share: f64) {
        if !self.healed && self.rng.random_bool(self.weather.ambush * share) {
            // Any of these is the right moment for something.
            let within_us = [MS / 2, 5 * MS, 40 * MS][self.rng.random_range(0..3)];
            let delay_us = self.rng.random_range(0..within_us);
            self.after(delay_us, Event::Ambush(host));
        }
    }

    pub(super) fn maybe_stumble(&mut self, host: usize) {
        if self.weather.stumbles && !self.healed && self.rng.random_bool(0.7) {
            let delay_us = self.rng.random_range(0..6 * MS);
            self.after(delay_us, Event::Stumble(host));
        }
    }

    /// It falls, and is up again only after others have led.
    pub(super) fn stumble(&mut self, host: usize) {
        if !self.healed {
            self.crash(host, 4000);
        }
    }

    pub(super) fn ambush(&mut self, host: usize) {
        match self.rng.random_range(0..4) {
            _ if self.healed => {}
            0 | 1 => self.crash(host, 1000),
            2 => self.isolate(host),
            _ => self.hosts[host].paused_until = self.now_us + self.rng.random_range(300..1500) * MS,
        }
    }

    /// Away from all others, and mostly from the coordinator.
    pub(super) fn isolate(&mut self, host: usize) {
        let length_us = self.rng.random_range(300..3000) * MS;
        for other in 0..self.hosts.len() {
            self.cut(host, other, length_us);
            self.cut(other, host, length_us);
        }
        if self.rng.random_bool(0.7) {
            self.cut_off(host, length_us);
        }
    }

    /// Away and back, several times.
    pub(super) fn flap(&mut self, host: usize, count: u32, every_us: u64) {
        if self.healed || count == 0 {
            return;
        }
        for other in 0..self.hosts.len() {
            self.cut(host, other, every_us / 2);
            self.cut(other, host, every_us / 2);
        }
        self.after(every_us, Event::Flap { host, count: count - 1, every_us });
    }

    pub(super) fn cut_off(&mut self, host: usize, length_us: u64) {
        self.note(|| format!("{} is cut off the coordinator", NAMES[host]));
        self.cut_off.insert(host);
        self.after(length_us, Event::HealCoordinator(host));
    }

    pub(super) fn crash(&mut self, host: usize, restart_ms_max: u64) {
        let ends_well = self.hosts[host].disk.is_interval && self.rng.random_bool(0.2);
        self.end(host, ends_well, restart_ms_max);
    }

    /// Nothing that is not synced survives.
    pub(super) fn lose_power(&mut self, host: usize, restart_ms_max: u64) {
        self.hosts[host].disk.forget();
        self.end(host, false, restart_ms_max);
    }

    fn end(&mut self, host: usize, ends_well: bool, restart_ms_max: u64) {
        let machine = &mut self.hosts[host];
        if machine.life.take().is_none() {
            return;
        }
        self.summary.crashes += 1;
        machine.paused_until = 0;
        if ends_well {
            machine.disk.close();
            self.note(|| format!("{} ends well", NAMES[host]));
        } else {
            self.truth.stops(host, self.now_us);
            machine.disk.crash(&mut self.rng);
            if machine.disk.is_interval && self.options.bug != Some(Bug::KeepsInc) {
                machine.remains_of.push(machine.inc());
                machine.inc_count += 1;
            }
            self.note(|| format!("{} crashes", NAMES[host]));
        }
        let restart_ms_max = if self.rng.random_bool(0.3) { 30 } else { restart_ms_max };
        let (restart_us, expire_us) =
            (self.rng.random_range(1..restart_ms_max) * MS, self.rng.random_range(100..4000) * MS);
        self.after(restart_us, Event::Restart(host));
        let run = self.hosts[host].run_count;
        self.after(expire_us, Event::Expire { host, run });
    }

    pub(super) fn nemesis(&mut self) {
        if self.healed {
            return;
        }
        let delay_us = self.rng.random_range(1..=2 * self.weather.nemesis_us);
        self.after(delay_us, Event::Nemesis);
        let total: u32 = self.weather.nemeses.iter().sum();
        let mut at = self.rng.random_range(0..total);
        let mut kind = 0;
        while at >= self.weather.nemeses[kind] {
            at -= self.weather.nemeses[kind];
            kind += 1;
        }
        let count = self.hosts.len();
        let host =
            match self.hosts.iter().position(|host| host.life.as_ref().is_some_and(|l| l.serves.is_some())) {
                Some(primary) if self.rng.random_bool(0.4) => primary,
                _ => self.rng.random_range(0..count),
            };
        let other = self.rng.random_range(0..count);
        let length_us = self.rng.random_range(50..3000) * MS;
        match kind {
            0 => self.crash(host, 3000),
            1 => {
                self.note(|| format!("{} pauses for {} ms", NAMES[host], length_us / MS));
                self.hosts[host].paused_until = self.now_us + length_us;
            }
            2 => self.cut(host, other, length_us),
            3 => {
                self.cut(host, other, length_us);
                self.cut(other, host, length_us);
            }
            4 => self.isolate(host),
            5 => self.cut_off(host, length_us),
            6 => self.wipe(host),
            7 => self.trim(host),
            8 => {
                // The others come back at once and know nothing of what they granted.
                self.isolate(host);
                (0..count).filter(|other| *other != host).for_each(|other| self.crash(other, 50));
            }
            9 => {
                // Mostly who shall lead, so that the lead goes back and forth.
                let preferred = self.coordinator.register.preferred.as_ref();
                let preferred =
                    preferred.and_then(|name| NAMES.iter().position(|known| *known == name.as_str()));
                let host = preferred.filter(|_| self.rng.random_bool(0.7)).unwrap_or(host);
                let count = self.rng.random_range(2..12);
                self.flap(host, count, length_us / 2);
            }
            10 => self.operator(host),
            RISE => self.begin_rise(host),
            _ => self.blackout(),
        }
    }

    /// Several lose power at the same moment.
    fn blackout(&mut self) {
        let share = self.rng.random_range(0.4..1.0);
        let restart_ms_max = [50, 3000][self.rng.random_range(0..2)];
        for host in 0..self.hosts.len() {
            if self.rng.random_bool(share) {
                self.lose_power(host, restart_ms_max);
            }
        }
    }

    pub(super) fn cut(&mut self, from: usize, to: usize, length_us: u64) {
        if from != to {
            self.note(|| format!("{} -> {} is cut", NAMES[from], NAMES[to]));
            self.cut.insert((from, to));
            self.after(length_us, Event::Heal { from, to });
        }
    }

    /// A disk is lost, as long as the configuration can bear it: fewer than w of its members may be gone.
    pub(super) fn wipe(&mut self, host: usize) {
        let gone = |copy: &Member| {
            let at = NAMES.iter().position(|name| *name == copy.name.as_str()).unwrap();
            at == host || copy.inc != self.hosts[at].inc()
        };
        let bears = |register: &Register| {
            let configuration = &register.configuration;
            configuration.isr.iter().filter(|copy| gone(copy)).count() < configuration.holders()
        };
        // Where unsynced tails are lost, too, the data of each member may be needed.
        let is_member = |register: &Register| register.configuration.entry(&NAMES[host].into()).is_some();
        let bears = |register: &Register| match self.weather.interval_us {
            Some(_) => !is_member(register),
            None => bears(register),
        };
        if bears(&self.coordinator.register) && self.asked.iter().all(bears) {
            self.summary.wipes += 1;
            self.lose_disk(host, 3000);
        }
    }

    pub(super) fn lose_disk(&mut self, host: usize, restart_ms_max: u64) {
        self.crash(host, restart_ms_max);
        self.note(|| format!("{} loses its disk", NAMES[host]));
        let machine = &mut self.hosts[host];
        machine.inc_count += 1;
        machine.remains_of.clear();
        machine.disk = Disk { is_interval: machine.disk.is_interval, ..Disk::default() };
    }

    /// The log's front is dropped, as far as it is applied.
    pub(super) fn trim(&mut self, host: usize) {
        let machine = &mut self.hosts[host];
        let Some(life) = &mut machine.life else { return };
        let index = machine.disk.durable.applied.saturating_sub(self.rng.random_range(0..=KEPT_COUNT_MAX));
        if index > machine.disk.view.begin && index <= life.replica.commit_index() {
            machine.disk.view.begin = index;
            machine.disk.durable.begin = index;
            life.replica.trimmed(index);
            self.note(|| format!("{} trims its log to {index}", NAMES[host]));
        }
    }

    /// Another field of the register is edited, or the primary is asked for something.
    pub(super) fn operator(&mut self, host: usize) {
        let mut register = self.coordinator.register.clone();
        if self.rng.random_bool(0.5) {
            register.version += 1;
            register.min_isr = self.rng.random_range(1..=register.replicas);
            // It may be one that is not in sync, for good.
            let preferred = self.rng.random_range(0..self.hosts.len());
            register.preferred = self.rng.random_bool(0.5).then(|| NAMES[preferred].into());
            self.note(|| format!("an operator writes {register:?}"));
            self.coordinator.write(register);
            self.hint_all();
            return;
        }
        let ack = if self.rng.random_bool(0.5) { Ack::One } else { Ack::All };
        let name: Name = NAMES[self.rng.random_range(0..self.hosts.len())].into();
        let wishes_ack = self.rng.random_bool(0.5);
        let _ = self.with(host, None, |life, now| {
            let _ = match wishes_ack {
                true => life.replica.wish_ack(now, ack),
                false => life.replica.wish_primary(now, &name),
            };
        });
    }
}
