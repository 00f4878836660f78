//! The command line: flags from all their layers, logging, one function per command, one message and exit code at the
//! end.

pub(crate) mod descriptors;
pub(crate) mod exit;
pub(crate) mod flags;
mod layers;
mod memory;
mod servers;
pub(crate) mod sizes;

use std::{ffi::OsString, future::Future, process::ExitCode};

use clap::{CommandFactory, FromArgMatches};
use tracing_subscriber::EnvFilter;

use self::{
    exit::{Exit, Failure},
    flags::{AdminVerb, Cli, Verb},
};
use crate::{
    bench,
    client::{check, fleet, listing, moves, operator, restart, single, slot, status},
    drill,
    lines::{export, import},
    shell,
};

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let outcome = match layers::read(Cli::command(), &args) {
        Ok(Ok(matches)) => match Cli::from_arg_matches(&matches) {
            Ok(cli) => run(cli),
            Err(error) => return told(error),
        },
        Ok(Err(error)) => return told(error),
        Err(failure) => Err(failure),
    };
    let exit = outcome.unwrap_or_else(|failure| {
        eprintln!("slotkv: {}", failure.message);
        failure.exit
    });
    ExitCode::from(exit as u8)
}

/// clap's own messages: help, version, wrong usage.
fn told(error: clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { Exit::Usage } else { Exit::Done } as u8)
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let default = match cli.verb {
        Verb::Dev(_) | Verb::Master(_) | Verb::Worker(_) => "info",
        Verb::Shell(_) => "error",
        _ => "warn",
    };
    log_to_stderr(cli.log.as_deref().unwrap_or(default))?;
    match cli.verb {
        Verb::Dev(flags) => servers::dev(flags),
        Verb::Master(flags) => servers::master(flags),
        Verb::Worker(flags) => servers::worker(flags),
        Verb::Shell(flags) => shell::shell(flags),
        Verb::Bench(flags) => bench::bench(*flags),
        Verb::Get(flags) => client(single::get(flags)),
        Verb::Put(flags) => client(single::put(flags)),
        Verb::Del(flags) => client(single::del(flags)),
        Verb::Has(flags) => client(single::has(flags)),
        Verb::Scan(flags) => client(listing::scan(flags, false)),
        Verb::Dump(flags) => client(listing::scan(flags, true)),
        Verb::Count(flags) => client(listing::count(flags)),
        Verb::Slot(flags) => client(slot::slot(flags)),
        Verb::Admin(AdminVerb::Status(flags)) => client(status::status(flags)),
        Verb::Admin(AdminVerb::Failover(flags)) => client(operator::failover(flags)),
        Verb::Admin(AdminVerb::Promote(flags)) => client(operator::promote(flags)),
        Verb::Admin(AdminVerb::Recover(flags)) => client(operator::recover(flags)),
        Verb::Admin(AdminVerb::Add(flags)) => client(moves::add(flags)),
        Verb::Admin(AdminVerb::Drain(flags)) => client(moves::drain(flags)),
        Verb::Admin(AdminVerb::Weight(flags)) => client(moves::weight(flags)),
        Verb::Admin(AdminVerb::Rebalance(flags)) => client(moves::rebalance(flags)),
        Verb::Admin(AdminVerb::Cancel(flags)) => client(moves::cancel(flags)),
        Verb::Admin(AdminVerb::Migrations(flags)) => client(moves::migrations(flags)),
        Verb::Admin(AdminVerb::Clients(flags)) => client(fleet::clients(flags)),
        Verb::Admin(AdminVerb::Safe(flags)) => client(fleet::safe(flags)),
        Verb::Admin(AdminVerb::Check(flags)) => client(check::check(flags)),
        Verb::Admin(AdminVerb::Restart(flags)) => client(restart::restart(flags)),
        Verb::Drill(verb) => drill::drill(verb),
        Verb::Import(flags) => client(import::import(flags)),
        Verb::Export(flags) => client(export::export(flags)),
    }
}

/// Runs a command that is a client, on one thread.
fn client(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start the runtime", error))?;
    runtime.block_on(command)
}

fn log_to_stderr(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Failure::usage(format_args!("--log {filter:?} is no filter: {error}")))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    Ok(())
}
