//! `torture-check FOLDER [--plant]`: judges what the clients left in a folder; with `--plant`, a lost write beside it. One
//! line per fact, `NAME VALUE`. What it finds it says, and leaves with success: the caller judges.

use std::{path::Path, process::ExitCode};

use slotkv_torture::verdict;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, plant) = match &*arguments {
        [folder] => (folder, false),
        [folder, flag] if flag == "--plant" => (folder, true),
        _ => {
            eprintln!("usage: torture-check FOLDER [--plant]");
            return ExitCode::from(2);
        }
    };
    let mut events = match verdict::read(Path::new(folder)) {
        Ok(events) => events,
        Err(error) => {
            eprintln!("torture-check: {error}");
            return ExitCode::FAILURE;
        }
    };
    if plant {
        let Some(planted) = verdict::plant(&mut events) else {
            eprintln!("torture-check: no place for a lost write");
            return ExitCode::FAILURE;
        };
        println!("planted {planted}");
    }
    let verdict = verdict::judge(&events);
    for (name, count) in [
        ("operations", verdict.operations),
        ("done", verdict.done),
        ("failed", verdict.failed),
        ("unknown", verdict.unknown),
        ("keys", verdict.keys),
        ("key_operations_max", verdict.key_operations_max),
        ("undecided", verdict.undecided),
    ] {
        println!("{name} {count}");
    }
    for why in &verdict.by_versions {
        println!("versions {why}");
    }
    for why in &verdict.by_order {
        println!("order {why}");
    }
    ExitCode::SUCCESS
}
