//! Errands: what a replica asks of its host, carried out with whatever delay and loss there is.

use super::*;
use crate::disk::pack;

impl World {
    pub(super) fn carry_out(&mut self, host: usize, ready: Ready) -> Result<(), String> {
        let run = self.hosts[host].run_count;
        if let Some(why) = ready.halt {
            return Err(format!("{} halts: {why}", NAMES[host]));
        }
        if let Some(why) = ready.discard {
            self.note(|| format!("{} discards its data: {why}", NAMES[host]));
            self.summary.discards += 1;
            self.lose_disk(host, 100);
            return Ok(());
        }
        if let Some(stopped) = ready.stopped {
            self.note(|| format!("{} stops leading {}: {}", NAMES[host], stopped.epoch, stopped.why));
            let life = self.hosts[host].life.as_mut().unwrap();
            life.waiting.clear();
        }
        if let Some(epoch) = ready.took_office {
            self.note(|| format!("{} leads {epoch}", NAMES[host]));
            let life = self.hosts[host].life.as_ref().unwrap();
            self.truth.leads(epoch, &life.member.run)?;
            self.maybe_stumble(host);
            self.maybe_ambush(host, 1.0);
        }
        let mut is_full = false;
        for (id, write) in ready.writes {
            self.note(|| format!("{} writes {write:?}", NAMES[host]));
            if matches!(write, Write::Promise(_)) {
                self.maybe_ambush(host, 0.1);
            }
            let life = self.hosts[host].life.as_mut().unwrap();
            match &write {
                Write::Cut(index) => {
                    life.is_full = false;
                    self.truth.cut(host, life.replica.status().epoch, &life.member.inc, *index)?;
                }
                Write::Append(_) | Write::Barrier(_) | Write::Part(_)
                    if self.rng.random_bool(self.weather.full_disk) =>
                {
                    is_full |= !life.is_full;
                    life.is_full = true;
                }
                _ => {}
            }
            if life.is_full && !matches!(write, Write::Cut(_) | Write::Promise(_)) {
                self.begin_write(host, id, Change::Nothing)?;
                continue;
            }
            self.next_id += 1;
            let barrier = self.next_id;
            if let Write::Install(at) = &write {
                self.truth.installs(&self.hosts[host].disk.view.staged, *at)?;
                self.summary.snapshots += 1;
            }
            self.begin_write(host, id, Change::of(write, barrier))?;
        }
        for message in ready.messages {
            self.truth.says(host, &message);
            self.send(host, message);
        }
        for (id, ask) in ready.asks {
            self.ask(host, run, id, ask);
        }
        if ready.sync {
            let delay_us = self.rng.random_range(1..30) * MS;
            self.after(delay_us, Event::Sync { host, run, again: false });
        }
        for fetch in ready.fetches {
            let delay_us = self.rng.random_range(5..200);
            self.after(delay_us, Event::Fetch { host, run, fetch });
        }
        for load in ready.loads {
            let delay_us = self.rng.random_range(1..20) * MS;
            self.after(delay_us, Event::Load { host, run, load });
        }
        let life = self.hosts[host].life.as_mut().unwrap();
        life.snapshots.retain(|id, _| !ready.closes.contains(id));
        if let Some(commit) = ready.commit {
            self.commit(host, commit.index, commit.acknowledges)?;
        }
        for token in ready.reads {
            let life = self.hosts[host].life.as_mut().unwrap();
            if let Some(at) = life.reads.iter().position(|read| read.0 == token) {
                let (_, value, floor) = life.reads.swap_remove(at);
                self.summary.confirmed_reads += 1;
                self.truth
                    .read(value, floor)
                    .map_err(|what| format!("{what}, by a round at {}", NAMES[host]))?;
            }
        }
        let life = self.hosts[host].life.as_mut().unwrap();
        life.reads.retain(|read| !ready.reads_refused.contains(&read.0));
        let serves = life.replica.leads().filter(|_| life.replica.is_serving());
        if serves != life.serves {
            life.serves = serves;
            if let Some(epoch) = serves {
                self.truth.serves(epoch, &self.hosts[host].disk.view.entries)?;
            }
        }
        let life = self.hosts[host].life.as_ref().unwrap();
        if let Some(name) = life.replica.violation() {
            return Err(format!("{name} does not hold at {}", NAMES[host]));
        }
        self.look_at_deadline(host)?;
        self.sleep(host);
        if is_full {
            self.note(|| format!("the disk of {} is full", NAMES[host]));
            return self.with(host, None, |life, now| life.replica.append_failed(now));
        }
        Ok(())
    }

