//! Calls of this program to members of a cluster, for commands and servers alike.
//!
//! Layout: `reach` one member, by its address · `leader` the master that leads · `needed` what depends on a member.

mod leader;
mod needed;
mod reach;

pub(crate) use leader::ask_leader;
pub(crate) use needed::{Clients, clients, copies_lacking, is_leaving, lacking_without, reasons};
pub(crate) use reach::at;

use slotkv::{Error, Outcome};

/// The error with all it knows, for people: what happened, where, and whether it was applied.
pub(crate) fn explained(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(source) = cause {
        let more = source.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = source.source();
    }
    let mut facts = Vec::new();
    if error.outcome == Outcome::Unknown {
        facts.push("it may have been applied".to_owned());
    }
    if let Some(member) = &error.member {
        facts.push(format!("member {member}"));
    }
    if error.attempts > 1 {
        facts.push(format!("{} attempts", error.attempts));
    }
    if !facts.is_empty() {
        text.push_str(&format!(" ({})", facts.join(", ")));
    }
    text
}
