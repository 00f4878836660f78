//! Rust, as rustfmt writes it.

use std::collections::BTreeMap;

use crate::declared::{Field, Function, Parameter, Structure, one_line, parameters_of, split};

/// The functions of every `impl NAME {` block for a name: public ones, or with `is_binding` all, as pyo3 exports them.
pub fn functions(text: &str, name: &str, is_binding: bool) -> Vec<Function> {
    let (mut functions, mut doc) = (Vec::new(), String::new());
    let head = format!("impl {name} {{");
    let mut is_exported = false;
    let mut is_inside = false;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "#[pymethods]" {
            is_exported = true;
        } else if line == head {
            is_inside = !is_binding || is_exported;
            is_exported = false;
        } else if line == "}" {
            is_inside = false;
        }
        let Some(member) = line.strip_prefix("    ").filter(|_| is_inside) else { continue };
        if let Some(text) = member.strip_prefix("///") {
            doc.push_str(text);
            doc.push(' ');
        } else if is_function(member, is_binding) {
            let mut signature = member.to_owned();
            while !signature.ends_with('{') && !signature.ends_with('}') {
                let Some(next) = lines.next() else { break };
                signature.push_str(next);
            }
            functions.push(function(&signature, std::mem::take(&mut doc)));
        } else if !member.starts_with(['#', ' ', ')', ']']) {
            doc.clear();
        }
    }
    functions
}

fn is_function(member: &str, is_binding: bool) -> bool {
    let begins = |words: &[&str]| words.iter().any(|word| member.starts_with(word));
    begins(&["pub fn ", "pub async fn "]) || (is_binding && begins(&["fn "]))
}

fn function(signature: &str, doc: String) -> Function {
    let signature = one_line(signature.trim_end_matches('{'));
    let name = signature.split("fn ").nth(1).unwrap_or_default();
    let name = name.split(['(', '<']).next().unwrap_or_default().to_owned();
    let parameters = split(parameters_of(&signature))
        .into_iter()
        .filter(|parameter| !parameter.ends_with("self"))
        .map(|parameter| match parameter.split_once(": ") {
            Some((name, kind)) => {
                Parameter { name: name.to_owned(), kind: kind.to_owned(), is_keyword: false }
            }
            None => Parameter { name: parameter, ..Parameter::default() },
        })
        .collect();
    let signature = signature.replace("( ", "(").replace(", )", ")");
    let signature = signature.strip_prefix("pub ").unwrap_or(&signature).to_owned();
    Function { name, doc: one_line(&doc), parameters, signature }
}

/// The structures of a text: `pub struct NAME {`, and `NAME {` in `record! {`.
pub fn structures(text: &str) -> BTreeMap<String, Structure> {
    let (mut structures, mut doc) = (BTreeMap::new(), String::new());
    let mut is_macro = false;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if let Some(text) = trimmed.strip_prefix("/// ") {
            doc.push_str(text);
            doc.push(' ');
            continue;
        }
        let is_record = is_macro && trimmed.ends_with(" {");
        is_macro = line == "record! {";
        let name = line.strip_prefix("pub struct ").and_then(|name| name.strip_suffix(" {"));
        match name.or(is_record.then(|| trimmed.trim_end_matches(" {"))) {
            Some(name) => {
                let doc = one_line(&std::mem::take(&mut doc));
                let fields = fields(&mut lines);
                structures.insert(name.to_owned(), Structure { doc, parents: Vec::new(), fields });
            }
            None if trimmed.starts_with('#') => {}
            None => doc.clear(),
        }
    }
    structures
}

fn fields<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<Field> {
    let (mut fields, mut doc) = (Vec::new(), String::new());
    for line in lines {
        let line = line.trim();
        if line == "}" {
            break;
        } else if let Some(text) = line.strip_prefix("/// ") {
            doc.push_str(text);
            doc.push(' ');
        } else if let Some((name, kind)) = line.trim_end_matches(',').split_once(": ") {
            let name = name.strip_prefix("pub ").unwrap_or(name).to_owned();
            fields.push(Field { name, doc: one_line(&std::mem::take(&mut doc)), kind: kind.to_owned() });
        }
    }
    fields
}

/// The comment of what a line declares.
pub fn comment_of(text: &str, declaration: &str) -> String {
    let mut doc = String::new();
    for line in text.lines() {
        if let Some(text) = line.strip_prefix("///") {
            doc.push_str(text);
            doc.push('\n');
        } else if line.starts_with(declaration) {
            return doc;
        } else if !line.starts_with(['#', ' ', ')']) {
            doc.clear();
        }
    }
    String::new()
}

/// The value of `const NAME: TYPE = VALUE;`, a product or shift of numbers or another constant's name.
pub fn constant(texts: &[&str], name: &str) -> Option<u64> {
    let head = format!("const {name}: ");
    let declaration = texts.iter().find_map(|text| text.split(head.as_str()).nth(1))?;
    let value = declaration.split_once(" = ")?.1.split(';').next()?;
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
    if let Some((left, right)) = value.split_once(" << ") {
        return Some(number(left)? << number(right)?);
    }
    if let Some((_, path)) = value.rsplit_once("::") {
        return (path != name).then(|| constant(texts, path)).flatten().or_else(|| {
            // The same name in another file.
            let others: Vec<&str> =
                texts.iter().copied().filter(|text| !text.contains(declaration)).collect();
            constant(&others, path)
        });
    }
    value.split(" * ").map(number).try_fold(1, |product, factor| Some(product * factor?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_read_whatever_they_are_written_with() {
        let limits =
            "pub const A_MAX: usize = 32 << 10;\nconst B: u64 = 15 * 60 * 1000;\npub const C: u32 = 1_000;";
        let others = "pub const C: u32 = limits::C;";
        assert_eq!(constant(&[limits], "A_MAX"), Some(32 << 10));
        assert_eq!(constant(&[limits], "B"), Some(900_000));
        assert_eq!(constant(&[others, limits], "C"), Some(1000));
        assert_eq!(constant(&[limits], "D"), None);
    }
}
