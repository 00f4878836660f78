//! `include/slotkv.h`, as cbindgen writes it.

use crate::declared::{Declared, Field, Function, Parameter, Structure, one_line, parameters_of, split};

/// What the header declares. Enumerations are structures whose fields have numbers.
pub fn read(header: &str) -> Declared {
    let mut declared = Declared::default();
    let mut doc = String::new();
    let mut lines = header.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("/**") {
            doc = comment(line, &mut lines);
        } else if let Some(name) = line.strip_prefix("enum ") {
            let fields = fields(&mut lines);
            declared.structures.insert(name.to_owned(), structure(&mut doc, fields));
        } else if line.starts_with("typedef struct ") && line.ends_with('{') {
            let name = line.split(' ').nth(2).unwrap_or_default();
            let fields = fields(&mut lines);
            declared.structures.insert(name.to_owned(), structure(&mut doc, fields));
        } else if line.starts_with("typedef ") {
            if line.ends_with(" slotkv_client_t;") {
                declared.client = doc.clone();
            }
            doc.clear();
        } else if line.starts_with(|letter: char| letter.is_ascii_alphabetic()) && line.contains("slotkv_") {
            let mut signature = line.to_owned();
            while !signature.ends_with([';', '{']) {
                let Some(next) = lines.next() else { break };
                signature.push_str(next);
            }
            if signature.ends_with('{') {
                lines.by_ref().find(|line| *line == "}");
            }
            if signature.contains('(') {
                declared.functions.push(function(&signature, std::mem::take(&mut doc)));
            }
        }
    }
    declared
}

fn comment<'a>(first: &str, lines: &mut impl Iterator<Item = &'a str>) -> String {
    let mut text = first.trim_start().trim_start_matches("/**").to_owned();
    while !text.contains("*/") {
        let Some(line) = lines.next() else { break };
        text.push(' ');
        text.push_str(line.trim_start().strip_prefix("* ").unwrap_or(line.trim_start()));
    }
    // What is left of the frame.
    one_line(&text.replace("*/", " ").replace(" * ", " "))
}

fn structure(doc: &mut String, fields: Vec<Field>) -> Structure {
    Structure { doc: std::mem::take(doc), parents: Vec::new(), fields }
}

/// The members up to the closing brace.
fn fields<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<Field> {
    let (mut fields, mut doc) = (Vec::new(), String::new());
    while let Some(line) = lines.next() {
        let line = line.trim();
        if line.starts_with('}') {
            break;
        } else if line.starts_with("/**") {
            doc = comment(line, lines);
        } else if let Some((name, number)) = line.trim_end_matches(',').split_once(" = ") {
            let doc = std::mem::take(&mut doc);
            fields.push(Field { name: name.to_owned(), doc, kind: number.to_owned() });
        } else if let Some(member) = line.strip_suffix(';') {
            let (kind, name) = typed(member);
            fields.push(Field { name, doc: std::mem::take(&mut doc), kind });
        }
    }
    fields
}

/// Type and name of `const char *name`.
fn typed(declaration: &str) -> (String, String) {
    let at = declaration.rfind([' ', '*']).map_or(0, |at| at + 1);
    (declaration[..at].trim().to_owned(), declaration[at..].to_owned())
}

fn function(signature: &str, doc: String) -> Function {
    let signature = one_line(signature.trim_end_matches([';', '{']));
    let head = signature.split('(').next().unwrap_or_default();
    let (_, name) = typed(head);
    let parameters = split(parameters_of(&signature))
        .into_iter()
        .filter(|parameter| parameter != "void")
        .map(|parameter| {
            let (kind, name) = typed(&parameter);
            Parameter { name, kind, is_keyword: false }
        })
        .collect();
    Function { name, doc, parameters, signature }
}
