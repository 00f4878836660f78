//! The differences between the specification and what the surfaces declare, one sentence each.

use std::collections::{BTreeMap, BTreeSet};

use slotkv_proto::{Applied, Code};

use crate::{
    declared::{Declared, Field, Function, begins, plain},
    read::{c, cpp, node, proto, python, rust},
    sources::Sources,
    specification::{Choice, ErrorClass, Operation, Record, Specification},
};

/// What every surface declares, by the surface's name.
pub type Surfaces = BTreeMap<&'static str, Declared>;

/// Reads what the surfaces declare.
pub fn surfaces(sources: &Sources) -> Surfaces {
    BTreeMap::from([
        ("rust", rust_client(sources)),
        ("c", c::read(sources.text("include/slotkv.h"))),
        ("cpp", cpp::read(sources.text("include/slotkv.hpp"))),
        ("python", python::read(sources, python::Client::Blocking)),
        ("asyncio", python::read(sources, python::Client::Asyncio)),
        ("node", node::read(sources)),
    ])
}

fn rust_client(sources: &Sources) -> Declared {
    let files =
        ["client", "command", "count", "error", "explain", "operations", "options", "range", "scan", "stats"];
    let texts = files.map(|file| sources.text(&format!("core/src/{file}.rs")));
    let mut declared = Declared {
        client: rust::comment_of(texts[0], "pub struct Client"),
        functions: texts.iter().flat_map(|text| rust::functions(text, "Client", false)).collect(),
        structures: texts.iter().flat_map(|text| rust::structures(text)).collect(),
        ..Declared::default()
    };
    // What a master says is a message of the wire.
    declared.structures.extend(proto::read(sources.text("proto/proto/slotkv/v1/admin.proto")));
    declared
}

/// All differences.
pub fn differences(specification: &Specification, sources: &Sources, surfaces: &Surfaces) -> Vec<String> {
    let mut found = Vec::new();
    for (&surface, declared) in surfaces {
        let mut check = Check { specification, surface, declared, found: &mut found };
        check.operations();
        check.options();
        check.records();
        check.threads();
        match surface {
            "c" => check.numbers_of_codes(),
            "python" | "asyncio" | "node" => check.classes(),
            _ => {}
        }
    }
    stale(specification, surfaces, &mut found);
    of_core(specification, &mut found);
    of_node(specification, sources, surfaces, &mut found);
    found
}

struct Check<'a> {
    specification: &'a Specification,
    surface: &'static str,
    declared: &'a Declared,
    found: &'a mut Vec<String>,
}

