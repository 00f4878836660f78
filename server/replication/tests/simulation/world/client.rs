//! Client: writes to and reads from whoever takes it.

use super::*;

impl World {
    /// A client writes, or reads.
    pub(super) fn client(&mut self) -> Result<(), String> {
        let delay_us = self.rng.random_range(1..=2 * self.weather.client_us);
        self.after(delay_us, Event::Client);
        let host = self.rng.random_range(0..self.hosts.len());
        let writes = self.rng.random_bool(0.5);
        let count = self.rng.random_range(1..4);
        let machine = &mut self.hosts[host];
        if machine.paused_until > self.now_us {
            return Ok(());
        }
        let local_us = machine.local_us(self.now_us);
        let Some(life) = &mut machine.life else { return Ok(()) };
        if writes {
            let Ok(epoch) = life.replica.may_write() else { return Ok(()) };
            let mut entries = Vec::new();
            for _ in 0..count {
                self.next_id += 1;
                let index = machine.disk.view.last() + 1 + entries.len() as u64;
                entries.push((Position { epoch, index }, self.next_id));
            }
            life.waiting.extend(&entries);
            self.summary.appended += count;
            let id = life.replica.appended(local_us, count).expect("it leads");
            self.note(|| format!("{} appends {entries:?}", NAMES[host]));
            self.begin_write(host, id, Change::Append(entries))?;
            self.with(host, None, |_, _| {})
        } else if life.replica.is_serving() {
            let (value, floor) = (life.replica.commit_index(), self.truth.floor());
            let run = machine.run_count;
            let delay_us = self.rng.random_range(0..300);
            self.after(delay_us, Event::Check { host, run, value, floor });
            Ok(())
        } else {
            let applied = life.replica.commit_index();
            let Some(fresh_us) = life.replica.fresh_as_of_us(applied) else { return Ok(()) };
            if fresh_us > local_us {
                return Err(format!("{} is fresh as of later than now", NAMES[host]));
            }
            self.summary.bounded_reads += 1;
            self.summary.aged_ms += (local_us - fresh_us) / MS;
            let from_us = machine.reached_us(fresh_us);
            self.truth.read_bounded(applied, from_us).map_err(|what| format!("{what}, by {}", NAMES[host]))
        }
    }

    /// The value was read some time ago; may it be answered?
    pub(super) fn check(&mut self, host: usize, run: u64, value: u64, floor: Floor) -> Result<(), String> {
        if self.defer(host, |w, at| w.at(at, Event::Check { host, run, value, floor })) {
            return Ok(());
        }
        let machine = &mut self.hosts[host];
        let local_us = machine.local_us(self.now_us);
        let Some(life) = machine.life.as_mut().filter(|_| machine.run_count == run) else { return Ok(()) };
        if life.replica.holds_lease(local_us) {
            self.summary.leased_reads += 1;
            return self
                .truth
                .read(value, floor)
                .map_err(|what| format!("{what}, under the lease of {}", NAMES[host]));
        }
        self.next_id += 1;
        let token = self.next_id;
        self.with(host, Some(run), |life, now| {
            if life.replica.confirm_read(now, token).is_ok() {
                life.reads.push((token, value, floor));
            }
        })
    }
}
