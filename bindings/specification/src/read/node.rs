//! Node: the types, and what the JavaScript really has.

use std::collections::BTreeMap;

use crate::{
    declared::{Class, Declared, Field, Function, Parameter, Structure, one_line, parameters_of, split},
    sources::Sources,
};

/// What the types declare.
pub fn read(sources: &Sources) -> Declared {
    let types = sources.text("node/index.d.ts");
    let mut declared = Declared::default();
    let mut doc = String::new();
    let mut lines = types.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("/**") {
            doc = comment(line, &mut lines);
        } else if let Some(rest) = line.strip_prefix("export function ") {
            declared.functions.extend(function(rest, std::mem::take(&mut doc)));
        } else if let Some(head) = line.strip_prefix("export interface ") {
            let (name, structure) = structure(head, std::mem::take(&mut doc), &mut lines);
            declared.structures.insert(name, structure.1);
        } else if let Some(head) = line.strip_prefix("export class ") {
            let doc = std::mem::take(&mut doc);
            let (name, (functions, structure)) = structure(head, doc.clone(), &mut lines);
            if name == "Client" {
                declared.client = doc;
                declared.functions.extend(functions);
            } else if name.ends_with("Error") {
                declared.errors.push(Class {
                    name: name.clone(),
                    doc,
                    parents: structure.parents.clone(),
                    defaults: BTreeMap::new(),
                });
            }
            declared.structures.insert(name, structure);
        }
    }
    declared.functions.retain(|function| function.name != "setLogger");
    said_in_javascript(sources.text("node/lib/errors.js"), &mut declared);
    declared
}

/// The names that the type `name` is a union of.
pub fn union(types: &str, name: &str) -> Vec<String> {
    let head = format!("export type {name} =\n");
    let body = types.split(head.as_str()).nth(1).unwrap_or_default();
    body.lines()
        .map_while(|line| line.trim().strip_prefix("| '"))
        .map(|word| word.trim_end_matches('\'').to_owned())
        .collect()
}

/// The methods of a class in JavaScript; private ones are not seen from outside.
pub fn methods(script: &str, class: &str) -> Vec<String> {
    let head = format!("class {class} {{");
    let mut lines = script.lines().skip_while(|line| *line != head);
    lines.next();
    let body = lines.take_while(|line| *line != "}");
    body.filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with(|letter: char| letter.is_ascii_alphabetic()) && line.ends_with(") {"))
        .map(|line| line.split('(').next().unwrap_or_default().to_owned())
        .filter(|name| name != "constructor")
        .collect()
}

fn comment<'a>(first: &str, lines: &mut impl Iterator<Item = &'a str>) -> String {
    let mut text = first.trim_start().trim_start_matches("/**").to_owned();
    while !text.contains("*/") {
        let Some(line) = lines.next() else { break };
        text.push(' ');
        text.push_str(line.trim_start().trim_start_matches("* "));
    }
    one_line(&text.replace("*/", " "))
}

/// `Name extends A, B {` with its members.
fn structure<'a>(
    head: &str,
    doc: String,
    lines: &mut impl Iterator<Item = &'a str>,
) -> (String, (Vec<Function>, Structure)) {
    let is_empty = head.ends_with("{}");
    let head = head.trim_end_matches([' ', '{', '}']);
    let head = head.split(" implements ").next().unwrap_or_default();
    let (name, parents) = head.split_once(" extends ").unwrap_or((head, ""));
    let parents = split(parents);
    let (mut functions, mut fields): (Vec<Function>, _) = (Vec::new(), Vec::new());
    let mut doc_of_member = String::new();
    while let Some(line) = if is_empty { None } else { lines.next() } {
        if line == "}" {
            break;
        }
        let Some(member) = line.strip_prefix("  ") else { continue };
        if member.starts_with("/**") {
            doc_of_member = comment(member, lines);
            continue;
        }
        let mut member = member.to_owned();
        while member.matches('(').count() > member.matches(')').count() {
            let Some(next) = lines.next() else { break };
            member.push_str(next);
        }
        let doc = std::mem::take(&mut doc_of_member);
        match member.find(['(', ':']).map(|at| member.as_bytes()[at]) {
            Some(b'(') => {
                let known = function(&member, doc);
                match functions.iter_mut().find(|one| known.as_ref().is_some_and(|f| f.name == one.name)) {
                    // Of overloads the last one is the plain one.
                    Some(one) => {
                        let doc = std::mem::take(&mut one.doc);
                        *one = Function { doc, ..known.unwrap_or_default() };
                    }
                    None => functions.extend(known),
                }
            }
            Some(_) => fields.extend(field(&member, doc)),
            None => {}
        }
    }
    (name.to_owned(), (functions, Structure { doc, parents, fields }))
}

fn field(member: &str, doc: String) -> Option<Field> {
    let (name, kind) = member.split_once(": ")?;
    let name = name.trim_start_matches("readonly ").trim_end_matches('?').to_owned();
    Some(Field { name, doc, kind: kind.to_owned() })
}

/// `None` for constructors and symbols.
fn function(signature: &str, doc: String) -> Option<Function> {
    let signature = one_line(signature);
    let name = signature.split('(').next()?;
    if name.contains("constructor") || name.starts_with('[') {
        return None;
    }
    let parameter = |parameter: String| {
        let (name, kind) = parameter.split_once(": ").unwrap_or((&parameter, ""));
        let name = name.trim_end_matches('?').to_owned();
        Parameter { name, kind: kind.to_owned(), is_keyword: false }
    };
    let parameters = split(parameters_of(&signature)).into_iter().map(parameter).collect();
    Some(Function { name: name.to_owned(), doc, parameters, signature: signature.clone() })
}

/// `define('Name', Parent, { defaults }, codes...)`
fn said_in_javascript(script: &str, declared: &mut Declared) {
    for call in script.split("define('").skip(1) {
        let Some((inner, _)) = call.split_once(")\n") else { continue };
        let Some((name, rest)) = inner.split_once("', ") else { continue };
        let parts = split(rest);
        let [parent, said, codes @ ..] = &parts[..] else { continue };
        for code in codes {
            if let Ok(code) = code.parse() {
                declared.class_of.insert(code, name.to_owned());
            }
        }
        let said = split(said.trim_matches(['{', '}', ' ']));
        let pair = |text: &String| {
            let (name, value) = text.split_once(": ")?;
            Some((name.to_owned(), value.trim_matches('\'').to_owned()))
        };
        let Some(class) = declared.errors.iter_mut().find(|class| class.name == name) else { continue };
        class.defaults = said.iter().filter_map(pair).collect();
        // What the types say is what the JavaScript does.
        if class.parents != [parent.clone()] {
            class.parents = vec![format!("{parent} in errors.js")];
        }
    }
    let root = script.split("SlotkvError.defaults = {").nth(1).and_then(|text| text.split('}').next());
    if let Some(class) = declared.errors.iter_mut().find(|class| class.name == "SlotkvError") {
        class.defaults = split(root.unwrap_or_default())
            .iter()
            .filter_map(|text| text.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
            .collect();
    }
}
