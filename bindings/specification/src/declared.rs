//! What a surface declares.

use std::collections::BTreeMap;

/// One surface.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// What its client can do.
    pub functions: Vec<Function>,
    /// Its structures, by name.
    pub structures: BTreeMap<String, Structure>,
    /// Its classes of errors.
    pub errors: Vec<Class>,
    /// The class of each code.
    pub class_of: BTreeMap<u32, String>,
    /// The comment of its client.
    pub client: String,
}

/// A function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its comment, in one line.
    pub doc: String,
    /// Its parameters, in order.
    pub parameters: Vec<Parameter>,
    /// All of it, in one line.
    pub signature: String,
}

/// A parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Only by its name.
    pub is_keyword: bool,
}

/// A structure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    /// Its comment.
    pub doc: String,
    /// Structures whose fields it has, too.
    pub parents: Vec<String>,
    /// Its fields, in order.
    pub fields: Vec<Field>,
}

/// A field, or a value of an enumeration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its comment, in one line.
    pub doc: String,
    /// Its type, or its number.
    pub kind: String,
}

/// A class of errors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Its comment.
    pub doc: String,
    /// The classes that it is, too.
    pub parents: Vec<String>,
    /// code, kind, retry, retryable and outcome of an instance, where they are said.
    pub defaults: BTreeMap<String, String>,
}

impl Declared {
    /// A function by its name.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// The fields of a structure, with those of its parents before.
    pub fn fields(&self, name: &str) -> Vec<&Field> {
        let Some(structure) = self.structures.get(name) else { return Vec::new() };
        let inherited = structure.parents.iter().flat_map(|parent| self.fields(parent));
        inherited.chain(&structure.fields).collect()
    }

    /// A default of a class of errors, its own or inherited.
    pub fn default_of(&self, class: &str, name: &str) -> Option<&str> {
        let class = self.errors.iter().find(|known| known.name == class)?;
        match class.defaults.get(name) {
            Some(value) => Some(value),
            None => class.parents.iter().find_map(|parent| self.default_of(parent, name)),
        }
    }
}

/// Words with one blank between them.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A comment as the sentences of the file are written: without marks and links, and in one case.
pub fn plain(text: &str) -> String {
    let marks = |letter: &char| !matches!(letter, '`' | '[' | ']');
    let text: String = one_line(text).chars().filter(marks).collect();
    let text = text.strip_prefix("Not 0: ").unwrap_or(&text);
    text.to_lowercase()
}

/// Whether a comment begins with a sentence.
pub fn begins(comment: &str, sentence: &str) -> bool {
    let (comment, sentence) = (plain(comment), plain(sentence));
    comment
        .strip_prefix(sentence.as_str())
        .is_some_and(|rest| !rest.starts_with(|letter: char| letter.is_alphanumeric()))
}

/// Splits at commas outside of brackets.
pub fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut part) = (Vec::new(), 0, String::new());
    for letter in text.chars() {
        match letter {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' | '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(one_line(&part));
                part.clear();
                continue;
            }
            _ => {}
        }
        part.push(letter);
    }
    parts.push(one_line(&part));
    parts.retain(|part| !part.is_empty());
    parts
}

/// What is between the first `(` and the `)` that belongs to it.
pub fn parameters_of(signature: &str) -> &str {
    let Some(begin) = signature.find('(') else { return "" };
    let mut depth = 0;
    for (at, letter) in signature[begin..].char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &signature[begin + 1..begin + at];
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_begins_with_a_sentence_only_at_a_whole_word() {
        assert!(begins("The `value` of\na [key]; None if absent.", "The value of a key"));
        assert!(begins("Not 0: without values.", "Without values"));
        assert!(!begins("The value of a keys", "The value of a key"));
        assert!(!begins("Of a key", "The value of a key"));
    }

    #[test]
    fn commas_in_brackets_split_nothing() {
        assert_eq!(split("a: [b, c], d: (e, f),"), ["a: [b, c]", "d: (e, f)"]);
        assert_eq!(parameters_of("f(a: (b), c) -> d"), "a: (b), c");
    }
}
