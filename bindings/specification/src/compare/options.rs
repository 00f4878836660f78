//! Options where they are declared: names, sentences, defaults, bounds.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use crate::{
    declared::{Field, begins},
    specification::{Choice, Group},
};

impl Check<'_> {
    /// The options where they are declared: names, sentences, defaults, bounds.
    pub fn options(&mut self) {
        let specification = self.specification;
        if matches!(self.surface, "python" | "asyncio" | "kotlin") {
            return self.options_in_docstrings();
        }
        let mut known: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for option in &specification.options {
            let item = format!("{}.{}", option.group, option.name);
            let structure = specification.groups[&option.group].structures.get(self.surface);
            let name = specification.spelled(self.surface, &item);
            let (Some(structure), Some(name)) = (structure, name) else { continue };
            known.entry(structure).or_default().insert(name.clone());
            match self.declared.fields(structure).into_iter().find(|field| field.name == name) {
                None => self.say(format!("{structure} has no {name}")),
                Some(field) => {
                    let name = format!("{structure}.{name}");
                    self.option(option, &name, &field.doc);
                    self.option_kind(option, &name, &field.kind);
                }
            }
        }
        for (structure, names) in known {
            let group = |structure: &str| {
                let has = |(_, group): &(&String, &Group)| {
                    group.structures.get(self.surface).is_some_and(|name| name == structure)
                };
                specification.groups.iter().find(has).map(|(name, _)| name.clone()).unwrap_or_default()
            };
            let group = group(structure);
            let own = self.declared.structures.get(structure).map(|known| known.fields.clone());
            for Field { name, .. } in own.unwrap_or_default() {
                if !names.contains(&name) && !specification.is_extra(self.surface, &format!("{group}.{name}"))
                {
                    self.say(format!("{structure}.{name} is not in specification.toml"));
                }
            }
        }
    }

    /// Those of keywords stand in lists: those of connecting in its comment, those of calls in the client's. Kotlin has a
    /// tag for parameters.
    fn options_in_docstrings(&mut self) {
        let doc_of = |name| self.declared.function(name).map(|known| known.doc.clone()).unwrap_or_default();
        let (connecting, scanning) = (doc_of("connect"), doc_of("scan"));
        for option in &self.specification.options {
            let is_tagged = self.surface == "kotlin";
            let (text, is_tagged) = match option.group.as_str() {
                // The options of slotkv.aio.connect are said to be those of slotkv.connect.
                "connect" if self.surface != "asyncio" => (&connecting, is_tagged),
                "scan" if is_tagged => (&scanning, true),
                "call" | "put" => (&self.declared.client, false),
                _ => continue,
            };
            let item = format!("{}.{}", option.group, option.name);
            let Some(name) = self.specification.spelled(self.surface, &item) else { continue };
            let (mark, next) = if is_tagged {
                (format!("@param {name} "), "@param ")
            } else {
                (format!("- `{name}`: "), "- `")
            };
            let entry = text.split(&mark).nth(1);
            match entry.and_then(|entry| entry.split(next).next()).map(str::to_owned) {
                None => self.say(format!("no comment has the option {name} in its list")),
                Some(entry) => self.option(option, &name, &entry),
            }
        }
    }

    /// Its type, and with it the unit of a time.
    pub fn option_kind(&mut self, option: &Choice, name: &str, declared: &str) {
        let Some(kinds) = self.specification.option_kinds.get(&option.kind) else { return };
        let surface = if self.surface == "asyncio" { "python" } else { self.surface };
        let known = kinds.get(surface).map(Vec::as_slice).unwrap_or_default();
        // What may be missing has the type of what is there.
        let plain = declared.split(" = ").next().unwrap_or_default();
        let plain = ["Option<", "std::optional<"]
            .iter()
            .find_map(|head| plain.strip_prefix(head)?.strip_suffix('>'))
            .unwrap_or(plain);
        let plain = [" | None", " | null", "?"].iter().fold(plain, |kind, tail| kind.trim_end_matches(tail));
        if !known.iter().any(|kind| kind == plain) {
            self.say(format!("{name} is {declared}, not {known:?} ({})", option.kind));
        }
    }

    fn option(&mut self, option: &Choice, name: &str, comment: &str) {
        if !begins(comment, &option.doc) {
            self.say(format!("the comment of {name} does not begin with {:?}: {comment}", option.doc));
        }
        for (what, number) in [("default", option.default), ("bound", option.max)] {
            let Some(number) = number else { continue };
            if !spellings(option, number).iter().any(|text| has_number(comment, text)) {
                self.say(format!("the comment of {name} does not have its {what} {number}: {comment}"));
            }
        }
    }
}

/// How a comment may write a number; of a time in milliseconds or in seconds.
fn spellings(option: &Choice, number: u64) -> Vec<String> {
    let mut texts = vec![number.to_string()];
    if option.is_time() {
        let (seconds, rest) = (number / 1000, number % 1000);
        let fraction =
            if rest == 0 { String::new() } else { format!(".{}", rest.to_string().trim_end_matches('0')) };
        texts.push(format!("{seconds}{fraction} s"));
        // Where all times are in seconds and the text says so.
        texts.push(format!("at most {seconds}{fraction}"));
    }
    texts
}

/// Whether a text has a number that is no part of a longer one.
fn has_number(text: &str, number: &str) -> bool {
    let text = text.replace(',', "");
    text.match_indices(number).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + number.len()..].chars().next();
        let is_part =
            |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_digit() || letter == '_');
        // Of seconds, where milliseconds are looked for.
        let is_seconds = !number.ends_with(" s") && text[at + number.len()..].starts_with(" s");
        !is_part(before) && !is_part(after) && !is_seconds
    })
}
