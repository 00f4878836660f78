//! SIGINT and SIGTERM: the first asks for an orderly stop, a second one ends the process at once.

use std::{future::Future, io};

/// Exit codes of a process that a second signal ended, as shells give them.
const EXIT_SIGINT: i32 = 130;
const EXIT_SIGTERM: i32 = 143;

/// Takes over both signals. The future is ready at the first one; from then on the second one ends the process, if the
/// calling runtime still runs.
pub(crate) fn stop_requested() -> io::Result<impl Future<Output = &'static str>> {
    let mut signals = Signals::new()?;
    Ok(async move {
        let (name, _) = signals.next().await;
        tokio::spawn(async move {
            let (name, code) = signals.next().await;
            eprintln!("slotkv: a second {name}, ending at once");
            std::process::exit(code);
        });
        name
    })
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => ("SIGINT", EXIT_SIGINT),
            _ = self.terminate.recv() => ("SIGTERM", EXIT_SIGTERM),
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> (&'static str, i32) {
        let _ = EXIT_SIGTERM;
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        ("Ctrl-C", EXIT_SIGINT)
    }
}
