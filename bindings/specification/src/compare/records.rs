//! Structures of fields: their names, order, types and comments.

use super::Check;
use crate::{
    declared::{Field, begins},
    specification::Record,
};

impl Check<'_> {
    pub fn records(&mut self) {
        let specification = self.specification;
        let surface = if self.surface == "asyncio" { "python" } else { self.surface };
        for record in &specification.records {
            let names = [Some(surface), (surface == "rust").then_some("proto")];
            let named = names.into_iter().flatten().find_map(|key| Some((key, record.structures.get(key)?)));
            let Some((key, name)) = named else { continue };
            match self.declared.structures.get(name).cloned() {
                None => self.say(format!("there is no {name}")),
                Some(structure) => {
                    let doc = structure.doc.clone();
                    if key != "proto" && !record.is_error && !begins(&doc, &record.doc) {
                        self.say(format!(
                            "the comment of {name} does not begin with {:?}: {doc}",
                            record.doc
                        ));
                    }
                    self.fields(record, key, name, &structure.fields);
                }
            }
        }
    }

    fn fields(&mut self, record: &Record, key: &str, name: &str, declared: &[Field]) {
        let specification = self.specification;
        let mut expected = Vec::new();
        for field in &record.fields {
            let item = format!("{}.{}", record.name, field.name);
            let Some(spelled) = specification.spelled(self.surface, &item) else { continue };
            expected.push(spelled.clone());
            let Some(found) = declared.iter().find(|known| known.name == spelled) else {
                self.say(format!("{name} has no {spelled}"));
                continue;
            };
            let article = found.doc.strip_prefix("the ").filter(|_| key == "go");
            let says = begins(&found.doc, &field.doc) || article.is_some_and(|doc| begins(doc, &field.doc));
            if key != "proto" && !says && field.kind != "word" {
                self.say(format!(
                    "the comment of {name}.{spelled} does not begin with {:?}: {}",
                    field.doc, found.doc
                ));
            }
            let kind = self.kind(&field.kind, key);
            let is_known = kind.as_ref().is_none_or(|kind| match kind.as_str() {
                // A word is one of those that the record has.
                "Literal" | "'" => record.words.iter().all(|word| found.kind.contains(word.as_str())),
                kind => found.kind == kind || (key == "python" && found.kind == format!("{kind} | None")),
            });
            if !is_known {
                let kind = kind.unwrap_or_default();
                self.say(format!("{name}.{spelled} is {}, not {kind} ({})", found.kind, field.kind));
            }
        }
        let own: Vec<&str> = declared
            .iter()
            .map(|field| field.name.as_str())
            .filter(|one| !one.ends_with("_count") || expected.iter().any(|known| known == one))
            .collect();
        for extra in own.iter().filter(|one| !expected.iter().any(|known| known == **one)) {
            if specification.is_extra(self.surface, &format!("{}.{extra}", record.name)) {
                continue;
            }
            self.say(format!("{name}.{extra} is not in specification.toml"));
        }
        let order: Vec<&str> = expected.iter().map(String::as_str).filter(|one| own.contains(one)).collect();
        if !record.is_error && own.len() == order.len() && own != order {
            self.say(format!("the fields of {name} are in the order {own:?}, not {order:?}"));
        }
    }

    /// The type that a kind of field has here; `None` if any.
    fn kind(&self, kind: &str, key: &str) -> Option<String> {
        if let Some(kinds) = self.specification.kinds.get(kind) {
            return kinds.get(key).cloned();
        }
        let inner = kind.strip_prefix('[')?.strip_suffix(']')?;
        let record = self.specification.records.iter().find(|record| record.name == inner)?;
        let name = record.structures.get(key)?;
        Some(match key {
            "rust" => format!("Vec<{name}>"),
            "proto" => format!("repeated {name}"),
            "c" => format!("const struct {name} *"),
            "python" => format!("list[{name}]"),
            "kotlin" => format!("List<{name}>"),
            "go" => format!("[]{name}"),
            _ => format!("{name}[]"),
        })
    }
}
