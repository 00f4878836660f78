//! Rules 1, 6, 7: who promises the next epoch, who takes the shard, and how a primary begins.

use crate::log::Record;
use crate::replica::{Name, Names, Run, all_names};
use crate::shard::Shard;
use crate::state::{Office, Report, State, Stream};
use crate::variant::Variant;

impl Shard {
    /// A member whose promise to the present primary has run out joins, once per process. The pre-vote only
    /// keeps it from doing so needlessly, so it is left out; a primary may join, too.
    pub(crate) fn may_report(&self, state: &State, b: Name) -> bool {
        let replica = &state.replicas[b];
        let reported = state.reports[b].as_ref().is_some_and(|report| report.run == replica.run);
        let member = state.register.configuration.isr[b];
        let counts = member == Some(replica.incarnation) || self.is(Variant::BareNames) && member.is_some();
        let next = state.register.epoch + 1;
        counts
            && !reported
            && replica.silent_ticks == 0
            && replica.promised <= next
            && next <= self.bounds.epochs
    }

    /// Rule 2: the promise is synced before the report is given, and a primary stops before it promises. What
    /// it had not synced is not in the report.
    pub(crate) fn report(&self, state: &mut State, b: Name) {
        let next = state.register.epoch + 1;
        let replica = &mut state.replicas[b];
        replica.promised = next;
        replica.follows = 0;
        replica.office = None;
        let end = (replica.log.last_epoch(), replica.log.len());
        state.reports[b] = Some(Report { incarnation: replica.incarnation, run: replica.run, end });
    }

    /// Rule 6: n - w + 1 reports of members, by the register's version that is read and then expected; among
    /// them the winner's is the highest. Any such set will do, for a candidate may not see the others, or
    /// pass them over; so will any of those that are equal.
    pub(crate) fn may_elect(&self, state: &State, a: Name, reporters: Names) -> bool {
        if state.register.epoch >= self.bounds.epochs {
            return false;
        }
        let Some(winner) = &state.reports[a] else { return false };
        reporters.len() == self.reports_needed(state)
            && reporters.iter().all(|name| {
                let report = state.reports[name].as_ref();
                report.is_some_and(|report| {
                    self.report_counts(state, name, report) && self.is_best(winner, report)
                })
            })
    }

    fn reports_needed(&self, state: &State) -> usize {
        let needed = state.register.configuration.reports_needed();
        if self.is(Variant::TooFewReports) { (needed - 1).max(1) } else { needed }
    }

    /// A report counts if it comes from the data that the register names. Wiped since then or not: what
    /// matters is what it had when it promised.
    fn report_counts(&self, state: &State, name: Name, report: &Report) -> bool {
        let member = state.register.configuration.isr[name];
        member == Some(report.incarnation) || self.is(Variant::BareNames) && member.is_some()
    }

    /// The highest (last epoch, last index).
    fn is_best(&self, winner: &Report, other: &Report) -> bool {
        if self.is(Variant::LowestLog) { winner.end <= other.end } else { winner.end >= other.end }
    }

    /// The isr stays as it was. The new primary removes the absent by rule 4, when it knows what the
    /// remaining hold.
    pub(crate) fn elect(&self, state: &mut State, a: Name, reporters: Names) {
        let Some(run) = state.reports[a].as_ref().map(|report| report.run) else { return };
        state.register.version += 1;
        if self.is(Variant::ReportersBecomeIsr) {
            let absent = all_names().filter(|name| !reporters.contains(*name));
            absent.for_each(|name| state.register.configuration.isr[name] = None);
        }
        self.name_primary(state, a, run);
    }

    /// Rule 1: with another primary the epoch grows. Entries of the election that is over count no more.
    pub(crate) fn name_primary(&self, state: &mut State, a: Name, run: Run) {
        state.register.epoch += 1;
        state.register.primary = a;
        state.register.run = run;
        state.reports = Default::default();
    }

    /// Rule 1: the register names a process. One that has been started since is not the primary, and does not
    /// resume the epoch.
    pub(crate) fn may_take_office(&self, state: &State, a: Name) -> bool {
        let (register, replica) = (&state.register, &state.replicas[a]);
        let named = register.primary == a && (register.run == replica.run || self.is(Variant::ResumesEpoch));
        let holds = state.office_in(a, register.epoch).is_some();
        named && !holds && replica.promised <= register.epoch
    }

    /// Rule 7: the first thing a primary appends is the BARRIER of its epoch.
    pub(crate) fn take_office(&self, state: &mut State, a: Name) {
        let (epoch, configuration) = (state.register.epoch, state.register.configuration);
        let replica = &mut state.replicas[a];
        // Only a primary that resumes its epoch has a BARRIER of it.
        let barrier = replica.log.start_of(epoch).unwrap_or(replica.log.len() + 1);
        let log = if barrier > replica.log.len() {
            replica.log.with(Record { epoch, write: None })
        } else {
            replica.log
        };
        let mut office = Office::new(epoch, barrier, configuration, state.register.version);
        office.acked[a][replica.incarnation as usize] = replica.log.len();
        replica.promised = epoch;
        replica.follows = 0;
        replica.office = Some(office);
        state.streams[usize::from(epoch)] = Some(Stream { primary: a, log });
        // Followers match their logs with each process that sends to them; in the right rules none has sent
        // in this epoch before.
        for follower in state.replicas.0.iter_mut().filter(|follower| follower.follows == epoch) {
            follower.follows = 0;
        }
    }
}
