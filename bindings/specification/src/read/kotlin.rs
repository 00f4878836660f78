//! Kotlin: the client and the errors are written by hand, records are generated from the Rust that UniFFI exports.

use std::collections::BTreeMap;

use super::rust;
use crate::{
    declared::{Class, Declared, Function, Parameter, Structure, one_line, parameters_of, split},
    sources::Sources,
    specification::camel,
};

/// What the package declares.
pub fn read(sources: &Sources) -> Declared {
    let client = sources.text("kotlin/src/main/kotlin/slotkv/Client.kt");
    let errors = sources.text("kotlin/src/main/kotlin/slotkv/Errors.kt");
    let mut declared = Declared::default();
    for (doc, head) in documented(client) {
        if head.starts_with("class Client ") {
            declared.client = doc;
        } else if let Some(function) = function(&head, doc) {
            declared.functions.push(function);
        }
    }
    for path in ["bindings/uniffi/src/view.rs", "bindings/uniffi/src/results.rs"] {
        for (name, mut structure) in rust::structures(sources.text(path)) {
            for field in &mut structure.fields {
                field.name = camel(&field.name);
                field.kind = kind(&field.kind);
            }
            declared.structures.insert(name, structure);
        }
    }
    let mut root = Structure::default();
    for (doc, head) in documented(errors) {
        if let Some((name, rest)) = head.split("class ").nth(1).and_then(|rest| rest.split_once('(')) {
            let parent = rest.rsplit_once(") : ").map_or("", |(_, parent)| parent).split('(').next();
            let parents = vec![parent.unwrap_or_default().to_owned()];
            declared.errors.push(Class { name: name.to_owned(), doc, parents, defaults: BTreeMap::new() });
        } else if let Some((name, kind)) = head.strip_prefix("val ").and_then(|head| head.split_once(": ")) {
            // Those of the root come first.
            if declared.errors.len() == 1 {
                let kind = kind.split(" get()").next().unwrap_or_default().to_owned();
                root.fields.push(crate::declared::Field { name: name.to_owned(), doc, kind });
            }
        }
    }
    declared.structures.insert("SlotkvException".into(), root);
    declared.class_of = class_of(errors);
    declared
}

/// Each comment with the declaration behind it, in one line: up to the brace or the equals sign of its body.
fn documented(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut text = text;
    while let Some((comment, rest)) = text.split_once("/**").and_then(|(_, text)| text.split_once("*/")) {
        let lines = comment.lines().map(|line| line.trim().trim_start_matches("* "));
        let comment = one_line(lines.collect::<Vec<_>>().join(" ").trim_end_matches('*'));
        found.push((comment, declaration(rest)));
        text = rest;
    }
    found
}

/// The declaration that a text begins with; comments inside of it are left out.
fn declaration(text: &str) -> String {
    let (mut depth, mut head) = (0, String::new());
    let mut parts = text.split("/**");
    let first = parts.next().unwrap_or_default();
    let others = parts.filter_map(|part| part.split_once("*/")).map(|(_, rest)| rest);
    for letter in std::iter::once(first).chain(others).flat_map(str::chars) {
        match letter {
            '(' | '<' => depth += 1,
            ')' | '>' => depth -= 1,
            '{' | '=' if depth == 0 => break,
            '\n' if depth == 0 && !head.trim().is_empty() => break,
            _ => {}
        }
        head.push(letter);
    }
    one_line(&head)
}

/// `suspend fun name(parameter: Type = default): Type`; `None` for other declarations and for extensions.
fn function(head: &str, doc: String) -> Option<Function> {
    let name = head.split("fun ").nth(1)?.split('(').next()?;
    if name.contains(['.', '<']) {
        return None;
    }
    let parameter = |text: String| {
        let (declaration, has_default) = match text.split_once(" = ") {
            Some((declaration, _)) => (declaration, true),
            None => (text.as_str(), false),
        };
        let (name, kind) = declaration.split_once(": ").unwrap_or((declaration, ""));
        // What to add may be left out, too, but is an argument.
        let is_keyword = has_default && name != "delta";
        Parameter { name: name.to_owned(), kind: kind.to_owned(), is_keyword }
    };
    let parameters = split(parameters_of(head)).into_iter().map(parameter).collect();
    let signature = head.replace("override ", "").replace("( ", "(").replace(", )", ")");
    Some(Function { name: name.to_owned(), doc, parameters, signature })
}

/// A type as UniFFI gives it to Kotlin.
fn kind(rust: &str) -> String {
    let inner = |generic: &str| Some(kind(rust.strip_prefix(generic)?.strip_suffix('>')?));
    if rust == "Vec<u8>" {
        return "ByteArray".into();
    }
    if let Some(inner) = inner("Option<") {
        return format!("{inner}?");
    }
    if let Some(inner) = inner("Vec<") {
        return format!("List<{inner}>");
    }
    match rust {
        "bool" => "Boolean",
        "u16" => "UShort",
        "u32" => "UInt",
        "u64" => "ULong",
        "i64" => "Long",
        "f64" => "Double",
        other => other,
    }
    .into()
}

/// `10, 11 -> Name(failure)`
fn class_of(errors: &str) -> BTreeMap<u32, String> {
    let mut classes = BTreeMap::new();
    for line in errors.lines() {
        let Some((codes, class)) = line.trim().split_once(" -> ") else { continue };
        let class = class.split('(').next().unwrap_or_default();
        if codes == "else" {
            // A code of a newer version is unexpected, as that code itself is.
            classes.insert(slotkv_proto::Code::Unexpected.number(), class.to_owned());
        }
        for code in codes.split(", ").filter_map(|code| code.parse().ok()) {
            classes.insert(code, class.to_owned());
        }
    }
    classes
}
