//! SIGINT and SIGTERM: the first asks for an orderly stop, a second one ends the process at once.

use std::{future::Future, io};

/// Exit codes of a process that a second signal ended, as shells give them.
const EXIT_SIGINT: i32 = 130;
const EXIT_SIGTERM: i32 = 143;

/// Takes over both signals. The future is ready at the first one; from then on the second one ends the process, if the
/// calling runtime still runs.
pub(crate) fn stop_requested() -> io::Result<impl Future<Output = &'static str>> {
    let mut stop = Stop::new()?;
    Ok(async move {
        let name = stop.requested().await;
        tokio::spawn(async move { stop.insisted().await });
        name
    })
}

/// Both signals, taken over.
pub(crate) struct Stop(Signals);

impl Stop {
    /// Takes over both signals.
    pub fn new() -> io::Result<Self> {
        Signals::new().map(Self)
    }

    /// Returns at the next signal.
    pub async fn requested(&mut self) -> &'static str {
        self.0.next().await.0
    }

    /// Ends the process at the next signal.
    pub async fn insisted(&mut self) {
        let (name, code) = self.0.next().await;
        eprintln!("slotkv: a second {name}, ending at once");
        std::process::exit(code);
    }
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
