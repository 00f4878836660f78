//! Python: names and types out of the stub, docstrings out of the Rust that pyo3 exports, errors out of their module.

use std::collections::BTreeMap;

use super::rust;
use crate::{
    declared::{Class, Declared, Field, Function, Parameter, Structure, one_line, parameters_of, split},
    sources::Sources,
};

/// Which of the two clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// `slotkv.Client`
    Blocking,
    /// `slotkv.aio.Client`
    Asyncio,
}

/// What the package declares for a client.
pub fn read(sources: &Sources, client: Client) -> Declared {
    let stub = sources.text("python/slotkv/_slotkv.pyi");
    let errors = sources.text("python/slotkv/errors.py");
    let (class, rust_path, connecting) = match client {
        Client::Blocking => ("Client", "bindings/python/src/client.rs", stub),
        Client::Asyncio => {
            ("AsyncClient", "bindings/python/src/aio.rs", sources.text("python/slotkv/aio.py"))
        }
    };
    let text = sources.text(rust_path);
    let documented = rust::functions(text, "Client", true);
    let doc_of = |name: &str| documented.iter().find(|function| function.name == name).map(|f| f.doc.clone());

    let mut declared =
        Declared { client: rust::comment_of(text, "pub(crate) struct Client"), ..Declared::default() };
    let connects = definitions(connecting, "").into_iter().find(|function| function.name == "connect");
    if let Some(mut connect) = connects {
        if client == Client::Blocking {
            connect.doc = one_line(&rust::comment_of(text, "pub(crate) fn connect"));
        }
        declared.functions.push(connect);
    }
    for mut function in definitions(&class_body(stub, class), "    ") {
        if function.name.starts_with('_') || declared.function(&function.name).is_some() {
            continue;
        }
        function.doc = doc_of(&function.name).unwrap_or_default();
        declared.functions.push(function);
    }
    let documented =
        [sources.text("bindings/python/src/view.rs"), sources.text("bindings/python/src/results.rs")];
    for (name, structure) in documented.iter().flat_map(|text| rust::structures(text)) {
        let body = class_body(stub, &name);
        let fields = properties(&body)
            .into_iter()
            .map(|field| {
                let known = structure.fields.iter().find(|known| known.name == field.name);
                let doc = known
                    .map_or_else(|| getter_doc(&documented, &name, &field.name), |known| known.doc.clone());
                Field { doc, ..field }
            })
            .collect();
        declared.structures.insert(name, Structure { fields, ..structure });
    }
    declared.structures.insert("SlotkvError".into(), error_structure(errors));
    declared.errors = classes(errors);
    declared.class_of = class_of(errors);
    declared
}

/// The docstring that a getter has in the methods of a record.
fn getter_doc(texts: &[&str], record: &str, name: &str) -> String {
    let head = format!("    {record} {{\n");
    let body = texts.iter().find_map(|text| text.split_once(head.as_str())).map_or("", |(_, body)| body);
    let before = body.split(&format!("fn {name}(&self)")).next().unwrap_or_default();
    let comment = before.rsplit("/// ").next().and_then(|text| text.lines().next());
    comment.unwrap_or_default().to_owned()
}

/// The lines of a class, without its head.
fn class_body(stub: &str, class: &str) -> String {
    let heads = [format!("class {class}:"), format!("class {class}(")];
    let mut lines = stub.lines().skip_while(|line| !heads.iter().any(|head| line.starts_with(head.as_str())));
    lines.next();
    let body = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    body.collect::<Vec<_>>().join("\n")
}

