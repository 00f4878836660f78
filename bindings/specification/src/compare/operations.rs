//! Operations: their names, arguments and options, and what their comments say.

use std::collections::BTreeSet;

use super::Check;
use crate::{
    declared::{Function, begins},
    specification::{Operation, camel},
};

impl Check<'_> {
    /// The name of a function.
    fn function_name(&self, operation: &Operation) -> Option<String> {
        let name = self.specification.spelled(self.surface, &operation.name)?;
        Some(format!("{}{name}", self.specification.surfaces[self.surface].prefix))
    }

    pub fn operations(&mut self) {
        let specification = self.specification;
        let mut known = BTreeSet::new();
        for operation in &specification.operations {
            let Some(name) = self.function_name(operation) else { continue };
            known.insert(name.clone());
            match self.declared.function(&name) {
                None => self.say(format!("there is no {name}")),
                Some(function) => self.operation(operation, function),
            }
        }
        for function in &self.declared.functions {
            let name = &function.name;
            if !known.contains(name) && !specification.is_extra(self.surface, name) {
                self.say(format!("{name} is not in specification.toml"));
            }
        }
    }

    fn operation(&mut self, operation: &Operation, function: &Function) {
        let name = &function.name;
        if !begins(&function.doc, &operation.doc) {
            self.say(format!(
                "the comment of {name} does not begin with {:?}: {}",
                operation.doc, function.doc
            ));
        }
        let declared: Vec<&str> =
            function.parameters.iter().filter(|one| !one.is_keyword).map(|one| one.name.as_str()).collect();
        let declared: Vec<&str> = declared.into_iter().filter(|name| *name != "py").collect();
        let expected = self.parameters(operation);
        if declared != expected {
            self.say(format!("{name} takes {declared:?}, not {expected:?}"));
        }
        if matches!(self.surface, "python" | "asyncio" | "kotlin") {
            self.keywords(operation, function);
        }
        if self.surface == "node" {
            self.interface(operation, function);
        }
        // What an operation alone may give, its comment names: by code, or by class where there are classes.
        if operation.group == "One key" {
            for code in &operation.errors {
                let word = match self.surface {
                    "python" | "asyncio" | "node" | "kotlin" => self.class_of(code),
                    _ => code.clone(),
                };
                if !function.doc.contains(&word) {
                    self.say(format!("the comment of {name} does not name {word}"));
                }
            }
        }
    }

    /// The positional parameters that an operation has here.
    fn parameters(&self, operation: &Operation) -> Vec<String> {
        let specification = self.specification;
        if let Some(parameters) =
            specification.exception(self.surface, &operation.name).and_then(|one| one.parameters.clone())
        {
            return parameters;
        }
        let has = |group: &str| operation.options.iter().any(|known| known == group);
        let takes_options = has("call") || has("connect") || has("status");
        let spelled = |name: &String| {
            let is_time = matches!(name.as_str(), "deadline" | "ttl");
            let suffix = &specification.surfaces[self.surface].time_suffix;
            let name = if is_time { format!("{name}{suffix}") } else { name.clone() };
            let is_camel = specification.surfaces[self.surface].spelling == "camel";
            if is_camel { camel(&name) } else { name }
        };
        let arguments = operation.arguments.iter().map(spelled);
        let mut parameters: Vec<String> = Vec::new();
        match self.surface {
            "c" => {
                parameters.push("client".into());
                for argument in arguments {
                    let is_array = matches!(argument.as_str(), "keys" | "pairs");
                    parameters.push(argument);
                    parameters.extend(is_array.then(|| "count".to_owned()));
                }
                parameters.extend(has("range").then(|| "range".to_owned()));
                parameters.extend(takes_options.then(|| "options".to_owned()));
                parameters.push("result".into());
            }
            "cpp" | "node" => {
                parameters.extend(arguments);
                parameters.extend((has("range") && self.surface == "cpp").then(|| "range".to_owned()));
                parameters.extend(takes_options.then(|| "options".to_owned()));
            }
            "rust" => {
                parameters.extend(arguments);
                parameters.extend(has("range").then(|| "range".to_owned()));
            }
            _ => {
                parameters.extend(arguments);
                // The one that is named first needs no name in Python.
                parameters.extend((has("range") && self.surface != "kotlin").then(|| "prefix".to_owned()));
            }
        }
        parameters
    }

    /// Options as keywords.
    fn keywords(&mut self, operation: &Operation, function: &Function) {
        let specification = self.specification;
        let declared: BTreeSet<&str> = function
            .parameters
            .iter()
            .filter(|one| one.is_keyword || one.name == "prefix")
            .map(|one| one.name.as_str())
            .collect();
        let mut expected = BTreeSet::new();
        for group in &operation.options {
            for option in specification.options_of(group) {
                let lacks = specification.exception(self.surface, &format!("{group}.{}", option.name));
                if lacks.is_some_and(|exception| exception.name.is_none()) {
                    continue;
                }
                let item = format!("{}.{}", option.group, option.name);
                let Some(name) = specification.spelled(self.surface, &item) else { continue };
                if let Some(parameter) = function.parameters.iter().find(|one| one.name == name) {
                    self.option_kind(option, &format!("{name} of {}", function.name), &parameter.kind);
                }
                expected.insert(name);
            }
        }
        let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
        self.same_options(&function.name, &declared, &expected);
        // Where the option is not the client's to explain.
        if function.name == "scan" {
            for option in &expected {
                let is_told = function.doc.contains(&format!("`{option}`"))
                    || function.doc.contains(&format!("@param {option} "))
                    || self.says(option);
                if !is_told {
                    self.say(format!("the docstring of scan does not name `{option}`"));
                }
            }
        }
    }

    /// Whether the client's comment explains an option.
    fn says(&self, option: &str) -> bool {
        self.declared.client.contains(&format!("- `{option}`:"))
    }

    /// Options as properties of the last parameter.
    fn interface(&mut self, operation: &Operation, function: &Function) {
        let specification = self.specification;
        let mut expected = BTreeSet::new();
        for group in &operation.options {
            for option in specification.options_of(group) {
                let lacks = specification.exception(self.surface, &format!("{group}.{}", option.name));
                if lacks.is_some_and(|exception| exception.name.is_none()) {
                    continue;
                }
                let item = format!("{}.{}", option.group, option.name);
                expected.extend(specification.spelled(self.surface, &item));
            }
        }
        let kind = function.parameters.iter().find(|one| one.name == "options").map(|one| one.kind.as_str());
        let declared: BTreeSet<&str> = match kind {
            None => BTreeSet::new(),
            Some(kind) => match kind.strip_prefix("Pick<") {
                Some(picked) => picked.split('\'').skip(1).step_by(2).collect(),
                None => self.declared.fields(kind).iter().map(|field| field.name.as_str()).collect(),
            },
        };
        let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
        self.same_options(&function.name, &declared, &expected);
    }

    fn same_options(&mut self, name: &str, declared: &BTreeSet<&str>, expected: &BTreeSet<&str>) {
        for option in expected.difference(declared) {
            self.say(format!("{name} does not take the option {option}"));
        }
        for option in declared.difference(expected) {
            self.say(format!("{name} takes the option {option}, which is not in specification.toml"));
        }
    }
}
