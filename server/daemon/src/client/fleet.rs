//! `admin clients` and `admin safe`: who uses the cluster, by which slot table, and whether a member may be stopped.

use serde_json::json;
use slotkv::Error;

use super::{connect, failure, output::Output, table::Table};
use crate::{
    cli::{
        exit::{Exit, Failure},
        flags::{ClientsFlags, SafeFlags},
    },
    members::{self, Clients},
};

/// `admin clients`.
pub(crate) async fn clients(flags: ClientsFlags) -> Result<Exit, Failure> {
    let client = connect(&flags.client).await?;
    let asked = async { Ok::<_, Error>(members::clients(&client, &client.status().await?).await) }.await;
    client.close().await;
    let fleet = asked.map_err(failure)?;
    let mut output = Output::new();
    match flags.client.json {
        true => output.line(&to_json(&fleet).to_string())?,
        false => output.bytes(to_text(&fleet).as_bytes())?,
    };
    output.end(if fleet.silent.is_empty() { Exit::Done } else { Exit::Partly })
}

fn to_text(fleet: &Clients) -> String {
    let behind = fleet.behind().count();
    let mut text = format!(
        "{} clients; {} go by table version {}, the newest, {behind} by an older one\n",
        fleet.clients.len(),
        fleet.clients.len() - behind,
        fleet.version
    );
    let mut table = Table::new(&["table version", "client", "id", "heard of ms ago"]);
    for client in &fleet.clients {
        table.row([
            client.table_version.to_string(),
            client.name.clone(),
            hex(&client.client_id),
            client.seen_ms.to_string(),
        ]);
    }
    if !fleet.clients.is_empty() {
        text.push_str(&table.text());
    }
    if fleet.more {
        text.push_str("there are more clients than the masters keep\n");
    }
    for why in &fleet.silent {
        text.push_str(&format!("a master does not tell of its clients: {why}\n"));
    }
    text
}

fn to_json(fleet: &Clients) -> serde_json::Value {
    let clients = fleet.clients.iter().map(|client| {
        json!({
            "client_id": hex(&client.client_id),
            "name": client.name,
            "table_version": client.table_version,
            "seen_ms": client.seen_ms,
        })
    });
    json!({
        "table_version": fleet.version,
        "clients": clients.collect::<Vec<_>>(),
        "behind": fleet.behind().count(),
        "more": fleet.more,
        "silent_masters": fleet.silent,
    })
}

/// `admin safe`.
pub(crate) async fn safe(flags: SafeFlags) -> Result<Exit, Failure> {
    let client = connect(&flags.client).await?;
    let looked = async {
        let status = client.status().await?;
        members::reasons(&client, &status, &flags.name).await
    };
    let looked = looked.await;
    client.close().await;
    let reasons = looked.map_err(failure)?;
    let mut output = Output::new();
    let is_safe = reasons.is_empty();
    match (flags.client.json, is_safe) {
        (true, _) => {
            let reasons = json!({ "member": flags.name, "safe": is_safe, "reasons": reasons });
            output.line(&reasons.to_string())?
        }
        (false, true) => {
            output.line(&format!("{} may be stopped: nothing depends on it alone", flags.name))?
        }
        (false, false) => {
            output.line(&format!("{} is better not stopped now: {}", flags.name, reasons.join("; ")))?
        }
    };
    output.end(if is_safe { Exit::Done } else { Exit::No })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
