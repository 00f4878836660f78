//! Structures of Go, as gofmt writes them. A comment begins with the name of what it is of.

use crate::declared::{Declared, Field, Structure};

/// What a file declares.
pub fn read(text: &str) -> Declared {
    let mut declared = Declared::default();
    let mut comment = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        match (line.strip_prefix("// "), line.strip_prefix("type ")) {
            (Some(words), _) => comment.push(words),
            (None, Some(head)) if head.ends_with(" struct {") => {
                let name = head.trim_end_matches(" struct {");
                let doc = sentence(name, &std::mem::take(&mut comment));
                let structure = Structure { doc, parents: Vec::new(), fields: fields(&mut lines) };
                declared.structures.insert(name.to_owned(), structure);
            }
            _ => comment.clear(),
        }
    }
    declared
}

/// The members up to the closing brace.
fn fields<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<Field> {
    let (mut fields, mut comment) = (Vec::new(), Vec::new());
    for line in lines.map(str::trim).take_while(|line| *line != "}") {
        if let Some(words) = line.strip_prefix("// ") {
            comment.push(words);
        } else if let Some((name, kind)) = line.split_once(' ') {
            let doc = sentence(name, &std::mem::take(&mut comment));
            fields.push(Field { name: name.to_owned(), doc, kind: kind.trim().to_owned() });
        }
    }
    fields
}

/// What a comment says of the name that it begins with.
fn sentence(name: &str, comment: &[&str]) -> String {
    let comment = comment.join(" ");
    let of_name = comment.strip_prefix(name).and_then(|rest| {
        let verbs = [" is ", " are "];
        verbs.iter().find_map(|verb| rest.strip_prefix(verb))
    });
    of_name.unwrap_or(&comment).to_owned()
}
