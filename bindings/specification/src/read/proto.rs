//! Messages of a `.proto` file.

use std::collections::BTreeMap;

use crate::declared::{Field, Structure};

/// The messages, by name; their comments are the wire's and are not looked at.
pub fn read(text: &str) -> BTreeMap<String, Structure> {
    let mut messages = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("message ").and_then(|line| line.strip_suffix(" {")) else {
            continue;
        };
        let fields = lines
            .by_ref()
            .take_while(|line| *line != "}")
            .filter_map(|line| line.trim().split_once(" = "))
            .filter_map(|(declaration, _)| declaration.rsplit_once(' '))
            .map(|(kind, name)| Field { name: name.to_owned(), doc: String::new(), kind: kind.to_owned() })
            .collect();
        messages.insert(name.to_owned(), Structure { fields, ..Structure::default() });
    }
    messages
}