    pub(super) fn begin_write(&mut self, host: usize, id: u64, change: Change) -> Result<(), String> {
        if let Change::Append(entries) = &change {
            self.truth.appended(entries, self.now_us)?;
        }
        let slow = self.rng.random_bool(self.weather.slow_disk);
        let takes_us =
            if slow { self.rng.random_range(10..400) * MS } else { self.rng.random_range(50..3000) };
        let machine = &mut self.hosts[host];
        machine.disk.begin(Pending { id, change });
        let life = machine.life.as_mut().unwrap();
        let (at_us, run) = (life.written_at_us(self.now_us, takes_us), machine.run_count);
        self.at(at_us, Event::Written { host, run, id });
        Ok(())
    }

    pub(super) fn commit(&mut self, host: usize, index: u64, acknowledges: bool) -> Result<(), String> {
        let applies = self.rng.random_bool(0.1);
        let machine = &mut self.hosts[host];
        let life = machine.life.as_mut().unwrap();
        let from = std::mem::replace(&mut life.seen_commit, index);
        // As far as the primary knows, any of them may be what the register holds.
        let holders = self.asked.iter().chain(&self.asked_in_vain).chain([&self.coordinator.register]);
        let holders = holders.map(|register| register.configuration.holders()).min().unwrap();
        let view = &machine.disk.view.entries;
        self.truth.committed(view, (from.min(index), index), self.now_us, holders)?;
        if applies && machine.disk.is_interval && self.rng.random_bool(0.3) {
            // The engine has a life of its own, and may be on the disk before the log is.
            machine.disk.ahead = view[..index as usize].to_vec();
        }
        let durable = &mut machine.disk.durable;
        if applies
            && durable.entries[..]
                == machine.disk.view.entries[..durable.entries.len().min(machine.disk.view.entries.len())]
        {
            durable.applied = durable.applied.max(index.min(durable.last()));
        }
        while let Some(entry) = life.waiting.front().copied()
            && entry.0.index <= index
        {
            life.waiting.pop_front();
            if acknowledges {
                self.summary.acknowledged += 1;
                self.truth.acknowledged(entry)?;
            }
        }
        Ok(())
    }

    pub(super) fn send(&mut self, from: usize, message: Message) {
        let to = NAMES.iter().position(|name| *name == message.to.as_str()).unwrap();
        if self.cut.contains(&(from, to)) || self.rng.random_bool(self.weather.loss) {
            return;
        }
        let copies = 1 + u64::from(self.rng.random_bool(self.weather.doubles));
        for _ in 0..copies {
            let late = self.rng.random_bool(self.weather.late);
            let delay_us =
                if late { self.rng.random_range(1..3000) * MS } else { self.rng.random_range(30..1500) };
            let mut at_us = self.now_us + delay_us;
            if !late && (self.weather.ordered || self.healed) {
                let before_us = self.links.entry((from, to)).or_default();
                at_us = at_us.max(*before_us + 1);
                *before_us = at_us;
            }
            self.at(at_us, Event::Deliver(to, message.clone()));
        }
    }

    pub(super) fn ask(&mut self, host: usize, run: u64, id: u64, ask: Ask) {
        self.note(|| format!("{} asks {ask:?}", NAMES[host]));
        let away = self.cut_off.contains(&host);
        let unknown = away || self.rng.random_bool(self.weather.unknown);
        let lands = match (away, unknown) {
            (true, _) => Lands::Never,
            (_, true) if self.rng.random_bool(0.3) => Lands::Never,
            (_, true) => Lands::Unanswered,
            _ => Lands::Answered,
        };
        let slow = unknown && self.rng.random_bool(0.5);
        let delay_us =
            if slow { self.rng.random_range(1..4000) * MS } else { self.rng.random_range(200..4000) };
        if unknown {
            let answer_us = self.rng.random_range(1..500) * MS;
            self.after(answer_us, Event::Answer { host, run, id, answer: Answer::Unknown });
        }
        if let (Ask::CompareAndSet(target), Lands::Never) = (&ask, lands) {
            self.asked_in_vain.push(target.clone());
        } else if let Ask::CompareAndSet(target) = &ask {
            self.asked.push(target.clone());
            let names_another = target.epoch > self.coordinator.register.epoch;
            self.maybe_ambush(host, if names_another { 0.7 } else { 0.2 });
        }
        self.after(delay_us, Event::Arrive { host, run, id, ask, lands });
    }