/// The functions that are defined at this indentation; of overloads the first.
fn definitions(text: &str, indent: &str) -> Vec<Function> {
    let mut functions: Vec<Function> = Vec::new();
    let head = format!("{indent}def ");
    let mut lines = text.lines();
    let mut is_property = false;
    while let Some(line) = lines.next() {
        if let Some(decorator) = line.trim().strip_prefix('@') {
            is_property = decorator == "property";
            continue;
        }
        let Some(rest) = line.strip_prefix(head.as_str()) else { continue };
        let name = rest.split('(').next().unwrap_or_default().to_owned();
        let mut signature = rest.to_owned();
        while !signature.ends_with(": ...") && !signature.ends_with(':') {
            let Some(next) = lines.next() else { break };
            signature.push_str(next);
        }
        let doc =
            lines.clone().next().and_then(|line| line.trim().strip_prefix("\"\"\"")).unwrap_or_default();
        let signature = one_line(signature.trim_end_matches(" ...").trim_end_matches(':'));
        let mut is_keyword = false;
        let mut parameters = Vec::new();
        for parameter in split(parameters_of(&signature)) {
            match parameter.as_str() {
                "*" => is_keyword = true,
                "self" | "/" => {}
                _ => {
                    let (name, kind) = parameter.split_once(": ").unwrap_or((&parameter, ""));
                    parameters.push(Parameter { name: name.into(), kind: kind.into(), is_keyword });
                }
            }
        }
        let signature = signature
            .replace("( ", "(")
            .replace(",)", ")")
            .replace(" )", ")")
            .replace("(self, ", "(")
            .replace("(self)", "()");
        if !functions.iter().any(|known| known.name == name) {
            let doc = if is_property { String::new() } else { doc.to_owned() };
            functions.push(Function { name, doc, parameters, signature });
        }
        is_property = false;
    }
    functions
}

/// The properties of a class.
fn properties(body: &str) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut lines = body.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "@property" {
            continue;
        }
        let declaration = lines.next().and_then(|line| line.trim().strip_prefix("def "));
        if let Some((name, kind)) = declaration.and_then(|text| text.split_once("(self) -> ")) {
            let kind = kind.trim_end_matches(": ...").to_owned();
            fields.push(Field { name: name.to_owned(), doc: String::new(), kind });
        }
    }
    fields
}

/// Attributes of the root of the errors, with their `#:` comments, and its property.
fn error_structure(errors: &str) -> Structure {
    let body = class_body(errors, "SlotkvError");
    let mut structure = Structure::default();
    let mut doc = String::new();
    let mut lines = body.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("#: ") {
            doc = text.to_owned();
        } else if line.starts_with("def message(") {
            let doc = lines.next().unwrap_or_default().trim().trim_matches('"').to_owned();
            structure.fields.push(Field { name: "message".into(), doc, kind: "str".into() });
        } else if let Some((name, kind)) = line.split_once(": ").filter(|_| !doc.is_empty()) {
            let kind = kind.split(" = ").next().unwrap_or_default().to_owned();
            structure.fields.push(Field { name: name.into(), doc: std::mem::take(&mut doc), kind });
        }
    }
    structure
}

fn classes(errors: &str) -> Vec<Class> {
    let mut classes = Vec::new();
    for line in errors.lines() {
        let Some((name, parents)) = line.strip_prefix("class ").and_then(|head| head.split_once('(')) else {
            continue;
        };
        if name.starts_with('_') {
            continue;
        }
        let body = class_body(errors, name);
        let doc = body.trim_start().trim_start_matches("\"\"\"").split("\"\"\"").next().unwrap_or_default();
        let mut defaults = BTreeMap::new();
        for line in body.lines().take_while(|line| !line.trim().starts_with("def ")) {
            let line = line.trim();
            if let Some(values) = line.strip_prefix("code, kind = ") {
                let (code, kind) = values.split_once(", ").unwrap_or_default();
                defaults.insert("code".to_owned(), code.to_owned());
                defaults.insert("kind".to_owned(), kind.trim_matches('"').to_owned());
            } else if let Some((name, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
                let name = name.split(':').next().unwrap_or_default().to_owned();
                defaults.insert(name, value.trim_matches('"').to_lowercase());
            }
        }
        if let Some(kind) = defaults.get_mut("kind") {
            *kind = kind.to_uppercase();
        }
        let parents = parents.trim_end_matches("):").split(", ").map(str::to_owned).collect();
        classes.push(Class { name: name.to_owned(), doc: one_line(doc), parents, defaults });
    }
    classes
}

/// `CLASSES`
fn class_of(errors: &str) -> BTreeMap<u32, String> {
    let table = errors.split("CLASSES = ").nth(1).unwrap_or_default();
    let entry = |line: &str| {
        let (code, class) = line.trim().trim_end_matches(',').split_once(": ")?;
        Some((code.parse().ok()?, class.to_owned()))
    };
    table.lines().filter_map(entry).collect()
}
