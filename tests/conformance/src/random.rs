//! Seeded programs: steps on few keys, so that they meet.

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::step::{Argument, Step};

/// The steps of a seed. The same seed gives the same program, also in a later release of this crate.
pub fn program(seed: u64, steps: usize) -> Vec<Step> {
    let mut chance = StdRng::seed_from_u64(seed);
    (0..steps).map(|_| step(&mut chance)).collect()
}

fn step(chance: &mut StdRng) -> Step {
    let (operation, arguments): (&str, Vec<Argument>) = match chance.random_range(0..100) {
        0..15 => ("get", vec![key(chance)]),
        15..25 => ("get_entry", vec![key(chance)]),
        25..30 => ("has", vec![key(chance)]),
        30..45 => ("put", vec![key(chance), value(chance)]),
        45..50 => ("put_if_absent", vec![key(chance), value(chance)]),
        50..55 => ("update_if_present", vec![key(chance), value(chance)]),
        55..62 => ("compare_and_set", vec![key(chance), value(chance), version(chance)]),
        62..66 => ("delete", vec![key(chance)]),
        66..68 => ("expire", vec![key(chance), lifetime(chance)]),
        68..70 => ("persist", vec![key(chance)]),
        70..73 => ("delete_if_version", vec![key(chance), version(chance)]),
        73..80 => ("increment", vec![number_key(chance), Argument::Number(chance.random_range(-9..99))]),
        80..84 => ("get_many", (0..chance.random_range(0..8)).map(|_| key(chance)).collect()),
        // Each key once: of two writes to one key in one call, either may be the last.
        84..87 => {
            ("put_many", some_keys(chance).flat_map(|key| [key, Argument::Bytes("many".into())]).collect())
        }
        87..89 => ("delete_many", some_keys(chance).collect()),
        89..93 => ("count", vec![]),
        93..96 => ("scan", vec![]),
        96..98 => ("dump", vec![]),
        _ => ("slot", vec![key(chance)]),
    };
    let mut step = Step { operation: operation.into(), arguments, options: Vec::new() };
    let mut option = |name: &str, value| step.options.push((name.to_owned(), value));
    if chance.random_bool(0.1) {
        option("namespace", Argument::Bytes("other".into()));
    }
    let stores =
        matches!(operation, "put" | "put_if_absent" | "update_if_present" | "compare_and_set" | "put_many");
    if stores && chance.random_bool(0.3) {
        option("ttl_ms", lifetime(chance));
    }
    if matches!(operation, "count" | "scan" | "dump") && chance.random_bool(0.5) {
        option("prefix", Argument::Bytes("key".into()));
    }
    if operation == "scan" {
        // Slot order is the same for all, too: slots do not move while a program runs.
        option("ordered", Argument::Number(chance.random_range(0..2)));
        option("page_items", Argument::Number(chance.random_range(1..9)));
        if chance.random_bool(0.3) {
            option("limit", Argument::Number(chance.random_range(0..30)));
        }
    }
    step
}

fn key(chance: &mut StdRng) -> Argument {
    match chance.random_range(0..10) {
        0 => number_key(chance),
        1 => Argument::Bytes(vec![0, chance.random_range(0..3), 255].into()),
        2 => Argument::Bytes(format!("{{tag}}{}", chance.random_range(0..5)).into()),
        _ => Argument::Bytes(format!("key{}", chance.random_range(0..20)).into()),
    }
}

fn number_key(chance: &mut StdRng) -> Argument {
    Argument::Bytes(format!("number{}", chance.random_range(0..3)).into())
}

fn some_keys(chance: &mut StdRng) -> impl Iterator<Item = Argument> + use<> {
    let first = chance.random_range(0..20);
    (first..first + chance.random_range(0..6)).map(|number| Argument::Bytes(format!("key{number}").into()))
}

fn value(chance: &mut StdRng) -> Argument {
    match chance.random_range(0..10) {
        0 => Argument::Bytes("".into()),
        1 => Argument::Fill(chance.random(), chance.random_range(2..100_000)),
        2 => Argument::Bytes(chance.random_range(-99..99).to_string().into()),
        _ => Argument::Bytes(
            (0..chance.random_range(1..30)).map(|_| chance.random()).collect::<Vec<u8>>().into(),
        ),
    }
}

/// Hours, so that it ends in no program.
fn lifetime(chance: &mut StdRng) -> Argument {
    Argument::Number(3_600_000 * chance.random_range(1..80_000))
}

/// Small, so that it is right now and then.
fn version(chance: &mut StdRng) -> Argument {
    Argument::Number(chance.random_range(0..12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_program_and_another_seed_another() {
        assert_eq!(program(7, 1000), program(7, 1000));
        assert_ne!(program(7, 1000), program(8, 1000));
        assert!(program(7, 1000).iter().all(|step| Step::parse(&step.line()).as_ref() == Some(step)));
    }
}
