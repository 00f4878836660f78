//! `specification.toml` as values.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Specification {
    /// The languages, by name.
    #[serde(rename = "surface")]
    pub surfaces: BTreeMap<String, Surface>,
    /// The operations, in the order of the pages.
    #[serde(rename = "operation")]
    pub operations: Vec<Operation>,
    /// Which structure of which language has a group's options.
    #[serde(rename = "group")]
    pub groups: BTreeMap<String, Group>,
    /// The options.
    #[serde(rename = "option")]
    pub options: Vec<Choice>,
    /// The types of options, by language; a language may have several.
    #[serde(rename = "option_kind")]
    pub option_kinds: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// The types of fields, by language.
    #[serde(rename = "kind")]
    pub kinds: BTreeMap<String, BTreeMap<String, String>>,
    /// Structures of fields.
    #[serde(rename = "record")]
    pub records: Vec<Record>,
    /// Classes of errors.
    #[serde(rename = "error")]
    pub errors: Vec<ErrorClass>,
    /// Where constants stand.
    pub constants: Constants,
    /// The limits.
    #[serde(rename = "limit")]
    pub limits: Vec<Limit>,
    /// What surfaces lack or call otherwise.
    #[serde(rename = "exception")]
    pub exceptions: Vec<Exception>,
    /// What one surface has alone.
    #[serde(rename = "extra")]
    pub extras: Vec<Extra>,
}

/// A language.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Surface {
    /// For people.
    pub title: String,
    /// `snake`, `camel` or `pascal`.
    pub spelling: String,
    /// In front of every function's name.
    #[serde(default)]
    pub prefix: String,
    /// How times are given, for people.
    pub time: String,
    /// Behind the name of a time.
    #[serde(default)]
    pub time_suffix: String,
    /// Who may use a client; the client's comment says so in these words.
    pub threads: String,
    /// How a call is given up, for people.
    pub cancel: String,
    /// Types of keys and values, for people.
    pub bytes: String,
}

/// An operation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// Its chapter.
    pub group: String,
    /// The sentence.
    pub doc: String,
    /// Its arguments, in order.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Groups of options that it takes.
    #[serde(default)]
    pub options: Vec<String>,
    /// What it answers, for people.
    pub answer: String,
    /// Codes that are its own; every operation may give the others.
    #[serde(default)]
    pub errors: Vec<String>,
}

/// A group of options.
#[derive(Debug, Deserialize)]
pub struct Group {
    /// For people.
    pub title: String,
    /// The group whose options these are, if it has none of its own.
    pub of: Option<String>,
    /// And which of them.
    #[serde(default)]
    pub only: Vec<String>,
    /// The structure's name, by language.
    #[serde(flatten)]
    pub structures: BTreeMap<String, String>,
}

/// An option.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Its group.
    pub group: String,
    /// Its name.
    pub name: String,
    /// The sentence.
    pub doc: String,
    /// text, count, time, lifetime, flag, bytes, or cancel.
    pub kind: String,
    /// What holds without it, as a number; of a time in milliseconds.
    pub default: Option<u64>,
    /// The same in words.
    pub otherwise: Option<String>,
    /// The largest number.
    pub max: Option<u64>,
    /// Its name in a URI.
    pub uri: Option<String>,
}

impl Choice {
    /// Whether it is a time; one of a lifetime may be longer.
    pub fn is_time(&self) -> bool {
        matches!(self.kind.as_str(), "time" | "lifetime")
    }
}

/// A structure of fields.
#[derive(Debug, Deserialize)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// The sentence.
    pub doc: String,
    /// The words of its status.
    #[serde(default)]
    pub words: Vec<String>,
    /// The order of its fields is the languages' own.
    #[serde(default)]
    pub is_error: bool,
    /// Its fields.
    pub fields: Vec<Field>,
    /// Its name, by language.
    #[serde(flatten)]
    pub structures: BTreeMap<String, String>,
}