    pub(super) fn arrive(
        &mut self,
        host: usize,
        run: u64,
        id: u64,
        ask: &Ask,
        lands: Lands,
    ) -> Result<(), String> {
        if matches!(lands, Lands::Never) {
            return Ok(());
        }
        let old = self.rng.random_bool(self.weather.old_reads);
        let known = &self.coordinator.register;
        let (before, epoch, loss_epoch) = (known.version, known.epoch, known.loss_epoch);
        let answer = self.coordinator.carry_out((host, run), ask, old);
        let register = self.coordinator.register.clone();
        if register.version > before {
            if let (Ask::CompareAndSet(_), true) = (ask, register.loss_epoch > loss_epoch) {
                let log = &self.hosts[host].disk.view.entries;
                self.summary.losses += 1;
                self.summary.lost +=
                    self.truth.loses(log, self.weather.interval_us.filter(|_| !self.ordered))?;
            }
            let is_own = register.primary.as_ref().is_some_and(|(name, _)| name.as_str() == NAMES[host]);
            self.summary.hand_backs += u64::from(register.epoch > epoch && !is_own);
            self.note(|| format!("register: {register:?}"));
            for asked in [&mut self.asked, &mut self.asked_in_vain] {
                asked.retain(|target| target.version >= register.version);
            }
            self.hint_all();
        }
        if matches!(lands, Lands::Answered) {
            let answer = if self.cut_off.contains(&host) { Answer::Unknown } else { answer };
            let delay_us = self.rng.random_range(200..4000);
            self.after(delay_us, Event::Answer { host, run, id, answer });
        }
        Ok(())
    }

    pub(super) fn hint_all(&mut self) {
        for host in 0..self.hosts.len() {
            if self.rng.random_bool(0.7) {
                let delay_us = self.rng.random_range(300..5000);
                self.after(delay_us, Event::Hint(host));
            }
        }
    }

    pub(super) fn fetch(&mut self, host: usize, run: u64, fetch: Fetch) -> Result<(), String> {
        if self.defer(host, |w, at| w.at(at, Event::Fetch { host, run, fetch: fetch.clone() })) {
            return Ok(());
        }
        let view = &self.hosts[host].disk.view;
        let mut records = Vec::new();
        let mut bytes = 0;
        for index in fetch.from_index..=fetch.upto_index.min(view.last()) {
            if fetch.from_index <= view.begin || (bytes > 0 && bytes + 8 > fetch.bytes_max) {
                break;
            }
            let (position, id) = view.entries[index as usize - 1];
            records.push(Record { position, payload: id.to_le_bytes().to_vec().into() });
            bytes += 8;
        }
        self.with(host, Some(run), |life, now| {
            life.replica.fetched(now, &fetch.to, fetch.from_index, records);
        })
    }

    pub(super) fn load(&mut self, host: usize, run: u64, load: Load) -> Result<(), String> {
        if self.defer(host, |w, at| w.at(at, Event::Load { host, run, load: load.clone() })) {
            return Ok(());
        }
        let unreadable = self.rng.random_bool(self.weather.unreadable);
        let share = self.rng.random_range(1..40);
        let machine = &mut self.hosts[host];
        let Some(life) = machine.life.as_mut().filter(|_| machine.run_count == run) else { return Ok(()) };
        let applied = life.replica.commit_index() as usize;
        let begin = || (machine.disk.view.entries[..applied].to_vec(), 0);
        let (entries, read) = life.snapshots.entry(load.snapshot).or_insert_with(begin);
        // Longer parts of a longer log, so that any is read in a second or two.
        let next = (*read + share * (1 + entries.len() / 1000)).min(entries.len());
        let bytes = pack(&entries[*read..next]);
        *read = next;
        let chunk = Chunk { at_index: entries.len() as u64, bytes, is_last: next == entries.len() };
        self.with(host, Some(run), |life, now| {
            life.replica.loaded(now, load.snapshot, Some(chunk).filter(|_| !unreadable));
        })
    }
}
