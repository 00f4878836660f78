//! The steps of a hand-over: when each is allowed, and what it does.

use std::fmt;

use stateright::{Model, Property};

use super::{
    book::{Book, Id, KEYS, Mark, Record, Version},
    mistake::Mistake,
    properties,
    state::{Change, Left, Open, Outcome, Shard, State, Table, Told},
};
use crate::check::Rules;

/// How much may happen.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Writes of clients.
    pub writes: u8,
    /// Hand-overs that are planned.
    pub plans: u8,
    /// Fail-overs, of the shard that has the slot at the start and of the other.
    pub fail_overs: [u8; 2],
    /// Records that are appended and not committed, per shard.
    pub tail: u8,
    /// Whether every state is asked if it leads to an end.
    pub ends: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { writes: 2, plans: 2, fail_overs: [1, 1], tail: 2, ends: true }
    }
}

/// Rule 16 within some bounds, right or with a mistake.
#[derive(Clone)]
pub struct Handover {
    /// How much may happen.
    pub bounds: Bounds,
    /// What is wrong, if anything.
    pub mistake: Option<Mistake>,
}

/// One step; the number is the shard that takes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// A client's write to a key is appended.
    Write(u8, u8),
    /// The next record is committed.
    Commit(u8),
    /// Another primary, with so much of the tail, and a table of that version.
    FailOver(u8, u8, Version),
    /// The table is read.
    Learn(u8, Version),
    /// SEAL is appended.
    Seal(u8),
    /// Staging begins.
    Begin(u8),
    /// A row is staged.
    Row(u8),
    /// A record is staged.
    Follow(u8),
    /// IMPORTED is appended.
    Import(u8),
    /// IMPORTED is told to the leader.
    Report(u8),
    /// UNSEAL is appended.
    Unseal(u8),
    /// CLEAN is appended.
    Clean(u8),
    /// Told to the leader: nothing is left to be done.
    Done(u8),
    /// A leader sends a compare-and-set.
    Ask(Change),
    /// One arrives.
    Arrive(Change),
}

impl Handover {
    /// Rule 16.
    pub fn right(bounds: Bounds) -> Handover {
        Handover { bounds, mistake: None }
    }

    /// With one mistake.
    pub fn wrong(mistake: Mistake, bounds: Bounds) -> Handover {
        Handover { bounds, mistake: Some(mistake) }
    }

