//! Where a flag's value comes from: the command line, else its `SLOTKV_*` variable, else the file of `--config`, else
//! its default.
//!
//! The rule holds for every flag by construction: variables are derived from the flags' names, and the file's settings
//! become the flags' defaults before the command line is read.
//!
//! The file is TOML. A key at the top holds for every command that has a flag of that name; a key in a table named
//! after a command (`[worker]`, `[admin.status]`) holds for that command alone, also for the flags that every command
//! has, like `log`. A name that no flag has is refused, and so is `config`: a file names no other file.

use std::{ffi::OsString, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, builder::BoolishValueParser};

use super::exit::Failure;

/// Most bytes of a configuration file.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Reads `args` (the program's name first) by the rule above. The outer error is a configuration that cannot be used;
/// the inner one is clap's, which also stands for help and version.
pub(crate) fn read(command: Command, args: &[OsString]) -> Result<Result<ArgMatches, clap::Error>, Failure> {
    let mut command = with_variables(command);
    if let Some(path) = config_path(args) {
        let shown = path.display();
        let length = std::fs::metadata(&path).map_err(|e| usage(&shown, e))?.len();
        if length > CONFIG_BYTES_MAX {
            return Err(usage(&shown, format_args!("{length} bytes, more than {CONFIG_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| usage(&shown, e))?;
        let settings: toml::Table = text.parse().map_err(|e: toml::de::Error| usage(&shown, e))?;
        let everywhere: Vec<Arg> =
            command.get_arguments().filter(|arg| is_flag(arg) && arg.is_global_set()).cloned().collect();
        command = with_settings(command, &settings, &everywhere).map_err(|why| usage(&shown, why))?;
    }
    Ok(command.try_get_matches_from(args))
}

fn usage(path: impl std::fmt::Display, why: impl std::fmt::Display) -> Failure {
    Failure::usage(format_args!("configuration file {path}: {}", why.to_string().trim_end()))
}

/// The value of `--config`, else of `SLOTKV_CONFIG`. It is needed before the flags can be read.
fn config_path(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter().skip(1).take_while(|arg| *arg != "--");
    while let Some(arg) = args.next() {
        if arg == "--config" {
            return args.next().map(PathBuf::from);
        }
        if let Some(path) = arg.to_str().and_then(|arg| arg.strip_prefix("--config=")) {
            return Some(PathBuf::from(path));
        }
    }
    std::env::var_os("SLOTKV_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn is_flag(arg: &Arg) -> bool {
    arg.get_long().is_some() && !matches!(arg.get_id().as_str(), "help" | "version")
}

/// The variable of a flag.
fn variable(long: &str) -> String {
    format!("SLOTKV_{}", long.to_uppercase().replace('-', "_"))
}

/// Gives every flag its variable. Switches also take a value (`--json=false`), so that the command line can turn off
/// what a variable or the file turns on.
fn with_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| match arg.get_long().map(variable) {
        Some(variable) if is_flag(&arg) => {
            let arg = arg.env(variable).hide_env_values(true);
            if matches!(arg.get_action(), ArgAction::SetTrue) { with_value(arg) } else { arg }
        }
        _ => arg,
    });
    command.mut_subcommands(with_variables)
}

fn with_value(arg: Arg) -> Arg {
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
        .hide_default_value(true)
        .value_name("BOOL")
        .value_parser(BoolishValueParser::new())
}

/// Settings of the table first, those of the tables inside it after them, so that the more particular one holds.
/// `everywhere` are the flags of every command, which clap gives to the commands only later.
fn with_settings(
    mut command: Command,
    settings: &toml::Table,
    everywhere: &[Arg],
) -> Result<Command, String> {
    for (key, value) in settings.iter().filter(|(_, value)| !value.is_table()) {
        let default = text_of(value).map_err(|why| format!("{key}: {why}"))?;
        let long = key.replace('_', "-");
        if long == "config" {
            return Err("config: a file names no other file".to_owned());
        }
        let mut found = false;
        command = with_default(command, &long, &default, &mut found);
        if !found {
            let flag = everywhere.iter().find(|flag| flag.get_long() == Some(&long));
            let flag = flag.ok_or_else(|| format!("unknown setting {key}"))?;
            command = command.arg(flag.clone().default_value(default));
        }
    }
    for (key, table) in settings.iter().filter_map(|(key, value)| Some((key, value.as_table()?))) {
        if !command.get_subcommands().any(|sub| sub.get_name() == key) {
            return Err(format!("unknown table [{key}]; tables are named after commands"));
        }
        let mut outcome = Ok(());
        command = command.mut_subcommand(key, |sub| match with_settings(sub.clone(), table, everywhere) {
            Ok(sub) => sub,
            Err(why) => {
                outcome = Err(format!("[{key}] {why}"));
                sub
            }
        });
        outcome?;
    }
    Ok(command)
}

/// Makes `value` the default of the flag `long`, here and in every command below that has no default of the file yet.
fn with_default(command: Command, long: &str, value: &str, found: &mut bool) -> Command {
    let command = command.mut_args(|arg| {
        if !is_flag(&arg) || arg.get_long() != Some(long) {
            return arg;
        }
        *found = true;
        arg.default_value(value.to_owned()).required(false)
    });
    command.mut_subcommands(|sub| with_default(sub, long, value, found))
}

fn text_of(value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(yes) => Ok(yes.to_string()),
        other => Err(format!("wants a text, a number or a boolean, not {}", other.type_str())),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::cli::flags::{Cli, Verb};

    fn parse(file: &str, args: &[&str]) -> Result<Cli, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slotkv.toml");
        std::fs::write(&path, file).unwrap();
        let mut all: Vec<OsString> = vec!["slotkv".into(), "--config".into(), path.into()];
        all.extend(args.iter().map(OsString::from));
        let matches =
            read(Cli::command(), &all).map_err(|failure| failure.message)?.map_err(|e| e.to_string())?;
        Cli::from_arg_matches(&matches).map_err(|e| e.to_string())
    }

    fn uri(cli: Cli) -> String {
        match cli.verb {
            Verb::Has(has) => has.client.uri,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_file_stands_above_the_default_and_below_the_command_line() {
        let file = "uri = \"slotkv://file:1\"";
        assert_eq!(uri(parse("", &["has", "k"]).unwrap()), "slotkv://127.0.0.1:7700");
        assert_eq!(uri(parse(file, &["has", "k"]).unwrap()), "slotkv://file:1");
        assert_eq!(uri(parse(file, &["has", "k", "--uri", "slotkv://flag:1"]).unwrap()), "slotkv://flag:1");
    }

    #[test]
    fn a_commands_own_table_stands_above_the_top_of_the_file() {
        let file =
            "uri = \"slotkv://top:1\"\n[has]\nuri = \"slotkv://own:1\"\n[get]\nuri = \"slotkv://other:1\"";
        assert_eq!(uri(parse(file, &["has", "k"]).unwrap()), "slotkv://own:1");
    }

    #[test]
    fn flags_of_every_command_may_stand_in_a_commands_own_table() {
        let log = |file, args: &[&str]| parse(file, args).unwrap().log;
        let file = "log = \"warn\"\n[has]\nlog = \"debug\"\n[admin.status]\nlog = \"trace\"";
        assert_eq!(log(file, &["has", "k"]).as_deref(), Some("debug"));
        assert_eq!(log(file, &["admin", "status"]).as_deref(), Some("trace"));
        assert_eq!(log(file, &["get", "k"]).as_deref(), Some("warn"));
        assert_eq!(log("[has]\nlog = \"debug\"", &["get", "k"]), None);
        assert_eq!(log("[admin]\nlog = \"debug\"", &["admin", "status"]).as_deref(), Some("debug"));
        for args in [["--log", "off", "has", "k"], ["has", "--log", "off", "k"], ["has", "k", "--log", "off"]]
        {
            assert_eq!(log(file, &args).as_deref(), Some("off"), "{args:?}");
        }
        for file in ["config = \"x\"", "[has]\nconfig = \"x\""] {
            assert!(parse(file, &["has", "k"]).unwrap_err().contains("config: a file names no other file"));
        }
    }

    #[test]
    fn unknown_settings_and_tables_are_refused_by_name() {
        assert!(parse("colour = 1", &["has", "k"]).unwrap_err().contains("unknown setting colour"));
        assert!(parse("[hass]\nuri = \"x\"", &["has", "k"]).unwrap_err().contains("unknown table [hass]"));
        assert!(
            parse("[has]\nshards = 3", &["has", "k"]).unwrap_err().contains("[has] unknown setting shards")
        );
        assert!(parse("uri = [1]", &["has", "k"]).unwrap_err().contains("uri: wants a text"));
        assert!(parse("uri = ", &["has", "k"]).unwrap_err().contains("slotkv.toml"));
    }

    #[test]
    fn a_value_of_the_wrong_form_in_the_file_is_refused_with_the_flags_name() {
        assert!(parse("deadline_ms = \"soon\"", &["has", "k"]).unwrap_err().contains("--deadline-ms"));
    }

    #[test]
    fn a_switch_of_the_file_can_be_turned_off() {
        let json = |args: &[&str]| match parse("json = true", args).unwrap().verb {
            Verb::Has(has) => has.client.json,
            other => panic!("{other:?}"),
        };
        assert!(json(&["has", "k"]));
        assert!(json(&["has", "--json", "k"]));
        assert!(!json(&["has", "k", "--json=false"]));
    }

    #[test]
    fn a_required_flag_may_stand_in_the_file() {
        let file = "coordinator = \"zk://a:1\"\n[worker]\ndata = \"/tmp/x\"";
        match parse(file, &["worker"]).unwrap().verb {
            Verb::Worker(worker) => assert_eq!(worker.coordinator, "zk://a:1"),
            other => panic!("{other:?}"),
        }
        assert!(parse("", &["worker"]).unwrap_err().contains("--coordinator"));
    }

    #[test]
    fn every_flag_of_every_command_has_its_variable() {
        fn check(command: &Command) {
            for arg in command.get_arguments().filter(|arg| is_flag(arg)) {
                let expected = variable(arg.get_long().unwrap());
                assert_eq!(
                    arg.get_env().and_then(|env| env.to_str()),
                    Some(&*expected),
                    "{}",
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(check);
        }
        let command = with_variables(Cli::command());
        command.clone().debug_assert();
        check(&command);
        assert_eq!(variable("cache-bytes"), "SLOTKV_CACHE_BYTES");
    }
}
