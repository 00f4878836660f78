use super::*;

fn event(call: Call, begun: u64, ended: u64, end: End) -> Event {
    Event { key: "key".into(), call, begun, ended, end }
}

fn put(value: u64, begun: u64, ended: u64) -> Event {
    event(Call::Put(value), begun, ended, End::Written(value))
}

fn get(value: Option<u64>, begun: u64, ended: u64) -> Event {
    event(Call::Get, begun, ended, End::Read(value.map(|value| (value, value))))
}

fn unknown(call: Call, begun: u64) -> Event {
    event(call, begun, begun + 1, End::Unknown)
}

fn is_found(events: &[Event]) -> bool {
    match find(events) {
        Order::Found => true,
        Order::None(_) => false,
        Order::Undecided => panic!("undecided"),
    }
}

#[test]
fn operations_one_after_the_other_have_their_order() {
    assert!(is_found(&[]));
    assert!(is_found(&[
        get(None, 1, 2),
        put(1, 3, 4),
        get(Some(1), 5, 6),
        put(2, 7, 8),
        get(Some(2), 9, 10)
    ]));
    assert!(!is_found(&[put(1, 3, 4), get(None, 5, 6)]), "a lost write");
    assert!(!is_found(&[put(1, 1, 2), put(2, 3, 4), get(Some(1), 5, 6)]), "a stale read");
    assert!(!is_found(&[get(Some(1), 1, 2), put(1, 3, 4)]), "a read of the future");
    assert!(!is_found(&[put(1, 1, 2), get(Some(7), 3, 4)]), "a value of nobody's");
}

#[test]
fn operations_at_the_same_time_have_any_order_but_one_for_all() {
    let puts = [put(1, 1, 10), put(2, 1, 10)];
    let with = |gets: &[Event]| is_found(&[&puts[..], gets].concat());
    assert!(with(&[get(Some(1), 11, 12)]) && with(&[get(Some(2), 11, 12)]));
    assert!(with(&[get(Some(1), 2, 3), get(Some(2), 4, 5), get(Some(2), 11, 12)]));
    assert!(!with(&[get(Some(1), 2, 3), get(Some(2), 4, 5), get(Some(1), 6, 7)]));
    assert!(!with(&[get(Some(1), 11, 12), get(Some(2), 13, 14)]));
}

#[test]
fn a_write_of_unknown_end_may_come_late_or_never_but_only_once() {
    let events = |rest: &[Event]| [&[put(1, 1, 2), unknown(Call::Put(2), 3)][..], rest].concat();
    assert!(is_found(&events(&[get(Some(1), 5, 6)])));
    assert!(is_found(&events(&[get(Some(1), 5, 6), get(Some(2), 100, 101)])));
    assert!(!is_found(&events(&[get(Some(2), 5, 6), get(Some(1), 7, 8)])));
    assert!(!is_found(&events(&[get(Some(2), 5, 6), put(3, 7, 8), get(Some(2), 9, 10)])));
    assert!(!is_found(&[get(Some(2), 1, 2), unknown(Call::Put(2), 3)]), "read before it was called");
}

#[test]
fn a_write_that_failed_is_not_seen() {
    let failed = event(Call::Put(2), 3, 4, End::Failed);
    assert!(is_found(&[put(1, 1, 2), failed.clone(), get(Some(1), 5, 6)]));
    assert!(!is_found(&[put(1, 1, 2), failed, get(Some(2), 5, 6)]));
}

#[test]
fn what_was_deleted_stays_away() {
    let delete = event(Call::Delete, 3, 4, End::Deleted(2));
    assert!(is_found(&[put(1, 1, 2), delete.clone(), get(None, 5, 6)]));
    assert!(!is_found(&[put(1, 1, 2), delete.clone(), get(Some(1), 5, 6)]));
    assert!(!is_found(&[put(1, 1, 2), delete, get(None, 5, 6), get(Some(1), 7, 8)]));
    let perhaps = unknown(Call::Delete, 3);
    assert!(is_found(&[put(1, 1, 2), perhaps.clone(), get(None, 5, 6)]));
    assert!(!is_found(&[put(1, 1, 2), perhaps.clone(), get(None, 5, 6), get(Some(1), 7, 8)]));
    // One deletion explains one disappearance.
    let events = [put(1, 1, 2), perhaps, get(None, 5, 6), put(2, 7, 8), get(None, 9, 10)];
    assert!(!is_found(&events));
    assert!(is_found(&[&events[..], &[unknown(Call::Delete, 3)]].concat()));
    let missing = event(Call::Delete, 5, 6, End::NotFound);
    assert!(!is_found(&[put(1, 1, 2), missing]));
}

#[test]
fn conditions_hold_at_the_instant_of_their_operation() {
    let set =
        |version, value, begun, end| event(Call::CompareAndSet { version, value }, begun, begun + 1, end);
    let first = put(1, 1, 2);
    assert!(is_found(&[first.clone(), set(1, 9, 3, End::Written(9)), get(Some(9), 5, 6)]));
    assert!(!is_found(&[first.clone(), put(2, 3, 4), set(1, 9, 5, End::Written(9))]), "a lost update");
    assert!(!is_found(&[first.clone(), set(1, 8, 3, End::Written(8)), set(1, 9, 5, End::Written(9))]));
    assert!(!is_found(&[first.clone(), set(1, 9, 3, End::Unmet(1))]));
    assert!(is_found(&[first.clone(), put(2, 3, 4), set(1, 9, 5, End::Unmet(2))]));
    // Two that may have been applied, the second on top of the first.
    let chain = [first.clone(), unknown(Call::CompareAndSet { version: 1, value: 5 }, 3), get(Some(5), 5, 6)];
    assert!(is_found(&chain));
    let perhaps = [
        first.clone(),
        unknown(Call::Put(2), 3),
        unknown(Call::PutIfAbsent(3), 3),
        unknown(Call::Delete, 3),
        get(Some(3), 5, 6),
    ];
    assert!(is_found(&perhaps));
    assert!(!is_found(&[&perhaps[..3], &perhaps[4..]].concat()), "nothing made it absent");
    let absent = event(Call::PutIfAbsent(9), 3, 4, End::Written(9));
    assert!(!is_found(&[first.clone(), absent]));
    assert!(is_found(&[first, event(Call::PutIfAbsent(9), 3, 4, End::Unmet(1))]));
}