/// A field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type, one of the kinds.
    pub kind: String,
    /// The sentence.
    #[serde(default)]
    pub doc: String,
}

/// A class of errors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorClass {
    /// Its name.
    pub class: String,
    /// The class above; `SlotkvError` where none is named.
    pub parent: Option<String>,
    /// The sentence, where it is not the meaning of the only code.
    pub doc: Option<String>,
    /// Names of the codes whose errors are its instances; the first is that of an instance made by hand.
    #[serde(default)]
    pub codes: Vec<String>,
    /// Python's own classes that it is, too.
    #[serde(default)]
    pub python: Vec<String>,
}

/// Where constants stand.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constants {
    /// Files, from the root of the workspace.
    pub files: Vec<String>,
}

/// A limit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Of what.
    pub of: String,
    /// How much, and what happens past it; `{NAME}` is a constant, `{group.option}` the default of an option.
    pub is: String,
}

/// What some surfaces lack or call otherwise.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Which ones.
    pub surfaces: Vec<String>,
    /// An operation, `group.option`, or `Record.field`.
    pub item: String,
    /// What they call it. Without this and `parameters`, they lack it.
    pub name: Option<String>,
    /// What an operation takes there.
    pub parameters: Option<Vec<String>>,
    /// Why.
    pub because: String,
}

/// What one surface has alone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extra {
    /// Which one.
    pub surface: String,
    /// Functions as they are spelled there, or `group.option`.
    pub names: Vec<String>,
    /// Why.
    pub because: String,
}

impl Specification {
    /// The file's values.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start].lines().count());
            format!("specification.toml:{line}: {}", error.message())
        })
    }

    /// What a surface has for an item; `None` if it lacks it.
    pub fn spelled(&self, surface: &str, item: &str) -> Option<String> {
        let exception = self.exception(surface, item);
        match exception {
            Some(Exception { name: Some(name), .. }) => Some(name.clone()),
            Some(Exception { parameters: None, .. }) => None,
            _ => Some(self.plainly(surface, item)),
        }
    }

    /// What a surface has for an item that nothing is said about.
    pub fn plainly(&self, surface: &str, item: &str) -> String {
        let name = item.rsplit('.').next().unwrap_or(item);
        let known = &self.surfaces[surface];
        let is_time = self
            .options
            .iter()
            .any(|option| option.is_time() && item == format!("{}.{}", option.group, option.name));
        let name = if is_time { format!("{name}{}", known.time_suffix) } else { name.to_owned() };
        match known.spelling.as_str() {
            "camel" => camel(&name),
            "pascal" => pascal(&name),
            _ => name,
        }
    }

    /// The exception of a surface, if it has one.
    pub fn exception(&self, surface: &str, item: &str) -> Option<&Exception> {
        self.exceptions
            .iter()
            .find(|exception| exception.item == item && exception.surfaces.iter().any(|name| name == surface))
    }

    /// Whether a surface has this alone.
    pub fn is_extra(&self, surface: &str, name: &str) -> bool {
        self.extras
            .iter()
            .any(|extra| extra.surface == surface && extra.names.iter().any(|known| known == name))
    }

    /// The options of a group.
    pub fn options_of<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Choice> {
        let known = &self.groups[group];
        let own = known.of.as_deref().unwrap_or(group);
        self.options.iter().filter(move |option| {
            option.group == own && (known.only.is_empty() || known.only.contains(&option.name))
        })
    }
}

/// `get_many` as `getMany`.
pub fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut spelled = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        spelled.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        spelled.push_str(letters.as_str());
    }
    spelled
}

/// `cluster_id` as `ClusterID`.
fn pascal(name: &str) -> String {
    let word = |word: &str| match word {
        "id" | "isr" => word.to_ascii_uppercase(),
        _ => camel(&format!("_{word}")),
    };
    name.split('_').map(word).collect()
}
