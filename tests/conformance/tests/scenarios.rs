//! What the scenario files hold, whoever carries them out.

use std::{collections::HashSet, fs, path::Path};

use slotkv::Code;
use slotkv_conformance::scenario;

fn texts() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let read = |path: &Path| (path.display().to_string(), fs::read_to_string(path).unwrap());
    fs::read_dir(folder).unwrap().map(|entry| read(&entry.unwrap().path())).collect()
}

#[test]
fn every_file_is_read_and_there_are_many_scenarios() {
    let files = texts().into_iter().map(|(path, text)| {
        scenario::parse(&text).unwrap_or_else(|why| panic!("{path}: {why}")).scenarios.len()
    });
    let count: usize = files.sum();
    assert!(count >= 200, "{count} scenarios");
}

#[test]
fn every_error_is_expected_by_some_scenario() {
    let texts: String = texts().into_iter().map(|(_, text)| text).collect();
    let expected = texts.split("error ").skip(1);
    let expected: HashSet<&str> = expected
        .map(|rest| rest.split(|char: char| !(char.is_ascii_uppercase() || char == '_')).next().unwrap_or(""))
        .collect();
    for code in Code::ALL {
        // Only a surface whose process can fork has this one; their own tests do.
        assert!(*code == Code::Forked || expected.contains(code.name()), "{}", code.name());
    }
}
