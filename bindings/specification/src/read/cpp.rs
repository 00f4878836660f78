//! `include/slotkv.hpp`: its classes are at the margin, members four blanks further in.

use crate::declared::{Declared, Field, Function, Parameter, Structure, one_line, parameters_of, split};

/// What the header declares.
pub fn read(header: &str) -> Declared {
    let mut declared = Declared::default();
    let mut doc = String::new();
    let mut lines = header.lines();
    while let Some(line) = lines.next() {
        let head = line.strip_prefix("class ").or_else(|| line.strip_prefix("struct "));
        if let Some(text) = line.strip_prefix("///") {
            doc.push_str(text);
        } else if let Some(head) = head.filter(|_| line.ends_with('{')) {
            let name = head.split([' ', ':']).find(|word| !word.starts_with('[')).unwrap_or_default();
            let doc = one_line(&std::mem::take(&mut doc));
            let (functions, fields) = members(name, &mut lines);
            if name == "Client" {
                declared.functions = functions;
                declared.client = doc.clone();
            }
            declared.structures.insert(name.to_owned(), Structure { doc, parents: Vec::new(), fields });
        } else {
            doc.clear();
        }
    }
    declared
}

/// The public members up to the closing brace.
fn members<'a>(class: &str, lines: &mut impl Iterator<Item = &'a str>) -> (Vec<Function>, Vec<Field>) {
    let (mut functions, mut fields, mut doc) = (Vec::new(), Vec::new(), String::new());
    let mut is_public = true;
    while let Some(line) = lines.next() {
        match line {
            "};" => break,
            "private:" => is_public = false,
            "public:" => is_public = true,
            _ => {}
        }
        let Some(member) = line.strip_prefix("    ").filter(|_| is_public) else { continue };
        if member.starts_with([' ', '}', '#']) || member.starts_with("template ") {
            continue;
        }
        if let Some(text) = member.strip_prefix("///") {
            doc.push_str(text);
            continue;
        }
        let doc = one_line(&std::mem::take(&mut doc));
        let is_field = member.ends_with(';') && !member.contains('(');
        if is_field {
            fields.extend(field(member, doc));
            continue;
        }
        let mut signature = member.to_owned();
        while !signature.contains(['{', ';'])
            || signature.matches('(').count() > signature.matches(')').count()
        {
            let Some(next) = lines.next() else { break };
            signature.push_str(next);
            if next.trim_end().ends_with('{') {
                break;
            }
        }
        if let Some(function) = function(class, &signature, doc) {
            functions.push(function);
        }
    }
    (functions, fields)
}

/// `std::string name = {};` or `std::chrono::milliseconds name{0};`
fn field(member: &str, doc: String) -> Option<Field> {
    let declaration = member.split([';', '{', '=']).next()?.trim();
    let (kind, name) = declaration.rsplit_once(' ')?;
    Some(Field { name: name.to_owned(), doc, kind: kind.to_owned() })
}

/// `None` for constructors and operators.
fn function(class: &str, signature: &str, doc: String) -> Option<Function> {
    let signature = one_line(signature);
    let name = signature.split('(').next()?.rsplit(' ').next()?.trim_start_matches(['*', '&']);
    if name == class || name.starts_with('~') || signature.contains("operator") {
        return None;
    }
    let inner = parameters_of(&signature);
    let parameter = |parameter: String| {
        let parameter = parameter.split(" = ").next().unwrap_or_default().to_owned();
        let at = parameter.rfind([' ', '*', '&']).map_or(0, |at| at + 1);
        Parameter {
            name: parameter[at..].to_owned(),
            kind: parameter[..at].trim().to_owned(),
            is_keyword: false,
        }
    };
    let parameters = split(inner).into_iter().map(parameter).collect();
    let end = signature.find('(')? + inner.len() + 2;
    let signature = signature[..end].to_owned();
    Some(Function { name: name.to_owned(), doc, parameters, signature })
}
