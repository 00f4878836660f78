//! Rise: a replica falls behind, catches up, comes to lead, alone, and falls. What others had synced long before, it has
//! had for a moment.

use super::*;

/// How often it is looked whether the next thing may happen, and for how long.
const LOOK_US: u64 = 5 * MS;
const STAGE_US_MAX: u64 = 3_000 * MS;

/// How far it is.
#[derive(Clone, Copy)]
pub(super) struct Rise {
    host: usize,
    stage: Stage,
    /// It comes to lead because the others fall, and not by their hand-over.
    others_fall: bool,
    /// It has failed then.
    until_us: u64,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    CatchesUp,
    Leads,
    IsAlone,
}

impl World {
    pub(super) fn begin_rise(&mut self, host: usize) {
        // What others have synced meanwhile is what matters.
        let interval_us = self.weather.interval_us.unwrap_or(0);
        let behind_us = interval_us / 2 + self.rng.random_range(50 * MS..1500 * MS + interval_us);
        for other in 0..self.hosts.len() {
            self.cut(host, other, behind_us);
            self.cut(other, host, behind_us);
        }
        let until_us = self.now_us + behind_us + STAGE_US_MAX;
        let others_fall = self.rng.random_bool(0.5);
        self.after(behind_us, Event::Rise(Rise { host, stage: Stage::CatchesUp, others_fall, until_us }));
    }

    pub(super) fn rise(&mut self, rise: Rise) -> Result<(), String> {
        if self.healed || self.now_us > rise.until_us || self.hosts[rise.host].life.is_none() {
            return Ok(());
        }
        if !self.has_risen(rise) {
            self.after(LOOK_US, Event::Rise(rise));
            return Ok(());
        }
        self.note(|| format!("{} rises: {:?}", NAMES[rise.host], rise.stage));
        let others = (0..self.hosts.len()).filter(|other| *other != rise.host);
        let next = match (rise.stage, rise.others_fall) {
            (Stage::CatchesUp, true) => {
                others.for_each(|other| self.lose_power(other, 50));
                Stage::Leads
            }
            (Stage::CatchesUp, false) => {
                let name: Name = NAMES[rise.host].into();
                for other in others {
                    self.with(other, None, |life, now| {
                        let _ = life.replica.wish_primary(now, &name);
                    })?;
                }
                Stage::Leads
            }
            (Stage::Leads, true) | (Stage::IsAlone, _) => {
                self.lose_power(rise.host, 1000);
                return Ok(());
            }
            (Stage::Leads, false) => {
                for other in others {
                    self.cut(rise.host, other, STAGE_US_MAX);
                    self.cut(other, rise.host, STAGE_US_MAX);
                }
                Stage::IsAlone
            }
        };
        // Or some moments later.
        let delay_us = self.rng.random_range(0..20 * MS);
        let until_us = self.now_us + STAGE_US_MAX;
        self.after(delay_us, Event::Rise(Rise { stage: next, until_us, ..rise }));
        Ok(())
    }

    fn has_risen(&self, rise: Rise) -> bool {
        let isr = &self.coordinator.register.configuration.isr;
        let is_member = isr.iter().any(|copy| copy.name.as_str() == NAMES[rise.host]);
        let serves = |host: &Host| host.life.as_ref().is_some_and(|life| life.serves.is_some());
        match rise.stage {
            Stage::CatchesUp => {
                let other = |host: &&Host| host.name != NAMES[rise.host];
                let primary = self.hosts.iter().filter(other).find(|host| serves(host));
                let held = self.hosts[rise.host].disk.view.last();
                let committed = |host: &Host| host.life.as_ref().map(|life| life.replica.commit_index());
                is_member && primary.and_then(committed).is_some_and(|committed| held >= committed)
            }
            Stage::Leads => serves(&self.hosts[rise.host]),
            Stage::IsAlone => is_member && isr.len() == 1,
        }
    }
}