#[test]
fn increments_count_exactly_once() {
    let add = |number, begun| event(Call::Increment, begun, begun + 1, End::Number(number));
    let perhaps = |begun| unknown(Call::Increment, begun);
    assert!(is_found(&[get(None, 1, 2), add(1, 3), add(2, 5), get(Some(2), 7, 8)]));
    assert!(!is_found(&[add(1, 3), add(1, 5)]), "one was lost");
    assert!(!is_found(&[add(1, 3), add(3, 5)]), "one was applied twice");
    assert!(is_found(&[add(1, 3), perhaps(3), add(3, 5)]));
    assert!(!is_found(&[add(1, 3), perhaps(7), add(3, 5)]), "it had not begun");
    assert!(is_found(&[perhaps(1), perhaps(1), perhaps(1), get(Some(2), 5, 6), get(Some(3), 7, 8)]));
    assert!(!is_found(&[perhaps(1), get(Some(2), 5, 6)]));
    assert!(!is_found(&[add(2, 1), add(1, 5)]), "against real time");
}

/// A store that applies operations at an instant between begin and end, some of which its callers never hear of.
fn played(seed: u64, operations: u64, callers: u64) -> Vec<Event> {
    let mut chance = seed;
    let mut below = move |limit: u64| {
        chance = chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mark(9, chance) as u64) % limit
    };
    let (mut held, mut version, mut time) = (None, 0, 10);
    // A version whose value somebody knows: what one compares with.
    let mut known = 0;
    let mut events = Vec::new();
    // Each caller's operation: when it is applied.
    let mut plan: Vec<(u64, u64, u64, u64)> = Vec::new();
    let mut free = vec![0; callers as usize];
    for number in 0..operations {
        let caller = below(callers) as usize;
        let begun = free[caller].max(time) + below(5);
        let applied = begun + 1 + below(40);
        let ended = applied + 1 + below(40);
        free[caller] = ended + 1;
        time += below(10);
        plan.push((applied, begun, ended, number));
    }
    plan.sort_unstable();
    for (_, begun, ended, number) in plan {
        let value = 1000 + number;
        let call = match below(9) {
            0..3 => Call::Put(value),
            3..6 => Call::Get,
            6 => Call::Delete,
            7 => Call::PutIfAbsent(value),
            _ => Call::CompareAndSet { version: known, value },
        };
        let is_unknown = below(6) == 0;
        if is_unknown && below(2) == 0 {
            // Never arrived.
            events.push(event(call, begun, ended, End::Unknown));
            continue;
        }
        let end = match call {
            Call::Get => End::Read(held),
            Call::Delete if held.is_none() => End::NotFound,
            Call::PutIfAbsent(_) if held.is_some() => End::Unmet(held.map_or(0, |it: (u64, u64)| it.0)),
            Call::CompareAndSet { version, .. } if held.map_or(0, |it: (u64, u64)| it.0) != version => {
                End::Unmet(held.map_or(0, |it| it.0))
            }
            Call::Delete => {
                version += 1;
                held = None;
                End::Deleted(version)
            }
            _ => {
                version += 1;
                held = Some((version, value));
                End::Written(version)
            }
        };
        let end = if is_unknown { End::Unknown } else { end };
        if let Some(version) = end.version() {
            known = if matches!(end, End::Unmet(1..)) { known } else { version };
        }
        events.push(event(call, begun, ended, end));
    }
    events
}

#[test]
fn long_histories_of_a_right_store_are_decided_and_found_right() {
    for seed in 0..40 {
        let events = played(seed, 500, 12);
        assert_eq!(find(&events), Order::Found, "seed {seed}");
    }
}

#[test]
fn a_lost_write_in_a_long_history_is_found_and_decided() {
    let (mut wrong, mut tried) = (0, 0);
    for seed in 0..40 {
        let mut events = played(seed, 300, 6);
        // The caller of a read that follows some acknowledged write at once is told what was there before.
        let written: Vec<usize> = (0..events.len())
            .filter(|&at| matches!((&events[at].call, &events[at].end), (Call::Put(_), End::Written(_))))
            .collect();
        let lost = written[written.len() / 2];
        let (Some(value), ended) = (events[lost].call.value(), events[lost].ended) else { continue };
        events[lost].call = Call::Put(1);
        let readers =
            events.iter_mut().filter(|it| it.end == End::Read(Some((0, value))) && it.begun > ended);
        assert_eq!(readers.count(), 0);
        let was_read = events.iter().any(|it| matches!(it.end, End::Read(Some((_, read))) if read == value));
        if !was_read {
            continue;
        }
        tried += 1;
        match find(&events) {
            Order::None(_) => wrong += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(tried > 5 && wrong == tried, "{wrong} of {tried}");
}

#[test]
fn a_search_without_end_is_given_up() {
    let mut events: Vec<Event> = (0..14).map(|value| put(value + 1, 1, 100)).collect();
    events.push(get(Some(99), 101, 102));
    assert_eq!(find_within(&events, 1000), Order::Undecided);
}
