//! Readers and writers that remember what was acknowledged. Every call has to succeed inside its deadline: what happens to
//! the cluster meanwhile shall cost its callers a pause and nothing else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use slotkv::{Client, Put};
use tokio::task::JoinSet;

use crate::until;

/// Tasks that each write and read keys of their own, one call at a time.
pub struct Load {
    count: usize,
    tasks: JoinSet<Written>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
}

/// What one task was told.
struct Written {
    task: usize,
    rounds: i64,
    version: u64,
}

impl Load {
    /// Starts the tasks. Each pauses for so long after each round of three calls.
    pub fn start(client: &Client, tasks: usize, pause: Duration) -> Self {
        let mut load = Self { count: tasks, tasks: JoinSet::new(), shared: Arc::default() };
        for task in 0..tasks {
            load.tasks.spawn(run(client.clone(), task, pause, load.shared.clone()));
        }
        load
    }

    /// The keys that it writes and reads, all of them all the time.
    pub fn keys(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.count).flat_map(|task| <[String; 2]>::from(keys(task)))
    }

    /// Calls that have succeeded so far.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Waits until so many further calls have succeeded.
    pub async fn goes_on(&mut self, calls: u64) {
        let target = self.done() + calls;
        until(&format!("{target} calls have succeeded"), async || {
            self.done() >= target || self.shared.stop.load(Ordering::Relaxed)
        })
        .await;
        if self.shared.stop.load(Ordering::Relaxed) {
            // Only a task that failed stops the others.
            while let Some(ended) = self.tasks.join_next().await {
                if let Err(failed) = ended {
                    std::panic::resume_unwind(failed.into_panic());
                }
            }
        }
    }

    /// Ends the tasks and compares what `client` finds with what they were told.
    pub async fn end(mut self, client: &Client) -> u64 {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(written) = self.tasks.join_next().await {
            let Written { task, rounds, version } =
                written.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
            let (value, counter) = keys(task);
            let found = client.get_entry(&value).await.unwrap().expect("an acknowledged write");
            assert_eq!((text(&found.value), found.version), (rounds.to_string(), version), "{value}");
            let found = client.get(&counter).await.unwrap().expect("an acknowledged increment");
            assert_eq!(text(&found), rounds.to_string(), "{counter}");
        }
        self.done()
    }
}

fn keys(task: usize) -> (String, String) {
    (format!("value-{task}"), format!("counter-{task}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn run(client: Client, task: usize, pause: Duration, shared: Arc<Shared>) -> Written {
    /// Lets the others end too when a call fails.
    struct StopOnPanic(Arc<Shared>);
    impl Drop for StopOnPanic {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.stop.store(true, Ordering::Relaxed);
            }
        }
    }
    let guard = StopOnPanic(shared);
    let (value, counter) = keys(task);
    let mut written = Written { task, rounds: 0, version: 0 };
    while !guard.0.stop.load(Ordering::Relaxed) {
        written.rounds += 1;
        written.version = match client.put(&value, written.rounds.to_string()).await {
            Ok(Put::Created { version } | Put::Updated { version }) => version,
            other => panic!("put {value}, round {}: {other:?}", written.rounds),
        };
        let counted = client.increment(&counter, 1).await;
        assert!(
            matches!(counted, Ok(n) if n == written.rounds),
            "{counter}, round {}: {counted:?}",
            written.rounds
        );
        let found = client.get(&value).await;
        assert!(
            matches!(&found, Ok(Some(found)) if text(found) == written.rounds.to_string()),
            "get {value}, round {}: {found:?}",
            written.rounds
        );
        guard.0.done.fetch_add(3, Ordering::Relaxed);
        tokio::time::sleep(pause).await;
    }
    written
}
