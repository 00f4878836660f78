//! One fault at one step of one hand-over, to each of those that take part: [`Cell::all`]. A step that does not come up fails the cell. The quick form
//! runs each step once, among them each fault of each actor; `SLOTKV_FAILPOINTS=all` runs the whole product, as `SLOTKV_SEED` (1) decides
//! how large shards are, how durable writes, and everything else. `SLOTKV_CELL=Step,Actor,Fault` runs one and shows what happened.

use std::collections::{BTreeMap, BTreeSet};

use slotkv_migration::{Bug, Step};
use slotkv_tests::simulation::{Actor, Cell, Fault, Plan, run};

/// Where nothing is said about it.
const SEED: u64 = 1;

fn seed() -> u64 {
    std::env::var("SLOTKV_SEED")
        .map_or(SEED, |text| text.parse().unwrap_or_else(|_| panic!("SLOTKV_SEED={text}")))
}

fn name(cell: &Cell) -> String {
    format!("{:?},{:?},{:?}", cell.step, cell.actor, cell.fault)
}

/// What a cell is run with: another seed for each, so that all kinds of clusters meet all kinds of faults.
fn plan(number: usize, cell: Cell) -> Plan {
    Plan::of_cell(seed().wrapping_mul(1_000) + number as u64, cell)
}

#[test]
fn a_hand_over_goes_through_whatever_meets_whomever_at_any_step() {
    let all = Cell::all();
    let one = std::env::var("SLOTKV_CELL").ok();
    let chosen: Vec<Cell> = match (&one, std::env::var("SLOTKV_FAILPOINTS").as_deref()) {
        (Some(one), _) => all.iter().copied().filter(|cell| name(cell).starts_with(one.as_str())).collect(),
        (None, Ok("all")) => all.clone(),
        (None, Ok(other)) => panic!("SLOTKV_FAILPOINTS={other}: only `all` is known"),
        (None, Err(_)) => Cell::few(seed()),
    };
    assert!(!chosen.is_empty(), "there is no such cell");
    let (mut wrong, mut calls, mut faults) = (Vec::new(), 0, BTreeMap::new());
    for cell in &chosen {
        let number = all.iter().position(|known| known == cell).unwrap_or_default();
        let report = run(&plan(number, *cell));
        calls += report.calls.0;
        for (name, count) in report.faults {
            *faults.entry(name).or_insert(0) += count;
        }
        if let Err(why) = report.verdict {
            println!("{}: {why}", name(cell));
            wrong.push(format!("{}: {why}\n{}", name(cell), report.trace.join("\n")));
        }
    }
    println!("{} cells, {} failed; {calls} calls succeeded; {faults:?}", chosen.len(), wrong.len());
    assert!(wrong.is_empty(), "{} of {} cells:\n{}", wrong.len(), chosen.len(), wrong.join("\n\n"));
}

#[test]
fn the_list_has_every_step_with_every_actor_and_every_fault_once() {
    let (all, few) = (Cell::all(), Cell::few(seed()));
    assert_eq!(all.len(), Step::ALL.len() * Actor::ALL.len() * Fault::ALL.len());
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    assert_eq!(Step::ALL.into_iter().collect::<BTreeSet<_>>().len(), Step::ALL.len());
    assert_eq!(
        few.iter().map(|cell| cell.step).collect::<Vec<_>>(),
        Step::ALL,
        "each step is in the quick form"
    );
    let pairs: BTreeSet<_> = few.iter().map(|cell| (cell.actor, cell.fault)).collect();
    assert_eq!(pairs.len(), Actor::ALL.len() * Fault::ALL.len(), "and each fault of each actor");
}

#[test]
fn a_mistake_of_a_hand_over_fails_the_cells_in_which_it_shows() {
    for mistake in [Bug::DeletesBeforeSwitch, Bug::UnsealsByTimer] {
        let found = Cell::few(SEED).into_iter().enumerate().find(|(number, cell)| {
            let plan = Plan { mistake: Some(mistake), ..Plan::of_cell(*number as u64, *cell) };
            run(&plan).verdict.is_err()
        });
        println!("{mistake:?}: {:?}", found.map(|(_, cell)| name(&cell)));
        assert!(found.is_some(), "{mistake:?} is not noticed");
    }
}