impl Check<'_> {
    fn say(&mut self, what: impl std::fmt::Display) {
        let surface = self.surface;
        self.found.push(format!("{surface}: {what}"));
    }

    /// The name of a function.
    fn function_name(&self, operation: &Operation) -> Option<String> {
        let name = self.specification.spelled(self.surface, &operation.name)?;
        Some(format!("{}{name}", self.specification.surfaces[self.surface].prefix))
    }

    fn operations(&mut self) {
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
        if matches!(self.surface, "python" | "asyncio") {
            self.keywords(operation, function);
        }
        if self.surface == "node" {
            self.interface(operation, function);
        }
        // What an operation alone may give, its comment names: by code, or by class where there are classes.
        if operation.group == "One key" {
            for code in &operation.errors {
                let word = match self.surface {
                    "python" | "asyncio" | "node" => self.class_of(code),
                    _ => code.clone(),
                };
                if !function.doc.contains(&word) {
                    self.say(format!("the comment of {name} does not name {word}"));
                }
            }
        }
    }

    fn class_of(&self, code: &str) -> String {
        let has = |class: &&ErrorClass| class.codes.iter().any(|known| known == code);
        self.specification.errors.iter().find(has).map(|class| class.class.clone()).unwrap_or_default()
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
            let is_time = name == "deadline";
            let suffix = &specification.surfaces[self.surface].time_suffix;
            let name = if is_time { format!("{name}{suffix}") } else { name.clone() };
            if self.surface == "node" { crate::specification::camel(&name) } else { name }
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
                // The one that is named first needs no name.
                parameters.extend(has("range").then(|| "prefix".to_owned()));
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
        for option in operation.options.iter().flat_map(|group| specification.options_of(group)) {
            let item = format!("{}.{}", option.group, option.name);
            expected.extend(specification.spelled(self.surface, &item));
        }
        let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
        self.same_options(&function.name, &declared, &expected);
        // Where the option is not the client's to explain.
        if function.name == "scan" {
            for option in &expected {
                let is_told = function.doc.contains(&format!("`{option}`")) || self.says(option);
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
        for option in operation.options.iter().flat_map(|group| specification.options_of(group)) {
            let item = format!("{}.{}", option.group, option.name);
            expected.extend(specification.spelled(self.surface, &item));
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

    /// The options where they are declared: names, sentences, defaults, bounds.
    fn options(&mut self) {
        let specification = self.specification;
        if matches!(self.surface, "python" | "asyncio") {
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
                Some(field) => self.option(option, &format!("{structure}.{name}"), &field.doc),
            }
        }
        for (structure, names) in known {
            let group = |structure: &str| {
                let has = |(_, group): &(&String, &crate::specification::Group)| {
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

    /// Python's stand in lists: those of connecting in its docstring, those of calls in the client's.
    fn options_in_docstrings(&mut self) {
        let connecting =
            self.declared.function("connect").map(|connect| connect.doc.clone()).unwrap_or_default();
        for option in &self.specification.options {
            let text = match option.group.as_str() {
                // The options of slotkv.aio.connect are said to be those of slotkv.connect.
                "connect" if self.surface == "python" => connecting.clone(),
                "call" => self.declared.client.clone(),
                _ => continue,
            };
            let item = format!("{}.{}", option.group, option.name);
            let Some(name) = self.specification.spelled(self.surface, &item) else { continue };
            let entry = text.split(&format!("- `{name}`: ")).nth(1);
            match entry.and_then(|entry| entry.split("- `").next()).map(str::to_owned) {
                None => self.say(format!("no docstring has the option {name} in its list")),
                Some(entry) => self.option(option, &name, &entry),
            }
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

    fn records(&mut self) {
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
            if key != "proto" && !begins(&found.doc, &field.doc) && field.kind != "word" {
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
            _ => format!("{name}[]"),
        })
    }

    fn threads(&mut self) {
        let words = &self.specification.surfaces[self.surface].threads;
        if !plain(&self.declared.client).contains(&plain(words)) {
            self.say(format!("the client's comment does not say that it is for {words}"));
        }
    }

    /// C has the table of codes as an enumeration.
    fn numbers_of_codes(&mut self) {
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
    fn classes(&mut self) {
        let specification = self.specification;
        let declared = self.declared;
        for class in &specification.errors {
            let name = &class.class;
            let Some(found) = declared.errors.iter().find(|known| known.name == *name) else {
                self.say(format!("there is no {name}"));
                continue;
            };
            let mut parents = vec![class.parent.clone().unwrap_or_else(|| "SlotkvError".into())];
            if self.surface != "node" {
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
            if let Some(code) = codes.first() {
                self.defaults(name, *code);
            }
        }
        for class in declared.errors.iter().filter(|class| class.name != "SlotkvError") {
            if !specification.errors.iter().any(|known| known.class == class.name) {
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
        let is_retryable =
            !is_applied && !matches!(code.retry(), slotkv_proto::Retry::Never | slotkv_proto::Retry::Ask);
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

/// The code of a name.
pub fn code(name: &str) -> Option<Code> {
    Code::ALL.iter().copied().find(|code| code.name() == name)
}

/// How a comment may write a number; of a time in milliseconds or in seconds.
fn spellings(option: &Choice, number: u64) -> Vec<String> {
    let mut texts = vec![number.to_string()];
    if option.kind == "time" {
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

/// Exceptions and extras that nothing meets.
fn stale(specification: &Specification, surfaces: &Surfaces, found: &mut Vec<String>) {
    for exception in &specification.exceptions {
        for surface in &exception.surfaces {
            let Some(declared) = surfaces.get(surface.as_str()) else {
                found.push(format!("specification.toml: {} names the surface {surface}", exception.item));
                continue;
            };
            // That something is called otherwise is seen where it is looked for.
            if exception.name.is_some() || exception.parameters.is_some() || exception.item.contains('.') {
                continue;
            }
            let prefix = &specification.surfaces[surface].prefix;
            let plain = specification.plainly(surface, &exception.item);
            if declared.function(&format!("{prefix}{plain}")).is_some() {
                found
                    .push(format!("{surface}: {plain} is there, and specification.toml says that it is not"));
            }
        }
        if !is_item(specification, &exception.item) {
            found.push(format!("specification.toml: there is no {} to except", exception.item));
        }
    }
    for extra in &specification.extras {
        let Some(declared) = surfaces.get(extra.surface.as_str()) else { continue };
        for name in &extra.names {
            let is_there = match name.split_once('.') {
                None => declared.function(name).is_some(),
                Some((group, option)) => {
                    let structure = specification
                        .groups
                        .get(group)
                        .and_then(|group| group.structures.get(&extra.surface));
                    structure
                        .is_some_and(|name| declared.fields(name).iter().any(|field| field.name == option))
                }
            };
            // A property is no function.
            if !is_there {
                found.push(format!(
                    "{}: {name} is not there, and specification.toml says that it is",
                    extra.surface
                ));
            }
        }
    }
}

fn is_item(specification: &Specification, item: &str) -> bool {
    match item.split_once('.') {
        None => specification.operations.iter().any(|operation| operation.name == item),
        Some((of, name)) => {
            specification.options.iter().any(|option| option.group == of && option.name == name)
                || specification
                    .records
                    .iter()
                    .any(|record| record.name == of && record.fields.iter().any(|field| field.name == name))
        }
    }
}

/// Defaults and bounds are those that the core has.
fn of_core(specification: &Specification, found: &mut Vec<String>) {
    let core = slotkv::Options::default();
    let ms = |time: std::time::Duration| time.as_millis() as u64;
    for (group, name, default, max) in [
        ("connect", "deadline", Some(ms(core.deadline)), slotkv::DEADLINE_MS_MAX.into()),
        ("connect", "connect_timeout", Some(ms(core.connect_timeout)), slotkv::DEADLINE_MS_MAX.into()),
        ("connect", "ping_interval", Some(ms(core.ping)), slotkv::DEADLINE_MS_MAX.into()),
        ("connect", "inflight_max", Some(core.inflight_max as u64), slotkv::INFLIGHT_MAX_MAX as u64),
        (
            "connect",
            "streams_per_member",
            Some(core.streams_per_member as u64),
            slotkv::STREAMS_PER_MEMBER_MAX as u64,
        ),
        ("call", "deadline", None, slotkv::DEADLINE_MS_MAX.into()),
        (
            "scan",
            "page_items",
            Some(slotkv::PAGE_ITEMS_DEFAULT.into()),
            slotkv_proto::limits::PAGE_ITEMS_MAX.into(),
        ),
    ] {
        let option = specification.options.iter().find(|option| option.group == group && option.name == name);
        match option {
            None => found.push(format!("specification.toml: there is no option {group}.{name}")),
            Some(option) if (option.default, option.max) != (default, Some(max)) => {
                found.push(format!(
                    "specification.toml: {group}.{name} is {default:?} up to {max} in the core"
                ));
            }
            Some(_) => {}
        }
    }
    // The URI's parser knows them by name, and says so of others.
    let known = slotkv::uri::Target::parse("slotkv://h?no=1").map_err(|error| error.message);
    let known = known.err().unwrap_or_default();
    for option in specification.options.iter().filter_map(|option| option.uri.as_deref()) {
        if !known.contains(option) {
            found.push(format!("specification.toml: a URI has no option {option}: {known}"));
        }
    }
    let count = known
        .split("known are ")
        .nth(1)
        .map_or(0, |names| names.split([',', ' ']).filter(|name| !name.is_empty() && *name != "and").count());
    let expected = specification.options.iter().filter(|option| option.uri.is_some()).count();
    if count != expected {
        found.push(format!("specification.toml: a URI has {count} options, not {expected}"));
    }
    for code in specification
        .errors
        .iter()
        .flat_map(|class| &class.codes)
        .chain(specification.operations.iter().flat_map(|operation| &operation.errors))
    {
        if self::code(code).is_none() {
            found.push(format!("specification.toml: there is no code {code}"));
        }
    }
}

/// The JavaScript has what the types say.
fn of_node(specification: &Specification, sources: &Sources, surfaces: &Surfaces, found: &mut Vec<String>) {
    let kinds = node::union(sources.text("node/index.d.ts"), "ErrorKind");
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    if kinds != codes {
        found.push(format!("node: ErrorKind is {kinds:?}, not {codes:?}"));
    }
    let methods = node::methods(sources.text("node/lib/client.js"), "Client");
    let types: Vec<&str> = surfaces["node"]
        .functions
        .iter()
        .map(|function| function.name.as_str())
        .filter(|name| *name != "connect")
        .collect();
    for name in types.iter().filter(|name| !methods.iter().any(|method| method == **name)) {
        found.push(format!("node: lib/client.js has no {name}"));
    }
    for name in methods.iter().filter(|name| !types.contains(&name.as_str())) {
        found.push(format!("node: index.d.ts has no {name}"));
    }
    for class in &specification.errors {
        if !sources.text("node/index.mjs").contains(&format!("  {},\n", class.class)) {
            found.push(format!("node: index.mjs does not export {}", class.class));
        }
    }
}
