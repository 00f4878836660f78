//! Codes and classes of errors.

use slotkv_proto::{Applied, Code, Retry};

use super::{Check, code};
use crate::declared::begins;

impl Check<'_> {
    /// C has the table of codes as an enumeration.
    pub fn numbers_of_codes(&mut self) {
        let mut expected = vec![("SLOTKV_CODE_OK".to_owned(), "0".to_owned(), "It succeeded".to_owned())];
        expected.extend(Code::ALL.iter().map(|code| {
            (format!("SLOTKV_CODE_{}", code.name()), code.number().to_string(), code.text().to_owned())
        }));
        let declared = self.declared.fields("slotkv_code_t").into_iter().cloned().collect::<Vec<_>>();
        for (name, number, text) in &expected {
            match declared.iter().find(|field| field.name == *name) {
                None => self.say(format!("slotkv_code_t has no {name}")),
                Some(field) if field.kind != *number => {
                    self.say(format!("{name} is {}, not {number}", field.kind))
                }
                Some(field) if !begins(&field.doc, text) => {
                    self.say(format!("the comment of {name} does not begin with {text:?}: {}", field.doc));
                }
                Some(_) => {}
            }
        }
        for field in declared.iter().filter(|field| !expected.iter().any(|(name, ..)| *name == field.name)) {
            self.say(format!("{} is not in proto/src/code.rs", field.name));
        }
    }

    /// Classes of errors, their place among each other, and what an instance says.
    pub fn classes(&mut self) {
        let specification = self.specification;
        let declared = self.declared;
        for class in &specification.errors {
            let name = &self.class_name(&class.class);
            let Some(found) = declared.errors.iter().find(|known| known.name == *name) else {
                self.say(format!("there is no {name}"));
                continue;
            };
            let mut parents = vec![self.class_name(class.parent.as_deref().unwrap_or("SlotkvError"))];
            if matches!(self.surface, "python" | "asyncio") {
                parents.extend(class.python.iter().cloned());
            }
            if found.parents != parents {
                self.say(format!("{name} is a {:?}, not a {parents:?}", found.parents));
            }
            let codes: Vec<Code> = class.codes.iter().filter_map(|name| code(name)).collect();
            let doc = class.doc.as_deref().or(codes.first().map(|code| code.text())).unwrap_or_default();
            if !begins(&found.doc, doc.trim_end_matches('.')) {
                self.say(format!("the comment of {name} does not begin with {doc:?}: {}", found.doc));
            }
            // An exception of Kotlin has them from the library.
            if let Some(code) = codes.first().filter(|_| self.surface != "kotlin") {
                self.defaults(name, *code);
            }
        }
        let root = self.class_name("SlotkvError");
        for class in declared.errors.iter().filter(|class| class.name != root) {
            if !specification.errors.iter().any(|known| self.class_name(&known.class) == class.name) {
                self.say(format!("{} is not in specification.toml", class.name));
            }
        }
        for &code in Code::ALL {
            let expected = self.class_of(code.name());
            let found = declared.class_of.get(&code.number()).cloned().unwrap_or_default();
            if expected != found {
                self.say(format!("{} is a {found:?}, not a {expected:?}", code.name()));
            }
        }
        for number in declared.class_of.keys().filter(|number| Code::from_number(**number).is_none()) {
            self.say(format!("{number} is no code of proto/src/code.rs"));
        }
    }

    fn defaults(&mut self, class: &str, code: Code) {
        let is_applied = code.applied() == Applied::Maybe;
        let outcome = if is_applied { "unknown" } else { "failed" };
        let is_retryable = !is_applied && !matches!(code.retry(), Retry::Never | Retry::Ask);
        for (name, expected) in [
            ("code", code.number().to_string()),
            ("kind", code.name().to_owned()),
            ("retry", code.retry().name().to_owned()),
            ("retryable", is_retryable.to_string()),
            ("outcome", outcome.to_owned()),
        ] {
            let found = self.declared.default_of(class, name).unwrap_or_default().to_owned();
            if found != expected {
                self.say(format!("{name} of {class} is {found:?}, not {expected:?}"));
            }
        }
    }
}
