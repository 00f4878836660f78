//! What must be true in every state.

use stateright::Property;

use crate::bounds::Bounds;
use crate::log::Log;
use crate::replica::all_names;
use crate::shard::Shard;
use crate::state::{State, Wrong};
use crate::variant::Variant;

/// No committed write, hence no acknowledged one, is missing from the log of the primary that the register names.
pub const DURABLE: &str = "no acknowledged write is lost";
/// Rule 1, over every log there is and everything ever committed.
pub const ONE_RECORD: &str = "one record per epoch and index";
/// A read, under the lease or after a round, sees every write that was committed before it began.
pub const LINEARIZABLE: &str = "reads are linearizable";
/// Rule 10.
pub const MIN_ISR: &str = "no acknowledgement below min_isr";
/// See [`crate::recovery`].
pub const NO_DEAD_END: &str = "no dead end";
/// Not a property of the rules: the exploration came as far as its bounds should let it.
pub const LAST_EPOCH: &str = "reached: the last epoch serves, with a write of an earlier one";
/// The same, if there are wipes and reconfigurations.
pub const REJOINED: &str = "reached: a wiped replica is in the ISR again";
/// The same, if there are fail-backs.
pub const FAILED_BACK: &str = "reached: an heir serves while the one who resigned does not know it";

/// Those that the bounds say something about.
pub fn all(bounds: &Bounds) -> Vec<Property<Shard>> {
    let mut all = vec![
        Property::always(DURABLE, |shard: &Shard, state: &State| is_durable(shard, state)),
        Property::always(ONE_RECORD, |_, state: &State| logs_match(state)),
        Property::always(MIN_ISR, |_, state: &State| state.wrong != Some(Wrong::ThinAck)),
    ];
    if bounds.leases || bounds.rounds {
        all.push(Property::always(LINEARIZABLE, |shard: &Shard, state: &State| {
            reads_are_linearizable(shard, state)
        }));
    }
    if bounds.dead_ends {
        all.push(Property::always(NO_DEAD_END, |shard: &Shard, state: &State| {
            shard.dead_end(state).is_none()
        }));
    }
    all.extend(reached(bounds));
    all
}

/// What an exploration of some size must have come to see; otherwise its bounds prove little.
fn reached(bounds: &Bounds) -> Vec<Property<Shard>> {
    let mut reached = Vec::new();
    if bounds.epochs > 1 && bounds.writes > 0 {
        reached.push(Property::sometimes(LAST_EPOCH, |shard: &Shard, state: &State| {
            let serves =
                |name| state.office_in(name, shard.bounds.epochs).is_some_and(|office| office.is_settled());
            let last = state.committed.last_epoch();
            all_names().any(serves) && 0 < last && last < shard.bounds.epochs
        }));
    }
    if bounds.wipes > 0 && bounds.changes > 1 {
        reached.push(Property::sometimes(REJOINED, |_, state: &State| {
            let Some(office) = state.replicas[state.register.primary].office.as_ref() else { return false };
            let second = |(_, incarnation)| incarnation == crate::replica::Incarnation::Second;
            office.configuration.members().any(second)
        }));
    }
    if bounds.fail_backs > 0 {
        reached.push(Property::sometimes(FAILED_BACK, |_, state: &State| {
            let stopped = |name| state.replicas[name].office.as_ref().is_some_and(|office| office.stopped);
            let heir = state.office_in(state.register.primary, state.register.epoch);
            heir.is_some_and(|heir| heir.is_settled()) && all_names().any(stopped)
        }));
    }
    reached
}

pub(crate) fn is_durable(shard: &Shard, state: &State) -> bool {
    let kept = |log: Log| state.committed.is_prefix_of(log);
    let unharmed = !matches!(state.wrong, Some(Wrong::CommitsDiffer | Wrong::KnownCut));
    unharmed && ruling_log(shard, state).is_none_or(kept)
}

/// The log that the shard goes on with: the present primary's. If the register names a process that ended
/// before it took office, nobody will ever go on with what that one had.
fn ruling_log(shard: &Shard, state: &State) -> Option<Log> {
    let register = &state.register;
    if let Some(stream) = state.stream(register.epoch) {
        return Some(stream.log);
    }
    let replica = &state.replicas[register.primary];
    let lives = replica.run == register.run || shard.is(Variant::ResumesEpoch);
    lives.then_some(replica.log)
}

fn logs_match(state: &State) -> bool {
    let mut logs = [Log::default(); 12];
    let present = all_names().map(|name| state.replicas[name].log);
    let sent = state.streams.iter().flatten().map(|stream| stream.log);
    let mut count = 0;
    for log in present.chain(sent).chain([state.committed]) {
        logs[count] = log;
        count += 1;
    }
    let logs = &logs[..count];
    logs.iter().enumerate().all(|(place, one)| logs[..place].iter().all(|other| one.matches(*other)))
}

fn reads_are_linearizable(shard: &Shard, state: &State) -> bool {
    all_names().all(|name| {
        let round = state.replicas[name].office.as_ref().is_some_and(|office| shard.round_confirmed(office));
        !round && !shard.reads_stale(state, name)
    })
}
