//! The comparison finds what it is there for: a surface that lies in one byte, and one that repeats a write blindly.

use slotkv_conformance::{
    random,
    record::{self, Place, Record, Surface},
    scenario::{self, File},
    strange::Strange,
};
use slotkv_daemon::dev::{Dev, DevOptions};

/// Steps of the random programs.
const STEPS: usize = 200;

fn surface(name: &str, command: &[&str]) -> Surface {
    Surface { name: name.into(), command: command.iter().map(|&word| word.into()).collect() }
}

fn rust() -> Surface {
    surface("rust", &[env!("CARGO_BIN_EXE_conform-rust")])
}

/// The Rust client, of whose answers (or of what it is told) something is changed by a filter.
fn filtered(before: &str, after: &str) -> Surface {
    let script = format!("{before} | {} \"$0\" | {after}", env!("CARGO_BIN_EXE_conform-rust"));
    surface("filtered", &["sh", "-c", &script])
}

fn strange(_: &Surface) -> std::io::Result<Place> {
    Strange::start().map(Place::Strange)
}

fn file(text: &str) -> Vec<(String, File)> {
    vec![("file".into(), scenario::parse(text).unwrap())]
}

#[test]
fn an_answer_that_is_not_the_expected_one_is_found() {
    let record = |expected: &str| {
        let files = file(&format!("@ strange\n== s\nget \"one\" -> {expected}\n"));
        record::record(&rust(), &files, &[], strange).unwrap().wrong
    };
    assert_eq!(record("value \"one\""), [""; 0]);
    assert_eq!(record("value \"ona\""), ["file:3 s: value =6f6e65, not value =6f6e61"]);
}

#[test]
fn a_surface_that_lies_in_one_byte_is_found() {
    let files = file("@ strange\n== s\nget \"one\" -> value \"one\"\nget \"two\" -> value \"two\"\n");
    let record = |surface: &Surface| record::record(surface, &files, &[], strange).unwrap();
    let lies = record(&filtered("cat", "sed -u s/=74776f/=74776e/"));
    assert_eq!(lies.wrong, ["file:4 s: value =74776e, not value =74776f"]);
    assert_eq!(record(&filtered("cat", "cat")).wrong, [""; 0]);
}

#[test]
fn a_surface_that_leaves_a_step_out_is_found() {
    let files = file("@ strange\n== s\nget \"one\" -> value \"one\"\nget \"one\" cancel=1 -> cancelled\n");
    let record = |after: &str| record::record(&filtered("cat", after), &files, &[], strange).unwrap();
    assert_eq!(record("sed -u s/^value.*/unsupported/").wrong.len(), 1);
    let excused = record("sed -u s/^cancelled/unsupported/");
    assert_eq!((excused.wrong.len(), excused.unasked.len(), excused.partial.len()), (0, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_repeated_blindly_is_found() {
    let program = random::program(1, STEPS);
    // A step whose repetition shows: a later one reads its version.
    let write = program.iter().position(|step| step.operation == "increment").expect("an increment");
    let line = write + 1;
    let twice = filtered(
        &format!("sed -u '{line}{{p}}'"),
        // The answer to the first attempt is lost.
        &format!("sed -u {line}d"),
    );
    let once = ask(rust(), &program).await;
    let same = ask(filtered("cat", "cat"), &program).await;
    assert_eq!(record::differences(&once, &same), [""; 0]);
    let differences = record::differences(&once, &ask(twice, &program).await);
    assert!(differences.iter().any(|found| found.contains(&format!("step {write:04}"))), "{differences:?}");
}

/// What a surface answers to a program on a cluster of its own.
async fn ask(surface: Surface, program: &[slotkv_conformance::step::Step]) -> Record {
    let dev = Dev::start(DevOptions { masters: 1, shards: 2, ..DevOptions::default() }).await.unwrap();
    let (uri, program) = (dev.uri(), program.to_vec());
    let asked = tokio::task::spawn_blocking(move || {
        record::record(&surface, &[], &program, |_| Ok(Place::Elsewhere(uri.clone()))).unwrap()
    });
    let record = asked.await.unwrap();
    dev.shutdown().await;
    record
}
