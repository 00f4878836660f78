//! What no single surface shows: exceptions that nothing meets, the core's own numbers, JavaScript beside its types.

use slotkv_proto::{Code, limits};

use super::{Surfaces, code};
use crate::{read::node, sources::Sources, specification::Specification};

/// Exceptions and extras that nothing meets.
pub fn stale(specification: &Specification, surfaces: &Surfaces, found: &mut Vec<String>) {
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
                Some((of, field)) => {
                    let group = specification.groups.get(of).map(|group| &group.structures);
                    let record = specification.records.iter().find(|record| record.name == of);
                    let structures = group.or(record.map(|record| &record.structures));
                    // Rust's are some of them messages.
                    let proto = || structures.filter(|_| extra.surface == "rust")?.get("proto");
                    let structure =
                        structures.and_then(|structures| structures.get(&extra.surface)).or_else(proto);
                    structure
                        .is_some_and(|name| declared.fields(name).iter().any(|known| known.name == field))
                }
            };
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
            specification.groups.contains_key(of)
                && specification.options_of(of).any(|option| option.name == name)
                || specification
                    .records
                    .iter()
                    .any(|record| record.name == of && record.fields.iter().any(|field| field.name == name))
        }
    }
}

/// Defaults and bounds are those that the core has.
pub fn of_core(specification: &Specification, found: &mut Vec<String>) {
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
        ("scan", "page_items", Some(slotkv::PAGE_ITEMS_DEFAULT.into()), limits::PAGE_ITEMS_MAX.into()),
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
pub fn of_node(
    specification: &Specification,
    sources: &Sources,
    surfaces: &Surfaces,
    found: &mut Vec<String>,
) {
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
