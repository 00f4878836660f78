//! Rule 9: the acting primary gives the shard to another, here to any member of the ISR that has all of its log.

use crate::replica::Name;
use crate::shard::Shard;
use crate::state::{Change, Request, State};
use crate::variant::Variant;

impl Shard {
    /// No reconfiguration is open (rule 4: one at a time), and the other holds the whole log. The primary has
    /// stopped before it waited for that; stopping here, at the last moment, is the case with more in it. The
    /// heir is the process whose data the isr names: one that came after a wipe has the name, and nothing
    /// else. After an edit by an operator the primary resigns again, on the new version.
    pub(crate) fn may_resign(&self, state: &State, a: Name, b: Name) -> bool {
        let Some(office) = &state.replicas[a].office else { return false };
        let Some(stream) = state.stream(office.epoch) else { return false };
        let heir = office.configuration.isr[b];
        let same_data = heir == Some(state.replicas[b].incarnation) || self.is(Variant::HeirByName);
        let whole = heir.is_some_and(|incarnation| office.acked[b][incarnation as usize] == stream.log.len());
        let open = state.requests.iter().flatten().any(|request| request.sender == a);
        let epoch_left = state.register.epoch < self.bounds.epochs;
        state.left.fail_backs > 0 && same_data && whole && office.pending.is_none() && !open && epoch_left
    }

    /// It stays stopped whatever comes of it: the outcome may be unknown for ever.
    pub(crate) fn resign(&self, state: &mut State, a: Name, b: Name) {
        let run = state.replicas[b].run;
        let Some(office) = &mut state.replicas[a].office else { return };
        office.stopped = true;
        let request = Request { sender: a, expected: office.version, change: Change::Resign(b, run) };
        state.left.fail_backs -= 1;
        state.send(request);
    }
}
