//! Carries out the shell's commands: one client, connected when it is first needed, and the namespace that `ns` chose.

use std::sync::Arc;

use slotkv::{Client, Condition, Delete, Entry, Put, PutOptions, Range};

use super::command::{LISTED_MAX, Listing, ShellCommand, USAGES, When, usage_of};
use crate::{
    cli::{
        exit::{Exit, Failure},
        flags::ClientFlags,
    },
    client::{
        connect, failure,
        listing::{decode_cursor, encode_cursor},
        output::{delete_words, put_words, standing},
        slot, status,
    },
    text::quote,
};

/// The shell's connection to the cluster. Clones share it.
#[derive(Clone)]
pub(crate) struct Session {
    flags: ClientFlags,
    client: Arc<tokio::sync::OnceCell<Client>>,
}

impl Session {
    /// Not connected yet.
    pub fn new(flags: ClientFlags) -> Self {
        Self { flags, client: Arc::default() }
    }

    /// The namespace, if one was named.
    pub fn namespace(&self) -> Option<&str> {
        self.flags.namespace.as_deref()
    }

    /// The client; connects if there is none yet, so also after a first attempt that failed.
    pub async fn client(&self) -> Result<Client, Failure> {
        let client = self.client.get_or_try_init(|| connect(&self.flags)).await?;
        match self.namespace() {
            Some(namespace) => client.namespace(namespace).map_err(failure),
            None => Ok(client.clone()),
        }
    }

    /// Ends the connection, if there is one.
    pub async fn close(&self) {
        if let Some(client) = self.client.get() {
            client.close().await;
        }
    }

    /// Carries out a command; the text is what it says, with a line end.
    pub async fn run(&mut self, command: ShellCommand) -> Result<String, Failure> {
        let text = match command {
            ShellCommand::Help(about) => help(about.as_deref())?,
            ShellCommand::Namespace(None) => match self.namespace() {
                None | Some("") => "the namespace without a name".to_owned(),
                Some(name) => quote(name.as_bytes()),
            },
            ShellCommand::Namespace(Some(name)) => self.enter(name).await?,
            ShellCommand::Exit => String::new(),
            ShellCommand::Status => status::to_text(&self.client().await?.status().await.map_err(failure)?),
            ShellCommand::Slot { key } => slot::to_text(&self.client().await?.explain(&key)),
            ShellCommand::Scan(listing) => self.list(listing, false).await?,
            ShellCommand::Dump(listing) => self.list(listing, true).await?,
            ShellCommand::Count(listing) => {
                let count = self.client().await?.count(range_of(&listing)).await.map_err(failure)?;
                count.to_string()
            }
            single => self.single(single).await?,
        };
        Ok(text)
    }

    async fn enter(&mut self, name: Vec<u8>) -> Result<String, Failure> {
        let name = String::from_utf8(name).map_err(|_| Failure::usage("a namespace is UTF-8 text"))?;
        // The client knows what a namespace may be called.
        self.client().await?.namespace(&name).map_err(failure)?;
        self.flags.namespace = Some(name);
        Ok(String::new())
    }

