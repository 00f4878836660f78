//! The differences between the specification and what the surfaces declare, one sentence each.

mod errors;
mod operations;
mod options;
mod others;
mod records;

use std::collections::BTreeMap;

use slotkv_proto::Code;

use crate::{
    declared::{Declared, plain},
    read::{c, cpp, go, kotlin, node, proto, python, rust},
    sources::Sources,
    specification::{ErrorClass, Specification},
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
        ("kotlin", kotlin::read(sources)),
        ("go", go::read(sources.text("examples/go/slotkv/status.go"))),
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
        if surface == "go" {
            // A user of the C library with an idiom of its own; what it answers as C does is held to be the same.
            check.records();
            continue;
        }
        check.operations();
        check.options();
        check.records();
        check.threads();
        match surface {
            "c" => check.numbers_of_codes(),
            "python" | "asyncio" | "node" | "kotlin" => check.classes(),
            _ => {}
        }
    }
    others::stale(specification, surfaces, &mut found);
    others::of_core(specification, &mut found);
    others::of_node(specification, sources, surfaces, &mut found);
    found
}

/// The checks of one surface.
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

    /// Kotlin's are exceptions.
    fn class_name(&self, class: &str) -> String {
        if self.surface == "kotlin" { class.replace("Error", "Exception") } else { class.to_owned() }
    }

    fn class_of(&self, code: &str) -> String {
        let has = |class: &&ErrorClass| class.codes.iter().any(|known| known == code);
        let class = self.specification.errors.iter().find(has);
        class.map(|class| self.class_name(&class.class)).unwrap_or_default()
    }

    fn threads(&mut self) {
        let words = &self.specification.surfaces[self.surface].threads;
        if !plain(&self.declared.client).contains(&plain(words)) {
            self.say(format!("the client's comment does not say that it is for {words}"));
        }
    }
}

/// The code of a name.
pub fn code(name: &str) -> Option<Code> {
    Code::ALL.iter().copied().find(|code| code.name() == name)
}
