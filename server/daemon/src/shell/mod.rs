//! The shell: a prompt for people, the same language from a pipe for scripts.
//!
//! Nothing a line says ends the shell but `exit`: bad input, errors and the loss of the cluster are told, and the next
//! line is read. From a pipe it ends with exit code 0 at the end of input, or with `--stop-on-error` at the first line
//! that fails, with that one's code.

pub(crate) mod command;
mod complete;
mod history;
mod run;

use std::io::{self, BufRead, IsTerminal, Write};

use rustyline::{CompletionType, Config, Editor, error::ReadlineError, history::FileHistory};
use tokio::runtime::Runtime;

use self::{command::ShellCommand, complete::Completion, history::History, run::Session};
use crate::cli::{
    exit::{Exit, Failure},
    flags::ShellFlags,
};

/// Longest line of a script: a value of the largest size with every byte escaped, and room for the key.
const LINE_BYTES_MAX: u64 = 80 << 20;

/// `slotkv shell`.
pub(crate) fn shell(flags: ShellFlags) -> Result<Exit, Failure> {
    // The client's tasks go on while the prompt waits, so they have a thread of their own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start the runtime", error))?;
    let mut session = Session::new(flags.client.clone());
    let outcome = if io::stdin().is_terminal() && io::stdout().is_terminal() {
        prompt(&runtime, &mut session, &flags)
    } else {
        script(&runtime, &mut session, io::stdin().lock(), flags.stop_on_error)
    };
    runtime.block_on(session.close());
    outcome
}

fn prompt(runtime: &Runtime, session: &mut Session, flags: &ShellFlags) -> Result<Exit, Failure> {
    let history = History::new(flags.history.clone());
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(history::LINES_MAX)
        .and_then(|builder| builder.history_ignore_dups(true))
        .map_err(Failure::failed)?
        .history_ignore_space(true)
        .build();
    let mut editor = Editor::with_config(config).map_err(Failure::failed)?;
    editor.set_helper(Some(Completion { runtime: runtime.handle().clone(), session: session.clone() }));
    history.load(&mut editor);
    println!("slotkv {}, {}; `help` lists the commands", env!("CARGO_PKG_VERSION"), flags.client.uri);
    if let Err(failure) = runtime.block_on(session.client()) {
        eprintln!("error: {}", failure.message);
    }
    loop {
        let prompt = match session.namespace() {
            None | Some("") => "slotkv> ".to_owned(),
            Some(namespace) => format!("slotkv {}> ", crate::text::word(namespace.as_bytes())),
        };
        match editor.readline(&prompt) {
            Ok(line) => {
                let _ = editor.add_history_entry(&line);
                history.append(&mut editor);
                match one(runtime, session, line.as_bytes(), true) {
                    Ok(true) => {}
                    Ok(false) => return Ok(Exit::Done),
                    Err(failure) => eprintln!("error: {}", failure.message),
                }
                if let Some(helper) = editor.helper_mut() {
                    helper.session = session.clone();
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(Exit::Done),
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                eprintln!("error: no UTF-8; write other bytes as escapes: \\xff");
                if !skip_line(&mut editor)? {
                    return Ok(Exit::Done);
                }
            }
            Err(error) => return Err(unreadable(error)),
        }
    }
}

/// Drops the rest of a line, which must not be taken for a command of its own. Returns whether the input goes on.
fn skip_line(editor: &mut Editor<Completion, FileHistory>) -> Result<bool, Failure> {
    loop {
        match editor.readline("the line is dropped up to Enter> ") {
            Ok(_) | Err(ReadlineError::Interrupted) => return Ok(true),
            Err(ReadlineError::Eof) => return Ok(false),
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
}

fn unreadable(error: ReadlineError) -> Failure {
    Failure::failed(format_args!("cannot read the next line: {error}"))
}

fn script(
    runtime: &Runtime,
    session: &mut Session,
    mut input: impl BufRead,
    stop_on_error: bool,
) -> Result<Exit, Failure> {
    let mut number = 0u64;
    let mut line = Vec::new();
    loop {
        line.clear();
        number += 1;
        let outcome =
            match read_line(&mut input, &mut line).map_err(|e| Failure::io("cannot read stdin", e))? {
                Read::End => return Ok(Exit::Done),
                Read::TooLong => Err(Failure::usage(format_args!("longer than {LINE_BYTES_MAX} bytes"))),
                Read::Line => one(runtime, session, &line, false),
            };
        match outcome {
            Ok(true) => {}
            Ok(false) => return Ok(Exit::Done),
            Err(failure) => {
                let message = format!("line {number}: {}", failure.message);
                if stop_on_error {
                    return Err(Failure { message, ..failure });
                }
                eprintln!("error: {message}");
            }
        }
    }
}

/// Carries out a line. `Ok(false)`: the shell is to end.
fn one(runtime: &Runtime, session: &mut Session, line: &[u8], interactive: bool) -> Result<bool, Failure> {
    let command = match command::parse(line).map_err(Failure::usage)? {
        None => return Ok(true),
        Some(ShellCommand::Exit) => return Ok(false),
        Some(command) => command,
    };
    let interrupted = if command.writes() { "interrupted; it may have been applied" } else { "interrupted" };
    let text = runtime.block_on(async {
        tokio::select! {
            biased;
            // Only people press Ctrl-C to go on; a script it ends, as any other program.
            _ = tokio::signal::ctrl_c(), if interactive => {
                Err(Failure { exit: Exit::Unknown, message: interrupted.into() })
            }
            outcome = session.run(command) => outcome,
        }
    })?;
    let mut stdout = io::stdout().lock();
    let text = text.trim_end_matches('\n');
    let written =
        if text.is_empty() { Ok(()) } else { writeln!(stdout, "{text}") }.and_then(|()| stdout.flush());
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::io("cannot write to stdout", error)),
    }
}

enum Read {
    Line,
    TooLong,
    End,
}

/// Reads a line without its end; of one that is too long, everything is passed over.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Read> {
    use io::Read as _;
    let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Read::Line);
    }
    if read as u64 == LINE_BYTES_MAX {
        input.skip_until(b'\n')?;
        return Ok(Read::TooLong);
    }
    Ok(if read == 0 { Read::End } else { Read::Line })
}