    async fn single(&self, command: ShellCommand) -> Result<String, Failure> {
        let client = self.client().await?;
        let text = match command {
            ShellCommand::Get { key } => match client.get_entry(key).await.map_err(failure)? {
                Some(Entry { value, version, ttl: None }) => {
                    format!("{}  (version {version})", quote(&value))
                }
                Some(Entry { value, version, ttl: Some(ttl) }) => {
                    format!("{}  (version {version}, {:.3} s left)", quote(&value), ttl.as_secs_f64())
                }
                None => "not found".to_owned(),
            },
            ShellCommand::Has { key } => {
                let has = client.has(key).await.map_err(failure)?;
                if has { "yes".to_owned() } else { "no".to_owned() }
            }
            ShellCommand::Incr { key, by } => client.increment(key, by).await.map_err(failure)?.to_string(),
            ShellCommand::Del { key, version } => {
                let deleted = match version {
                    Some(version) => client.delete_if_version(key, version).await,
                    None => client.delete(key).await,
                };
                match deleted.map_err(failure)? {
                    Delete::Unmet { version } => format!("unmet: {}", standing(version)),
                    delete => delete_words(delete).0.to_owned(),
                }
            }
            ShellCommand::Put { key, value, when, ttl } => {
                let condition = match when {
                    When::Always => Condition::Always,
                    When::Absent => Condition::Absent,
                    When::Present => Condition::Present,
                    When::Version(version) => Condition::Version(version),
                };
                put_said(client.put_with(key, value, PutOptions { condition, ttl }).await.map_err(failure)?)
            }
            ShellCommand::Expire { key, ttl: Some(ttl) } => {
                put_said(client.expire(key, ttl).await.map_err(failure)?)
            }
            ShellCommand::Expire { key, ttl: None } => put_said(client.persist(key).await.map_err(failure)?),
            other => return Err(Failure::failed(format_args!("{other:?} is no single operation"))),
        };
        Ok(text)
    }

    /// Lists up to the limit, each item as words that can be typed again.
    async fn list(&self, listing: Listing, versions: bool) -> Result<String, Failure> {
        let client = self.client().await?;
        let limit = listing.limit.unwrap_or(LISTED_MAX);
        let mut range = range_of(&listing);
        range.items_max = u32::try_from(limit).unwrap_or(0);
        let mut scan = match &listing.cursor {
            Some(cursor) => client.scan_from(range, &decode_cursor(cursor)?),
            None => client.scan(range),
        }
        .map_err(failure)?;
        let mut lines = Vec::new();
        while (lines.len() as u64) < limit {
            let Some(item) = scan.next().await else {
                return Ok(lines.join("\n"));
            };
            let item = item.map_err(failure)?;
            let mut line = quote(&item.key);
            if versions {
                line = format!("{} {} {line}", item.slot, item.version);
            }
            if !listing.keys_only {
                line.push(' ');
                line.push_str(&quote(&item.value));
            }
            lines.push(line);
        }
        lines.push(format!("go on with --cursor {}", encode_cursor(&scan.cursor())));
        Ok(lines.join("\n"))
    }
}

fn put_said(put: Put) -> String {
    match put_words(put) {
        ("unmet", version) => format!("unmet: {}", standing(version)),
        (what, version) => format!("{what}  (version {version})"),
    }
}

fn range_of(listing: &Listing) -> Range {
    Range {
        prefix: listing.prefix.clone().into(),
        start: listing.start.clone().into(),
        end: listing.end.clone().into(),
        ordered: listing.ordered,
        keys_only: listing.keys_only,
        ..Range::default()
    }
}

fn help(about: Option<&str>) -> Result<String, Failure> {
    if let Some(name) = about {
        let usage = USAGES.iter().find(|usage| usage.name == name);
        let (Some(usage), Some(written)) = (usage, usage_of(name)) else {
            let message = format!("no help for {}; `help` lists the commands", quote(name.as_bytes()));
            return Err(Failure { exit: Exit::Usage, message });
        };
        return Ok(format!("{written}\n    {}", usage.does));
    }
    let mut text = String::new();
    for usage in USAGES {
        text.push_str(&format!("{:<7} {}\n        {}\n", usage.name, usage.takes, usage.does));
    }
    text.push_str(
        "\nKeys and values are any bytes: blanks stand in double quotes, other bytes as \\n \\r \\t \\0 \\\\ \\\" \\xNN.\n\
         A line that begins with # is a comment. Ctrl-C clears the line or ends the command; Ctrl-D leaves.",
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_command_and_knows_each() {
        let all = help(None).unwrap();
        for usage in USAGES {
            assert!(all.contains(usage.name) && help(Some(usage.name)).unwrap().contains(usage.does));
        }
        assert!(help(Some("fly")).unwrap_err().message.contains("\"fly\""));
    }
}
