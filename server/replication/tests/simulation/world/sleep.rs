//! Sleep: a host that waits for its process's deadline, and what must hold of deadlines.

use super::*;

/// One step in so many is followed by a look at the deadline.
const LOOK_ONE_IN: u32 = 50;
/// Steps that one instant may ask for, as when a pre-vote ends, a promise holds already, and the register is due.
const STEP_COUNT_MAX: u32 = 3;

impl World {
    /// After every input: when to wake next.
    pub(super) fn sleep(&mut self, host: usize) {
        let machine = &mut self.hosts[host];
        let run = machine.run_count;
        let Some(life) = machine.life.as_ref().filter(|_| machine.sleeps) else { return };
        let Some(deadline_us) = life.replica.next_deadline_us() else { return };
        let at_us = machine.reached_us(deadline_us).max(self.now_us);
        let life = machine.life.as_mut().unwrap();
        if life.wakes_at_us.is_none_or(|known| at_us < known) {
            life.wakes_at_us = Some(at_us);
            self.at(at_us, Event::Wake { host, run });
        }
    }

    pub(super) fn wake(&mut self, host: usize, run: u64) -> Result<(), String> {
        if self.defer(host, |w, at| w.at(at, Event::Wake { host, run })) {
            return Ok(());
        }
        let machine = &mut self.hosts[host];
        let local_us = machine.local_us(self.now_us);
        let Some(life) = machine.life.as_mut().filter(|_| machine.run_count == run) else { return Ok(()) };
        life.wakes_at_us = None;
        if life.replica.next_deadline_us().is_some_and(|at_us| at_us <= local_us) {
            return self.with(host, Some(run), |life, now| life.replica.tick(now));
        }
        self.sleep(host);
        Ok(())
    }

    /// A tick before the deadline changes nothing; those at the deadline move it.
    pub(super) fn look_at_deadline(&mut self, host: usize) -> Result<(), String> {
        if !self.rng.random_ratio(1, LOOK_ONE_IN) {
            return Ok(());
        }
        let machine = &self.hosts[host];
        let local_us = machine.local_us(self.now_us);
        let Some(life) = &machine.life else { return Ok(()) };
        let deadline_us = life.replica.next_deadline_us().unwrap_or(local_us + RECOVERY_US);
        let mut other = life.replica.clone();
        if deadline_us > local_us {
            other.tick(self.rng.random_range(local_us..deadline_us));
            if outline(&other) != outline(&life.replica) {
                let (was, is) = (outline(&life.replica), outline(&other));
                return Err(format!("a tick before the deadline does something: {was} became {is}"));
            }
        }
        let local_us = local_us.max(deadline_us);
        for _ in 0..STEP_COUNT_MAX {
            other.tick(local_us);
            if other.next_deadline_us().is_none_or(|next_us| next_us > local_us) {
                return Ok(());
            }
        }
        Err(format!("ticks do not move their deadline: {}", outline(&other)))
    }
}

/// All of a replica but what time it is.
fn outline(replica: &Replica) -> String {
    let text = format!("{replica:?}");
    let (before, after) = text.split_once("now_us: ").expect("a replica knows the time");
    format!("{before}{}", after.trim_start_matches(|digit: char| digit.is_ascii_digit()))
}