    fn is(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// A shard's book with its tail: what its primary goes by.
    fn appended(&self, shard: &Shard) -> Book {
        let mut book = shard.book.clone();
        shard.tail.iter().for_each(|record| book.apply(*record, self.mistake));
        book
    }

    /// What of a source's log may be sent.
    fn sent(&self, shard: &Shard) -> Book {
        if self.is(Mistake::SendsUncommitted) { self.appended(shard) } else { shard.book.clone() }
    }

    /// The table names the shard, and the tenure that its log has come to. So neither a seal nor a hand-over that is
    /// missing in the log is overlooked.
    pub fn serves(&self, state: &State, shard: u8) -> bool {
        let (known, book) = (state.known(shard), self.appended(&state.shards[usize::from(shard)]));
        if self.is(Mistake::ServesStaging)
            && let Some(Open { id, source, .. }) = known.in_flight()
            && source != shard
            && matches!(book.mark, Mark::Staging { id: of, cursor, .. } if of == id && usize::from(cursor) == KEYS)
        {
            return true;
        }
        let table = self.taken_for(state, shard);
        book.mark == Mark::Held && table.owner == shard && table.tenure == book.tenure
    }

    /// What a shard takes for the table.
    fn taken_for(&self, state: &State, shard: u8) -> Table {
        let known = *state.known(shard);
        let is_sent = state.requests.contains(&Change::Decide(Outcome::Moved));
        if self.is(Mistake::TakesSentForDone)
            && is_sent
            && state.shards[usize::from(shard)].table == state.version()
        {
            return changed(&known, Change::Decide(Outcome::Moved), state.version() + 1);
        }
        known
    }

    /// By what it knows: what a migration that the shard is marked with has come to, if it is decided.
    fn outcome(&self, state: &State, shard: u8, id: Id, before: Id, marked: Version) -> Option<Outcome> {
        let known = state.known(shard);
        let is_newer =
            state.shards[usize::from(shard)].table > marked || self.is(Mistake::UnsealsOnOlderTable);
        let is_in_flight = known.in_flight().is_some_and(|open| open.id == id);
        let kept = known.owner == shard && known.tenure == before;
        (is_newer && !is_in_flight).then_some(if kept { Outcome::Aborted } else { Outcome::Moved })
    }

    /// The migration in flight of which the shard is the target, and its source's log.
    fn incoming(&self, state: &State, shard: u8) -> Option<(Open, Book)> {
        let known = state.known(shard);
        let open = known.in_flight().filter(|open| open.source != shard)?;
        let source = self.sent(&state.shards[usize::from(open.source)]);
        let has = matches!(source.mark, Mark::Held | Mark::Sealed(_)) && source.tenure == known.tenure;
        // Nothing is sent for a plan that the source does not know.
        let knows = state.shards[usize::from(open.source)].table >= open.id;
        (has && knows).then_some((open, source))
    }

    /// The record that a step of a shard appends.
    fn record(&self, state: &State, action: Action) -> Option<Record> {
        let shard = match action {
            Action::Write(shard, _)
            | Action::Seal(shard)
            | Action::Begin(shard)
            | Action::Row(shard)
            | Action::Follow(shard)
            | Action::Import(shard)
            | Action::Unseal(shard)
            | Action::Clean(shard) => shard,
            _ => return None,
        };
        let version = state.shards[usize::from(shard)].table;
        let book = self.appended(&state.shards[usize::from(shard)]);
        let staged = || match (self.incoming(state, shard)?, book.mark) {
            ((open, source), Mark::Staging { id, cursor, at }) if open.id == id => {
                Some((open, source, cursor, at))
            }
            _ => None,
        };
        match action {
            Action::Write(_, key) => {
                (self.serves(state, shard)).then_some(Record::Write(key, state.left.next_write))
            }
            Action::Seal(_) => {
                let known = state.known(shard);
                let open = known.in_flight().filter(|open| open.source == shard)?;
                (book.mark == Mark::Held && book.tenure == known.tenure)
                    .then_some(Record::Seal(open.id, version))
            }
            Action::Begin(_) => {
                let (open, source) = self.incoming(state, shard)?;
                let over = self.is(Mistake::PlansWhileOpen) && matches!(book.mark, Mark::Sealed(_));
                (book.mark == Mark::Free || over).then_some(Record::Begin(open.id, version, source.end()))
            }
            Action::Row(_) => {
                let (_, source, cursor, at) = staged()?;
                let at = if self.is(Mistake::OlderRow) { at.saturating_sub(1) } else { at };
                (usize::from(cursor) < KEYS).then(|| Record::Row(source.row_at(cursor, at)))
            }
            Action::Follow(_) => {
                let (_, source, _, at) = staged()?;
                source.history.get(usize::from(at)).map(|(key, write)| Record::Follow(*key, *write))
            }
            Action::Import(_) => {
                let known = state.known(shard).in_flight()?;
                let Mark::Staging { id, cursor, at } = book.mark else { return None };
                let is_whole = id == known.id && usize::from(cursor) == KEYS;
                let sealed = state.told(id).and_then(|told| told.sealed);
                (is_whole && sealed == Some(at)).then_some(Record::Imported(id, version))
            }
            Action::Unseal(_) => {
                let Mark::Sealed(id) = book.mark else { return None };
                let outcome = self.outcome(state, shard, id, book.tenure, book.version);
                let kept = outcome == Some(Outcome::Aborted) || self.is(Mistake::UnsealsByTimer);
                kept.then_some(Record::Unseal(version))
            }
            Action::Clean(_) => self.cleaned(state, shard, &book).map(|id| Record::Clean(id, version)),
            _ => None,
        }
    }

    /// The migration for which what a shard has is to be deleted.
    fn cleaned(&self, state: &State, shard: u8, book: &Book) -> Option<Id> {
        let outcome = |id, before| self.outcome(state, shard, id, before, book.version);
        if self.is(Mistake::PlansWhileOpen) {
            // It goes by the table and its id, whatever the mark says by now.
            let late = state.told.iter().find(|told| {
                let table = state.tables.get(usize::from(told.id));
                let gave = table.and_then(|table| table.open).is_some_and(|open| open.source == shard);
                let known = state.known(shard);
                gave && !told.done[usize::from(shard)] && known.tenure >= told.id && told.sealed.is_some()
            });
            return late.map(|told| told.id);
        }
        match book.mark {
            Mark::Sealed(id) => {
                let early =
                    self.is(Mistake::DeletesBeforeSwitch) && state.told(id).is_some_and(|told| told.imported);
                (early || outcome(id, book.tenure) == Some(Outcome::Moved)).then_some(id)
            }
            Mark::Staging { id, .. } => outcome(id, id).is_some().then_some(id),
            // Imported, and the table says that it stays with the source.
            Mark::Held => {
                let known = state.known(shard);
                let is_owner = known.owner == shard && known.tenure == book.tenure;
                let id = book.tenure;
                (id > 0 && !is_owner && outcome(id, id).is_some()).then_some(id)
            }
            Mark::Free => None,
        }
    }

    /// Whether nothing of a decided migration is left to be done by a shard. It is told only when committed.
    fn is_done(&self, state: &State, shard: u8) -> Option<Id> {
        let known = state.known(shard);
        let open = known.open?;
        let outcome = open.outcome?;
        let Shard { book, tail, .. } = &state.shards[usize::from(shard)];
        let is_done = match (outcome, open.source == shard) {
            (Outcome::Moved, true) => {
                let erased =
                    self.is(Mistake::CleanErasesSeal) && book.mark == Mark::Held && book.version == 0;
                book.mark == Mark::Free || erased
            }
            (Outcome::Moved, false) => true,
            (Outcome::Aborted, true) => book.mark == Mark::Held && book.tenure == known.tenure,
            (Outcome::Aborted, false) => book.mark == Mark::Free,
        };
        let told = state.told(open.id)?;
        (is_done && tail.is_empty() && !told.done[usize::from(shard)]).then_some(open.id)
    }

    fn may_ask(&self, state: &State, change: Change) -> bool {
        let Some(table) = state.tables.last() else { return false };
        match change {
            Change::Plan => {
                let early = self.is(Mistake::PlansWhileOpen) || self.is(Mistake::PlansEarly);
                let is_open = if early { table.in_flight().is_some() } else { table.open.is_some() };
                !is_open && state.left.plans > 0
            }
            Change::Decide(outcome) => table.in_flight().is_some_and(|open| {
                outcome == Outcome::Aborted || state.told(open.id).is_some_and(|told| told.imported)
            }),
            Change::Close => table.open.is_some_and(|open| {
                let done = state.told(open.id).is_some_and(|told| told.done == [true; 2]);
                open.outcome.is_some() && (done || self.is(Mistake::ClosesEarly))
            }),
        }
    }

    /// Whether a step may be taken.
    pub fn allows(&self, state: &State, action: Action) -> bool {
        match action {
            Action::Commit(shard) => !state.shards[usize::from(shard)].tail.is_empty(),
            Action::FailOver(shard, kept, version) => {
                let Shard { book, tail, .. } = &state.shards[usize::from(shard)];
                let mut book = book.clone();
                let kept = tail.iter().take(usize::from(kept));
                kept.for_each(|record| book.apply(*record, self.mistake));
                let floor = if self.is(Mistake::UnsealsOnOlderTable) { 0 } else { book.version };
                state.left.fail_overs[usize::from(shard)] > 0 && version >= floor
            }
            Action::Learn(shard, version) => state.shards[usize::from(shard)].table < version,
            Action::Report(shard) => self.imported(state, shard).is_some(),
            Action::Done(shard) => self.is_done(state, shard).is_some(),
            Action::Ask(change) => !state.requests.contains(&change) && self.may_ask(state, change),
            Action::Arrive(change) => state.requests.contains(&change),
            _ => self.record(state, action).is_some(),
        }
    }

    /// The migration that a shard has imported, if that is not told yet.
    fn imported(&self, state: &State, shard: u8) -> Option<Id> {
        let at = &state.shards[usize::from(shard)];
        let book = if self.is(Mistake::ReportsUncommitted) { self.appended(at) } else { at.book.clone() };
        let told = state.told(book.tenure).filter(|told| !told.imported)?;
        (book.mark == Mark::Held).then_some(told.id)
    }

    /// The state after a step that is allowed.
    pub fn after(&self, state: &State, action: Action) -> State {
        let mut next = state.clone();
        if let Some(record) = self.record(state, action) {
            let (Action::Write(shard, _)
            | Action::Seal(shard)
            | Action::Begin(shard)
            | Action::Row(shard)
            | Action::Follow(shard)
            | Action::Import(shard)
            | Action::Unseal(shard)
            | Action::Clean(shard)) = action
            else {
                return next;
            };
            next.shards[usize::from(shard)].tail.push(record);
            match record {
                Record::Write(..) => next.left.next_write += 1,
                Record::Seal(id, _) if self.is(Mistake::SendsUncommitted) => {
                    self.tell_sealed(&mut next, shard, id)
                }
                _ => {}
            }
        }
        match action {
            Action::Commit(shard) => {
                let record = next.shards[usize::from(shard)].tail.remove(0);
                next.shards[usize::from(shard)].book.apply(record, self.mistake);
                match record {
                    Record::Write(key, write) => next.truth[usize::from(key)] = write,
                    Record::Seal(id, _) => self.tell_sealed(&mut next, shard, id),
                    _ => {}
                }
            }
            Action::FailOver(shard, kept, version) => {
                next.left.fail_overs[usize::from(shard)] -= 1;
                let at = &mut next.shards[usize::from(shard)];
                at.tail.truncate(usize::from(kept));
                at.table = version;
                if self.is(Mistake::DropsStagingAtFailOver) {
                    let book = self.appended(at);
                    let imported = state.tables[usize::from(version)].in_flight().map(|open| open.id);
                    match book.mark {
                        Mark::Staging { id, .. } => at.tail.push(Record::Clean(id, version)),
                        Mark::Held if imported == Some(book.tenure) => {
                            at.tail.push(Record::Clean(book.tenure, version));
                        }
                        _ => {}
                    }
                }
            }
            Action::Learn(shard, version) => next.shards[usize::from(shard)].table = version,
            Action::Report(shard) => {
                if let Some(told) = self.imported(state, shard).and_then(|id| next.told_mut(id)) {
                    told.imported = true;
                }
            }
            Action::Done(shard) => {
                if let Some(told) = self.is_done(state, shard).and_then(|id| next.told_mut(id)) {
                    told.done[usize::from(shard)] = true;
                }
            }
            Action::Ask(change) => {
                next.requests.push(change);
                next.requests.sort_unstable();
            }
            Action::Arrive(change) => {
                let version = state.version() + 1;
                let table = changed(&state.tables[usize::from(state.version())], change, version);
                next.tables.push(table);
                // The others expect a version that is gone.
                next.requests.clear();
                if change == Change::Plan {
                    next.left.plans -= 1;
                    next.told.push(Told { id: version, sealed: None, imported: false, done: [false; 2] });
                }
            }
            _ => {}
        }
        next
    }

    /// The source says behind which record it is sealed.
    fn tell_sealed(&self, state: &mut State, shard: u8, id: Id) {
        let end = self.sent(&state.shards[usize::from(shard)]).end();
        if let Some(told) = state.told_mut(id) {
            told.sealed = Some(end);
        }
    }
}

/// The table after a change of version `version`.
fn changed(table: &Table, change: Change, version: Version) -> Table {
    let mut table = *table;
    match (change, table.open) {
        (Change::Plan, _) => table.open = Some(Open { id: version, source: table.owner, outcome: None }),
        (Change::Decide(outcome), Some(open)) => {
            table.open = Some(Open { outcome: Some(outcome), ..open });
            if outcome == Outcome::Moved {
                (table.owner, table.tenure) = (1 - open.source, open.id);
            }
        }
        (Change::Close, _) => table.open = None,
        (Change::Decide(_), None) => {}
    }
    table
}

impl Model for Handover {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let shard = |holds| Shard { book: Book::first(holds), tail: Vec::new(), table: 0 };
        vec![State {
            tables: vec![Table { owner: 0, tenure: 0, open: None }],
            requests: Vec::new(),
            shards: [shard(true), shard(false)],
            told: Vec::new(),
            truth: [0; KEYS],
            left: Left { next_write: 1, plans: self.bounds.plans, fail_overs: self.bounds.fail_overs },
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for shard in 0..2 {
            let has_room = state.shards[usize::from(shard)].tail.len() < usize::from(self.bounds.tail);
            if has_room {
                if state.left.next_write <= self.bounds.writes {
                    actions.extend((0..KEYS as u8).map(|key| Action::Write(shard, key)));
                }
                for alone in [
                    Action::Seal,
                    Action::Begin,
                    Action::Row,
                    Action::Follow,
                    Action::Import,
                    Action::Unseal,
                    Action::Clean,
                ] {
                    actions.push(alone(shard));
                }
            }
            actions.extend([Action::Commit(shard), Action::Report(shard), Action::Done(shard)]);
            let tail = state.shards[usize::from(shard)].tail.len() as u8;
            for version in 0..=state.version() {
                actions.push(Action::Learn(shard, version));
                actions.extend((0..=tail).map(|kept| Action::FailOver(shard, kept, version)));
            }
        }
        for change in
            [Change::Plan, Change::Decide(Outcome::Moved), Change::Decide(Outcome::Aborted), Change::Close]
        {
            actions.extend([Action::Ask(change), Action::Arrive(change)]);
        }
        actions.retain(|action| self.allows(state, *action));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(self.after(state, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.bounds)
    }
}

impl Rules for Handover {
    fn epilogue(&self, property: &str, last: &State) -> String {
        let stuck = (property == properties::ENDS).then(|| self.stuck(last)).flatten();
        let Some((steps, state)) = stuck else { return String::new() };
        let steps: String = steps.iter().map(|step| format!("      {step}\n")).collect();
        format!("  with no more faults:\n{steps}   => {state}\n  and nothing more can be done\n")
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Write(shard, key) => write!(f, "shard {shard} appends a client's write of key {key}"),
            Action::Commit(shard) => write!(f, "shard {shard} commits its next record"),
            Action::FailOver(shard, kept, version) => write!(
                f,
                "shard {shard} fails over, with {kept} records of its tail, to a primary that knows table {version}"
            ),
            Action::Learn(shard, version) => write!(f, "shard {shard} reads table {version}"),
            Action::Seal(shard) => write!(f, "shard {shard} appends SEAL"),
            Action::Begin(shard) => write!(f, "shard {shard} begins to stage"),
            Action::Row(shard) => write!(f, "shard {shard} stages the next row"),
            Action::Follow(shard) => write!(f, "shard {shard} stages the source's next record"),
            Action::Import(shard) => write!(f, "shard {shard} appends IMPORTED"),
            Action::Report(shard) => write!(f, "shard {shard} tells the leader that it has imported"),
            Action::Unseal(shard) => write!(f, "shard {shard} appends UNSEAL"),
            Action::Clean(shard) => write!(f, "shard {shard} appends CLEAN"),
            Action::Done(shard) => write!(f, "shard {shard} tells the leader that it is done"),
            Action::Ask(change) => write!(f, "a leader sends a compare-and-set: {change:?}"),
            Action::Arrive(change) => write!(f, "a compare-and-set arrives: {change:?}"),
        }
    }
}
